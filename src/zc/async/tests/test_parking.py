"""Parked jobs: how they come there, how they are looked at, how they leave."""
import logging
import sys
import types
import unittest
import uuid
from unittest import mock

import transaction
from twisted.internet.defer import Deferred
from ZODB.broken import broken_cache
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import u64

from . import contracts
from . import test_dispatcher
from .. import agent as agents_module
from .. import interfaces
from .. import queue as queue_module
from .. import testing
from ..agent import Agent
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import BadStatusError
from ..interfaces import BrokenCallError
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import NotParkedError
from ..interfaces import PARKED
from ..interfaces import PENDING
from ..job import Job
from ..job import NeverRetry
from ..model import call
from ..model import execution
from ..model import parking
from ..model import recovery
from ..queue import Queue
from .contracts import FIRST
from .contracts import SECOND
from .contracts import START
from .contracts import nothing
from .test_dispatcher import block
from .test_dispatcher import Case
from .test_dispatcher import EARLIER
from .test_dispatcher import event
from .test_dispatcher import Gone
from .test_dispatcher import multiply
from .test_dispatcher import NEIGHBOUR
from .test_dispatcher import VirtualCase

WHY = 'for the test'
#: Not imported by its name, or its tests would be run here too.
_OVER = test_dispatcher.TakingOver


deferreds = []


def return_deferred(result):
    deferreds.append(Deferred())
    return deferreds[-1]


def exits():
    raise SystemExit


class InParking(contracts.InWorld):

    def parked(self, *args, **options):
        """Return a job that was put and parked."""
        job = args[0] if args and isinstance(args[0], Job) else self.put(*args, **options)
        parking.park(job, WHY)
        self.client.commit()
        return job

    def mine(self, job):
        """Return *job* as a new connection sees it, and its queue."""
        other = self.world.open()
        return other.mine(job), other.queue


