"""Who counts as dead: nobody whose clock jumps, and nobody whom others did not see.

Several dispatchers, each with a clock of its own on the wall, are polled by hand in
virtual time.  Where a rule hangs on a guard, a second test takes the guard away and
shows that the rule is broken then.
"""
import contextlib
import datetime
import logging
import random
import threading
import unittest
import uuid
from unittest import mock

import ZODB
import zope.interface
from ZODB.DemoStorage import DemoStorage
from zope.testing import cleanup

from .. import clock
from .. import dispatcher as dispatchers
from .. import interfaces
from .. import outage
from .. import testing
from ..agent import Agent
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..job import Job
from ..model.liveness import Ping
from ..queue import Queue
from ..queue import Queues
from ..runtime.sightings import Sightings

SECOND = datetime.timedelta(seconds=1)
HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
#: Seconds between two polls, and without a ping that make a process dead.
POLL, DEATH = 5, 15

_here = threading.local()  # .process: whose thread this is
_released = threading.Event()
_fired = []                # (number of the job, when by the true time)


def hold():
    """Be in hand until the test is over."""
    _released.wait(60)


def fire(number):
    """Say that the scheduled job *number* runs."""
    _fired.append((number, clock._clock.true))


@zope.interface.implementer(interfaces.IClock)
class Clocks:
    """A clock on the wall for each process, and a steady one for all."""

    def __init__(self):
        self.true = START

    def now(self):
        process = getattr(_here, 'process', None)
        return self.true + (process.offset if process else datetime.timedelta())

    def monotonic(self):
        return (self.true - START).total_seconds()


class Reactor:
    """Calls nothing by itself: polls are made by hand."""

    def callFromThread(self, call, *args):
        """Whatever it is, a poll finds it."""

    callLater = addSystemEventTrigger = callFromThread

    def callWhenRunning(self, call):
        call()


class Process:
    """A dispatcher; *offset* is how far its clock on the wall is off."""

    def __init__(self, db, number):
        self.offset = datetime.timedelta()
        self.UUID = uuid.UUID(int=number)
        self.dispatcher = dispatchers.Dispatcher(
            db, Reactor(), POLL, self.UUID, start_thread=self._start)
        self.dispatcher.shutdown_grace = 10
        self.dispatcher.activate()

    def _start(self, target, name):
        def run():
            _here.process = self
            target()

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    @contextlib.contextmanager
    def acting(self):
        _here.process = self
        try:
            yield
        finally:
            _here.process = None

    def poll(self):
        """Poll, and wait until short jobs are done."""
        with self.acting():
            self.dispatcher.poll()

    def stop(self):
        with self.acting():
            self.dispatcher.deactivate()
        dispatchers.pop(self.UUID)


class Case(unittest.TestCase):
    """Processes that have one job in hand each, for all the time."""

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.clocks = Clocks()
        self.addCleanup(clock.install, clock.install(self.clocks))
        logger = logging.getLogger('zc.async')
        self.said, handler = [], logging.Handler()
        handler.emit = lambda record: self.said.append(record.getMessage())
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.storage = DemoStorage()
        self.db = ZODB.DB(self.storage, pool_size=50)
        self.addCleanup(self.db.close)
        with self.db.transaction() as connection:
            connection.root()[KEY] = queues = Queues()
            queues[''] = Queue()
        _released.clear()
        _fired.clear()

    def start(self, count):
        """Start so many processes, each with a job that it holds."""
        self.processes = [Process(self.db, number + 1) for number in range(count)]
        for process in self.processes:
            self.addCleanup(process.stop)
        self.addCleanup(_released.set)
        self.poll()
        for process in self.processes:
            with self.db.transaction() as connection:
                queue = connection.root()[KEY]['']
                queue.dispatchers[process.UUID]['main'] = Agent(size=2)
                queue.put(Job(hold))
            process.poll()
            process.poll()
            self.assertEqual(self.held(process), 1)

    def held(self, process):
        """Return how many jobs the agent of *process* holds."""
        with self.db.transaction() as connection:
            queue = connection.root()[KEY]['']
            return len(queue.dispatchers[process.UUID]['main'])

    def poll(self, processes=None):
        for process in self.processes if processes is None else processes:
            process.poll()

    def pass_time(self, seconds=POLL, processes=None):
        """Let time pass, and *processes* poll, by default all."""
        self.clocks.true += seconds * SECOND
        self.poll(processes)

    def taken_over(self):
        """Return what was said of deaths."""
        return [text for text in self.said
                if 'takes over' in text or 'taken for dead' in text]

    def assert_all_live(self):
        self.assertEqual(self.taken_over(), [])
        with self.db.transaction() as connection:
            for agents in connection.root()[KEY][''].dispatchers.values():
                self.assertIsNotNone(agents.activated)
                [job] = agents['main']
                self.assertEqual((job.status, job._attempt), (ACTIVE, 1))


