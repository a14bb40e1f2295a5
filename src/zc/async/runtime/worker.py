"""A worker performs one job at a time, until the job is out of its hands.

Effects, result and status are one commit.  A job whose transaction changed
nothing is not committed here at all: its outcome goes to the dispatcher, which
commits many at once.
"""
import dataclasses
import threading

import transaction
from ZODB.POSException import StorageError

from .. import clock
from .. import describe
from .. import failures
from .. import log
from .. import outage
from ..interfaces import AbortedError
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import IQueue
from ..interfaces import NEW
from ..interfaces import ReassignedError
from ..model import callbacks
from ..model import execution
from ..model import retry
from ..model import status
from ..model.call import check_code
from ..model.liveness import fence
from ..model.outcomes import NOTHING
from ..model.outcomes import Outcome
from ..threadlocal import local
from . import storing
from . import surroundings
from .aside import Aside
from .attempt import abort
from .attempt import Attempts
from .attempt import begin
from .attempt import commit_step
from .attempt import SHORT
from .handover import job_of
from .opening import Connections
from .pauses import Stopped
from .surroundings import Lost
from .unstored import Habits
from .unstored import Unstored


@dataclasses.dataclass(slots=True)
class Ticket:
    """A job, or a callback, for a worker."""

    oid: bytes
    database_name: str
    attempt: int
    pool: tuple            # (queue name, agent name)
    record: object = None  # a `history.JobRecord`; None for what is resumed
    ahead: bool = False    # whether it may be given back before it is begun
    cls: type = None       # the job's, where that is certain
    state: object = None   # a `handover.State` of it, or None
    handed: float = 0.0    # by the steady clock, when it was put before the workers
    begun: float = 0.0     # the same, when one of them took it
    thread: int = None     # that worker's
    _taken: object = dataclasses.field(
        default_factory=threading.Lock, repr=False, compare=False)

    def take(self):
        """Take it; return False where somebody else has it.  Any thread."""
        return self._taken.acquire(blocking=False)


class Worker:
    """Works on tickets.  `work` is called in the worker threads.

    *services* is the dispatcher, of which ``db``, ``UUID``, ``history``,
    ``lacking``, ``pause``, ``submit`` and ``watch`` are used.  It *keeps* connections
    where `rest` is called by each thread that has nothing more to do, or ends.
    """

    def __init__(self, services, keeps=False):
        self._services = services
        self._habits = Habits()
        self._connections = Connections(services, keeps)

    def rest(self):
        """Keep nothing for this thread any more."""
        self._connections.rest()

    def work(self, ticket):
        """Perform the job of *ticket* and submit its outcome, None if it has none.

        Nothing happens where it was given back meanwhile.
        """
        if not ticket.take():
            return
        outcome = None
        ticket.begun = clock.monotonic()
        ticket.thread = threading.get_ident()
        local.dispatcher = self._services
        try:
            outcome = self._work(ticket)
        except Stopped:
            log.trace.info('stopped while working on %r', ticket)
        except ReassignedError as error:
            log.events.error('%s', error)
            if ticket.record is not None:
                ticket.record.reassigned = True
        finally:
            local.dispatcher = None
            self._services.submit(ticket, outcome)

    def _work(self, ticket):
        lost = None
        while True:
            surroundings.settle_doubts()
            try:
                return self._in_connection(ticket, transaction.manager, lost)
            except Lost as found:
                surroundings.doubt()
                if found.attempts is None:
                    # not even that they failed can be stored
                    raise
                lost = found

    def _in_connection(self, ticket, manager, lost):
        """Perform the job of *ticket*; *lost* is how that ended before, or None."""
        # The main database first, as everywhere: connections to the others belong
        # to the main one's, and a transaction must not have two to one database.
        primary = self._connections.take(manager)
        opened, sound = primary.opened, False
        try:
            connection = primary.get_connection(ticket.database_name)
            performance = _Performance(
                connection, manager, ticket, self._services, self._habits)
            if lost is not None:
                performance.end(lost)
            outcome = performance.perform()
            sound = True
            return outcome
        except BaseException:
            # otherwise each step has committed or aborted what it began
            abort(manager)
            raise
        finally:
            self._connections.put_back(primary, opened, sound)


