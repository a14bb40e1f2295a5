"""Runs: one thread does short jobs one after the other; what is long stops nobody."""
import ctypes
import threading
import unittest
from unittest import mock

import transaction
from ZEO.Exceptions import ClientDisconnected

from .. import clock
from .. import testing
from ..job import Job
from ..runtime import threads
from ..runtime import turns
from ..runtime.pace import Pace
from ..runtime.patrol import KEPT
from ..runtime.patrol import Patrol
from ..runtime.worker import Ticket
from ..testkit import World

begun, go = threading.Event(), threading.Event()


class Clocked(unittest.TestCase):
    """Has the steady clock in its hands."""

    def setUp(self):
        self.now = 100.0
        patch = mock.patch.object(clock, 'monotonic', lambda: self.now)
        patch.start()
        self.addCleanup(patch.stop)


class Paces(Clocked):

    def setUp(self):
        super().setUp()
        self.pace = Pace()

    def note(self, seconds, count=3, alone=True):
        for _number in range(count):
            self.pace.note(seconds, alone)
        return self.pace.short

    def test_nothing_known_is_short(self):
        self.assertTrue(self.pace.short)
        self.assertTrue(self.note(1, 2))

    def test_what_takes_long_is_not(self):
        self.assertFalse(self.note(1))

    def test_what_is_long_once_is(self):
        self.note(1, 2)
        self.assertTrue(self.note(0.0005))
        self.assertTrue(self.note(0.015, 1))

    def test_what_becomes_long(self):
        self.note(0.0005)
        self.assertFalse(self.note(0.05, 3))

    def test_what_becomes_short_again(self):
        self.note(1)
        self.assertFalse(self.note(0.0005, 30))
        self.assertTrue(self.note(0.0005, 1000))

    def test_beside_others_only_what_is_short_counts(self):
        self.note(0.0005)
        self.assertTrue(self.note(1, 1000, alone=False))

    def test_what_is_long_is_tried_again_one_day(self):
        self.note(1)
        self.now += 9
        self.assertFalse(self.pace.short)
        self.now += 2
        self.assertTrue(self.pace.short)
        self.assertFalse(self.note(1))


