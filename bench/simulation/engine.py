"""Discrete events: what happens, when, and who waits for what.

A process is a generator.  It yields a wait, a callable that is given what to call
when the wait is over; `Engine.sleep`, `Lock.take`, `Cores.work` and `Signal.wait`
return or are such waits.  Time is a float in seconds and passes only here.
"""
import collections
import heapq
import itertools


class Engine:
    """Calls what is planned, in the order of time."""

    def __init__(self):
        self.now = 0.0
        self._planned = []
        self._numbers = itertools.count()  # first planned, first called

    def plan(self, delay, call, *arguments):
        """Call *call* with *arguments* after *delay* seconds."""
        heapq.heappush(self._planned, (
            self.now + delay, next(self._numbers), call, arguments))

    def start(self, process):
        """Let the generator *process* run from now on."""
        self.plan(0, self._go_on, process)

    def _go_on(self, process, value=None):
        try:
            wait = process.send(value)
        except StopIteration:
            return
        wait(lambda value=None: self.plan(0, self._go_on, process, value))

    def sleep(self, seconds):
        """Return a wait of *seconds*."""
        return lambda go_on: self.plan(seconds, go_on)

    def run(self, until):
        """Let time pass up to the moment *until*."""
        while self._planned and self._planned[0][0] <= until:
            self.now, _number, call, arguments = heapq.heappop(self._planned)
            call(*arguments)
        self.now = until


class Lock:
    """Held by one at a time; first come, first served."""

    def __init__(self, engine):
        self._engine = engine
        self._queue = collections.deque()
        self._since = None
        self.held_for = 0.0  # seconds in all

    @property
    def wanted(self):
        """Whether anybody waits for it."""
        return bool(self._queue)

    def take(self, go_on):
        """Wait until the lock is the caller's."""
        if self._since is None:
            self._since = self._engine.now
            go_on()
        else:
            self._queue.append(go_on)

    def free(self):
        """Give the lock to who has waited longest."""
        self.held_for += self._engine.now - self._since
        self._since = self._engine.now if self._queue else None
        if self._queue:
            self._queue.popleft()()


class Cores:
    """*count* processors, shared evenly by all that compute at a time.

    With more of them than processors, each computes the more slowly.  The progress
    that one who computes all the time has made is a clock of its own, so a
    change of their number costs no walk through them.  *vary* makes of what something
    takes typically what it takes this time.
    """

    def __init__(self, engine, count, vary=float):
        self._engine = engine
        self._count = count
        self._vary = vary
        self._progress = self._looked = 0.0
        self._ends = []  # (progress at the end, number, what to call), a heap
        self._numbers = itertools.count()
        self._plan = 0   # the latest; those before it are void
        self.used = 0.0  # processor seconds

    def work(self, seconds):
        """Return a wait for *seconds* of a processor."""
        def wait(go_on):
            taken = self._vary(seconds)
            self._pass()
            heapq.heappush(self._ends, (
                self._progress + taken, next(self._numbers), go_on))
            self.used += taken
            self._plan_next()

        return wait

    def _speed(self):
        return min(1.0, self._count / len(self._ends))

    def _pass(self):
        now = self._engine.now
        if self._ends:
            self._progress += (now - self._looked) * self._speed()
        self._looked = now

    def _plan_next(self):
        self._plan += 1
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._progress)
            self._engine.plan(left / self._speed(), self._end, self._plan)

    def _end(self, plan):
        if plan != self._plan:
            return
        self._pass()
        _end, _number, go_on = heapq.heappop(self._ends)
        self._plan_next()
        go_on()


class Signal:
    """Something that processes wait for; who comes late waits for the next."""

    def __init__(self, engine):
        self._engine = engine
        self._waiting = []

    def wait(self, limit=None):
        """Return a wait for the next `fire`, or for *limit* seconds."""
        def wait(go_on):
            # whichever comes second finds nothing left to call
            once = [go_on]
            self._waiting.append(once)
            if limit is not None:
                self._engine.plan(limit, self._call, once)

        return wait

    def fire(self):
        """End all waits."""
        waiting, self._waiting = self._waiting, []
        for once in waiting:
            self._call(once)

    def _call(self, once):
        if once:
            once.pop()()
