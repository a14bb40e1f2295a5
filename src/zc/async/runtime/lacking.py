"""What code this process lacks, so that it leaves the jobs to those who have it.

In memory only, and bounded.  Claims pass over whole lines of jobs that were set
aside (see ``..model.parking``), so what is remembered here are names and not jobs;
only of jobs whose own class is gone, which cannot be set aside, each is remembered.
"""
import collections
import threading

from .. import clock
from .. import log
from ..model import parking

#: Seconds after which a job is tried whose code was missing: the code may be here.
AGAIN = 60
#: Names that are remembered, and jobs whose class is gone.
LIMIT = 1000


class Lacking(parking.Claimant):
    """The claimant that stands for the dispatcher *UUID*.  Any thread."""

    def __init__(self, UUID):
        self.UUID = UUID
        self._lock = threading.Lock()
        self._until = collections.OrderedDict()  # name -> when to try again
        self._left = collections.OrderedDict()   # address -> since when it is left

    def note(self, name):
        """Remember that *name* is missing here."""
        with self._lock:
            known = name in self._until
            self._until[name] = clock.monotonic() + AGAIN
            self._until.move_to_end(name)
            if len(self._until) > LIMIT:
                self._until.popitem(last=False)
        if not known:
            log.events.warning(
                '%s is missing in this process; jobs that need it are left to other '
                'dispatchers for a while', name)

    def forget(self, name):
        """Let jobs that need *name* be claimed, to be parked or done."""
        with self._lock:
            self._until.pop(name, None)

    def lacks(self, name):
        """See `Claimant`."""
        with self._lock:
            return clock.monotonic() < self._until.get(name, 0)

    def leaves(self, address, name):
        """See `Claimant`.

        Those that are too many to be remembered are not left: a claim would have
        to look at all of them again and again.
        """
        now = clock.monotonic()
        with self._lock:
            since = self._left.get(address)
            if since is None:
                self._forget_old(now)
                if len(self._left) >= LIMIT:
                    return False
                since = self._left[address] = now
        if since == now:
            self.note(name)
        return now - since < parking.PATIENCE.total_seconds()

    def _forget_old(self, now):
        """Forget jobs that were parked, or taken by others, since long."""
        limit = 2 * parking.PATIENCE.total_seconds()
        while self._left and now - next(iter(self._left.values())) > limit:
            self._left.popitem(last=False)
