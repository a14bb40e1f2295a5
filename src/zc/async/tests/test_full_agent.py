"""An agent that is full of jobs that wait for others which it would have to do."""
import unittest
import unittest.mock

import transaction

from . import contracts
from . import test_dispatcher
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..job import Job
from ..model import callbacks
from ..model import execution
from ..threadlocal import local


def nothing(*args):
    """A job, or a callback."""


def returns_a_job(*args):
    """A job, or a callback, whose result is that of another in the same line."""
    queue = local.getJob()._p_jar.root()[KEY]['']
    return queue.put(Job(multiply, 6, 7))


def multiply(one, two):
    """The other."""
    return one * two


class Done(test_dispatcher.VirtualCase):
    """All of them are done, by an agent that may hold one job."""

    def setUp(self):
        super().setUp()
        self.agents['main'].size = 1
        transaction.commit()

    def test_the_job_waits(self):
        job = self.put(returns_a_job)
        self.assertEqual(self.finish(job), 42)

    def test_its_callback_waits(self):
        job = Job(nothing)
        waiting = job.addCallback(returns_a_job)
        after = waiting.addCallback(multiply_by_two)
        self.finish(self.put(job))
        self.assertEqual((waiting.result, after.result), (42, 84))

    def test_the_job_that_its_proxy_has_chosen_waits(self):
        job = Job(nothing)
        proxy = job.addCallbacks(returns_a_job)
        self.finish(self.put(job))
        self.assertEqual(proxy.result, 42)

    def test_several_of_its_callbacks_wait(self):
        job = Job(nothing)
        waiting = [job.addCallback(nothing).addCallback(returns_a_job)
                   for _number in range(3)]
        self.finish(self.put(job))
        self.assertEqual([one.result for one in waiting], [42] * 3)

    def test_two_agents_places_are_full(self):
        self.agents['main'].size = 2
        transaction.commit()
        jobs = [Job(nothing) for _number in range(5)]
        waiting = [job.addCallback(returns_a_job) for job in jobs]
        for job in jobs:
            self.put(job)
        self.finish(*jobs)
        self.assertEqual([one.result for one in waiting], [42] * 5)


def multiply_by_two(number):
    """A callback of the callback."""
    return 2 * number


class Waits(contracts.InWorld, unittest.TestCase):
    """When a place is added, and when not."""

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=1)
        self.job = Job(nothing)
        self.first, self.second = (self.job.addCallback(nothing) for _number in range(2))
        self.put(self.job)
        self.assertIs(self.agent.claimJob(), self.job)
        execution.begin(self.job)
        self.other = self.put(nothing)
        self.client.commit()

    def free(self):
        self.client.commit()
        self.client.connection.cacheMinimize()
        return self.agent.free

    def settle(self, *jobs):
        for job in jobs:
            if job.status is not ACTIVE:
                execution.begin(job)
            execution.settle(job, None)

    def wait(self, job, other):
        execution.begin(job)
        execution.await_job(job, other)

    def test_not_while_it_runs(self):
        self.assertEqual(self.free(), 0)

    def test_not_while_a_callback_is_to_be_run_or_runs(self):
        self.settle(self.job)
        self.wait(self.first, self.other)
        self.assertEqual(self.free(), 0)
        execution.begin(self.second)
        self.assertEqual(self.free(), 0)

    def test_one_when_all_callbacks_that_are_not_done_wait(self):
        self.settle(self.job, self.second)
        self.wait(self.first, self.other)
        self.assertIs(self.job.status, CALLBACKS)
        self.assertEqual(self.free(), 1)

    def test_not_when_all_are_done(self):
        self.settle(self.job, self.first, self.second)
        self.assertEqual(self.free(), 0)
        callbacks.try_finish(self.first)
        callbacks.try_finish(self.second)
        self.assertIs(self.job.status, COMPLETED)
        self.assertEqual(self.free(), 1)

    def test_not_when_one_waits_for_its_process(self):
        self.settle(self.job, self.second)
        execution.begin(self.first)
        execution.await_deferred(self.first)
        self.assertEqual(self.free(), 0)

    def test_not_when_another_held_job_works(self):
        self.settle(self.job, self.second)
        self.wait(self.first, self.other)
        self.assertIs(self.agent.claimJob(), self.other)
        execution.begin(self.other)
        self.assertLessEqual(self.free(), 0)

    def test_few_are_loaded_to_tell(self):
        node, jobs = self.second, []
        for _number in range(300):
            node = node.addCallback(nothing)
            jobs.append(node)
        self.settle(self.job, self.second, *jobs)
        self.wait(self.first, self.other)
        self.client.commit()
        self.client.connection.cacheMinimize()
        self.assertEqual(self.agent.free, 0)
        loaded = [job for job in jobs if job._p_changed is not None]
        self.assertLess(len(loaded), callbacks._FEW)

    def test_what_cannot_be_read_is_not_waited_for(self):
        self.settle(self.job, self.second)
        self.wait(self.first, self.other)
        self.client.commit()
        with unittest.mock.patch.object(
                callbacks, 'why_unreadable',
                lambda node: 'gone' if node is self.first else None):
            self.client.connection.cacheMinimize()
            self.assertEqual(self.agent.free, 0)
