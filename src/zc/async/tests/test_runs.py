"""Runs: one thread does short jobs one after the other; what is long stops nobody."""
import contextlib
import ctypes
import sys
import threading
import unittest
from unittest import mock

import persistent
import transaction
from ZEO.Exceptions import ClientDisconnected
from ZODB.interfaces import IMVCCStorage
from zope.interface import classImplements

from .. import clock
from .. import testing
from ..job import Job
from ..job import NeverRetry
from ..runtime import attempt
from ..runtime import storing
from ..runtime import threads
from ..runtime import turns
from ..runtime.pace import Pace
from ..runtime.pace import SHORT
from ..runtime.patrol import Patrol
from ..runtime.worker import Ticket
from ..testkit import World

begun, go = threading.Event(), threading.Event()


class Counter(persistent.Persistent):
    """Something to change."""

    count = 0

    def increment(self):
        self.count += 1

    def count_call(self, result):
        self.count += 1


class Clocked(unittest.TestCase):
    """Has the steady clock in its hands."""

    @staticmethod
    @contextlib.contextmanager
    def stopped():
        """Have the steady clock stand still within the block, at what is returned."""
        now = clock.monotonic()
        with mock.patch.object(clock, 'monotonic', lambda: now):
            yield now

    def setUp(self):
        self.now = 100.0
        patch = mock.patch.object(clock, 'monotonic', lambda: self.now)
        patch.start()
        self.addCleanup(patch.stop)


class Paces(Clocked):

    def setUp(self):
        super().setUp()
        self.pace = Pace(SHORT)

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
        self.assertFalse(self.note(0.05, 6))

    def test_a_machine_that_stands_still_once_or_twice_makes_nothing_long(self):
        self.note(0.0005)
        self.assertTrue(self.note(60, 2))

    def test_how_often_the_limit_it_takes(self):
        self.assertEqual(self.pace.multiple, 0)
        self.note(0.9 * SHORT)
        self.assertEqual(self.pace.multiple, 0)
        self.note(2.5 * SHORT, 1000)
        self.assertEqual(self.pace.multiple, 2)
        self.now += 11
        self.assertEqual(self.pace.multiple, 0, 'it is tried again')

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
        self.committing = 0.0
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
        self.goes_on = self.pool.worked(self.took, self.committing)

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

    def test_more_work_where_commits_are_slow(self):
        for _number in range(3):
            self.pool._commits.note(1.5 * storing.QUICK, True)
        self.assertEqual(self.put('a', 'b', 'c'), [True, True, False])
        self.wait(lambda: sorted(self.names) == ['a', 'b'])
        self.assertTrue(self.pool.rouse())
        self.assertEqual(self.pool._awake, 2)
        self.begun[0][1].set()
        self.wait(lambda: len(self.names) == 3)
        self.assertTrue(self.goes_on)

    def test_slow_commits_are_noted(self):
        self.committing = 2 * storing.QUICK
        for done in range(3):
            self.put('a')
            self.wait(lambda: len(self.begun) == done + 1)
            self.begun[done][1].set()
            self.wait(lambda: self.pool._waiting == 3)
        self.assertEqual(self.pool._busy(), threads.BUSY + 2)
        self.assertTrue(self.pool._pace.short, 'the jobs themselves are')

    def test_who_commits_is_not_stuck_at_once_and_its_job_not_long(self):
        self.put('a', 'b')
        self.wait(lambda: self.begun)
        (seat,) = self.pool._working
        self.now += 2 * threads.LATE
        with mock.patch.object(storing, '_under_way', {seat.thread}):
            for _number in range(4):
                self.assertTrue(self.pool.rouse())
            self.assertEqual((self.pool._awake, self.pool._pace._first), (1, []))
            self.now += threads.LATE_COMMIT
            self.pool.rouse()
            self.wait(lambda: self.names == ['a', 'b'])
            self.assertEqual(self.pool._pace._first, [])

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
        self.now += turns.RUN + 0.01
        self.assertTrue(self.turns.lead_late(), 'the thread itself is first')
        self.assertEqual(self.led, 0)
        self.now += 0.02
        self.assertFalse(self.turns.lead_late())
        self.assertEqual(self.led, 1)

    def test_a_run_is_longer_where_turns_are(self):
        self.turns._turn_time = 0.01
        self.submit(True)
        self.now += 0.045
        self.assertEqual(self.submit(True), 0)
        self.now += 0.01
        self.assertEqual(self.submit(True), 3)
        self.turns._turn_time = 1
        self.submit(True)
        self.now += turns.LONG_RUN + 0.001
        self.assertEqual(self.submit(True), 5)

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
            self.now += 2 * turns.RUN
            self.assertTrue(self.turns.lead_late())
        self.turns._services.pause.assert_called_once_with(0)
        self.assertFalse(self.turns._leading)

    def test_only_one_does(self):
        self.submit(True)
        self.turns._leading = True
        self.turns.lead()
        self.assertEqual(self.submit(False), 0)


