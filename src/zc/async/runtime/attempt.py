"""Attempts at one call, until it has a result, waits, or is in other hands.

The one retry loop of the package.  What goes wrong is decided by the job's
policy; this is the place that acts on the decision.
"""
import logging

from transaction.interfaces import NoTransaction
from twisted.internet.defer import Deferred

from .. import chance
from .. import describe
from .. import failures
from .. import log
from .. import outage
from ..interfaces import AbortedError
from ..interfaces import IJob
from ..interfaces import ReassignedError
from ..model import execution
from ..model import recovery
from ..model import retry
from ..model import status
from ..model.liveness import fence
from ..model.outcomes import NOTHING
from .effects import has_effects

#: Seconds to pause after the first error that will pass; doubled up to the limit.
_PAUSE, _LIMIT = 0.001, 60


class Stopped(Exception):
    """The process is being stopped; the job is handed back with the others."""


class Pauses:
    """Longer and longer pauses, broken off when the process is stopped."""

    def __init__(self, pause, first=_PAUSE, limit=_LIMIT):
        self._pause, self._next, self._limit = pause, first, limit

    def wait(self):
        """Pause; raise `Stopped` if the process is being stopped."""
        if self._pause(chance.jitter(self._next)):
            raise Stopped
        self._next = min(2 * self._next, self._limit)