class Keeping(InParking, unittest.TestCase):
    """What `IParked` promises."""

    def test_the_entry_tells_what_when_and_why(self):
        job = self.parked()
        entry, = self.queue.parked
        self.assertIs(entry.job, job)
        self.assertEqual((entry.reason, entry.at, entry.deaths, entry.kind),
                         (WHY, START, 0, 'zc.async.tests.contracts.nothing'))
        self.assertTrue(interfaces.IParkedJob.providedBy(entry))
        self.assertEqual(self.queue.parked.entry(job), entry)
        self.assertEqual(self.queue.parked.find(u64(job._p_oid)), entry)
        self.assertEqual(
            self.queue.parked.find(u64(job._p_oid), 'unnamed'), entry)

    def test_it_provides_the_interface(self):
        contracts.verifyObject(interfaces.IParked, self.queue.parked)
        self.assertIs(self.queue.parked.parent, self.queue)

    def test_they_are_given_the_oldest_first(self):
        jobs = []
        for _number in range(70):  # more than one bucket
            jobs.append(self.parked())
            self.world.clock.advance()
        self.assertEqual([entry.job for entry in self.queue.parked], jobs)
        self.assertEqual(len(self.queue.parked), 70)
        self.assertEqual([entry.at for entry in self.queue.parked][2], START + 2 * SECOND)

    def test_a_parked_job_is_nowhere_else(self):
        self.queue.quotas.create('q')
        waiting = self.put(quotas=('q',))
        self.parked(waiting)
        held = self.parked(self.claimed(self.put(quotas=('q',))))
        for job in (waiting, held):
            self.assertIs(job.status, PARKED)
            self.assertIs(job.queue, self.queue)
            self.assertIsNone(job.agent)
            self.assertIn(job, self.queue.parked)
            self.assertNotIn(job, self.queue)
        self.assertEqual(list(self.queue), [])
        self.assertEqual(len(self.queue), 0)
        self.assertEqual(list(self.client.agent()), [])
        self.assertEqual(list(self.queue.quotas['q']), [])
        self.assertIsNone(self.queue.claim())

    def test_it_is_stored(self):
        job, queue = self.mine(self.parked())
        self.assertIs(job.status, PARKED)
        self.assertEqual([entry.job for entry in queue.parked], [job])

    def test_a_parked_job_can_do_nothing(self):
        job = self.parked()
        for refused in (job, job.fail, job.handleInterrupt, job.resumeCallbacks,
                        lambda: self.queue.put(job), lambda: parking.park(job, WHY)):
            with self.assertRaises(BadStatusError):
                refused()

    def test_a_quota_does_not_count_one_that_was_left_in_it(self):
        self.queue.quotas.create('q')
        job = self.parked(quotas=('q',))
        self.queue.quotas['q'].add(job)
        self.queue.quotas['q'].clean()
        self.assertEqual(len(self.queue.quotas['q']), 0)

    def test_listing_loads_no_job(self):
        job = self.parked()
        other = self.world.open()
        entry, = other.queue.parked
        self.assertEqual(entry.reason, WHY)
        self.assertIsNone(entry.job._p_changed, 'it is a ghost')
        self.assertEqual(entry.job._p_oid, job._p_oid)

    def test_a_reason_is_one_short_line(self):
        job = self.put()
        parking.park(job, 'a\nb\x1b' + 1000 * 'x')
        entry, = self.queue.parked
        self.assertTrue(entry.reason.startswith(r'a\x0ab\x1b'))
        self.assertLess(len(entry.reason), 320)

    def test_a_hundred_thousand_cost_a_look_nothing(self):
        queue = self.queue
        stored = (self.parked(), WHY, 0, None)
        queue.parked._data.update(
            {b'%018d' % number: stored for number in range(100_000)})
        queue.parked._keys.update(
            {b'%08d' % number: b'%018d' % number for number in range(100_000)})
        self.client.commit()
        other = self.world.open()
        other.connection.getTransferCounts(clear=True)
        job = other.mine(stored[0])
        self.assertIn(job, other.queue.parked)
        other.queue.parked.entry(job)
        loaded, _stored = other.connection.getTransferCounts()
        self.assertLess(loaded, 20)

    def test_two_processes_park_at_once(self):
        first, second = self.put(), self.put()
        self.client.commit()
        one, other = self.world.open(), self.world.open()
        parking.park(one.mine(first), WHY)
        parking.park(other.mine(second), WHY)
        one.commit(), other.commit()
        self.client.begin()
        self.assertEqual({entry.job for entry in self.queue.parked}, {first, second})
        self.assertEqual(len(self.queue.parked), 2)

    def test_a_queue_that_was_made_before_gets_it_with_the_first_job(self):
        self.queue._parked = None
        self.client.commit()
        last = self.world.storage.lastTransaction()
        self.assertEqual(list(self.queue.parked), [])
        self.assertEqual(len(self.queue.parked), 0)
        self.client.commit()
        self.assertEqual(self.world.storage.lastTransaction(), last)
        job, queue = self.mine(self.parked())
        self.assertEqual([entry.job for entry in queue.parked], [job])

    def test_a_queue_that_is_emptied_has_none(self):
        self.parked()
        self.queue.__init__()
        self.assertEqual(list(self.queue.parked), [])

    def test_raw_gives_the_stored_bytes_of_job_and_call(self):
        job = self.parked(nothing, 'an argument')
        raw = self.queue.parked.raw(job)
        load = self.world.storage.load
        self.assertEqual(raw.job, load(job._p_oid)[0])
        self.assertEqual(raw.call, load(job._call._p_oid)[0])
        self.assertIn(b'an argument', raw.call)

    def test_a_job_that_is_not_here_is_refused(self):
        job, parked = self.put(), self.queue.parked
        for refused in (parked.rerun, parked.discard, parked.raw, parked.entry,
                        lambda one: parked.move(one, self.queue),
                        lambda one: parked.find(u64(one._p_oid))):
            with self.refused(NotParkedError, "''"):
                refused(job)
        self.assertNotIn(job, parked)
        self.assertNotIn(Job(nothing), parked)


