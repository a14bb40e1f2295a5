"""The steps of one attempt.  Who calls them owns the transaction.

Committed by the worker, they make effects, result and status one commit; called
by `run_here`, they are part of whatever the caller commits.
"""
import contextlib
import logging

import transaction

from twisted.internet.defer import Deferred

from . import callbacks
from . import status
from .. import clock
from .. import describe
from .. import failures
from .. import log
from ..interfaces import AbortedError
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import JobCycleError
from ..interfaces import NotStorableError
from ..threadlocal import local
from .call import probe
from .call import resolve


def begin(job):
    """Make *job* ACTIVE; its number of attempts is the token of this one."""
    status.move(job, 'begin')
    job._attempt += 1
    job._active_start = clock.micros()
    job._active_end = None
    job._awaits = None


@contextlib.contextmanager
def entered(job):
    """Make *job* this thread's job, within its ``setUp`` and ``tearDown``."""
    before, local.job = local.job, job
    try:
        # looked up now: the storage may be away when it is called, and whatever
        # setUp has entered must be left all the same
        tear_down = job.tearDown
        setup_info = job.setUp()
        try:
            yield
        finally:
            _tear_down(job, tear_down, setup_info)
    finally:
        local.job = before


def _tear_down(job, tear_down, setup_info):
    try:
        tear_down(setup_info)
    except Exception:
        # what the attempt did is committed or aborted already
        log.events.exception('tearDown of %s failed', describe.safe_repr(job))


def invoke(job, args=(), kwargs=None):
    """Call what *job* calls, with more arguments, and return the value.

    Whatever the call raises comes out of here; so does `BrokenCallError`.
    """
    call = resolve(job)
    return call(*job.args, *args, **{**job.kwargs, **(kwargs or {})})


def settle(job, value):
    """Make *value* the result of the ACTIVE *job*."""
    status.move(job, 'settle')
    _record(job, value)


def fail(job, error):
    """Make the Failure of *error* the result of *job*, which has not begun."""
    status.move(job, 'fail')
    _record(job, failures.Failure(error))


def _record(job, value):
    if isinstance(value, failures.Failure):
        # what is kept is text: the exception would keep its frames alive
        value.forget()
    job._result = value
    job._active_end = clock.micros()
    job._awaits = None
    if ICallbackProxy.providedBy(job.parent):
        job.parent.job_settled(job)


def check_result(value):
    """Return whether *value* refers to persistent objects.

    Raise `NotStorableError` where it cannot be stored as a result.
    """
    try:
        return probe(value)
    except Exception as error:
        raise NotStorableError(
            f'the result {describe.safe_repr(value, 200)} cannot be stored '
            f'({type(error).__name__}: {describe.safe_repr(str(error), 200)}); '
            f'return something that can be pickled') from None


def storable_value(value):
    """Return *value* if another connection can store it, or why not as a Failure."""
    if failures.is_failure(value):
        return failures.sanitize(value)
    try:
        if not check_result(value):
            return value
        raise NotStorableError(
            f'the result {describe.safe_repr(value, 200)} of a Deferred refers to '
            f'persistent objects; let it bring plain data')
    except NotStorableError as error:
        return failures.Failure(error)


#: What a job ``_awaits`` whose result a Deferred of its process will bring.
DEFERRED = 'deferred'


def await_deferred(job):
    """Let *job*, which is ACTIVE, have the result of a Deferred one day."""
    status.check(job, 'wait')
    job._awaits = DEFERRED


def await_job(outer, inner):
    """Let *outer*, which is ACTIVE, have the result of *inner* one day.

    Return True if it has to wait; False if *inner* has its result already,
    which is *outer*'s now.  Raise `JobCycleError` if they would wait for each
    other.
    """
    if inner.status in callbacks.SETTLED:
        settle(outer, inner.result)
        return False
    link = inner
    while IJob.providedBy(link):
        if link is outer:
            raise JobCycleError(
                f'{outer!r} would wait for its own result; return another job')
        link = link._awaits
    status.check(outer, 'wait')
    outer._awaits = inner
    inner.append_callback(outer)
    return True


def log_failure(job, default=logging.ERROR):
    """Log the Failure of *job* at its level, *default* if it has none."""
    level = job.failure_log_level
    log.events.log(
        default if level is None else level, '%s failed: %s',
        describe.safe_repr(job), failures.brief(job.result))


def is_callback(job):
    """Return whether *job* is a callback of another."""
    parent = job.parent
    return IJob.providedBy(parent) or ICallbackProxy.providedBy(parent)


def run_here(job, args=(), kwargs=None):
    """Run *job* and its callbacks in the caller's transaction.

    Return its result.  Nothing is committed.  What a failing call had changed
    is taken back with a savepoint.
    """
    _attempt_here(job, args, kwargs)
    for node in callbacks.walk(job, _Here()):
        callbacks.try_finish(node)
    return job.result


def _attempt_here(job, args, kwargs=None):
    begin(job)
    savepoint = _savepoint(job)
    try:
        with entered(job):
            value = invoke(job, args, kwargs)
            if failures.is_failure(value):
                value = failures.sanitize(value)
            elif not isinstance(value, Deferred):
                check_result(value)
    except Exception as error:
        savepoint.rollback()
        value = failures.Failure(error)
    _conclude_here(job, value)


def _savepoint(job):
    jar = job._p_jar
    manager = transaction.manager if jar is None else jar.transaction_manager
    return manager.get().savepoint(optimistic=True)


def _conclude_here(job, value):
    if isinstance(value, Deferred):
        value = _fired(value)
    if IJob.providedBy(value):
        await_job(job, value)
    else:
        settle(job, value)
        if failures.is_failure(value):
            log_failure(job)


def _fired(deferred):
    """Return the result of a Deferred that has one; a Failure otherwise."""
    if deferred.called and not isinstance(deferred.result, Deferred):
        value = deferred.result
        if failures.is_failure(value):
            deferred.addErrback(lambda failure: None)
            return failures.sanitize(value)
        return value
    deferred.addErrback(lambda failure: None)  # the cancellation, which is told below
    deferred.cancel()
    return failures.Failure(AbortedError(
        'a job that is called directly cannot wait for a Deferred; '
        'put it in a queue'))


class _Here:
    """Performs callbacks in the caller's transaction, for `callbacks.walk`."""

    def run(self, job, result):
        """Run the callback *job* with *result*."""
        _attempt_here(job, (result,))

    def choose(self, proxy, result):
        """Let *proxy* choose; return the job it chose, or None."""
        return proxy.choose(result)

    def deliver(self, job, result):
        """Give *result* to *job*, which waited for it."""
        settle(job, result)

    def interrupted(self, job):
        """There is nothing to do here for a callback that others perform."""
