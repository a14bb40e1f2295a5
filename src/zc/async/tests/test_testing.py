"""The help for the tests of applications: virtual time, reactor, waiting."""
import contextlib
import copy
import datetime
import io
import logging
import pickle
import threading
import time
import unittest
import uuid

import transaction
import zodbpickle.fastpickle
import zope.component
from zope.interface.verify import verifyObject

from .. import clock
from .. import dispatcher as dispatchers
from .. import interfaces
from .. import subscribers
from .. import testing
from ..interfaces import COMPLETED
from ..job import Job
from ..threadlocal import local
from .test_dispatcher import block
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import event
from .test_dispatcher import fails
from .test_dispatcher import multiply
from .test_dispatcher import VirtualCase

UTC = datetime.timezone.utc
REAL = datetime.datetime
START = REAL(2006, 8, 10, 15, 44, 22, 211, UTC)


class VirtualTime(unittest.TestCase):

    def setUp(self):
        self.addCleanup(testing.tearDownDatetime)
        testing.setUpDatetime()

    def test_the_clock_keeps_its_contract(self):
        verifyObject(interfaces.IClock, testing.VirtualClock(START))

    def test_it_stands_still(self):
        self.assertEqual(clock.now(), START)
        self.assertEqual(clock.now(), START)

    def test_it_can_be_set(self):
        testing.set_now(START.replace(hour=17))
        self.assertEqual(clock.now(), START.replace(hour=17))
        testing.set_now(REAL(2020, 1, 1))
        self.assertEqual(clock.now(), REAL(2020, 1, 1, tzinfo=UTC))

    def test_the_datetime_module_follows(self):
        self.assertEqual(datetime.datetime.now(), START.replace(tzinfo=None))
        self.assertEqual(datetime.datetime.utcnow(), START.replace(tzinfo=None))
        self.assertEqual(datetime.datetime.now(UTC), START)
        self.assertEqual(datetime.datetime.now(tz=UTC), START)
        east = datetime.timezone(datetime.timedelta(hours=2))
        self.assertEqual(datetime.datetime.now(tz=east).hour, 17)
        self.assertEqual(datetime.datetime.now(UTC).astimezone(tz=east).hour, 17)

    def test_its_instances_are_real(self):
        for made in (datetime.datetime(2020, 1, 2), datetime.datetime.now(UTC),
                     datetime.datetime.fromisoformat('2020-01-02'),
                     datetime.datetime.combine(datetime.date(2020, 1, 2), datetime.time())):
            with self.subTest(made):
                self.assertIs(type(made), REAL)
                self.assertIsInstance(made, datetime.datetime)
        self.assertTrue(issubclass(REAL, datetime.datetime))
        self.assertNotIsInstance(datetime.date(2020, 1, 2), datetime.datetime)

    def test_real_ones_pickle_as_ever(self):
        testing.tearDownDatetime()
        before = pickle.dumps(START, 3)
        testing.setUpDatetime()
        for module in pickle, zodbpickle.fastpickle:
            with self.subTest(module.__name__):
                stored = module.dumps(START, 3)
                self.assertEqual(pickle.loads(stored), START)
                self.assertIs(type(pickle.loads(stored)), REAL)
                self.assertNotIn(b'testing', stored)
        self.assertEqual(pickle.dumps(START, 3), before)
        testing.tearDownDatetime()
        self.assertEqual(pickle.loads(stored), START)
        self.assertEqual(pickle.dumps(START, 3), before)

    def test_real_ones_can_be_copied(self):
        self.assertEqual(copy.deepcopy({1: START}), {1: START})

    def test_names_of_old(self):
        self.assertIs(testing.old_datetime, REAL)
        self.assertIs(testing._datetime, datetime.datetime)
        self.assertEqual(testing._now, START)
        self.assertEqual(testing.argh(2020, 1, 2), REAL(2020, 1, 2))
        with self.assertRaises(AttributeError):
            testing.other

    def test_the_end_of_it(self):
        testing.tearDownDatetime()
        self.assertIs(datetime.datetime, REAL)
        self.assertGreater(clock.now(), REAL(2026, 1, 1, tzinfo=UTC))
        testing.tearDownDatetime()


