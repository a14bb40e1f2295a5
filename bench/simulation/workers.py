"""Simulated worker processes: what ``zc.async.runtime`` does, and when it waits."""
import dataclasses
import importlib
import math

from bench.simulation.engine import Lock
from bench.simulation.engine import Signal
from bench.simulation.lines import Places
from bench.simulation.storage import Client
from bench.simulation.threads import Pool

_ahead, _pace, _places, _sightings, _storing, _threads, _turns, _wakeup = (
    importlib.import_module(f'zc.async.runtime.{name}') for name in (
        'ahead', 'pace', 'places', 'sightings', 'storing', 'threads', 'turns', 'wakeup'))
_lines = importlib.import_module('zc.async.model.lines')


@dataclasses.dataclass(frozen=True)
class Policy:
    """How workers go about it.  What is not set is as in the product."""

    size: int = 3             # of a process's agent
    oldest: bool = False      # jobs first, wherever; not those of own shards
    prefetch: bool = True     # the records of a claim in one trip, or one by one
    poll: float = 5.0
    ping: float = 5.0
    idle_pings: int = _sightings.IDLE
    neighbour_loads: float = 2.0  # of a poll, for each other process
    # looks at storages that do not tell of commits, since there are notes, too
    look: float = _wakeup.LOOK_TOLD
    # turns
    group: int = _turns.GROUP
    company: float = _turns.COMPANY
    run: float = _turns.RUN
    long_run: float = _turns.LONG_RUN
    run_turns: float = _turns._SHARE
    later: float = _turns._LATER
    tries: int = _turns._TRIES
    pause: float = _turns._PAUSE
    ahead: int = _ahead.AHEAD
    ahead_short: float = _ahead.SHORT
    # threads
    busy: int = _threads.BUSY
    late: float = _threads.LATE
    late_commit: float = _threads.LATE_COMMIT
    short: float = _pace.SHORT
    most: float = _pace.MOST
    weight: float = _pace._WEIGHT
    quick: float = _storing.QUICK
    quick_apart: float = _storing.QUICK_APART
    # shards
    shards: int = _lines.SHARDS
    still: float = _places.STILL
    still_turns: float = _places.TURNS
    lane: int = _places.LANE
    lanes: int = _places.LANES


@dataclasses.dataclass(frozen=True)
class Work:
    """What the jobs do."""

    cpu: float = 0.0
    outside: float = 0.0      # seconds of waiting for something else
    effect: bool = False
    quota: int = None         # of which all jobs are