class Deciding(InParking, unittest.TestCase):
    """`rerun`, `discard` and `move`."""

    def finish(self, job):
        """Let *job* be done by whoever claims it."""
        self.assertIs(self.queue.claim(), job)
        self.client.agent().hold(job)
        job()

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=100)

    def assertAway(self, job):
        self.assertNotIn(job, self.queue.parked)
        self.assertEqual((list(self.queue.parked), len(self.queue.parked)), ([], 0))

    def test_rerun_puts_it_at_the_end_of_the_line(self):
        job, other = self.put(), self.put()
        self.parked(job)
        self.world.clock.advance()
        self.queue.parked.rerun(job)
        self.assertAway(job)
        self.assertIs(job.status, PENDING)
        self.assertEqual(list(self.queue), [other, job])

    def test_rerun_begins_the_time_anew(self):
        job = self.put(begin_by=SECOND)
        self.parked(job)
        self.world.clock.advance(10 * SECOND)
        self.queue.parked.rerun(job)
        self.assertIs(self.queue.claim(), job)

    def test_rerun_forgets_what_was_missing(self):
        self.world.add_dispatcher(contracts.SECOND_ONE)
        job = self.begun(self.put())
        self.assertTrue(parking.set_aside(job, 'a.b', FIRST))
        self.assertEqual(job._lacks[0], 'a.b')
        self.assertIn(job, self.queue)
        self.parked(job)
        self.assertEqual(list(self.queue), [])
        self.queue.parked.rerun(job)
        self.assertIsNone(job._lacks)
        self.assertEqual(list(self.queue), [job])

    def test_rerun_of_one_with_a_result_goes_on_with_its_callbacks(self):
        job = self.put()
        job.addCallback(nothing)
        execution.settle(self.begun(job), 42)
        self.parked(job)
        self.assertIs(job.status, PARKED)
        self.queue.parked.rerun(job)
        self.assertAway(job)
        self.assertIs(job.status, CALLBACKS)
        self.assertIs(self.queue.claim(), job)
        self.assertEqual(job.result, 42)

    def test_an_active_one_runs_again_from_the_start(self):
        job = self.begun(self.put())
        self.parked(job)
        self.queue.parked.rerun(job)
        self.assertIs(self.queue.claim(), job)
        self.agent.hold(job)
        execution.begin(job)
        self.assertEqual(job._attempt, 2)

    def test_discard_lets_it_fail_and_tells_its_callbacks(self):
        job = self.put()
        callback = job.addCallback(contracts.echo)
        self.parked(job)
        self.queue.parked.discard(job)
        self.assertAway(job)
        self.assertIs(job.status, CALLBACKS)
        self.assertTrue(job.result.check(AbortedError))
        self.assertIn(WHY, job.result.getErrorMessage())
        self.client.commit()
        self.queue.claim()
        for node in execution.callbacks.walk(job, execution._Here()):
            execution.callbacks.try_finish(node)
        self.assertEqual((job.status, callback.result), (COMPLETED, job.result))

    def test_discard_of_one_that_nothing_follows_from_ends_it(self):
        job = self.parked()
        self.queue.parked.discard(job)
        self.assertAway(job)
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(list(self.queue), [])

    def test_discard_of_what_lets_a_late_job_fail_lets_it_fail(self):
        late = self.put(begin_by=SECOND)
        callback = late.addCallback(nothing)
        self.world.clock.advance(10 * SECOND)
        stand_in = self.queue.claim()
        self.assertIsNot(stand_in, late)
        self.agent.hold(stand_in)
        self.parked(stand_in)
        self.queue.parked.discard(stand_in)
        self.assertIs(stand_in.status, COMPLETED)
        self.assertTrue(late.result.check(interfaces.TimeoutError))
        self.assertEqual((late.status, callback.status), (CALLBACKS, interfaces.NEW))
        self.assertEqual(list(self.queue), [late])

    def test_discard_of_one_with_a_result_keeps_it(self):
        job = self.put()
        callback = job.addCallback(nothing)
        execution.settle(self.begun(job), 42)
        self.parked(job)
        self.queue.parked.discard(job)
        self.assertEqual((job.status, job.result), (CALLBACKS, 42))
        self.assertIs(callback.status, interfaces.NEW)
        self.assertIs(self.queue.claim(), job)

    def test_move_puts_it_into_another_queue(self):
        other = self.client.root[interfaces.KEY]['other'] = Queue()
        job = self.parked()
        self.queue.parked.move(job, other)
        self.client.commit()
        self.assertAway(job)
        self.assertEqual((list(self.queue), list(other)), ([], [job]))
        self.assertIs(job.queue, other)

    def test_move_is_refused_where_the_quotas_are_missing(self):
        other = self.client.root[interfaces.KEY]['other'] = Queue()
        self.queue.quotas.create('q')
        job = self.parked(quotas=('q',))
        with self.refused(ValueError, 'unknown quota name'):
            self.queue.parked.move(job, other)
        self.assertIn(job, self.queue.parked)

    def test_move_is_refused_where_there_is_no_queue(self):
        job = self.parked()
        for nonsense in (None, 'other', Queue()):
            with self.refused(ValueError, 'no queue of the same database'):
                self.queue.parked.move(job, nonsense)


