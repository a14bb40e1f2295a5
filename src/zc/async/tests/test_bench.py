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
from .checkout import run_python

#: The most that a no-op job may cost, put and done by an agent of size 3.
MOST_COMMITS, MOST_BYTES = 2, 2000


@needs_checkout
class Bench(unittest.TestCase):
    """The short form, on a FileStorage."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def bench(self, *arguments):
        """Run it; return what it prints, and its lines of JSON by kind."""
        path = os.path.join(self.folder, 'results.jsonl')
        printed = run_python(
            ROOT / 'bench' / 'run.py', '--short', '--json', path, *arguments,
            cwd=self.folder)
        found = {}
        with open(path, encoding='utf-8') as lines:
            for line in map(json.loads, lines):
                found.setdefault(line['kind'], []).append(line)
        return printed, found

    def test_a_no_op_job_costs_at_most_two_commits_and_two_kilobytes(self):
        printed, found = self.bench(
            '--storage', 'filestorage', '--measure', 'no-op', '--runs', '1',
            '--jobs', '300', '--size', '3')
        [summary] = found['summary']
        cost = summary['cost_with_put']
        self.assertLessEqual(cost['commits'], MOST_COMMITS, printed)
        self.assertLessEqual(cost['bytes'], MOST_BYTES, printed)
        # the count counts: each job was put and done in records of its own
        self.assertGreater(cost['records'], 2, printed)
        self.assertGreater(cost['bytes'], cost['pickled'], printed)

    def test_every_measure_of_a_file_storage_gives_a_ratio_to_the_raw_rate(self):
        printed, found = self.bench(
            '--storage', 'filestorage', '--runs', '1', '--jobs', '60')
        self.assertEqual(
            [one['measure'] for one in found['summary']],
            ['put', 'bulk', 'no-op', 'effect', 'latency'])
        for one in found['summary']:
            self.assertGreater(one['ratio']['median'], 0)
            self.assertIn(f'{one["ratio"]["median"]:.2f}', printed)
        self.assertEqual(len(found['sample']), 5)
        self.assertEqual(found['conditions'][0]['jobs'], 60)
        self.assertNotIn(self.folder, json.dumps(found))

    def test_nothing_is_left_behind(self):
        scratch = os.path.join(self.folder, 'scratch')
        os.mkdir(scratch)
        with_scratch = dict(
            os.environ, TMPDIR=scratch, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        from .checkout import run
        run(sys.executable, ROOT / 'bench' / 'run.py', '--short', '--jobs', '5',
            '--storage', 'filestorage', '--measure', 'put', env=with_scratch)
        self.assertEqual(os.listdir(scratch), [])

    def test_an_unknown_storage_is_refused_with_those_that_are_known(self):
        with self.assertRaisesRegex(
                AssertionError, "'tape' is not one of filestorage, zeo, relstorage"):
            self.bench('--storage', 'tape')