class Worker(Client):
    """One process with one agent."""

    def __init__(self, world, number):
        super().__init__(world.engine, world.cores, world.storage, world.crowd)
        self.world = world
        self._policy = policy = world.policy
        kind = self.storage.costs.kind
        self._pool = Pool(self, policy, policy.quick_apart if kind == 'postgresql'
                          else policy.quick)
        self.places = Places(world.line, policy, number, world.plan.workers)
        self._turn = Lock(self.engine)
        self._more = Signal(self.engine)
        self._waiting = self._begun = self._hands = 0
        self._since = 0.0    # when the first of those that wait began to
        self._leading = self._relied_on = False
        self._due = math.inf  # when to claim again
        self._typical = self._turn_time = 0.0
        self._view = dict(world.line.versions)  # of the shards, as it has them
        self._last_ping = -world.chance.random() * policy.ping
        self.began = []      # when the bodies of its jobs began
        self.turns = self.claims = self.conflicts = 0

    # Its reactor

    def run(self):
        """Start, then poll."""
        world = self.world
        yield self.engine.sleep(world.chance.random() * world.spread)
        if not self.storage.costs.pushes and self.storage.costs.shared:
            self.engine.start(self._look_again())
        while True:
            yield from self._poll()
            yield self.engine.sleep(self._policy.poll)

    def _poll(self):
        others = len(self.world.workers) - 1
        yield from self.compute(self.storage.costs.turn_cpu)
        yield from self.storage.load(self, round(others * self._policy.neighbour_loads))
        interval = self._policy.ping * (1 if self._hands else self._policy.idle_pings)
        yield self._turn.take
        if self.engine.now - self._last_ping >= interval:
            self._last_ping = self.engine.now
            yield from self.storage.commit(self, 1)
        self._turn.free()
        yield from self._take()

    def _look_again(self):
        while True:
            yield self.engine.sleep(self._policy.look)
            yield from self.storage.load(self, 1)

    def heard(self, shard):
        """Claim what was put in *shard*: soon, or once those who come first had time."""
        distance = 0 if self._policy.oldest else self.places.distance(shard)
        # all are told at the same moment, and they on their machines
        self._claim_in(self.storage.costs.wire
                       + self.places.patience(distance, self._turn_time))

    def _claim_in(self, seconds):
        moment = self.engine.now + seconds
        if moment < self._due:
            self._due = moment
            self.engine.plan(seconds, self._claim_due, moment)

    def _claim_due(self, moment):
        if self._due == moment:
            self._due = math.inf
            self.engine.start(self._take())

    # Its threads

    def perform(self, seat):
        """Do a job in the thread of *seat*; store its outcome, or leave that to others."""
        costs, work = self.storage.costs, self.world.work
        begun, committing = self.engine.now, 0.0
        self._begun += 1
        yield from self.compute(costs.job_cpu)
        self.began.append(self.engine.now)
        if work.outside:
            yield self.engine.sleep(work.outside)
        yield from self.compute(work.cpu)
        if work.effect:
            yield from self.compute(costs.effect_cpu)
            seat.committing, start = True, self.engine.now
            yield from self.storage.commit(
                self, costs.effect_records, server_cpu=costs.server_effect_cpu)
            seat.committing, committing = False, self.engine.now - start
        now = self.engine.now
        goes_on = self._pool.worked(seat, now - begun - committing, committing)
        if not self._waiting:
            self._since = now
        self._waiting += 1
        self._typical += (now - begun - self._typical) / 8
        self._more.fire()
        if not (goes_on and now - self._since < self._keeping):
            yield from self.lead()

    @property
    def keeps(self):
        """Whether outcomes wait that nobody stores yet."""
        return self._waiting and not self._leading

    @property
    def _keeping(self):
        policy = self._policy
        return min(max(policy.run, policy.run_turns * self._turn_time), policy.long_run)

    def lead_late(self):
        """Store the outcomes that a thread has kept longer than it should."""
        late = self._keeping + self._policy.later
        if self.keeps and self.engine.now - self._since >= late:
            yield from self.lead()

    def lead(self):
        """Store the outcomes that wait, unless another thread does just that."""
        if self._leading:
            self._relied_on = True
            return
        self._leading = self._relied_on = True
        while self._waiting and self._relied_on:
            yield from self._wait_for_company()
            self._relied_on = self._waiting >= self._policy.group
            yield from self._take()
        self._leading = False

    def _wait_for_company(self):
        longest = max(self._policy.company, self._turn_time)
        if self._typical >= longest:
            return
        end = self.engine.now + min(longest, 2 * self._typical)
        while self._waiting < self._begun and self.engine.now < end - 1e-9:
            yield self._more.wait(end - self.engine.now)

    # Turns

    def _take(self):
        yield self._turn.take
        batch = min(self._waiting, self._policy.group)
        self._waiting -= batch
        began = self.engine.now
        claimed = yield from self._commit_again_and_again(batch)
        if batch:
            self._turn_time += (self.engine.now - began - self._turn_time) / 8
        self._begun -= batch
        self._hands += claimed - batch
        self._pool.put(claimed)
        self._turn.free()

    def _commit_again_and_again(self, batch):
        """Commit a turn, again while it conflicts; return the jobs that it claimed."""
        policy, pause = self._policy, 0.001
        for number in range(policy.tries + 1):
            claimed = yield from self._once(batch, claim=number < policy.tries)
            if claimed is not None:
                return claimed
            self.conflicts += 1
            jitter = 0.5 + self.world.chance.random() / 2
            yield self.engine.sleep(pause * jitter)
            pause = min(2 * pause, policy.pause)
        for _number in range(batch):
            # one by one, as often as it takes
            while (yield from self._once(1, claim=False)) is None:
                self.conflicts += 1
                yield self.engine.sleep(pause)
        return 0

    def _once(self, batch, claim):
        """Try a turn once; return the jobs that it claimed, None after a conflict."""
        line, costs = self.world.line, self.storage.costs
        seen, quota = dict(line.versions), line.quota_version
        chosen = self._choose(batch) if claim else []
        claimed = sum(jobs for _shard, _lane, jobs in chosen)
        yield from self._load(chosen)
        yield from self.compute(costs.turn_cpu + (batch + claimed) * costs.turn_job_cpu)
        if not batch and not claimed:
            return 0

        def check():
            return (all(line.versions[shard, lane] == seen.get((shard, lane), 0)
                        for shard, lane, _jobs in chosen)
                    and (self.world.work.quota is None or quota == line.quota_version))

        def landed():
            line.quota_held += claimed - batch
            line.quota_version += 1
            line.take(chosen, self.engine.now)
            self._view.update(((shard, lane), line.versions[shard, lane])
                              for shard, lane, _jobs in chosen)

        self.claims += bool(claimed)
        # who has changed something has stored its outcome with that
        stored = 0 if self.world.work.effect else batch
        records = costs.turn_records + costs.job_records * (stored + claimed)
        done = yield from self.storage.commit(self, records, check, landed)
        if not done:
            return None
        if claimed:
            self._last_ping = self.engine.now
        self.turns += 1
        return claimed

    def _choose(self, batch):
        """Return ``(shard, lane, jobs)`` of what is claimed."""
        line, policy, quota = self.world.line, self._policy, self.world.work.quota
        room = max(0, policy.size - (self._hands - batch))
        if quota is not None or policy.oldest:
            left = math.inf if quota is None else quota - line.quota_held + batch
            return line.oldest(max(0, min(room, left)))
        chosen = self.places.own(room + self._ahead(batch))
        room -= sum(jobs for _shard, _lane, jobs in chosen)
        if room <= 0:
            return chosen
        more, again = self.places.others(room, self._turn_time, self.engine.now)
        if again is not None:
            self._claim_in(again)
        return chosen + more

    def _ahead(self, batch):
        """Return how many jobs are claimed beside those that there is room for."""
        policy = self._policy
        if not self.began or self._typical > policy.ahead_short:
            return 0
        ahead = min(policy.ahead, math.ceil(
            policy.size * self._turn_time / max(self._typical, 1e-6)))
        over = max(0, self._hands - batch - policy.size)
        return max(0, ahead - over)

    def _load(self, chosen):
        """Load what is to be looked at for *chosen*, and what its jobs will read."""
        line, costs = self.world.line, self.storage.costs
        places = [(shard, lane) for shard, lane, _jobs in chosen]
        stale = [one for one in line.versions if line.versions[one] != self._view.get(one)]
        self._view.update((one, line.versions[one]) for one in stale)
        count = sum(costs.turn_loads if one in places else costs.count_loads
                    for one in stale)
        jobs = sum(jobs for _shard, _lane, jobs in chosen)
        yield from self.storage.load(
            self, count + jobs * costs.job_loads, self._policy.prefetch,
            jobs * costs.server_job_cpu)