class Poison(InParking, unittest.TestCase):
    """A job in three deaths of its process is run no more."""

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=100)

    def die(self, died=True):
        """Let the process of the dispatcher die and be there again."""
        agents = self.queue.dispatchers[FIRST]
        agents.deactivate(died=died)
        agents.activate()
        self.client.commit()

    def die_with(self, job, times):
        for _number in range(times):
            self.begun(job)
            self.die()

    def test_two_deaths_are_not_enough(self):
        job = self.put()
        self.die_with(job, 2)
        self.assertIs(job.status, PENDING)
        self.assertEqual(job._deaths, 2)

    def test_three_are(self):
        job = self.put()
        self.die_with(job, 3)
        self.assertIs(job.status, PARKED)
        entry, = self.queue.parked
        self.assertEqual((entry.job, entry.deaths), (job, 3))
        self.assertEqual(
            entry.reason, 'its process died three times while it was running')
        self.assertEqual(list(self.queue), [])

    def test_each_is_an_interruption_too(self):
        job = self.put()
        self.die_with(job, 2)
        self.assertEqual(job.getRetryPolicy().data['interruptions'], 2)

    def test_the_count_survives_attempts_that_end_otherwise(self):
        job = self.put()
        self.die_with(job, 2)
        recovery.reschedule(self.begun(job), SECOND)
        self.world.clock.advance()
        self.client.commit()
        self.die_with(job, 1)
        self.assertIs(job.status, PARKED)

    def test_a_rerun_resets_it(self):
        job = self.put()
        self.die_with(job, 3)
        self.queue.parked.rerun(job)
        self.assertNotIn('_deaths', job.__getstate__())
        self.die_with(job, 2)
        self.assertIs(job.status, PENDING)

    def test_it_is_stored_only_where_there_was_a_death(self):
        job = self.begun(self.put())
        self.assertNotIn('_deaths', job.__getstate__())

    def test_a_process_that_is_stopped_in_order_is_no_death(self):
        job = self.put()
        for _number in range(5):
            self.begun(job)
            self.die(died=False)
        self.assertIs(job.status, PENDING)
        self.assertEqual(job._deaths, 0)

    def test_a_job_that_was_not_begun_counts_none(self):
        job = self.put()
        for _number in range(5):
            self.claimed(job)
            self.die()
        self.assertEqual((job.status, job._deaths), (PENDING, 0))

    def test_a_job_that_waits_for_another_counts_none(self):
        job, inner = self.put(), self.put()
        execution.await_job(self.begun(job), inner)
        for _number in range(4):
            self.die()
        self.assertEqual((job.status, job._deaths), (ACTIVE, 0))

    def test_callbacks_that_end_processes_are_parked_with_their_job(self):
        job = self.put()
        job.addCallback(nothing)
        execution.settle(self.begun(job), 42)
        for _number in range(3):
            self.client.commit()
            self.assertIs(job.status, CALLBACKS)
            self.die()
            if job.status is CALLBACKS:
                self.agent.hold(self.queue.claim())
        self.assertIs(job.status, PARKED)
        self.assertEqual(job.result, 42)

    def test_a_policy_that_allows_no_second_attempt_decides_first(self):
        job = self.put(retry_policy_factory=NeverRetry)
        self.begun(job)._deaths = 2
        self.die()
        self.assertIs(job.status, COMPLETED)
        self.assertTrue(job.result.check(AbortedError))
        self.assertEqual(list(self.queue.parked), [])

    def test_the_number_is_the_queues(self):
        self.queue.deaths_before_parking = 1
        job = self.put()
        self.die_with(job, 1)
        self.assertIs(job.status, PARKED)

    def test_none_means_never(self):
        with mock.patch.object(Queue, 'deaths_before_parking', None):
            job = self.put()
            self.die_with(job, 5)
        self.assertEqual((job.status, job._deaths), (PENDING, 5))

    def test_a_neighbour_that_takes_over_counts_it(self):
        job = self.begun(self.put())
        self.world.add_dispatcher(contracts.SECOND_ONE)
        self.world.clock.advance(20 * SECOND)
        self.queue.dispatchers.ping(contracts.SECOND_ONE)
        self.assertEqual(job._deaths, 1)


