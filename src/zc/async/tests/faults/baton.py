"""Threads that run one at a time, in an order and a time that chance decides.

Whoever has the baton runs; at a yield point it goes to whoever the seeded source
of randomness picks among those that can go on.  So real threads, with their own
transactions and their own ``zc.async.local``, interleave anywhere, and the same
seed gives the same run.  Time is virtual: it jumps to the next moment at which
somebody can go on.
"""
import collections
import threading
import zlib

from .storage import Died

#: Virtual seconds that a turn with the baton takes at most.
TURN = 0.004
#: Real seconds after which a baton that does not come back is given up.
PATIENCE = 60
#: Steps of the trace that are kept to be printed.
SHOWN = 60


class Stuck(Exception):
    """Nobody can go on, now or ever: who waits, and where."""


class Task:
    """One thread's work in *process*, which may be None."""

    def __init__(self, baton, name, process=None, target=None):
        self.name, self.process = name, process
        self.ready = self.until = None  # what it waits for
        self.done = False
        self._baton = baton
        self._turn = threading.Lock()
        self._turn.acquire()
        self._target = target
        self.main = target is None

    def run(self):
        """The thread's life."""
        self._turn.acquire()
        try:
            self._target()
        except Died:
            pass
        except BaseException as error:
            self._baton.failed(self, error)
        finally:
            self.done = True
            self._baton.leave(self)

    @property
    def dead(self):
        """Whether its process is, or the whole run ends."""
        if self.process is None:
            return self._baton.ending and not self.main
        return self.process.dead

    def frozen_until(self):
        """Return the moment before which its process stands still."""
        return 0 if self.process is None else self.process.frozen_until

    def able(self, now):
        """Return whether it can go on at *now*."""
        if self.dead:
            return True
        if self.frozen_until() > now:
            return False
        if self.ready is None and self.until is None:
            return True
        if self.until is not None and self.until <= now:
            return True
        return self.ready is not None and self.ready()

    def next_time(self):
        """Return when time alone will let it go on, or None."""
        if self.until is not None:
            return max(self.until, self.frozen_until())
        if self.ready is None or self.ready():
            return self.frozen_until()
        return None

    def give(self):
        """Let it run."""
        self._turn.release()

    def take(self, timeout=-1):
        """Wait for the baton; return whether it came."""
        return self._turn.acquire(timeout=timeout)

    # as `threading.Thread` has it

    def is_alive(self):
        """Return whether it has not ended."""
        return not self.done

    def join(self, timeout=None):
        """Wait for its end, *timeout* virtual seconds at most."""
        self._baton.wait(lambda: self.done, timeout)


class Baton:
    """Who runs.  *source* is the one source of randomness, *now* a number of seconds.

    The thread that makes it is its first task, and gets the baton back when the
    others have failed for good.
    """

    def __init__(self, source, now):
        self.source = source
        self.now = now
        self.steps = 0
        self.sum = 0         # of the whole trace
        self.trace = collections.deque(maxlen=SHOWN)
        self.errors = []     # (task's name, exception) of what must not happen
        self.ending = False
        self.echo = None     # called with each line of the trace
        self.current = self._main = Task(self, 'main')
        self._tasks = [self._main]

    def start(self, target, name, process=None):
        """Start and return a task; it runs when it is picked."""
        task = Task(self, name, process, target)
        self._tasks.append(task)
        thread = threading.Thread(target=task.run, name=name, daemon=True)
        thread.start()
        return task

    def note(self, text, small=False):
        """Write *text* into the trace; what is *small* is not printed later."""
        line = f'{self.steps} {self.now:.3f} {self.current.name}: {text}'
        self.sum = zlib.crc32(line.encode(), self.sum)
        if not small:
            self.trace.append(line)
        if self.echo is not None:
            self.echo(line)

    def failed(self, task, error):
        """Remember an *error* that nobody has caught."""
        self.errors.append((task.name, error))

    # Handing on

    def step(self):
        """Let others run, or not.  Raise `Died` if the process is dead by then."""
        self.wait()

    def sleep(self, seconds):
        """Go on *seconds* later."""
        self.wait(None, seconds)

    def wait(self, ready=None, seconds=None):
        """Go on when *ready* returns true, or *seconds* later; return its answer.

        *ready* is called at any time, from any thread, and changes nothing.
        """
        task = self.current
        task.ready = ready
        task.until = None if seconds is None else self.now + seconds
        self._hand_on(task)
        if task.dead:
            raise Died
        return ready is None or bool(ready())

    def leave(self, task):
        """Hand on for good."""
        self._tasks.remove(task)
        self._pick().give()

    def _hand_on(self, task):
        next_one = self._pick()
        if next_one is not task:
            next_one.give()
            if not task.take(PATIENCE if task is self._main else -1):
                raise Stuck(f'{self.current.name} keeps the baton')
            self.current = task

    def _pick(self):
        """Return who goes on, after time has passed as far as need be."""
        self.steps += 1
        self.now += self.source.random() * TURN
        while True:
            able = [task for task in self._tasks if task.able(self.now)]
            if able:
                picked = self.source.choice(able)
                self.current = picked
                return picked
            times = [task.next_time() for task in self._tasks]
            times = [time for time in times if time is not None]
            if not times:
                waiting = ', '.join(task.name for task in self._tasks)
                self.errors.append(('baton', Stuck(f'all wait for ever: {waiting}')))
                self._main.until = self.now
                return self._main
            self.now = max(self.now, min(times))

    def run_out(self):
        """Let all others end; their processes are dead.  Called by the first task."""
        self.ending = True
        while len(self._tasks) > 1:
            task = self._main
            task.ready, task.until = lambda: len(self._tasks) == 1, None
            self._hand_on(task)


