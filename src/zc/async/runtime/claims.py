"""Claims for one dispatcher: what they look at, and in which order.

One look serves all claims of a turn with the same filter: it goes on behind the job
that was claimed before.
"""
import collections
import contextlib
import itertools

from .. import clock
from ..model import parking
from ..model.walk import EVERYTHING
from ..model.walk import walk
from .foresight import Foresight
from .places import Places
from .places import UNFAIR
from .refusals import BIT
from .refusals import Refusals

#: Filters, and queues, that are remembered.
_FILTERS, _QUEUES = 16, 100


class Claims(parking.Claimant):
    """The claimant of a dispatcher's turns.  While a turn is taken.

    *services* is the dispatcher, of which ``UUID``, ``lacking`` and
    ``claims_between_polls`` are used; *turn_time* returns how many seconds a turn takes.
    """

    def __init__(self, services, turn_time):
        self._services = services
        self._turn_time = turn_time
        self._places = collections.OrderedDict()    # queue's oid -> Places
        self._refusals = collections.OrderedDict()  # (queue's oid, filter's id) -> ...
        self._looks = {}
        self.foresight = Foresight()
        self._failed = False  # unless the transaction is done
        self.poll = False
        self._filter = None  # of the agent that claims
        self._is_ahead = False
        self._again = None   # when to look again, by the steady clock

    @property
    def UUID(self):
        return self._services.UUID

    @property
    def stale(self):
        return self._services.lacking.stale

    @stale.setter
    def stale(self, value):
        self._services.lacking.stale = value
        self._refusals.clear()

    def lacks(self, name):
        """See `parking.Claimant`."""
        return self._services.lacking.lacks(name)

    def leaves(self, address, name):
        """See `parking.Claimant`."""
        return self._services.lacking.leaves(address, name)

    # The transaction

    def begin(self, poll):
        """Begin a transaction, one of a *poll* or between polls.

        The one before has failed, unless it is `done`.
        """
        for refusals in self._refusals.values():
            refusals.undo()
        for places in self._places.values() if self._failed else ():
            places.met_conflict(self._turn_time())
        self._failed = True
        self.poll = poll
        self._again = self._filter = None
        self._looks.clear()

    def done(self):
        """End a transaction that was committed, or that changed nothing."""
        self._failed = False
        for refusals in self._refusals.values():
            refusals.done()
        self._looks.clear()

    def claim_for(self, agent):
        """Let the next claims be those of *agent*."""
        self._filter = getattr(agent, 'filter', None)

    def look(self, queue, filter, now):
        """See `parking.Claimant`."""
        if filter is not self._filter and filter is not None:
            # one that a chooser has made, perhaps for this claim
            return _Look(self, queue, None, now)
        name = queue._p_oid, id(filter)
        key = *name, self._is_ahead
        found = self._looks.get(key)
        if found is None and self._is_ahead:
            before = self._looks.get((*name, False))
            found = before if before is not None and before.is_all_ours else None
        if found is None or not found.holds:
            refusals = None if filter is None else self._memory(name, queue, filter)
            found = self._looks[key] = _Look(self, queue, refusals, now, self._is_ahead)
        return found

    @contextlib.contextmanager
    def ahead(self):
        """Let the claims meanwhile be of jobs that no thread can begin yet.

        Such jobs are our own, and none that would fill a quota meanwhile.
        """
        self._is_ahead = True
        try:
            yield
        finally:
            self._is_ahead = False

    def _memory(self, key, queue, filter):
        """Return the `Refusals` of *filter*, which it keeps: its id stays its own."""
        found = self._refusals.get(key)
        if found is None:
            found = self._refusals[key] = Refusals(filter)
            if len(self._refusals) > _FILTERS:
                self._refusals.popitem(last=False)
        self._refusals.move_to_end(key)
        if not {(*key, True), (*key, False)} & self._looks.keys():
            found.begin(queue, self.poll)
        return found

    def places(self, queue):
        """Return our `Places` in *queue*, None where all are to be ours.

        Between polls that are far apart nobody could be waited for.
        """
        if not self._services.claims_between_polls:
            return None
        if queue._p_oid not in self._places:
            self._places[queue._p_oid] = Places(self.UUID)
            if len(self._places) > _QUEUES:
                self._places.popitem(last=False)
        return self._places[queue._p_oid]

    def patience(self, queue):
        """Return for how many seconds the jobs of each shard are left to others."""
        places = self.places(queue)
        if places is None:
            return [0] * len(queue._lines.shards)
        return places.patience(queue, self._turn_time())

    def others(self, places, heads, memory):
        """Iterate over those of *heads*, others', from which jobs may be taken.

        *memory* is that of the heads.
        """
        for found in places.others(heads, self._turn_time(), memory):
            if isinstance(found, float):
                self.look_again(found)
            else:
                yield found

    def look_again(self, seconds):
        """Claim again in *seconds*, if not before."""
        moment = clock.monotonic() + seconds
        self._again = moment if self._again is None else min(self._again, moment)

    @property
    def again(self):
        """When to claim again, in microseconds as jobs fall due, or None."""
        if self._again is None:
            return None
        return clock.micros() + round(1e6 * (self._again - clock.monotonic()))


