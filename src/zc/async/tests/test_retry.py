"""Retry policies, and the decisions that they come down to."""
import datetime
import unittest

import transaction.interfaces
import zope.component
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError

from . import contracts
from ..failures import Failure
from ..interfaces import IJob
from ..interfaces import IRetryPolicy
from ..job import Job
from ..model import retry
from ..model.retry import GiveUp
from ..model.retry import RunAgain
from .contracts import HOUR
from .contracts import SECOND
from .contracts import START
from .contracts import nothing


class Decisions(contracts.InWorld, unittest.TestCase):
    """One answer of whatever documented form is one decision."""

    def test_no_is_giving_up(self):
        for answer in (False, None, 0):
            self.assertEqual(retry.decide(answer), GiveUp())

    def test_yes_is_running_again_at_once(self):
        self.assertEqual(retry.decide(True), RunAgain())
        self.assertEqual(RunAgain().after, datetime.timedelta())

    def test_a_timedelta_is_a_delay(self):
        self.assertEqual(retry.decide(HOUR), RunAgain(HOUR))

    def test_a_negative_delay_is_none(self):
        self.assertEqual(retry.decide(-HOUR), RunAgain())

    def test_a_datetime_is_when(self):
        self.assertEqual(retry.decide(START + HOUR), RunAgain(HOUR))

    def test_a_datetime_without_a_time_zone_is_in_utc(self):
        self.assertEqual(retry.decide(datetime.datetime(2030, 1, 1, 13)), RunAgain(HOUR))

    def test_a_datetime_that_has_passed_is_at_once(self):
        self.assertEqual(retry.decide(START - HOUR), RunAgain())

    def test_anything_else_is_refused(self):
        with self.assertRaisesRegex(TypeError, "'later'.*bool, a timedelta or a datetime"):
            retry.decide('later')


class Policy(contracts.InWorld):

    factory = None

    def setUp(self):
        super().setUp()
        self.policy = self.factory(self.begun(self.put()))

    def answers(self, error, count, ask='commitError'):
        """Return the answers to *count* questions in one worker's hands."""
        cache = {}
        return [getattr(self.policy, ask)(Failure(error), cache)
                for _number in range(count)]


class FourTimes(Policy, unittest.TestCase):
    """The default policy."""

    factory = retry.RetryCommonFourTimes

    def test_the_calls_own_error_is_not_retried(self):
        self.assertEqual(self.answers(ValueError(), 1, 'jobError'), [False])
        self.assertEqual(self.answers(ValueError(), 1), [False])

    def test_a_transaction_error_is_retried_four_times_at_once(self):
        for error in (ConflictError(), transaction.interfaces.TransientError(),
                      transaction.interfaces.DoomedTransaction()):
            for ask in ('jobError', 'commitError'):
                self.assertEqual(self.answers(error, 5, ask), [True] * 4 + [False])

    def test_an_absent_storage_is_waited_for_longer_and_longer(self):
        answers = self.answers(ClientDisconnected(), 15)
        self.assertEqual(answers[:3], [5 * SECOND, 10 * SECOND, 15 * SECOND])
        self.assertEqual(answers[11:], [60 * SECOND] * 4)

    def test_an_absent_database_of_another_kind_counts_as_absent(self):
        class OperationalError(Exception):
            """As a driver raises it."""

        OperationalError.__module__ = 'psycopg2'
        self.assertEqual(self.answers(OperationalError(), 1), [5 * SECOND])

    def test_eight_interruptions_are_survived(self):
        self.assertEqual([self.policy.interrupted() for _number in range(9)],
                         [True] * 8 + [False])
        self.assertEqual(self.policy.data['interruptions'], 9)

    def test_what_was_counted_is_kept_between_workers(self):
        cache = {}
        error = Failure(ConflictError())
        self.policy.commitError(error, cache)
        self.policy.updateData(cache)
        self.assertEqual(self.policy.data['transaction_errors'], 1)
        self.assertIs(self.policy.data['last_transaction_errors'], error)
        self.assertEqual(self.answers(ConflictError(), 4), [True] * 3 + [False])

    def test_the_time_of_the_first_attempt_is_kept(self):
        self.policy.updateData({})
        self.world.clock.advance()
        self.policy.updateData({})
        self.assertEqual(self.policy.data['first_active'], START)


class Forever(Policy, unittest.TestCase):
    """The default policy of callbacks."""

    factory = retry.RetryCommonForever

    def test_the_calls_own_error_is_not_retried(self):
        self.assertEqual(self.answers(ValueError(), 1, 'jobError'), [False])

    def test_a_transaction_error_is_retried_for_ever(self):
        self.assertEqual(self.answers(ConflictError(), 20), [True] * 20)

    def test_any_other_error_of_the_commit_is_retried_with_delays(self):
        answers = self.answers(ValueError(), 62)
        self.assertEqual(answers[:3], [SECOND, 2 * SECOND, 3 * SECOND])
        self.assertEqual(answers[60:], [60 * SECOND] * 2)

    def test_interruptions_are_survived_for_ever(self):
        self.assertEqual({self.policy.interrupted() for _number in range(50)}, {True})


