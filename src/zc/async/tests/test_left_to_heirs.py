"""A process is gone, and the first of its heirs lacks the class of a job that it had.

The two processes of `test_rolling`: the old one lacks a module.
"""
import uuid

import transaction
from ZODB.utils import u64

from . import test_rolling
from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import PARKED
from ..job import NeverRetry
from ..model import execution
from .test_dispatcher import Gone
from .test_dispatcher import multiply
from .test_rolling import NEW
from .test_rolling import OLD

DEAD, OTHER = uuid.UUID(int=3), uuid.UUID(int=4)


class Case(test_rolling.RollingCase):

    def setUp(self):
        super().setUp()
        self.job = self.module.Rolling(multiply, 6, 7)

    def leave_behind(self, begin=True, callback=False, **options):
        """Let the dead one have the job; begun by default."""
        if callback:
            self.job.addCallback(test_rolling.Job(multiply, 2))
        self.queue.put(self.job, **options)
        self.dead = Gone(self.queue, DEAD).agents
        self.assertIs(self.dead['main'].claimJob(), self.job)
        if begin:
            execution.begin(self.job)
        transaction.commit()

    def somebody_else(self):
        """Let there be another dispatcher, which does nothing, and lives for long."""
        self.other = Gone(self.queue, OTHER).agents
        transaction.commit()

    def beat(self):
        self.other.last_ping.beat()
        transaction.commit()

    def outlive(self, seconds=30):
        """Let the old one find that the dead one is."""
        for _number in range(0, seconds, self.interval):
            self.poll()
            self.beat()
        self.assertIsNone(self.dead.activated)

    def assert_left(self, status):
        self.assertEqual(len(self.queue.parked), 0)
        self.assertIs(self.job.status, status)
        self.assertIs(self.job.agent, self.dead['main'])
        self.assertEqual(self.queue.dispatchers.left, ((DEAD, True),))

    def assert_settled(self):
        self.assertEqual(len(self.dead['main']), 0)
        self.assertEqual(self.queue.dispatchers.left, ())

    def reason(self):
        return self.queue.parked.find(u64(self.job._p_oid)).reason


class TakenByAnother(Case):
    """Whoever has the code takes it."""

    def setUp(self):
        super().setUp()
        self.somebody_else()

    def new_one(self):
        self.new = self.start(NEW)
        self.poll(3)

    def test_one_that_was_begun(self):
        self.leave_behind()
        self.old = self.start(OLD)
        self.outlive()
        self.assert_left(ACTIVE)
        self.new_one()
        self.assertEqual(self.job.result, 42)
        self.assertEqual(self.job.getRetryPolicy().data['interruptions'], 1)
        self.assertEqual(self.job._deaths, 1)
        self.assert_settled()

    def test_one_that_was_only_claimed(self):
        self.leave_behind(begin=False)
        self.old = self.start(OLD)
        self.outlive()
        self.assert_left(ASSIGNED)
        self.new_one()
        self.assertEqual(self.job.result, 42)
        self.assertIsNone(self.job._retry_policy)
        self.assert_settled()

    def test_one_that_has_its_result(self):
        self.leave_behind(callback=True)
        execution.settle(self.job, 21)
        transaction.commit()
        self.old = self.start(OLD)
        self.outlive()
        self.assert_left(CALLBACKS)
        self.new_one()
        self.assertEqual(self.job.callbacks[0].result, 42)
        self.assertIs(self.job.status, COMPLETED)
        self.assert_settled()

    def test_one_that_may_run_only_once(self):
        self.leave_behind(retry_policy_factory=NeverRetry)
        self.old = self.start(OLD)
        self.outlive()
        self.assert_left(ACTIVE)
        self.new_one()
        self.assertIn('interrupted', self.job.result.getErrorMessage())

    def test_others_are_not_left(self):
        self.leave_behind()
        second = self.queue.put(test_rolling.Job(multiply, 2, 2))
        self.assertIs(self.dead['main'].claimJob(), second)
        execution.begin(second)
        transaction.commit()
        self.old = self.start(OLD)
        self.outlive()
        self.poll()
        self.assertEqual(second.result, 4)
        self.assert_left(ACTIVE)

    def test_from_an_agent_that_was_removed(self):
        self.leave_behind()
        agent = self.dead['main']
        del self.dead['main']
        transaction.commit()
        self.old = self.start(OLD)
        self.outlive()
        self.assertIs(self.job.agent, agent)
        self.assertEqual(self.dead.retired, (agent,))
        self.new_one()
        self.assertEqual(self.job.result, 42)
        self.assertEqual(self.dead.retired, ())

    def test_nothing_is_written_while_it_waits(self):
        self.leave_behind()
        self.old = self.start(OLD)
        self.outlive()
        before = self.queue.dispatchers._p_serial
        self.poll(5)
        self.assertEqual(self.queue.dispatchers._p_serial, before)
        self.assert_left(ACTIVE)

    def test_the_next_process_of_the_same_instance(self):
        self.leave_behind()
        self.old = self.start(OLD)
        self.outlive()
        self.start(DEAD)
        self.poll(3)
        self.assertEqual(self.job.result, 42)
        self.assertEqual(self.job.getRetryPolicy().data['interruptions'], 1)
        self.assertEqual(self.queue.dispatchers.left, ())


class Parked(Case):
    """Nobody takes it."""

    def test_at_once_by_one_that_is_alone(self):
        self.leave_behind()
        self.old = self.start(OLD)
        self.poll(8)
        self.assertIsNone(self.dead.activated)
        self.assertIn('Rolling is gone', self.reason())
        self.assert_settled()

    def test_after_an_hour(self):
        self.interval = 20
        self.somebody_else()
        self.leave_behind()
        self.old = self.start(OLD)
        self.outlive(50 * 60)
        self.assert_left(ACTIVE)
        self.outlive(12 * 60)
        self.assertIn('Rolling is gone', self.reason())
        self.assert_settled()

    def test_when_its_dispatcher_is_forgotten(self):
        self.somebody_else()
        self.leave_behind()
        self.old = self.start(OLD)
        self.outlive()
        with self.old.db.transaction() as connection:
            queue = connection.root()[test_rolling.KEY]['']
            queue.dispatchers.unregister(DEAD)
        transaction.begin()
        self.assertIn('Rolling is gone', self.reason())
        self.assertEqual(self.queue.dispatchers.left, ())
        self.queue.parked.rerun(self.job)
        transaction.commit()
        self.start(NEW)
        self.poll(3)
        self.assertEqual(self.job.result, 42)
        self.assertIsNot(self.job.status, PARKED)
