"""Measure zc.async beside the storages it works on: ``bin/py bench/run.py``.

See README.rst beside this file.
"""
import argparse
import importlib.metadata
import json
import logging
import os
import signal
import sys

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import report  # noqa: E402
from bench.children import ChildFailed  # noqa: E402
from bench.measures import MEASURES  # noqa: E402
from bench.measures import Plan  # noqa: E402
from bench.measures import Samples  # noqa: E402
from bench.plans import conditions  # noqa: E402
from bench.plans import planned  # noqa: E402
from bench.storages import KINDS  # noqa: E402
from bench.storages import Missing  # noqa: E402

#: What the short form does otherwise, unless the command line says more.
SHORT = {'jobs': 300, 'runs': 1, 'raw_seconds': 0.2, 'latencies': 20,
         'latency_seconds': 8, 'first': 300, 'backlog_share': 0.05,
         'memory_jobs': 5000, 'memory_slices': 5, 'idle_seconds': 6, 'repeat': False}
#: What the short form leaves out, unless the command line names it; and what it
#: leaves out besides on all storages but the first.
LONG = ('producers-2', 'producers-8', 'limit-8', *(
    f'workers-{kind}-{number}' for kind in ('no-op', 'effect', 'cpu', 'io')
    for number in (1, 2, 4, 8) if number > 2 or kind in ('no-op', 'io')))
ELSEWHERE = ('backlog-1k', 'backlog-10k', 'backlog-100k', 'blocked-100k',
             'unwanted-100k', 'idle')
#: What the table of floors asks for.
FLOORS = {
    'filestorage': (
        'put', 'bulk', 'no-op', 'no-op-10', 'effect', 'effect-10', 'latency',
        'backlog-1k', 'backlog-1m', 'blocked-100k', 'unwanted-100k', 'memory', 'idle'),
    'zeo': ('remote latency', 'producers-8', 'workers-effect-1', 'workers-effect-2',
            'workers-effect-8', 'workers-no-op-8', 'limit-2', 'idle'),
    'postgresql': ('remote latency',)}
#: The distributions whose versions belong to a result.
DISTRIBUTIONS = ('zc.async', 'ZODB', 'ZEO', 'RelStorage', 'transaction',
                 'persistent', 'BTrees', 'Twisted')


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--storage', type=_names_of(KINDS),
                        help=f'some of {",".join(KINDS)}; by default all')
    parser.add_argument('--measure', type=_names_of(MEASURES),
                        help=f'some of {",".join(MEASURES)}; by default all')
    parser.add_argument('--jobs', type=_positive, help='in a backlog (20000, 3000 or '
                        '1000, as the storage can bear)')
    parser.add_argument('--size', type=_positive, help='of the agent (3)')
    parser.add_argument('--runs', type=_positive, help='of each measure (5)')
    parser.add_argument('--poll-interval', type=float,
                        help='seconds between polls of the dispatcher (5)')
    parser.add_argument('--first', type=_positive, help='jobs that are done in front '
                        'of a large backlog (1000)')
    parser.add_argument('--backlog-share', type=float, help='of the sizes of the large '
                        'backlogs (1)')
    parser.add_argument('--memory-jobs', type=_positive, help='(1000000)')
    parser.add_argument('--idle-seconds', type=float, help='(600)')
    parser.add_argument('--latencies', type=_positive, help='in all runs (250)')
    parser.add_argument('--json', metavar='FILE',
                        help='also write all samples and medians, a line of JSON each')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--short', action='store_true',
                     help='one run of 300 jobs each, and no large backlogs')
    how.add_argument('--floors', action='store_true',
                     help='only what the table of floors asks for')
    how.add_argument('--all', action='store_true', help='everything, as without this')
    return parser.parse_args(argv)


def _names_of(known):
    def names(text):
        chosen = text.split(',')
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f'{name!r} is not one of {", ".join(known)}')
        return chosen

    return names


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value} is less than 1')
    return value


