"""The bench runs, and a job costs no more than it may.

What is held here are counts, which are the same on every machine; times are not.
"""
import json
import os
import sys
import tempfile
import unittest

from .checkout import needs_checkout
from .checkout import ROOT
from .checkout import run

#: The most that a no-op job may cost, put and done by an agent of size 3.
MOST_COMMITS, MOST_BYTES = 2, 2000


@needs_checkout
class Bench(unittest.TestCase):
    """The short form, in a process of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = os.path.join(folder.name, 'scratch')
        os.mkdir(self.scratch)
        self.path = os.path.join(folder.name, 'results.jsonl')

    def bench(self, *arguments):
        """Run it; return what it prints, and its lines of JSON by kind."""
        environ = dict(os.environ, TMPDIR=self.scratch,
                       PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        printed = run(
            sys.executable, ROOT / 'bench' / 'run.py', '--short', '--runs', '1',
            '--json', self.path, *arguments, cwd=self.scratch, env=environ)
        found = {}
        with open(self.path, encoding='utf-8') as lines:
            for line in map(json.loads, lines):
                found.setdefault(line['kind'], []).append(line)
        return printed, found

    def test_a_no_op_job_costs_at_most_two_commits_and_two_kilobytes(self):
        printed, found = self.bench(
            '--storage', 'filestorage', '--measure', 'no-op',
            '--jobs', '300', '--size', '3')
        [summary] = found['summary']
        cost = summary['cost_with_put']
        self.assertLessEqual(cost['commits'], MOST_COMMITS, printed)
        self.assertLessEqual(cost['bytes'], MOST_BYTES, printed)
        # the counts count: a job is stored at least when it is put and when done
        self.assertGreaterEqual(cost['records'], 2, printed)
        self.assertGreater(cost['bytes'], cost['pickled'], printed)

    def test_a_row_sets_a_measure_beside_the_raw_rate_and_nothing_is_left(self):
        printed, found = self.bench(
            '--storage', 'filestorage', '--measure', 'put,effect', '--jobs', '60')
        self.assertEqual([one['measure'] for one in found['summary']],
                         ['put', 'effect'])
        for one in found['summary']:
            self.assertGreater(one['ratio']['median'], 0)
            self.assertIn(f'{one["ratio"]["median"]:.2f}', printed)
        put, effect = [one['cost']['commits'] for one in found['sample']]
        self.assertEqual(put, 1)
        # an effect is not shared: each job that has one has its own commit
        self.assertGreaterEqual(effect, 1)
        self.assertEqual(os.listdir(self.scratch), [])

    def test_an_unknown_storage_is_refused_with_those_that_are_known(self):
        with self.assertRaisesRegex(
                AssertionError, "'tape' is not one of filestorage, zeo, relstorage"):
            self.bench('--storage', 'tape')


@needs_checkout
class EveryStorage(unittest.TestCase):
    """All of the short form; takes a minute."""

    level = 2
    setUp, bench = Bench.setUp, Bench.bench

    def test_each_measure_of_each_storage_has_a_row_and_nothing_is_left(self):
        _printed, found = self.bench('--jobs', '20', '--poll-interval', '0.2')
        rows = [(one['storage'], one['measure']) for one in found['summary']]
        here = ['put', 'bulk', 'no-op', 'effect', 'latency']
        self.assertEqual(rows, [
            *(('filestorage', name) for name in here),
            *(('zeo', name) for name in [*here, 'remote latency']),
            *(('relstorage', name) for name in here)])
        self.assertEqual(os.listdir(self.scratch), [])