class DeadProcesses(Case):
    """Real dispatchers: what is a death to them, and what is not."""

    begin, start, pass_time = _OVER.begin, _OVER.start, _OVER.pass_time
    settle, stop = VirtualCase.settle, VirtualCase.stop

    def left_active(self):
        """Return a job that a process, now gone, had begun."""
        self.begin()
        job = Job(multiply, 6, 7)
        Gone(self.queue, EARLIER, job)
        execution.begin(job)
        transaction.commit()
        return job

    def test_a_restarted_instance_counts_it(self):
        job = self.left_active()
        job._deaths = 2
        transaction.commit()
        self.start()
        self.pass_time(5)
        self.assertIs(job.status, PARKED)
        self.assertEqual(self.queue.parked.entry(job).deaths, 3)
        self.assertEqual(len(self.queue.dispatchers[EARLIER]['main']), 0)

    def test_a_neighbour_counts_it(self):
        job = self.left_active()
        job._deaths = 2
        transaction.commit()
        self.start(NEIGHBOUR)
        self.pass_time(30)
        self.assertIs(job.status, PARKED)

    def test_the_second_death_is_survived(self):
        job = self.left_active()
        job._deaths = 1
        transaction.commit()
        self.start()
        self.pass_time(5)
        self.assertEqual((job.result, job._deaths), (42, 2))


class NoDeaths(VirtualCase):

    def test_a_thread_that_ends_is_none(self):
        job = self.put(exits)
        for _number in range(4):
            self.poll()
        transaction.begin()
        self.assertGreater(job._attempt, 3)
        self.assertEqual((job._deaths, len(self.queue.parked)), (0, 0))

    def test_a_dispatcher_that_is_stopped_in_order_is_none(self):
        self.dispatcher.shutdown_grace = 0
        job = self.put(block, 'go')
        self.reactor.time_flies(5)
        self.assertTrue(event('begun').wait(5))
        self.dispatcher.deactivate()
        transaction.begin()
        self.assertEqual((job.status, job._deaths), (PENDING, 0))
        event('go').set()


class Passing(VirtualCase):
    """With a module that comes and goes, and a dispatcher that works alone."""

    NAME = 'zc_async_passing'

    def setUp(self):
        super().setUp()
        self.module = types.ModuleType(self.NAME)
        self.module.Job, self.module.runs = Job, []
        exec(SOURCE, self.module.__dict__)
        self.appear()
        self.addCleanup(self.vanish)
        self.addCleanup(broken_cache.clear)
        logging.getLogger('zc.async').propagate = False
        self.addCleanup(setattr, logging.getLogger('zc.async'), 'propagate', True)

    def appear(self):
        sys.modules[self.NAME] = self.module

    def vanish(self):
        sys.modules.pop(self.NAME, None)

    def forget(self):
        """Let all connections load what they use anew, as a new process would."""
        transaction.abort()
        self.db.cacheMinimize()

    def gone(self, job):
        """Put *job* and let the module be gone."""
        self.put(job)
        self.vanish()
        self.forget()
        return job

    def reason(self, job):
        transaction.begin()
        return self.queue.parked.find(u64(job._p_oid)).reason

    def assertOthersWork(self):
        job = self.put(multiply, 6, 7)
        self.poll()
        transaction.begin()
        self.assertEqual(job.result, 42)
        self.assertEqual(len(self.agents['main']), 0)


SOURCE = """
def run(*args):
    runs.append(args)
    return len(runs)

class Passing(Job):
    pass

class Argument:
    pass

def policy(job):
    raise RuntimeError
"""


