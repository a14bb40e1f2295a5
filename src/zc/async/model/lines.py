"""The waiting jobs of a queue, in shards and lines.

A transaction that puts jobs picks one shard, so that many processes put
without conflicts.  In a shard, jobs that wait for the same things stand in one
line: a line is named by whether its jobs are scheduled and by their quotas; jobs
that were set aside since a process lacked their code, also by what it lacked.
A claim looks at the heads of the lines only, so neither a hundred thousand jobs
behind a full quota nor as many that are not due, or that this process cannot do,
cost it anything.
"""
import heapq
import operator

import persistent
import transaction
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree

from .. import chance
from .. import clock
from .. import timekeys
from . import gaps
from .walk import EVERYTHING
from .walk import Head
from .walk import walk

#: Shards of a new queue.
SHARDS = 16

_habit = chance.Habit()
_by_key = operator.itemgetter(0)

#: Jobs of one transaction that are put in one shard before the next is taken: of
#: a thousand, each of many dispatchers is to find its share.
TOGETHER = 100
#: Microseconds for which a shard counts as used by another process after its put, or
#: after that was seen to take a job.
BUSY = 1_000_000
#: Shards that are tried for one that nobody uses, and transactions that then keep to
#: the last of them, where all are used.
_TRIES, _STAY = 8, 16
#: Seconds after which a commit, or a place behind the end, is late: see `Shard`.
LATE = 2


def _take(shard, name, key):
    """Take the job at *key* out of the line *name* of *shard*."""
    line = shard.lines[name]
    if _is_aside(name):
        # seldom written, and one that is empty would never be used again
        del line[key]
        if not line:
            shard.lines = {one: kept for one, kept in shard.lines.items() if one != name}
    else:
        gaps.take(line, key, shard.is_shared())
    shard.note_taken()


class Shard(persistent.Persistent):
    """A part of a queue's waiting jobs.

    ``length`` counts the jobs that were put in line, ``taken`` those that were taken
    out: so who waits for jobs is woken by puts only.  In queues that were made before
    there was ``taken`` it is None until the first one is taken, and ``length`` is
    without those of before.

    ``returned`` is changed whenever a job comes to stand where a claim may have
    passed before: one that is put back, or whose commit comes late, or that is put
    by a process whose clock is slow.  Who remembers how far he has looked looks
    again then.  It is None in queues that were made before there was this, until
    the first time.
    """

    returned = taken = None
    _v_latest = b''  # the latest key that was put through this connection
    _v_taken = None  # what `taken` was when this connection took a job
    _v_shared = 0    # microseconds when it was seen that another had taken one

    def __init__(self, number):
        self.number = number
        self.length = Length()
        self.taken = Length()
        self.returned = Length()
        # (scheduled, quota names) -> OOBTree of jobs by key; those that all
        # puts use are made here, since two that make a line conflict
        self.lines = {(False, ()): OOBTree(), (True, ()): OOBTree()}

    @property
    def count(self):
        """How many jobs are in line."""
        return self.length() - (0 if self.taken is None else self.taken())

    @property
    def counters(self):
        """The counters that `count` reads."""
        return [one for one in (self.length, self.taken) if one is not None]

    def line(self, name):
        """Return the line *name*, made if need be."""
        try:
            return self.lines[name]
        except KeyError:
            self.lines = {**self.lines, name: OOBTree()}
            return self.lines[name]

    def came_back(self):
        """Let all who remember what they have passed look again."""
        if self.returned is None:
            self.returned = Length()
        self.returned.change(1)

    def is_shared(self):
        """Return whether another process takes jobs out these days."""
        if self.taken is not None and self._v_taken not in (None, self.taken()):
            self._v_shared = clock.micros()
        return abs(clock.micros() - self._v_shared) < BUSY

    def note_taken(self):
        """Take note that one job was taken out."""
        if self.taken is None:
            self.taken = Length()
        self.taken.change(1)
        self._v_taken = self.taken()

    def is_crowded(self, name):
        """Return whether another process puts in the line *name* these days.

        Two that do conflict where a leaf is split.
        """
        line = self.lines.get(name)
        last = line.maxKey() if line else b''
        return last > self._v_latest and (
            abs(clock.micros() - timekeys.split(last)[2]) < BUSY)

    def note_put(self, last, key):
        """Take note that *key* was put where *last*, or None, was last."""
        self._v_latest = max(key, self._v_latest)
        if last is not None and (
                timekeys.split(last)[0] - timekeys.split(key)[0] > LATE * 1_000_000):
            self.came_back()


