"""What a process leaves half done is done by whoever comes after it.

Each of these was a run of the simulation, `faults.simulation`, that went wrong.
"""
import unittest
import uuid
from unittest import mock

import transaction
from twisted.internet.defer import Deferred
from ZODB.POSException import ReadConflictError

from . import contracts
from .test_dispatcher import VirtualCase
from ..agent import Agent
from ..failures import is_failure
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import NEW
from ..interfaces import PARKED
from ..job import Job
from ..job import NeverRetry
from ..model import callbacks
from ..model import execution
from ..model import outcomes
from ..model import recovery
from ..model import retry
from ..model.outcomes import Outcome
from ..model.workflow import Course
from ..runtime import attempt
from ..runtime import effects
from ..runtime import unstored
from ..runtime.worker import Ticket
from ..threadlocal import local
from .contracts import add
from .contracts import FIRST
from .contracts import nothing

#: What callbacks were called with; emptied before each test.
SEEN = []
#: The dispatcher whose process is gone.
GONE = uuid.UUID(int=2)


def note(*args):
    """Remember what it was called with."""
    SEEN.append(args)
    return len(SEEN)


def note_agent(*args):
    """Remember which agent holds what this is a callback of."""
    SEEN.append(local.getAgentName())


def spoil(*args):
    """Fail."""
    raise ValueError('as told')


def is_told(failure):
    """Remember of which failure it is told."""
    SEEN.append(failure.type.__name__)


def never(*args):
    """Bring a result that never comes."""
    SEEN.append(args)
    return Deferred()