class Jumps(Case):
    """Clocks on the wall jump."""

    def jump(self, *offsets):
        """Poll for ten minutes, the first process with these offsets in turn."""
        self.start(3)
        for number in range(120):
            self.processes[0].offset = offsets[number % len(offsets)]
            self.pass_time()

    def test_an_hour_ahead(self):
        self.jump(HOUR)
        self.assert_all_live()

    def test_an_hour_behind(self):
        self.jump(-HOUR)
        self.assert_all_live()

    def test_to_and_fro(self):
        for step in (HOUR, SECOND, 4 * SECOND, 2 * HOUR):
            with self.subTest(step):
                self.jump(step, -step)
                self.assert_all_live()
            self.doCleanups()
            self.setUp()

    def test_by_chance(self):
        chance = random.Random(7)
        self.jump(*(chance.choice((-1, 0, 1)) * chance.choice((SECOND, 4 * SECOND, HOUR))
                    for _number in range(120)))
        self.assert_all_live()

    def test_all_of_them(self):
        self.start(3)
        chance = random.Random(7)
        for _number in range(120):
            for process in self.processes:
                process.offset = chance.choice((-HOUR, 0 * HOUR, HOUR))
            self.pass_time()
        self.assert_all_live()

    def test_by_the_clock_on_the_wall_they_would_be_dead(self):
        with mock.patch.object(Sightings, 'is_dead', lambda self, agents: agents.dead):
            self.jump(HOUR, -HOUR)
        self.assertNotEqual(self.taken_over(), [])

    def creep(self):
        """Let the clock of one be set back whenever it nearly has to ping."""
        self.jump(*(number * -4.9 * SECOND for number in range(120)))

    def test_backwards_little_by_little(self):
        self.creep()
        self.assert_all_live()

    def test_who_pinged_by_the_clock_on_the_wall_would_be_silent(self):
        with mock.patch.object(Ping, 'steady_age', Ping.age):
            self.creep()
        self.assertNotEqual(self.taken_over(), [])


class Schedules(Case):
    """Scheduled jobs fire once, and no further off than the clocks are."""

    def test_each_fires_once(self):
        for skew in (HOUR, 60 * SECOND, SECOND):
            with self.subTest(skew):
                self.schedule(skew)
            self.doCleanups()
            self.setUp()

    def schedule(self, skew):
        self.start(3)
        due = [START + number * datetime.timedelta(minutes=4) + 2 * HOUR
               for number in range(30)]
        with self.db.transaction() as connection:
            queue = connection.root()[KEY]['']
            connection.root()['jobs'] = tuple(
                queue.put(Job(fire, number), begin_after=moment)
                for number, moment in enumerate(due))
        chance = random.Random(3)
        self.clocks.true = due[0] - skew - 60 * SECOND
        while self.clocks.true < due[-1] + skew + 60 * SECOND:
            for process in self.processes:
                process.offset = chance.choice((-1, 0, 1)) * skew
            self.pass_time()
            self.settle()
        self.assertEqual(sorted(number for number, _at in _fired), list(range(30)))
        for number, at in _fired:
            self.assertLessEqual(abs(at - due[number]), skew + 2 * POLL * SECOND)
        with self.db.transaction() as connection:
            self.assertEqual({job.status for job in connection.root()['jobs']},
                             {COMPLETED})
        self.assertEqual(self.taken_over(), [])

    def settle(self):
        """Wait until nobody has more in hand than the job that is held."""
        self.assertTrue(testing.wait_for(lambda: all(
            len(process.dispatcher._turns._hands) == 1
            and not process.dispatcher._turns._waiting
            and not process.dispatcher._turns._leading for process in self.processes)))


class Silence(Case):
    """One who does not ping is dead, however it is that others look."""

    def test_those_who_fall_silent_together_are_taken_over_together(self):
        self.start(6)
        survivor = self.processes[2:3]
        for _number in range(3):
            self.pass_time(POLL, survivor)
        self.assertEqual(self.taken_over(), [])
        self.pass_time(POLL, survivor)
        self.assertEqual(len(self.taken_over()), 5)

    def test_those_behind_one_that_lives_are_for_that_one(self):
        self.start(4)
        first, second, _third, _fourth = self.processes
        for _number in range(4):
            self.pass_time(POLL, [first, second])
        found = self.taken_over()
        self.assertEqual(len(found), 2)
        for text in found:
            self.assertIn(f'{second.UUID} takes over', text)

    def stop_all(self):
        """Let nobody do anything for a minute, as when a machine is suspended."""
        self.start(3)
        self.pass_time()
        # the last one has seen what the others said, and is the first to look
        self.pass_time(60, self.processes[::-1])
        self.pass_time()
        self.pass_time()

    def test_nobody_is_dead_who_was_stopped_together_with_the_others(self):
        self.stop_all()
        self.assert_all_live()

    def test_without_a_look_at_the_time_between_two_looks_they_would_be(self):
        with mock.patch.object(Sightings, '_counted', lambda self, seconds, agents: seconds):
            self.stop_all()
        self.assertNotEqual(self.taken_over(), [])

    def test_who_looks_late_every_time_finds_the_dead_nevertheless(self):
        self.start(2)
        for _number in range(5):
            self.pass_time(60, self.processes[:1])
        self.assertEqual(len(self.taken_over()), 1)

    def be_away(self):
        """Let nobody commit for a minute, while reading is possible, as over ZEO."""
        self.start(3)
        self.pass_time()
        with mock.patch.object(self.storage, 'tpc_begin',
                               side_effect=outage.ClientDisconnected('away')):
            for _number in range(12):
                self.pass_time()
        for _number in range(3):
            self.pass_time()

    def test_nobody_is_dead_after_the_database_was_away(self):
        self.be_away()
        self.assert_all_live()

    def test_without_a_fresh_start_they_would_be(self):
        with mock.patch.object(Sightings, 'forget', lambda self: None):
            self.be_away()
        self.assertNotEqual(self.taken_over(), [])
