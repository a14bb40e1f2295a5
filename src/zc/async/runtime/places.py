"""Which part of a queue a dispatcher works on first, so that several seldom meet.

Each of the dispatchers that work for a queue has shards of its own, which it empties
in the order in which their jobs fall due; where there is one, all are its own, and
all jobs come in that order.  Of the others' shards it takes

- what has been in line for `UNFAIR` seconds longer than its own next job: it looks
  for that once in `FAIR` seconds, and again at once while there is any;
- when its own have nothing for it: what stands so far back that nobody else takes it
  just now, and the next job once that has not been taken for a moment: the dispatcher
  that is next takes it first, so that not all come at once for one job.

So no job waits for a dispatcher that is busy, slow or gone.  A shard that has become
one's own is left to whose it was for a moment, since he may not know that yet; and one
whose claims have met a conflict leaves the others' shards to them.  In memory only; what is
outdated here costs a conflict at most.  While a turn is taken.
"""
from .. import chance
from .. import clock
from .. import timekeys
from ..model.walk import EVERYTHING

#: Seconds for which others' jobs are treated as if they fell due later.
UNFAIR = 5
#: Seconds between two looks at others' jobs while there are own ones.
FAIR = 1
#: Seconds for which a shard that has become our own is left to whose it was.
NEW = 0.2
#: Seconds that are not worth waiting for.
_SOON = 0.001
#: Seconds for which nobody counts again, for each dispatcher: that takes microseconds.
COUNTED = 0.002
#: Seconds for which a job must not have been taken, at least, and in turns; for each
#: dispatcher that comes first.
STILL, TURNS = 0.05, 8
#: Jobs that are left to each dispatcher that comes first, and how many may do so;
#: those after them wait little longer each, that they come one by one.
LANE, LANES = 128, 8
#: Lines that are remembered.
_LINES = 1000


class Places:
    """The places of one dispatcher in one queue."""

    def __init__(self, UUID):
        self._UUID = UUID
        self._index = self._count = None
        self._counted = None  # when dispatchers were counted, by the steady clock
        self._ours = {}       # number of a shard -> since when it is ours
        self._fair = clock.monotonic()
        self._seen = {}       # place -> (the next key, since when)
        self._looked = {}     # id of a memory -> when all others' lines were looked at
        self._active = {}     # distance -> when jobs were seen to be taken there
        self._shy = None      # until when others' jobs are left to them

    def split(self, queue):
        """Return the own and the others' shards of *queue*."""
        self._count_dispatchers(queue)
        shards = queue._lines.shards
        if self._is_alone:
            return shards, ()
        own, others = [], []
        for shard in shards:
            (others if self._arrives(shard.number) else own).append(shard)
        # by distance: the neighbour's first
        return own, sorted(others, key=lambda shard: self._distance(shard.number))

    def patience(self, queue, turn_time):
        """Return for how many seconds the jobs of each shard are left to others.

        *turn_time* is how many seconds a turn takes these days.
        """
        self._count_dispatchers(queue)
        return [0 if self._is_alone else self._patience(shard.number, turn_time)
                for shard in queue._lines.shards]

    def _patience(self, number, turn_time):
        distance = self._distance(number)
        turns = min(distance, LANES) + max(0, distance - LANES) / LANES
        return turns * max(STILL, TURNS * turn_time)

    def _count_dispatchers(self, queue):
        now = clock.monotonic()
        if self._counted is not None and (
                0 <= now - self._counted < COUNTED * self._count):
            return
        before = self._index, self._count
        living = sorted(_living(queue))
        self._count = len(living)
        self._index = living.index(self._UUID) if self._UUID in living else None
        # while we are not among them, that is out of date soon
        self._counted = None if self._index is None else now
        if (self._index, self._count) != before and not self._is_alone:
            self._shy = now + NEW
        since = now - NEW if self._count < 2 else now
        self._ours = {number: self._ours.get(number, since)
                      for number in range(len(queue._lines.shards))
                      if self._index is not None and not self._distance(number)}

    def _arrives(self, number):
        """Return in how many seconds to take from a shard as an own one; never: True."""
        if number not in self._ours:
            return True
        left = self._ours[number] + NEW - clock.monotonic()
        return left if left > _SOON else 0.0

    @property
    def _is_alone(self):
        return self._index is None or self._count < 2

    def met_conflict(self, turn_time):
        """Look how many dispatchers there are, and let them be quicker for a moment."""
        self._counted = None
        self._shy = clock.monotonic() + chance.jitter(2 * max(STILL, turn_time))

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

    def others(self, heads, turn_time, memory=EVERYTHING):
        """Iterate over those of *heads*, others', from which jobs may be taken.

        Between them come numbers: in so many seconds it is worth looking again.
        *turn_time* is how many seconds a turn takes these days; *memory* is that of
        the heads.
        """
        shy = 0.0 if self._shy is None else self._shy - clock.monotonic()
        if shy > _SOON:
            yield shy
            return
        names = set()
        for head in heads:
            if not head.step():
                continue
            names.add(_name(head))
            number = head.place[0]
            if number in self._ours:
                yield self._arrives(number)
                continue
            left = self._left(head, self._patience(number, turn_time))
            if left <= _SOON:
                yield head
                continue
            yield left
            head.jump(head.key)
            if head.skip(LANE * min(self._distance(number), LANES)) and head.step():
                yield head
        self._looked_at(names, memory)

    def _looked_at(self, names, memory):
        """Take note that there are others' jobs in lines with these *names* only."""
        for name in [one for one in self._seen if one[1] == id(memory)]:
            if name not in names:
                del self._seen[name]
                self._note_active(name[0])
        if len(self._looked) >= _LINES:
            self._looked.clear()
        self._looked[id(memory)] = clock.monotonic()

    def _left(self, head, patience):
        """Return for how many seconds to leave the next job to others."""
        now = clock.monotonic()
        key, since = self._seen.get(_name(head), (None, None))
        if since is None:
            since = now - self._age(head)
        elif key not in (None, head.key):
            since = now
            self._note_active(head.place)
        if len(self._seen) >= _LINES:
            self._seen.clear()
        self._seen[_name(head)] = head.key, since
        # it empties its shards one by one, and will come to this one
        active = self._active.get(self._distance(head.place[0]), since)
        return patience - (now - max(since, active))

    def _note_active(self, place):
        """Take note that somebody takes jobs in *place*: it is whose shard that is."""
        self._active[self._distance(place[0])] = clock.monotonic()

    def _age(self, head):
        """Return for how many seconds the next job has been that, of a new line.

        Since it fell due or was put, unless that was before the latest look.
        """
        looked = self._looked.get(id(head.memory))
        if looked is None:
            return 0.0
        due, _rank, put, _number = timekeys.split(head.key)
        return max(0.0, min(clock.monotonic() - looked,
                            (clock.micros() - max(due, put)) / 1e6))

    def note_ours(self, head):
        """Take note that we are about to take the next job of *head*, others'.

        That the one after it is the next then tells nothing of those.
        """
        _key, since = self._seen.get(_name(head), (None, clock.monotonic()))
        self._seen[_name(head)] = head.following, since


def _name(head):
    # each filter has its own next job
    return head.place, id(head.memory)


def _living(queue):
    """Return the UUIDs of the dispatchers that may claim from *queue*."""
    return [UUID for UUID, agents in queue.dispatchers.items()
            if agents.activation.micros is not None
            and any(getattr(agent, 'size', 0) > 0 for agent in agents.values())]

