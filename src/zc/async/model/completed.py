"""The completed jobs of an agent, in buckets by day that are dropped whole."""
import persistent
from BTrees.LOBTree import LOBTree

from .. import clock
from .. import timekeys

_DAY = 24 * 60 * 60 * 1_000_000
#: Days that are kept, besides the one that runs.
DAYS = 7


class Completed(persistent.Persistent):
    """Iterable, the newest first."""

    def __init__(self):
        self._buckets = ()  # (start in microseconds, tree), the newest first

    def add(self, job):
        """Add *job* as the newest, and drop what is too old."""
        # Negative keys: trees are iterated forwards, the newest is wanted first.
        self._bucket()[-timekeys.stamp()] = job

    def _bucket(self):
        now = clock.micros()
        if not self._buckets or now - self._buckets[0][0] >= _DAY:
            kept = tuple(bucket for bucket in self._buckets
                         if now - bucket[0] < (DAYS + 1) * _DAY)
            self._buckets = ((now, LOBTree()), *kept)
        return self._buckets[0][1]

    def clear(self):
        """Forget all of them."""
        self._buckets = ()

    def first(self, default=None):
        """Return the newest, or *default*."""
        return next(iter(self), default)

    def __iter__(self):
        for _start, tree in self._buckets:
            yield from tree.values()

    def __len__(self):
        return sum(len(tree) for _start, tree in self._buckets)

    def __bool__(self):
        return any(self._buckets) and self.first() is not None
