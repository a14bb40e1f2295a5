"""Storages that several processes share: jobs are put in one, and done in others.

A ZEO server, RelStorage on SQLite and RelStorage on PostgreSQL, all real.
"""
import contextlib
import os
import signal
import sys
import unittest
import unittest.mock

import transaction
from ZODB.POSException import ReadConflictError
from zope.testing import cleanup

from . import servers
from .. import configure
from .. import failures
from .. import instanceuuid
from .. import outage
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..job import Job
from .checkout import needs_checkout
from .checkout import ROOT

#: Where the root keeps what is counted, and the jobs that count it.
COUNTERS, JOBS = 'test.counters', 'test.jobs'
#: The worked example.
DEPLOY = ROOT / 'examples' / 'deploy'
#: A worker here looks often, and is soon found dead.
QUICK = ('--poll-interval', '0.2', '--ping-interval', '0.5', '--death-interval', '5')


class Shared:
    """A database, this process that puts jobs, and workers that do them."""

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.folder = self.enterContext(servers.folder())
        before = os.environ.get(instanceuuid.ENVIRONMENT_KEY)
        os.environ[instanceuuid.ENVIRONMENT_KEY] = f'{self.folder}/uuid.txt'
        self.addCleanup(self.restore, before)
        configure.base()
        self.addCleanup(transaction.abort)

    def restore(self, before):
        del os.environ[instanceuuid.ENVIRONMENT_KEY]
        if before is not None:
            os.environ[instanceuuid.ENVIRONMENT_KEY] = before

    def work(self, *words, number=1):
        """Start a worker that has UUID file *number*."""
        found = servers.worker(
            *words, '--uuid-file', f'{self.folder}/uuid-{number}.txt', *QUICK,
            folder=self.folder, name=f'worker-{number}')
        self.addCleanup(found.end)
        return found

    def wait_for_workers(self, db, count):
        """Wait until *count* dispatchers work; return since when, by UUID."""
        return servers.wait_until(
            lambda: self.active(db, count), f'{count} dispatchers work')

    def active(self, db, count):
        def question(root):
            return {UUID: agents.activated
                    for UUID, agents in root[KEY][''].dispatchers.items()
                    if agents.activated is not None} if KEY in root else {}

        found = servers.look(db, question)
        return found if len(found) == count else None

    def prepare(self, db, count):
        """Have *count* counters in the root, and no job yet."""
        with db.transaction() as connection:
            connection.root()[COUNTERS] = tuple(
                servers.Counter() for _number in range(count))
            connection.root()[JOBS] = ()

    def put(self, db, per_commit=50):
        """Put a job for each counter, several in one transaction."""
        count = servers.look(db, lambda root: len(root[COUNTERS]))
        for first in range(0, count, per_commit):
            servers.wait_until(
                lambda: self.put_some(db, slice(first, first + per_commit)), 'a put')

    def put_some(self, db, part):
        """Put a job for each counter of *part*; return whether they are put."""
        try:
            with db.transaction() as connection:
                root = connection.root()
                root[JOBS] += tuple(root[KEY][''].put(Job(servers.increment, counter))
                                    for counter in root[COUNTERS][part])
        except Exception as error:
            if not outage.is_conflict(error):
                raise
            return False
        return True

    def done(self, db):
        """Return how many jobs are neither in the queue nor in an agent."""
        def question(root):
            queue = root[KEY]['']
            return len(root[JOBS]) - len(queue) - sum(
                len(agent) for agents in queue.dispatchers.values()
                for agent in agents.values())

        return servers.look(db, question)

    def check(self, db, workers):
        """Each job is done, none twice, and by *workers*."""
        counts, results = servers.look(db, lambda root: (
            [counter.count for counter in root[COUNTERS]],
            [job.result for job in root[JOBS] if job.status is COMPLETED]))
        self.assertEqual([result for result in results if failures.is_failure(result)], [])
        self.assertEqual(len(results), len(counts))
        self.assertEqual(counts, [1] * len(counts))
        self.assertLessEqual(set(results), {worker.pid for worker in workers})

    def put_here_and_do_there(self, db, *words, count=200):
        """Put jobs in this process and have two others do them."""
        workers = [self.work(*words, '--install', number=number) for number in (1, 2)]
        try:
            self.wait_for_workers(db, 2)
            self.prepare(db, count)
            self.put(db)
            servers.wait_until(lambda: self.done(db) == count, 'all jobs are done')
            self.check(db, workers)
        except AssertionError as error:
            raise AssertionError(
                '\n'.join([str(error), *(worker.said() for worker in workers)])) from error
        self.stop(workers)
        with contextlib.suppress(AssertionError):
            servers.wait_until(lambda: self.active(db, 0) == {}, 'nobody works')

    def stop(self, workers):
        """Stop *workers*; they have nothing to complain about."""
        self.end(workers)
        for worker in workers:
            self.assertNotRegex(worker.said(), r'(ERROR|CRITICAL) \[\d+\] zc\.async')

    def end(self, workers):
        for worker in workers:
            worker.send(signal.SIGTERM)
        for worker in workers:
            self.assertEqual(worker.wait(), 0, worker.said())


