"""Holds the simulation against real runs on this machine, with 1 to 8 processes."""
import dataclasses
import itertools
import json
import os
import statistics

from bench.simulation import real
from bench.simulation import world
from bench.simulation.workers import Policy
from bench.simulation.workers import Work

#: What is looked at.
SUBJECTS = ('raw', 'no-op', 'effect')


def measure(kind, processes, jobs, size, seconds, write):
    """Measure all subjects; give each result to *write*.

    Each on a server of its own: PostgreSQL gets slower by the versions of rows that it
    keeps until somebody cleans up.
    """
    for count in processes:
        for subject in SUBJECTS:
            with real.served(kind) as server:
                server.fill(range(count), 1)
                found = measured(server, count, subject, jobs, size, seconds)
                found.pop('turns', None)  # of these are many
                write({'storage': kind, **found})


def measured(server, count, subject, jobs, size, seconds):
    """Return what *count* processes do of *subject*, between two looks at raw commits."""
    before = real.raw(server, 1, seconds)
    # enough that all are at work for a while
    backlog = jobs * count
    if subject == 'raw':
        found = real.raw(server, count, seconds)
    else:
        found = real.drain(server, count, backlog, size, subject == 'effect')
    after = real.raw(server, 1, seconds)

    def mean(name):
        return (before[name] + after[name]) / 2

    return {'processes': count, 'subject': subject, 'size': size, 'jobs': backlog,
            'raw': mean('rate'), 'raw_before': before['rate'], 'raw_after': after['rate'],
            'raw_cpu': mean('cpu'), 'raw_server_cpu': mean('server_cpu'),
            'processors': os.cpu_count(), **found}


def paced(costs, results):
    """Return *costs*, by the kind of storage, at the pace of *results*.

    Where the processors were slower then than when they were calibrated, as what they took
    for raw commits tells, so are the costs.
    """
    found = {}
    for kind in {one['storage'] for one in results}:
        here, there = (statistics.median(
            one[name] for one in results if one['storage'] == kind)
            for name in ('raw_cpu', 'raw_server_cpu'))
        found[kind] = costs[kind].paced(here, there)
    return found


def predict(costs, result):
    """Return the rate that is predicted for what *result* measured."""
    cores = result['processors']
    if result['subject'] == 'raw':
        return world.raw(costs, result['processes'], cores)
    plan = world.Plan(
        workers=result['processes'], cores=cores, backlog=result['jobs'], per_block=50,
        seconds=600, policy=Policy(size=result['size']),
        work=Work(effect=result['subject'] == 'effect'))
    return world.simulate(costs, plan)['rate']


@dataclasses.dataclass(frozen=True)
class Compared:
    """What was measured, the median of *runs*, and what is predicted for it, a second."""

    storage: str
    subject: str
    processes: int
    runs: int
    raw: float       # of one bare process
    measured: float
    predicted: float
    steady: bool     # in most runs

    @property
    def factor(self):
        """By which the prediction is off, one way or the other."""
        if not (self.measured and self.predicted):
            return float('inf')
        return max(self.predicted / self.measured, self.measured / self.predicted)


def compared(costs, results):
    """Return a list of `Compared`, of *results* with each number of processes."""
    def key(one):
        return one['storage'], SUBJECTS.index(one['subject']), one['processes']

    found, costs = [], paced(costs, results)
    for _key, runs in itertools.groupby(sorted(results, key=key), key):
        runs = list(runs)
        first, median = runs[0], statistics.median
        found.append(Compared(
            first['storage'], first['subject'], first['processes'], len(runs),
            median(one['raw'] for one in runs), median(one['rate'] for one in runs),
            predict(costs[first['storage']], first),
            median(map(is_steady, runs)) >= 0.5))
    return found


def table(costs, results):
    """Return lines that set what was measured beside what is predicted."""
    lines = [f'{"storage":<12}{"subject":<9}{"processes":>9}{"runs":>6}{"raw of one":>12}'
             f'{"measured":>10}{"predicted":>11}{"off by":>8}']
    for one in compared(costs, results):
        lines.append(
            f'{one.storage:<12}{one.subject:<9}{one.processes:>9}{one.runs:>6}'
            f'{one.raw:>10.0f}/s{one.measured:>8.0f}/s{one.predicted:>9.0f}/s'
            f'{one.factor:>8.2f}' + ('' if one.steady else '  not steady'))
    return lines


def is_steady(result):
    """Return whether the raw rate moved by no more than 30 % meanwhile."""
    return abs(result['raw_before'] - result['raw_after']) <= 0.3 * result['raw']


def read(path):
    """Return the results in the file *path*, a line of JSON each."""
    with open(path, encoding='utf-8') as file:
        return [json.loads(line) for line in file]