class _Look:
    """Looks at the due jobs of *queue* for one filter, whose memory is *refusals*.

    An iterator over keys and jobs.
    """

    def __init__(self, claims, queue, refusals, now, ahead=False):
        self._claims = claims
        self._queue = queue
        self._refusals = refusals
        self._memory = EVERYTHING if refusals is None else refusals
        self._now = now
        self._ahead = ahead
        self._changes = queue._lines._v_changes
        self._latest = None    # (place, key, head) given last
        self._given = 0.0
        self._places, self._own, self._others = None, (), ()
        self.is_all_ours = False  # whether it may go on for claims ahead as well
        self._foresee = claims.foresight.jobs(refusals is not None)
        self._steps = self._all()

    @property
    def holds(self):
        """Whether nothing was put in line since."""
        return self._queue._lines._v_changes == self._changes

    def __iter__(self):
        return self

    def __next__(self):
        refusals = self._refusals
        if refusals is not None and refusals.tired:
            self._claims.look_again(0.01)
            raise StopIteration
        try:
            *self._latest, job = next(self._steps)
        except StopIteration:
            if refusals is not None:
                refusals.row = 0
            raise
        self._given = clock.monotonic()
        if refusals is not None:
            refusals.give(self._latest[0])
        return self._latest[1], job

    def refused(self):
        """Take note that the filter has refused the job that was given last."""
        refusals = self._refusals
        if refusals is None:
            return
        place, key, head = self._latest
        refusals.spend(clock.monotonic() - self._given)
        refusals.refuse(place, key, head is not None and head.skipped)
        if head is not None and not head.skipped and refusals.is_in_a_row(place):
            refusals.look_behind(head)
            self._go_on()

    def _all(self):
        """Yield a place, a key, a head or None, and a job."""
        if self._refusals is not None:
            yield from self._left_out()
        for heads in self._stages():
            for head in walk(heads, self._queue.has_room, self._foresee):
                if self._is_others(head):
                    self._places.note_ours(head)
                    if any(one.key is not None for one in self._own):
                        self._places.found_older()
                yield head.place, head.key, head, head.job

    def _is_others(self, head):
        return head.place[0] in self._others and not (head.skipped or _is_limited(head))

    def _left_out(self):
        refusals, queue = self._refusals, self._queue
        if refusals.next_bit is not None and clock.monotonic() >= refusals.next_bit:
            for place, key, job in refusals.left_out(queue._lines, queue.has_room):
                yield place, key, None, job
        self._go_on()

    def _go_on(self):
        """See that the dispatcher goes on with what was left out."""
        if self._refusals.next_bit is not None:
            left = self._refusals.next_bit - clock.monotonic()
            self._claims.look_again(max(BIT, left))

    def _stages(self):
        """Yield lists of heads, those to be looked at together."""
        places = self._claims.places(self._queue)
        if places is None:
            yield self._heads(self._queue._lines.shards)
            return
        own, others = places.split(self._queue)
        if self._ahead:
            yield self._unlimited(own)
            return
        self._places, self._others = places, {shard.number for shard in others}
        # those under a quota come in order, whoever takes them
        own = [*self._heads(own), *filter(_is_limited, self._heads(others))]
        self.is_all_ours = not (others or any(map(_is_limited, own)))
        if others and places.is_fair():
            older = list(self._claims.others(
                places, self._unlimited(others, UNFAIR * 1_000_000), self._memory))
            self._own = own
            yield own + older
            return
        yield own
        for head in self._claims.others(
                places, self._unlimited(others), self._memory):
            yield [head]

    def _unlimited(self, shards, later=0):
        return itertools.filterfalse(_is_limited, self._heads(shards, later))

    def _heads(self, shards, later=0):
        self._claims.foresight.shards(shards)
        return self._queue._lines.heads(
            shards, self._now, self._claims.lacks, self._memory, later)


def _is_limited(head):
    """Return whether the jobs of *head* are under a quota."""
    _shard, (_scheduled, names, *_missing) = head.place
    return bool(names)
