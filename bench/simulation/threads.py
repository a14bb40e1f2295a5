"""The simulated threads of a process: how many are awake, as in ``runtime.threads``."""


class Pace:
    """How long something takes, typically, and how often the *limit* that is."""

    def __init__(self, policy, limit):
        self._limit, self._policy = limit, policy
        self._typical = None  # seconds

    @property
    def multiple(self):
        """How often the limit it takes, 0 where it is short."""
        return int((self._typical or 0.0) / self._limit)

    def note(self, seconds, alone):
        """Take note that it took so long, *alone* among the threads or not."""
        seconds = min(seconds, self._policy.most * self._limit)
        if alone or seconds < self._limit:
            before = seconds if self._typical is None else self._typical
            self._typical = before + (seconds - before) * self._policy.weight


class Seat:
    """What one thread does just now."""

    since = 0.0
    works = alone = committing = False


class Pool:
    """The threads of *worker*, which does what they do: `perform` and `lead`.

    One thread goes on with short jobs, and one more for each *quick* seconds that their
    commits take.  `patrol` finds those that are stuck.
    """

    def __init__(self, worker, policy, quick):
        self._worker, self._engine, self._policy = worker, worker.engine, policy
        self._jobs, self._commits = Pace(policy, policy.short), Pace(policy, quick)
        self._working = set()
        self._awake = 0
        self._patrols = False
        self.tickets = 0

    def put(self, count):
        """Have *count* tickets more worked on."""
        for _number in range(count):
            self.tickets += 1
            if not self._saves or self._moving < self._busy:
                self._wake(1)
        if self.tickets and not self._patrols:
            self._patrols = True
            self._engine.start(self._patrol())

    def worked(self, seat, seconds, committing):
        """Take note that a job is done; return whether its thread goes on at once."""
        self._jobs.note(seconds, seat.alone)
        self._commits.note(committing, seat.alone)
        seat.since, seat.works = self._engine.now, False
        return bool(self.tickets) and self._saves and self._moving <= self._busy

    @property
    def _saves(self):
        return not self._jobs.multiple

    @property
    def _busy(self):
        return self._policy.busy + self._commits.multiple

    @property
    def _moving(self):
        return self._awake - sum(map(self._is_stuck, self._working))

    def _is_stuck(self, seat):
        late = self._policy.late_commit if seat.committing else self._policy.late
        return self._engine.now - seat.since >= late

    def _wake(self, count):
        for _number in range(min(count, self._policy.size - self._awake)):
            self._awake += 1
            self._engine.start(self._run())

    def _run(self):
        """Be one thread, from when it is woken until it sleeps again."""
        seat, rested = Seat(), False
        while True:
            self._working.discard(seat)
            if self.tickets and not (self._saves and self._moving > self._busy):
                self._seat(seat)
                rested = False
                yield from self._worker.perform(seat)
            elif rested:
                self._awake -= 1
                return
            else:
                rested = True
                yield from self._worker.lead()

    def _seat(self, seat):
        self.tickets -= 1
        beside = [one for one in self._working if not self._is_stuck(one)]
        for one in beside:
            one.alone = False
        seat.since, seat.works, seat.alone = self._engine.now, True, not beside
        self._working.add(seat)

    def _patrol(self):
        """Go round while tickets, or outcomes, wait."""
        while self.tickets or self._worker.keeps:
            yield self._engine.sleep(self._policy.late)
            self._rouse()
            yield from self._worker.lead_late()
        self._patrols = False

    def _rouse(self):
        """Wake threads for the tickets that wait behind what takes long."""
        for seat in self._working:
            if seat.works and self._is_stuck(seat) and not seat.committing:
                self._jobs.note(self._engine.now - seat.since, seat.alone)
        if not self._saves:
            self._wake(self.tickets)
        elif self.tickets and self._moving < self._busy:
            self._wake(1)
