"""Turns: the transactions in which a dispatcher changes what it shares.

In one commit a turn stores the outcomes that workers have handed back, frees
their slots, and claims as many new jobs.  There is one writer at a time in a
process: the first worker that is ready takes the turn for all that are ready
by then, so that groups grow with the load and nobody waits for company.
"""
import collections
import threading

import transaction
from ZODB.Connection import resetCaches
from ZODB.utils import u64

from .. import chance
from .. import clock
from .. import describe
from .. import failures
from .. import log
from .. import outage
from ..agent import Agent
from ..interfaces import CALLBACKS
from ..interfaces import KEY
from ..job import Job
from ..model import callbacks
from ..model import execution
from ..model import outcomes
from ..model import parking
from ..model.call import is_back
from ..model.call import is_broken
from ..model.liveness import fence_agents
from . import sightings
from .ahead import Ahead
from .ahead import LINGER
from .ahead import lingers
from .attempt import abort
from .claims import Claims
from .effects import ghost
from .effects import has_effects
from .handover import Handover
from .mending import mend
from .overdue import UnderWay
from .worker import Ticket

#: Outcomes that one commit stores at most.
GROUP = 100
#: Seconds that a turn is put off at most, or as long as a turn takes, for the jobs
#: that other workers have in hand, while jobs are shorter than that.
COMPANY = 0.005
#: Seconds that a thread which goes on with short jobs keeps the first one's outcome, at
#: least and at most; or so long that turns take a sixth of its time.
RUN, LONG_RUN, _SHARE = 0.03, 0.06, 5
#: Seconds more after which others store them, where it has come upon a long one.
_LATER = 0.02
#: Tries of one turn that meets conflicts, before its group is split.
_TRIES = 3
#: Seconds to pause after a conflict at most.  The process can neither store nor
#: claim nor ping meanwhile, and a neighbour that is faster must not starve it.
_PAUSE = 0.02


class ChoiceFailed(Exception):
    """An agent could not choose; what it had begun to claim is given up."""

    def __init__(self, name, error):
        super().__init__(name, error)
        self.name, self.error = name, error


class Outdated(Exception):
    """The connection has objects that it loaded while their class was missing."""