class LeftBehind(VirtualCase):
    """Another process has died while it held a job that has its result."""

    def setUp(self):
        super().setUp()
        del SEEN[:]
        dispatchers = self.queue.dispatchers
        dispatchers.register(GONE)
        self.gone = dispatchers[GONE]
        self.gone.activate()
        self.gone['main'] = Agent()
        self.job = Job(add, 1, 2)

    def settle_there(self):
        """Have the other process claim and run the job, but not its callbacks."""
        self.queue.put(self.job)
        self.gone['main'].claimJob()
        execution.begin(self.job)
        execution.settle(self.job, 3)
        transaction.commit()

    def take_over(self):
        """Declare the other process dead, and go on with its job."""
        self.gone.deactivate(died=True)
        transaction.commit()
        self.finish(self.job)

    def test_a_callback_that_was_chosen_and_not_begun_is_run(self):
        proxy = self.job.addCallbacks(success=note)
        self.settle_there()
        proxy.choose(3)
        self.take_over()
        self.assertEqual(SEEN, [(3,)])
        self.assertEqual((proxy.status, proxy.result), (COMPLETED, 1))

    def test_a_callback_that_was_chosen_and_begun_is_run_again(self):
        proxy = self.job.addCallbacks(success=note)
        self.settle_there()
        execution.begin(proxy.choose(3))
        self.take_over()
        self.assertEqual(SEEN, [(3,)])
        self.assertEqual((proxy.status, proxy.result), (COMPLETED, 1))

    def test_a_callback_that_was_chosen_and_may_run_once_is_given_up(self):
        proxy = self.job.addCallbacks(success=note, retry_policy_factory=NeverRetry)
        after = proxy.addCallbacks(failure=nothing)
        self.settle_there()
        execution.begin(proxy.choose(3))
        self.take_over()
        self.assertEqual(SEEN, [])
        self.assertEqual(proxy.result.type.__name__, 'AbortedError')
        self.assertIs(after.status, COMPLETED)

    def test_a_callback_that_waits_for_a_deferred_of_the_process_is_run_again(self):
        callback = self.job.addCallback(note)
        below = callback.addCallback(note)
        self.settle_there()
        execution.begin(callback)
        execution.await_deferred(callback)
        self.take_over()
        self.assertEqual(SEEN, [(3,), (1,)])
        self.assertIs(below.status, COMPLETED)

    def test_what_a_deferred_brings_to_another_after_the_take_over_is_dropped(self):
        callback = self.job.addCallback(note)
        self.settle_there()
        execution.begin(callback)
        execution.await_deferred(callback)
        self.gone.deactivate(died=True)
        outcome = Outcome(callback._p_oid, 'unnamed', callback._attempt, 'late')
        self.assertFalse(outcomes.apply(callback, outcome, ()))
        self.assertIs(callback.status, ACTIVE)

    def test_a_callback_that_waits_for_a_deferred_of_this_process_is_left_alone(self):
        callback = self.job.addCallback(never)
        self.put(self.job)
        for _number in range(4):
            self.poll()
        self.assertEqual(SEEN, [(3,)])
        self.assertIs(callback.status, ACTIVE)

    def while_it_is_decided(self, act):
        """Have *act* done, once, while a callback that was begun is decided about."""
        decide, acts = retry.decide_interrupted, [act]

        def decided(job, *args, **kw):
            while acts:
                acts.pop()()
            return decide(job, *args, **kw)

        patch = mock.patch.object(retry, 'decide_interrupted', decided)
        patch.start()
        self.addCleanup(patch.stop)

    def elsewhere(self, work):
        """Commit *work*, called with the queue, as another process would."""
        manager = transaction.TransactionManager(explicit=True)
        connection = self.db.open(manager)
        with manager:
            work(connection.root()[KEY][''])
        connection.close()

    def test_a_result_that_comes_after_all_is_not_taken_back(self):
        callback = self.job.addCallback(note)
        self.settle_there()
        execution.begin(callback)
        transaction.commit()
        self.while_it_is_decided(lambda: self.elsewhere(
            lambda queue: execution.settle(queue._p_jar.get(callback._p_oid), 'late')))
        self.take_over()
        self.assertEqual((callback.status, callback.result), (COMPLETED, 'late'))
        self.assertEqual(SEEN, [])

    def test_who_was_declared_dead_decides_nothing(self):
        callback = self.job.addCallback(note, retry_policy_factory=NeverRetry)
        self.settle_there()
        execution.begin(callback)
        transaction.commit()

        def declare_dead(queue):
            queue.dispatchers[self.dispatcher.UUID].deactivate(died=True)

        self.while_it_is_decided(lambda: self.elsewhere(declare_dead))
        self.gone.deactivate(died=True)
        transaction.commit()
        self.poll()
        self.assertIs(callback.status, ACTIVE)
        self.assertIs(self.job.agent, None)

    def test_callbacks_of_what_others_hold_by_now_are_left_to_them(self):
        callback = self.job.addCallback(note)
        self.settle_there()
        ticket = Ticket(self.job._p_oid, 'unnamed', 1, ('', 'main'))
        self.dispatcher._turns.hand_out([ticket])
        self.settle()
        self.assertEqual((SEEN, callback.status), ([], NEW))
        self.take_over()
        self.assertEqual(SEEN, [(3,)])

    def test_who_was_declared_dead_goes_on_to_no_other_callback(self):
        self.job.addCallback(note)
        second = self.job.addCallback(note)

        def declare_dead(queue):
            queue.dispatchers[self.dispatcher.UUID].deactivate(died=True)
            # and another claims it
            queue.dispatchers[GONE]['main'].claimJob()

        acts = [lambda: self.elsewhere(declare_dead)]

        def is_current(connection):
            # after the first
            while SEEN and acts:
                acts.pop()()
            return effects.is_current(connection)

        with mock.patch.object(unstored, 'is_current', is_current):
            self.put(self.job)
            self.poll()
        self.assertEqual((SEEN, second.status, acts), ([(3,)], NEW, []))
        self.assertIs(self.job.agent, self.gone['main'])

    def test_nor_does_it_store_that_a_callback_has_failed(self):
        callback = self.job.addCallback(spoil)

        def declare_dead(queue):
            queue.dispatchers[self.dispatcher.UUID].deactivate(died=True)
            queue.dispatchers[GONE]['main'].claimJob()

        acts = [lambda: self.elsewhere(declare_dead)]
        store = attempt.Attempts._store

        def stored(attempts, change):
            while acts:
                acts.pop()()
            return store(attempts, change)

        with mock.patch.object(attempt.Attempts, '_store', stored):
            self.put(self.job)
            self.poll()
        self.assertEqual((callback.status, acts), (NEW, []))

    def test_callbacks_of_a_job_that_nobody_holds_are_done_by_who_claims_it(self):
        inner, outer = self.job, Job(nothing)
        outer.addCallback(note_agent)
        self.queue.put(outer)
        self.gone['main'].claimJob()
        execution.begin(outer)
        self.queue.put(inner)
        execution.await_job(outer, inner)
        self.gone.deactivate(died=True)
        transaction.commit()
        self.assertIsNone(outer.agent)
        self.finish(outer)
        self.assertEqual(SEEN, ['main'])

    def discarded(self):
        """Let the process die of the job twice more; park and discard the job."""
        self.job._deaths = 2
        self.gone.deactivate(died=True)
        self.assertIs(self.job.status, PARKED)
        self.queue.parked.discard(self.job)
        transaction.commit()
        self.finish(self.job)

    def test_a_callback_that_kills_is_not_called_again_when_the_job_is_discarded(self):
        first, deadly = self.job.addCallback(note), self.job.addCallback(note)
        after = deadly.addCallbacks(failure=is_told)
        last = self.job.addCallback(note)
        self.settle_there()
        execution.begin(first)
        execution.settle(first, 'done')
        self.discarded()
        self.assertEqual(SEEN, ['AbortedError', (3,)])
        self.assertEqual([one.status for one in (first, deadly, after, last)],
                         [COMPLETED] * 4)

    def test_nor_one_that_was_chosen(self):
        proxy = self.job.addCallbacks(success=note)
        self.settle_there()
        execution.begin(proxy.choose(3))
        self.discarded()
        self.assertEqual((SEEN, proxy.status), ([], COMPLETED))

    def test_a_workflow_is_told_of_a_part_all_the_same(self):
        course = Course(Job(nothing), Job(nothing), 1)
        arrival = self.job.addCallback(course.arrive)
        deadly = self.job.addCallback(note)
        self.settle_there()
        self.discarded()
        self.assertEqual((course.arrived, is_failure(arrival.result)), (1, False))
        self.assertEqual((SEEN, is_failure(deadly.result)), ([], True))

    def test_nor_the_choice(self):
        proxy = self.job.addCallbacks(success=note)
        self.settle_there()
        self.discarded()
        self.assertEqual((SEEN, proxy.status), ([], COMPLETED))


