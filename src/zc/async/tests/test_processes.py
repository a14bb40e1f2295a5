"""Processes that a test kills, stops and holds up, in virtual time."""
import logging
import threading
import unittest
from unittest import mock

import transaction
from persistent.mapping import PersistentMapping
from twisted.internet.defer import Deferred
from zope.testing import cleanup

from .. import clock
from .. import dispatcher as dispatchers
from .. import outage
from .. import processes
from .. import testing
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import PENDING
from ..job import Job
from ..processes import Process
from ..testkit import this_process
from ..testkit import World

accidents, calls, ends = [], [], []


def mark(marks):
    """Make a change, have the next accident, and note whether it came back."""
    marks['made'] = marks.get('made', 0) + 1
    calls.append(this_process().UUID.int)
    try:
        if accidents:
            accidents.pop(0)(this_process())
    except BaseException as error:
        ends.append(type(error))
        raise


def wait_for_ever():
    return Deferred()


def never_ends(done):
    done.wait()


class Case(unittest.TestCase):

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        for one in (accidents, calls, ends):
            one.clear()
        self.enterContext(mock.patch.multiple(
            logging.getLogger('zc.async'), propagate=False,
            handlers=[logging.NullHandler()]))
        self.threads = set(threading.enumerate())
        self.world = World()
        self.addCleanup(self.world.__exit__)
        self.world.__enter__()

    def put(self, *planned):
        accidents[:] = planned
        marks = self.world.root['marks'] = PersistentMapping()
        transaction.commit()
        return self.world.put(Job(mark, marks))

    @property
    def marks(self):
        return self.world.root['marks'].get('made', 0)


class Killed(Case):

    def test_it_does_nothing_any_more(self):
        process = self.world.start_process(1)
        job = self.put(Process.kill)
        self.world.time_flies(3600)
        self.assertEqual(process.state, processes.KILLED)
        self.assertIs(job.status, ACTIVE)
        self.assertEqual((calls, ends, self.marks), ([1], [], 0))
        agents = self.world.queue.dispatchers[process.UUID]
        self.assertIsNotNone(agents.activated, 'as if it were alive')

    def test_by_the_test_it_does_not_claim_what_is_put_later(self):
        process = self.world.start_process(1)
        self.world.time_flies(5)
        process.kill()
        job = self.put()
        self.world.time_flies(60)
        self.assertIs(job.status, PENDING)

    def test_another_one_takes_over(self):
        self.world.start_process(1), self.world.start_process(2)
        job = self.put(Process.kill)
        self.world.time_flies(30)
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(sorted(calls), [1, 2])
        self.assertEqual((ends, self.marks), ([], 1))

    def test_its_number_is_free_again(self):
        first = self.world.start_process(1)
        with self.assertRaisesRegex(ValueError, 'has a dispatcher with UUID'):
            self.world.start_process(1)
        first.kill()
        second = self.world.start_process(1)
        self.assertEqual(second.UUID, first.UUID)
        self.assertIs(dispatchers.get(), second.dispatcher)
        first.kill()
        self.assertIs(dispatchers.get(), second.dispatcher)

    def test_its_threads_end_with_the_world(self):
        self.world.start_process(1)
        self.put(Process.kill)
        self.world.time_flies(5)
        self.world.__exit__()
        self.assertEqual(ends, [processes.WorldEnded])
        self.assertEqual(set(threading.enumerate()) - self.threads, set())


