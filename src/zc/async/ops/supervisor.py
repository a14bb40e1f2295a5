"""A supervisor of several processes: one child for each number, and never two.

It starts the children by forking, replaces one that ended, later and later while
it ends soon, and passes signals on.  Each child tells over a pipe that it is ready
and well, as it would tell a service manager; one that falls silent is killed.  A
child whose supervisor is gone finds nobody at the other end of the pipe, and stops.
"""
import contextlib
import dataclasses
import logging
import os
import select
import signal
import sys

from .. import chance
from .. import clock
from .. import log
from . import notify
from .options import Refused

#: Signals that stop, and that are passed on without stopping.
STOPPING = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP')
                 if hasattr(signal, name))
PASSED_ON = tuple(getattr(signal, name) for name in ('SIGUSR1', 'SIGUSR2')
                  if hasattr(signal, name))
#: Seconds between two looks at everything.
TICK = 5
#: Seconds of silence after which a child is killed.
SILENCE = 60
#: Seconds before a restart at most, and of life that make it a fresh start.
_LONGEST_DELAY = 60
#: The exit status of a child that it makes no sense to start again.
SENSELESS = 2


@dataclasses.dataclass
class Child:
    """The process of one number: the present one, or the next."""

    number: int
    delay: float             # seconds to wait when it ends
    due: float = 0.0         # when to start it, by the steady clock
    pid: int = None          # None: it does not run
    channel: int = None      # our end of the pipe
    begun: float = 0.0
    heard: float = 0.0       # when it was heard of, by the steady clock
    ready: bool = False