class ZEO(Shared, unittest.TestCase):

    def test_put_here_and_done_by_two_others(self):
        with servers.zeo(self.folder) as port:
            uri = f'zeo://127.0.0.1:{port}?wait_timeout={servers.PATIENCE}'
            with servers.opened(uri) as db:
                self.put_here_and_do_there(db, uri)

    def test_a_server_that_restarts_costs_nothing_but_time(self):
        port = servers.free_port()
        with contextlib.ExitStack() as first:
            first.enter_context(servers.zeo(self.folder, port=port))
            uri = f'zeo://127.0.0.1:{port}?wait_timeout=5'
            worker = self.work(uri, '--install')
            with servers.opened(uri) as db:
                self.wait_for_workers(db, 1)
                self.prepare(db, 20)
            first.close()
            servers.wait_until(lambda: 'isconnected' in worker.said(), 'the worker notices')
            with servers.zeo(self.folder, port=port), servers.opened(uri) as db:
                self.put(db)
                servers.wait_until(lambda: self.done(db) == 20, 'all jobs are done')
                self.check(db, [worker])
                worker.send(signal.SIGTERM)
                self.assertEqual(worker.wait(), 0, worker.said())


    @needs_checkout
    def test_the_configuration_files_of_the_example(self):
        port = servers.free_port()
        environ = {'ZEO_ADDRESS': f'127.0.0.1:{port}', 'ZEO_DATA': self.folder}
        with (unittest.mock.patch.dict(os.environ, environ),
              servers.zeo(self.folder, '-C', DEPLOY / 'zeo.conf', port=port),
              servers.configured(DEPLOY / 'worker.conf') as db):
            self.put_here_and_do_there(db, '--config', DEPLOY / 'worker.conf', count=20)


class SQLite(Shared, unittest.TestCase):

    def test_put_here_and_done_by_two_others(self):
        uri = f'sqlite://{self.folder}/db'
        with servers.opened(uri) as db:
            self.put_here_and_do_there(db, uri)

    def test_what_was_aborted_is_not_committed_by_the_next_transaction(self):
        uri = f'sqlite://{self.folder}/db'
        manager = transaction.TransactionManager(explicit=True)
        with (servers.opened(uri) as db, servers.opened(uri) as other,
              contextlib.closing(db.open(manager)) as connection):
            with other.transaction() as elsewhere:
                elsewhere.root()[COUNTERS] = [servers.Counter() for _number in range(3)]
            manager.begin()
            one, fence, two = connection.root()[COUNTERS]
            one.count = 1
            self.assertEqual((fence.count, two.count), (0, 0))
            connection.readCurrent(fence)
            with other.transaction() as elsewhere:
                elsewhere.root()[COUNTERS][1].count = 1
            with self.assertRaises(ReadConflictError):
                manager.commit()
            manager.abort()
            manager.begin()
            two.count = 1
            manager.commit()
            self.assertEqual(servers.look(other, lambda root: [
                counter.count for counter in root[COUNTERS]]), [0, 1, 1])


