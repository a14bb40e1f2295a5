"""The next process with a UUID: it need not wait where the one before is gone."""
import os
import signal
import subprocess
import sys
import unittest
import unittest.mock

import transaction
from ZODB.MappingStorage import MappingStorage

from . import servers
from . import test_dispatcher
from . import test_storages
from ..interfaces import ACTIVE
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from ..model.liveness import Activation
from ..runtime import predecessor
from .test_dispatcher import EARLIER
from .test_dispatcher import multiply

#: Prints what tells it from others, and waits for the end of its input.
CHILD = '''
import sys
from zc.async_.runtime import predecessor
print(predecessor.this_process(), flush=True)
sys.stdin.read()
'''
#: Nobody waits so long here.
LONG = ('--poll-interval', '0.2', '--death-interval', '3600')

needs_proof = unittest.skipUnless(
    predecessor.this_process(), 'this machine does not tell its processes apart')


class Child:
    """Another process, which tells what `this_process` is there."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, '-c', CHILD], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
        # a tuple of text and numbers, written by the line above
        self.told = eval(self._process.stdout.readline(), {})

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@needs_proof
class IsGone(unittest.TestCase):

    def setUp(self):
        self.own = predecessor.this_process()
        *place, started = self.own
        self.gone = *place, started - 1

    def with_stat(self, line):
        """Let what Linux tells of each process be *line*."""
        return unittest.mock.patch(
            'builtins.open', unittest.mock.mock_open(read_data=line))

    def test_this_process_is_not(self):
        self.assertFalse(predecessor.is_gone(self.own))
        self.assertEqual(predecessor.this_process(), self.own)

    def test_another_one_is_when_it_has_ended(self):
        child = Child()
        self.addCleanup(child.kill)
        self.assertNotEqual(child.told, self.own)
        self.assertEqual(child.told[:-2], self.own[:-2])
        self.assertFalse(predecessor.is_gone(child.told))
        child.kill()
        self.assertTrue(predecessor.is_gone(child.told))

    def test_one_that_has_its_id_by_now_is_another(self):
        self.assertTrue(predecessor.is_gone(self.gone))

    def test_one_that_belongs_to_somebody_else_lives(self):
        with unittest.mock.patch('os.kill', side_effect=PermissionError):
            self.assertFalse(predecessor.is_gone(self.own))

    def test_of_other_boots_and_namespaces_nothing_is_known(self):
        for place in range(3):
            elsewhere = list(self.gone)
            elsewhere[place] = 'another'
            self.assertFalse(predecessor.is_gone(tuple(elsewhere)))
        self.assertFalse(predecessor.is_gone(None))

    def test_without_proc_nothing_is_known(self):
        with unittest.mock.patch('builtins.open', side_effect=FileNotFoundError):
            self.assertIsNone(predecessor.this_process())
            self.assertFalse(predecessor.is_gone(self.gone))

    def test_where_proc_is_that_of_others_nothing_is_known(self):
        line = f'{os.getpid() + 1} (x) S {" ".join(map(str, range(50)))}'.encode()
        with self.with_stat(line):
            self.assertIsNone(predecessor.this_process())

    def test_a_name_may_have_parentheses_and_spaces(self):
        rest = ' '.join(map(str, range(50)))
        with self.with_stat(f'{os.getpid()} (a) S (b c) {rest}'.encode()):
            self.assertEqual(predecessor._started(os.getpid()), 19)

    def test_what_cannot_be_read_proves_nothing(self):
        for line in (b'', b'12', b'x (y) z', f'{os.getpid()} (x) S'.encode()):
            with self.subTest(line), self.with_stat(line):
                self.assertIsNone(predecessor._started(os.getpid()))


class Stored(unittest.TestCase):

    def test_an_activation_of_before_tells_of_no_process(self):
        old = Activation()
        old.__setstate__({'micros': 1, 'generation': 1, 'owner': b'x'})
        self.assertIsNone(old.process)

    def test_the_end_forgets_it(self):
        activation = Activation()
        activation.begin(b'owner', ('boot', 1, 2, 3, 4))
        self.assertEqual(activation.process, ('boot', 1, 2, 3, 4))
        activation.end()
        self.assertIsNone(activation.process)


@needs_proof
class TakingOver(test_dispatcher.AfterADeath):
    """In virtual time, with a storage that others can have open, too."""

    def setUp(self):
        super().setUp()
        self.begin(MappingStorage())

    def left_behind(self, process, *jobs):
        found = test_dispatcher.Gone(self.queue, EARLIER, *jobs)
        found.agents.activation.process = process
        transaction.commit()
        return found.agents

    def test_at_once_where_it_is_gone(self):
        job = Job(multiply, 6, 7)
        *place, started = predecessor.this_process()
        agents = self.left_behind((*place, started - 1), job)
        self.start()
        self.pass_time(5)
        self.assertEqual(job.result, 42)
        self.assertEqual(agents.activation.process, predecessor.this_process())

    def test_one_that_lives_is_not_disturbed(self):
        job = Job(multiply, 6, 7)
        agents = self.left_behind(predecessor.this_process(), job)
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.start()
            self.pass_time(10)
        self.assertIn('is activated already', logs.output[0])
        self.assertIs(job.agent, agents['main'])

    def test_who_was_replaced_works_no_more(self):
        self.start()
        agents = self.queue.dispatchers[EARLIER]
        transaction.begin()
        agents.deactivate(died=True)
        agents.activate(owner=b'another')
        job = self.queue.put(Job(multiply, 6, 7))
        transaction.commit()
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.pass_time(10)
        self.assertIn('is activated already', logs.output[0])
        transaction.begin()
        self.assertIs(job.status, PENDING)
        self.assertEqual(agents.activation.owner, b'another')
        self.pass_time(120)  # that one gives no sign of life
        self.assertEqual(job.result, 42)


@needs_proof
class Restarted(test_storages.Shared, unittest.TestCase):
    """Real workers, over ZEO."""

    def worker(self, uri):
        found = servers.worker(
            uri, '--install', '--uuid-file', f'{self.folder}/uuid-1.txt', *LONG,
            folder=self.folder, name='worker')
        self.addCleanup(found.end)
        return found

    def test_a_killed_worker_takes_its_jobs_back_when_it_is_restarted(self):
        with servers.zeo(self.folder) as port:
            uri = f'zeo://127.0.0.1:{port}'
            with servers.opened(uri) as db:
                killed = self.worker(uri)
                self.wait_for_workers(db, 1)
                with db.transaction() as connection:
                    root = connection.root()
                    root[test_storages.JOBS] = root[KEY][''].put(
                        Job(servers.linger, 1000))
                self.wait_for_attempt(db, 1)
                killed.send(signal.SIGKILL)
                killed.wait()
                self.worker(uri)
                self.wait_for_attempt(db, 2)

    def wait_for_attempt(self, db, number):
        def question(root):
            job = root[test_storages.JOBS]
            return job.status is ACTIVE and job._attempt == number

        servers.wait_until(
            lambda: servers.look(db, question), f'attempt {number} is begun')
