"""The simulated line of waiting jobs, and which part of it each process takes first."""
import collections

#: What is left to an owner of a shard who is not known: nothing.
_NOBODY = -1.0


class Line:
    """The waiting jobs, oldest first, as blocks: those of a shard put together."""

    def __init__(self, shards):
        self.versions = collections.Counter()  # (shard, lane) -> as claims change it
        self.touched = [_NOBODY] * shards      # when jobs were taken or put
        self.waiting = [0] * shards
        self._blocks = []                      # [shard, jobs]
        self.quota_held = self.quota_version = 0
        self.taken = 0
        self.on_put = lambda shard: None

    def put(self, shard, jobs):
        """Add *jobs* jobs to *shard*."""
        if self._blocks and self._blocks[-1][0] == shard:
            self._blocks[-1][1] += jobs
        else:
            self._blocks.append([shard, jobs])
        self.waiting[shard] += jobs
        self.on_put(shard)

    def oldest(self, count):
        """Return ``(shard, lane, jobs)`` of the *count* oldest jobs."""
        chosen = collections.Counter()
        for shard, jobs in self._blocks:
            part = min(count, jobs)
            chosen[shard] += part
            count -= part
            if not count:
                break
        return [(shard, 0, jobs) for shard, jobs in chosen.items() if jobs]

    def take(self, chosen, now):
        """Take out what was chosen, at the moment *now*."""
        for shard, lane, jobs in chosen:
            self.versions[shard, lane] += 1
            self.touched[shard] = now
            self.taken += jobs
            jobs = min(jobs, self.waiting[shard])
            self.waiting[shard] -= jobs
            for block in self._blocks:
                if block[0] == shard:
                    part = min(jobs, block[1])
                    block[1] -= part
                    jobs -= part
        if chosen:
            self._blocks = [block for block in self._blocks if block[1]]


class Places:
    """The shards of process *number* of *among*, by distance, as `runtime.places` has them.

    Own shards come first.  Of others' it takes what stands so far back that nobody is
    there, and the rest once nobody has taken from that neighbour's for a moment.
    """

    def __init__(self, line, policy, number, among):
        self._line, self._policy = line, policy
        self._by_distance = collections.defaultdict(list)
        for shard in range(policy.shards):
            self._by_distance[(number - shard) % among].append(shard)
        self._since = None  # when it looked first

    def own(self, count):
        """Return ``(shard, lane, jobs)`` of up to *count* jobs in own shards."""
        chosen = []
        for shard in self._by_distance[0]:
            part = min(count, self._line.waiting[shard])
            if part:
                chosen.append((shard, 0, part))
                count -= part
        return chosen

    def others(self, count, turn_time, now):
        """Return the same of others' shards, and in how many seconds to look again."""
        if self._since is None:
            self._since = now
        chosen, again = [], None
        for distance, shards in sorted(self._by_distance.items()):
            filled = [shard for shard in shards if self._line.waiting[shard]]
            if not distance or not filled or not count:
                continue
            since = max(self._since, *(self._line.touched[shard] for shard in shards))
            left = self.patience(distance, turn_time) - (now - since)
            if left > 0:
                again = left if again is None else min(again, left)
            lane = min(distance, self._policy.lanes) if left > 0 else 0
            for shard in filled:
                behind = self._line.waiting[shard] - lane * self._policy.lane
                part = min(count, max(0, behind))
                if part:
                    chosen.append((shard, lane, part))
                    count -= part
        return chosen, again

    def patience(self, distance, turn_time):
        """Return for how many seconds the jobs of a neighbour so far away are his."""
        policy = self._policy
        turns = (min(distance, policy.lanes)
                 + max(0, distance - policy.lanes) / policy.lanes)
        return turns * max(policy.still, policy.still_turns * turn_time)

    def distance(self, shard):
        """Return how far away the owner of *shard* is."""
        return next(distance for distance, shards in self._by_distance.items()
                    if shard in shards)