class Lines(persistent.Persistent):
    """All shards of a queue."""

    _v_together = 0     # jobs that the present transaction has put in its shard
    _v_stay = 0         # transactions that do not look for a shard of their own
    _v_changes = 0      # jobs put in line through this connection

    def __init__(self, shards=SHARDS):
        self.shards = tuple(Shard(number) for number in range(shards))

    def add(self, job, due, rank):
        """Put *job* in line for *due*, after others of its *rank*."""
        name = _line_name(rank, job)
        shard = self._shard(name)
        line = shard.line(name)
        last = line.maxKey() if line else None
        key = timekeys.make(due, rank, timekeys.stamp(), shard.number)
        while not line.insert(key, job):
            # another process with the same stamp: never take its place
            key = timekeys.make(due, rank, timekeys.stamp(), shard.number)
        shard.length.change(1)
        job._order = key
        self._v_changes += 1
        if rank == timekeys.READY:
            shard.note_put(last, key)

    def restore(self, job):
        """Put *job* back where it stood, by the order it still carries."""
        _due, rank, _stamp, number = timekeys.split(job._order)
        shard = self.shards[number]
        line = shard.line(_line_name(rank, job))
        if line.get(job._order) is None:
            line[job._order] = job
            shard.length.change(1)
            shard.came_back()
            self._v_changes += 1

    def discard(self, job):
        """Take *job* out; return whether it was in line."""
        if job not in self:
            return False
        _due, rank, _stamp, number = timekeys.split(job._order)
        _take(self.shards[number], _line_name(rank, job), job._order)
        return True

    def drop(self, key, job):
        """Take out *job*, found at *key*, without reading it."""
        shard = self.shards[timekeys.split(key)[3]]
        for name, line in shard.lines.items():
            if line.get(key) is job:
                _take(shard, name, key)
                return

    def __contains__(self, job):
        if job._order is None:
            return False
        _due, rank, _stamp, number = timekeys.split(job._order)
        line = self.shards[number].lines.get(_line_name(rank, job))
        return line is not None and line.get(job._order) is job

    def _shard(self, name):
        """Return the shard of the current transaction: one for many of its jobs.

        *name* is that of the line of the job that is put.
        """
        manager = transaction.manager
        if self._p_jar is not None:
            manager = self._p_jar.transaction_manager
        current = manager.get()
        try:
            number = current.data(self)
        except KeyError:
            number, self._v_together = None, 0
            current.addBeforeCommitHook(self._before_commit, (clock.monotonic(),))
        if number is None or self._v_together >= TOGETHER:
            # Jobs that were put together are claimed together: a thread that
            # keeps to a shard lets claims write few of them.
            if number is not None:
                _habit.go_on(len(self.shards))
            number, self._v_together = self._choose(name), 0
            current.set_data(self, number)
        self._v_together += 1
        return self.shards[number]

    def _choose(self, name):
        """Return the number of a shard in which, if possible, nobody else puts."""
        number = _habit.below(len(self.shards))
        if self._v_stay:
            self._v_stay -= 1
            return number
        for _number in range(_TRIES):
            if not self.shards[number].is_crowded(name):
                return number
            _habit.left = 0
            number = _habit.below(len(self.shards))
        self._v_stay = _STAY
        return number

    def _before_commit(self, began):
        """Tell of jobs that were put long before their commit."""
        if clock.monotonic() - began > LATE:
            for shard in self.shards:
                if shard.length._p_changed:
                    shard.came_back()

    def due(self, now, is_open, lacks=lambda name: False):
        """Iterate over keys and jobs due *now* in lines that are open, in order.

        *is_open* is called with the quota names of a line, and *lacks*, which
        tells whether to pass it over, with what was missing for its jobs.
        """
        for head in walk(self.heads(self.shards, now, lacks), is_open):
            yield head.key, head.job

    def heads(self, shards, now, lacks, memory=EVERYTHING, later=0):
        """Iterate over the heads of the lines of *shards* with what is due *now*.

        See `due` and, of *memory* and *later*, `Head`.
        """
        limit = timekeys.until(now)
        for shard in shards:
            if not shard.count:
                continue
            for name, line in shard.lines.items():
                scheduled, _names, *missing = name
                if line and not (missing and lacks(*missing)):
                    yield Head((shard.number, name), line,
                               limit if scheduled else None, memory, later)

    def _shards(self):
        """Iterate over the shards with jobs."""
        return (shard for shard in self.shards if shard.count)

    def _lines(self):
        """Iterate over the names and trees of the lines of shards with jobs."""
        for shard in self._shards():
            yield from shard.lines.items()

    def next_due(self, after=None, patience=()):
        """Return when the next scheduled job falls due, in microseconds, or None.

        Where the moment *after* is given, none that is due by then counts: if it was
        not claimed, something is in its way.  *patience*, if given, tells for each
        shard after how many seconds a job in it counts as due.
        """
        start = None if after is None else timekeys.until(after)
        found = []
        for shard in self._shards():
            firsts = [gaps.first_key(line, start)
                      for name, line in shard.lines.items() if name[0] and line]
            later = round(1e6 * patience[shard.number]) if patience else 0
            found += [timekeys.split(key)[0] + later for key in firsts if key is not None]
        return min(found, default=None)

    def __iter__(self):
        ways = [gaps.live(line) for _name, line in self._lines()]
        for _key, job in heapq.merge(*ways, key=_by_key):
            yield job

    def last(self):
        """Return the last job.  Raise IndexError where there is none."""
        ends = [(key, job) for _name, line in self._lines()
                for key, job in gaps.ending(line)]
        if not ends:
            raise IndexError('the queue is empty')
        return max(ends, key=_by_key)[1]

    def signs(self):
        """Return, for each shard, the object id of what changes whenever a job is put."""
        return [shard.length._p_oid for shard in self.shards]

    def __len__(self):
        return sum(shard.count for shard in self.shards)


def _line_name(rank, job):
    # One that only has callbacks left to do is mostly counted by its quotas already:
    # it must not wait for room that it takes itself.
    is_free = job._code and not job._uncounted
    names = () if is_free else tuple(sorted(job._quota_names))
    if job._lacks is not None:
        return False, names, job._lacks[0]  # it was due already
    return rank == timekeys.SCHEDULED and not job._code, names


def _is_aside(name):
    return len(name) > 2


class Bucket:
    """One line as old code saw it: an object whose ``_data`` can be assigned."""

    def __init__(self, lines, shard, name):
        self._lines, self._shard, self._name = lines, shard, name

    @property
    def _data(self):
        return tuple(job for _key, job in gaps.live(self._shard.lines[self._name]))

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
