"""What a poll does first: enrol with each queue, and see that nothing is lost.

A dispatcher that finds itself activated although this process has not done it
is the heir of an earlier process of the same instance: it takes over as soon as
that one is certainly gone.
"""
import transaction
from ZODB.FileStorage import FileStorage

from .. import chance
from .. import describe
from .. import log
from .. import outage
from ..evolve import keep_up
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..model import callbacks
from ..model import parking
from ..model import recovery
from ..model.call import is_back
from ..model.call import is_broken
from ..model.call import why_unreadable
from .attempt import abort
from .effects import has_effects
from .predecessor import is_gone
from .predecessor import this_process
from .worker import Ticket


#: Tries to hand back what is left.
_TRIES = 50


def sole_process(db):
    """Return whether no other process can have *db*'s storage open.

    A FileStorage that is open for writing holds a lock on its file.
    """
    storage = getattr(db, 'storage', None)
    return isinstance(storage, FileStorage) and not storage.isReadOnly()


class Survey:
    """Enrols one dispatcher.  Reactor's thread, while a turn is taken.

    *services* is the dispatcher, of which ``db``, ``UUID`` and ``lacking`` are used.
    """

    def __init__(self, services, turns):
        self._services = services
        self._turns = turns
        self._token = chance.token()
        self._warned = False
        self._enrolled = set()  # the oids of queues where this process is active
        self._told = set()      # the oids of agents whose class is gone
        self._refused = set()   # queues where another seems to have our UUID

    def look(self):
        """Enrol where need be; return ``(sizes, strays, signs)``.

        The sizes are those of the agents, and the keys of their jobs, by
        ``(queue name, agent name)``; the strays are tickets for jobs that are
        in an agent and in no worker's hands; the signs are, by database name, the
        ids of what is changed when a job is put, and for how many seconds it is left
        to others then.  Commits.
        """
        manager = transaction.TransactionManager(explicit=True)
        connection = self._services.db.open(transaction_manager=manager)
        try:
            manager.begin()
            parking.let_claim(manager.get(), self._services.lacking)
            sizes, strays, signs, joined = {}, [], {}, {}
            for queue in self._queues(connection):
                agents = self._enrol(queue, joined)
                if agents is not None:
                    recovery.take_left(queue)
                signs.setdefault(queue._p_jar.db().database_name, {}).update(
                    zip(queue.signs(), self._turns.patience(queue)))
                for agent in self._agents(agents):
                    sizes[queue.name, agent.name] = agent.size, tuple(
                        (job._p_oid, job._p_jar.db().database_name) for job in agent)
                    strays += self._strays(queue, agent)
                for agent in () if agents is None else agents.retired:
                    strays += self._strays(queue, agent)
            if has_effects(manager.get(), connection):
                manager.commit()
            self._joined(joined)
            return sizes, strays, signs
        finally:
            abort(manager)
            connection.close()

    def _agents(self, agents):
        """Return the agents among *agents* that can be used."""
        found = [] if agents is None else list(agents.items())
        for name, agent in found:
            if is_broken(agent) and agent._p_oid not in self._told:
                self._told.add(agent._p_oid)
                log.events.critical(
                    'agent %r of queue %r cannot be used, since its class %s is gone; '
                    'put its code back in place, or delete it', name, agents.parent.name,
                    describe.type_name(type(agent)))
        return [agent for _name, agent in found if not is_broken(agent)]

    def _queues(self, connection):
        """Return the queues; none where there are none."""
        queues = connection.root().get(KEY)
        if queues is None:
            if not self._warned:
                self._warned = True
                log.events.warning(
                    'database %r has no queues, and dispatcher %s nothing to do '
                    'until a QueueInstaller makes them',
                    connection.db().database_name, self._services.UUID)
            return ()
        self._warned = False
        keep_up(queues)
        return queues.values()

    def works_for(self, queue):
        """Return whether this process is active in *queue*.

        Another process may be so, by mistake under the same UUID.
        """
        return queue._p_oid in self._enrolled

    def _enrol(self, queue, joined):
        """Return our agents in *queue*; None where we must not work.

        *joined* gets the queue, by its object id, if it is enrolled with now.
        """
        UUID = self._services.UUID
        if UUID not in queue.dispatchers:
            queue.dispatchers.register(UUID)
        agents = queue.dispatchers[UUID]
        if queue._p_oid in self._enrolled:
            if agents.activated is None:
                log.events.critical(
                    'dispatcher %s was taken for dead in queue %r and is not; '
                    'its jobs were given to others', UUID, queue.name)
                agents.reactivate(self._token, this_process())
            if agents.activation.owner in (None, self._token):
                return agents
            # it is our successor's: we were stopped for long, and replaced
            self._enrolled.discard(queue._p_oid)
        if agents.activation.owner == self._token:
            # activated by us, in a commit that seemed to fail
            joined[queue._p_oid] = queue.name
            return agents
        if agents.activated is not None and not self._inherit(queue, agents):
            return None
        agents.activate(self._ping(queue), self._token, this_process())
        joined[queue._p_oid] = queue.name
        return agents

    def _joined(self, queues):
        """Remember that the activation in *queues*, names by id, is committed."""
        self._enrolled.update(queues)
        for name in queues.values():
            log.events.info('dispatcher %s works for queue %r', self._services.UUID, name)

    def _inherit(self, queue, agents):
        """Take over from an earlier process; return whether it is gone."""
        if (self._turns.sightings.is_dead(agents) or sole_process(queue._p_jar.db())
                or is_gone(agents.activation.process)):
            agents.deactivate(died=True)
            self._refused.discard(queue._p_oid)
            return True
        if queue._p_oid not in self._refused:
            self._refused.add(queue._p_oid)
            log.events.error(
                'dispatcher %s is activated already in queue %r, last heard of at '
                '%s: is it another process?  If so, give one of them a UUID file '
                'of its own; if not, work begins once it counts as dead',
                agents.UUID, queue.name, agents.last_ping.value)
        return False

    def _ping(self, queue):
        """Return the ping that other queues of the same database use already."""
        for other in queue.parent.values() if queue.parent is not None else ():
            agents = other.dispatchers.get(self._services.UUID)
            if (other is not queue and other._p_oid in self._enrolled
                    and agents is not None and other._p_jar is queue._p_jar):
                return agents.last_ping
        return None

    def _strays(self, queue, agent):
        """Return tickets for the jobs of *agent* that nobody works on.

        There are some after a claim whose commit was taken for failed, and
        after a worker failed.
        """
        tickets = []
        for job in list(agent):
            database_name = job._p_jar.db().database_name
            if self._turns.held(job, database_name):
                continue
            if is_back(job):
                self._services.lacking.stale = True
                continue
            if why_unreadable(job) is not None:
                recovery.hand_back(agent, job, queue)
                continue
            if job.parent is not agent:
                job.parent = agent  # a call has changed it by itself
            if job.status is COMPLETED:
                callbacks.release(job)
                continue
            if job._awaits is not None:
                continue
            if job.status is ACTIVE and self._turns.dropped(job, database_name):
                recovery.hand_back(agent, job, queue)
                continue
            tickets.append(Ticket(
                job._p_oid, database_name, job._attempt, (queue.name, agent.name)))
        return tickets

    def leave(self):
        """Deactivate everywhere and hand back what is left.  Commits.

        Again while that conflicts with what others do, some of it the jobs that
        would not end: otherwise the jobs would wait until this process is dead.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._leave_once()
                return
            except Exception as error:
                if not (left and outage.is_conflict(error)):
                    raise

    def _leave_once(self):
        manager = transaction.TransactionManager(explicit=True)
        connection = self._services.db.open(transaction_manager=manager)
        try:
            manager.begin()
            for queue in self._queues(connection):
                agents = queue.dispatchers.get(self._services.UUID)
                if queue._p_oid in self._enrolled and agents.activated is not None:
                    agents.deactivate()
            manager.commit()
            self._enrolled.clear()
        finally:
            abort(manager)
            connection.close()