class Never(Policy, unittest.TestCase):
    """For calls with effects outside the database."""

    factory = retry.NeverRetry

    def test_nothing_is_retried(self):
        for error in (ValueError(), ConflictError(), ClientDisconnected()):
            for ask in ('jobError', 'commitError'):
                self.assertEqual(self.answers(error, 1, ask), [False])
        self.assertFalse(self.policy.interrupted())

    def test_its_attempts_begin_in_a_commit_of_their_own(self):
        self.assertTrue(self.policy.at_most_once)


class ClientPolicy(retry.RetryCommonFourTimes):
    """As clients of the old system derived it."""

    internal_exceptions = ((
        (ValueError,), 'job_error', 3, 10, 5, 12),)

    def jobError(self, failure, data_cache):
        return self._process(failure, data_cache, self.internal_exceptions)


class OwnRules(Policy, unittest.TestCase):
    """Subclasses replace the table: documented by its use in clients."""

    factory = ClientPolicy

    def test_the_table_says_how_often_and_when(self):
        self.assertEqual(self.answers(ValueError(), 3, 'jobError'),
                         [10 * SECOND, 12 * SECOND, False])

    def test_what_is_in_no_row_is_not_retried(self):
        self.assertEqual(self.answers(ConflictError(), 1, 'jobError'), [False])

    def test_the_data_is_under_the_key_of_the_row(self):
        job = self.policy.parent
        job._retry_policy = self.policy
        cache = {}
        error = Failure(ValueError('seen'))
        self.policy.jobError(error, cache)
        self.policy.updateData(cache)
        self.assertEqual(job._retry_policy.data.get('job_error'), 1)
        self.assertIs(job._retry_policy.data.get('last_job_error'), error)


class OwnInstance(retry.RetryCommonFourTimes):
    """A policy that is its own factory, as clients stored them in jobs."""

    def __init__(self):
        super().__init__(None)

    def __call__(self, job):
        self.parent = job
        return self


class Factories(contracts.InWorld, unittest.TestCase):
    """Which policy a job gets."""

    def register(self, factory, name=''):
        zope.component.provideAdapter(factory, (IJob,), IRetryPolicy, name)
        self.addCleanup(zope.component.getGlobalSiteManager().unregisterAdapter,
                        factory, (IJob,), IRetryPolicy, name)

    def policy_of(self, job):
        return type(job.getRetryPolicy())

    def test_a_job_retries_common_errors_four_times(self):
        self.assertIs(self.policy_of(Job(nothing)), retry.RetryCommonFourTimes)

    def test_a_callback_retries_common_errors_for_ever(self):
        job = Job(nothing)
        self.assertIs(self.policy_of(job.addCallback(nothing)), retry.RetryCommonForever)
        self.assertIs(self.policy_of(job.addCallbacks(nothing).success),
                      retry.RetryCommonForever)

    def test_an_adapter_without_a_name_is_the_default_of_jobs(self):
        self.register(retry.NeverRetry)
        self.assertIs(self.policy_of(Job(nothing)), retry.NeverRetry)
        self.assertIs(self.policy_of(Job(nothing).addCallback(nothing)),
                      retry.RetryCommonForever)

    def test_an_adapter_named_callback_is_the_default_of_callbacks(self):
        self.register(retry.NeverRetry, 'callback')
        self.assertIs(self.policy_of(Job(nothing)), retry.RetryCommonFourTimes)
        self.assertIs(self.policy_of(Job(nothing).addCallback(nothing)),
                      retry.NeverRetry)

    def test_a_job_can_name_an_adapter(self):
        self.register(retry.NeverRetry, 'never')
        job = self.put(retry_policy_factory='never')
        self.assertIs(self.policy_of(job), retry.NeverRetry)

    def test_a_job_can_have_a_factory(self):
        job = self.put(retry_policy_factory=retry.NeverRetry)
        self.assertIs(self.policy_of(job), retry.NeverRetry)

    def test_a_callback_can_have_a_factory(self):
        job = Job(nothing)
        callback = job.addCallback(nothing, retry_policy_factory=retry.NeverRetry)
        proxy = job.addCallbacks(nothing, nothing, retry_policy_factory=retry.NeverRetry)
        for one in (callback, proxy.success, proxy.failure):
            self.assertIs(self.policy_of(one), retry.NeverRetry)

    def test_a_policy_may_be_its_own_factory(self):
        job = self.put(retry_policy_factory=OwnInstance())
        self.client.commit()
        job = self.world.open().mine(job)
        self.assertIs(job.getRetryPolicy(), job.retry_policy_factory)
        self.assertIs(job.getRetryPolicy().parent, job)

    def test_a_job_keeps_its_policy(self):
        job = self.put()
        self.assertIs(job.getRetryPolicy(), job.getRetryPolicy())
        self.assertIs(job._retry_policy, job.getRetryPolicy())
        self.assertIs(job.getRetryPolicy().parent, job)