class Pools(Clocked):
    """A pool of three whose jobs wait until they are let go."""

    def setUp(self):
        super().setUp()
        self.begun, self.rests = [], []
        self.thrifty, self.took, self.ends = True, 0.0005, False
        self.pool = threads.Pool('test', self.work, thrifty=lambda: self.thrifty,
                                 rest=lambda: self.rests.append(len(self.begun)))
        self.addCleanup(self.end)
        self.pool.setSize(3)
        self.wait(lambda: self.pool._waiting == 3)
        self.rests.clear()

    def end(self):
        self.ends = True
        for _name, gate in self.begun:
            gate.set()
        all_threads = self.pool.threads
        self.pool.setSize(0)
        self.wait(lambda: not self.pool.waits)
        for _name, gate in self.begun:
            gate.set()
        threads.join(all_threads, 10)
        self.assertFalse(any(one.is_alive() for one in all_threads))

    def wait(self, condition):
        self.assertTrue(testing.wait_for(condition, 10))

    def work(self, ticket):
        gate = threading.Event()
        self.begun.append((ticket, gate))
        if ticket != 'quick' and not self.ends:
            gate.wait(10)
        self.goes_on = self.pool.worked(self.took)

    def put(self, *tickets):
        return [self.pool.put(ticket) for ticket in tickets]

    @property
    def names(self):
        return [name for name, _gate in self.begun]

    def test_one_thread_does_what_is_short(self):
        self.assertEqual(self.put('a', 'b', 'c'), [True, False, False])
        self.wait(lambda: self.names == ['a'])
        self.assertEqual(self.pool._awake, 1)
        self.begun[0][1].set()
        self.wait(lambda: self.names == ['a', 'b'])
        self.assertTrue(self.goes_on)
        self.assertEqual(self.rests, [])
        self.begun[1][1].set()
        self.wait(lambda: self.names == ['a', 'b', 'c'])
        self.begun[2][1].set()
        self.wait(lambda: self.rests == [3])
        self.assertFalse(self.goes_on)

    def test_all_work_where_it_is_not_thrifty(self):
        self.thrifty = False
        self.assertEqual(self.put('a', 'b', 'c'), [True] * 3)
        self.wait(lambda: sorted(self.names) == ['a', 'b', 'c'])

    def test_what_waits_for_threads_that_work_is_looked_after(self):
        self.took = 1
        for _number in range(3):
            self.pool._pace.note(1, True)
        self.assertEqual(self.put('a', 'b', 'c', 'd'), [True, True, True, False])
        self.thrifty = False
        self.assertEqual(self.put('e'), [True], 'nobody goes round there')

    def test_others_are_woken_when_one_is_stuck(self):
        self.put('a', 'b', 'c')
        self.wait(lambda: self.begun)
        self.assertTrue(self.pool.rouse())
        self.assertEqual(self.pool._awake, 1)
        self.now += 2 * threads.LATE
        self.assertTrue(self.pool.rouse())
        self.wait(lambda: self.names == ['a', 'b'])

    def test_all_are_woken_when_jobs_are_long(self):
        self.put('a', 'b', 'c')
        self.wait(lambda: self.begun)
        self.now += 2 * threads.LATE
        for _number in range(4):
            self.pool.rouse()
        self.wait(lambda: sorted(self.names) == ['a', 'b', 'c'])
        self.assertFalse(self.pool.rouse())

    def test_those_woken_rest_when_one_is_enough(self):
        self.put('a', 'b')
        self.wait(lambda: self.begun)
        self.now += 2 * threads.LATE
        self.pool.rouse()
        self.wait(lambda: self.names == ['a', 'b'])
        self.put('c', 'd')
        self.begun[0][1].set()
        self.wait(lambda: self.rests == [2])
        self.wait(lambda: self.pool._awake == 1)
        self.begun[1][1].set()
        self.wait(lambda: self.names == ['a', 'b', 'c'])

    def test_who_is_told_to_end_leaves_no_ticket(self):
        self.put('a', 'quick', 'quick', 'quick')
        self.wait(lambda: self.begun)
        all_threads = self.pool.threads
        self.pool.setSize(0)
        self.wait(lambda: len(self.begun) == 4)
        self.wait(lambda: sum(one.is_alive() for one in all_threads) == 1)

    def test_one_beside_what_is_stuck_is_woken_at_once(self):
        self.put('a')
        self.wait(lambda: self.begun)
        self.now += 2 * threads.LATE
        self.assertEqual(self.put('b', 'c'), [True, False])
        self.wait(lambda: self.names == ['a', 'b'])

    def test_those_that_hinder_each_other_are_not_long(self):
        self.thrifty, self.took = False, 1
        for done in (3, 6, 9):
            self.put('a', 'b', 'c')
            self.wait(lambda: len(self.begun) == done)
            for _name, gate in self.begun:
                gate.set()
            self.wait(lambda: self.pool._waiting == 3)
        self.assertTrue(self.pool._pace.short)

    def test_one_that_dies_is_counted_no_more(self):
        self.put('a')
        self.wait(lambda: self.begun)
        dead = next(thread for thread, seat in self.pool._seats.items() if seat.ticket)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(dead.ident), ctypes.py_object(SystemExit))
        with mock.patch.object(threads.log.events, 'critical', side_effect=SystemExit):
            self.begun[0][1].set()
            dead.join(10)
        self.assertEqual(self.pool.replace_dead(), ['a'])
        self.wait(lambda: self.pool._waiting == 3)
        self.now += 2 * threads.LATE
        self.assertEqual(self.pool._moving(), 0)
        self.assertEqual(self.put('b', 'c'), [True, False])
        self.wait(lambda: self.names == ['a', 'b'])

    def test_others_come_for_who_was_to_end(self):
        self.put('a')
        self.wait(lambda: self.begun)
        self.pool.setSize(2)
        self.pool.setSize(3)
        self.wait(lambda: sum(one.is_alive() for one in self.pool.threads) == 3)
        self.thrifty = False
        self.put('b', 'c')
        self.wait(lambda: sorted(self.names) == ['a', 'b', 'c'])

    def test_an_error_of_who_rests_ends_no_thread(self):
        self.pool._rest = lambda: 1 / 0
        with self.assertLogs('zc.async.events', 'CRITICAL'):
            self.put('quick')
            self.wait(lambda: self.pool._waiting == 3)
        self.assertEqual(self.pool.replace_dead(), [])


class Outcomes(Clocked):
    """What waits to be stored, while nobody stores it really."""

    def setUp(self):
        super().setUp()
        services = mock.Mock()
        services.pause.return_value = False
        self.turns = turns.Turns(services)
        self.led = 0
        self.turns._lead = self.lead

    def lead(self, waits):
        self.led += len(self.turns._waiting)
        self.turns._waiting.clear()
        self.turns._leading = False

    def submit(self, goes_on):
        self.turns.submit(Ticket(b'', 'unnamed', 1, ('', 'main'), begun=self.now), None,
                          goes_on)
        return self.led

    def test_who_goes_on_leaves_them(self):
        self.assertEqual(self.submit(True), 0)
        self.assertEqual(self.submit(True), 0)
        self.assertEqual(self.submit(False), 3)

    def test_but_not_for_long(self):
        self.submit(True)
        self.now += turns.RUN / 2
        self.assertEqual(self.submit(True), 0)
        self.now += turns.RUN
        self.assertEqual(self.submit(True), 3)
        self.assertEqual(self.submit(True), 3, 'another run')

    def test_others_store_what_is_late(self):
        self.submit(True)
        self.assertTrue(self.turns.lead(threads.LATE))
        self.assertEqual(self.led, 0)
        self.now += 2 * threads.LATE
        self.assertFalse(self.turns.lead(threads.LATE))
        self.assertEqual(self.led, 1)

    def test_company_is_only_who_has_begun(self):
        begun = Ticket(b'', 'unnamed', 1, ('', 'main'), thread=1)
        self.turns._hands = {1: begun, 2: Ticket(b'', 'unnamed', 1, ('', 'main'))}
        for wait, here in ((0, False), (1, True)):
            self.turns._waiting.extend(wait * [None])
            with mock.patch.object(self.turns._more, 'wait_for') as wait_for:
                with self.turns._lock:
                    self.turns._wait_for_company()
            self.assertEqual(wait_for.call_args.args[0](), here)

    def test_who_comes_by_does_not_wait_for_the_storage(self):
        del self.turns._lead
        self.turns._services.claims_between_polls = False
        with mock.patch.object(self.turns, 'take', side_effect=ClientDisconnected):
            self.submit(True)
            self.now += 2 * threads.LATE
            self.assertTrue(self.turns.lead(threads.LATE))
        self.turns._services.pause.assert_called_once_with(0)
        self.assertFalse(self.turns._leading)

    def test_only_one_does(self):
        self.submit(True)
        self.turns._leading = True
        self.turns.lead()
        self.assertEqual(self.submit(False), 0)