class MissingCode(Passing):
    """Nobody else is there: the job is parked at once, and runs when it is back."""

    def parks(self, job, text):
        """Let *job* be parked for a reason with *text*; others work on."""
        self.gone(job)
        self.poll()
        transaction.begin()
        self.assertIn(text, self.reason(job))
        self.assertEqual(len(self.queue), 0)
        self.assertOthersWork()
        return job

    def runs_again(self, job, result=1):
        """Bring the module back, rerun *job*, and let it end."""
        self.appear()
        job = self.queue.parked.find(u64(job._p_oid)).job
        job._p_deactivate()
        self.queue.parked.rerun(job)
        transaction.commit()
        for _number in range(5):  # each connection has to forget what it had loaded
            self.poll()
            transaction.begin()
        self.assertEqual((job.status, job.result), (COMPLETED, result))

    def test_a_function(self):
        job = self.parks(Job(self.module.run, 1), 'zc_async_passing.run cannot be loaded')
        self.assertIs(job.status, PARKED)
        entry = self.queue.parked.entry(job)
        self.assertEqual(entry.kind, 'zc_async_passing.run')
        self.assertEqual((entry.deaths, self.module.runs), (0, []))
        self.runs_again(job)
        self.assertEqual(self.module.runs, [(1,)])

    def test_a_function_of_a_job_that_may_run_only_once(self):
        job = Job(self.module.run)
        job.retry_policy_factory = NeverRetry
        self.parks(job, 'zc_async_passing.run')
        self.assertEqual(job._attempt, 0)
        self.runs_again(job)

    def test_an_argument(self):
        job = self.parks(Job(nothing, self.module.Argument()), '.Argument cannot be')
        self.runs_again(job, None)

    def test_a_method_that_is_gone(self):
        self.connection.root()['it'] = Holder()
        with mock.patch.object(Holder, 'method', lambda self: 7, create=True):
            job = Job(self.connection.root()['it'].method)
            job._call.method = 'method'
            self.put(job)
        self.parks_soon(job, 'Holder.method cannot be loaded')
        with mock.patch.object(Holder, 'method', lambda self: 7, create=True):
            self.runs_again(job, 7)

    def parks_soon(self, job, text):
        self.poll()
        self.assertIn(text, self.reason(job))

    def test_no_policy_is_asked_and_no_attempt_is_lost(self):
        job = self.parks(Job(self.module.run), 'run')
        self.assertIsNone(job._retry_policy)
        self.assertIsNone(job.result)

    def test_a_callback(self):
        job = Job(multiply, 2, 3)
        callback = job.addCallback(self.module.run)
        other = job.addCallback(contracts.echo)
        self.parks(job, 'zc_async_passing.run cannot be loaded')
        self.assertEqual((job.status, job.result), (PARKED, 6))
        self.appear()
        self.queue.parked.rerun(job)
        transaction.commit()
        for _number in range(5):
            self.poll()
            transaction.begin()
        self.assertEqual((job.status, callback.result, other.result), (COMPLETED, 1, 6))
        self.assertEqual(self.module.runs, [(6,)])

    def test_a_callback_that_is_discarded_with_its_job(self):
        job = Job(multiply, 2, 3)
        callback = job.addCallback(self.module.run)
        told = callback.addCallback(contracts.echo)
        other = job.addCallback(contracts.echo)
        self.parks(job, 'zc_async_passing.run cannot be loaded')
        self.queue.parked.discard(job)
        transaction.commit()
        self.poll()
        transaction.begin()
        self.assertEqual((job.status, job.result, other.result), (COMPLETED, 6, 6))
        for node in (callback, told):
            self.assertTrue(node.result.check(BrokenCallError))

    def later(self, following):
        """Let a callback end later, with *following* to do then; return both."""
        job = Job(multiply, 2, 3)
        callback = job.addCallback(return_deferred)
        callback.addCallback(following)
        self.put(job)
        self.poll()
        transaction.begin()
        self.assertIs(callback.status, ACTIVE)
        self.vanish()
        self.forget()
        deferreds.pop().callback(7)
        self.poll()
        self.assertIn('zc_async_passing', self.reason(job))
        self.assertIs(job.status, PARKED)
        self.assertOthersWork()
        return job, callback

    def test_a_callback_of_a_callback_that_ends_later(self):
        job, callback = self.later(self.module.run)
        self.assertEqual((callback.status, callback.result), (CALLBACKS, 7))
        self.runs_again(job, 6)
        self.assertEqual(self.module.runs, [(7,)])
        self.assertIs(callback.status, COMPLETED)

    def test_its_class(self):
        job, callback = self.later(self.module.Passing(contracts.echo))
        self.runs_again(job, 6)
        self.assertIs(callback.status, COMPLETED)

    def test_a_callback_that_may_run_only_once(self):
        job = Job(multiply, 2, 3)
        callback = job.addCallback(self.module.run, retry_policy_factory=NeverRetry)
        self.parks(job, 'zc_async_passing.run cannot be loaded')
        self.assertEqual((callback.status, callback._attempt), (interfaces.NEW, 0))
        self.runs_again(job, 6)
        self.assertEqual((callback.result, self.module.runs), (1, [(6,)]))

    def test_a_call_is_looked_up_again_before_it_is_said_to_be_missing(self):
        job = self.gone(Job(self.module.run, 1))
        self.assertTrue(call.is_broken(job._call.target))
        self.appear()
        self.assertIs(call.resolve(job), self.module.run)

    def test_an_heir_without_the_policy_lets_others_decide(self):
        self.module.Policy = NeverRetry
        exec('class Special(Policy): pass', self.module.__dict__)
        job = Job(multiply, 2, 3)
        job._retry_policy = self.module.Special(job)
        self.put(job)
        self.agents['main'].hold(self.queue.claim())
        execution.begin(job)
        transaction.commit()
        self.vanish()
        heir = self.db.open(transaction.TransactionManager())
        self.addCleanup(heir.close)
        self.addCleanup(heir.transaction_manager.abort)
        queue = heir.root()[interfaces.KEY]['']
        recovery.hand_over(queue.dispatchers[self.dispatcher.UUID], died=True)
        job, = queue
        self.assertEqual((job.status, job.result, job._deaths), (PENDING, None, 1))

    def test_the_class_of_the_job(self):
        job = self.parks(self.module.Passing(multiply, 2, 3), 'zc_async_passing.Passing')
        self.runs_again(job, 6)

    def test_the_class_of_a_callbacks_job(self):
        job = Job(multiply, 2, 3)
        callback = job.addCallback(self.module.Passing(contracts.echo))
        self.parks(job, 'zc_async_passing.Passing cannot be loaded')
        self.assertIs(job.status, PARKED)
        self.runs_again(job, 6)
        self.assertEqual(self.connection.get(callback._p_oid).result, 6)

    def test_a_policy_that_the_record_refers_to(self):
        job = Job(multiply, 2, 3)
        job.retry_policy_factory = self.module.Passing
        self.parks(job, 'zc_async_passing.Passing, which it refers to, is gone')

    def test_one_that_cannot_be_read_cannot_be_run_here(self):
        job = self.parks(self.module.Passing(multiply, 2, 3), 'Passing')
        oid, job = job._p_oid, None
        connection = self.db.open(transaction.TransactionManager())
        self.addCleanup(connection.close)
        queue = connection.root()[interfaces.KEY]['']
        parked = queue.parked
        entry, = parked
        self.assertIsNone(entry.kind)
        for refused in (parked.rerun, lambda one: parked.move(one, queue)):
            with self.assertRaisesRegex(BrokenCallError, 'do it where its code is'):
                refused(entry.job)
        raw = parked.raw(entry.job)
        self.assertIn(b'zc_async_passing', raw.job)
        self.assertIn(b'multiply', raw.call)
        parked.discard(entry.job)
        connection.transaction_manager.commit()
        transaction.begin()
        self.assertEqual(len(self.queue.parked), 0)
        with self.assertRaises(NotParkedError):
            self.queue.parked.find(u64(oid))