class Lock:
    """As `threading.Lock` and `threading.RLock`; who waits hands on the baton."""

    def __init__(self, baton, again=False):
        self._baton, self._again = baton, again
        self._owner, self._count = None, 0

    def acquire(self, blocking=True, timeout=-1):
        """Wait for it; the timeout is not used by what is tested here."""
        me = self._baton.current
        while self._owner is not None and not (self._again and self._owner is me):
            if self._owner is me:
                raise Stuck(f'{me.name} waits for its own lock')
            self._baton.wait(lambda: self._owner is None)
        self._owner = me
        self._count += 1
        return True

    def release(self):
        """Let the next one have it; the dead need not have it any more."""
        if self._owner is not self._baton.current:
            if self._baton.current.dead:
                return
            raise RuntimeError('release of a lock of others')
        self._count -= 1
        if not self._count:
            self._owner = None

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()


class Condition:
    """As `threading.Condition`; what is waited for is looked at at each step."""

    def __init__(self, baton, lock):
        self._baton, self._lock = baton, lock
        self._waiting = []  # an object for each that waits to be told

    def __enter__(self):
        return self._lock.acquire()

    def __exit__(self, *exc_info):
        self._lock.release()

    def wait(self):
        """Wait until somebody notifies."""
        mine = object()
        self._waiting.append(mine)
        self._lock.release()
        self._baton.wait(lambda: mine not in self._waiting)
        self._lock.acquire()

    def wait_for(self, predicate, timeout=None):
        """Return whether *predicate* is true within *timeout* seconds."""
        if predicate():
            return True
        self._lock.release()
        found = self._baton.wait(predicate, timeout)
        self._lock.acquire()
        return found

    def notify(self, n=1):
        """Let *n* of those go on that wait to be told."""
        del self._waiting[:n]


class Event:
    """As `threading.Event`."""

    def __init__(self, baton):
        self._baton, self._set = baton, False

    def set(self):
        """Let all go on who wait."""
        self._set = True

    def clear(self):
        """Let those wait who come."""
        self._set = False

    def is_set(self):
        """Return whether it was set."""
        return self._set

    def wait(self, timeout=None):
        """Wait; return whether it was set."""
        if timeout != 0:
            self._baton.wait(self.is_set, timeout)
        return self._set


class Threading:
    """Stands in for the module `threading`."""

    get_ident = staticmethod(threading.get_ident)

    def __init__(self, baton):
        self._baton = baton

    def Lock(self):
        return Lock(self._baton)

    def RLock(self):
        return Lock(self._baton, again=True)

    def Condition(self, lock=None):
        return Condition(self._baton, self.RLock() if lock is None else lock)

    def Event(self):
        return Event(self._baton)

    def current_thread(self):
        return self._baton.current
