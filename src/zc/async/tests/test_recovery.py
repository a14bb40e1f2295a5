"""What becomes of the jobs of a dispatcher that works no longer."""
import unittest

from . import contracts
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import BadStatusError
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import PENDING
from ..job import Job
from ..job import NeverRetry
from ..job import RetryCommonFourTimes
from ..model import execution
from ..model import recovery
from .contracts import FIRST
from .contracts import MINUTE
from .contracts import START
from .contracts import nothing


class Again(NeverRetry):
    """Runs again, and knows nothing of processes that are stopped in order."""

    def interrupted(self):
        return True


class NotAgain(RetryCommonFourTimes):
    """Does not run again, however it was interrupted."""

    def interrupted(self):
        return False


class HandOver(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=100)
        self.queue.quotas.create('q', 100)

    def hand_over(self, died=False):
        return recovery.hand_over(self.queue.dispatchers[FIRST], died)

    def assert_waiting(self, *jobs):
        self.assertEqual(list(self.queue), list(jobs))
        self.assertEqual(len(self.queue), len(jobs))
        self.assertEqual(list(self.agent), [])
        for job in jobs:
            self.assertIs(job.queue, self.queue)
            self.assertIsNone(job.agent)

    def test_it_tells_how_many_jobs_there_were(self):
        for _number in range(3):
            self.claimed(self.put())
        self.assertEqual(self.hand_over(), 3)
        self.assertEqual(self.hand_over(), 0)

    def test_a_job_that_has_not_begun_goes_back_to_where_it_stood(self):
        first, second, third = (self.put(quotas=('q',)) for _number in range(3))
        self.claimed(first), self.claimed(second)
        self.hand_over()
        self.assert_waiting(first, second, third)
        self.assertEqual(len(self.queue.quotas['q']), 0)
        self.assertEqual(first._attempt, 0)

    def test_a_scheduled_job_keeps_its_time(self):
        job = self.put(begin_after=START + MINUTE)
        self.world.clock.advance(MINUTE)
        self.claimed(job)
        other = self.put(begin_after=START + MINUTE - contracts.SECOND)
        self.hand_over()
        self.assertEqual(job.begin_after, START + MINUTE)
        self.assertEqual(set(self.queue), {job, other})

    def test_a_job_that_had_begun_goes_to_the_front(self):
        interrupted, other = self.put(quotas=('q',)), self.put()
        self.begun(interrupted)
        self.hand_over(died=True)
        self.assert_waiting(interrupted, other)
        self.assertIs(interrupted.status, PENDING)
        self.assertEqual(interrupted.getRetryPolicy().data['interruptions'], 1)
        self.assertEqual(len(self.queue.quotas['q']), 0)

    def test_several_that_had_begun_keep_their_order(self):
        first, second, third = (self.put() for _number in range(3))
        self.begun(first), self.begun(second)
        self.hand_over()
        self.assert_waiting(first, second, third)

    def test_a_job_whose_policy_allows_no_second_attempt_is_aborted(self):
        job = self.begun(self.put(retry_policy_factory=NeverRetry, quotas=('q',)))
        self.hand_over()
        self.assert_waiting()
        self.assertIs(job.status, COMPLETED)
        self.assertTrue(job.result.check(AbortedError))
        self.assertIn('attempt 1', job.result.getErrorMessage())
        self.assertEqual(len(self.queue.quotas['q']), 0)

    def test_the_callbacks_of_an_aborted_job_are_performed_by_who_claims_it(self):
        job = self.put(retry_policy_factory=NeverRetry)
        callback = job.addCallback(contracts.echo)
        self.begun(job)
        self.hand_over()
        self.assert_waiting(job)
        self.assertIs(job.status, CALLBACKS)
        self.assertIs(self.queue.claim(), job)
        self.assertEqual(callback.result, None)

    def test_nine_interruptions_are_too_many(self):
        self.queue.deaths_before_parking = None
        job = self.put()
        for _number in range(9):
            self.begun(job)
            self.hand_over(died=True)
        self.assertIs(job.status, COMPLETED)
        self.assertTrue(job.result.check(AbortedError))

    def test_those_by_a_process_that_was_stopped_in_order_do_not_count(self):
        job = self.put()
        for _number in range(20):
            self.begun(job)
            self.hand_over()
            self.assert_waiting(job)
        self.assertNotIn('interruptions', job.getRetryPolicy().data)
        self.begun(job)
        self.hand_over(died=True)
        self.begun(job)
        self.hand_over()
        self.assertEqual(job.getRetryPolicy().data['interruptions'], 1)

    def test_other_policies_are_asked_as_about_an_interruption(self):
        for factory, status in ((Again, PENDING), (NotAgain, COMPLETED)):
            job = self.put(retry_policy_factory=factory)
            self.begun(job)
            self.hand_over()
            self.assertIs(job.status, status)

    def test_a_job_with_callbacks_left_goes_to_the_front(self):
        job, other = self.put(quotas=('q',)), self.put()
        job.addCallback(nothing)
        execution.settle(self.begun(job), 42)
        self.hand_over()
        self.assert_waiting(job, other)
        self.assertIs(job.status, CALLBACKS)
        self.assertEqual(job.result, 42)
        self.assertIn(job, self.queue.quotas['q'])

    def test_a_job_that_waits_for_another_does_not_run_again(self):
        job, inner = self.put(), self.put()
        execution.await_job(self.begun(job), inner)
        self.hand_over()
        self.assert_waiting(inner)
        self.assertIs(job.status, ACTIVE)
        self.assertNotIn(job, self.queue)
        self.claimed(inner)()
        self.assertIs(job.status, COMPLETED)

    def test_a_job_that_waits_for_a_deferred_is_interrupted(self):
        job = self.begun(self.put())
        execution.await_deferred(job)
        self.hand_over()
        self.assert_waiting(job)

    def test_a_completed_job_is_kept_as_completed(self):
        job = self.claimed(self.put())
        job._code = 3
        self.hand_over()
        self.assert_waiting()
        self.assertEqual(list(self.agent.completed), [job])

    def test_the_jobs_of_an_agent_that_was_removed_are_handed_back_too(self):
        agents = self.agent.parent
        for remove in (lambda: agents.pop('main'), lambda: agents.__delitem__('main'),
                       agents.clear):
            jobs = [self.put(), self.put()]
            self.claimed(jobs[0])
            remove()
            self.assertEqual(self.hand_over(), 1)
            self.assert_waiting(*jobs)
            self.assertEqual(agents.retired, ())
            agents['main'] = self.agent
            for job in jobs:
                self.queue.remove(job)

    def test_an_agent_that_is_removed_empty_is_forgotten(self):
        agents = self.agent.parent
        agents.pop('main')
        self.assertEqual(agents.retired, ())

    def test_a_stand_in_for_an_expired_job_is_handed_back(self):
        job = self.put(begin_by=MINUTE)
        self.world.clock.advance(2 * MINUTE)
        stand_in = self.agent.claimJob()
        self.hand_over()
        self.assert_waiting(stand_in)
        self.claimed(stand_in)()
        self.assertIs(job.status, COMPLETED)


