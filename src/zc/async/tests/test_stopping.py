"""A process that stops hands its jobs back, whatever else happens then."""
import contextlib
import os
import signal
import sys
import textwrap
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

import transaction
import zope.component

from . import servers
from .. import configure
from ..interfaces import COMPLETED
from ..interfaces import IDispatcherDeactivated
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from ..ops.deadline import Deadline
from .test_dispatcher import event
from .test_dispatcher import VirtualCase


# What the jobs do

def wait_for_test():
    """Wait until the test lets it end."""
    event('began').set()
    event('go on').wait(30)


def leave_a_thread(started):
    """Leave threads behind that never end, and say so."""
    blocked = threading.Event()
    threading.Thread(target=blocked.wait, name='left behind', daemon=False).start()
    # a daemon, but its executor joins it when the interpreter ends
    ThreadPoolExecutor(thread_name_prefix='executor').submit(blocked.wait)
    with open(started, 'w'):
        pass
    return 42


def say_and_block(path):
    """Say that it runs, and never end."""
    with open(path, 'w'):
        pass
    threading.Event().wait()


class Leaving(VirtualCase):
    """The last commit of a dispatcher conflicts with what others do."""

    def test_jobs_are_handed_back_though_that_conflicts_at_first(self):
        job = self.put(wait_for_test)
        self.reactor.time_flies(5)
        self.assertTrue(event('began').wait(30))
        self.conflicts = 3
        zope.component.provideHandler(self.interfere, (IDispatcherDeactivated,))
        self.dispatcher.shutdown_grace = 0
        self.dispatcher.deactivate()
        transaction.abort()
        self.assertEqual(self.conflicts, 0)
        self.assertIs(job.status, PENDING)
        self.assertIsNone(self.agents.activated)

    def interfere(self, deactivated):
        """Let the commit that this is part of conflict."""
        if self.conflicts:
            self.conflicts -= 1
            with self.db.transaction() as connection:
                agents = connection.root()[KEY][''].dispatchers[self.dispatcher.UUID]
                agents.activation.generation += 1


class Deadlines(unittest.TestCase):
    """A process ends when its time is over, with the status that was said last."""

    def deadline(self, seconds, say=lambda: None):
        ended, self.ended = [], threading.Event()

        def end(status):
            ended.append(status)
            self.ended.set()

        made = Deadline(seconds, end)
        self.addCleanup(self.join)
        self.addCleanup(made.call_off)
        made._say = say
        made.start()
        return made, ended

    def join(self):
        for thread in threading.enumerate():
            if thread.name in ('zc.async deadline', 'zc.async last words'):
                thread.join(30)

    def test_it_ends_after_it_was_told_to(self):
        deadline, ended = self.deadline(0.05)
        self.assertFalse(self.ended.wait(0.1))
        deadline.status = 7
        deadline.tell()
        self.assertTrue(self.ended.wait(30))
        self.assertEqual(ended, [7])

    def test_it_does_not_when_that_was_called_off(self):
        for told in (True, False):
            with self.subTest(told):
                deadline, ended = self.deadline(0.2)
                if told:
                    deadline.tell()
                deadline.call_off()
                self.assertFalse(self.ended.wait(0.5))
                self.assertEqual(ended, [])

    def test_a_log_that_blocks_does_not_hold_it_up(self):
        deadline, _ended = self.deadline(0, lambda: self.ended.wait(30))
        deadline.tell()
        self.assertTrue(self.ended.wait(30))


