"""Processes that come and go: forked from one that has imported everything.

So a process is there in a hundredth of a second, instead of half a second.  Who has
a stage must have no threads: it forks.
"""
import collections
import dataclasses
import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback

from . import actors
from . import history
from . import mutants
from . import work


@dataclasses.dataclass
class Actor:
    """One process: the function *role* of `actors`, called in a fork."""

    name: str
    role: str
    who: str           # its name, and the how manieth of it
    told: dict
    pid: int
    born: float
    stopped: bool = False
    killed: bool = False
    ending: bool = False
    status: int = None  # as `os.waitstatus_to_exitcode` says, once it has ended


class Stage:
    """Starts actors and sees them end.  One thread, the main one."""

    def __init__(self, folder, mutant=None):
        self.folder = folder
        self._mutant = mutant
        self._counts = {}
        self.actors = []   # those that run
        self.cost = collections.Counter()  # seconds of a processor, by role
        # its other end is closed when we are gone, however that happened
        self._alive = os.pipe()
        self._signals = os.pipe()
        for end in self._signals:
            os.set_blocking(end, False)

    def __enter__(self):
        self._handler = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._before = signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)
        return self

    def __exit__(self, *_error):
        for actor in self.actors:
            self.send(actor, signal.SIGKILL)
        while self.actors:
            self.wait(1)
        signal.set_wakeup_fd(self._before)
        signal.signal(signal.SIGCHLD, self._handler)
        for descriptor in (*self._alive, *self._signals):
            os.close(descriptor)

    def start(self, name, role, **told):
        """Start and return the next `Actor` called *name*."""
        number = self._counts[name] = self._counts.get(name, 0) + 1
        who = f'{name}-{number}'
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._act(role, who, told)
        actor = Actor(name, role, who, told, pid, time.monotonic())
        self.actors.append(actor)
        return actor

    def _act(self, role, who, told):
        """Be the actor; never returns."""
        status = 1
        try:
            self._leave_the_stage(who)
            os.chdir(self.folder)  # what is made in passing is made there
            work.history = history.History(self.folder, who)
            mutants.install(self._mutant)
            status = getattr(actors, role)(who=who, folder=self.folder, **told)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status or 0)

    def _leave_the_stage(self, who):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(self._alive[1])
        for descriptor in self._signals:
            os.close(descriptor)
        log = os.open(log_path(self.folder, who), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
        threading.Thread(target=_end_with, args=(self._alive[0],), daemon=True).start()

    def send(self, actor, number):
        """Send *actor* a signal if it runs: it is not reaped, so the pid is its.

        Nobody is asked twice to end: that would mean at once.
        """
        if actor.status is not None or (actor.ending and number == signal.SIGTERM):
            return
        actor.ending |= number == signal.SIGTERM
        actor.killed |= number == signal.SIGKILL
        actor.stopped = (actor.stopped or number == signal.SIGSTOP) and number not in (
            signal.SIGCONT, signal.SIGKILL)
        os.kill(actor.pid, number)

    def wait(self, seconds):
        """Wait until an actor ends, *seconds* at most; return those that have ended."""
        ended = self._reap()
        if not ended and seconds > 0:
            select.select([self._signals[0]], (), (), seconds)
            ended = self._reap()
        return ended

    def _reap(self):
        try:
            os.read(self._signals[0], 4096)
        except BlockingIOError:
            pass
        for actor in self.actors:
            pid, status, usage = os.wait4(actor.pid, os.WNOHANG)
            if pid:
                actor.status = os.waitstatus_to_exitcode(status)
                self.cost[actor.role] += usage.ru_utime + usage.ru_stime
        ended = [actor for actor in self.actors if actor.status is not None]
        self.actors = [actor for actor in self.actors if actor.status is None]
        return ended

    def named(self, *names):
        """Return the running actors of these names."""
        return [actor for actor in self.actors if actor.name in names]


def log_path(folder, who):
    """Return where what the actor *who* prints is written."""
    return os.path.join(folder, f'{who}.log')


def _end(number, frame):
    raise SystemExit(0)


def _end_with(descriptor):
    """End when the stage is gone."""
    os.read(descriptor, 1)
    os._exit(3)
