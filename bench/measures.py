"""What is measured, each beside the raw commit rate of the same storage.

Each measure gets a fresh database.  It is prepared first; then it is taken
between two looks at the raw rate.  A new measure is a class here.
"""
import contextlib
import dataclasses
import os
import random
import statistics
import tempfile
import time

import transaction
from persistent.list import PersistentList
from zope.processlifetime import DatabaseOpened

from bench import child
from bench import children
from bench import storages
from bench import work
from zc.async_ import subscribers

#: Jobs in one commit, where many are put at once.
MANY = 1000
#: A sample within which the raw rate moved by more is not steady.
UNSTEADY = 0.3


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to do."""

    jobs: int = 1000            # in a backlog
    size: int = 3               # of the agent
    runs: int = 5
    poll_interval: float = 5
    raw_seconds: float = 1      # of each look at the raw rate
    latencies: int = 50         # in a run, where dispatchers are woken
    remote_latencies: int = 10  # in a run, where they may have to poll
    repeat: bool = True         # take a sample that is not steady once more


def raw_rate(store, seconds):
    """Return how often one small object can be changed and committed a second."""
    with contextlib.closing(store.open()) as db, child.connected(db) as connection:
        cell = connection.root()['bench.raw'] = work.Cell()
        transaction.commit()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            transaction.begin()
            cell.value += 1
            transaction.commit()
            count += 1
        return count / (time.perf_counter() - start)


class Measure:
    """One thing to measure.

    A rate has the unit ``'/s'`` and is set beside the raw rate; a latency has
    the unit ``'ms'`` and is set beside the time that a raw commit takes.
    """

    name = label = None
    unit = '/s'
    kinds = tuple(storages.KINDS)

    def prepare(self, store, plan):
        """Fill the database of *store*; return what `take` is to know of it."""
        _install(store)

    def take(self, store, plan, prepared):
        """Return what was found: a mapping with a ``value`` at least."""
        raise NotImplementedError


class Put(Measure):
    """Jobs that do nothing, put by one process."""

    def __init__(self, name, label, per_commit):
        self.name, self.label = name, label
        self._per_commit = per_commit

    def take(self, store, plan, prepared):
        return _put(store, 'nothing', plan.jobs, self._per_commit)


class Drain(Measure):
    """A backlog, put by one process and worked off by a fresh one."""

    def __init__(self, name, label, job):
        self.name, self.label = name, label
        self._job = job

    def prepare(self, store, plan):
        _install(store, plan.jobs if self._job == 'increment' else 0)
        return _put(store, self._job, plan.jobs, MANY)

    def take(self, store, plan, prepared):
        mark = store.mark()
        answer = children.done(
            'drain', store.folder, store=store.describe(), jobs=plan.jobs,
            poll_interval=plan.poll_interval, size=plan.size)
        cost = _per_job(store.cost(mark), plan.jobs)
        return {'value': plan.jobs / answer['seconds'], 'cost': cost,
                'cost_with_put': {what: cost[what] + prepared['cost'][what]
                                  for what in cost},
                'cpu_ms': 1000 * answer['cpu'] / plan.jobs}


def _install(store, cells=0):
    """Make the queue, and as many objects for jobs to change."""
    with contextlib.closing(store.open()) as db:
        subscribers.QueueInstaller()(DatabaseOpened(db))
        with db.transaction() as connection:
            connection.root()[child.CELLS] = PersistentList(
                work.Cell() for _number in range(cells))


def _put(store, job, jobs, per_commit):
    mark = store.mark()
    answer = children.done(
        'put', store.folder, store=store.describe(), job=job, jobs=jobs,
        per_commit=per_commit)
    return {'value': jobs / answer['seconds'],
            'cost': _per_job(store.cost(mark), jobs)}


def _per_job(cost, jobs):
    return {what: count / jobs for what, count in cost.items()}


class Latency(Measure):
    """From commit to start, put in the process that has the dispatcher."""

    name = 'latency'
    label = 'commit to start, same process'
    unit = 'ms'

    def take(self, store, plan, prepared):
        return _latencies(children.done(
            'latency', store.folder, store=store.describe(),
            samples=plan.latencies, poll_interval=plan.poll_interval,
            size=plan.size)['latencies'])


class RemoteLatency(Measure):
    """From commit to start, put in another process than the dispatcher's.

    A pause of up to a poll interval comes before each put: whatever the process
    does at intervals, the puts fall anywhere between.
    """

    name = 'remote latency'
    label = 'commit to start, another process'
    unit = 'ms'
    kinds = ('zeo',)

    def take(self, store, plan, prepared):
        with children.Child('serve', store.folder, store=store.describe(),
                            poll_interval=plan.poll_interval,
                            size=plan.size) as worker:
            worker.hear()
            with contextlib.closing(store.open()) as db:
                with child.connected(db) as connection:
                    return _latencies(list(self._samples(connection, worker, plan)))

    def _samples(self, connection, worker, plan):
        _one_latency(connection, worker, 0)  # it is the first to load anything
        for number in range(1, 1 + plan.remote_latencies):
            time.sleep(random.uniform(0.05, plan.poll_interval))
            yield _one_latency(connection, worker, number)


def _one_latency(connection, worker, number):
    committed = child.put_stamp(connection, number)
    # Where perf_counter is the machine's clock it may be compared between
    # processes; that is so on Linux, macOS and Windows.
    _number, begun = worker.hear()['stamp']
    return begun - committed


def _latencies(seconds):
    latencies = [1000 * one for one in seconds]
    return {'value': statistics.median(latencies), 'latencies': latencies}


MEASURES = {measure.name: measure for measure in (
    Put('put', 'put and commit, one by one', 1),
    Put('bulk', 'put, a thousand in a commit', MANY),
    Drain('no-op', 'drain, jobs that do nothing', 'nothing'),
    Drain('effect', 'drain, jobs with one effect', 'increment'),
    Latency(), RemoteLatency())}


# Samples

def sample(measure, kind, run, plan):
    """Return one sample, taken once more if it was not steady."""
    found = _sample(measure, kind, run, plan)
    if plan.repeat and not found['steady']:
        found = {**_sample(measure, kind, run, plan), 'repeated': True}
    return found


def _sample(measure, kind, run, plan):
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        with storages.made(kind, os.path.join(folder, kind)) as store:
            prepared = measure.prepare(store, plan)
            before = raw_rate(store, plan.raw_seconds)
            found = measure.take(store, plan, prepared)
            after = raw_rate(store, plan.raw_seconds)
    raw = (before + after) / 2
    return {'storage': kind, 'measure': measure.name, 'run': run,
            'unit': measure.unit, **found, 'raw_before': before, 'raw_after': after,
            'raw': raw, 'ratio': _ratio(measure.unit, found['value'], raw),
            'steady': abs(before - after) <= UNSTEADY * max(before, after)}


def _ratio(unit, value, raw):
    return value / raw if unit == '/s' else value / (1000 / raw)
