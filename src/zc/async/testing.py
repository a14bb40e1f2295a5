"""Virtual time and other help for the tests of applications.

The reactor here runs a dispatcher without a thread of its own: time passes only
when a test lets it.
"""
import bisect
import collections
import contextlib
import copyreg
import datetime
import itertools
import logging
import sys
import threading
import time

import transaction
import zope.interface
from transaction.interfaces import NoTransaction

from . import byhand
from . import clock
from . import describe
from . import dispatcher as dispatchers
from .interfaces import ACTIVE
from .interfaces import CALLBACKS
from .interfaces import COMPLETED
from .interfaces import IClock
from .interfaces import IJob
from .interfaces import IReactor
from .interfaces import PARKED

_REAL = datetime.datetime
_UTC = datetime.timezone.utc
#: Real seconds between two looks at a condition.
_LOOK = 0.005
#: Real seconds that one attempt of `Reactor.wait_for` waits for work in hand.
_ATTEMPT = 0.5
_BEGUN = (ACTIVE, CALLBACKS, COMPLETED)


def time_sleep(seconds):
    """Sleep for real *seconds*; kept for the tests that call it."""
    time.sleep(seconds)


# Virtual time

@zope.interface.implementer(IClock)
class VirtualClock:
    """A clock that stands still unless it is set; its steady time too."""

    def __init__(self, moment):
        self.moment = moment

    def now(self):
        return self.moment

    def monotonic(self):
        return clock.to_micros(self.moment) / 1e6