class ByHand(contracts.InWorld, unittest.TestCase):
    """The documented methods of a job do the same for one job."""

    def test_handle_interrupt_runs_the_job_again(self):
        job, other = self.put(), self.put()
        self.begun(job).handleInterrupt()
        self.assertEqual(list(self.queue), [job, other])
        self.assertEqual(list(self.client.agent()), [])

    def test_handle_interrupt_leaves_the_callbacks_of_an_aborted_job_to_others(self):
        job = self.put(retry_policy_factory=NeverRetry)
        job.addCallback(nothing)
        self.begun(job).handleInterrupt()
        self.assertIs(job.status, CALLBACKS)
        self.assertEqual(list(self.queue), [job])
        self.assertEqual(list(self.client.agent()), [])

    def test_handle_interrupt_is_for_jobs_that_have_begun(self):
        job = self.put()
        with self.refused(BadStatusError, 'pending-status'):
            job.handleInterrupt()

    def test_resume_callbacks_puts_the_job_in_front(self):
        job, other = self.put(), self.put()
        job.addCallback(nothing)
        execution.settle(self.begun(job), 42)
        job.resumeCallbacks()
        self.assertEqual(list(self.queue), [job, other])
        self.assertEqual(list(self.client.agent()), [])

    def test_resume_callbacks_is_for_jobs_with_a_result(self):
        job = self.begun(self.put())
        with self.refused(BadStatusError, 'active-status'):
            job.resumeCallbacks()

    def test_rescheduling_after_a_delay_gives_up_the_quotas(self):
        self.queue.quotas.create('q')
        job = self.begun(self.put(quotas=('q',)))
        recovery.reschedule(job, MINUTE)
        self.assertEqual(job.begin_after, START + MINUTE)
        self.assertEqual(len(self.queue.quotas['q']), 0)
        self.assertIsNone(self.queue.claim())
        self.world.clock.advance(MINUTE)
        self.assertIs(self.queue.claim(), job)

    def test_a_worker_keeps_the_job_that_it_aborts(self):
        job = self.put(retry_policy_factory=NeverRetry)
        job.addCallback(nothing)
        recovery.interrupt(self.begun(job))
        self.assertEqual(list(self.queue), [])
        self.assertEqual(list(self.client.agent()), [job])


class Failing(contracts.InWorld, unittest.TestCase):
    """`Job.fail` ends a job that has not begun, wherever it is."""

    def test_a_new_job(self):
        job = Job(nothing)
        callback = job.addCallback(contracts.echo)
        job.fail(ValueError('no'))
        self.assertTrue(job.result.check(ValueError))
        self.assertEqual((job.status, callback.status), (COMPLETED, COMPLETED))

    def test_a_waiting_job(self):
        job = self.put()
        job.fail()
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(list(self.queue), [])

    def test_a_waiting_job_with_callbacks_is_left_to_who_claims_it(self):
        job = self.put()
        job.addCallback(nothing)
        job.fail()
        self.assertIs(job.status, CALLBACKS)
        self.assertEqual(list(self.queue), [job])

    def test_an_assigned_job(self):
        job = self.claimed(self.put())
        job.fail()
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(list(self.client.agent()), [])
        self.assertEqual(list(self.client.agent().completed), [job])

    def test_an_assigned_job_with_callbacks_is_in_one_place(self):
        job = self.put()
        job.addCallback(nothing)
        self.claimed(job).fail()
        self.assertEqual(list(self.queue), [job])
        self.assertEqual(list(self.client.agent()), [])

    def test_a_job_that_has_begun_cannot_fail_so(self):
        job = self.begun(self.put())
        with self.refused(BadStatusError, 'active-status'):
            job.fail()