class PostgreSQL(Shared, unittest.TestCase):

    layer = servers.PostgreSQL

    def setUp(self):
        if self.layer.missing:
            self.skipTest(self.layer.missing)
        super().setUp()
        self.uri = self.layer.database(f'test_{os.path.basename(self.folder)[-8:]}'.lower())

    def test_put_here_and_done_by_two_others(self):
        with servers.opened(self.uri) as db:
            self.put_here_and_do_there(db, self.uri)

    def test_1000_jobs_are_done_once_though_a_worker_is_killed_and_restarted(self):
        with servers.opened(self.uri) as db:
            steady, killed = (self.work(self.uri, '--install', number=number)
                              for number in (1, 2))
            before = self.wait_for_workers(db, 2)
            self.prepare(db, 1000)
            self.put(db)
            servers.wait_until(lambda: self.done(db) >= 300, '300 jobs are done')
            killed.send(signal.SIGKILL)
            self.assertEqual(killed.wait(), -signal.SIGKILL)
            self.assertLess(self.done(db), 1000)
            restarted = self.work(self.uri, number=2)
            servers.wait_until(lambda: self.done(db) == 1000, 'all jobs are done')
            after = servers.wait_until(
                lambda: self.newer(db, before), 'the restarted one works again')
            self.assertEqual(after.keys(), before.keys())
            self.check(db, [steady, killed, restarted])
            self.end([steady, restarted])

    def test_a_server_that_restarts_costs_nothing_but_time(self):
        worker = self.work(self.uri, '--install')
        with servers.opened(self.uri) as db:
            self.wait_for_workers(db, 1)
            self.prepare(db, 300)
            self.put(db)
            servers.wait_until(lambda: self.done(db) >= 50, '50 jobs are done')
        self.layer.server.end()
        try:
            servers.wait_until(lambda: 'database away' in worker.said(), 'it is noticed')
        finally:
            self.layer.start()
        with servers.opened(self.uri) as db:
            servers.wait_until(lambda: self.done(db) == 300, 'all jobs are done')
            self.check(db, [worker])
            self.end([worker])

    @needs_checkout
    def test_the_configuration_file_of_the_example(self):
        name = self.uri.rpartition('/')[2].partition('?')[0]
        environ = {'POSTGRESQL_DSN': self.layer.dsn(name)}
        path = DEPLOY / 'relstorage-postgresql.conf'
        with (unittest.mock.patch.dict(os.environ, environ),
              servers.configured(path) as db):
            self.put_here_and_do_there(db, '--config', path, count=20)

    def newer(self, db, before):
        found = self.active(db, 2)
        return found if found and any(
            found[UUID] > since for UUID, since in before.items()) else None


class Errors(unittest.TestCase):

    def test_a_lock_on_a_row_is_a_conflict_and_that_of_all_commits_an_outage(self):
        from relstorage.adapters import interfaces
        for error in (interfaces.UnableToLockRowsToReadCurrentError(),
                      interfaces.UnableToLockRowsToModifyError(),
                      interfaces.UnableToLockRowsDeadlockError()):
            with self.subTest(type(error)):
                self.assertTrue(outage.is_conflict(error))
                self.assertFalse(outage.is_outage(error))
        self.assertTrue(outage.is_outage(interfaces.UnableToAcquireCommitLockError()))


class Guard(unittest.TestCase):
    """No server outlives the tests, however they end."""

    def test_a_server_ends_with_the_process_that_started_it(self):
        with servers.folder() as folder:
            program = ("from zc.async_.tests import servers; import sys, time; "
                       "it = servers.Process([sys.executable, '-c', "
                       "'import time; time.sleep(1000)'], '.', 'inner'); "
                       "print(it.pid, flush=True); time.sleep(1000)")
            outer = servers.Process([sys.executable, '-c', program], folder, 'outer')
            try:
                inner = int(servers.wait_until(outer.said, 'the server runs'))
                os.kill(inner, 0)
                outer.send(signal.SIGKILL)
                servers.wait_until(lambda: not _is_there(inner), 'the server is gone')
            finally:
                outer.end()


def _is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
