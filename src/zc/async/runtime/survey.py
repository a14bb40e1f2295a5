"""What a poll does first: enrol with each queue, and see that nothing is lost.

A dispatcher that finds itself activated although this process has not done it
is the heir of an earlier process of the same instance: it takes over as soon as
that one is certainly gone.
"""
import transaction
from ZODB.FileStorage import FileStorage

from .. import chance
from .. import log
from ..evolve import check
from ..interfaces import ACTIVE
from ..interfaces import KEY
from ..model import recovery
from ..model.call import why_unreadable
from .attempt import abort
from .effects import has_effects
from .worker import Ticket


def sole_process(db):
    """Return whether no other process can have *db*'s storage open.

    A FileStorage that is open for writing holds a lock on its file.
    """
    storage = getattr(db, 'storage', None)
    return isinstance(storage, FileStorage) and not storage.isReadOnly()


class Survey:
    """Enrols one dispatcher.  Reactor's thread, while a turn is taken.

    *services* is the dispatcher, of which ``db`` and ``UUID`` are used.
    """

    def __init__(self, services, turns):
        self._services = services
        self._turns = turns
        self._token = chance.token()
        self._warned = False
        self._enrolled = set()  # the oids of queues where this process is active
        self._refused = set()   # queues where another seems to have our UUID

    def look(self):
        """Enrol where need be; return ``(sizes, strays, signs)``.

        The sizes are those of the agents, and the keys of their jobs, by
        ``(queue name, agent name)``; the strays are tickets for jobs that are
        in an agent and in no worker's hands; the signs are the ids, by database
        name, of what is changed when a job is put.  Commits.
        """
        manager = transaction.TransactionManager(explicit=True)
        connection = self._services.db.open(transaction_manager=manager)
        try:
            manager.begin()
            sizes, strays, signs, joined = {}, [], {}, set()
            for queue in self._queues(connection):
                agents = self._enrol(queue, joined)
                signs.setdefault(queue._p_jar.db().database_name, set()).update(
                    queue.signs())
                for agent in agents.values() if agents is not None else ():
                    sizes[queue.name, agent.name] = agent.size, tuple(
                        (job._p_oid, job._p_jar.db().database_name) for job in agent)
                    strays += self._strays(queue, agent)
            if has_effects(manager.get(), connection):
                manager.commit()
            self._enrolled |= joined
            return sizes, strays, signs
        finally:
            abort(manager)
            connection.close()

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
        check(queues)
        return queues.values()

    def works_for(self, queue):
        """Return whether this process is active in *queue*.

        Another process may be so, by mistake under the same UUID.
        """
        return queue._p_oid in self._enrolled

    def _enrol(self, queue, joined):
        """Return our agents in *queue*; None where we must not work.

        *joined* gets the queue's object id if it is enrolled with now.
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
                agents.reactivate(self._token)
            return agents
        if agents.activation.owner == self._token:
            # activated by us, in a commit that seemed to fail
            joined.add(queue._p_oid)
            return agents
        if agents.activated is not None and not self._inherit(queue, agents):
            return None
        agents.activate(self._ping(queue), self._token)
        joined.add(queue._p_oid)
        log.events.info('dispatcher %s works for queue %r', UUID, queue.name)
        return agents

    def _inherit(self, queue, agents):
        """Take over from an earlier process; return whether it is gone."""
        if self._turns.sightings.is_dead(agents) or sole_process(queue._p_jar.db()):
            agents.deactivate()
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
            if why_unreadable(job) is not None:
                continue
            if job._awaits is not None or self._turns.held(job, database_name):
                continue
            if job.status is ACTIVE and self._turns.dropped(job, database_name):
                recovery.hand_back(agent, job, queue)
                continue
            tickets.append(Ticket(
                job._p_oid, database_name, job._attempt, (queue.name, agent.name)))
        return tickets

    def leave(self):
        """Deactivate everywhere and hand back what is left.  Commits."""
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