class Turns:
    """Takes turns for one dispatcher.

    *services* is the dispatcher, of which ``db``, ``UUID``, ``history``, ``lacking``,
    ``troubles``, ``works_for``, ``pause`` and ``hand_out`` are used.  ``_waiting`` and
    ``_leading`` belong to whoever holds ``_lock``; the connection and ``_hands`` to
    whoever holds ``turn``.
    """

    def __init__(self, services):
        self._services = services
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self.turn = threading.RLock()
        self._waiting = collections.deque()
        self._since = 0.0      # when the first of them began to, by the steady clock
        self._leading = False
        self._relied_on = False  # whether somebody has left outcomes to who leads
        self._typical = 0.0    # seconds that a job takes these days
        self._turn_time = 0.0  # and a turn
        self.sightings = sightings.Sightings(services)
        self._next_due = None  # microseconds, as the latest claims found it
        self._committer = None
        self._connection = None
        self._handover = None  # of the connection
        self._manager = transaction.TransactionManager(explicit=True)
        self._hands = {}    # (database name, oid) -> ticket that a worker has
        self._dropped = {}  # (database name, oid) -> attempt that ended in nothing
        self._ahead = Ahead()
        self._claims = Claims(services, lambda: self._turn_time)

    # Handing back

    def submit(self, ticket, outcome, goes_on=False):
        """Take back *ticket* with its *outcome*, None if nothing is to be stored.

        Any thread.  When this returns, the outcome is stored, or another thread
        is about to store it; or this one, which *goes_on* with another ticket, and
        calls this or `lead` soon.
        """
        with self._lock:
            now = clock.monotonic()
            if not self._waiting:
                self._since = now
            self._waiting.append((ticket, outcome))
            seconds = now - ticket.begun
            self._typical += (seconds - self._typical) / 8
            self._ahead.note(ticket.pool, seconds)
            self._more.notify()
            if goes_on and now - self._since < self._longest_run():
                return
        self.lead()

    def _longest_run(self):
        return min(max(RUN, _SHARE * self._turn_time), LONG_RUN)

    def lead_late(self):
        """Store the outcomes that a thread has kept longer than it should.

        Any thread.  Return whether some wait that nobody stores yet.  The storage's
        return is not waited for: whoever calls that has other things to do.
        """
        return self.lead(self._longest_run() + _LATER)

    def lead(self, seconds=0):
        """Store the outcomes that wait, if some do, and for *seconds* at least.

        Any thread.  Where another one does just that, these are left to it.  Return
        whether some wait that are left to nobody yet.  With *seconds* the storage's return
        is not waited for.
        """
        if not self._waiting:
            return False
        with self._lock:
            if self._leading and not seconds:
                self._relied_on = True
            if self._leading or not self._waiting:
                return bool(self._waiting) and not self._relied_on
            if clock.monotonic() - self._since < seconds:
                return True
            self._leading = True
        try:
            self._lead(waits=not seconds)
        except BaseException:
            with self._lock:
                self._leading = False
            raise
        finally:
            if self._services.pause(0):
                # a job that ended late: nobody closes after this
                self.close()
        return bool(self._waiting) and not self._leading

    def _lead(self, waits):
        self._relied_on = True
        while True:
            with self._lock:
                # those that others keep by themselves would be stored two or three at once
                if not (self._waiting and self._relied_on):
                    self._leading = False
                    return
                self._wait_for_company()
                self._relied_on = len(self._waiting) >= GROUP
            try:
                with self.turn:
                    self.take(claim=self._services.claims_between_polls)
            except Exception as error:
                if not outage.is_standstill(error):
                    raise
                if not waits or self._services.pause(chance.jitter(1)):
                    with self._lock:
                        self._leading = False
                    return
                self._relied_on = True

    def _wait_for_company(self):
        """Wait for outcomes that are certain to come within a moment.

        Called with the lock.  Short jobs alone are waited for: a commit takes
        longer than they do, and one for all of them is worth the wait.
        """
        def all_here():
            begun = [one for one in self._hands.values() if one.thread is not None]
            return len(self._waiting) >= len(begun)

        longest = max(COMPANY, self._turn_time)
        if self._services.claims_between_polls and self._typical < longest:
            self._more.wait_for(all_here, min(longest, 2 * self._typical))

    def drop(self, ticket):
        """Take back *ticket* from a worker who is dead.  Commits nothing."""
        with self.turn:
            self._release([(ticket, None)])

    def committing_here(self):
        """Return whether this thread is committing a turn just now."""
        return self._committer == threading.get_ident()

    def held(self, job, database_name):
        """Return whether a worker has *job*.  While a turn is taken."""
        return (database_name, job._p_oid) in self._hands

    def under_way(self):
        """Return what workers have taken, as `UnderWay`.  Any thread."""
        return [UnderWay(
            (u64(ticket.oid), ticket.database_name), ticket.pool, ticket.begun,
            getattr(ticket.record, 'call', None) or f'job {u64(ticket.oid)}',
            ticket.thread)
            for ticket in list(self._hands.values()) if ticket.thread is not None]

    def patience(self, queue):
        """Return for how many seconds the jobs of each shard are left to others.

        While a turn is taken.
        """
        return self._claims.patience(queue)

    def dropped(self, job, database_name):
        """Return whether this attempt at *job* ended in nothing here."""
        return self._dropped.get((database_name, job._p_oid)) == job._attempt

    @property
    def in_hand(self):
        """How many tickets workers have.  Any thread."""
        return len(self._hands)

    @property
    def busy(self):
        """Whether anything is in a worker's hands or waits to be stored."""
        return bool(self._hands or self._waiting or self._leading)

    # Taking a turn

    def take(self, claim=True, pings=False):
        """Store what waits to be stored; with *claim*, claim what there is room for.

        Return the agents' names that could not choose, with their errors.
        """
        with self.turn:
            self.give_back(LINGER)
            batch = self._batch()
            began = clock.monotonic()
            try:
                claimed, failed = self._commit_batch(batch, claim, pings)
            except BaseException:
                with self._lock:
                    self._waiting.extendleft(reversed(batch))
                raise
            if batch:
                self._turn_time += (clock.monotonic() - began - self._turn_time) / 8
            self._release(batch)
            self.hand_out(claimed)
            self._services.due_next(self._next_due)
            if any(map(lingers, self._hands.values())):
                self._services.due_next(clock.micros() + round(LINGER * 1_000_000))
            return failed

    def give_back(self, patience=0):
        """Let the next turn give back what was claimed ahead and is not begun.

        Only what has been waiting for a thread for *patience* seconds.
        """
        with self.turn:
            for ticket in list(self._hands.values()):
                if lingers(ticket, patience) and ticket.take():
                    self._ahead.give_up(ticket.pool)
                    outcome = outcomes.Outcome(ticket.oid, ticket.database_name,
                                               ticket.attempt, outcomes.UNTOUCHED)
                    with self._lock:
                        self._waiting.append((ticket, outcome))

    def hand_out(self, tickets):
        """Give *tickets* to workers, unless they have them."""
        with self.turn:
            for ticket in tickets:
                key = ticket.database_name, ticket.oid
                if key not in self._hands:
                    self._hands[key] = ticket
                    ticket.handed = clock.monotonic()
                    self._dropped.pop(key, None)
                    self._services.hand_out(ticket)

    def _batch(self):
        with self._lock:
            count = min(len(self._waiting), GROUP)
            return [self._waiting.popleft() for _number in range(count)]

    def _release(self, batch):
        if self._handover is not None:
            self._handover.forget([ticket.oid for ticket, _outcome in batch])
        for ticket, outcome in batch:
            key = ticket.database_name, ticket.oid
            if self._hands.get(key) is ticket:
                del self._hands[key]
            if outcome is None:
                self._dropped[key] = ticket.attempt
            elif outcome.value is outcomes.UNTOUCHED:
                self._services.history.given_back(ticket.record)

    def _commit_batch(self, batch, claim, pings):
        """Commit *batch* and claims; return the tickets and who could not choose.

        What cannot be committed together is committed one by one, so that one
        outcome cannot hold up the others.
        """
        failed = {}
        try:
            return self._commit(batch, claim, pings, failed), failed
        except (Exception, SystemExit) as error:
            if not batch or outage.is_standstill(error):
                raise
            log.trace.info('a group is stored one by one: %s', describe.safe_repr(error))
        tickets = []
        for item in batch:
            tickets += self._commit_alone(item)
        return tickets, failed

    def _commit_alone(self, item):
        """Commit one outcome; a result that cannot be stored becomes a Failure."""
        ticket, outcome = item
        try:
            return self._commit([item], False, False, {})
        except (Exception, SystemExit) as error:
            if outage.is_standstill(error):
                raise
            log.events.exception('the outcome of %r cannot be stored', ticket)
            problem = failures.Failure(error)
        if outcomes.spoil(outcome, problem):
            try:
                return self._commit([item], False, False, {})
            except (Exception, SystemExit) as error:
                if outage.is_standstill(error):
                    raise
        # the next poll finds the job in nobody's hands and interrupts it
        self._dropped[ticket.database_name, ticket.oid] = ticket.attempt
        return []

    def _commit(self, batch, claim, pings, failed):
        """Commit one turn, again while it conflicts; return its tickets.

        Claims are given up when others are quicker; they are tried again when
        those have committed.
        """
        tries, pause = 0, 0.001
        while True:
            try:
                return self._once(batch, claim and tries < _TRIES, pings, failed)
            except ChoiceFailed as error:
                failed[error.name] = error.error
                continue
            except Outdated:
                continue
            except Exception as error:
                tries += 1
                self._services.troubles.met(error)
                if outage.is_outage(error):
                    self.close()
                if not outage.is_conflict(error):
                    # who cannot commit cannot ping, and maybe nobody can
                    self.sightings.forget()
                    raise
                if len(batch) != 1 and tries > _TRIES:
                    raise
            self._services.pause(chance.jitter(pause))
            pause = min(2 * pause, _PAUSE)

    def _once(self, batch, claim, pings, failed):
        """One transaction; return the tickets of what it claimed."""
        connection = self._open()
        try:
            # a begin that fails has begun, too, and has to be aborted
            self._manager.begin()
            self._claims.begin(pings)
            self._claims.foresight.begin(connection)
            parking.let_claim(self._manager.get(), self._claims)
            resumed = self._apply_all(batch)
            queues = connection.root().get(KEY) or {}
            claimed, due, now = [], [], clock.micros()
            for queue in queues.values() if claim or pings else ():
                claimed += self._serve(queue, claim, pings, failed)
                due.append(queue._lines.next_due(now, self.patience(queue)))
            self._claims.foresight.calls(job for job, _agent, _ahead in claimed)
            due.append(self._claims.again)
            self._next_due = min((one for one in due if one is not None), default=None)
            if has_effects(self._manager.get(), connection):
                self._committer = threading.get_ident()
                with self._handover.expecting(job for job, _agent, _ahead in claimed):
                    self._manager.commit()
                self._services.troubles.over()
            else:
                abort(self._manager)
            self._claims.done()
        except BaseException:
            abort(self._manager)
            raise
        finally:
            self._committer = None
        return [*resumed, *self._tickets(claimed)]

    def _serve(self, queue, claim, pings, failed):
        """Ping and claim for *queue*; return ``(job, agent, ahead)`` of each claim."""
        agents = queue.dispatchers.get(self._services.UUID)
        if (agents is None or agents.activated is None
                or not self._services.works_for(queue)):
            return []
        if pings:
            self._ping(queue, agents)
        claimed = []
        for agent in agents.values() if claim else ():
            if is_broken(agent):
                continue
            if (queue.name, agent.name) not in failed:
                claimed += self._claim(queue, agent)
        if claimed:
            fence_agents(agents)
            if sightings.ping_with_claim(agents):
                agents.last_ping.beat()
        return claimed

    def _ping(self, queue, agents):
        """Give a sign of life if it is time, and take over from dead neighbours."""
        if sightings.ping_due(agents):
            agents.last_ping.beat()
        for dead in self.sightings.dead_neighbours(queue, agents.UUID):
            log.events.error(
                'dispatcher %s was silent for %d seconds, its last ping is of %s: '
                '%s takes over its jobs', dead.UUID, self.sightings.silence(dead),
                dead.last_ping.value, agents.UUID)
            fence_agents(agents)
            dead.deactivate(died=True)

    def _claim(self, queue, agent):
        claimed = []
        self._claims.claim_for(agent)
        try:
            for job, ahead in self._chosen(queue, agent):
                _begin_if_allowed(job)
                claimed.append((job, agent, ahead))
            return claimed
        except (Exception, SystemExit) as error:
            if outage.is_standstill(error) or outage.is_conflict(error):
                raise
            raise ChoiceFailed((queue.name, agent.name), error) from error

    def _chosen(self, queue, agent):
        """Iterate over jobs that *agent* claims, and whether ahead of its threads."""
        for job in iter(agent.claimJob, None):
            yield job, False
        if not self._services.claims_between_polls:
            return
        count = self._ahead.count((queue.name, agent.name), agent.size, self._turn_time)
        with self._claims.ahead():
            while count and (job := agent.claim_ahead(count)) is not None:
                yield job, True
                if job._deaths:
                    # what kills processes is not to take the innocent with it
                    return

    def _tickets(self, claimed):
        history = self._services.history
        tickets = []
        for job, agent, ahead in claimed:
            pool = agent.queue.name, agent.name
            record = history.claimed(describe.address(job), *pool)
            tickets.append(Ticket(
                job._p_oid, record.key[1], job._attempt, pool, record, ahead,
                Job if type(job) is Job else None, self._handover.state(job)))
        return tickets

    def _apply_all(self, batch):
        """Apply the outcomes of *batch*; return tickets for what has to go on."""
        resumed = []
        for ticket, outcome in batch:
            if outcome is None:
                continue
            connection = self._connection.get_connection(outcome.database_name)
            job = ghost(connection, outcome.oid, ticket.cls)
            if outcome.order is not None and self._let_go(ticket, outcome, job):
                continue
            nodes = [connection.get(oid) for oid in outcome.visited]
            ended = [connection.get(end.oid) for end in outcome.ends]
            self._check_classes((*nodes, job))
            if outcome.value is outcomes.UNTOUCHED and not self._holds(job):
                continue  # others claimed it meanwhile, or it is done already
            if (ended and not self._holds(job)) or not outcomes.apply(
                    job, outcome, nodes, ended):
                log.events.error('%s was reassigned', describe.safe_repr(job))
                continue
            if outcome.value is not outcomes.NOTHING:
                nodes.append(job)
            resumed += self._resumed(nodes, ticket.database_name)
        return resumed

    def _let_go(self, ticket, outcome, job):
        """Let the agent hold *job*, completed by its worker, no more.

        Return False where that agent has been removed: the job knows it.
        """
        queue_name, agent_name = ticket.pool
        queue = self._connection.root()[KEY].get(queue_name)
        agent = None
        if queue is not None and self._services.UUID in queue.dispatchers:
            agent = queue.dispatchers[self._services.UUID].get(agent_name)
        return type(agent) is Agent and callbacks.let_go(agent, outcome.order, job)

    def _check_classes(self, nodes):
        """Raise `Outdated` where one, or its callback, was loaded without its class.

        Only where that is back: this connection must forget them then.
        """
        for node in nodes:
            if is_back(node) or (not is_broken(node) and node.status is CALLBACKS
                                 and any(map(is_back, callbacks.children(node)))):
                self._services.lacking.stale = True
                raise Outdated

    def _resumed(self, nodes, database_name):
        """Return tickets for what is held here and has to go on because of *nodes*."""
        tickets = {}
        for node in nodes:
            if node.status is not CALLBACKS or not callbacks.needs_worker(node):
                continue
            job = callbacks.top(node)
            # what another dispatcher holds, it finds at its next poll
            if self._holds(job):
                tickets[job._p_oid] = Ticket(
                    job._p_oid, database_name, job._attempt,
                    (job.agent.queue.name, job.agent.name))
        return tickets.values()

    def _holds(self, job):
        """Return whether an agent of this dispatcher holds *job*."""
        agent = job.agent
        return agent is not None and agent.parent.UUID == self._services.UUID

    # Its connection

    def _open(self):
        if self._services.lacking.stale:
            self._services.lacking.stale = False
            resetCaches()
            self.close()
        if self._connection is None:
            mend(self._services.db)
            self._connection = self._services.db.open(
                transaction_manager=self._manager)
            self._handover = Handover(self._connection)
        return self._connection

    def close(self):
        """Close the connection; the next turn opens another.  Never raises."""
        with self.turn:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            self._handover.close()
            abort(self._manager)
            try:
                connection.close()
            except Exception:
                log.events.warning('a connection could not be closed', exc_info=True)


def _begin_if_allowed(job):
    """Begin a claimed job in the claim's own commit, unless it may run only once.

    One that may run only once must not count as begun before it is.
    """
    if job._code:
        return
    if not getattr(job.retry_policy_factory, 'at_most_once', False):
        execution.begin(job)
