"""Run the simulation for many seeds: ``bin/py bench/faults/seeds.py --seeds 10000``.

Each seed is a run of several dispatchers, producers and an administrator on one
storage in memory, in virtual time, while processes die, stand still, or cannot reach
the storage; see ``zc.async.tests.faults.simulation``.  A seed that fails is printed
with what was wrong and the last steps, and fails again with ``--replay``, which
prints all of them.  The exit status is 1 where one has failed.
"""
import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import platform
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from zc.async_.tests.faults import mutants  # noqa: E402
from zc.async_.tests.faults import simulation  # noqa: E402

#: Failing seeds that are printed; more are counted.
SHOWN = 5


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, default=1000, help='how many (1000)')
    parser.add_argument('--first', type=int, default=0, help='the first seed (0)')
    parser.add_argument('--processes', type=int, default=1, help='at a time (1)')
    parser.add_argument('--minutes', type=float, help='end after so many, at the latest')
    parser.add_argument('--mutant', choices=sorted(mutants.TABLE),
                        help='break the product so: the seeds that fail have found it')
    parser.add_argument('--replay', type=int, metavar='SEED',
                        help='run this seed alone, and print each step')
    parser.add_argument('--json', metavar='FILE', help='also write the figures')
    return parser.parse_args(argv)


def run(seed, mutant=None, echo=None):
    """Run *seed*; return what there is to be told of it."""
    with mutants.applied(mutant) if mutant else contextlib.nullcontext():
        found = simulation.run(seed, echo=echo)
    model = found.model
    return {
        'seed': seed, 'steps': found.baton.steps, 'sum': found.baton.sum,
        'seconds': found.baton.now - simulation.BEGIN,
        'jobs': len(model.began), 'effects': sum(model.effects.values()),
        'starts': sum(model.starts.values()),
        'faults': found.faults,
        'report': found.report() if found.problems else None}


def _run(task):
    return run(*task)


def results(plan):
    """Yield what each seed of the *plan* has come to."""
    tasks = ((seed, plan.mutant) for seed in range(plan.first, plan.first + plan.seeds))
    if plan.processes == 1:
        yield from map(_run, tasks)
        return
    with multiprocessing.get_context('spawn').Pool(plan.processes) as pool:
        yield from pool.imap_unordered(_run, tasks, chunksize=8)


def campaign(plan, say):
    """Run all; return the figures."""
    began, faults = time.monotonic(), collections.Counter()
    sums, failed = collections.Counter(), []
    for number, found in enumerate(results(plan), 1):
        faults.update(found['faults'])
        sums.update({name: found[name] for name in (
            'steps', 'seconds', 'jobs', 'effects', 'starts')})
        if found['report'] is not None:
            failed.append(found['seed'])
            if len(failed) <= SHOWN:
                say(found['report'])
        passed = time.monotonic() - began
        if number % 500 == 0:
            say(f'{number} seeds in {passed:.0f} s, {len(failed)} failed')
        if plan.minutes is not None and passed > plan.minutes * 60:
            break
    passed = time.monotonic() - began
    return {
        'first': plan.first, 'seeds': number, 'failed': sorted(failed),
        'mutant': plan.mutant, 'real_seconds': round(passed, 1),
        'seeds_per_second': round(number / passed, 2),
        'virtual_hours': round(sums.pop('seconds') / 3600, 1), **sums,
        'faults': dict(sorted(faults.items())),
        'python': platform.python_version(), 'processors': os.cpu_count()}


def main(argv=None):
    """Do what the command line says; return the exit status."""
    plan = arguments(argv)
    if plan.replay is not None:
        found = run(plan.replay, plan.mutant, print)
        print(found['report'] or f'seed {plan.replay}: all is well')
        return int(found['report'] is not None)
    figures = campaign(plan, lambda text: print(text, flush=True))
    print(json.dumps(figures, indent=1))
    if plan.json:
        with open(plan.json, 'w', encoding='utf-8') as file:
            json.dump(figures, file, indent=1)
            file.write('\n')
    return int(bool(figures['failed']))


if __name__ == '__main__':
    sys.exit(main())
