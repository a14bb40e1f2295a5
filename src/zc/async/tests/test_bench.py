"""The bench runs, and a job costs no more than it may.

What is held here are counts, which are the same on every machine; times are not.
"""
import importlib
import json
import os
import sys
import tempfile
import unittest

import ZODB
from ZODB.utils import get_pickle_metadata
from zope.processlifetime import DatabaseOpened

from .. import configure
from .. import subscribers
from ..job import Job
from ..queue import get_queues
from .checkout import needs_checkout
from .checkout import ROOT
from .checkout import run
from .checkout import run_python

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

    def test_lines_hold_what_is_documented_of_them(self):
        _printed, found = self.bench(
            '--storage', 'filestorage', '--jobs', '60', '--memory-jobs', '200',
            '--idle-seconds', '0.5', '--latencies', '3', '--first', '50', '--measure',
            'quota-1,parallel,latency,unwanted-100k,memory,idle')
        self.assertNotIn('failure', found)
        samples = {one['measure']: one for one in found['sample']}
        for one in (*samples.values(), *found['summary']):
            self.assertLessEqual({'storage', 'measure', 'label', 'unit', 'value', 'ratio',
                                  'raw', 'steady', 'size'}, set(one))
        self.assertLessEqual({'cost', 'cost_with_put', 'cpu_ms', 'loads', 'conflicts',
                              'claims', 'claim_ms'}, set(samples['quota-1']))
        self.assertGreater(samples['quota-1']['loads'], 1)
        self.assertGreaterEqual(samples['quota-1']['claim_ms']['count'], 12)
        behind, small = samples['unwanted-100k'], samples['backlog-1k']
        self.assertEqual(behind['relative'], behind['value'] / small['value'])
        self.assertEqual(behind['reference'], 'backlog-1k')
        self.assertEqual(len(samples['latency']['latencies']), 3)
        self.assertIsNone(samples['memory']['ratio'])
        self.assertGreater(samples['memory']['extra']['packed_mb'], 0)
        self.assertIn('commits_in_10_minutes', samples['idle']['extra'])

    def test_two_workers_and_producers_share_the_work(self):
        _printed, found = self.bench(
            '--storage', 'zeo', '--jobs', '100', '--measure',
            'workers-effect-2,producers-2,limit-2')
        self.assertNotIn('failure', found)
        samples = {one['measure']: one for one in found['sample']}
        self.assertEqual(len(samples['workers-effect-2']['extra']['claims_of']), 2)
        self.assertIn('fetched', samples['workers-effect-2'])
        self.assertEqual(samples['producers-2']['puts'], 100)
        bare = samples['limit-2']
        self.assertEqual(bare['relative'], bare['value'] / samples['limit-1']['value'])
        # as many as a job's own commit stores, and nothing of a claim
        self.assertEqual((bare['jobs'], bare['cost']['commits'], bare['cost']['records']),
                         (100, 1, 2))
        self.assertEqual(os.listdir(self.scratch), [])

    def test_an_unknown_storage_is_refused_with_those_that_are_known(self):
        with self.assertRaisesRegex(
                AssertionError, "'tape' is not one of filestorage, zeo, relstorage"):
            self.bench('--storage', 'tape')


@needs_checkout
class ServersLimit(unittest.TestCase):
    """What a bare process does is what a job costs the storage, and is counted alike."""

    def module(self, name):
        sys.path.insert(0, str(ROOT))
        try:
            return importlib.import_module(f'bench.{name}')
        finally:
            sys.path.remove(str(ROOT))

    def sizes(self, store):
        """Return the bytes of what *store* stores, by the names of the classes."""
        db = ZODB.DB(None)
        self.addCleanup(db.close)
        subscribers.QueueInstaller()(DatabaseOpened(db))
        with db.transaction() as connection:
            store(connection)
        return {get_pickle_metadata(record.data)[1]: len(record.data)
                for stored in db.storage.iterator() for record in stored}

    def test_its_records_are_of_the_sizes_of_those_of_a_job(self):
        work, limiting = self.module('work'), self.module('tasks.limiting')

        configure.base()
        job = self.sizes(lambda connection: get_queues(connection)[''].put(
            Job(work.increment, work.Cell())))
        for name, size in (('Job', limiting.JOB), ('Call', limiting.CALL)):
            bare = self.sizes(lambda connection, size=size: connection.root().update(
                it=work.Record(size, work.Cell())))
            self.assertAlmostEqual(bare['Record'] / job[name], 1, delta=0.1)

    def test_its_rate_is_that_of_the_time_when_all_were_at_it(self):
        rate_of = self.module('measures.many').rate_of
        # a second process begins late, and a third has nothing left early
        times = [[number / 10 for number in range(100)],
                 [3 + number / 10 for number in range(70)],
                 [number / 10 for number in range(60)]]
        self.assertAlmostEqual(rate_of(times), 30, delta=1)
        # alone: neither the first tenth counts nor the last twentieth
        alone = [5 * number for number in range(10)] + [
            45 + number / 10 for number in range(86)] + [1000, 2000, 3000, 4000]
        self.assertAlmostEqual(rate_of([alone]), 10, delta=0.5)


