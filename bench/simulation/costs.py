"""What things cost on a machine, as ``--calibrate`` measured it.  Seconds."""
import dataclasses
import json
import os

#: Where the figures are kept.
PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'costs.json')


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of one storage, and of zc.async on it.

    Those that end with ``_cpu`` are processor time.
    """

    kind: str
    # a commit, in the process that commits: what comes before its lock is asked for,
    # for each record that it writes, and between the storage's vote and its finish
    commit_cpu: float
    record_cpu: float
    finish_cpu: float
    # at the server
    server_commit_cpu: float
    server_record_cpu: float
    server_load_cpu: float
    server_invalidation_cpu: float  # for each client that is told of a commit
    sync: float                     # waiting for the disk
    wire: float                     # one way between a process and the server
    load_cpu: float                 # of one record, in the process that loads it
    invalidation_cpu: float         # of one commit, in a process that hears of it
    # a worker process
    turn_cpu: float                 # of a turn, apart from its commit
    turn_job_cpu: float             # for each job that it claims, and each that it settles
    job_cpu: float                  # of a job, in its thread
    effect_cpu: float               # if it changes something, apart from the commit
    server_effect_cpu: float = 0.0  # … at the server, apart from any commit's
    server_job_cpu: float = 0.0     # of any job, at the server, apart from commits and loads
    handover: float = 0.0           # of the lock, when others wait for it
    early: float = 0.0              # share of the server's work that needs no lock
    beside_cpu: float = 0.0         # of commit_cpu, what is done while the server works
    jitter: float = 0.0             # standard deviation of a processor time, a share of it
    # how much more processor time all takes where processes have no processor of their
    # own: what the caches hold is the others'.  For each of them, where all only commit;
    # for each doubling, where they work, since the more there are, the less is left
    crowd: float = 0.0
    worker_crowd: float = 0.0
    # counts
    turn_records: float = 3
    job_records: float = 1          # of a turn, for each job claimed and outcome stored
    effect_records: float = 2
    turn_loads: float = 2           # for each shard to claim from that others changed
    count_loads: float = 1          # for each other shard that they have changed
    job_loads: float = 3            # with its claim

    @property
    def shared(self):
        """Whether processes share the database by a server."""
        return self.kind != 'filestorage'

    @property
    def pushes(self):
        """Whether the server tells its clients of commits."""
        return self.kind == 'zeo'

    def scaled(self, factor):
        """Return the same of a machine on which all takes *factor* times as long."""
        return self._times(lambda name: factor)

    def paced(self, cpu, server_cpu):
        """Return the same where a commit of one record takes so much processor time.

        *cpu* in the process that commits, *server_cpu* at the server.  What is no processor
        time stays.
        """
        here = cpu / (self.commit_cpu + self.record_cpu + self.finish_cpu)
        there = server_cpu / (self.server_commit_cpu + self.server_record_cpu
                              + self.server_invalidation_cpu)

        def factor(name):
            if not name.endswith('_cpu'):
                return 1
            return there if name.startswith('server_') else here

        return self._times(factor)

    def _times(self, factor):
        return dataclasses.replace(
            self, **{name: factor(name) * getattr(self, name) for name in TIMES})


TIMES = frozenset(
    name for name in Costs.__dataclass_fields__
    if name.endswith('_cpu') or name in ('sync', 'wire', 'handover'))


def load(path=PATH):
    """Return the conditions of a calibration and the `Costs` by kind of storage."""
    with open(path, encoding='utf-8') as file:
        found = json.load(file)
    return found['conditions'], {
        kind: Costs(kind=kind, **costs) for kind, costs in found['costs'].items()}


def save(conditions, costs, path=PATH):
    """Keep *costs*, by kind of storage, with the *conditions* of the calibration.

    Kinds that were calibrated before and are not among *costs* stay.
    """
    try:
        before = load(path)
    except FileNotFoundError:
        before = {}, {}
    kept = {**before[1], **costs}
    told = {kind: {name: float(f'{value:.3g}') for name, value
                   in dataclasses.asdict(one).items() if name != 'kind'}
            for kind, one in sorted(kept.items())}
    conditions = {**before[0], **{kind: conditions for kind in costs}}
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'conditions': conditions, 'costs': told}, file, indent=1)
        file.write('\n')
