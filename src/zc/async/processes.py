"""Processes that a test can kill, stop and hold up, acted in virtual time.

Each is a dispatcher with a database connection pool in common, so that all happens in
one real process; `zc.async.testkit.World` makes them.  What a killed process had in
hand stays as it is: its thread does not come back from `Process.kill`.
"""
import contextlib
import datetime
import threading
from unittest import mock

import zope.interface

from . import clock
from . import dispatcher as dispatchers
from . import outage
from . import testing
from .interfaces import IReactor
from .runtime import threads
from .threadlocal import local

#: Real seconds that jobs have to end, or to come to where they hang.
_PATIENCE = 10
#: Pauses below so many seconds take no virtual time: others may wait for the thread.
_SHORT = 0.4
RUNNING, HELD_UP, KILLED, STOPPED = 'running', 'held up', 'killed', 'stopped'


class WorldEnded(BaseException):
    """Ends the threads that hang, when their world ends."""


def this_process():
    """Return the `Process` that does the job that calls this."""
    return local.getReactor().process


class Processes:
    """The processes of one test, and the time that passes for all of them.

    *db* is the database.  All methods are for the test's thread.
    """

    def __init__(self, db):
        self._db = db
        self._pool_size = db.getPoolSize()
        self._found = []
        self.reactor = testing.Reactor()
        self.reactor.start()
        self.changed = threading.Condition()  # whatever threads wait for
        self.over = False

    def start(self, UUID, poll_interval):
        """Start a `Process` with this *UUID* and return it."""
        process = Process(self, self._db, UUID, poll_interval)
        self._found.append(process)
        # each real one has a pool of connections of its own
        self._db.setPoolSize(self._pool_size * (1 + len(self._found)))
        process.dispatcher.activate()
        self.time_flies(0)
        return process

    def time_flies(self, seconds):
        """Let *seconds* of virtual time pass, and what is called in it end.

        Raise AssertionError where a job neither ends nor hangs.
        """
        end = clock.now() + datetime.timedelta(seconds=seconds)
        self._step(0)
        while clock.now() < end:
            left = (end - clock.now()).total_seconds()
            self._step(min(left, *(one.dispatcher.poll_interval for one in self._found)))

    def _step(self, seconds):
        self.reactor.time_flies(seconds)
        self.tell()
        testing.wait_until(self._quiet, 'the jobs do not end', _PATIENCE)

    def _quiet(self):
        while self.reactor.time_passes():
            pass
        return all(one.quiet for one in self._found)

    def tell(self):
        """Let threads look whether what they wait for has come."""
        with self.changed:
            self.changed.notify_all()

    def end(self):
        """Stop what runs, and let all threads end."""
        for process in self._found:
            process.stop()
        self.over = True
        self.tell()
        for process in self._found:
            process.join()
        self.reactor.stop()


@zope.interface.implementer(IReactor)
class _Reactor:
    """What one process sees of the reactor: nothing is called in a dead one."""

    def __init__(self, process, reactor):
        self.process = process
        self._reactor = reactor

    def callFromThread(self, callable, *args, **kw):
        """See `IReactor`."""
        self._reactor.callFromThread(self.process.called, callable, args, kw)

    def callInThread(self, callable, *args, **kw):
        """See `IReactor`."""
        self._reactor.callInThread(callable, *args, **kw)

    def callLater(self, seconds, callable, *args, **kw):
        """See `IReactor`."""
        return self._reactor.callLater(
            seconds, self.process.called, callable, args, kw)

    def addSystemEventTrigger(self, phase, event, callable, *args, **kw):
        """See `IReactor`: nothing, since a `Process` is stopped by its own method."""

    def callWhenRunning(self, callable, *args, **kw):
        """See `IReactor`."""
        self._reactor.callWhenRunning(self.process.called, callable, args, kw)


class _Dispatcher(dispatchers.Dispatcher):
    """A dispatcher whose pauses last in virtual time."""

    shutdown_grace = 0

    @property
    def in_hand(self):
        """How many jobs workers have taken."""
        return self._turns.in_hand

    def pause(self, seconds):
        due = clock.now() + datetime.timedelta(seconds=seconds)
        if seconds >= _SHORT:
            self.reactor.process.pause(
                lambda: clock.now() >= due or self._stopping.is_set())
        return self._stopping.is_set()

    def abandon(self):
        """Let the threads end, as far as they can; nothing is handed back."""
        self._stopping.set()
        for pool in self._pools():
            pool.setSize(0)
        self._turns.close()