@needs_checkout
class EveryStorage(unittest.TestCase):
    """All of the short form; takes minutes."""

    level = 2
    setUp, bench = Bench.setUp, Bench.bench

    def test_each_storage_has_its_rows_and_nothing_is_left(self):
        printed, found = self.bench('--jobs', '40', '--poll-interval', '0.2',
                                    '--idle-seconds', '1', '--memory-jobs', '500')
        self.assertNotIn('failure', found)
        rows = {(one['storage'], one['measure']) for one in found['summary']}
        here = ['put', 'bulk', 'no-op', 'no-op-10', 'effect', 'effect-10', 'ten-effects',
                'callback', 'quota-1', 'serial', 'parallel', 'latency']
        storages = ['filestorage', 'zeo', 'relstorage']
        if 'left out' not in printed:
            storages.append('postgresql')
        wanted = {(storage, name) for storage in storages
                  for name in here}
        self.assertLessEqual(wanted, rows)
        self.assertLessEqual({
            ('zeo', 'remote latency'), ('zeo', 'workers-effect-2'),
            ('zeo', 'producers-4'), ('zeo', 'limit-2'), ('filestorage', 'backlog-1m'),
            ('filestorage', 'memory'), ('filestorage', 'idle')}, rows)
        if 'left out' not in printed:
            self.assertIn(('postgresql', 'remote latency'), rows)
        self.assertEqual(os.listdir(self.scratch), [])


@needs_checkout
class DurablePostgreSQL(unittest.TestCase):
    """What the bench calls durable waits for the disk; the tests' own server does not."""

    #: Says the setting on a line of its own, after whatever else is printed.
    ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from bench.simulation.real import _Durable
from bench.storages import Server
found = []
for server in (Server, _Durable):
    server.setUp()
    try:
        if not server.missing:
            cursor = server.connect('postgres').cursor()
            for name in ('fsync', 'synchronous_commit', 'max_connections'):
                cursor.execute('show ' + name)
                found += cursor.fetchone()
    finally:
        server.tearDown()
print()
print(*found)
"""

    def test_it_has_fsync_and_as_many_connections_as_are_needed(self):
        found = run_python('-c', self.ASK, ROOT).splitlines()[-1].split()
        if not found:
            self.skipTest('there is no PostgreSQL server')
        self.assertEqual(found, ['on', 'on', '100', 'on', 'on', '400'])


@needs_checkout
class Peers(unittest.TestCase):

    def bench(self, *arguments):
        """Measure zc.async alone; return what it wrote."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'peers.jsonl')
            run_python(ROOT / 'bench' / 'peers' / 'run.py', '--peers', 'zc.async',
                       '--settings', 'durable', '--measure', 'no-op', '--jobs', '20',
                       '--json', path, *arguments)
            with open(path, encoding='utf-8') as lines:
                return [json.loads(line) for line in lines]

    def test_a_latency_can_be_taken_once_more_in_the_same_process(self):
        program = (
            'import os, sys; sys.path[:0] = sys.argv[1:]; import zc_async_peer as peer; '
            'peer.setup(); '
            '[(peer.reset(), print(len(peer.latencies(0, 2, 3)))) for _time in "ab"]; '
            'peer.release()')
        with tempfile.TemporaryDirectory() as folder:
            found = run(
                sys.executable, '-c', program, ROOT / 'bench' / 'peers' / 'drivers',
                cwd=folder, env={**os.environ, 'PEERS_STORAGE': 'filestorage',
                                 'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
                                 'PEERS_FOLDER': folder, 'PEERS_DURABLE': '1',
                                 'PEERS_MARKS': os.path.join(folder, 'marks'),
                                 'ZC_ASYNC_UUID': os.path.join(folder, 'uuid.txt')})
        self.assertEqual(len(found.split()), 2)

    def test_no_further_run_is_begun_that_would_take_too_long(self):
        found = self.bench('--runs', '3', '--minutes', '0.001')
        self.assertEqual({one['runs'] for one in found if one['kind'] == 'summary'}, {1})

    def test_what_is_measured_beside_others_is_of_a_revision(self):
        found = self.bench('--runs', '1')
        self.assertEqual(found[0]['kind'], 'conditions')
        if (ROOT / '.git').exists():
            head = run('git', 'rev-parse', 'HEAD', cwd=ROOT).strip()
            self.assertEqual(found[0]['revision'].rstrip('+'), head)
        self.assertIn('--peers zc.async', found[0]['command'])
        rows = {(one['storage'], one['measure'])
                for one in found if one['kind'] == 'summary'}
        self.assertIn(('filestorage', 'no-op'), rows)