class Workers(unittest.TestCase):
    """``zc-async worker`` is gone soon after its grace."""

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.started = os.path.join(self.folder, 'started')

    def start(self, uri, *words):
        found = servers.worker(uri, '--install', '--poll-interval', '0.2', *words,
                               folder=self.folder)
        self.addCleanup(found.end)
        return found

    def put(self, uri, call, *args):
        """Put a job; wait until it has begun."""
        with servers.opened(uri) as db:
            servers.wait_until(lambda: servers.look(db, lambda root: KEY in root), 'queues')
            with db.transaction() as connection:
                connection.root()['job'] = connection.root()[KEY][''].put(Job(call, *args))
        servers.wait_until(lambda: os.path.exists(self.started), 'the job runs')

    def result(self, uri):
        """Return the result of the job, and whether it was completed."""
        with servers.opened(uri) as db:
            return servers.look(db, lambda root: (
                root['job'].result, root['job'].status is COMPLETED))

    def test_a_thread_that_a_job_has_left_behind_does_not_keep_it(self):
        uri = f'sqlite://{self.folder}/db'
        running = self.start(uri, '--grace', '0')
        self.put(uri, leave_a_thread, self.started)
        servers.wait_until(lambda: self.result(uri)[1], 'the job is done')
        running.send(signal.SIGTERM)
        self.assertEqual(running.wait(), 0, running.said())
        self.assertRegex(running.said(), 'was handed back.*left behind, executor')
        self.assertEqual(self.result(uri), (42, True))

    def test_a_database_that_does_not_answer_does_not_keep_it(self):
        port = servers.free_port()
        # the server goes on when it is to end
        with contextlib.ExitStack() as stack:
            server = servers.Process(
                [sys.executable, '-m', 'ZEO.runzeo', '-a', f'127.0.0.1:{port}', '-f',
                 f'{self.folder}/Data.fs'], self.folder, 'zeo')
            stack.callback(server.end)
            stack.callback(server.send, signal.SIGCONT)
            servers.wait_until(lambda: servers._answers(port), 'ZEO answers')
            uri = f'zeo://127.0.0.1:{port}?wait_timeout=1000'
            running = self.start(uri, '--grace', '0')
            self.put(uri, say_and_block, self.started)
            server.send(signal.SIGSTOP)
            running.send(signal.SIGTERM)
            self.assertEqual(running.wait(), 1, running.said())
            self.assertIn('is taken over when it counts as dead', running.said())


#: A program with a dispatcher; it ends as the last line says.
PROGRAM = textwrap.dedent('''
    import os, sys, time, ZODB, ZODB.FileStorage
    from zc.async_ import configure
    from zc.async_.tests import test_stopping
    db = ZODB.DB(ZODB.FileStorage.FileStorage('Data.fs'))
    started = configure.start(db, agent_size=1)
    with db.transaction() as connection:
        queue = connection.root()['zc.async']['']
        connection.root()['job'] = queue.put(
            test_stopping.Job(test_stopping.say_and_block, 'started'))
    while not os.path.exists('started'):
        time.sleep(0.02)
    ''')


class Exits(unittest.TestCase):
    """A program with a dispatcher ends without a signal."""

    def run_program(self, end, status):
        """Run the program that ends so; return what it said."""
        folder = self.enterContext(servers.folder())
        running = servers.Process(
            [sys.executable, '-c', PROGRAM + end], folder, 'program',
            {'ZC_ASYNC_UUID': os.path.join(folder, 'uuid.txt')})
        self.addCleanup(running.end)
        self.assertEqual(running.wait(), status, running.said())
        configure.client()
        with servers.opened(f'file://{folder}/Data.fs') as db:
            found = servers.look(db, self.look)
        self.assertEqual(found, (PENDING, None, [None]))
        return running.said()

    def look(self, root):
        """Return the status of the job, how often it was interrupted, and who works."""
        job = root['job']
        policy = job._retry_policy
        return (job.status, policy and policy.data.get('interruptions'), [
            agents.activated for agents in root[KEY][''].dispatchers.values()])

    def test_at_its_last_line(self):
        self.assertEqual(self.run_program('', 0), '')

    def test_by_sys_exit(self):
        self.assertEqual(self.run_program('sys.exit(3)', 3), '')

    def test_by_an_error(self):
        self.assertIn('ZeroDivisionError', self.run_program('1 / 0', 1))

    def test_not_by_the_end_of_a_process_that_it_forked(self):
        self.run_program(textwrap.dedent('''
            child = os.fork()
            if not child:
                sys.exit(5)
            assert os.waitpid(child, 0)[1] == 5 << 8
            assert started.activated is not None
            assert started.thread.is_alive()
            '''), 0)