class Leading(Clocked):
    """Who takes turns, while others submit in the midst of each."""

    def setUp(self):
        super().setUp()
        self.services = mock.Mock(claims_between_polls=False)
        self.services.pause.return_value = False
        self.turns = turns.Turns(self.services)
        self.taken = []
        patch = mock.patch.object(self.turns, 'take', self.take)
        patch.start()
        self.addCleanup(patch.stop)
        self.meanwhile = [lambda: None]

    def take(self, claim):
        self.taken.append(len(self.turns._batch()))
        self.meanwhile.pop(0)()

    def submit(self, goes_on=False):
        self.turns.submit(Ticket(b'', 'unnamed', 1, ('', 'main'), begun=self.now), None,
                          goes_on)

    def test_who_leads_leaves_what_others_keep(self):
        self.meanwhile = [lambda: self.submit(True)] * 9
        self.submit()
        self.assertEqual(self.taken, [1])
        self.assertFalse(self.turns._leading)
        self.submit()
        self.assertEqual(self.taken, [1, 2])

    def test_and_stores_what_is_left_to_it(self):
        self.meanwhile = [self.submit, self.turns.lead, lambda: None]
        self.submit()
        self.assertEqual(self.taken, [1, 1])
        self.assertFalse(self.turns._waiting)

    def test_also_what_somebody_without_a_ticket_finds(self):
        self.meanwhile = [lambda: (self.submit(True), self.turns.lead()), lambda: None]
        self.submit()
        self.assertEqual(self.taken, [1, 1])

    def test_what_one_turn_cannot_take_is_not_left(self):
        for _number in range(turns.GROUP + 5):
            self.submit(True)
        self.meanwhile = [lambda: None] * 2
        self.turns.lead()
        self.assertEqual(self.taken, [turns.GROUP, 5])

    def test_what_is_kept_while_one_leads_is_looked_after(self):
        found = []
        self.meanwhile = [
            lambda: (self.submit(True), found.append(self.turns.lead_late()),
                     self.turns.lead(), found.append(self.turns.lead_late())),
            lambda: None]
        self.submit()
        self.assertEqual(found, [True, False])

    def test_who_has_waited_for_the_storage_stores_them(self):
        def away():
            self.turns._waiting.append(None)
            raise ClientDisconnected

        self.meanwhile = [away, lambda: None]
        self.submit()
        self.assertEqual(self.taken, [1, 1])