class Reactor:
    """Keeps what is to be called."""

    def __init__(self):
        self.calls = []

    def callFromThread(self, call):
        call()

    def callLater(self, seconds, call):
        self.calls.append((seconds, call))


class Patrols(unittest.TestCase):

    def setUp(self):
        self.reactor = Reactor()
        self.tickets = True
        self.led = []
        pool = mock.Mock()
        pool.rouse = lambda: self.tickets
        self.pool = pool
        pool.waits = False
        self.left = False
        self.patrol = Patrol(self.reactor, lambda: [pool], self.lead)

    def lead(self, seconds):
        self.led.append(seconds)
        return self.left

    def go_round(self):
        (_seconds, call), = self.reactor.calls
        self.reactor.calls.clear()
        call()
        return len(self.reactor.calls)

    def test_it_goes_round_while_tickets_wait(self):
        self.patrol.begin()
        self.patrol.begin()
        self.assertEqual(self.go_round(), 1)
        self.assertEqual(self.led, [KEPT])
        self.tickets = False
        self.assertEqual(self.go_round(), 0)
        self.patrol.begin()
        self.assertEqual(self.go_round(), 0)

    def test_it_leaves_outcomes_to_a_thread_that_goes_on_with_short_jobs(self):
        # that stores them after a run, and two would hinder each other
        self.assertGreater(KEPT, turns.RUN + 0.01)

    def test_one_that_was_put_at_the_end_is_seen(self):
        self.patrol.begin()
        self.tickets, self.pool.waits = False, True
        self.assertEqual(self.go_round(), 1)

    def test_it_goes_round_while_outcomes_are_left(self):
        self.patrol.begin()
        self.tickets, self.left = False, True
        self.assertEqual(self.go_round(), 1)
        self.left = False
        self.assertEqual(self.go_round(), 0)

    def test_it_goes_on_after_an_error(self):
        self.patrol.begin()
        self.pool.rouse = lambda: 1 / 0
        with self.assertRaises(ZeroDivisionError):
            self.go_round()
        self.assertEqual(len(self.reactor.calls), 1)


def quick():
    """Take no time."""


def slow():
    """Take until somebody says so."""
    begun.set()
    go.wait(20)


class WholeRuns(unittest.TestCase):
    """A dispatcher in real time."""

    def setUp(self):
        self.addCleanup(go.set)

    def test_a_long_job_holds_up_no_other_and_no_outcome(self):
        for size in (1, 3):
            begun.clear(), go.clear()
            with self.subTest(size=size), World() as world:
                jobs = [world.queue.put(Job(quick)) for _number in range(40)]
                long = world.queue.put(Job(slow))
                jobs += [world.queue.put(Job(quick))
                         for _number in range(40 if size > 1 else 0)]
                transaction.commit()
                world.start(size=size)

                self.assertTrue(testing.wait_for(lambda: all(
                    one.status is testing.COMPLETED for one in jobs), 20))
                self.assertTrue(testing.wait_for(lambda: begun.is_set(), 20))
                self.assertIsNot(long.status, testing.COMPLETED)
                go.set()
                self.assertTrue(testing.wait_for(
                    lambda: long.status is testing.COMPLETED, 20))

    def test_who_is_done_after_its_agent_has_gone_makes_no_pool(self):
        with World() as world:
            dispatcher = world.start(size=1)
            self.assertTrue(testing.wait_for(lambda: dispatcher.queues))
            before = {name: set(agents) for name, agents in dispatcher.queues.items()}
            for pool in (('', 'gone'), ('gone', 'main')):
                dispatcher.submit(Ticket(b'', 'unnamed', 1, pool), None)
            self.assertEqual(before, {
                name: set(agents) for name, agents in dispatcher.queues.items()})
