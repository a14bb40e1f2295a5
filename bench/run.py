"""Measure zc.async beside the storages it works on: ``bin/py bench/run.py``.

See README.rst beside this file.
"""
import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import signal
import sys

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import report  # noqa: E402
from bench.children import ChildFailed  # noqa: E402
from bench.measures import MEASURES  # noqa: E402
from bench.measures import Plan  # noqa: E402
from bench.measures import sample  # noqa: E402
from bench.storages import KINDS  # noqa: E402

#: What the short form does otherwise, unless the command line says more.
SHORT = {'jobs': 300, 'runs': 1, 'raw_seconds': 0.3, 'remote_latencies': 3,
         'repeat': False}
#: The distributions whose versions belong to a result.
DISTRIBUTIONS = ('zc.async', 'ZODB', 'ZEO', 'RelStorage', 'transaction',
                 'persistent', 'BTrees', 'Twisted')


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--storage', type=_names_of(KINDS), default=list(KINDS),
                        help=f'some of {",".join(KINDS)}; by default all')
    parser.add_argument('--measure', type=_names_of(MEASURES), default=list(MEASURES),
                        help=f'some of {",".join(MEASURES)}; by default all')
    parser.add_argument('--jobs', type=_positive, help='in a backlog (1000)')
    parser.add_argument('--size', type=_positive, help='of the agent (3)')
    parser.add_argument('--runs', type=_positive, help='of each measure (5)')
    parser.add_argument('--poll-interval', type=float,
                        help='seconds between polls of the dispatcher (5)')
    parser.add_argument('--json', metavar='FILE',
                        help='also write all samples and medians, a line of JSON each')
    parser.add_argument('--short', action='store_true',
                        help='one run of 300 jobs each: under two minutes')
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


def planned(options):
    """Return the `Plan` that the command line asks for."""
    chosen = dict(SHORT) if options.short else {}
    for field in dataclasses.fields(Plan):
        value = getattr(options, field.name, None)
        if value is not None:
            chosen[field.name] = value
    return Plan(**chosen)


def conditions(plan):
    """Return what a result depends on besides the code."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {**dataclasses.asdict(plan), 'python': platform.python_version(),
            'system': platform.system(), 'processors': os.cpu_count(),
            'versions': versions}


class Results:
    """Where results go: a file of JSON lines, if one is wanted."""

    def __init__(self, path):
        self._file = None if path is None else open(path, 'w', encoding='utf-8')

    def add(self, kind, data):
        """Write *data*, which is of the *kind* conditions, sample or summary."""
        if self._file is not None:
            print(json.dumps({'kind': kind, **data}), file=self._file, flush=True)

    def close(self):
        if self._file is not None:
            self._file.close()


def measure_all(options, plan, results):
    """Take all samples of all storages; print a table for each storage."""
    for kind in options.storage:
        measures = [MEASURES[name] for name in options.measure
                    if kind in MEASURES[name].kinds]
        samples = {measure: [] for measure in measures}
        # run by run, so that a slow minute is shared by all
        for run in range(plan.runs):
            for measure in measures:
                _progress(f'{kind}, run {run + 1} of {plan.runs}: {measure.label}')
                found = sample(measure, kind, run, plan)
                results.add('sample', found)
                samples[measure].append(found)
        _progress('')
        summaries = [report.summary(found) for found in samples.values()]
        for found in summaries:
            results.add('summary', found)
        for line in report.table(kind, summaries) if summaries else ():
            print(line)
        print(flush=True)


def _progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def main(argv=None):
    """Do what the command line *argv* says."""
    options = arguments(argv)
    plan = planned(options)
    # as Ctrl-C does: the blocks end, and with them servers and folders
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    results = Results(options.json)
    try:
        results.add('conditions', conditions(plan))
        print(f'{plan.jobs} jobs, agent of size {plan.size}, median of {plan.runs} '
              f'runs, poll interval {plan.poll_interval:g} s; '
              f'commits, records, bytes and CPU are per job.\n')
        measure_all(options, plan, results)
    except ChildFailed as error:
        sys.exit(f'{error}')
    finally:
        results.close()


if __name__ == '__main__':
    main()
