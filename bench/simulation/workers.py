"""Simulated worker processes: what ``zc.async.runtime`` does, and when it waits."""
import collections
import dataclasses
import importlib

from bench.simulation.engine import Lock
from bench.simulation.engine import Signal
from bench.simulation.storage import Client

_turns = importlib.import_module('zc.async.runtime.turns')
_lines = importlib.import_module('zc.async.model.lines')
_sightings = importlib.import_module('zc.async.runtime.sightings')


@dataclasses.dataclass(frozen=True)
class Policy:
    """How workers go about it.  What is not set is as in the product."""

    size: int = 3             # of a process's agent
    oldest: bool = False      # jobs first, wherever; not those of own shards
    prefetch: bool = False    # the records of a claim in one trip, or one by one
    claims_wake: bool = True  # a claim of another process wakes as a put does
    look: float = 0.05        # seconds between looks, where nobody tells of commits
    poll: float = 5.0
    ping: float = 5.0
    neighbour_loads: float = 2.0  # of a poll, for each other process
    group: int = _turns.GROUP
    company: float = _turns.COMPANY
    tries: int = _turns._TRIES
    pause: float = _turns._PAUSE
    shards: int = _lines.SHARDS
    idle_pings: int = _sightings.IDLE


@dataclasses.dataclass(frozen=True)
class Work:
    """What the jobs do."""

    cpu: float = 0.0
    outside: float = 0.0      # seconds of waiting for something else
    effect: bool = False
    quota: int = None         # of which all jobs are


class Line:
    """The waiting jobs, oldest first, as blocks: those of a shard put together."""

    def __init__(self, shards):
        self.versions = [0] * shards  # of the shards, as claims change them
        self.changes = 0
        self._blocks = []             # [shard, jobs]
        self.quota_held = self.quota_version = 0
        self.taken = 0
        self.on_change = lambda worker: None

    def put(self, shard, jobs):
        """Add *jobs* jobs to *shard*."""
        if self._blocks and self._blocks[-1][0] == shard:
            self._blocks[-1][1] += jobs
        else:
            self._blocks.append([shard, jobs])
        self.changes += 1
        self.on_change(None)

    def choose(self, count, own=None):
        """Return ``(shard, jobs)`` pairs of *count* jobs.

        *own* is None, or the number of the process among how many: each of these has
        shards of its own, and takes from them first, then from its neighbour's.
        """
        blocks, chosen = self._blocks, collections.Counter()
        if own is not None:
            number, among = own
            blocks = sorted(blocks, key=lambda block: (number - block[0]) % among)
        for shard, jobs in blocks:
            part = min(count, jobs)
            chosen[shard] += part
            count -= part
            if not count:
                break
        return [(shard, jobs) for shard, jobs in chosen.items() if jobs]

    def take(self, chosen, worker):
        """Take out what was chosen."""
        for shard, jobs in chosen:
            self.versions[shard] += 1
            self.taken += jobs
            for block in self._blocks:
                if block[0] == shard:
                    part = min(jobs, block[1])
                    block[1] -= part
                    jobs -= part
        self._blocks = [block for block in self._blocks if block[1]]
        if chosen:
            self.changes += 1
            self.on_change(worker)


class Worker(Client):
    """One process with one agent."""

    def __init__(self, world, number):
        super().__init__(world.engine, world.cores, world.storage)
        self.world = world
        self.number = number
        self._policy = world.policy
        self._turn = Lock(self.engine)
        self._more = Signal(self.engine)
        self._waiting = self._hands = 0
        self._leading = self._woken = False
        self._typical = self._turn_time = 0.0
        self._view = list(world.line.versions)  # of the shards, as it has them
        self._last_ping = -world.chance.random() * self._policy.ping
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
        seen = -1
        while True:
            yield self.engine.sleep(self._policy.look)
            yield from self.storage.load(self, 1)
            if seen != self.world.line.changes:
                seen = self.world.line.changes
                yield from self._take()

    def wake(self):
        """Claim soon."""
        if not self._woken:
            self._woken = True
            self.engine.start(self._claim_once())

    def _claim_once(self):
        # it was told at the same moment as all others, and they on their machines
        yield self.engine.sleep(self.storage.costs.wire)
        self._woken = False
        yield from self._take()

    # Its threads

    def _perform(self):
        costs, work = self.storage.costs, self.world.work
        begun = self.engine.now
        yield from self.storage.load(self, costs.job_loads / 2)
        yield from self.compute(costs.job_cpu)
        self.began.append(self.engine.now)
        if work.outside:
            yield self.engine.sleep(work.outside)
        yield from self.compute(work.cpu)
        if work.effect:
            yield from self.compute(costs.effect_cpu)
            yield from self.storage.commit(self, costs.effect_records)
        yield from self._submit(begun)

    def _submit(self, begun):
        self._waiting += 1
        self._typical += (self.engine.now - begun - self._typical) / 8
        if self._leading:
            self._more.fire()
            return
        self._leading = True
        while self._waiting:
            yield from self._wait_for_company()
            yield from self._take()
        self._leading = False

    def _wait_for_company(self):
        longest = max(self._policy.company, self._turn_time)
        if self._typical >= longest:
            return
        end = self.engine.now + min(longest, 2 * self._typical)
        while self._waiting < self._hands and self.engine.now < end - 1e-9:
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
        self._hands += claimed - batch
        for _number in range(claimed):
            self.engine.start(self._perform())
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
        seen, quota = list(line.versions), line.quota_version
        chosen = yield from self._choose(batch) if claim else ()
        chosen = chosen or ()
        claimed = sum(jobs for _shard, jobs in chosen)
        yield from self.compute(costs.turn_cpu + (batch + claimed) * costs.turn_job_cpu)
        if not batch and not claimed:
            return 0

        def check():
            return (all(line.versions[shard] == seen[shard] for shard, _jobs in chosen)
                    and (self.world.work.quota is None or quota == line.quota_version))

        def landed():
            line.quota_held += claimed - batch
            line.quota_version += 1
            line.take(chosen, self)

        self.claims += bool(claimed)
        records = costs.turn_records + costs.job_records * (batch + claimed)
        done = yield from self.storage.commit(self, records, check, landed)
        if not done:
            return None
        if claimed:
            self._last_ping = self.engine.now
        self.turns += 1
        return claimed

    def _choose(self, batch):
        """Load what is to be looked at; return what is claimed."""
        line, policy, costs = self.world.line, self._policy, self.storage.costs
        room = policy.size - (self._hands - batch)
        if self.world.work.quota is not None:
            room = min(room, self.world.work.quota - line.quota_held + batch)
        own = None if policy.oldest else (self.number, len(self.world.workers))
        chosen = line.choose(room, own) if room > 0 else []
        stale = [shard for shard, version in enumerate(line.versions)
                 if version != self._view[shard]
                 and (policy.oldest or any(shard == one for one, _jobs in chosen))]
        for shard in stale:
            self._view[shard] = line.versions[shard]
        count = sum(jobs for _shard, jobs in chosen) * costs.job_loads / 2
        yield from self.storage.load(
            self, len(stale) * costs.turn_loads + count, policy.prefetch)
        return chosen