class Commits(Clocked):
    """How long commits take, and who makes one."""

    def commit(self):
        self.assertTrue(storing.committing(threading.get_ident()))
        self.now += 0.25

    def test_time_is_counted_until_asked_for(self):
        manager = mock.Mock(commit=self.commit)
        storing.spent()
        storing.commit(manager)
        storing.commit(manager)
        self.assertEqual(storing.spent(), 0.5)
        self.assertEqual(storing.spent(), 0)
        self.assertFalse(storing.committing(threading.get_ident()))

    def test_that_of_a_step_is_one_too(self):
        manager = transaction.TransactionManager()
        with mock.patch.object(storing, 'commit') as commit:
            found = attempt.commit_step(manager, lambda seconds: False, lambda: 'found')
        self.assertEqual(found, 'found')
        commit.assert_called_once_with(manager)

    def test_also_where_it_fails(self):
        def fail():
            self.commit()
            raise ClientDisconnected

        storing.spent()
        with self.assertRaises(ClientDisconnected):
            storing.commit(mock.Mock(commit=fail))
        self.assertEqual(storing.spent(), 0.25)
        self.assertFalse(storing.committing(threading.get_ident()))

    def test_each_thread_has_its_own(self):
        storing.spent()
        storing.commit(mock.Mock(commit=self.commit))
        found = []
        thread = threading.Thread(target=lambda: found.append(storing.spent()))
        thread.start()
        thread.join()
        self.assertEqual(found, [0])
        self.assertEqual(storing.spent(), 0.25)

    def test_connections_that_have_one_each_to_the_server_wait_apart(self):
        class Apart:
            """As RelStorage."""

        self.assertEqual(storing.quick(mock.Mock(storage=Apart())), storing.QUICK)
        classImplements(Apart, IMVCCStorage)
        self.assertEqual(storing.quick(mock.Mock(storage=Apart())), storing.QUICK_APART)


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
        self.led = 0
        pool = mock.Mock()
        pool.rouse = lambda: self.tickets
        self.pool = pool
        pool.waits = False
        self.left = False
        self.patrol = Patrol(self.reactor, lambda: [pool], self.lead)

    def lead(self):
        self.led += 1
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
        self.assertEqual(self.led, 1)
        self.tickets = False
        self.assertEqual(self.go_round(), 0)
        self.patrol.begin()
        self.assertEqual(self.go_round(), 0)

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

    def test_a_pool_knows_how_long_commits_take_and_jobs_without_them(self):
        with World() as world:
            counter = world.connection.root()['counter'] = Counter()
            transaction.commit()
            jobs = [world.queue.put(Job(counter.increment)) for _number in range(5)]
            transaction.commit()
            dispatcher = world.start(size=1)
            self.assertTrue(testing.wait_for(
                lambda: all(one.status is testing.COMPLETED for one in jobs), 20))
            self.assertTrue(testing.wait_for(lambda: dispatcher.idle))
            pool = dispatcher.queues['']['main']
            self.assertGreater(pool._commits._typical, 0)
            self.assertEqual(pool._commits._limit, storing.QUICK)

            with Clocked.stopped() as now, mock.patch.object(pool, 'worked') as worked:
                storing._spent.seconds = 0.25
                dispatcher.submit(
                    Ticket(b'', 'unnamed', 1, ('', 'main'), begun=now - 1), None)
            worked.assert_called_once_with(0.75, 0.25)

    def test_each_kind_of_commit_of_a_worker_is_timed(self):
        with World() as world:
            counter = world.connection.root()['counter'] = Counter()
            world.connection.add(counter)
            once = Job(quick)
            once.retry_policy_factory = NeverRetry
            follows = Job(quick)
            follows.addCallback(Job(counter.count_call))
            world.queue.put(once), world.queue.put(follows)
            transaction.commit()
            real, callers = storing.commit, set()

            def commit(manager):
                callers.add(sys._getframe(1).f_code.co_name)
                real(manager)

            with mock.patch.object(storing, 'commit', commit):
                world.start(size=1)
                self.assertTrue(testing.wait_for(lambda: all(
                    one.status is testing.COMPLETED for one in (once, follows)), 20))
            # the job with effects, the one that is begun alone, and the end of a job
            # whose callback is of a kind that nobody knows
            self.assertLessEqual({'_commit', '_begin_alone', 'commit'}, callers)

    def test_who_is_done_after_its_agent_has_gone_makes_no_pool(self):
        with World() as world:
            dispatcher = world.start(size=1)
            self.assertTrue(testing.wait_for(lambda: dispatcher.queues))
            before = {name: set(agents) for name, agents in dispatcher.queues.items()}
            for pool in (('', 'gone'), ('gone', 'main')):
                dispatcher.submit(Ticket(b'', 'unnamed', 1, pool), None)
            self.assertEqual(before, {
                name: set(agents) for name, agents in dispatcher.queues.items()})