class Process:
    """A dispatcher that works as if it had a process of its own.

    Made by `zc.async.testkit.World.start_process`.  ``dispatcher`` is what works in
    it, ``UUID`` its identity, and ``state`` one of the words of this module.  A method
    is for the test's thread or, where it says so, for a job that the process does.
    """

    def __init__(self, processes, db, UUID, poll_interval):
        self._processes = processes
        self.UUID = UUID
        self.state = RUNNING
        self._threads = []
        self._waits = []   # conditions that threads of it wait for
        self._late = []    # calls that it was held up for
        self.dispatcher = _Dispatcher(
            db, _Reactor(self, processes.reactor), poll_interval, UUID,
            start_thread=self._start_thread)

    def _start_thread(self, target, name):
        def run():
            # here, for it may ask who it is before this thread goes on
            self._threads.append(threading.current_thread())
            target()

        return threads.start(run, name)

    def called(self, callable, args, kw):
        """Make a call of the reactor, later if held up, and never if dead."""
        if self.state is RUNNING:
            callable(*args, **kw)
        elif self.state is HELD_UP:
            self._late.append((callable, args, kw))

    @property
    def quiet(self):
        """Whether it does nothing but wait for what others do."""
        if self.state is not RUNNING or self.dispatcher.idle:
            return True
        waiting = sum(not condition() for condition in list(self._waits))
        return 0 < self.dispatcher.in_hand <= waiting

    def wait(self, condition):
        """Let the thread that calls this wait for *condition*."""
        self._waits.append(condition)
        try:
            with self._processes.changed:
                self._processes.changed.wait_for(condition)
        finally:
            self._waits.remove(condition)

    def pause(self, condition):
        """Wait like `wait`, unless the test's thread calls, which moves the time."""
        if self._in_its_thread():
            self.wait(condition)

    # What can happen to it

    def hang(self):
        """Do not return, in a job, before the world ends; raise `WorldEnded` then."""
        self.wait(lambda: self._processes.over)
        raise WorldEnded

    def kill(self):
        """Die as by SIGKILL: nothing more is called or stored, nor handed back.

        Called by a job of its own, it does not return.
        """
        if self.state in (RUNNING, HELD_UP):
            self.state = KILLED
            self._leave()
        if self._in_its_thread():
            self.hang()

    def hold_up(self):
        """Be stopped as by SIGSTOP; called by a job, it returns when it goes on."""
        if self.state is RUNNING:
            self.state = HELD_UP
        if self._in_its_thread():
            self.wait(lambda: self.state is not HELD_UP or self._processes.over)

    def go_on(self):
        """Go on after `hold_up`, and catch up with what is due."""
        if self.state is not HELD_UP:
            raise ValueError(f'a process that is {self.state} cannot go on; '
                             f'start another one')
        self.state = RUNNING
        late, self._late = self._late, []
        for callable, args, kw in late:
            self.called(callable, args, kw)
        self._processes.time_flies(0)

    def stop(self):
        """Stop in order, as after SIGTERM, with no grace for the jobs."""
        if self.state is RUNNING:
            self.dispatcher.deactivate()
            self.state = STOPPED
            self._leave()
            self._processes.tell()
            testing.look_again()

    def _leave(self):
        if dispatchers.get(self.UUID) is self.dispatcher:
            dispatchers.pop(self.UUID)

    def _in_its_thread(self):
        return threading.current_thread() in self._threads

    def join(self):
        """Let its threads end, when the world ends."""
        self._leave()
        self.dispatcher.abandon()
        self._processes.tell()
        for thread in self._threads:
            thread.join(_PATIENCE)


@contextlib.contextmanager
def storage_away(storage):
    """Let *storage* be as a server that cannot be reached, within the block.

    A context manager.  For a storage that is not multi-version by itself, such as a
    FileStorage or a MappingStorage.  What connections have in their caches can still
    be read, as with ZEO.
    """
    def away(*args, **kw):
        raise outage.ClientDisconnected('the test has taken the database away')

    with mock.patch.multiple(storage, loadBefore=away, tpc_begin=away):
        yield