class Holder(contracts.PersistentMapping):
    """Its method comes and goes."""


class BrokenRecords(Passing):
    """What cannot be read affects one job."""

    def overwrite(self, obj, data):
        """Let the stored record of *obj* be *data*; None: missing."""
        transaction.commit()
        oid = obj._p_oid
        if data is None:
            self.missing = mock.patch.object(
                type(self.db.storage), 'loadBefore', _without(oid))
            self.missing.start()
            self.addCleanup(self.missing.stop)
        else:
            storage, at = self.db.storage, TransactionMetaData()
            storage.tpc_begin(at)
            storage.store(oid, obj._p_serial, data, '', at)
            storage.tpc_vote(at)
            storage.tpc_finish(at, lambda tid: None)
            self.db._mvcc_storage.invalidateCache()
        self.forget()

    def parks(self, job, text):
        self.poll()
        self.poll()
        transaction.begin()
        self.assertIn(text, self.reason(job))
        self.assertOthersWork()

    def test_the_job_cannot_be_unpickled(self):
        job = self.put(multiply, 6, 7)
        self.overwrite(job, b'no pickle')
        self.parks(job, 'its record cannot be read')
        self.assertEqual(self.queue.parked.raw(job).job, b'no pickle')

    def test_the_job_is_missing(self):
        job = self.put(multiply, 6, 7)
        self.overwrite(job, None)
        self.parks(job, 'POSKeyError')
        raw = self.queue.parked.raw(job)
        self.assertEqual((raw.job, raw.call), (None, None))

    def test_the_call_cannot_be_unpickled(self):
        job = self.put(multiply, 6, 7)
        self.overwrite(job._call, b'no pickle')
        self.parks(job, 'it cannot be worked on')
        self.assertIs(job.status, PARKED)
        self.assertEqual(self.queue.parked.raw(job).call, b'no pickle')
        self.queue.parked.discard(job)
        transaction.commit()
        self.assertIs(job.status, COMPLETED)

    def test_the_call_is_missing(self):
        job = self.put(multiply, 6, 7)
        self.overwrite(job._call, None)
        self.parks(job, 'POSKeyError')

    def test_many_are_parked_and_the_others_are_done(self):
        jobs = [self.put(self.module.Passing(multiply, 2, 3)) for _number in range(7)]
        other = self.put(multiply, 6, 7)
        self.vanish()
        self.forget()
        with mock.patch.object(queue_module, '_AT_ONCE', 3):
            self.poll()
        transaction.begin()
        self.assertEqual(other.result, 42)
        self.assertEqual(len(self.queue.parked), len(jobs))

    def test_one_that_an_agent_holds(self):
        job = self.put(multiply, 6, 7)
        self.queue.quotas.create('q')
        self.queue.quotas['q'].add(job)
        self.agents['main'].hold(self.queue.claim())
        execution.begin(job)
        self.overwrite(job, b'no pickle')
        self.parks(job, 'its record cannot be read')
        self.assertEqual(len(self.queue.quotas['q']), 0)

    def test_one_that_a_dead_dispatcher_held(self):
        gone = uuid.UUID(int=7)
        self.queue.dispatchers.register(gone)
        agents = self.queue.dispatchers[gone]
        agents.activate()
        agents['main'] = Agent()
        broken, other = self.put(multiply, 6, 7), self.put(multiply, 2, 3)
        for job in (broken, other):
            agents['main'].hold(self.queue.claim())
            execution.begin(job)
        self.overwrite(broken, b'no pickle')
        for _number in range(8):
            self.poll()
        transaction.begin()
        self.assertIsNone(agents.activated)
        self.assertEqual(other.result, 6)
        self.assertIn('cannot be read', self.reason(broken))

    def test_a_quota_that_counts_one_is_not_stuck(self):
        job = self.put(multiply, 6, 7)
        self.queue.quotas.create('q')
        self.queue.quotas['q'].add(job)
        self.overwrite(job, b'no pickle')
        other = Job(multiply, 2, 3)
        other.quota_names = ('q',)
        self.put(other)
        self.poll()
        transaction.begin()
        self.assertEqual(other.result, 6)