def versions():
    """Return the versions of what is measured, None for what is not here."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


class Results:
    """Where results go: a file of JSON lines, if one is wanted."""

    def __init__(self, path):
        self.failures = 0
        self._file = None if path is None else open(path, 'w', encoding='utf-8')

    def add(self, kind, data):
        """Write *data*, which is of this *kind*; see the README."""
        if self._file is not None:
            print(json.dumps({'kind': kind, **data}), file=self._file, flush=True)

    def close(self):
        if self._file is not None:
            self._file.close()


def chosen(options, kind):
    """Return the names of what is measured on a storage of this *kind*."""
    if options.storage is not None and kind not in options.storage:
        return ()
    if options.measure is not None:
        return options.measure
    if options.floors:
        return FLOORS.get(kind, ())
    if options.short:
        left_out = LONG if kind == next(iter(KINDS)) else (*LONG, *ELSEWHERE)
        return [name for name in MEASURES if name not in left_out]
    return list(MEASURES)


def with_references(names, kind):
    """Return the measures *names* of this *kind*, and those they are set beside."""
    names = [name for name in names if kind in MEASURES[name].kinds]
    wanted = {*names, *(MEASURES[name].reference for name in names)}
    return [measure for name, measure in MEASURES.items() if name in wanted]


def measure_all(options, plan, results):
    """Take all samples of all storages; print a table for each storage."""
    for kind, store in KINDS.items():
        measures = with_references(chosen(options, kind), kind)
        if not measures:
            continue
        try:
            with store.hosted():
                summaries = _measure(kind, measures, plan, results)
        except Missing as reason:
            print(f'{store.title}: left out, {reason}\n', flush=True)
            continue
        for found in summaries:
            results.add('summary', found)
        for line in report.table(kind, summaries) if summaries else ():
            print(line)
        print(flush=True)


def _measure(kind, measures, plan, results):
    """Return the summaries of the *measures* of one kind of storage.

    One that fails is told, and not tried again.
    """
    samples = {measure: [] for measure in measures}
    with Samples(kind, plan) as taking:
        # run by run, so that a slow minute is shared by all
        for run in range(plan.runs):
            now = {}
            for measure in [one for one in samples if not (run and one.once)]:
                _progress(f'{kind}, run {run + 1} of {plan.runs}: {measure.label}')
                try:
                    found = now[measure.name] = taking.take(measure, run)
                except (ChildFailed, ValueError) as error:
                    _failed(results, kind, measure, run, error)
                    del samples[measure]
                    continue
                report.relate(found, measure.reference, now)
                samples[measure].append(found)
                results.add('sample', found)
    _progress('')
    return [report.summary(found) for found in samples.values() if found]


def _failed(results, kind, measure, run, error):
    _progress('')
    print(f'{kind}, {measure.name}: {error}', file=sys.stderr, flush=True)
    results.failures += 1
    results.add('failure', {'storage': kind, 'measure': measure.name, 'run': run,
                            'error': f'{error}'})


def _progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def main(argv=None):
    """Do what the command line *argv* says; return the exit status."""
    options = arguments(argv)
    plan = planned(Plan, options, SHORT)
    # that a client or a server leaves is no news here
    logging.getLogger('ZEO').setLevel(logging.ERROR)
    # as Ctrl-C does: the blocks end, and with them servers and folders
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    results = Results(options.json)
    try:
        results.add('conditions', conditions(plan, report.command(
            'bench/run.py', sys.argv[1:] if argv is None else argv), versions()))
        print(f'{plan.jobs or "some thousand"} jobs, agent of size {plan.size} '
              f'unless said, median of {plan.runs} '
              f'runs, poll interval {plan.poll_interval:g} s; '
              f'commits, records, bytes and CPU are per job.\n')
        measure_all(options, plan, results)
    finally:
        results.close()
    return 1 if results.failures else 0


if __name__ == '__main__':
    sys.exit(main())
