"""Jobs made of jobs."""
import unittest

from . import contracts
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import JobCycleError
from ..interfaces import NEW
from ..interfaces import PENDING
from ..job import Job
from ..job import parallel
from ..job import serial
from ..model import execution
from .contracts import add
from .contracts import echo
from .contracts import nothing
from .contracts import spoil


def results(*jobs):
    """Return the results of the jobs."""
    return [job.result for job in jobs]




class InWorkflow(contracts.InWorld):

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=100)

    def start(self, job):
        """Put *job*, and run it as a worker does."""
        self.put(job)
        self.step()
        return job

    def step(self):
        """Run the next waiting job and return it."""
        job = self.agent.claimJob()
        job()
        self.client.commit()
        return job

    def drain(self):
        while len(self.queue):
            self.step()


class Serial(InWorkflow, unittest.TestCase):
    """The parts run one after the other."""

    def test_one_part_is_put_at_a_time(self):
        main = self.start(serial(Job(echo, 1), Job(echo, 2)))
        self.assertIs(main.status, ACTIVE)
        self.assertEqual(list(self.queue), [main.args[0]])
        self.step()
        self.assertEqual(list(self.queue), [main.args[1]])

    def test_a_part_that_cannot_be_put_has_failed(self):
        self.queue.quotas.create('scarce')
        second = Job(echo, 2)
        main = serial(Job(echo, 1), second, Job(echo, 3), postprocess=results)
        second.quota_names = ('scarce',)
        self.start(main)
        self.queue.quotas.remove('scarce')
        self.drain()
        self.assertIs(main.status, COMPLETED)
        first, failure, third = main.result
        self.assertEqual((first, third), (1, 3))
        self.assertEqual(failure.getErrorMessage(), "('unknown quota name', 'scarce')")

    def test_the_result_is_the_list_of_the_parts(self):
        main = self.start(serial(Job(echo, 1), Job(echo, 2)))
        self.drain()
        self.assertIs(main.status, COMPLETED)
        self.assertEqual(main.result, list(main.args))
        self.assertEqual([job.result for job in main.result], [1, 2])

    def test_the_result_is_what_postprocess_returns(self):
        for last in (results, Job(results)):
            main = self.start(serial(Job(echo, 1), Job(echo, 2), postprocess=last))
            self.drain()
            self.assertEqual(main.result, [1, 2])

    def test_the_parts_may_be_functions(self):
        main = self.start(serial(nothing, nothing, postprocess=results))
        self.drain()
        self.assertEqual(main.result, [None, None])

    def test_a_part_that_fails_does_not_end_it(self):
        main = self.start(serial(spoil, Job(echo, 2)))
        self.drain()
        self.assertTrue(main.result[0].result.check(ValueError))
        self.assertEqual(main.result[1].result, 2)

    def test_it_may_have_no_parts(self):
        main = self.start(serial(postprocess=results))
        self.drain()
        self.assertEqual(main.result, [])

    def test_it_can_be_extended_before_it_starts(self):
        main = serial(Job(echo, 1), postprocess=results)
        main.args.append(Job(echo, 2))
        self.start(main)
        self.drain()
        self.assertEqual(main.result, [1, 2])

    def test_it_can_be_extended_by_a_part(self):
        main = serial(Job(echo, 1), Job(extend), postprocess=results)
        main.args[1].args.append(main)
        self.start(main)
        self.drain()
        self.assertEqual(main.result, [1, None, 'more'])

    def test_it_can_be_extended_by_a_callback_of_a_part(self):
        main = serial(Job(echo, 1), postprocess=results)
        main.args[0].addCallback(Job(extend, main))
        self.start(main)
        self.drain()
        self.assertEqual(main.result, [1, 'more'])

    def test_its_place_in_the_agent_is_taken_until_it_is_done(self):
        main = self.start(serial(nothing))
        self.assertIn(main, list(self.agent))
        self.drain()
        self.assertEqual(list(self.agent), [])
        self.assertIn(main, list(self.agent.completed))

    def test_its_callbacks_get_the_result(self):
        main = serial(Job(echo, 1), postprocess=results)
        callback = main.addCallback(echo)
        self.start(main)
        self.drain()
        self.assertEqual(callback.result, [1])

    def test_it_can_be_a_part(self):
        inner = serial(Job(echo, 1), Job(echo, 2), postprocess=results)
        main = self.start(serial(inner, Job(echo, 3), postprocess=results))
        self.drain()
        self.assertEqual(main.result, [[1, 2], 3])

    def test_what_is_no_job_is_no_part(self):
        with self.assertRaises(TypeError):
            serial(42)
        with self.assertRaises(TypeError):
            serial(nothing, postprocess=42)


