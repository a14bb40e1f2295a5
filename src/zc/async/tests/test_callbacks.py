"""What follows from a result."""
import logging
import unittest

from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from . import contracts
from .. import interfaces
from ..failures import is_failure
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import NEW
from ..job import ConditionalCallbackProxy
from ..job import Job
from ..job import SuccessFailureCallbackProxy
from ..model import callbacks
from ..model import execution
from ..threadlocal import local
from .contracts import add
from .contracts import echo
from .contracts import nothing
from .contracts import spoil

SEEN = []


def note(*args):
    """Remember what it was called with."""
    SEEN.append(args)
    return len(SEEN)


def look_around(result):
    """Remember the job, its parent and its parent's parent."""
    job = local.getJob()
    SEEN.append((job, job.parent, job.parent.parent))


def add_another(result):
    """Add a callback to the job whose callback this is."""
    local.getJob().parent.addCallback(note)


class BySize(ConditionalCallbackProxy):
    """Chooses by the result; makes the job when it is asked for."""

    def getJob(self, result):
        if is_failure(result) or result < 10:
            return None
        return Job(echo)


class Callbacks(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        del SEEN[:]
        self.job = Job(add, 1, 2)

    def test_the_proxies_provide_their_interfaces(self):
        verifyClass(interfaces.ICallbackProxy, ConditionalCallbackProxy)
        verifyClass(interfaces.ISuccessFailureCallbackProxy, SuccessFailureCallbackProxy)
        verifyObject(interfaces.ICallbackProxy, BySize())
        verifyObject(interfaces.ISuccessFailureCallbackProxy,
                     SuccessFailureCallbackProxy())

    def test_a_callback_is_called_with_the_result(self):
        callback = self.job.addCallback(note)
        self.job()
        self.assertEqual(SEEN, [(3,)])
        self.assertEqual((callback.status, callback.result), (COMPLETED, 1))

    def test_a_callback_is_called_with_a_failure(self):
        self.job.callable = spoil
        self.job.addCallback(note)
        self.job()
        self.assertTrue(SEEN[0][0].check(ValueError))

    def test_all_callbacks_get_the_same_result_in_order(self):
        for _number in range(3):
            self.job.addCallback(note)
        self.job()
        self.assertEqual(SEEN, [(3,)] * 3)
        self.assertEqual([one.result for one in self.job.callbacks], [1, 2, 3])

    def test_a_callback_of_a_callback_gets_that_ones_result(self):
        self.job.addCallback(echo).addCallback(add).addCallback(note)
        self.job()
        self.assertEqual(SEEN, [(3,)])

    def test_the_arguments_of_a_callback_come_first(self):
        self.job.addCallback(Job(note, 'mine'))
        self.job()
        self.assertEqual(SEEN, [('mine', 3)])

    def test_a_callback_that_fails_disturbs_no_other(self):
        first = self.job.addCallback(spoil)
        self.job.addCallback(note)
        self.job()
        self.assertTrue(first.result.check(ValueError))
        self.assertEqual(SEEN, [(3,)])
        self.assertIs(self.job.status, COMPLETED)

    def test_a_callback_belongs_to_its_job(self):
        self.put(self.job)
        callback = self.job.addCallback(note)
        self.assertIs(callback.parent, self.job)
        self.assertIs(callback.queue, self.queue)
        self.assertEqual(list(self.job.callbacks), [callback])

    def test_one_added_to_a_completed_job_is_called_at_once(self):
        self.job()
        callback = self.job.addCallback(note)
        self.assertEqual((SEEN, callback.status), ([(3,)], COMPLETED))

    def test_one_added_by_a_callback_is_called(self):
        self.job.addCallback(add_another)
        self.job()
        self.assertEqual(SEEN, [(3,)])
        self.assertIs(self.job.status, COMPLETED)

    def test_one_added_to_a_completed_callback_is_called_at_once(self):
        callback = self.job.addCallback(echo)
        self.job()
        callback.addCallback(note)
        self.assertEqual(SEEN, [(3,)])

    def test_a_chain_may_be_longer_than_pythons_stack_is_deep(self):
        last = self.job
        for _number in range(1500):
            last = last.addCallback(echo)
        self.job()
        self.assertEqual((last.status, last.result), (COMPLETED, 3))

    def test_a_callback_may_return_a_job_and_waits_for_it(self):
        inner = Job(add, 40, 2)
        callback = self.job.addCallback(Job(give, inner))
        self.job()
        self.assertEqual((self.job.status, callback.status), (CALLBACKS, ACTIVE))
        inner()
        self.assertEqual((self.job.status, callback.result), (COMPLETED, 42))

    def test_the_end_of_the_first_callbacks_is_noted(self):
        self.job.addCallback(nothing)
        self.assertIsNone(self.job.initial_callbacks_end)
        self.job()
        self.assertEqual(self.job.initial_callbacks_end, contracts.START)

    # Which callback

    def test_success_and_failure(self):
        for call, expected in ((echo, 'success'), (spoil, 'failure')):
            job = Job(call)
            proxy = job.addCallbacks(Job(note, 'success'), Job(note, 'failure'))
            self.assertIsInstance(proxy, SuccessFailureCallbackProxy)
            self.assertIs(proxy.parent, job)
            job()
            self.assertEqual(SEEN.pop()[0], expected)
            self.assertIs(proxy.job, getattr(proxy, expected))
            self.assertIs(proxy.status, COMPLETED)

    def test_the_one_that_was_not_chosen_stays_new(self):
        proxy = self.job.addCallbacks(note, echo)
        self.job()
        self.assertEqual((proxy.success.status, proxy.failure.status), (COMPLETED, NEW))

    def test_a_proxy_that_chooses_none_passes_the_result_on(self):
        proxy = self.job.addCallbacks(failure=note)
        proxy.addCallback(note)
        self.job()
        self.assertIsNone(proxy.job)
        self.assertEqual((proxy.result, SEEN), (3, [(3,)]))

    def test_a_failure_is_passed_on_where_nobody_takes_it(self):
        self.job.callable = spoil
        proxy = self.job.addCallbacks(success=nothing)
        proxy.addCallbacks(failure=note)
        self.job()
        self.assertTrue(SEEN[0][0].check(ValueError))

    def test_a_proxy_has_the_result_of_the_job_it_chose(self):
        proxy = self.job.addCallbacks(Job(add, 10))
        proxy.addCallback(note)
        self.job()
        self.assertEqual((proxy.result, SEEN), (13, [(13,)]))

    def test_a_proxy_may_make_the_job_that_it_chooses(self):
        for number, made in ((3, False), (30, True)):
            job = Job(echo, number)
            proxy = job.addCallback(BySize())
            job()
            self.assertEqual((proxy.job is not None, proxy.result, proxy.status),
                             (made, number, COMPLETED))
            self.assertIs(job.status, COMPLETED)

    def test_a_callback_knows_where_it_belongs(self):
        self.job.addCallbacks(look_around)
        self.job()
        proxy = self.job.callbacks[0]
        self.assertEqual(SEEN, [(proxy.success, proxy, self.job)])

    # Levels

    def test_failures_of_callbacks_are_critical(self):
        callback = self.job.addCallback(nothing)
        proxy = self.job.addCallbacks(nothing, nothing)
        for one in (callback, proxy.success, proxy.failure):
            self.assertEqual(one.failure_log_level, logging.CRITICAL)

    def test_a_level_can_be_given(self):
        callback = self.job.addCallback(nothing, logging.INFO)
        proxy = self.job.addCallbacks(nothing, nothing, failure_log_level=logging.INFO)
        for one in (callback, proxy.success, proxy.failure):
            self.assertEqual(one.failure_log_level, logging.INFO)

    def test_a_level_that_the_job_has_is_kept(self):
        job = Job(nothing)
        job.failure_log_level = logging.DEBUG
        self.assertEqual(self.job.addCallback(job).failure_log_level, logging.DEBUG)

    def test_the_failure_of_a_callback_is_logged(self):
        self.job.addCallback(spoil)
        with self.assertLogs('zc.async.events', logging.CRITICAL) as logged:
            self.job()
        self.assertEqual(len(logged.records), 1)
        self.assertIn('spoiled', logged.output[0])

    # Bad input

    def test_what_cannot_be_called_is_no_callback(self):
        with self.assertRaises(TypeError):
            self.job.addCallback(42)
        self.assertEqual(self.job.callbacks, ())

    def test_a_job_that_is_in_use_is_no_callback(self):
        done = Job(nothing)
        done()
        for used in (self.put(), done, Job(nothing).addCallback(nothing)):
            with self.assertRaises(interfaces.BadStatusError):
                self.job.addCallback(used)
        self.assertEqual(self.job.callbacks, ())

    def test_a_proxy_that_is_in_use_is_no_callback(self):
        proxy = Job(nothing).addCallbacks(nothing)
        with self.assertRaises(interfaces.BadStatusError):
            self.job.addCallback(proxy)
        self.assertEqual(self.job.callbacks, ())


def give(job, result):
    """Return the job."""
    return job


class Going(contracts.InWorld, unittest.TestCase):
    """What a worker asks, and where it goes on after a crash."""

    def setUp(self):
        super().setUp()
        del SEEN[:]
        self.job = self.begun(self.put())
        self.first, self.second = (self.job.addCallback(note) for _number in range(2))
        execution.settle(self.job, 42)

    def walk(self):
        return callbacks.walk(self.job, execution._Here())

    def test_there_is_something_to_do(self):
        self.assertTrue(callbacks.needs_worker(self.job))
        self.assertEqual(callbacks.try_finish(self.job), [])

    def test_what_was_visited_is_given_children_first(self):
        self.assertEqual(self.walk(), [self.first, self.second, self.job])

    def test_what_is_done_is_not_done_again(self):
        execution.begin(self.first)
        execution.settle(self.first, 1)
        for node in self.walk():
            callbacks.try_finish(node)
        self.assertEqual(SEEN, [(42,)])
        self.assertIs(self.job.status, COMPLETED)

    def test_walking_twice_does_no_harm(self):
        for _number in range(2):
            for node in self.walk():
                callbacks.try_finish(node)
        self.assertEqual(SEEN, [(42,), (42,)])
        self.assertEqual(list(self.client.agent().completed), [self.job])

    def test_a_callback_that_waits_needs_no_worker(self):
        for one in (self.first, self.second):
            execution.begin(one)
            execution.await_deferred(one)
        self.assertFalse(callbacks.needs_worker(self.job))
