"""Sees that nothing waits behind a job that was thought to be short."""
from .threads import LATE


class Patrol:
    """Goes round the pools that *pools* returns while tickets, or outcomes, wait.

    Where one thread goes on with short jobs and then has a long one, others are
    woken for what waits behind it, and *lead_late* is called to store what it has left;
    it returns whether something is left, but not for long yet.
    """

    def __init__(self, reactor, pools, lead_late):
        self._reactor = reactor
        self._pools = pools
        self._lead_late = lead_late
        self._under_way = False

    def begin(self):
        """Go round in a moment.  Any thread."""
        if not self._under_way:
            self._under_way = True
            self._reactor.callFromThread(self._later)

    def _later(self):
        self._reactor.callLater(LATE, self._go_round)

    def _go_round(self):
        try:
            waits = any([pool.rouse() for pool in self._pools()]) | self._lead_late()
        except BaseException:
            self._later()
            raise
        if waits:
            self._later()
            return
        self._under_way = False
        # who put one meanwhile relied on this round
        if any(pool.waits for pool in self._pools()):
            self.begin()
