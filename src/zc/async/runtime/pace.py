"""How long the jobs of an agent take when nothing hinders them."""
from .. import clock

#: Seconds that jobs take at most, typically, for one thread to go on with them alone.
SHORT = 0.002
#: Seconds after which that is found out anew, where jobs have taken longer.
_AGAIN = 10
#: How much a new duration counts against those before.
_WEIGHT = 1 / 64
#: Durations of which the shortest is the first to count: at the start much is slow once.
_FIRST = 3


class Pace:
    """What a pool of threads knows of its jobs.  While it has its lock.

    Jobs of which nothing is known are taken for short: what was wrong about that is
    seen within a moment.
    """

    def __init__(self):
        self._first = []      # seconds, while there are too few to tell
        self._typical = None  # seconds
        self._since = 0.0     # when they were found to be long, by the steady clock

    @property
    def short(self):
        """Whether a job takes less than it costs to wake a thread for it."""
        if self._typical is None or self._typical < SHORT:
            return True
        if clock.monotonic() - self._since < _AGAIN:
            return False
        self._typical = None
        self._first.clear()
        return True

    def note(self, seconds, alone):
        """Take note that a job took so long, *alone* among the pool's threads or not.

        Beside others it may be they who made it long.
        """
        if not alone and seconds >= SHORT:
            return
        if self._typical is None:
            self._first.append(seconds)
            if len(self._first) == _FIRST:
                self._judge(min(self._first))
        else:
            self._judge(self._typical + (seconds - self._typical) * _WEIGHT)

    def _judge(self, seconds):
        if seconds >= SHORT and (self._typical is None or self._typical < SHORT):
            self._since = clock.monotonic()
        self._typical = seconds
