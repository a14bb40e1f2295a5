"""Holds the simulation against real runs on this machine, with 1 to 8 processes."""
import json
import os

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
                write({'storage': kind, **_measured(
                    server, count, subject, jobs, size, seconds)})


def _measured(server, count, subject, jobs, size, seconds):
    before = real.raw(server, 1, seconds)['rate']
    # enough that all are at work for a while
    backlog = jobs * count
    if subject == 'raw':
        found = real.raw(server, count, seconds)
    else:
        found = real.drain(server, count, backlog, size, subject == 'effect')
    found.pop('turns', None)  # of these are many
    after = real.raw(server, 1, seconds)['rate']
    return {'processes': count, 'subject': subject, 'size': size, 'jobs': backlog,
            'raw': (before + after) / 2, 'raw_before': before, 'raw_after': after,
            'processors': os.cpu_count(), **found}


def predict(costs, result):
    """Return the rate that is predicted for what *result* measured.

    Where this machine was slower in that minute than when it was calibrated, as its
    raw rate tells, so are the costs.
    """
    cores = result['processors']
    costs = costs.scaled(world.raw(costs, 1, cores) / result['raw'])
    if result['subject'] == 'raw':
        return world.raw(costs, result['processes'], cores)
    plan = world.Plan(
        workers=result['processes'], cores=cores, backlog=result['jobs'], per_block=50,
        seconds=600, policy=Policy(size=result['size']),
        work=Work(effect=result['subject'] == 'effect'))
    return world.simulate(costs, plan)['rate']


def table(costs, results):
    """Return lines that set what was measured beside what is predicted."""
    lines = [f'{"storage":<12}{"subject":<9}{"processes":>9}{"raw of one":>12}'
             f'{"measured":>10}{"predicted":>11}{"error":>8}']
    for one in sorted(results, key=lambda one: (
            one['storage'], SUBJECTS.index(one['subject']), one['processes'])):
        rate = predict(costs[one['storage']], one)
        error = rate / one['rate'] - 1 if one['rate'] else float('inf')
        lines.append(
            f'{one["storage"]:<12}{one["subject"]:<9}{one["processes"]:>9}'
            f'{one["raw"]:>10.0f}/s{one["rate"]:>8.0f}/s{rate:>9.0f}/s{error:>+8.0%}'
            + ('' if is_steady(one) else '  not steady'))
    return lines


def is_steady(result):
    """Return whether the raw rate moved by no more than 30 % meanwhile."""
    return abs(result['raw_before'] - result['raw_after']) <= 0.3 * result['raw']


def read(path):
    """Return the results in the file *path*, a line of JSON each."""
    with open(path, encoding='utf-8') as file:
        return [json.loads(line) for line in file]