class Supervisor:
    """Keeps *count* children running.  One thread, the main one.

    ``work(number, tell)`` is called in each child and returns its exit status;
    *tell* is there what `notify.notifier` makes elsewhere.  *notifier* and
    *watchdog*, from `notify`, are the supervisor's own.
    """

    def __init__(self, count, work, delay=1.0, notifier=None, watchdog=None,
                 silence=SILENCE):
        if not hasattr(os, 'fork'):
            raise Refused('this system cannot fork, so --processes does not work here; '
                          'start the processes one by one')
        self._work = work
        self._delay = delay
        self._notify = notifier or notify.notifier({})
        self._tick = min(TICK, watchdog or TICK, silence)
        self._silence = silence
        self._children = [Child(number, delay) for number in range(1, count + 1)]
        self._stopping = False
        self._said_ready = False
        self._status = 0

    def run(self):
        """Supervise until a signal says to stop; return the exit status."""
        with self._signals_heard() as signals:
            while True:
                self._start_due()
                self._listen(signals)
                self._reap()
                if self._stopping and not self._running():
                    return self._status
                self._kill_silent()
                self._tell()

    def _running(self):
        return [child for child in self._children if child.pid is not None]

    # Signals

    @contextlib.contextmanager
    def _signals_heard(self):
        """Yield a descriptor from which the numbers of signals can be read."""
        source, sink = os.pipe()
        for end in (source, sink):
            os.set_blocking(end, False)
        heard = (*STOPPING, *PASSED_ON, signal.SIGCHLD)
        handlers = {number: signal.signal(number, _hear) for number in heard}
        before = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
        self._inherited = [source, sink]
        try:
            yield source
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(source)
            os.close(sink)

    def _signalled(self, number):
        if number == signal.SIGCHLD:
            return
        if number in STOPPING and not self._stopping:
            log.events.info('supervisor %d stops: %s', os.getpid(),
                            signal.Signals(number).name)
            self._stop()
            return
        self._pass_on(number)

    def _stop(self):
        self._stopping = True
        self._notify(notify.STOPPING)
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number):
        for child in self._running():
            os.kill(child.pid, number)  # not reaped, so the pid is still its

    # Children

    def _start_due(self):
        for child in self._children:
            if child.pid is None and not self._stopping and child.due <= clock.monotonic():
                self._start(child)

    def _start(self, child):
        """Fork; signals wait until the child has handlers of its own."""
        source, sink = os.pipe()
        _flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, {*STOPPING, *PASSED_ON})
        try:
            pid = os.fork()
            if pid == 0:
                os.close(source)
                self._be_child(child, sink)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOPPING, *PASSED_ON})
        os.close(sink)
        os.set_blocking(source, False)
        now = clock.monotonic()
        child.pid, child.channel, child.ready = pid, source, False
        child.begun = child.heard = now
        log.events.info('process %d has pid %d', child.number, pid)

    def _be_child(self, child, sink):
        """Be the child; never returns."""
        status = 1
        try:
            self._forget_the_parent()
            status = self._work(child.number, _Channel(sink))
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            log.events.critical('process %d failed', child.number, exc_info=True)
        finally:
            _flush()
            os._exit(status or 0)

    def _forget_the_parent(self):
        # a group of its own: what the terminal sends reaches it through us, once
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*STOPPING, *PASSED_ON, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in self._inherited:
            os.close(descriptor)
        for sibling in self._children:
            if sibling.channel is not None:
                os.close(sibling.channel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOPPING, *PASSED_ON})

    def _listen(self, signals):
        """Wait for signals, for what children say, or until something is due."""
        channels = {child.channel: child for child in self._running()
                    if child.channel is not None}
        readable, _w, _x = select.select([signals, *channels], (), (), self._patience())
        for descriptor in readable:
            said = os.read(descriptor, 4096)
            if descriptor == signals:
                for number in said:
                    self._signalled(number)
            else:
                self._hear_child(channels[descriptor], said)

    def _hear_child(self, child, said):
        if not said:  # it ends
            os.close(child.channel)
            child.channel = None
        child.heard = clock.monotonic()
        child.ready = child.ready or notify.READY.encode() in said

    def _patience(self):
        now = clock.monotonic()
        waits = [child.due - now for child in self._children
                 if child.pid is None and not self._stopping]
        return max(0, min([self._tick, *waits]))

    def _reap(self):
        """Take note of the children that ended, and of orphans, if we are init."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child, status):
        if child.channel is not None:
            os.close(child.channel)
        pid, child.pid, child.channel = child.pid, None, None
        if self._stopping:
            log.events.info('process %d (pid %d) ended with %d', child.number, pid, status)
            return
        if status == SENSELESS:
            self._status = SENSELESS
            log.events.critical('process %d refused to work; all are stopped',
                                child.number)
            self._stop()
            return
        self._replace_later(child, pid, status)

    def _replace_later(self, child, pid, status):
        now = clock.monotonic()
        if now - child.begun >= _LONGEST_DELAY:
            child.delay = self._delay
        wait = chance.jitter(child.delay)
        child.due = now + wait
        child.delay = min(2 * child.delay, _LONGEST_DELAY)
        log.events.error('process %d (pid %d) ended with %d; it is replaced in %.1f s',
                         child.number, pid, status, wait)

    def _kill_silent(self):
        now = clock.monotonic()
        for child in self._running():
            if child.ready and not self._stopping and now - child.heard > self._silence:
                log.events.critical('process %d (pid %d) is silent since %.0f s; killed',
                                    child.number, child.pid, now - child.heard)
                os.kill(child.pid, signal.SIGKILL)

    def _tell(self):
        """Tell the service manager how things are."""
        states = [notify.WATCHDOG]
        ready = sum(child.ready for child in self._running())
        if ready == len(self._children) and not self._said_ready:
            self._said_ready = True
            states.append(notify.READY)
        states.append(notify.status(f'{ready} of {len(self._children)} processes work'))
        self._notify(*states)


class _Channel:
    """What a child has to say; the end of the supervisor stops the child."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __call__(self, *states):
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, '\n'.join([*states, '']).encode())
        except BrokenPipeError:
            self._descriptor = None
            log.events.error('the supervisor is gone; process %d stops', os.getpid())
            os.kill(os.getpid(), signal.SIGTERM)


def _hear(number, frame):
    """Let the signal be written to the pipe of `signal.set_wakeup_fd`."""


def _flush():
    sys.stdout.flush()
    sys.stderr.flush()
    for handler in logging.getLogger().handlers:
        handler.flush()
