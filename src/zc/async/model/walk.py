"""Walks past the waiting jobs that are due: the heads of many lines, in one order."""
import heapq
import itertools

from .. import timekeys

#: Keys of a line that are read at a time: it may be changed between two reads.
PAGE = 16
#: After the keys of all jobs that were put in front of the line.
_FRONT_END = timekeys.until(0)


def items(line, start=None, limit=None):
    """Iterate over keys and jobs of *line*, those from *start* up to the key *limit*.

    From the first on, where *start* is None, leaf by leaf: a range of a tree is looked
    up at both of its ends, and the end of a long line is nothing to whoever works at
    its head.
    """
    if start is not None:
        yield from line.items(start, limit)
        return
    for leaf in leaves(line, limit):
        yield from leaf


def leaves(line, limit):
    """Iterate over the leaves of *line* from the first, as lists of keys and jobs.

    Meanwhile jobs may be taken out of it.
    """
    leaf = line._firstbucket
    while leaf is not None:
        found = list(leaf.items(None, limit))
        leaf = leaf._next if len(found) == len(leaf) else None
        yield found


class Head:
    """The next job of one line: ``key`` and ``job``, once `step` has found it.

    *place* is the number of the shard and the name of the line.  *later* is by how
    many microseconds its jobs are treated as if they fell due later.  *memory*
    remembers what need not be looked at; see `Everything`.
    """

    def __init__(self, place, line, limit, memory, later=0):
        self.place, self.line, self.memory = place, line, memory
        self.limit, self.later = limit, later
        self.key = self.job = None
        self.skipped = False  # whether jobs before were left out
        self._ahead = []
        after = memory.start(place)
        self._ranges = [(after, limit)]
        if after is not None and after > _FRONT_END:
            # what is put in front comes before what was passed
            self._ranges.append((None, _FRONT_END))

    def jump(self, after):
        """Go on behind the key *after*."""
        self._ahead, self._ranges = [], [(after, self.limit)]

    def skip(self, count):
        """Leave out *count* keys from this one on; return whether there are so many."""
        keys = self.line.keys(self.key, self.limit)
        for key in itertools.islice(keys, count - 1, count):
            self.jump(key)
            self.skipped = True
            return True
        return False

    def step(self):
        """Go to the next job; return whether there is one."""
        while self._ahead or self._read():
            self.key, self.job = self._ahead.pop()
            if self.job is not None and not self.memory.knows(
                    self.place, self.key, self.skipped):
                return True
        self.key = self.job = None
        return False

    def _read(self):
        while self._ranges:
            after, limit = self._ranges.pop()
            found = self._page(after, limit)
            if found:
                self._ahead = found[::-1]
                self._ranges.append((found[-1][0], limit))
                return True
        return False

    def _page(self, after, limit):
        if after is not None:
            return list(itertools.islice(
                self.line.items(after, limit, True), PAGE))
        found = []
        for leaf in leaves(self.line, limit):
            found += leaf
            for _key, job in leaf:
                if job is not None:
                    return found
        return found

    @property
    def waits(self):
        """Whether the job is in line still: it may have been taken meanwhile."""
        return self.line.get(self.key) is self.job

    @property
    def order(self):
        """What is compared with other heads."""
        return self._order_of(self.key)

    def _order_of(self, key):
        if not self.later:
            return key
        due, *rest = timekeys.split(key)
        return timekeys.make(due + self.later, *rest)

    @property
    def following(self):
        """The key of the job after this one, or None where that is not known yet."""
        return next((key for key, job in reversed(self._ahead) if job is not None), None)

    def upcoming(self):
        """Iterate over the order and the job of this one and of the next few."""
        yield self.order, self.job
        for key, job in reversed(self._ahead):
            if job is not None:
                yield self._order_of(key), job


class Everything:
    """A memory that knows nothing: every job is looked at."""

    def start(self, place):
        """Return the key behind which to begin in the line *place*, None: any."""
        return None

    def knows(self, place, key, skipped):
        """Return whether the job at *key* need not be looked at again.

        *skipped*: whether jobs before it were not looked at.
        """
        return False


EVERYTHING = Everything()


def walk(heads, is_open, foresee=None):
    """Step on with *heads* in order, and yield each where it stands at a job.

    A head that stands at a job is not stepped on before that was its turn.  *is_open*
    is called with the quota names of a line; *foresee*, if any, with the heads, the
    first one in front, before one is yielded whose job is not loaded.  While this
    walks, jobs may be taken out, which may close lines; nothing may be put in.
    """
    ways, heap = {}, []
    for number, head in enumerate(heads):
        names = head.place[1][1]
        if names not in ways:
            ways[names] = is_open(names)
        if ways[names] and (head.key is not None or head.step()):
            heap.append((head.order, number, head))
    heapq.heapify(heap)
    while heap:
        _order, number, head = heap[0]
        if head.waits and _still_open(head.place[1][1], is_open):
            if foresee is not None and head.job._p_changed is None:
                foresee([one for _order, _number, one in heap])
            yield head
        elif head.waits:
            heapq.heappop(heap)
            continue
        if head.step():
            heapq.heapreplace(heap, (head.order, number, head))
        else:
            heapq.heappop(heap)


class Look:
    """What one claim looks at: an iterable of keys and jobs."""

    def __init__(self, heads, is_open):
        self._heads, self._is_open = heads, is_open

    def __iter__(self):
        for head in walk(self._heads, self._is_open):
            yield head.key, head.job

    def refused(self):
        """Take note that the filter has refused the job that was given last."""


def _still_open(names, is_open):
    return not names or is_open(names)
