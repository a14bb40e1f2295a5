"""How many jobs are claimed ahead of the threads that could begin them.

While a turn is committed, and that takes as long as the disk does, workers with short
jobs would have nothing to do.  So a turn claims as many as they will do in its time,
and no more than `..agent.AHEAD`.  A job that no thread has begun after `LINGER` seconds is
given back, and the agent gets none ahead until its jobs are short again.
"""
import math

from .. import clock
from ..agent import AHEAD

#: Seconds that the jobs of an agent take at most, typically, for some to be ahead.
SHORT = 0.02
#: Seconds after which a job that was claimed ahead is given back.
LINGER = 0.25
#: How much a new duration counts against those before.
_WEIGHT = 1 / 8


class Ahead:
    """What a dispatcher knows of how long jobs take; keyed by agents' pools.

    Whoever holds the lock of the turns calls `note`; the rest, who takes a turn.
    """

    def __init__(self):
        self._typical = {}  # pool -> seconds

    def note(self, pool, seconds):
        """Take note that a job took so long."""
        typical = self._typical.get(pool, seconds)
        self._typical[pool] = typical + (seconds - typical) * _WEIGHT

    def count(self, pool, size, turn_time):
        """Return how many jobs to claim for *pool*, of *size* threads, ahead."""
        typical = self._typical.get(pool)
        if typical is None or typical > SHORT:
            return 0
        return min(AHEAD, math.ceil(size * turn_time / max(typical, 1e-6)))

    def give_up(self, pool):
        """Claim none ahead for *pool* for now: its jobs take long."""
        self._typical[pool] = max(self._typical.get(pool, 0), 4 * SHORT)


def lingers(ticket, seconds=0.0):
    """Return whether *ticket*, claimed ahead, was not begun within so many *seconds*."""
    return (ticket.ahead and ticket.thread is None
            and clock.monotonic() - ticket.handed >= seconds)
