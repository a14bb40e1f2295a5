"""How long something takes that the jobs of an agent do, when nothing hinders them."""
from .. import clock

#: Seconds that jobs take at most, typically and without their commits, for one thread to
#: go on with them alone.
SHORT = 0.002
#: How often the limit one duration counts for at most: a machine stands still now and then.
MOST = 10
#: Seconds after which that is found out anew, where it has taken longer.
_AGAIN = 10
#: How much a new duration counts against those before.
_WEIGHT = 1 / 64
#: Durations of which the shortest is the first to count: at the start much is slow once.
_FIRST = 3


class Pace:
    """What a pool of threads knows of its jobs, or their commits.  While it has its lock.

    That of which nothing is known is taken for short, less than *limit* seconds: what was
    wrong about that is seen within a moment.
    """

    def __init__(self, limit):
        self._limit = limit
        self._first = []      # seconds, while there are too few to tell
        self._typical = None  # seconds
        self._since = 0.0     # when they were found to be long, by the steady clock

    @property
    def multiple(self):
        """How often the limit it takes, 0 where it is short."""
        return 0 if self.short else int(self._typical / self._limit)

    @property
    def short(self):
        """Whether it takes less than the limit."""
        if self._typical is None or self._typical < self._limit:
            return True
        if clock.monotonic() - self._since < _AGAIN:
            return False
        self._typical = None
        self._first.clear()
        return True

    def note(self, seconds, alone):
        """Take note that it took so long, *alone* among the pool's threads or not.

        Beside others it may be they who made it long.
        """
        seconds = min(seconds, MOST * self._limit)
        if not alone and seconds >= self._limit:
            return
        if self._typical is None:
            self._first.append(seconds)
            if len(self._first) == _FIRST:
                self._judge(min(self._first))
        else:
            self._judge(self._typical + (seconds - self._typical) * _WEIGHT)

    def _judge(self, seconds):
        if seconds >= self._limit and (
                self._typical is None or self._typical < self._limit):
            self._since = clock.monotonic()
        self._typical = seconds
