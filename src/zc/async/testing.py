"""Virtual time and other help for the tests of applications.

The reactor here runs a dispatcher without a thread of its own: time passes only
when a test lets it.
"""
import bisect
import collections
import datetime
import itertools
import logging
import sys
import threading
import time

import transaction
import zope.interface

from . import clock
from . import dispatcher as dispatchers
from .interfaces import COMPLETED
from .interfaces import IClock
from .interfaces import IReactor

_REAL = datetime.datetime
_UTC = datetime.timezone.utc
#: Real seconds between two looks at a condition.
_LOOK = 0.005
#: Real seconds that one attempt of `Reactor.wait_for` waits for work in hand.
_ATTEMPT = 0.5


def time_sleep(seconds):
    """Sleep for real *seconds*; kept for the tests that call it."""
    time.sleep(seconds)


# Virtual time

@zope.interface.implementer(IClock)
class VirtualClock:
    """A clock that stands still unless it is set.  Steady time stays real."""

    def __init__(self, moment):
        self.moment = moment

    def now(self):
        return self.moment

    def monotonic(self):
        return time.monotonic()


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

_before = None  # the clock that was installed before the virtual one


def setUpDatetime():
    """Install virtual time, and let ``datetime.datetime.now`` follow it."""
    global _before
    if _before is None:
        _before = clock.install(VirtualClock(
            _REAL(2006, 8, 10, 15, 44, 22, 211, _UTC)))
        datetime.datetime = _datetime


def tearDownDatetime():
    """Let time be real again."""
    global _before
    if _before is not None:
        datetime.datetime = _REAL
        clock.install(_before)
        _before = None


def set_now(moment):
    """Set virtual time to *moment* (naive: UTC).  Install it if need be."""
    setUpDatetime()
    clock.install(VirtualClock(clock.utc(moment)))


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
        for call in self._triggers:
            call()
        self._triggers = []
        self._calls = []
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
        _look_again()
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
        _look_again()
        return count

    def wait_for(self, *jobs, attempts=10):
        """Let a poll happen and wait until *jobs* are completed.

        Virtual time advances by the poll interval once.  Where the jobs are not
        completed when nobody works any more, or after *attempts* times half a
        real second, print TIME OUT.
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
            if idle or time.monotonic() > end:
                print('TIME OUT')
                return
            time.sleep(_LOOK)


def all_idle():
    """Return whether no dispatcher of the process has a job in hand."""
    return all(found.idle for found in list(dispatchers._dispatchers.values()))


def _look_again():
    """Let the test's connections see what was committed meanwhile.

    Only where that loses nothing.
    """
    if not transaction.get()._resources:
        transaction.begin()


# Waiting for a condition

def wait_for(condition, seconds=10):
    """Wait up to real *seconds* until *condition*, called without arguments.

    Return what it returned last.  Begins transactions of the thread.
    """
    end = time.monotonic() + seconds
    while True:
        transaction.begin()
        found = condition()
        if found or time.monotonic() > end:
            return found
        time.sleep(_LOOK)


def _wait_or_fail(condition, seconds, message):
    if not wait_for(condition, seconds):
        raise AssertionError(f'{message} within {seconds} seconds')


def get_poll(dispatcher, count=None, seconds=6):
    """Return the next poll of *dispatcher*, or the one after *count* of them."""
    def number():
        newest = dispatcher.getPollInfo()
        return 0 if newest is None else newest['key']

    wanted = number() + 1 if count is None else count
    _wait_or_fail(lambda: number() >= wanted, seconds, 'no poll')
    return dispatcher.getPollInfo()


def wait_for_start(job, seconds=6):
    """Wait until *job* was begun."""
    _wait_or_fail(lambda: job.active_start is not None, seconds,
                  f'{job!r} was not begun')


def wait_for_result(job, seconds=6):
    """Wait until *job* is completed and return its result."""
    _wait_or_fail(lambda: job.status is COMPLETED, seconds,
                  f'{job!r} was not completed')
    return job.result


def wait_for_annotation(job, name, seconds=6):
    """Wait until *job* has the annotation *name* and return it."""
    _wait_or_fail(lambda: name in job.annotations, seconds,
                  f'{job!r} has no annotation {name!r}')
    return job.annotations[name]


def wait_for_deactivation(dispatcher, seconds=6):
    """Wait until *dispatcher* is deactivated."""
    _wait_or_fail(lambda: dispatcher.activated is None, seconds,
                  'the dispatcher was not deactivated')


def wait_for_death(agents, seconds=6):
    """Wait until what is known of a dispatcher in a queue says it is dead."""
    _wait_or_fail(lambda: agents.dead, seconds, 'the dispatcher did not die')


class TearDownDispatcherError(RuntimeError):
    """A dispatcher, or a job in it, does not end."""


def tear_down_dispatcher(dispatcher, seconds=3):
    """Stop a threaded *dispatcher* and forget it.

    Raise `TearDownDispatcherError`, naming what is stuck, where it or a job
    does not end within *seconds*; call it again later then.
    """
    pools = [(name, pool) for queue in dispatcher.queues.values()
             for name, pool in queue.items()]
    threads = [(name, thread) for name, pool in pools for thread in pool.threads]
    if dispatcher.activated is not None and not dispatcher._stopping.is_set():
        dispatcher.reactor.callFromThread(dispatcher.reactor.stop)
    if dispatcher.thread is not None:
        dispatcher.thread.join(seconds + dispatcher.shutdown_grace)
        if dispatcher.thread.is_alive():
            raise TearDownDispatcherError(
                f'dispatcher {dispatcher.UUID} does not end')
    for name, thread in threads:
        thread.join(seconds)
        if thread.is_alive():
            calls = [dispatcher.getJobInfo(*key)['call']
                     for key in dispatcher.getActiveJobIds()]
            raise TearDownDispatcherError(
                f'a thread of agent {name!r} does not end: {", ".join(calls)}')
    dispatchers.pop(dispatcher.UUID)


def print_logs(log_file=None, log_level=logging.CRITICAL):
    """Print what is logged to ``zc.async`` and below; return the handler."""
    handler = logging.StreamHandler(sys.stdout if log_file is None else log_file)
    handler.setLevel(log_level)
    logging.getLogger('zc.async').addHandler(handler)
    return handler
