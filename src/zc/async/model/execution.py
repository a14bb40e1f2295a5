"""The steps of one attempt.  Who calls them owns the transaction.

Committed by the worker, they make effects, result and status one commit; called
by `run_here`, they are part of whatever the caller commits.
"""
import logging
import types

import persistent
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
from ..interfaces import NEW
from ..interfaces import NotStorableError
from ..threadlocal import local
from .call import Args
from .call import Kwargs
from .call import probe_both_ways
from .call import resolve
from .result import kept


def begin(job):
    """Make *job* ACTIVE; its number of attempts is the token of this one."""
    status.move(job, 'begin')
    job._attempt += 1
    job._active_start = clock.micros()
    job._active_end = None
    job._awaits = None


class Entered:
    """A context in which *job* is this thread's job, within its ``setUp`` and ``tearDown``.

    A class: a generator as a context costs each job a little more.
    """

    __slots__ = ('_job', '_before', '_tear_down', '_info')

    def __init__(self, job):
        self._job = job

    def __enter__(self):
        job = self._job
        self._before, local.job = local.job, job
        try:
            # looked up now: the storage may be away when it is called, and whatever
            # setUp has entered must be left all the same
            self._tear_down = job.tearDown
            self._info = job.setUp()
        except BaseException:
            local.job = self._before
            raise

    def __exit__(self, *error):
        try:
            _tear_down(self._job, self._tear_down, self._info)
        finally:
            local.job = self._before


def _tear_down(job, tear_down, setup_info):
    try:
        tear_down(setup_info)
    except BaseException:
        # what the attempt did is committed or aborted already
        log.events.exception('tearDown of %s failed', describe.safe_repr(job))


def invoke(job, args=(), kwargs=None):
    """Call what *job* calls, with more arguments, and return the value.

    Whatever the call raises comes out of here; so does `BrokenCallError`.
    """
    call = resolve(job)
    own, named = job.args, job.kwargs
    # a subclass of the job may have its own
    own = own.plain() if type(own) is Args else own
    named = named.plain() if type(named) is Kwargs else named
    return call(*own, *args, **({**named, **kwargs} if kwargs else named))


def settle(job, value):
    """Make *value* the result of the ACTIVE *job*."""
    status.move(job, 'settle')
    _record(job, value)


def fail(job, error):
    """Make the Failure of *error* the result of *job*, which has not begun."""
    status.move(job, 'fail')
    _record(job, failures.Failure(error))


def discard(job, error):
    """Make the Failure of *error* the result of *job*, which is parked."""
    status.move(job, 'discard')
    _record(job, failures.Failure(error))


def end(job):
    """Let *job*, which has its result, be completed whatever follows from it."""
    if job._code != status.FINISHED:
        status.move(job, 'finish')
        job._callbacks_end = clock.micros()


def _record(job, value):
    if issubclass(type(value), failures.Failure):
        # what is kept is text: the exception would keep its frames alive
        value.forget()
    job._result = kept(value)
    job._active_end = clock.micros()
    job._awaits = None
    if job._lacks is not None:
        job._lacks = None
    if ICallbackProxy.providedBy(job.parent):
        job.parent.job_settled(job)


# Not isinstance, nor asked of anything: a value's own code may answer what it likes.

def is_deferred(value):
    """Return whether *value* is a Deferred of Twisted."""
    return issubclass(type(value), Deferred)


def is_job(value):
    """Return whether *value* is a job."""
    return issubclass(type(value), persistent.Persistent) and IJob.providedBy(value)


def check_result(value):
    """Return the `Probe` that has met *value*, stored and loaded for nothing.

    Raise `NotStorableError` where it cannot be stored, or loaded, as a result.
    """
    try:
        unfinished = None if value is None else _unfinished(value)
        if unfinished is None:
            return probe_both_ways(value)
    except BaseException as error:
        # SystemExit, too: nothing but the result is at fault
        raise NotStorableError(
            f'the result {describe.safe_repr(value, 200)} cannot be stored '
            f'({describe.error(error)}); return something that can be pickled '
            f'and loaded again') from None
    raise NotStorableError(
        f'the result is {unfinished}, whose code nobody would run; await or exhaust it '
        f'in the call, with asyncio.run() or list(), or return a Deferred of it')