class Attempts:
    """The attempts at *job* with *args*, in one worker's hands.

    With *group*, a value whose transaction changed nothing is returned instead
    of committed.  A callback (*token* None) begins in the transaction that
    settles it; another job was begun as its attempt number *token*.  *held* is
    the job that an agent holds, by default *job*; a callback's is far above it
    where chains are long.
    """

    def __init__(self, connection, manager, pause, job, args=(), token=None,
                 group=False, held=None):
        self._connection = connection
        self._manager = manager
        self._pause = pause
        self._job = job
        self._held = job if held is None else held
        self._args = args
        self._token = token
        self._group = group
        self._cache = {}        # the policy's memory between these attempts
        self._pauses = Pauses(pause)
        self._committing = False
        self._errors = 0        # of those that do not pass by themselves
        self.deferred = None    # what the job waits for, if it does

    def run(self):
        """Return the value to be committed with others, or NOTHING.

        A transaction has begun.  Raise `ReassignedError` where the job is in other hands, and `Stopped`.
        """
        self._before = self._job._code, self._job._attempt
        if self._token is not None:
            self._before = status.BEGUN, self._token
        self._place = self._held.parent, self._held._order
        while True:
            try:
                return self._once()
            except (Stopped, ReassignedError):
                raise
            except BaseException as error:
                if self._failed(failures.Failure(error), error):
                    return NOTHING
            self._begin()

    def _once(self):
        """Run the call and commit; the transaction has begun."""
        job = self._job
        self._committing = False
        self._check_ours()
        with execution.entered(job):
            try:
                if self._token is None:
                    execution.begin(job)
                value = self._settled_value(
                    execution.invoke(job, self._args))
                if self._group and self._can_wait(value):
                    self._abort()
                    return value
                self._conclude(value)
                self._commit()
            except BaseException:
                # before tearDown: what it takes away belongs to the transaction
                self._abort()
                raise
        return NOTHING

    def _check_ours(self):
        """Raise `ReassignedError` if the job is in other hands by now.

        Somebody else has changed its status then, or, for a callback, taken the
        job that it belongs to out of our agent.
        """
        job = self._job
        if (job._code, job._attempt) != self._before or job._awaits is not None:
            raise ReassignedError(f'{job!r} was reassigned')
        if (self._held.parent, self._held._order) != self._place:
            raise ReassignedError(f'{self._held!r} was reassigned')

    def _settled_value(self, value):
        """Return *value*, or that of a Deferred which has one already."""
        if isinstance(value, Deferred) and value.called and not isinstance(
                getattr(value, 'result', value), Deferred):
            found = value.result
            value.addErrback(lambda failure: None)
            value = found
        return failures.sanitize(value) if failures.is_failure(value) else value

    def _can_wait(self, value):
        """Return whether *value* may be committed by another connection, later."""
        return not (
            isinstance(value, Deferred) or IJob.providedBy(value)
            or has_effects(self._manager.get(), self._connection)
            or execution.check_result(value))

    def _conclude(self, value):
        job = self._job
        if self._cache:
            job.getRetryPolicy().updateData(self._cache)
        if isinstance(value, Deferred):
            execution.await_deferred(job)
            self.deferred = value
        elif IJob.providedBy(value):
            execution.await_job(job, value)
        else:
            execution.check_result(value)
            execution.settle(job, value)
            if failures.is_failure(value):
                execution.log_failure(job)

    def _commit(self):
        if not fence(self._held):
            raise ReassignedError(f'{self._job!r} was reassigned')
        self._committing = True
        self._manager.commit()
        self._committing = False

    # When an attempt did not succeed

    def _failed(self, failure, error):
        """Act on *failure*; return whether these attempts are over."""
        committing, self._committing = self._committing, False
        if committing and self._landed():
            return True
        log.trace.debug('%s: %s', describe.safe_repr(self._job), failures.brief(failure))
        if not isinstance(error, Exception):
            return self._interrupted()
        policy_says = self._ask(failure, committing)
        if isinstance(policy_says, retry.RunAgain):
            self._tell(failure, error)
        self._abort()
        if isinstance(policy_says, retry.GiveUp):
            self._store(lambda job: self._give_up(job, failure))
            return True
        return self._run_again(policy_says.after.total_seconds(), policy_says, error)

    def _tell(self, failure, error):
        """Log an error that does not pass by itself: the first, then every fifth."""
        if outage.is_outage(error) or outage.is_conflict(error):
            return
        if self._errors % 5 == 0:
            level = self._job.failure_log_level
            log.events.log(
                logging.ERROR if level is None else level,
                '%s is tried again after %d errors: %s', describe.safe_repr(self._job),
                self._errors + 1, failures.brief(failure))
        self._errors += 1

    def _landed(self):
        """Return whether a commit that raised was made nevertheless.

        The status and the number of the attempt tell it, read in a new
        transaction.  Raise `ReassignedError` if they tell of others.
        """
        self._begin()
        job = self._job
        now = job._code, job._attempt
        if now == self._before and job._awaits is None:
            return False
        begun = self._before[1] + (self._token is None)
        if job._attempt == begun and job._code != status.UNSET:
            return True
        raise ReassignedError(f'{job!r} was reassigned')

    def _ask(self, failure, committing):
        """Return the policy's decision; one that fails itself gives up."""
        self._begin()
        try:
            policy = self._job.getRetryPolicy()
            ask = policy.commitError if committing else policy.jobError
            return retry.decide(ask(failure, self._cache))
        except Exception:
            log.events.exception('the retry policy of %s failed',
                                 describe.safe_repr(self._job))
            return retry.GiveUp()

    def _run_again(self, delay, decision, error):
        """Wait, or put the job back in its queue; return whether that is all."""
        in_place = outage.is_outage(error) or self._token is None
        if delay and not in_place:
            self._store(lambda job: self._reschedule(job, decision))
            return True
        if outage.is_conflict(error):
            self._pauses.wait()
        elif delay and self._pause(chance.jitter(delay)):
            raise Stopped
        return False

    def _interrupted(self):
        """Let the policy decide about a call that wanted to end its thread."""
        if self._token is None:
            self._store(self._break_off)
        else:
            self._store(recovery.interrupt)
        return True

    def _break_off(self, job):
        execution.begin(job)
        execution.settle(job, failures.Failure(AbortedError(
            'the callback tried to end its thread')))
        execution.log_failure(job)

    def _give_up(self, job, failure):
        if self._token is None:
            execution.begin(job)
        self._remember(job)
        execution.settle(job, failure)
        execution.log_failure(job)

    def _reschedule(self, job, decision):
        self._remember(job)
        recovery.reschedule(job, decision.after)

    def _remember(self, job):
        if self._cache:
            job.getRetryPolicy().updateData(self._cache)

    def _store(self, change):
        """Commit *change* of the job, however often that takes.

        A change that cannot be stored gives way to a Failure that says why.
        """
        pauses, plain = Pauses(self._pause), False
        while True:
            self._begin()
            if (self._job._code, self._job._attempt) != self._before:
                return
            try:
                change(self._job)
                self._commit()
                return
            except ReassignedError:
                self._abort()
                raise
            except Exception as error:
                self._abort()
                if not (outage.is_outage(error) or outage.is_conflict(error)):
                    if plain:
                        raise
                    log.events.exception(
                        'what became of %s cannot be stored',
                        describe.safe_repr(self._job))
                    plain, change = True, self._plain_failure(error)
            pauses.wait()

    def _plain_failure(self, error):
        """Return a change that stores *error* as the result, and nothing else."""
        def change(job):
            if self._token is None:
                execution.begin(job)
            execution.settle(job, failures.Failure(error))

        return change

    # Transactions

    def _begin(self):
        """Begin a transaction, waiting while the storage is away."""
        begin(self._manager, self._pause)

    def _abort(self):
        abort(self._manager)


def begin(manager, pause):
    """Begin a transaction, waiting while the storage is away."""
    pauses = Pauses(pause, first=0.1)
    while True:
        try:
            manager.begin()
            return
        except Exception as error:
            if not outage.is_outage(error):
                raise
            log.events.warning('database away: %s', describe.safe_repr(error))
        pauses.wait()


def abort(manager):
    """Abort; an abort that fails must not hide why it was needed."""
    try:
        manager.abort()
    except NoTransaction:
        pass
    except Exception as error:
        log.trace.warning('abort failed: %s', describe.safe_repr(error))
