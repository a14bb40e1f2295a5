"""The threads of a dispatcher: one that dies is replaced, one that hangs is shown."""
import ctypes
import logging
import threading
import unittest
from unittest import mock

import transaction
import zope.component

from .. import interfaces
from .. import subscribers
from .. import testing
from ..interfaces import ACTIVE
from ..job import Job
from ..job import NeverRetry
from ..runtime import blocked
from ..runtime import threads
from .test_dispatcher import Case
from .test_dispatcher import event
from .test_dispatcher import multiply
from .test_dispatcher import nothing
from .test_dispatcher import VirtualCase

starts = []


class Deadly(logging.Filter):
    """An error of the log ends the thread that a worker's error has left alone."""

    def filter(self, record):
        """Fail where a worker failed."""
        if 'a worker of agent' in record.getMessage() and record.exc_info:
            raise SystemExit('as told')
        return True


class Died(VirtualCase):
    """Threads that are no more."""

    def setUp(self):
        super().setUp()
        starts.clear()
        logger, deadly = logging.getLogger('zc.async.events'), Deadly()
        logger.addFilter(deadly)
        self.addCleanup(logger.removeFilter, deadly)

    def pool(self):
        return self.dispatcher.queues['']['main']

    def die(self):
        """Have a job claimed, and the thread die that takes it; return the thread."""
        pool, original = self.pool(), self.pool()._work

        def work(ticket):
            starts.append(threading.current_thread())
            pool._work = original
            raise MemoryError

        pool._work = work
        with mock.patch.object(threading, 'excepthook', lambda args: None):
            self.reactor.time_flies(5)
            self.assertTrue(testing.wait_for(
                lambda: starts and not starts[0].is_alive(), 10))
        return starts[0]

    def test_it_is_replaced_and_its_job_done_by_the_same_dispatcher(self):
        job = self.put(multiply, 6, 7)
        dead = self.die()
        self.assertEqual(len(self.agents['main']), 1)
        with self.assertLogs('zc.async.events', logging.CRITICAL) as logged:
            self.poll()
        self.assertIn('died while working on', logged.output[0])
        alive = self.pool().threads
        self.assertEqual([thread.is_alive() for thread in alive], [True] * 3)
        self.assertNotIn(dead, alive)
        self.poll()
        self.assertEqual(job.result, 42)
        self.assertEqual(len(self.agents['main']), 0)
        self.assertIsNotNone(self.dispatcher.activated)

    def test_the_policy_decides_about_what_had_begun(self):
        job = self.put(multiply, 6, 7)
        self.die()
        transaction.begin()
        self.assertIs(job.status, ACTIVE)  # begun with the claim
        self.poll(), self.poll()
        self.assertEqual(job.getRetryPolicy().data['interruptions'], 1)

    def test_one_that_may_run_only_once_and_has_not_begun_runs(self):
        job = self.put(Job(multiply, 6, 7), retry_policy_factory=NeverRetry)
        self.die()
        self.poll(), self.poll()
        self.assertEqual(job.result, 42)


class Pools(unittest.TestCase):
    """What a pool makes of threads that end."""

    def setUp(self):
        self.done = []
        self.pool = threads.Pool('test', self.done.append)
        self.addCleanup(self.end)

    def end(self):
        all_threads = self.pool.threads
        self.pool.setSize(0)
        threads.join(all_threads, 10)

    def test_those_that_were_told_to_end_are_not_replaced(self):
        self.pool.setSize(3)
        self.pool.setSize(1)
        self.assertTrue(testing.wait_for(
            lambda: sum(one.is_alive() for one in self.pool.threads) == 1, 10))
        self.assertEqual(self.pool.replace_dead(), [])
        self.pool.setSize(1)
        self.assertEqual(len(self.pool.threads), 1)

    def test_one_that_dies_while_it_has_nothing_to_do_is_replaced(self):
        self.pool.setSize(2)
        dead = self.pool.threads[0]
        set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
        set_error(ctypes.c_ulong(dead.ident), ctypes.py_object(SystemExit))
        while dead.is_alive():
            self.pool.put('wake up')
            dead.join(0.01)
        self.assertEqual(self.pool.replace_dead(), [])
        self.assertEqual([one.is_alive() for one in self.pool.threads], [True] * 2)
        self.assertNotIn(dead, self.pool.threads)

    def test_those_that_live_keep_what_they_work_on(self):
        self.pool.setSize(1)
        self.pool.put('ticket')
        self.assertTrue(testing.wait_for(lambda: self.done, 10))
        self.assertEqual(self.pool.replace_dead(), [])


class Blocked(Case):
    """A reactor that does not come round."""

    def start(self):
        db = self.open()
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        found = subscribers.ThreadedDispatcherInstaller(0.05)(
            interfaces.DatabaseOpened(db))
        self.addCleanup(testing.tear_down_dispatcher, found)
        self.addCleanup(subscribers.restore_signal_handlers, found)
        self.addCleanup(event('go').set)
        testing.get_poll(found, 1)
        return found

    def test_it_is_logged_with_the_call_that_blocks(self):
        with mock.patch.object(blocked, 'LEAST', 0.2):
            found = self.start()
            with self.assertLogs('zc.async.events', logging.WARNING) as logged:
                found.reactor.callFromThread(keep_the_reactor)
                self.assertTrue(testing.wait_for(lambda: logged.output, 10))
                self.assertEqual(found.getStatusInfo()['status'], 'RUNNING')
                event('go').set()
                self.assertTrue(testing.wait_for(lambda: len(logged.output) > 1, 10))
        self.assertIn('is blocked', logged.output[0])
        self.assertIn('keep_the_reactor', logged.output[0])
        self.assertRegex(logged.output[1], 'was blocked for')
        self.assertEqual(len(logged.output), 2)

    def test_its_thread_ends_with_the_dispatcher(self):
        found = self.start()
        testing.tear_down_dispatcher(found)
        self.assertFalse(found._watchdog._thread.is_alive())

    def test_a_reactor_that_comes_round_is_not(self):
        with mock.patch.object(blocked, 'LEAST', 1):
            found = self.start()
            with self.assertNoLogs('zc.async.events', logging.WARNING):
                key = found.getPollInfo()['key']
                self.assertTrue(testing.wait_for(
                    lambda: found.getPollInfo()['key'] > key + 30, 20))

    def test_the_limit_is_two_polls(self):
        services = mock.Mock(poll_interval=5)
        self.assertEqual(blocked.Watchdog(services).limit, 10)


def keep_the_reactor():
    """As a job in the reactor may, or an extension that keeps the interpreter's lock."""
    event('go').wait(20)


class VirtualTime(VirtualCase):
    """Where time is virtual, nobody watches."""

    def test_there_is_no_watchdog(self):
        self.assertIsNone(self.dispatcher._watchdog._thread)