def _keeps_from_work(error):
    """Return whether *error*, which no attempt has dealt with, is the job's own."""
    return not (isinstance(error, (OSError, StorageError))
                or outage.is_outage(error) or outage.is_conflict(error))


class _Performance:
    """One job and what follows from it, in one worker's hands.

    It is also the performer of `callbacks.walk`: `run`, `choose`, `deliver` and
    `interrupted` commit what they do.
    """

    def __init__(self, connection, manager, ticket, services, habits):
        self._connection = connection
        self._manager = manager
        self._ticket = ticket
        self._services = services
        self._habits = habits
        self._place = None  # where the job is held whose callbacks are performed
        self._unstored = None  # an `Unstored`, where there are callbacks

    def end(self, lost):
        """Let the job, or callback, fail whose attempts ended with *lost*.

        Raise `ReassignedError` where it is in other hands.
        """
        lost.attempts.fail(self._connection, lost)
        begin(self._manager, self._services.pause)
        job = self._connection.get(self._ticket.oid)
        if job.status is not CALLBACKS:
            raise ReassignedError(f'{describe.safe_repr(job)} was reassigned')
        self._note_end(job, NOTHING)

    def perform(self):
        """Perform the job and its callbacks; return the `Outcome`.

        The connection was opened just now, and with it a transaction.
        """
        ticket = self._ticket
        outcome = Outcome(ticket.oid, ticket.database_name, ticket.attempt)
        try:
            self._perform(outcome)
        except (Stopped, ReassignedError, Lost):
            raise
        except BaseException as error:
            # also what code raises that should not, where the job is loaded
            if not _keeps_from_work(error):
                if not self._leave(outcome):
                    raise
                log.trace.info('the callbacks of %r are gone on with later: %s',
                               self._ticket, describe.error(error))
                return outcome
            if self._unstored:
                abort(self._manager)
                self._unstored.store(self._connection)
            Aside(self._connection, self._services, outcome, ticket.record).put(error)
        return outcome

    def _perform(self, outcome):
        job = job_of(self._ticket, self._connection)
        if job.status is COMPLETED:
            # meanwhile, by whoever brought the result that it waited for
            return
        if job.status is not CALLBACKS:
            self._perform_job(job, outcome)
            if job.status is COMPLETED:
                outcome.order = job._order
        if outcome.value is NOTHING and job.status is CALLBACKS:
            self._check_held(job)
            self._place = job.parent, job._order
            self._let_wait()
            visited = callbacks.walk(job, self)
            outcome.visited = tuple(node._p_oid for node in visited)
            outcome.ends = self._unstored.leave(self._connection)

    def _leave(self, outcome):
        """Leave what has ended, and is not stored, to others; return whether any has.

        What could not be gone on with is gone on with when these are stored.
        """
        if not self._unstored:
            return False
        outcome.ends = self._unstored.leave(self._connection)
        outcome.visited = (*(end.oid for end in reversed(outcome.ends)), outcome.oid)
        return True

    def _let_wait(self):
        """Let ends of calls wait from now on; return the `Unstored`."""
        if self._unstored is None:
            self._unstored = Unstored(
                self._ticket.oid, self._manager, self._services.pause, self._habits)
        return self._unstored

    def _check_held(self, job):
        """Raise `ReassignedError` unless an agent of this dispatcher holds *job*."""
        agents = None if job.agent is None else job.agent.parent
        if agents is None or agents.UUID != self._services.UUID:
            raise ReassignedError(f'{describe.safe_repr(job)} was reassigned')

    def _perform_job(self, job, outcome):
        self._note_start(job)
        if job.status is ASSIGNED:
            check_code(job)
            # on the ticket too: this is the attempt that ends, whatever comes of it
            outcome.attempt = self._ticket.attempt = self._begin_alone(job)
        follows = bool(callbacks.children(job))
        attempts = Attempts(
            self._connection, self._manager, self._services.pause, job,
            token=outcome.attempt, group=not follows,
            unstored=self._let_wait() if follows else None)
        outcome.value = attempts.run()
        if self._unstored:
            self._unstored.go_on(self._connection)
        self._note_end(job, outcome.value)
        if attempts.deferred is not None:
            self._services.watch(attempts.deferred, self._ticket, outcome.attempt)

    def _begin_alone(self, job):
        """Commit that *job* is begun; return the number of the attempt."""
        execution.begin(job)
        storing.commit(self._manager)
        return job._attempt

    def _note_start(self, job):
        record = self._ticket.record
        if record is not None:
            record.shown = describe.shown(job)
            record.quota_names = job._quota_names
            record.thread = threading.get_ident()
            record.started = clock.micros()

    def _note_end(self, job, value):
        record = self._ticket.record
        if record is None:
            return
        if value is NOTHING:
            value = job.result if job._awaits is None else job._awaits
        failed = failures.is_failure(value)
        text = failures.brief(value) if failed else describe.safe_repr(value)
        self._services.history.ended(record, failed, text)

    # What `callbacks.walk` asks for

    def run(self, job, result):
        """Run the callback *job* with *result*."""
        once = getattr(job.retry_policy_factory, 'at_most_once', False)
        if not once:
            self._unstored.prepare(self._connection, job)
        held, token = self._held(), None
        if once:
            check_code(job)
            self._unstored.restore(self._connection)
            token = self._begin_alone(job)
            self._unstored.forget()
        kind, began = job.kind, clock.monotonic()
        attempts = Attempts(
            self._connection, self._manager, self._services.pause, job,
            (result,), token, held=held, unstored=self._unstored)
        attempts.run()
        self._habits.note(kind, not attempts.has_ended
                          and clock.monotonic() - began < SHORT)
        if attempts.deferred is not None:
            ticket = Ticket(job._p_oid, self._ticket.database_name, job._attempt,
                            self._ticket.pool)
            self._services.watch(attempts.deferred, ticket, job._attempt)
        self._unstored.go_on(self._connection)

    def choose(self, proxy, result):
        """Let *proxy* choose; return the job it chose, or None."""
        if self._unstored.choose(proxy, result):
            return proxy.job

        def change():
            return proxy.choose(result) if proxy.status is NEW else proxy.job

        return self._commit_step(change)

    def deliver(self, job, result):
        """Give *result* to *job*, which waited for it."""
        def change():
            # somebody else may have been quicker
            if job._code == status.BEGUN and job._awaits is not None:
                execution.settle(job, result)
                if (IQueue.providedBy(job.parent) and not callbacks.is_in_line(job)
                        and callbacks.has_callbacks_left(job)):
                    # its dispatcher is gone: one worker, and no other, is to do these
                    job.parent.putBack(job)

        self._commit_step(change)

    def leaves(self, job):
        """Return whether somebody holds *job*, which waited, or will claim it."""
        return callbacks.is_with_others(job)

    def interrupted(self, job, result):
        """Decide about a callback that a process, now gone, had begun with *result*."""
        def change():
            if (job._code, job._awaits) != (status.BEGUN, None):
                return False  # that process is not gone after all, and has stored its end
            again = isinstance(retry.decide_interrupted(job), retry.RunAgain)
            if again:
                job._code = status.UNSET
            else:
                execution.settle(job, failures.Failure(
                    AbortedError('the process that ran the callback is gone')))
            return again

        if self._commit_step(change):
            self.run(job, result)

    def _commit_step(self, change):
        """Commit *change*, unless the job is in other hands by now."""
        def guarded():
            self._unstored.replay(self._connection)
            self._held()
            return change()

        found = commit_step(self._manager, self._services.pause, guarded)
        self._unstored.forget()
        return found

    def _held(self):
        """Return the job whose callbacks are performed, fenced.

        Raise `ReassignedError` where it is in other hands by now.
        """
        held = self._connection.get(self._ticket.oid)
        if (held.parent, held._order) != self._place or not fence(held):
            raise ReassignedError(f'{describe.safe_repr(held)} was reassigned')
        return held