class Reactor(unittest.TestCase):

    def setUp(self):
        self.reactor = testing.Reactor()
        self.addCleanup(self.reactor.stop)
        self.calls = []

    def call(self, *args, **kw):
        self.calls.append((*args, *kw.values()))

    def test_it_keeps_the_contract(self):
        verifyObject(interfaces.IReactor, self.reactor)

    def test_it_calls_when_it_runs(self):
        self.reactor.callWhenRunning(self.call, 1)
        self.assertEqual(self.calls, [])
        self.reactor.start()
        self.assertEqual(self.calls, [(1,)])
        self.reactor.callWhenRunning(self.call, 2)
        self.assertEqual(self.calls, [(1,), (2,)])

    def test_it_calls_before_the_end_and_once(self):
        self.reactor.addSystemEventTrigger('before', 'shutdown', self.call, 1, b=2)
        self.reactor.start()
        self.reactor.stop()
        self.reactor.stop()
        self.assertEqual(self.calls, [(1, 2)])
        self.assertIs(datetime.datetime, REAL)

    def test_time_is_real_again_also_where_such_a_call_raises(self):
        self.reactor.addSystemEventTrigger('before', 'shutdown', fails)
        self.reactor.start()
        with self.assertRaises(LookupError):
            self.reactor.stop()
        self.assertIs(datetime.datetime, REAL)

    def test_no_other_event(self):
        with self.assertRaisesRegex(ValueError, "'after'"):
            self.reactor.addSystemEventTrigger('after', 'shutdown', self.call)

    def test_time_flies(self):
        self.reactor.start()
        self.reactor.callLater(3, self.call, 'three')
        self.reactor.callLater(1, self.call, 'one')
        self.reactor.callLater(1, self.call, 'one more', x=1)
        self.assertEqual(self.reactor.time_flies(0.5), 0)
        self.assertEqual(self.reactor.time_flies(1), 2)
        self.assertEqual(self.calls, [('one',), ('one more', 1)])
        self.assertEqual(self.reactor.time_flies(5), 1)
        self.assertEqual(clock.now(), START + datetime.timedelta(seconds=6.5))

    def test_each_call_is_made_at_its_own_time(self):
        self.reactor.start()

        def again():
            self.calls.append((clock.now() - START).total_seconds())
            self.reactor.callLater(2, again)

        self.reactor.callLater(1, again)
        testing.set_now(START + datetime.timedelta(seconds=6))
        self.reactor.time_flies(1)
        self.assertEqual(self.calls, [1, 3, 5, 7])

    def test_a_call_can_be_cancelled(self):
        self.reactor.start()
        call = self.reactor.callLater(1, self.call)
        call.cancel()
        call.cancel()
        self.assertEqual(self.reactor.time_flies(2), 0)

    def test_a_call_from_a_thread_is_made_by_the_test_s(self):
        self.reactor.start()
        thread = threading.Thread(
            target=self.reactor.callFromThread, args=(self.call, 1))
        thread.start()
        thread.join()
        self.assertEqual(self.calls, [])
        self.assertTrue(self.reactor.time_passes())
        self.assertFalse(self.reactor.time_passes())
        self.assertEqual(self.calls, [(1,)])

    def test_a_call_in_a_thread(self):
        found = threading.Event()
        self.reactor.callInThread(found.set)
        self.assertTrue(found.wait(10))


class WaitingForJobs(VirtualCase):

    def wait_for(self, *jobs, **options):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.reactor.wait_for(*jobs, **options)
        return out.getvalue()

    def test_a_job_that_ends(self):
        job = self.put(multiply, 6, 7)
        before = clock.now()
        self.assertEqual(self.wait_for(job), '')
        self.assertIs(job.status, COMPLETED)
        self.assertEqual((clock.now() - before).total_seconds(), 5)

    def test_several(self):
        jobs = [self.put(multiply, 6, 7) for _number in range(3)]
        self.assertEqual(self.wait_for(*jobs), '')

    def test_a_job_that_nobody_will_do_times_out_at_once(self):
        job = self.put(multiply, 6, 7, begin_after=START.replace(year=2007))
        started = time.monotonic()
        self.assertEqual(self.wait_for(job, attempts=20), 'TIME OUT\n')
        self.assertLess(time.monotonic() - started, 5)

    def test_a_job_that_does_not_end_times_out(self):
        job = self.put(block)
        self.assertEqual(self.wait_for(job, attempts=0.1), 'TIME OUT\n')
        event('go').set()
        self.assertEqual(self.wait_for(job), '')

    def test_the_caller_s_changes_are_not_lost(self):
        job = self.put(multiply, 6, 7)
        self.connection.root()['mine'] = 1
        self.wait_for(job)
        self.assertEqual(self.connection.root()['mine'], 1)
        transaction.commit()
        self.assertEqual(job.result, 42)