class HeldUp(Case):

    def test_it_goes_on_where_it_was(self):
        process = self.world.start_process(1)
        job = self.put(Process.hold_up)
        self.world.time_flies(5)
        self.assertEqual((process.state, job.status), (processes.HELD_UP, ACTIVE))
        process.go_on()
        self.assertIs(job.status, COMPLETED)
        self.assertEqual((calls, self.marks), ([1], 1))

    def test_for_too_long_it_commits_nothing(self):
        first, _second = self.world.start_process(1), self.world.start_process(2)
        job = self.put(Process.hold_up)
        self.world.time_flies(30)
        self.assertEqual((calls, self.marks, job.status), ([1, 2], 1, COMPLETED))
        first.go_on()
        self.world.time_flies(5)
        self.assertEqual((calls, self.marks), ([1, 2], 1))

    def test_by_the_test_it_polls_later(self):
        process = self.world.start_process(1)
        process.hold_up()
        job = self.put()
        self.world.time_flies(5)
        self.assertIs(job.status, PENDING)
        process.go_on()
        self.assertIs(job.status, COMPLETED)

    def test_only_one_that_is_held_up_goes_on(self):
        process = self.world.start_process(1)
        with self.assertRaisesRegex(ValueError, 'is running cannot go on'):
            process.go_on()
        process.kill()
        with self.assertRaisesRegex(ValueError, 'is killed cannot go on'):
            process.go_on()

    def test_it_can_be_killed(self):
        process = self.world.start_process(1)
        job = self.put(Process.hold_up)
        self.world.time_flies(5)
        process.kill()
        self.assertEqual(process.state, processes.KILLED)
        self.world.time_flies(5)
        self.assertIs(job.status, ACTIVE)


class Stopped(Case):

    def test_it_hands_back_what_hangs(self):
        process = self.world.start_process(1)
        job = self.put(Process.hang)
        self.world.time_flies(5)
        self.assertIs(job.status, ACTIVE)
        process.stop()
        self.assertEqual(process.state, processes.STOPPED)
        self.assertIs(job.status, PENDING)
        self.assertIsNone(self.world.queue.dispatchers[process.UUID].activated)

    def test_twice_is_as_once(self):
        process = self.world.start_process(1)
        process.stop()
        process.stop()
        process.kill()
        self.assertEqual(process.state, processes.STOPPED)

    def test_a_deferred_is_no_work_in_hand(self):
        process = self.world.start_process(1)
        job = self.world.put(Job(wait_for_ever))
        self.world.time_flies(5)
        self.assertIs(job.status, ACTIVE)
        process.stop()
        self.assertIs(job.status, PENDING)


class Time(Case):

    def test_it_passes_for_all(self):
        self.world.start_process(1), self.world.start_process(2, poll_interval=2)
        begun = clock.now()
        self.world.time_flies(9)
        self.assertEqual((clock.now() - begun).total_seconds(), 9)
        self.assertEqual([len(list(one.dispatcher.iterPolls()))
                          for one in self.world._processes._found], [2, 5])

    def test_it_is_real_afterwards(self):
        self.world.start_process(1)
        self.world.__exit__()
        self.assertIsNone(testing._before)

    def test_without_processes_it_does_not_pass(self):
        with self.assertRaisesRegex(ValueError, 'call start_process'):
            self.world.time_flies(1)

    def test_a_job_that_neither_ends_nor_hangs_is_told_of(self):
        self.world.start_process(1)
        done = threading.Event()
        self.addCleanup(done.set)
        accidents[:] = [lambda process: never_ends(done)]
        self.put(*accidents)
        with mock.patch.object(processes, '_PATIENCE', 0.05):
            with self.assertRaisesRegex(AssertionError, 'the jobs do not end'):
                self.world.time_flies(5)
        done.set()


class DatabaseAway(Case):

    def test_nothing_can_be_stored_or_loaded(self):
        with self.world.database_away():
            with self.assertRaises(outage.ClientDisconnected):
                self.world.put(Job(len, ''))
            transaction.abort()
            self.world.connection.cacheMinimize()
            with self.assertRaises(outage.ClientDisconnected):
                self.world.root['marks']
        self.assertEqual(len(self.world.queue), 0)
        self.world.put(Job(len, ''))

    def test_a_job_waits_in_virtual_time_for_its_end(self):
        process = self.world.start_process(1)
        away = self.world.database_away()
        job = self.put(lambda process: away.__enter__())
        self.world.time_flies(600)
        self.assertFalse(process.dispatcher.idle)
        away.__exit__(None, None, None)
        self.world.time_flies(65)
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(self.marks, 1)


if __name__ == '__main__':
    unittest.main()
