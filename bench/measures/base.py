"""What the measures share: how much to do, the raw rate, and one sample."""
import contextlib
import dataclasses
import os
import tempfile
import time

import transaction
from zope.processlifetime import DatabaseOpened

from bench import children
from bench import jobs
from bench import storages
from bench import work
from bench.report import percentile
from bench.tasks.common import connected
from zc.async_ import subscribers

#: Jobs in one commit, where many are put at once.
MANY = 1000
#: A sample within which the raw rate moved by more is not steady.
UNSTEADY = 0.3
#: Storages that several processes use at once, with a server.
SEVERAL = ('zeo', 'postgresql')
ALL = tuple(storages.KINDS)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to do."""

    jobs: int = None            # in a backlog; None: what the storage can bear
    size: int = 3               # of the agent
    runs: int = 5
    poll_interval: float = 5
    raw_seconds: float = 1      # of each look at the raw rate
    latencies: int = 250        # in all runs together
    latency_seconds: float = 60  # in a run, at most
    first: int = 1000           # jobs that are worked off in front of a backlog
    backlog_share: float = 1    # of the backlogs' sizes
    memory_jobs: int = 1_000_000
    memory_slices: int = 20
    idle_seconds: float = 600
    repeat: bool = True         # take a sample that is not steady once more

    def jobs_of(self, store):
        """Return how many jobs a backlog in *store* has."""
        return self.jobs or store.usual_jobs


class Measure:
    """One thing to measure.

    A rate has the unit ``'/s'`` and is set beside the raw rate; a latency has
    the unit ``'ms'`` and is set beside the time that a raw commit takes.
    """

    unit = '/s'
    kinds = ALL
    #: The measure that the same run's value is set beside, by its name.
    reference = None
    #: Whether it is taken in the first run only, and once.
    once = False
    #: Whether all runs share a database, that is prepared once.
    keeps = False
    #: What a sample says of it; see the README.
    about = ()

    def __init__(self, name, label):
        self.name, self.label = name, label

    def prepare(self, store, plan):
        """Fill the database of *store*; return what `take` is to know of it."""
        install(store)

    def take(self, store, plan, prepared):
        """Return what was found: a mapping with a ``value`` at least."""
        raise NotImplementedError


def raw_rate(store, seconds):
    """Return how often one small object can be changed and committed a second."""
    with contextlib.closing(store.open()) as db, connected(db) as connection:
        cell = connection.root()['bench.raw'] = work.Cell()
        transaction.commit()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            transaction.begin()
            cell.value += 1
            transaction.commit()
            count += 1
        return count / (time.perf_counter() - start)


def install(store, *kinds, count=0):
    """Make the queue, and what *count* jobs of each of the *kinds* need."""
    with contextlib.closing(store.open()) as db:
        subscribers.QueueInstaller()(DatabaseOpened(db))
        with db.transaction() as connection:
            jobs.prepare(connection, 'no-op', 0)
            for kind in kinds:
                jobs.prepare(connection, kind, count)


def put(store, kind, count, per_commit=MANY):
    """Have a process put jobs; return the rate, as ``value``, and the cost."""
    if not count:
        return None
    mark = store.mark()
    answer = children.done('put', store.folder, store=store.describe(), kind=kind,
                           count=count, per_commit=per_commit)
    return {'value': count / answer['seconds'], 'cost': per_job(store.cost(mark), count),
            'job': kind, 'jobs': count}


def per_job(cost, count):
    """Return a storage's *cost* for each of *count* jobs."""
    return {what: value / count for what, value in cost.items()}


def seen(answers, count):
    """Return what processes that did *count* jobs say of that in their *answers*."""
    claims = sum(one['claims'] for one in answers)
    found = {'claims': claims, 'cpu_ms': 1000 * sum(one['cpu'] for one in answers) / count,
             'loads': sum(one['loads'] for one in answers) / count,
             'conflicts': sum(one['conflicts'] for one in answers) / max(1, claims),
             'extra': {'conflicts_of': [each for one in answers
                                        for each in one['conflicts_of']]}}
    if 'fetched' in answers[0]:
        found['fetched'] = sum(one['fetched'] for one in answers) / count
    for name, key in (('claim_ms', 'turns'), ('choose_ms', 'choices')):
        times = [1000 * each for one in answers for each in one[key]]
        if times:
            found[name] = {'p50': percentile(times, 50), 'p99': percentile(times, 99),
                           'max': max(times), 'count': len(times)}
    return found


# Samples

@contextlib.contextmanager
def stored(kind):
    """Make a fresh store of *kind* within the block."""
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        with storages.made(kind, os.path.join(folder, kind)) as store:
            yield store


class Samples:
    """Takes samples of one *kind* of storage; closes what they share."""

    def __init__(self, kind, plan):
        self._kind, self._plan = kind, plan
        self._stack = contextlib.ExitStack()
        self._kept = {}  # measure -> store and what was prepared

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._kept.clear()
        return self._stack.__exit__(*error)

    def take(self, measure, run):
        """Return one sample, taken once more if it was not steady."""
        found = self._take(measure, run)
        if self._plan.repeat and not found['steady'] and not measure.once:
            found = {**self._take(measure, run), 'repeated': True}
        return found

    def _take(self, measure, run):
        if measure.keeps:
            if measure not in self._kept:
                store = self._stack.enter_context(stored(self._kind))
                self._kept[measure] = store, measure.prepare(store, self._plan)
            return self._sample(measure, run, *self._kept[measure])
        with stored(self._kind) as store:
            return self._sample(measure, run, store, measure.prepare(store, self._plan))

    def _sample(self, measure, run, store, prepared):
        before = raw_rate(store, self._plan.raw_seconds)
        found = measure.take(store, self._plan, prepared)
        after = raw_rate(store, self._plan.raw_seconds)
        raw = (before + after) / 2
        return {'storage': self._kind, 'measure': measure.name, 'label': measure.label,
                'run': run, 'unit': measure.unit, **dict(measure.about), **found,
                'raw_before': before, 'raw_after': after, 'raw': raw,
                'ratio': _ratio(measure.unit, found['value'], raw),
                'steady': abs(before - after) <= UNSTEADY * max(before, after)}


def _ratio(unit, value, raw):
    if unit == 'ms':
        return value / (1000 / raw)
    return value / raw if unit == '/s' else None