class WaitingForConditions(PlainCase):
    """With a dispatcher in a thread."""

    def setUp(self):
        super().setUp()
        self.db = self.open()
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        self.dispatcher = subscribers.ThreadedDispatcherInstaller(0.05)(
            interfaces.DatabaseOpened(self.db))
        self.addCleanup(self.end)
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.queue = self.connection.root()[interfaces.KEY]['']

    def end(self):
        event('go').set()
        subscribers.restore_signal_handlers(self.dispatcher)
        testing.tear_down_dispatcher(self.dispatcher)

    def put(self, *args):
        job = self.queue.put(Job(*args))
        transaction.commit()
        return job

    def test_a_poll(self):
        first = testing.get_poll(self.dispatcher, 0)
        self.assertGreaterEqual(first.key, 1)
        following = testing.get_poll(self.dispatcher)
        self.assertGreater(following.key, first.key)
        late = testing.get_poll(self.dispatcher, 5)
        self.assertGreater(late.key, 5)
        self.assertIsNone(late.utc_timestamp.tzinfo)
        testing.wait_for(
            lambda: testing.get_poll(self.dispatcher).get('', {}).get('main'))
        before = self.dispatcher.getPollInfo(before=self.dispatcher.getPollInfo()['key'])
        self.assertEqual(sorted(before['results']['']['main']), [
            'active jobs', 'error', 'len', 'new jobs', 'size'])

    def test_no_poll(self):
        with self.assertRaisesRegex(AssertionError, 'no poll within 0 seconds'):
            testing.get_poll(self.dispatcher, 10000, seconds=0)

    def test_a_result(self):
        self.assertEqual(testing.wait_for_result(self.put(multiply, 6, 7)), 42)

    def test_no_result(self):
        job = self.put(block)
        testing.wait_for_start(job)
        with self.assertRaisesRegex(AssertionError, 'block.*was not completed'):
            testing.wait_for_result(job, seconds=0)

    def test_a_start(self):
        job = self.put(multiply, 6, 7)
        testing.wait_for_start(job)
        self.assertIsNotNone(job.active_start)
        late = Job(multiply, 6, 7)
        self.queue.put(late, begin_after=REAL(2100, 1, 1))
        transaction.commit()
        with self.assertRaisesRegex(AssertionError, 'was not begun'):
            testing.wait_for_start(late, seconds=0)

    def test_an_annotation(self):
        job = self.put(annotate)
        self.assertEqual(testing.wait_for_annotation(job, 'name'), 42)
        with self.assertRaisesRegex(AssertionError, "no annotation 'other'"):
            testing.wait_for_annotation(job, 'other', seconds=0)

    def test_a_deactivation(self):
        with self.assertRaisesRegex(AssertionError, str(self.dispatcher.UUID)):
            testing.wait_for_deactivation(self.dispatcher, seconds=0)
        self.dispatcher.reactor.callFromThread(self.dispatcher.reactor.stop)
        testing.wait_for_deactivation(self.dispatcher)

    def test_a_death(self):
        self.queue.dispatchers.register(uuid.UUID(int=7))
        agents = self.queue.dispatchers[uuid.UUID(int=7)]
        agents.activate()
        agents.ping_death_interval = datetime.timedelta(microseconds=1)
        agents.last_ping.micros -= 10
        # nobody takes over: the neighbour's own ping is not due
        transaction.commit()
        testing.wait_for_death(agents)
        agents.ping_death_interval = datetime.timedelta(hours=1)
        transaction.commit()
        with self.assertRaisesRegex(AssertionError, 'did not die'):
            testing.wait_for_death(agents, seconds=0)

    def test_the_end(self):
        threads = [thread for pools in self.dispatcher.queues.values()
                   for pool in pools.values() for thread in pool.threads]
        testing.tear_down_dispatcher(self.dispatcher)
        self.assertIsNone(dispatchers.get())
        self.assertFalse(self.dispatcher.thread.is_alive())
        self.assertEqual([thread for thread in threads if thread.is_alive()], [])
        testing.tear_down_dispatcher(self.dispatcher)

    def test_a_job_that_does_not_end(self):
        job = self.put(block)
        self.assertTrue(event('begun').wait(10))
        with self.assertRaises(testing.TearDownDispatcherError) as caught:
            testing.tear_down_dispatcher(self.dispatcher, seconds=0.05)
        self.assertIn("':main'", str(caught.exception))
        self.assertIn(repr(job), str(caught.exception))
        self.assertIs(dispatchers.get(), self.dispatcher)
        event('go').set()
        testing.tear_down_dispatcher(self.dispatcher, seconds=10)
        self.assertIsNone(dispatchers.get())
        opened = [info['opened'] for info in self.db.connectionDebugInfo()]
        self.assertEqual(len([one for one in opened if one]), 1, 'the test has one')

    def test_a_reactor_that_does_not_end(self):
        testing.get_poll(self.dispatcher, 1)
        go = event('go')
        self.dispatcher.reactor.callFromThread(go.wait, 30)
        with self.assertRaisesRegex(
                testing.TearDownDispatcherError, str(self.dispatcher.UUID)):
            testing.tear_down_dispatcher(self.dispatcher, seconds=0.05)
        go.set()
        testing.tear_down_dispatcher(self.dispatcher, seconds=10)
        self.assertIsNone(dispatchers.get())


def annotate():
    local.setLiveAnnotation('name', 42)


class Logs(unittest.TestCase):

    def test_what_is_critical_is_printed(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            handler = testing.print_logs()
        self.addCleanup(logging.getLogger('zc.async').removeHandler, handler)
        logging.getLogger('zc.async.events').error('not this')
        logging.getLogger('zc.async.events').critical('but this')
        self.assertEqual(out.getvalue(), 'but this\n')

    def test_elsewhere_and_more(self):
        out = io.StringIO()
        handler = testing.print_logs(out, logging.ERROR)
        self.addCleanup(logging.getLogger('zc.async').removeHandler, handler)
        logging.getLogger('zc.async.events').error('this too')
        self.assertEqual(out.getvalue(), 'this too\n')


class Sleep(unittest.TestCase):

    def test_it_returns(self):
        self.assertIsNone(testing.time_sleep(0))


if __name__ == '__main__':
    unittest.main()
