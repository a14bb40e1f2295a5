"""Measure zc.async beside its peers, in one run: ``bin/py bench/peers/run.py``.

See README.rst beside this file.
"""
import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import signal
import sys
import tempfile
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from bench import storages  # noqa: E402
from bench.measures import raw_rate  # noqa: E402
from bench.peers import report  # noqa: E402
from bench.peers.environments import HERE  # noqa: E402
from bench.peers.environments import Missing  # noqa: E402
from bench.peers.environments import python_of  # noqa: E402
from bench.peers.hosts import Host  # noqa: E402
from bench.peers.hosts import PeerFailed  # noqa: E402
from bench.peers.hosts import Servers  # noqa: E402
from bench.peers.measures import MEASURES  # noqa: E402
from bench.peers.measures import Plan  # noqa: E402
from bench.peers.systems import NAMES  # noqa: E402
from bench.peers.systems import SYSTEMS  # noqa: E402
from bench.plans import conditions  # noqa: E402
from bench.plans import planned  # noqa: E402
from bench.report import command  # noqa: E402

#: A sample within which the raw rate moved by more is not steady.
UNSTEADY = 0.3
SHORT = {'jobs': 300, 'runs': 1, 'latencies': 10, 'raw_seconds': 0.2, 'repeat': False}


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--peers', type=_names_of(NAMES), default=NAMES,
                        help=f'some of {",".join(NAMES)}; by default all')
    parser.add_argument('--settings', choices=('durable', 'default', 'both'),
                        default='both', help='of those that have two (both)')
    parser.add_argument('--measure', type=_names_of(MEASURES), default=list(MEASURES),
                        help=f'some of {",".join(MEASURES)}; by default all')
    parser.add_argument('--jobs', type=int, help='in a backlog (3000)')
    parser.add_argument('--runs', type=int, help='of each measure (5)')
    parser.add_argument('--latencies', type=int, help='in a run (60)')
    parser.add_argument('--concurrency', type=int, help='of a worker (10)')
    parser.add_argument('--cache', metavar='FOLDER', help='where the peers are installed',
                        default=os.path.join(tempfile.gettempdir(), 'zc.async-peers'))
    parser.add_argument('--json', metavar='FILE',
                        help='also write all samples and medians, a line of JSON each')
    parser.add_argument('--minutes', type=float, default=math.inf,
                        help='begin no further run that would end later, by the longest '
                        'of those before (no limit)')
    parser.add_argument('--short', action='store_true',
                        help='one run of 300 jobs each: some minutes')
    return parser.parse_args(argv)


def _names_of(known):
    def names(text):
        for name in text.split(','):
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f'{name!r} is not one of {", ".join(known)}')
        return text.split(',')

    return names


def versions():
    """Return the versions of what is measured."""
    found = {'zc.async': importlib.metadata.version('zc.async')}
    for name in ('requirements.txt', 'requirements-oban.txt'):
        with open(os.path.join(HERE, name), encoding='utf-8') as lines:
            found.update(line.strip().split(' == ') for line in lines if '==' in line)
    return found


class Run:
    """One run of the bench, in a *folder* of its own."""

    def __init__(self, options, plan, folder, running, add):
        self._options, self._plan, self._folder = options, plan, folder
        self._servers, self._add = running, add
        self._raw = storages.File(folder)
        self.samples = {}       # (system, measure) -> samples
        self.failures = []

    def measure_all(self):
        """Take all samples."""
        begun = time.monotonic()
        ready = [system for system in SYSTEMS if self._is_wanted(system)
                 and self._is_ready(system)]
        # run by run, so that a slow minute is shared by all
        longest = 0
        for run in range(self._plan.runs):
            now = time.monotonic()
            if run and now + longest > begun + 60 * self._options.minutes:
                print(f'{run} of {self._plan.runs} runs were made: another would end '
                      f'after {self._options.minutes:g} minutes', file=sys.stderr)
                break
            self._round(ready, run)
            longest = max(longest, time.monotonic() - now)

    def _round(self, ready, run):
        for system in ready:
            _progress(f'run {run + 1} of {self._plan.runs}: {system.key}')
            with self._failing(system):
                self._measure(system, run)

    def _is_wanted(self, system):
        return (system.name in self._options.peers
                and self._options.settings in (system.settings, 'both'))

    def _is_ready(self, system):
        with self._failing(system):
            python_of(system.environment, self._options.cache)
            self._servers.environ(system)
            return True

    @contextlib.contextmanager
    def _failing(self, system):
        """Go on with others when one fails; say so now and at the end."""
        try:
            yield
        except (Missing, PeerFailed) as error:
            self.failures.append(f'{error}')
            self._add('failure', {'system': system.name, 'storage': system.storage,
                                  'settings': system.settings, 'message': f'{error}'})
            print(f'{system.key}: {error}', file=sys.stderr, flush=True)

    def _measure(self, system, run):
        folder = os.path.join(self._folder, f'{run}-{system.key.replace("/", "-")}')
        os.mkdir(folder)
        python = python_of(system.environment, self._options.cache)
        with Host(system, python, folder, self._servers.environ(system)) as host:
            has_bulk = host.ask('setup')['bulk']
            for name in self._options.measure:
                if name != 'bulk' or has_bulk:
                    found = self._sample(host, system, name, run)
                    self.samples.setdefault((system, name), []).append(found)
                    self._add('sample', found)

    def _sample(self, host, system, name, run):
        found = self._once(host, system, name, run)
        if self._plan.repeat and not found['steady']:
            found = {**self._once(host, system, name, run), 'repeated': True}
        return found

    def _once(self, host, system, name, run):
        label, unit, take = MEASURES[name]
        host.ask('reset')
        before = raw_rate(self._raw, self._plan.raw_seconds)
        found = take(host, system, self._plan)
        after = raw_rate(self._raw, self._plan.raw_seconds)
        raw = (before + after) / 2
        return {'system': system.name, 'title': system.title, 'storage': system.storage,
                'settings': system.settings, 'together': system.together,
                'measure': name, 'label': label, 'run': run, 'unit': unit, **found,
                'raw_before': before, 'raw_after': after, 'raw': raw,
                'ratio': found['value'] / (raw if unit == '/s' else 1000 / raw),
                'steady': abs(before - after) <= UNSTEADY * max(before, after)}


def _progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def _tell(run, plan, add):
    """Write the summaries of the samples that were taken, and print them."""
    _progress('')
    summaries = [report.summary(found) for found in run.samples.values()]
    for found in summaries:
        add('summary', found)
    for line in report.table(summaries, plan):
        print(line, flush=True)


def main(argv=None):
    """Do what the command line *argv* says."""
    options = arguments(argv)
    plan = planned(Plan, options, SHORT)
    # as Ctrl-C does: the blocks end, and with them servers and folders
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    with contextlib.ExitStack() as made:
        results = (made.enter_context(open(options.json, 'w', encoding='utf-8'))
                   if options.json else None)

        def add(kind, data):
            if results is not None:
                print(json.dumps({'kind': kind, **data}), file=results, flush=True)

        add('conditions', conditions(plan, command(
            'bench/peers/run.py', sys.argv[1:] if argv is None else argv), versions()))
        folder = made.enter_context(tempfile.TemporaryDirectory(prefix='bench-peers-'))
        running = made.enter_context(Servers(folder))
        run = Run(options, plan, folder, running, add)
        # also of what there is when it is ended early
        made.callback(_tell, run, plan, add)
        run.measure_all()
    if run.failures:
        sys.exit(f'{len(run.failures)} failed; see above')


if __name__ == '__main__':
    main()