def _unfinished(value):
    """Return what *value* is if code would have to go on for its result, or None.

    A coroutine is closed: otherwise Python warns that it was never awaited.
    """
    cls = type(value)
    for kind, name in _UNFINISHED:
        if issubclass(cls, kind):
            if kind is types.CoroutineType:
                value.close()
            return name
    return 'an awaitable' if hasattr(cls, '__await__') else None


_UNFINISHED = ((types.CoroutineType, 'a coroutine'), (types.GeneratorType, 'a generator'),
               (types.AsyncGeneratorType, 'an asynchronous generator'))


def storable_value(value):
    """Return *value* if another connection can store it, or why not as a Failure."""
    if failures.is_failure(value):
        return failures.sanitize(value)
    try:
        if not check_result(value).met_persistent:
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
    _check_cycle(outer, inner)
    lengthen(outer, inner)
    status.check(outer, 'wait')
    inner.append_callback(outer)  # not where its code is missing
    outer._awaits = inner
    return True


def _check_cycle(outer, inner):
    """Raise `JobCycleError` if *inner* can have no result before *outer* has one."""
    link, seen = inner, {id(outer)}
    while callbacks.is_node(link) and link.status not in callbacks.SETTLED:
        if id(link) in seen:
            raise JobCycleError(
                f'{describe.safe_repr(outer)} would wait for its own result; '
                f'return another job')
        seen.add(id(link))
        link = _awaited_by(link)


def _awaited_by(node):
    """Return what *node*, which has no result, gets it from or after, or None."""
    if ICallbackProxy.providedBy(node) and node.job is not None:
        return node.job
    if node._awaits is not None:
        return node._awaits
    return node.parent if node.status is NEW else None


#: Jobs that may follow from one another while they run: each returned by the one
#: before it, or added as a callback.  More are taken for a loop without an end.
MAX_CHAIN = 1000


def lengthen(job, following):
    """Count that *following* follows from *job*, which runs.

    Raise `JobCycleError` where there are more than `MAX_CHAIN` in a row.
    """
    length = job._chain + 1
    if length > MAX_CHAIN:
        raise JobCycleError(
            f'{describe.safe_repr(job)} goes on without end: {MAX_CHAIN} jobs have '
            f'returned, or added as a callback, the next one; put a job that nobody '
            f'waits for')
    if following._chain < length:
        following._chain = length


def lengthen_by_callback(node, callback):
    """Count *callback* of *node*, if a running callback of the same job adds it."""
    running = local.job
    if running is not None and callbacks.top(node) is callbacks.top(running):
        lengthen(running, callback)


def log_failure(job, default=logging.ERROR):
    """Log the Failure of *job* at its level, *default* if it has none."""
    level = job.failure_log_level
    log.events.log(
        level if isinstance(level, int) else default, '%s failed: %s',
        describe.safe_repr(job), failures.line(job.result))


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
        with Entered(job):
            value = invoke(job, args, kwargs)
            if failures.is_failure(value):
                value = failures.sanitize(value)
            elif not is_deferred(value):
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
    if is_deferred(value):
        value = _fired(value)
    if is_job(value):
        await_job(job, value)
    else:
        settle(job, value)
        if failures.is_failure(value):
            log_failure(job)


def _fired(deferred):
    """Return the result of a Deferred that has one; a Failure otherwise."""
    if deferred.called and not is_deferred(deferred.result):
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

    def leaves(self, job):
        """All is done here."""
        return False

    def interrupted(self, job, result):
        """There is nothing to do here for a callback that others perform."""
