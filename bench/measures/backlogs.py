"""Whether what waits makes what is done slower.

All runs share a database.  In each, a fresh process works off the first jobs, and
before the next as many are put in the place of those.
"""
from bench import children
from bench.measures.base import install
from bench.measures.base import Measure
from bench.measures.base import put
from bench.measures.base import seen

#: Backlogs that are larger take too long to make elsewhere.
_ANYWHERE, _SERVED = 10_000, 100_000


class Backlog(Measure):
    """The first jobs of a backlog of *size*, beside those of a small one."""

    keeps = True
    filter = None
    small = 1000

    def __init__(self, name, label, size):
        super().__init__(name, label)
        self._size = size
        if size > self.small:
            self.reference = 'backlog-1k'
        self.kinds = (
            ('filestorage', 'zeo', 'relstorage', 'postgresql') if size <= _ANYWHERE
            else ('filestorage', 'zeo') if size <= _SERVED else ('filestorage',))

    def _waiting(self, plan):
        """Return how many jobs wait at first."""
        return max(self._first(plan), int(self._size * plan.backlog_share))

    def _first(self, plan):
        return max(1, min(plan.first, int(self.small * plan.backlog_share)))

    def prepare(self, store, plan):
        install(store)
        put(store, 'no-op', self._waiting(plan) - self._first(plan))

    def take(self, store, plan, prepared):
        first = self._first(plan)
        put(store, 'no-op', first)
        answer = children.done(
            'drain_some', store.folder, store=store.describe(), count=first,
            poll_interval=plan.poll_interval, size=plan.size, filter=self.filter)
        # what it did more than it was to do is put again
        put(store, 'no-op', answer['done'] - first)
        return {'value': answer['stored'] / answer['seconds'], 'job': 'no-op',
                'jobs': first, 'size': plan.size, 'workers': 1,
                'backlog': self._waiting(plan),
                **seen([answer], answer['stored'])}


class Behind(Backlog):
    """Jobs that *size* others stand before which are not to be done now."""

    def __init__(self, name, label, size, kind, filter=None):
        super().__init__(name, label, size)
        self._kind, self.filter = kind, filter

    def prepare(self, store, plan):
        waiting = int(self._size * plan.backlog_share)
        install(store, self._kind, count=waiting)
        put(store, self._kind, waiting)


MEASURES = (
    Backlog('backlog-1k', 'the first of 1,000 jobs', 1000),
    Backlog('backlog-10k', 'the first of 10,000', 10_000),
    Backlog('backlog-100k', 'the first of 100,000', 100_000),
    Backlog('backlog-1m', 'the first of 1,000,000', 1_000_000),
    Behind('blocked-100k', 'behind 100,000 of a full quota', 100_000, 'blocked'),
    Behind('unwanted-100k', 'behind 100,000 the filter refuses', 100_000, 'unwanted',
           'is_wanted'))
