"""What an agent's filter has refused, so that it is not asked at each claim again.

A filter may look at anything about a job, at the time, and at the world, so a
refusal is remembered in this process's memory only, and not for ever:

- A claim goes on behind the jobs that were refused, in each line.  Their number does
  not matter to it.  What is put in line later is asked about, wherever it stands: jobs
  that are put in front are looked at always, those of the last `SETTLED` seconds are
  remembered one by one, since transactions commit in another order than they put,
  and where a job comes to stand further in front, `Shard.returned` tells.
- After `STRIDE` refusals in a row, the last `FEW` of a line among them, it looks further
  behind in that line, by halves, for one that is wanted, and goes on there.  What was
  left out is asked about bit by bit, in a tenth of the time; in a twenty-fifth of it
  while jobs are found elsewhere.  So, and only so, a job may be overtaken by others of
  its line that the same filter accepts.
- A poll forgets all, once fifty times as much time has passed as asking took: a
  filter that changes its mind, or a job whose arguments are changed, is found then.
  A thousand refusals are forgotten at nearly every poll; a hundred thousand, of some
  50 microseconds each, take four minutes.
- A filter that is another object, as after the agent's was set, knows of nothing.

While a turn is taken.
"""
from .. import clock
from .. import timekeys
from ..model.call import why_unreadable

#: Seconds after which nothing is expected to be put before a job.
SETTLED = 5
#: Refusals in a row, and how many of them in one line, before it is looked further
#: behind there.  Many lines with nothing that is wanted are passed as soon as few are.
STRIDE, FEW = 100, 8
#: Jobs asked about, and seconds, after which a claim gives up until the next.
ASKS, SECONDS = 1000, 0.05
#: Seconds for what was left out, and how many times as long to wait for the next bit:
#: where nothing was claimed since the last one, and where something was.
BIT, BETWEEN, BUSY = 0.005, 9, 24
#: How many times as long as it took to ask a refusal is remembered.
REMEMBER = 50
#: Refusals that are remembered one by one.
_KNOWN = 10_000
#: Spots of a line at which to look for a job that is wanted, from behind.
_SPOTS = (1, 7 / 8, 3 / 4, 1 / 2)
_SIZE = len(timekeys.make(0, 0, 0, 0))


class Asked:
    """What was asked about in one line.

    All up to ``front``, and all after ``low`` up to ``high``, if that is not None; what
    is between them was left out.
    """

    __slots__ = 'front', 'low', 'high', 'known', 'row'

    def __init__(self):
        self.front = self.low = self.high = None
        self.row = 0  # refusals in a row
        self.known = set()

    @property
    def marks(self):
        return self.front, self.low, self.high

    @marks.setter
    def marks(self, value):
        self.front, self.low, self.high = value

    @property
    def start(self):
        """The key behind which a claim begins; None: at the first."""
        return self.front if self.high is None else self.high

    def refuse(self, key, settled):
        """Take note that the job at *key*, the next one after a mark, was refused.

        Return whether that moved a mark: those that are not *settled* cannot.
        """
        if not 0 < timekeys.split(key)[0] <= settled:
            return False
        self.known.discard(key)
        if self.high is None or key <= self.low:
            self.front = max(key, self.front or key)
        else:
            self.high = max(key, self.high)
        return True

    def leave_out(self, after):
        """Go on behind the key *after*, and ask about those before it later."""
        self.low = self.high = after

    def close(self):
        """Take note that nothing is left out any more."""
        self.front, self.low, self.high = self.high, None, None