class _DatetimeType(type):
    """Lets real datetimes count as instances of the patched class."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, _REAL)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _REAL)


class _datetime(_REAL, metaclass=_DatetimeType):
    """``datetime.datetime`` whose ``now`` follows virtual time.

    Its instances are real datetimes, so that nothing of it is ever stored.
    """

    def __new__(cls, *args, **kwargs):
        return _REAL(*args, **kwargs)

    @classmethod
    def now(cls, tz=None):
        """Return the virtual time."""
        if tz is None:
            return clock.now().replace(tzinfo=None)
        return clock.now().astimezone(tz)

    @classmethod
    def utcnow(cls):
        """Return the virtual time, naive."""
        return clock.now().replace(tzinfo=None)


_datetime.__name__ = _datetime.__qualname__ = 'datetime'
_datetime.__module__ = 'datetime'

#: The real class, by the name that clients know.
old_datetime = _REAL


def argh(*args):
    """Return a real datetime; records that the old package wrote ask for it."""
    return _REAL(*args)


def _reduce(moment):
    """Reduce a datetime to the bytes that it always has in a pickle.

    A pickle names the class, and refuses it where its module has another by
    that name, as ``datetime`` has in virtual time.
    """
    return datetime.datetime, moment.__reduce_ex__(4)[1]


def __getattr__(name):
    if name == '_now':
        return clock.now()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


_before = None  # the clock that was installed before the virtual one


def setUpDatetime():
    """Install virtual time, and let ``datetime.datetime.now`` follow it.

    It stands at 2006-08-10 15:44:22.000211 UTC.  Nothing happens if time is
    virtual already.
    """
    global _before
    if _before is None:
        _before = clock.install(VirtualClock(
            _REAL(2006, 8, 10, 15, 44, 22, 211, _UTC)))
        datetime.datetime = _datetime
        copyreg.pickle(_REAL, _reduce)


def tearDownDatetime():
    """Let time be real again; nothing happens if it is."""
    global _before
    if _before is not None:
        del copyreg.dispatch_table[_REAL]
        datetime.datetime = _REAL
        clock.install(_before)
        _before = None


def set_now(moment):
    """Set virtual time to *moment* (naive: UTC).  Install it if need be."""
    setUpDatetime()
    clock.install(VirtualClock(clock.utc(moment)))


class VirtualTime:
    """What `virtual_time` gives: the time, and ways to change it."""

    @property
    def now(self):
        """The time, as an aware datetime in UTC."""
        return clock.now()

    def set(self, moment):
        """Set the time to *moment* (naive: UTC)."""
        set_now(moment)

    def advance(self, seconds):
        """Let *seconds*, a number or a timedelta, pass; return the new time."""
        if not isinstance(seconds, datetime.timedelta):
            seconds = datetime.timedelta(seconds=seconds)
        if seconds < datetime.timedelta():
            raise ValueError(f'time cannot advance by {seconds}; use set() to go back')
        set_now(clock.now() + seconds)
        return clock.now()


@contextlib.contextmanager
def virtual_time(moment=None):
    """Let time stand still at *moment* (naive: UTC), by default this one.

    A context manager that gives a `VirtualTime`.  May be nested; afterwards
    time is what it was before.  The whole process is concerned, with all its
    threads.
    """
    before, outer = _before, clock.now()
    set_now(outer if moment is None else moment)
    try:
        yield VirtualTime()
    finally:
        if before is None:
            tearDownDatetime()
        elif _before is not None:  # else a reactor that was stopped has ended it
            set_now(outer)


# The reactor

class _Call:
    """A call that is due at a virtual time."""

    def __init__(self, calls, due, number, call):
        self._calls = calls
        self.due, self.number, self.call = due, number, call

    def __lt__(self, other):
        return (self.due, self.number) < (other.due, other.number)

    def cancel(self):
        """Do not make the call."""
        if self in self._calls:
            self._calls.remove(self)


@zope.interface.implementer(IReactor)
class Reactor:
    """See `IReactor`.  Time passes in `time_flies` and `wait_for` only.

    All methods but ``callFromThread`` are for the test's thread.
    """

    def __init__(self):
        self._calls = []      # in order of their due times
        self._from_threads = collections.deque()
        self._numbers = itertools.count()
        self._triggers = []
        self._waiting = []    # to be called when the reactor is started
        self.started = False

    def start(self):
        """Begin, with virtual time."""
        setUpDatetime()
        self.started = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def stop(self):
        """End: call what was to be called before, and let time be real again."""
        if not self.started:
            return
        self._call_from_threads()
        triggers, self._triggers = self._triggers, []
        try:
            for call in triggers:
                call()
        finally:
            self._calls.clear()
            self.started = False
            tearDownDatetime()

    crash = stop

    def callFromThread(self, callable, *args, **kw):
        """See `IReactor`."""
        self._from_threads.append(lambda: callable(*args, **kw))

    def callInThread(self, callable, *args, **kw):
        """See `IReactor`."""
        threading.Thread(target=callable, args=args, kwargs=kw, daemon=True).start()

    def callLater(self, seconds, callable, *args, **kw):
        """See `IReactor`."""
        due = clock.now() + datetime.timedelta(seconds=seconds)
        call = _Call(self._calls, due, next(self._numbers),
                     lambda: callable(*args, **kw))
        bisect.insort(self._calls, call)
        return call

    def addSystemEventTrigger(self, phase, event, callable, *args, **kw):
        """See `IReactor`."""
        if (phase, event) != ('before', 'shutdown'):
            raise ValueError(f'no trigger {phase!r} {event!r} here, '
                             f'only before shutdown')
        self._triggers.append(lambda: callable(*args, **kw))

    def callWhenRunning(self, callable, *args, **kw):
        """See `IReactor`."""
        if self.started:
            callable(*args, **kw)
        else:
            self._waiting.append(lambda: callable(*args, **kw))

    def _call_from_threads(self):
        """Make the calls that threads asked for; return whether there were any."""
        made = False
        while self._from_threads:
            self._from_threads.popleft()()
            made = True
        return made

    def time_passes(self):
        """Make a call that is due by now; return whether there was one."""
        made = self._call_from_threads()
        if self._calls and self._calls[0].due <= clock.now():
            self._calls.pop(0).call()
            made = True
        look_again()
        return made

    def time_flies(self, seconds):
        """Let *seconds* pass and make the calls that fall due.

        Return their number.  Each is made at its own due time, also those that
        `set_now` has passed over.
        """
        end = clock.now() + datetime.timedelta(seconds=seconds)
        count = 0
        self._call_from_threads()
        while self._calls and self._calls[0].due <= end:
            call = self._calls.pop(0)
            set_now(call.due)
            call.call()
            count += 1
            self._call_from_threads()
        set_now(end)
        look_again()
        return count

    def wait_for(self, *jobs, attempts=10):
        """Let a poll happen and wait until *jobs* are completed.

        Virtual time advances by the poll interval once.  Where the jobs are not
        completed when nobody works any more, or after *attempts* times half a
        real second, print TIME OUT.  Raise AssertionError where one is parked.
        """
        found = dispatchers.get()
        self.time_flies(5 if found is None else found.poll_interval)
        end = time.monotonic() + attempts * _ATTEMPT
        while True:
            idle = all_idle()
            while self.time_passes():
                idle = False
            if all(job.status is COMPLETED for job in jobs):
                return
            _none_is_parked(*jobs)
            if idle or time.monotonic() > end:
                print('TIME OUT')
                return
            time.sleep(_LOOK)


def all_idle():
    """Return whether no dispatcher of the process has a job in hand."""
    return all(found.idle for found in list(dispatchers._dispatchers.values()))


def look_again(manager=transaction.manager):
    """Let the test's connections see what was committed meanwhile.

    Only where that loses nothing.
    """
    if not manager.get()._resources:
        manager.begin()


# Waiting for a condition

def wait_for(condition, seconds=10):
    """Wait up to real *seconds* until *condition*, called without arguments.

    Return what it returned last.  Begins transactions of the thread, so that
    the condition sees what others committed.
    """
    return _poll(condition, seconds, transaction.begin)


def wait_until(condition, message='the condition did not come true', seconds=6):
    """Wait like `wait_for`; raise AssertionError, with *message*, if in vain."""
    found = wait_for(condition, seconds)
    _or_fail(found, seconds, message)
    return found


def _poll(condition, seconds, before=lambda: None):
    end = time.monotonic() + seconds
    while True:
        before()
        found = condition()
        if found or time.monotonic() > end:
            return found
        time.sleep(_LOOK)


def _or_fail(found, seconds, message):
    """Raise AssertionError unless something was *found* within *seconds*."""
    if not found:
        raise AssertionError(f'{message} within {seconds} seconds')


class Poll(dict):
    """What a poll found, by queue and agent, with its ``key`` and its time.

    ``utc_timestamp`` is naive UTC.
    """

    def __init__(self, info):
        super().__init__(info['results'])
        self.key = info['key']
        self.utc_timestamp = info['time']


def get_poll(dispatcher, count=None, seconds=6):
    """Return the newest `Poll` of *dispatcher* once there are more than *count*.

    *count* is by default the number of polls that there have been: the next
    one is returned.  The poll may not be over.
    """
    def number():
        newest = dispatcher.getPollInfo()
        return 0 if newest is None else newest['key']

    if count is None:
        count = number()
    _or_fail(_poll(lambda: number() > count, seconds), seconds, 'no poll')
    return Poll(dispatcher.getPollInfo())


def wait_for_start(job, seconds=6):
    """Wait until *job* is active, or was."""
    _or_fail(wait_for(lambda: job.status in _BEGUN or _is_parked(job), seconds),
             seconds, f'{job!r} was not begun')
    _none_is_parked(job)


def wait_for_result(job, seconds=6):
    """Wait until *job* is completed and return its result.

    Raise AssertionError, with the reason, where it is parked.
    """
    _or_fail(wait_for(lambda: job.status is COMPLETED or _is_parked(job), seconds),
             seconds, f'{job!r} was not completed')
    _none_is_parked(job)
    return job.result


def _is_parked(job):
    return job.status is PARKED


def _none_is_parked(*jobs):
    """Raise AssertionError where one of *jobs* is parked: it will not go on."""
    for job in filter(_is_parked, jobs):
        raise AssertionError(
            f'{describe.safe_repr(job)} is parked: {job.queue.parked.entry(job).reason}')


def wait_for_annotation(job, name, seconds=6):
    """Wait until *job* has the annotation *name* and return it."""
    _or_fail(wait_for(lambda: name in job.annotations, seconds), seconds,
             f'{job!r} has no annotation {name!r}')
    return job.annotations[name]


def wait_for_deactivation(dispatcher, seconds=6):
    """Wait until *dispatcher* is deactivated."""
    _or_fail(_poll(lambda: dispatcher.activated is None, seconds), seconds,
             f'dispatcher {dispatcher.UUID} was not deactivated')


def wait_for_death(agents, seconds=6):
    """Wait until a dispatcher counts as dead, by its *agents* in a queue."""
    _or_fail(wait_for(lambda: agents.dead, seconds), seconds,
             f'dispatcher {agents.UUID} did not die')


# Work without a dispatcher

#: Jobs that `drain` does where no limit is given: more are taken for a mistake.
_ENOUGH = 10_000


def drain(queue, limit=None):
    """Do what is due in *queue*, here and now, and return the jobs that were done.

    In due order, each as a worker does it: in transactions of its own, with
    retries, callbacks, and whatever it puts.  A retry that has to wait and a job
    that is scheduled for later stay in the queue.  With *limit*, no more jobs
    than that; without, RuntimeError where there seems to be no end.

    Raise ValueError where the transaction has changes: they would be lost, and
    what was put not be seen.
    """
    manager = queue._p_jar and queue._p_jar.transaction_manager
    for one in filter(None, (manager, transaction.manager)):
        _check_unchanged(one)
    if manager is None:
        raise ValueError('the queue is in no database; add it and commit')
    keys = _drain(queue._p_jar.db(), queue.name, limit)
    _look_again_unless_explicit(manager)
    return _jobs(queue._p_jar, keys)


def _check_unchanged(manager):
    try:
        changed = manager.get()._resources
    except NoTransaction:
        return
    if changed:
        raise ValueError(
            'the transaction has changes; commit or abort them before jobs are run')


def _look_again_unless_explicit(manager):
    """Like `look_again`; an explicit manager is left to its owner."""
    if not getattr(manager, 'explicit', False):
        look_again(manager)


def _drain(database, name, limit=None):
    """Drain the queue *name* of *database*; return the keys of the jobs."""
    keys = []
    with byhand.Hands(database, name) as hands:
        while limit is None or len(keys) < limit:
            key = hands.work()
            if key is None:
                break
            keys.append(key)
            if limit is None and len(keys) >= _ENOUGH:
                raise RuntimeError(
                    f'{_ENOUGH} jobs were run and there is no end; does a job put '
                    f'itself again?  Give a limit')
    return keys


def _jobs(connection, keys):
    """Return the jobs of *keys* as *connection* sees them, each once."""
    jobs = []
    for oid, database_name in dict.fromkeys(keys):
        job = connection.get_connection(database_name).get(oid)
        if job._call.method == 'fail' and IJob.providedBy(job._call.target):
            job = job._call.target  # what was claimed lets this one fail: it is late
        jobs.append(job)
    return jobs


@contextlib.contextmanager
def inline(queue):
    """Do what is due in *queue* right after each commit of this thread.

    A context manager that gives the list of the jobs that were done so far.  It
    is done as `drain` does it, before ``commit`` returns.
    """
    connection = queue._p_jar
    if connection is None:
        raise ValueError('the queue is in no database; add it and commit')
    jobs, thread = [], threading.get_ident()

    def commit_and_run(committed):
        commit(committed)
        if threading.get_ident() == thread and not byhand.busy():
            _check_unchanged(transaction.manager)
            keys = _drain(database, name)
            _look_again_unless_explicit(connection.transaction_manager)
            jobs.extend(_jobs(connection, keys))

    database, name = connection.db(), queue.name
    commit = transaction.Transaction.commit
    # not a hook: what hooks raise is swallowed, and they run before it is over
    transaction.Transaction.commit = commit_and_run
    try:
        yield jobs
    finally:
        transaction.Transaction.commit = commit


# What was put

#: Stands for whatever a job may have.
_ANY = object()


def put_jobs(queue, call=None, args=_ANY, kwargs=_ANY, begin_after=_ANY, **attributes):
    """Return the jobs in *queue* that are as described, in due order.

    *queue* may also be any iterable of jobs, such as what `drain` returned.
    *call* is what they call, or its dotted name; *args* and *kwargs* are exactly
    what they call it with; *begin_after* is a datetime (naive: UTC), or None for
    those that need not wait; anything else is an attribute of theirs, like
    ``quota_names``.
    """
    return [job for job in queue
            if (call is None or _calls(job, call))
            and (args is _ANY or tuple(job.args) == tuple(args))
            and (kwargs is _ANY or dict(job.kwargs) == dict(kwargs))
            and (begin_after is _ANY or _begins(job, begin_after))
            and all(getattr(job, name) == value for name, value in attributes.items())]


def _calls(job, call):
    if isinstance(call, str):
        return job.kind == call
    try:
        return job.callable == call
    except AttributeError:
        return False  # a method that is gone


def _begins(job, moment):
    if moment is None:
        return job.begin_after is None or job.begin_after <= clock.now()
    return job.begin_after == clock.utc(moment)


def assert_put(queue, call=None, count=None, **description):
    """Raise AssertionError unless *queue* has a job as described; return the first.

    With *count*, there must be so many.  The description is that of `put_jobs`.
    """
    found = put_jobs(queue, call, **description)
    if not found if count is None else len(found) != count:
        number = f'{len(found) or "no"} job' + 's' * (len(found) > 1)
        verb = 'were' if len(found) > 1 else 'was'
        wanted = '' if count is None else f' instead of {count}'
        raise AssertionError(f'{number}{_told(call, description)} {verb} put{wanted}; '
                             f'there is {_shown(queue)}')
    return found[0] if found else None


def assert_not_put(queue, call=None, **description):
    """Raise AssertionError if *queue* has a job as described by `put_jobs`."""
    found = put_jobs(queue, call, **description)
    if found:
        raise AssertionError(f'a job{_told(call, description)} was put: {_shown(found)}')


def _told(call, description):
    """Return how a description is told, after 'job'."""
    told = [f'{name} {describe.safe_repr(value, 200)}'
            for name, value in description.items()]
    if call is not None:
        told.insert(0, call if isinstance(call, str) else describe.callable_name(call))
    return f' of {", ".join(told)}' if told else ''


def _shown(queue, most=10):
    """Return the jobs of *queue* as text, the first of them if there are many."""
    jobs = list(queue)
    shown = [_job_shown(job) for job in jobs[:most]]
    if len(jobs) > most:
        shown.append(f'{len(jobs) - most} more')
    return ', '.join(shown) or 'none'


def _job_shown(job):
    text = describe.safe_repr(job, 200)
    late = job.begin_after is not None and job.begin_after > clock.now()
    return f'{text} for {job.begin_after}' if late else text


# The end

class TearDownDispatcherError(RuntimeError):
    """A dispatcher, or a job in it, does not end."""


_ending = {}  # dispatcher -> _Ending, while it is stuck


class _Ending:
    """The end of one threaded dispatcher.

    It remembers the threads, since the dispatcher forgets them when it is
    deactivated, also those that are stuck.
    """

    def __init__(self, dispatcher):
        self._dispatcher = dispatcher
        self._threads = [
            (pool, thread) for pools in dispatcher.queues.values()
            for pool in pools.values() for thread in pool.threads]
        if dispatcher.activated is not None:
            dispatcher.reactor.callFromThread(dispatcher.reactor.stop)

    def wait(self, seconds):
        """Wait for the threads; raise `TearDownDispatcherError` naming one."""
        end = time.monotonic() + seconds
        self._join_reactor(end)
        for pool, thread in self._threads:
            thread.join(max(0, end - time.monotonic()))
            if thread.is_alive():
                raise TearDownDispatcherError(
                    f'a thread of agent {pool.name!r} does not end: '
                    f'{self._call_in(thread)}')

    def _join_reactor(self, end):
        thread = self._dispatcher.thread
        if thread is None:
            return
        # it waits for the jobs itself, before it ends
        thread.join(max(0, end - time.monotonic()) + self._dispatcher.shutdown_grace)
        if thread.is_alive():
            raise TearDownDispatcherError(
                f'dispatcher {self._dispatcher.UUID} does not end')

    def _call_in(self, thread):
        """Return the repr of the job that *thread* works on."""
        for key in self._dispatcher.getActiveJobIds():
            info = self._dispatcher.getJobInfo(*key)
            if info['thread'] == thread.ident:
                return info['call']
        return 'it has no job'


def tear_down_dispatcher(dispatcher, seconds=3):
    """Stop a threaded *dispatcher*, wait for its threads and forget it.

    Raise `TearDownDispatcherError`, naming the dispatcher's UUID or an agent and
    its job, where one does not end in *seconds*; call it again later then.
    """
    dispatcher.shutdown_grace = min(seconds, dispatcher.shutdown_grace)
    ending = _ending.get(dispatcher)
    if ending is None:
        ending = _ending[dispatcher] = _Ending(dispatcher)
    ending.wait(seconds)
    del _ending[dispatcher]
    dispatchers.pop(dispatcher.UUID)


def print_logs(log_file=None, log_level=logging.CRITICAL):
    """Print what is logged to ``zc.async`` and below; return the handler.

    To *log_file*, by default the standard output of this moment.
    """
    handler = logging.StreamHandler(sys.stdout if log_file is None else log_file)
    handler.setLevel(log_level)
    logging.getLogger('zc.async').addHandler(handler)
    return handler
