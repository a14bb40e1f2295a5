"""The waiting jobs of a queue, in shards and lines.

A transaction that puts jobs picks one shard, so that many processes put
without conflicts.  In a shard, jobs that wait for the same things stand in one
line: a line is named by whether its jobs are scheduled and by their quotas.
A claim looks at the heads of the lines only, so neither a hundred thousand jobs
behind a full quota nor as many that are not due cost it anything.
"""
import heapq
import operator

import persistent
import transaction
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree

from .. import chance
from .. import timekeys

#: Shards of a new queue.
SHARDS = 16

_habit = chance.Habit()
_by_key = operator.itemgetter(0)


class Shard(persistent.Persistent):
    """A part of a queue's waiting jobs."""

    def __init__(self, number):
        self.number = number
        self.length = Length()
        self.lines = {}  # (scheduled, quota names) -> OOBTree of jobs by key

    def line(self, name):
        """Return the line *name*, made if need be."""
        try:
            return self.lines[name]
        except KeyError:
            self.lines = {**self.lines, name: OOBTree()}
            return self.lines[name]


class Lines(persistent.Persistent):
    """All shards of a queue."""

    def __init__(self, shards=SHARDS):
        self.shards = tuple(Shard(number) for number in range(shards))

    def add(self, job, due, rank):
        """Put *job* in line for *due*, after others of its *rank*."""
        shard = self._shard()
        line = shard.line(_line_name(rank, job))
        key = timekeys.make(due, rank, timekeys.stamp(), shard.number)
        while not line.insert(key, job):
            # another process with the same stamp: never take its place
            key = timekeys.make(due, rank, timekeys.stamp(), shard.number)
        shard.length.change(1)
        job._order = key

    def restore(self, job):
        """Put *job* back where it stood, by the order it still carries."""
        _due, rank, _stamp, number = timekeys.split(job._order)
        shard = self.shards[number]
        if shard.line(_line_name(rank, job)).insert(job._order, job):
            shard.length.change(1)

    def discard(self, job):
        """Take *job* out; return whether it was in line."""
        if job not in self:
            return False
        _due, rank, _stamp, number = timekeys.split(job._order)
        shard = self.shards[number]
        del shard.lines[_line_name(rank, job)][job._order]
        shard.length.change(-1)
        return True

    def __contains__(self, job):
        if job._order is None:
            return False
        _due, rank, _stamp, number = timekeys.split(job._order)
        line = self.shards[number].lines.get(_line_name(rank, job))
        return line is not None and line.get(job._order) is job

    def _shard(self):
        """Return the shard of the current transaction: the same all through it."""
        manager = transaction.manager
        if self._p_jar is not None:
            manager = self._p_jar.transaction_manager
        current = manager.get()
        try:
            number = current.data(self)
        except KeyError:
            # Jobs that were put together are claimed together: a thread that
            # keeps to a shard lets claims write few of them.
            number = _habit.below(len(self.shards))
            current.set_data(self, number)
        return self.shards[number]

    def due(self, now, is_open):
        """Iterate over the jobs due *now* in lines that are open, in order.

        *is_open* is called with the quota names of a line.
        """
        limit = timekeys.until(now)
        ways = {}
        heads = []
        for shard in self.shards:
            for (scheduled, names), line in shard.lines.items():
                if not line:
                    continue
                if names not in ways:
                    ways[names] = is_open(names)
                if ways[names]:
                    heads.append(iter(line.items(max=limit) if scheduled else line.items()))
        for _key, job in heapq.merge(*heads, key=_by_key):
            yield job

    def next_due(self):
        """Return when the next scheduled job falls due, in microseconds, or None."""
        firsts = [line.minKey() for shard in self.shards
                  for (scheduled, _names), line in shard.lines.items()
                  if scheduled and line]
        return timekeys.split(min(firsts))[0] if firsts else None

    def __iter__(self):
        ways = [iter(line.items()) for shard in self.shards
                for line in shard.lines.values() if line]
        for _key, job in heapq.merge(*ways, key=_by_key):
            yield job

    def last(self):
        """Return the last job.  Raise IndexError where there is none."""
        ends = [line.maxKey() for shard in self.shards
                for line in shard.lines.values() if line]
        if not ends:
            raise IndexError('the queue is empty')
        key = max(ends)
        shard = self.shards[timekeys.split(key)[3]]
        return next(line[key] for line in shard.lines.values() if key in line)

    def __len__(self):
        return sum(shard.length() for shard in self.shards)


def _line_name(rank, job):
    if job._code:
        # It only has callbacks left to do, and its quotas count it already:
        # it must not wait for room that it takes itself.
        return False, ()
    return rank == timekeys.SCHEDULED, tuple(sorted(job.quota_names))


class Bucket:
    """One line as old code saw it: an object whose ``_data`` can be assigned."""

    def __init__(self, lines, shard, name):
        self._lines, self._shard, self._name = lines, shard, name

    @property
    def _data(self):
        return tuple(self._shard.lines[self._name].values())

    @_data.setter
    def _data(self, jobs):
        kept = list(jobs)
        for job in self._data:
            if not any(job is one for one in kept):
                self._lines.discard(job)


class Buckets:
    """The lines as old code saw them: ``queue._queue._data``."""

    def __init__(self, lines):
        self._data = [Bucket(lines, shard, name)
                      for shard in lines.shards for name in shard.lines]