class Strays(VirtualCase):
    """A claim was committed, and the dispatcher was not told."""

    def test_jobs_of_an_agent_that_was_replaced_meanwhile_are_worked_on(self):
        job = self.put(add, 1, 2)
        old = self.agents['main']
        old.claimJob()
        self.agents['main'] = Agent()
        transaction.commit()
        self.assertEqual(self.finish(job), 3)
        self.assertEqual(len(old), 0)


class InLine(contracts.InWorld, unittest.TestCase):
    """Jobs that wait in line with callbacks left to do, and others do these."""

    def test_a_job_that_is_given_up_is_found_among_the_completed(self):
        agent = self.world.add_dispatcher(size=100)
        job = self.put()
        job.retry_policy_factory = NeverRetry
        recovery.hand_back(agent, self.begun(job), self.queue, died=True)
        self.client.commit()
        self.assertEqual((job.status, list(agent.completed)), (COMPLETED, [job]))
        self.assertEqual((list(agent), list(self.queue)), ([], []))

    def test_a_job_whose_callbacks_others_do_is_completed_by_who_claims_it(self):
        agent = self.world.add_dispatcher(size=100)
        outer, inner = self.begun(self.put()), self.begun(self.put())
        execution.await_job(outer, inner)
        execution.settle(inner, 7)
        execution.settle(outer, 7)
        self.client.commit()
        recovery.hand_back(agent, outer, self.queue, died=True)
        self.client.commit()
        self.assertEqual((list(self.queue), outer.status), ([outer], CALLBACKS))
        # who has brought the result goes on with what follows from it
        callbacks.try_finish(outer)
        self.client.commit()
        self.assertEqual((list(self.queue), len(self.queue)), ([outer], 1))
        self.assertIs(self.client.agent(FIRST).claimJob(), outer)
        callbacks.try_finish(outer)
        self.client.commit()
        self.assertIs(outer.status, COMPLETED)
        self.assertNotIn(outer, list(agent))


class RemovedAgent(contracts.InWorld, unittest.TestCase):
    """An agent is removed while its dispatcher claims a job for it."""

    def setUp(self):
        super().setUp()
        self.world.add_dispatcher()
        self.job = self.put()
        self.client.commit()
        self.dispatcher, self.administrator = self.world.open(), self.world.open()
        self.dispatcher.agent(FIRST).claimJob()
        del self.administrator.queue.dispatchers[FIRST]['main']

    def second_conflicts(self, *clients):
        clients[0].commit()
        with self.assertRaises(ReadConflictError):
            clients[1].commit()
        self.client.begin()

    def test_the_claim_fails_where_it_is_later(self):
        self.second_conflicts(self.administrator, self.dispatcher)
        self.assertEqual(list(self.queue), [self.job])

    def test_the_removal_fails_where_it_is_later(self):
        self.second_conflicts(self.dispatcher, self.administrator)
        self.assertIs(self.job.agent, self.client.agent(FIRST))
        self.administrator.begin()
        agents = self.administrator.queue.dispatchers[FIRST]
        del agents['main']
        self.assertEqual([len(one) for one in agents.retired], [1])
