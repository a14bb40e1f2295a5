"""Attempts at one call, until it has a result, waits, or is in other hands.

The one retry loop of the package.  What goes wrong is decided by the job's
policy; this is the place that acts on the decision.
"""
import contextlib
import logging

from transaction.interfaces import NoTransaction

from .. import chance
from .. import clock
from .. import describe
from .. import failures
from .. import log
from .. import outage
from ..agent import Agent
from ..interfaces import AbortedError
from ..interfaces import ReassignedError
from ..job import Job
from ..model import callbacks
from ..model import execution
from ..model import recovery
from ..model import retry
from ..model import status
from ..model.call import CodeMissing
from ..model.liveness import fence
from ..model.liveness import may_store
from ..model.outcomes import NOTHING
from . import storing
from . import surroundings
from .absence import Absence
from .effects import has_effects
from .effects import LastOf
from .pauses import AWAY
from .pauses import CROWD
from .pauses import Pauses
from .pauses import SOON
from .pauses import Stopped
from .surroundings import Lost
from .surroundings import Surroundings
from .troubles import met

#: Seconds that a call may take to be completed in one commit with its effects.
SHORT = 0.02
#: Conflicts that a storage found, during one run, that cost no attempt.
FREE = 100


class Attempts:
    """The attempts at *job* with *args*, in one worker's hands.

    With *group*, a value whose transaction changed nothing is returned instead
    of committed.  A callback (*token* None) begins in the transaction that
    settles it; another job was begun as its attempt number *token*.  *held* is
    the job that an agent holds, by default *job*; a callback's is far above it
    where chains are long.  With *unstored*, an `.unstored.Unstored`, the value may be
    kept there instead; what is kept there is in each commit.
    """

    def __init__(self, connection, manager, pause, job, args=(), token=None,
                 group=False, held=None, unstored=None):
        self._connection = connection
        self._manager = manager
        self._pause = pause
        self._job = job
        self._held = job if held is None else held
        self._args = args
        self._token = token
        self._group = group
        self._unstored = unstored
        self._cache = {}        # the policy's memory between these attempts
        self._pauses = Pauses(pause, limit=CROWD)
        self._absence = Absence(connection.db(), pause)
        self._free = FREE
        self._committing = False
        self._ended = False     # whether a call has ended its transaction by itself
        self._errors = 0        # of those that do not pass by themselves
        self.deferred = None    # what the job waits for, if it does

    @property
    def has_ended(self):
        """Whether a call has ended its transaction by itself."""
        return self._ended

    def run(self):
        """Return the value to be committed with others, or NOTHING.

        A transaction has begun.  Raise `ReassignedError` where the job is in other
        hands, `CodeMissing` where its code is not here, `Lost`, and `Stopped`.
        """
        try:
            return self._run()
        except Lost as lost:
            lost.attempts = self
            raise

    def _run(self):
        self._before = self._job._code, self._job._attempt
        if self._token is not None:
            self._before = status.BEGUN, self._token
        self._place = self._held.parent, self._held._order
        while True:
            try:
                return self._once()
            except (Stopped, ReassignedError, CodeMissing, Lost):
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
        unstored = self._unstored
        if unstored is not None and self._token is None:
            unstored.watch(self._connection, job)
        with execution.Entered(job):
            try:
                _ensure_begun(job)
                self._entered = clock.monotonic()
                value = self._settled_value(self._invoke())
                if self._group and self._can_wait(value):
                    with self._last():
                        self._abort()
                    return value
                if unstored is not None and not self._ended and unstored.keep(
                        job, self._held, self._before, self._entered, value):
                    return NOTHING
                self._conclude(value)
                with self._last():
                    self._commit()
            except BaseException:
                # before tearDown: what it takes away belongs to the transaction
                self._abort()
                raise
        return NOTHING

    def _invoke(self):
        """Return what the call returns.

        Raise `AbortedError` where it did what no call may do, and `Lost`.
        """
        around = Surroundings(self._connection)
        try:
            value = execution.invoke(self._job, self._args)
        except BaseException:
            self._restore(around)
            self._note_ended(around.ended)
            raise
        problem = self._restore(around) or self._moved(around.ended)
        self._note_ended(around.ended)
        if problem is not None:
            raise AbortedError(f'{describe.safe_repr(self._job)} {problem}')
        return value

    def _restore(self, around):
        """See `Surroundings.restore`."""
        try:
            return around.restore()
        finally:
            self._ended |= around.ended

    def _moved(self, ended):
        """Return that the call has moved the job that is held, or None."""
        if (self._held.parent, self._held._order) == self._place:
            return None
        if ended and self._token is None:
            raise ReassignedError(f'{describe.safe_repr(self._held)} was reassigned')
        return 'took itself, or the job that it follows from, away from its agent'

    def _note_ended(self, ended):
        """Go on from the transactions that the call has *ended* by itself, if it has."""
        if not ended:
            return
        job = self._job
        log.events.warning(
            '%s ended its transaction by itself: what it did before is '
            'stored, or lost, whatever becomes of it, and may be done again',
            describe.safe_repr(job))
        if self._unstored is not None:
            self._unstored.replay(self._connection)  # what it aborted had these in it
        if self._token is None:
            _ensure_begun(job)  # and that

    def _check_ours(self):
        """Raise `ReassignedError` if the job is in other hands by now.

        Somebody else has changed its status then, or, for a callback, taken the
        job that it belongs to out of our agent.
        """
        job = self._job
        if not self._is_ours() or job._awaits is not None:
            raise ReassignedError(f'{job!r} was reassigned')
        self._check_place()

    def _check_place(self):
        """Raise `ReassignedError` if our agent does not hold the job any more."""
        if (self._held.parent, self._held._order) != self._place:
            raise ReassignedError(f'{self._held!r} was reassigned')

    def _is_ours(self):
        """Return whether nobody else has changed the job's status by now."""
        now = self._job._code, self._job._attempt
        if self._ended and self._before[0] == status.UNSET and (
                now == (status.BEGUN, self._before[1] + 1)):
            # a callback, whose call has stored by itself that it was begun
            self._before = now
        return now == self._before

    def _settled_value(self, value):
        """Return *value*, or that of a Deferred which has one already."""
        if execution.is_deferred(value) and value.called and not execution.is_deferred(
                getattr(value, 'result', value)):
            found = value.result
            value.addErrback(lambda failure: None)
            value = found
        return failures.sanitize(value) if failures.is_failure(value) else value

    def _last(self):
        """Return a context: what ends in it is the last transaction, if it seems so."""
        job = self._job
        if (self._token is None or self.deferred is not None or job._awaits is not None
                or callbacks.children(job) or type(job).tearDown is not Job.tearDown):
            return contextlib.nullcontext()
        return LastOf(self._connection)

    def _can_wait(self, value):
        """Return whether *value* may be committed by another connection, later.

        One that code of the job's own stores must not hold up whoever does that; what
        may be done only once is not to be in doubt for longer than need be; and a
        Failure is logged by who stores it.
        """
        if (execution.is_deferred(value) or execution.is_job(value)
                or failures.is_failure(value)
                or has_effects(self._manager.get(), self._connection)
                or getattr(self._job.retry_policy_factory, 'at_most_once', False)):
            return False
        found = execution.check_result(value)
        return not (found.met_persistent or found.met_code)

    def _conclude(self, value):
        job = self._job
        if self._cache:
            job.getRetryPolicy().updateData(self._cache)
        if execution.is_deferred(value):
            execution.await_deferred(job)
            self.deferred = value
        elif execution.is_job(value):
            execution.await_job(job, value)
        else:
            execution.check_result(value)
            execution.settle(job, value)
            if self._may_finish():
                callbacks.finish_in_hand(job)
            if failures.is_failure(value):
                execution.log_failure(job)

    def _may_finish(self):
        """Return whether the job may be completed with its effects.

        Who adds a callback meanwhile makes that conflict, and the call is made again:
        so only where it was short, and did not do something like it by itself.
        """
        return (self._group and self._held is self._job
                and not getattr(self._job, '_v_annotated', False)
                and clock.monotonic() - self._entered < SHORT
                and type(self._job.parent) is Agent)

    def _commit(self):
        if not (may_store if self._held is self._job else fence)(self._held):
            raise ReassignedError(f'{self._job!r} was reassigned')
        if self._unstored:
            self._unstored.restore(self._connection)
        self._committing = True
        storing.commit(self._manager)
        self._committing = False
        if self._unstored is not None:
            self._unstored.forget()

    # When an attempt did not succeed

    def _failed(self, failure, error):
        """Act on *failure*; return whether these attempts are over."""
        committing, self._committing = self._committing, False
        met(error)
        if committing and not passes(error):
            surroundings.doubt()
        if committing and self._reading(self._landed):
            if self._unstored is not None:
                self._unstored.forget()
            return True
        self._take_back()
        log.trace.debug('%s: %s', describe.safe_repr(self._job), failures.line(failure))
        if not isinstance(error, Exception):
            return self._interrupted()
        self._absence.judge(error)
        policy_says = self._reading(lambda: self._ask(failure, error, committing))
        if isinstance(policy_says, retry.RunAgain):
            self._tell(failure, error)
        self._abort()
        if isinstance(policy_says, retry.GiveUp):
            self._store_failure(lambda job: self._give_up(job, failure))
            return True
        if self._unstored and not outage.is_outage(error):
            # it has waited for this attempt only
            self._unstored.store(self._connection)
        return self._run_again(policy_says.after.total_seconds(), policy_says, error)

    def _take_back(self):
        """Give the job back to its agent, if a call has taken it out for good."""
        if not self._ended or self._held is not self._job:
            return
        agent, order = self._place
        self._abort()

        def change(job):
            if job.parent is None:
                job._order = order
                agent.hold(job)

        self._store(change)

    def _tell(self, failure, error):
        """Log an error that does not pass by itself: the first, then every fifth."""
        if outage.is_outage(error) or outage.is_conflict(error):
            return
        if self._errors % 5 == 0:
            level = self._job.failure_log_level
            log.events.log(
                logging.ERROR if level is None else level,
                '%s is tried again after %d errors: %s', describe.safe_repr(self._job),
                self._errors + 1, failures.line(failure))
        self._errors += 1

    def _landed(self):
        """Return whether a commit that raised was made nevertheless.

        The status and the number of the attempt tell it, read in a new
        transaction.  Raise `ReassignedError` if they tell of others.
        """
        job = self._job
        if self._is_ours() and job._awaits is None:
            return False
        begun = self._before[1] + (self._before[0] == status.UNSET)
        if job._attempt == begun and job._code != status.UNSET:
            if self._token is None:
                # a callback that others have run meanwhile was begun as often
                self._check_place()
            return True
        raise ReassignedError(f'{job!r} was reassigned')

    def _ask(self, failure, error, committing):
        """Return the policy's decision; one that fails itself gives up."""
        cache = self._cache
        if outage.is_storage_conflict(error) and self._free:
            # what it counts now is forgotten
            self._free -= 1
            cache = dict(cache)
        try:
            policy = self._job.getRetryPolicy()
            ask = policy.commitError if committing else policy.jobError
            return retry.decide(ask(failure, cache))
        except BaseException as problem:
            if is_storages(problem):
                raise
            log.events.exception('the retry policy of %s failed',
                                 describe.safe_repr(self._job))
            return retry.GiveUp()

    def _run_again(self, delay, decision, error):
        """Wait, or put the job back in its queue; return whether that is all."""
        if outage.is_outage(error):
            self._absence.wait(error, delay)
            return False
        if delay and self._token is not None:
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
            self._store_failure(self._break_off)
        else:
            self._store(recovery.interrupt)
        return True

    def _break_off(self, job):
        _ensure_begun(job)
        execution.settle(job, failures.Failure(AbortedError(
            'the callback tried to end its thread')))

    def _give_up(self, job, failure):
        _ensure_begun(job)
        self._remember(job)
        execution.settle(job, failure)

    def _reschedule(self, job, decision):
        self._remember(job)
        recovery.reschedule(job, decision.after)

    def _remember(self, job):
        if self._cache:
            job.getRetryPolicy().updateData(self._cache)

    def _store_failure(self, change):
        """As `_store`; log the failure when it is stored, and not at each try."""
        stored = self._store(change)
        if stored:
            execution.log_failure(self._job)
        return stored

    def _store(self, change):
        """Commit *change* of the job, however often that takes; return True.

        A change that cannot be stored gives way to a Failure that says why.  Return
        False, and do nothing, where the job is in other hands.
        """
        pauses, plain = Pauses(self._pause, limit=AWAY), False
        while True:
            self._begin()
            try:
                if not self._is_ours():
                    return False
                if self._held is not self._job:
                    # a callback's own record does not tell who may change it
                    self._check_place()
                change(self._job)
                self._commit()
                return True
            except ReassignedError:
                self._abort()
                raise
            except BaseException as error:
                self._abort()
                met(error)
                if not passes(error):
                    if plain:
                        raise Lost from error
                    log.events.exception(
                        'what became of %s cannot be stored',
                        describe.safe_repr(self._job))
                    plain, change = True, self._plain_failure(error)
            pauses.wait()

    def fail(self, connection, lost):
        """Store that the job has failed, in another *connection*.

        *lost* is what was raised where these attempts had to be broken off.
        """
        why = str(lost) or (
            f'hindered each transaction after it: {describe.error(lost.__cause__)}')
        self._connection = connection
        self._job = connection.get(self._job._p_oid)
        self._held = connection.get(self._held._p_oid)
        holder, order = self._place
        self._place = holder and connection.get(holder._p_oid), order

        def change(job):
            # the connection before is closed, and the job there cannot be described
            self._give_up(job, failures.Failure(
                AbortedError(f'{describe.safe_repr(job)} {why}')))

        if not self._store_failure(change):
            raise ReassignedError(f'{describe.safe_repr(self._job)} was reassigned')

    def _plain_failure(self, error):
        """Return a change that stores *error* as the result, and nothing else."""
        def change(job):
            _ensure_begun(job)
            execution.settle(job, failures.Failure(error))

        return change

    # Transactions

    def _reading(self, look):
        """Return what ``look()`` does in a new transaction.

        It is called again while the storage is away, and after its conflicts.
        """
        pauses = Pauses(self._pause, first=0.1, limit=AWAY)
        while True:
            self._begin()
            try:
                return look()
            except Exception as error:
                self._abort()
                if not is_storages(error):
                    raise
                met(error)
            pauses.wait()

    def _begin(self):
        """Begin a transaction, waiting while the storage is away."""
        try:
            if self._unstored:
                self._unstored.begin(self._connection)
            else:
                begin(self._manager, self._pause)
        except Exception as error:
            if isinstance(error, (Stopped, ReassignedError)):
                raise
            raise Lost from error

    def _abort(self):
        abort(self._manager)


