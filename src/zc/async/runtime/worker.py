"""A worker performs one job at a time, until the job is out of its hands.

Effects, result and status are one commit.  A job whose transaction changed
nothing is not committed here at all: its outcome goes to the dispatcher, which
commits many at once.
"""
import dataclasses
import threading

import transaction

from .. import clock
from .. import describe
from .. import failures
from .. import log
from .. import outage
from ..interfaces import AbortedError
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import ReassignedError
from ..model import callbacks
from ..model import execution
from ..model import retry
from ..model import status
from ..model.outcomes import NOTHING
from ..model.outcomes import Outcome
from ..threadlocal import local
from .attempt import abort
from .attempt import Attempts
from .attempt import begin
from .attempt import Pauses
from .attempt import Stopped
from .history import naive_now


@dataclasses.dataclass(slots=True)
class Ticket:
    """A job, or a callback, for a worker."""

    oid: bytes
    database_name: str
    attempt: int
    pool: tuple            # (queue name, agent name)
    record: object = None  # a `history.JobRecord`; None for what is resumed
    begun: float = 0.0     # by the steady clock, when a worker took it


class Worker:
    """Works on tickets.  `work` is called in the worker threads.

    *services* is the dispatcher, of which ``db``, ``history``, ``pause``,
    ``submit`` and ``watch`` are used.
    """

    def __init__(self, services):
        self._services = services

    def work(self, ticket):
        """Perform the job of *ticket* and submit its outcome, None if it has none."""
        outcome = None
        ticket.begun = clock.monotonic()
        local.dispatcher = self._services
        try:
            outcome = self._work(ticket, transaction.manager)
        except Stopped:
            log.trace.info('stopped while working on %r', ticket)
        except ReassignedError as error:
            log.events.error('%s', error)
            if ticket.record is not None:
                ticket.record.reassigned = True
        finally:
            local.dispatcher = None
            self._services.submit(ticket, outcome)

    def _work(self, ticket, manager):
        # The main database first, as everywhere: connections to the others belong
        # to the main one's, and a transaction must not have two to one database.
        primary = self._open(self._services.db, manager)
        connection = primary.get_connection(ticket.database_name)
        try:
            return _Performance(connection, manager, ticket, self._services).perform()
        except BaseException:
            # otherwise each step has committed or aborted what it began
            abort(manager)
            raise
        finally:
            try:
                primary.close()
            except Exception:
                log.events.warning('a connection could not be closed', exc_info=True)

    def _open(self, database, manager):
        """Open a connection, waiting while the storage is away."""
        pauses = Pauses(self._services.pause, first=0.1)
        while True:
            try:
                return database.open(transaction_manager=manager)
            except Exception as error:
                if not outage.is_outage(error):
                    raise
                log.events.warning('database away: %s', describe.safe_repr(error))
            pauses.wait()


class _Performance:
    """One job and what follows from it, in one worker's hands.

    It is also the performer of `callbacks.walk`: `run`, `choose`, `deliver` and
    `interrupted` commit what they do.
    """

    def __init__(self, connection, manager, ticket, services):
        self._connection = connection
        self._manager = manager
        self._ticket = ticket
        self._services = services

    def perform(self):
        """Perform the job and its callbacks; return the `Outcome`.

        The connection was opened just now, and with it a transaction.
        """
        ticket = self._ticket
        job = self._connection.get(ticket.oid)
        outcome = Outcome(ticket.oid, ticket.database_name, ticket.attempt)
        if job.status is not CALLBACKS:
            self._perform_job(job, outcome)
        if outcome.value is NOTHING and job.status is CALLBACKS:
            visited = callbacks.walk(job, self)
            outcome.visited = tuple(node._p_oid for node in visited)
        return outcome

    def _perform_job(self, job, outcome):
        self._note_start(job)
        if job.status is ASSIGNED:
            outcome.attempt = self._begin_alone(job)
        attempts = Attempts(
            self._connection, self._manager, self._services.pause, job,
            token=outcome.attempt, group=not callbacks.children(job))
        outcome.value = attempts.run()
        self._note_end(job, outcome.value)
        if attempts.deferred is not None:
            self._services.watch(attempts.deferred, self._ticket, outcome.attempt)

    def _begin_alone(self, job):
        """Commit that *job* is begun; return the number of the attempt."""
        execution.begin(job)
        self._manager.commit()
        return job._attempt

    def _note_start(self, job):
        record = self._ticket.record
        if record is not None:
            record.call = repr(job)
            record.quota_names = job.quota_names
            record.thread = threading.get_ident()
            record.started = naive_now()

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
        policy = job.retry_policy_factory
        token = None
        if getattr(policy, 'at_most_once', False):
            token = self._begin_alone(job)
        attempts = Attempts(
            self._connection, self._manager, self._services.pause, job,
            (result,), token, held=self._connection.get(self._ticket.oid))
        attempts.run()
        if attempts.deferred is not None:
            ticket = Ticket(job._p_oid, self._ticket.database_name, job._attempt,
                            self._ticket.pool)
            self._services.watch(attempts.deferred, ticket, job._attempt)
        begin(self._manager, self._services.pause)

    def choose(self, proxy, result):
        """Let *proxy* choose; return the job it chose, or None."""
        def change():
            return proxy.choose(result)

        return self._commit_step(change)

    def deliver(self, job, result):
        """Give *result* to *job*, which waited for it."""
        self._commit_step(lambda: execution.settle(job, result))

    def interrupted(self, job):
        """Decide about a callback that a process, now gone, had begun."""
        decision = retry.decide_interrupted(job)
        if isinstance(decision, retry.RunAgain):
            def change():
                job._code = status.UNSET

            self._commit_step(change)
            self.run(job, job.parent.result)
        else:
            self._commit_step(lambda: execution.settle(job, failures.Failure(
                AbortedError('the process that ran the callback is gone'))))

    def _commit_step(self, change):
        """Commit *change*, however often that takes; return what it returns."""
        pauses = Pauses(self._services.pause)
        while True:
            begin(self._manager, self._services.pause)
            try:
                found = change()
                self._manager.commit()
                return found
            except Exception as error:
                abort(self._manager)
                if not (outage.is_conflict(error) or outage.is_outage(error)):
                    raise
            pauses.wait()