class Refusals:
    """The memory of one filter in one queue; what `walk.Head` calls a memory."""

    def __init__(self, filter):
        self.filter = filter
        self.lines = {}        # place -> Asked
        self.asks = 0          # since all was forgotten
        self.next_bit = None   # when to go on with what was left out, if anything
        self.row = 0           # refusals in a row
        self._claimed = False  # whether a job was, since the last bit
        self._given = 0, 0, False  # the two in a row, and that, before the last job
        self._returned = {}    # number of a shard -> what its `returned` was
        self._spent = 0.0
        self._since = self._begun = clock.monotonic()
        self._before = {}      # Asked -> its marks before this transaction
        self._settled = 0
        self._count = 0        # asked about in this turn

    # The transaction

    def begin(self, queue, poll):
        """Begin a turn in which there are claims."""
        self._begun = clock.monotonic()
        self._count = 0
        self._settled = clock.micros() - SETTLED * 1_000_000
        if poll and self._begun - self._since >= REMEMBER * self._spent:
            self._forget()
        for shard in queue._lines.shards:
            returned = 0 if shard.returned is None else shard.returned()
            if self._returned.get(shard.number, returned) != returned:
                for place in [one for one in self.lines if one[0] == shard.number]:
                    del self.lines[place]
            self._returned[shard.number] = returned

    def done(self):
        """End a turn that was committed, or that changed nothing."""
        self._before.clear()

    def undo(self):
        """End a turn that failed: what was taken in it stands in line again."""
        for asked, marks in self._before.items():
            asked.marks = marks
            if asked.high is not None and self.next_bit is None:
                # it was found that nothing is left out, and now something is
                self.next_bit = clock.monotonic()
        self._before.clear()

    def _forget(self):
        if self.asks <= ASKS:
            self.lines.clear()
        else:
            for asked in self.lines.values():
                asked.known.clear()
                if asked.start is not None:
                    asked.leave_out(asked.start)
                    asked.front = None
            self.next_bit = self._begun
        self.asks, self._spent, self._since = 0, 0.0, self._begun

    # For the heads

    def start(self, place):
        """See `walk.Everything`."""
        asked = self.lines.get(place)
        return None if asked is None else asked.start

    def knows(self, place, key, skipped=False):
        """See `walk.Everything`."""
        asked = self.lines.get(place)
        if asked is None or key not in asked.known:
            return False
        if not skipped:
            self._keep(asked)
            asked.refuse(key, self._settled)
        return True

    # Asking

    @property
    def tired(self):
        """Whether this turn has asked enough, which is once at least.

        Over a slow network it may have loaded for longer than it is to ask, and so may
        the next.
        """
        return bool(self._count) and (
            self._count >= ASKS or clock.monotonic() - self._begun >= SECONDS)

    def give(self, place):
        """Take note that a job of the line *place* is claimed, unless `refuse` follows."""
        asked = self.lines.get(place)
        self._given = self.row, 0 if asked is None else asked.row, self._claimed
        self.row, self._claimed = 0, True
        if asked is not None:
            asked.row = 0

    def refuse(self, place, key, skipped=False):
        """Take note that the job at *key*, given last, was refused.

        *skipped*: jobs before it were not looked at.
        """
        asked = self.lines.get(place)
        if asked is None:
            asked = self.lines[place] = Asked()
        self.row, asked.row, self._claimed = self._given
        self._keep(asked)
        if (skipped or not asked.refuse(key, self._settled)) and self._room():
            asked.known.add(key)

    def _room(self):
        return sum(len(asked.known) for asked in self.lines.values()) < _KNOWN

    def spend(self, seconds):
        """Take note that asking about one job took so long."""
        self._count += 1
        self.asks += 1
        self._spent += seconds

    def _keep(self, asked):
        self._before.setdefault(asked, asked.marks)

    def is_in_a_row(self, place):
        """Take note that another was refused at once; return whether that is enough.

        It goes on in the next turn, where this one ends before all is asked about: a
        filter that takes long is not to be slowed down by that, too.
        """
        asked = self.lines[place]
        self.row += 1
        asked.row += 1
        if self.row < STRIDE or asked.row < FEW:
            return False
        asked.row = 0
        return True

    def look_behind(self, head):
        """Let *head* go on where there may be a job that is wanted."""
        asked = self.lines[head.place]
        if asked.high is not None:
            return
        after = search(head.line, head.key, head.limit, self._wants)
        if after is not None and after > head.key:
            self._keep(asked)
            asked.leave_out(after)
            self.next_bit = clock.monotonic()
            head.jump(after)

    def _wants(self, job):
        began = clock.monotonic()
        wanted = (job is not None and why_unreadable(job) is None
                  and bool(self.filter(job)))
        self.spend(clock.monotonic() - began)
        return wanted

    def left_out(self, lines, is_open):
        """Iterate over ``(place, key, job)`` that were left out; at most a bit.

        *is_open* is called with the quota names of a line.  Afterwards ``next_bit`` is
        when to go on, None where nothing is left.
        """
        begun = self.next_bit = clock.monotonic()
        limit, later = self._count + ASKS // 4, False
        times, self._claimed = BUSY if self._claimed else BETWEEN, False
        for place, asked in list(self.lines.items()):
            if asked.high is None:
                continue
            line = lines.shards[place[0]].lines.get(place[1])
            for key in _keys(line, asked):
                job = line.get(key)
                if job is None or self.knows(place, key):
                    continue
                if not is_open(place[1][1]):
                    break
                spent = clock.monotonic() - begun
                if spent >= BIT or self._count >= limit:
                    self.next_bit = begun + spent + max(BIT, times * spent)
                    return
                yield place, key, job
            else:
                later |= not self._close(asked)
                continue
            later = True
        self.next_bit = begun + SETTLED if later else None

    def _close(self, asked):
        """Take note that nothing is left out of a line, unless more may come there."""
        if asked.high is None:
            return True
        if timekeys.split(asked.low)[0] > self._settled:
            return False
        self._keep(asked)
        asked.close()
        return True


def _keys(line, asked):
    """Iterate over the keys of what was left out; the line may change meanwhile."""
    after = asked.front
    while line is not None and asked.low is not None:
        found = list(_some(line.keys(after, asked.low, after is not None)))
        if not found:
            return
        yield from found
        after = found[-1]


def _some(keys, count=64):
    for _number, key in zip(range(count), keys):
        yield key


def search(line, after, limit, wants):
    """Return the key behind which a line is to be looked at, None: none.

    That is before a job that is wanted, and, by halves, before the first of those
    from it on that are so one after another; if none is found, it is the last key.
    *after* is a key whose job is not wanted.
    """
    low = _number(after)
    try:
        last = line.maxKey() if limit is None else line.maxKey(limit)
    except ValueError:
        return None
    for spot in _SPOTS:
        high = _next(line, low + int(spot * (_number(last) - low)), last)
        if high is not None and _number(high) > low and wants(line[high]):
            return _key(_first_wanted(line, low, high, wants) - 1)
    return last


def _first_wanted(line, low, high, wants):
    """Return the number of the key of a wanted job behind one that is not.

    *low* is the number of the key of the latter; the job at *high* is wanted.
    """
    found = bound = _number(high)
    while low + 1 < bound:
        middle = (low + bound) // 2
        key = _next(line, middle, _key(bound - 1))
        if key is None:
            bound = middle
        elif wants(line[key]):
            found = bound = _number(key)
        else:
            low = _number(key)
    return found


def _next(line, number, last):
    for key in line.keys(_key(number), last):
        return key
    return None


def _number(key):
    return int.from_bytes(key, 'big')


def _key(number):
    return number.to_bytes(_SIZE, 'big')