def _ensure_begun(job):
    """Begin *job*, a callback, if that is not stored: it is, with what settles it."""
    if job._code == status.UNSET:
        execution.begin(job)


def is_storages(error):
    """Return whether *error* is the storage's absence, or a conflict that it found."""
    return outage.is_outage(error) or outage.is_storage_conflict(error)


def passes(error):
    """Return whether what could not be stored because of *error* can be, one day."""
    return outage.is_standstill(error) or outage.is_conflict(error)


def begin(manager, pause):
    """Begin a transaction, waiting while the storage is away."""
    pauses = Pauses(pause, first=0.1, limit=AWAY)
    while True:
        try:
            manager.begin()
            return
        except Exception as error:
            if not is_storages(error):
                raise
            met(error)
        pauses.wait()


def commit_step(manager, pause, change):
    """Commit *change*, however often that takes; return what it returns."""
    pauses = Pauses(pause, first=SOON, limit=AWAY)
    while True:
        begin(manager, pause)
        try:
            found = change()
            storing.commit(manager)
            return found
        except Exception as error:
            abort(manager)
            met(error)
            if not passes(error):
                raise
        pauses.wait()


def abort(manager):
    """Abort; an abort that fails must not hide why it was needed."""
    try:
        manager.abort()
    except NoTransaction:
        pass
    except BaseException as error:
        surroundings.doubt()
        log.trace.warning('abort failed: %s', describe.safe_repr(error))
