"""Which part of a queue a dispatcher works on first, so that several seldom meet.

Each of the dispatchers that work for a queue has shards of its own, which it empties
in the order in which their jobs fall due; where there is one, all are its own, and
all jobs come in that order.  Of the others' shards it takes

- what has been in line for `UNFAIR` seconds longer than its own next job: it looks
  for that once in `FAIR` seconds, and again at once while there is any;
- when its own have nothing for it: what stands so far back that nobody else takes it
  just now, and the next job once that has not been taken for a moment: the dispatcher
  that is next takes it first, so that not all come at once for one job.

So no job waits for a dispatcher that is busy, slow or gone.  In memory only; what is
outdated here costs a conflict at most.  While a turn is taken.
"""
from .. import clock

#: Seconds for which others' jobs are treated as if they fell due later.
UNFAIR = 5
#: Seconds between two looks at others' jobs while there are own ones.
FAIR = 1
#: Seconds for which a job must not have been taken, at least, and in turns; for each
#: dispatcher that comes first.
STILL, TURNS = 0.05, 8
#: Jobs that are left to each dispatcher that comes first, and how many may do so.
LANE, LANES = 64, 8
#: Lines that are remembered.
_LINES = 1000


class Places:
    """The places of one dispatcher in one queue."""

    def __init__(self, UUID):
        self._UUID = UUID
        self._index = self._count = None
        self._counted = None  # when dispatchers were counted, by the steady clock
        self._fair = clock.monotonic()
        self._seen = {}       # place -> (the next key, since when)

    def split(self, queue):
        """Return the own and the others' shards of *queue*."""
        now = clock.monotonic()
        if self._counted is None or not 0 <= now - self._counted < FAIR:
            self._counted = now
            living = sorted(_living(queue))
            self._count = len(living)
            self._index = living.index(self._UUID) if self._UUID in living else None
        shards = queue._lines.shards
        if self._index is None or self._count < 2:
            return shards, ()
        own, others = [], []
        for shard in shards:
            (others if self._distance(shard.number) else own).append(shard)
        # by distance: the neighbour's first
        return own, sorted(others, key=lambda shard: self._distance(shard.number))

    def count_again(self):
        """Look how many dispatchers there are, after a conflict."""
        self._counted = None

    def _distance(self, number):
        return (self._index - number) % self._count

    def is_fair(self):
        """Return whether it is time to look at others' jobs as well."""
        now = clock.monotonic()
        if 0 <= now - self._fair < FAIR:
            return False
        self._fair = now
        return True

    def found_older(self):
        """Look at others' jobs the next time, too: some wait for too long."""
        self._fair = clock.monotonic() - FAIR

    def others(self, heads, turn_time):
        """Iterate over those of *heads*, others', from which jobs may be taken.

        Between them come numbers: in so many seconds it is worth looking again.
        *turn_time* is how many seconds a turn takes these days.
        """
        for head in heads:
            if not head.step():
                continue
            lanes = min(self._distance(head.place[0]), LANES)
            left = self._left(head, lanes * max(STILL, TURNS * turn_time))
            if left <= 0:
                yield head
                continue
            yield left
            head.jump(head.key)
            if head.skip(LANE * lanes) and head.step():
                yield head

    def _left(self, head, patience):
        """Return for how many seconds to leave the next job to others."""
        now = clock.monotonic()
        key, since = self._seen.get(_name(head), (None, now))
        if key not in (None, head.key):
            since = now
        if len(self._seen) >= _LINES:
            self._seen.clear()
        self._seen[_name(head)] = head.key, since
        return patience - (now - since)

    def note_ours(self, head):
        """Take note that we are about to take the next job of *head*, others'.

        That the next one is another then tells nothing of those.
        """
        _key, since = self._seen.get(_name(head), (None, clock.monotonic()))
        self._seen[_name(head)] = None, since


def _name(head):
    # each filter has its own next job
    return head.place, id(head.memory)


def _living(queue):
    """Return the UUIDs of the dispatchers that may claim from *queue*."""
    return [UUID for UUID, agents in queue.dispatchers.items()
            if agents.activation.micros is not None
            and any(getattr(agent, 'size', 0) > 0 for agent in agents.values())]