def extend(main, result=None):
    """Append a part to *main*."""
    main.args.append(Job(echo, 'more'))


class Parallel(InWorkflow, unittest.TestCase):
    """The parts run at the same time."""

    def test_all_parts_are_put_at_once(self):
        main = self.start(parallel(Job(echo, 1), Job(echo, 2)))
        self.assertIs(main.status, ACTIVE)
        self.assertEqual(list(self.queue), list(main.args))

    def test_the_result_is_in_the_order_of_the_parts(self):
        main = self.start(parallel(*(Job(echo, n) for n in range(3)), postprocess=results))
        jobs = [self.agent.claimJob() for _number in range(3)]
        for job in reversed(jobs):
            job()
        self.drain()
        self.assertEqual(main.result, [0, 1, 2])

    def test_the_last_step_waits_for_all_parts(self):
        main = self.start(parallel(Job(echo, 1), Job(echo, 2)))
        self.step()
        last = main.kwargs['postprocess']
        self.assertIs(last.status, NEW)
        self.step()
        self.assertIs(last.status, PENDING)

    def test_it_may_have_no_parts(self):
        main = self.start(parallel())
        self.drain()
        self.assertEqual(main.result, [])

    def test_it_can_be_extended_by_a_part(self):
        main = parallel(Job(echo, 1), Job(extend), postprocess=results)
        main.args[1].args.append(main)
        self.start(main)
        self.drain()
        self.assertEqual(main.result, [1, None, 'more'])

    def test_its_parts_may_have_quotas(self):
        self.queue.quotas.create('q')
        parts = [Job(echo, number) for number in range(2)]
        for part in parts:
            part.quota_names = ('q',)
        self.start(parallel(*parts))
        self.assertIs(self.agent.claimJob(), parts[0])
        self.assertIsNone(self.agent.claimJob())


class Returned(InWorkflow, unittest.TestCase):
    """A job that returns a job has that one's result."""

    def test_it_waits_for_the_job(self):
        inner = Job(add, 40, 2)
        outer = self.start(Job(echo, inner))
        self.assertIs(outer.status, ACTIVE)
        self.assertIsNone(outer.result)
        self.assertIn(outer, list(self.agent))
        self.put(inner)
        self.step()
        self.assertEqual((outer.status, outer.result), (COMPLETED, 42))
        self.assertNotIn(outer, list(self.agent))

    def test_it_has_the_result_at_once_if_there_is_one(self):
        inner = Job(add, 40, 2)
        inner()
        outer = self.start(Job(echo, inner))
        self.assertEqual((outer.status, outer.result), (COMPLETED, 42))

    def test_a_failure_is_passed_on(self):
        inner = Job(spoil)
        outer = self.start(Job(echo, inner))
        self.put(inner)
        self.step()
        self.assertTrue(outer.result.check(ValueError))

    def test_jobs_can_wait_for_each_other_in_a_row(self):
        jobs = [Job(add, 40, 2)]
        for _number in range(5):
            jobs.append(self.start(Job(echo, jobs[-1])))
        self.put(jobs[0])
        self.step()
        self.assertEqual({job.result for job in jobs}, {42})

    def test_jobs_cannot_wait_for_themselves(self):
        job = self.begun(self.put())
        with self.assertRaises(JobCycleError):
            execution.await_job(job, job)

    def test_jobs_cannot_wait_in_a_circle(self):
        first, second = self.begun(self.put()), self.begun(self.put())
        execution.await_job(first, second)
        with self.assertRaises(JobCycleError):
            execution.await_job(second, first)

    def test_callbacks_wait_for_the_result(self):
        inner = Job(add, 40, 2)
        outer = Job(echo, inner)
        callback = outer.addCallback(echo)
        self.start(outer)
        self.assertIs(callback.status, NEW)
        self.put(inner)
        self.step()
        self.assertEqual(callback.result, 42)
        self.assertIsNot(outer.status, CALLBACKS)
