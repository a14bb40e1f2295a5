"""Conflicts: they cost time and no attempt, and are counted by class and object."""
import threading
import unittest
from unittest import mock

import persistent
import transaction
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadConflictError

from .. import failures
from .. import testing
from ..job import Job
from ..job import NeverRetry
from ..runtime import attempt
from ..runtime import conflicts
from ..runtime import threads
from ..runtime.troubles import Troubles
from ..testkit import World
from .test_dispatcher import VirtualCase

WORKERS, JOBS = 8, 800


class Counter(persistent.Persistent):
    """What jobs change."""

    count = 0

    def more(self):
        """Count."""
        self.count += 1


class Contention(unittest.TestCase):
    """Eight workers, one object."""

    def setUp(self):
        # otherwise jobs as short as these are done one after the other
        patch = mock.patch.object(threads, 'SHORT', 0)
        patch.start()
        self.addCleanup(patch.stop)

    def test_no_job_fails_and_no_change_is_lost(self):
        with World() as world:
            counter = world.root['counter'] = Counter()
            world.connection.add(counter)
            jobs = [world.queue.put(Job(counter.more)) for _number in range(JOBS)]
            transaction.commit()
            dispatcher = world.start(size=WORKERS)

            def done():
                transaction.begin()
                return counter.count >= JOBS and dispatcher.idle

            self.assertTrue(testing.wait_for(done, 100), counter.count)
            self.assertEqual(counter.count, JOBS)
            failed = [job.result for job in jobs if failures.is_failure(job.result)]
            self.assertEqual(failed, [])
            self.assertEqual([job for job in jobs if job.status is not testing.COMPLETED],
                             [])
            worst = dispatcher.conflicts.worst(1)[0]
            self.assertEqual(worst.class_name, 'zc.async.tests.test_conflicts.Counter')
            self.assertEqual(worst.oid, counter._p_oid)


class Retries(VirtualCase):
    """One job, and another transaction in each attempt."""

    def setUp(self):
        super().setUp()
        self.counter = self.connection.root()['counter'] = Counter()
        transaction.commit()

    def test_a_conflict_costs_no_attempt(self):
        job = self.put(self.counter.more)
        times = 8  # more than the policy would count to
        self.disturb(times)
        self.finish(job)
        self.assertIsNone(job.result)
        self.assertEqual(self.counter.count, times + 1)
        self.assertNotIn('transaction_errors', job.getRetryPolicy().data)
        self.assertEqual(self.dispatcher.conflicts.total, times)

    def disturb(self, times):
        """Let another transaction change the counter before the first commits."""
        left = [times]
        original = attempt.Attempts._commit
        db = self.db

        def commit(attempts):
            if left[0]:
                left[0] -= 1
                manager = transaction.TransactionManager(explicit=True)
                connection = db.open(manager)
                manager.begin()
                connection.root()['counter'].count += 1
                manager.commit()
                connection.close()
            return original(attempts)

        attempt.Attempts._commit = commit
        self.addCleanup(setattr, attempt.Attempts, '_commit', original)

    def test_but_not_for_ever(self):
        before, attempt.FREE = attempt.FREE, 3
        self.addCleanup(setattr, attempt, 'FREE', before)
        job = self.put(self.counter.more)
        self.disturb(1000)
        self.finish(job)
        self.assertTrue(job.result.check(ConflictError), job.result)
        # three for nothing, and the five that the policy counts
        self.assertEqual(self.dispatcher.conflicts.total, 3 + 5)

    def test_what_may_be_tried_only_once_is(self):
        job = self.put(Job(self.counter.more),
                       retry_policy_factory=NeverRetry)
        self.disturb(1)
        self.finish(job)
        self.assertTrue(job.result.check(ConflictError), job.result)
        self.assertEqual(self.counter.count, 1)


class Counting(unittest.TestCase):

    def setUp(self):
        self.conflicts = conflicts.Conflicts(objects=3)

    def meet(self, number, times=1, name='some.Class'):
        for _time in range(times):
            error = ConflictError(oid=number.to_bytes(8, 'big'))
            error.class_name = name
            self.conflicts.count(error)

    def counts(self):
        return [(one.class_name, int.from_bytes(one.oid, 'big'), one.count)
                for one in self.conflicts.worst()]

    def test_by_class_and_object(self):
        self.meet(1), self.meet(2, 3), self.meet(1, name='other.Class')
        self.assertEqual(self.counts(), [
            ('some.Class', 2, 3), ('some.Class', 1, 1), ('other.Class', 1, 1)])
        self.assertEqual(self.conflicts.total, 5)

    def test_only_the_latest_objects_are_remembered(self):
        for number in (1, 2, 1, 3, 4):
            self.meet(number)
        self.assertEqual({oid for _name, oid, _count in self.counts()}, {1, 3, 4})
        self.assertEqual(self.conflicts.total, 5)

    def test_what_the_storage_does_not_tell(self):
        self.conflicts.count(ReadConflictError())
        self.assertEqual(self.conflicts.as_info()['objects'][0]['class'], '?')
        self.assertIsNone(self.conflicts.as_info()['objects'][0]['oid'])

    def test_an_object_that_many_meet_at_is_warned_of_once_a_minute(self):
        with testing.virtual_time() as now:
            with self.assertNoLogs('zc.async.events'):
                self.meet(1, conflicts.CROWD - 1)
                self.meet(2, conflicts.CROWD - 1)
            with self.assertLogs('zc.async.events', 'WARNING') as logged:
                self.meet(1, 3 * conflicts.CROWD)
                now.advance(conflicts.PERIOD)
                self.meet(1, 3 * conflicts.CROWD)
        self.assertEqual(len(logged.output), 2)
        self.assertIn('some.Class 0x01 was in conflict 100 times', logged.output[0])

    def test_slow_ones_are_not(self):
        with testing.virtual_time() as now, self.assertNoLogs('zc.async.events'):
            for _number in range(5):
                self.meet(1, conflicts.CROWD - 1)
                now.advance(conflicts.PERIOD)

    def test_any_thread(self):
        threads = [threading.Thread(target=self.meet, args=(number % 5, 500))
                   for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.conflicts.total, 2000)

    def test_an_error_that_passes_through_several_hands_counts_once(self):
        troubles, error = Troubles(_NoDatabase), ConflictError()
        self.assertTrue(troubles.met(error))
        self.assertTrue(troubles.met(error))
        self.assertEqual(troubles.conflicts.total, 1)


class _NoDatabase:
    """A database without storages."""

    databases = {'': type('DB', (), {'storage': None})}
