"""The completed jobs of an agent, by days that are dropped whole.

Jobs are only ever added at one end and looked at from there, so a day is a
chain of pages: a job costs a share of the page that is being filled, never the
rewriting of what is older.
"""
import persistent

from .. import clock

_DAY = 24 * 60 * 60 * 1_000_000
#: Days that are kept, besides the one that runs.
DAYS = 7
#: Jobs on a page.
PAGE = 16


class Page(persistent.Persistent):
    """A full page, never written again, and the one before it."""

    def __init__(self, jobs, before):
        self.jobs = jobs
        self.before = before


class Day(persistent.Persistent):
    """The jobs completed within 24 hours from ``start``, in microseconds."""

    def __init__(self, start):
        self.start = start
        self.jobs = ()      # the page that is being filled, the newest last
        self.before = None  # the newest full page
        self.count = 0

    def add(self, job):
        """Add *job* as the newest."""
        self.jobs = (*self.jobs, job)
        self.count += 1
        if len(self.jobs) == PAGE:
            self.before = Page(self.jobs, self.before)
            self.jobs = ()

    def __iter__(self):
        page = self
        while page is not None:
            yield from reversed(page.jobs)
            page = page.before


class Completed(persistent.Persistent):
    """Iterable, the newest first."""

    def __init__(self):
        self._days = ()  # the newest first

    def add(self, job):
        """Add *job* as the newest, and drop what is too old."""
        now = clock.micros()
        if not self._days or now - self._days[0].start >= _DAY:
            kept = tuple(day for day in self._days
                         if now - day.start < (DAYS + 1) * _DAY)
            self._days = (Day(now), *kept)
        self._days[0].add(job)

    def clear(self):
        """Forget all of them."""
        self._days = ()

    def first(self, default=None):
        """Return the newest, or *default*."""
        return next(iter(self), default)

    def __iter__(self):
        for day in self._days:
            yield from day

    def __len__(self):
        return sum(day.count for day in self._days)

    def __bool__(self):
        return True