def _without(oid):
    before = FileStorage.loadBefore

    def load_before(storage, wanted, tid):
        if wanted == oid:
            raise POSKeyError(wanted)
        return before(storage, wanted, tid)

    return load_before


class VanishedThings(Passing):
    """A class of an agent, a quota: the others go on."""

    def setUp(self):
        super().setUp()
        self.module.Agent = agents_module.Agent
        exec('class Special(Agent): pass\n', self.module.__dict__)

    def test_an_agent_whose_class_is_gone(self):
        self.agents['special'] = self.module.Special()
        job = self.put(multiply, 6, 7)
        self.agents['special'].hold(self.queue.claim())
        transaction.commit()
        self.vanish()
        self.forget()
        with self.assertLogs('zc.async.events', 'CRITICAL') as logged:
            self.assertOthersWork()
        self.assertIn("'special'", logged.output[0])
        self.assertIn('zc_async_passing.Special', logged.output[0])
        self.dispatcher.deactivate()
        transaction.begin()
        self.assertIs(job.status, PENDING)

    def test_a_quota_that_is_gone_holds_nothing(self):
        self.queue.quotas.create('q', 0)
        job = Job(multiply, 6, 7)
        job.quota_names = ('q',)
        self.put(job)
        self.poll()
        self.assertIs(job.status, PENDING)
        self.queue.quotas.remove('q')
        transaction.commit()
        self.poll()
        self.assertEqual(job.result, 42)


class Waiting(Passing):
    """Who waits for a parked job is told why it does not end."""

    def test_wait_for_result(self):
        job = self.gone(Job(self.module.run))
        self.poll()
        with self.assertRaisesRegex(AssertionError, 'is parked: zc_async_passing.run'):
            testing.wait_for_result(job)

    def test_the_reactor(self):
        job = self.gone(Job(self.module.run))
        with self.assertRaisesRegex(AssertionError, 'is parked: zc_async_passing.run'):
            self.reactor.wait_for(job)

    def test_wait_for_start(self):
        job = self.gone(Job(self.module.run))
        self.poll()
        with self.assertRaisesRegex(AssertionError, 'is parked'):
            testing.wait_for_start(job)

    def test_drain_goes_on_and_the_job_tells(self):
        self.reactor.stop()
        job = self.gone(Job(self.module.run))
        other = self.put(multiply, 6, 7)
        testing.drain(self.queue)
        self.assertEqual((job.status, other.result), (PARKED, 42))

    def test_the_history_tells_it(self):
        job = self.gone(Job(self.module.run))
        self.poll()
        info = self.dispatcher.getJobInfo(u64(job._p_oid))
        self.assertTrue(info['failed'])
        self.assertIn('parked: zc_async_passing.run', info['result'])
