"""Jobs that are claimed with their result: what follows from it counts in quotas too."""
import unittest

from . import contracts
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import PENDING
from ..job import Job
from ..model import callbacks
from ..model import execution
from ..model import parking
from ..model import recovery
from .contracts import FIRST
from .contracts import HOUR
from .contracts import nothing


class Case(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.queue.quotas.create('q')
        self.quota = self.queue.quotas['q']
        self.agent = self.world.add_dispatcher(size=10)
        self.client.commit()

    def put_counted(self):
        """Put a job with a callback, which names the quota."""
        job = Job(nothing)
        job.addCallback(nothing)
        return self.put(job, quotas=('q',))

    def fill(self):
        """Claim a job that fills the quota, and return it."""
        job = self.put_counted()
        self.assertIs(self.claim(), job)
        return job

    def claim(self):
        job = self.agent.claimJob()
        self.client.commit()
        return job

    def settle(self, job):
        execution.begin(job)
        execution.settle(job, None)
        self.client.commit()

    def finish(self, job):
        """Run the callbacks of the claimed *job*, and let it end."""
        self.assertIs(job.status, CALLBACKS)
        for node in callbacks.walk(job, execution._Here()):
            callbacks.try_finish(node)
        self.client.commit()
        self.assertIs(job.status, COMPLETED)

    def assert_waits_for_room(self, job):
        """*job*, in line with its result, is claimed once the quota has room."""
        self.client.commit()
        self.assertTrue(callbacks.is_in_line(job))
        other, = self.quota
        self.assertIsNot(other, job)
        self.assertIsNone(self.claim())
        if other.status is not CALLBACKS:
            self.settle(other)
        self.finish(other)
        self.assertIs(self.claim(), job)
        self.assertEqual(list(self.quota), [job])
        self.assertFalse(job._uncounted)
        third = self.put_counted()
        self.assertIsNone(self.claim(), 'the quota is filled by it')
        self.finish(job)
        self.assertEqual(len(self.quota), 0)
        self.assertIs(self.claim(), third)


class WaitsForRoom(Case):

    def test_parked_with_its_result_and_put_back(self):
        job = self.fill()
        self.settle(job)
        parking.park(job, 'for the test')
        self.assertEqual(len(self.quota), 0)
        self.fill()
        self.queue.parked.rerun(job)
        self.assert_waits_for_room(job)

    def test_parked_without_a_result_and_discarded(self):
        job = self.fill()
        execution.begin(job)
        parking.park(job, 'for the test')
        self.fill()
        self.queue.parked.discard(job)
        self.assert_waits_for_room(job)

    def test_let_fail_in_line(self):
        self.fill()
        job = self.put_counted()
        job.fail()
        self.assert_waits_for_room(job)

    def test_too_late_to_begin(self):
        job = Job(nothing)
        job.addCallback(nothing)
        self.put(job, quotas=('q',), begin_by=contracts.MINUTE)
        self.world.clock.advance(HOUR)
        stand_in = self.claim()
        self.assertIsNot(stand_in, job)
        stand_in()
        self.client.commit()
        self.assertIs(self.claim(), job)
        self.assertEqual(list(self.quota), [job])
        self.finish(job)
        self.assertEqual(len(self.quota), 0)

    def test_several_quotas_of_which_one_counts_it(self):
        self.queue.quotas.create('r')
        job = Job(nothing)
        job.addCallback(nothing)
        self.put(job, quotas=('q', 'r'))
        self.assertIs(self.claim(), job)
        self.settle(job)
        self.queue.quotas['r'].discard(job)
        self.agent.discard(job)
        self.queue.putBack(job)
        self.client.commit()
        self.assertIs(self.claim(), job, 'it does not wait for itself')
        for quota in self.queue.quotas.values():
            self.assertEqual(list(quota), [job])

    def test_it_can_be_taken_out_of_line(self):
        job = self.put_counted()
        job.fail()
        self.assertIn(job, self.queue)
        self.assertTrue(self.queue.discard(job))
        self.assertNotIn(job, self.queue)
        self.assertEqual(len(self.queue), 0)


class WaitsForNobody(Case):

    def test_one_that_is_counted_still(self):
        job = self.fill()
        self.settle(job)
        recovery.hand_back(self.agent, job, self.queue, died=False)
        self.client.commit()
        self.assertEqual(list(self.quota), [job])
        self.assertIs(self.claim(), job)
        self.assertEqual(list(self.quota), [job], 'not twice')
        self.finish(job)
        self.assertEqual(len(self.quota), 0)

    def test_one_for_whose_result_others_wait(self):
        # the one that fills the quota: neither would ever end
        outer = self.fill()
        job = self.put_counted()
        execution.begin(outer)
        execution.await_job(outer, job)
        self.client.commit()
        self.assertIsNone(self.claim())
        job.fail()
        self.client.commit()
        self.assertIs(self.claim(), job)
        self.finish(job)
        self.assertIs(outer.status, COMPLETED)
        self.assertIs(outer.result, job.result)

    def test_one_whose_quota_is_gone(self):
        job = self.put_counted()
        self.queue.quotas.remove('q')
        job.fail()
        self.client.commit()
        self.assertIs(self.claim(), job)
        self.finish(job)

    def test_one_that_counts_in_none(self):
        job = Job(nothing)
        job.addCallback(nothing)
        self.put(job)
        job.fail()
        self.client.commit()
        self.assertFalse(job._uncounted)
        self.assertIs(self.claim(), job)
        self.assertIsNot(job.status, PENDING)
        self.assertEqual(job.agent.parent.UUID, FIRST)
