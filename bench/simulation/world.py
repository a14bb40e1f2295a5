"""One simulated run: so many processes, so many processors, one database."""
import dataclasses
import math
import random

from bench.simulation.engine import Cores
from bench.simulation.engine import Engine
from bench.simulation.lines import Line
from bench.simulation.storage import Client
from bench.simulation.storage import Storage
from bench.simulation.workers import Policy
from bench.simulation.workers import Work
from bench.simulation.workers import Worker


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is simulated."""

    workers: int = 1
    cores: float = 2.0          # that all processes share; or
    server_cores: float = None  # … the server has these, on a machine of its own
    idle_clients: int = 0
    backlog: int = None         # jobs that wait at the start; None: more than can be done
    per_block: int = 100        # of them, put together
    rate: float = 0.0           # jobs put each second, one by one, while they work
    seconds: float = 10.0
    warm_up: float = 0.25       # of the seconds, which do not count
    spread: float = 0.05        # seconds over which the processes start
    seed: int = 1
    work: Work = Work()
    policy: Policy = Policy()


class World:
    """A run of *plan* with *costs*."""

    def __init__(self, costs, plan):
        if plan.workers > 1 and not costs.shared:
            raise ValueError(f'a FileStorage is opened by one process, not by '
                             f'{plan.workers}; simulate zeo or postgresql')
        self.plan, self.work, self.policy = plan, plan.work, plan.policy
        self.chance = random.Random(plan.seed)
        self.crowd = doublings(crowd(
            plan.workers + (plan.server_cores is None), plan.cores))
        costs = dataclasses.replace(costs, crowd=costs.worker_crowd)
        self.spread = plan.spread
        self.engine = Engine()
        vary = varied(costs.jitter, self.chance)
        self.cores = Cores(self.engine, plan.cores, vary)
        server = (self.cores if plan.server_cores is None
                  else Cores(self.engine, plan.server_cores, vary))
        self.storage = Storage(
            self.engine, costs, server, plan.idle_clients,
            self.crowd if plan.server_cores is None else 0.0)
        self.line = Line(self.policy.shards)
        self.workers = []
        self.workers += [Worker(self, number) for number in range(plan.workers)]
        self._fill()
        self.line.on_put = self._put

    def _fill(self):
        plan = self.plan
        left = plan.backlog
        if left is None:
            left = 0 if plan.rate else 10_000_000
        per_block = max(plan.per_block, left // 64)
        shard = 0
        while left > 0:
            self.line.put(shard % self.policy.shards, min(left, per_block))
            left -= per_block
            shard += 1

    def _put(self, shard):
        for worker in self.workers:
            worker.heard(shard)

    def _produce(self):
        producer = Client(self.engine, self.cores, self.storage)
        while True:
            yield self.engine.sleep(self.chance.expovariate(self.plan.rate))
            self.engine.start(self._put_one(producer))

    def _put_one(self, producer):
        shard = self.chance.randrange(self.policy.shards)
        yield from self.storage.commit(
            producer, 4, landed=lambda: self.line.put(shard, 1))

    def run(self):
        """Let it happen; return what was found, as a mapping."""
        plan = self.plan
        for worker in self.workers:
            self.engine.start(worker.run())
        if plan.rate:
            self.engine.start(self._produce())
        start = plan.warm_up * plan.seconds if plan.backlog is None else 0.0
        self.engine.run(start)
        before = self._counts()
        if plan.backlog is None:
            self.engine.run(plan.seconds)
        else:
            self._run_until_done()
        return self._found(start, before)

    def _run_until_done(self):
        while (self.engine.now < self.plan.seconds
               and sum(len(one.began) for one in self.workers) < self.plan.backlog):
            self.engine.run(self.engine.now + 0.01)

    def _counts(self):
        return {'jobs': sum(len(one.began) for one in self.workers),
                'commits': self.storage.commits, 'loads': self.storage.loads,
                'locked': self.storage.locked_for, 'server': self.storage.used,
                'cpu': sum(one.used for one in self.workers),
                'turns': sum(one.turns for one in self.workers),
                'claims': sum(one.claims for one in self.workers),
                'conflicts': sum(one.conflicts for one in self.workers)}

    def _found(self, start, before):
        count = {name: value - before[name] for name, value in self._counts().items()}
        seconds, jobs = self.engine.now - start, max(1, count['jobs'])
        return {'jobs': count['jobs'], 'seconds': seconds,
                'rate': (count['jobs'] / seconds if self.plan.backlog is None
                         else steady([one.began for one in self.workers])),
                'commits_per_s': count['commits'] / seconds,
                'commits_per_job': count['commits'] / jobs,
                'loads_per_job': count['loads'] / jobs,
                'loads_per_s': count['loads'] / seconds,
                'conflicts_per_turn': count['conflicts'] / max(
                    1, count['conflicts'] + count['turns']),
                'cpu_ms_per_job': 1000 * count['cpu'] / jobs,
                'server_cores': count['server'] / seconds,
                'locked': count['locked'] / seconds}


def steady(began):
    """Return the rate at which jobs began, of a list of moments for each process.

    From the moment when each has begun one until nine tenths have begun.
    """
    times = sorted(moment for moments in began for moment in moments)
    if not times:
        return 0.0
    start, end = window(began)
    within = [moment for moment in times if start < moment <= end]
    return len(within) / (end - start) if within else 0.0


def window(began):
    """Return that moment, and the one at which nine tenths have begun."""
    times = sorted(moment for moments in began for moment in moments)
    start = max(min(moments) for moments in began if moments)
    if start > times[len(times) // 2]:
        # one hardly got any: nobody waits for it
        start = times[0]
    return start, times[max(0, int(0.9 * len(times)) - 1)]


def crowd(processes, cores):
    """Return how many of so many processes have no processor of their own."""
    return max(0.0, processes - cores)


def varied(jitter, chance):
    """Return what makes of a typical time one of this standard deviation, by *chance*.

    Who always take the same time fall in step, and wait for nobody.
    """
    if not jitter:
        return float
    shape = jitter ** -2
    return lambda seconds: chance.gammavariate(shape, seconds / shape)


def doublings(crowded):
    """Return how often one process has to double to be so many more."""
    return math.log2(1 + crowded)


def simulate(costs, plan):
    """Return what a run of *plan* with *costs* finds."""
    return World(costs, plan).run()


def raw(costs, committers, cores, records=1, seconds=3.0):
    """Return the commits a second of so many processes that do nothing else."""
    engine = Engine()
    shared = Cores(engine, cores, varied(costs.jitter, random.Random(Plan.seed)))
    crowded = crowd(committers + 1, cores)
    # of ZEO's one thread the handover tells it
    storage = Storage(engine, costs, shared, crowd=0.0 if costs.pushes else crowded)

    def commit_again_and_again(client):
        while True:
            yield from storage.commit(client, records)

    for _number in range(committers):
        engine.start(commit_again_and_again(Client(engine, shared, storage, crowded)))
    engine.run(seconds)
    return storage.commits / seconds
