"""Jobs that are claimed ahead of the threads that could begin them."""
import collections
import contextlib
import os
import tempfile
import threading
import unittest
from unittest import mock

import transaction
import ZODB
import zope.component
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadOnlyError
from zope.testing import cleanup

from . import contracts
from .. import configure
from .. import dispatcher as dispatchers
from .. import subscribers
from .. import testing
from ..agent import AHEAD
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import DatabaseOpened
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from ..model import lines
from ..model import outcomes
from ..model import parking
from ..model import recovery
from ..model.lines import Lines
from ..model.retry import NeverRetry
from ..runtime import turns
from ..runtime.ahead import LINGER
from ..runtime.history import History
from ..runtime.troubles import Troubles
from ..runtime.turns import Turns
from ..runtime.worker import Worker
from .contracts import FIRST
from .contracts import nothing
from .contracts import SECOND
from .contracts import SECOND_ONE

SIZE = 3
GO = threading.Event()


def wait_for_go():
    GO.wait(30)


def is_odd(job):
    """A filter."""
    return bool(job.args) and job.args[0] % 2


def choose(agent):
    """A chooser."""
    return agent.queue.claim()


class Services:
    """What turns need of a dispatcher, whose workers are the test."""

    UUID = FIRST
    claims_between_polls = True
    #: Seconds that a turn takes.
    turn_time = 0.0

    def __init__(self, world):
        self._world = world
        self.db = world.db
        self.history = History()
        self.lacking = parking.Claimant()
        self.lacking.stale = False
        self.troubles = Troubles(world.db)
        self.tickets = collections.deque()
        self.due = []

    def works_for(self, queue):
        self._world.clock.advance(SECOND * self.turn_time)
        return True

    def pause(self, seconds):
        return False

    def hand_out(self, ticket):
        self.tickets.append(ticket)

    def due_next(self, moment):
        self.due.append(moment)


class InTurns(contracts.InWorld):

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(size=SIZE)
        self.services = Services(self.world)
        self.turns = Turns(self.services)
        self.addCleanup(self.turns.close)

    def put_many(self, count, **options):
        """Put jobs, and return them in order."""
        jobs = [self.put(nothing, **options) for _number in range(count)]
        self.client.commit()
        return jobs

    def take(self):
        self.turns.take()
        self.client.begin()

    def begin_next(self):
        """Be a worker that takes the next ticket; return it."""
        while True:
            ticket = self.services.tickets.popleft()
            if ticket.take():
                ticket.begun = self.world.clock.monotonic()
                ticket.thread = threading.get_ident()
                return ticket

    def end(self, ticket, seconds, value=None):
        """Be a worker that is done with its job *seconds* later."""
        self.world.clock.advance(SECOND * seconds)
        self.turns.submit(ticket, outcomes.Outcome(
            ticket.oid, ticket.database_name, ticket.attempt, value))
        self.client.begin()

    def do_some(self, count, seconds=0.001, turn_time=0.005):
        """Let *count* jobs be done that take so long; so do the turns."""
        self.services.turn_time = turn_time
        self.put_many(count)
        self.take()
        for _number in range(count):
            self.end(self.begin_next(), seconds)
        self.assertEqual(len(self.agent), 0)
        self.services.turn_time = 0

    def held_ahead(self, count=SIZE + 2):
        """Have more jobs claimed than there are threads; return all of them."""
        self.do_some(30)
        jobs = self.put_many(count)
        self.take()
        self.assertEqual(list(self.agent), jobs)
        return jobs


class Claimed(InTurns, unittest.TestCase):
    """How many are claimed, and which."""

    def test_nobody_knows_yet_how_long_jobs_take(self):
        self.put_many(50)
        self.take()
        self.assertEqual(len(self.agent), SIZE)

    def test_of_short_jobs_as_many_as_are_done_while_a_turn_is_taken(self):
        self.do_some(100)
        self.put_many(100)
        self.take()
        # the latter for the time that the turn itself takes here
        self.assertEqual(len(self.agent) - SIZE, 5 * SIZE)
        self.assertEqual([ticket.ahead for ticket in self.services.tickets],
                         [False] * SIZE + [True] * 5 * SIZE)

    def test_there_is_a_limit(self):
        self.do_some(30, seconds=0.00001)
        self.put_many(100)
        self.take()
        self.assertEqual(len(self.agent), SIZE + AHEAD)
        self.take()
        self.assertEqual(len(self.agent), SIZE + AHEAD)

    def test_of_long_jobs_none(self):
        self.do_some(30, seconds=0.1, turn_time=1)
        self.put_many(100)
        self.take()
        self.assertEqual(len(self.agent), SIZE)

    def test_none_that_needs_a_quota(self):
        self.queue.quotas.create('narrow', 10)
        self.do_some(30)
        narrow = self.put_many(SIZE + 1, quotas=('narrow',))
        wide = self.put_many(5)
        self.take()
        self.assertEqual(list(self.agent), narrow[:SIZE] + wide)
        self.assertEqual(len(self.queue.quotas['narrow']), SIZE)

    def test_lines_are_looked_through_once_for_them_and_the_others(self):
        self.do_some(30)
        self.put_many(SIZE + 2)
        with mock.patch.object(
                Lines, 'heads', autospec=True, side_effect=Lines.heads) as heads:
            self.take()
        self.assertEqual(len(self.agent), SIZE + 2)
        looked = [call.args[1] for call in heads.call_args_list if call.args[1]]
        self.assertEqual(len(looked), 1)

    def test_none_of_another_dispatchers_part(self):
        self.do_some(30)
        self.world.add_dispatcher(SECOND_ONE)
        self.world.clock.advance(60 * SECOND)  # it was there all the time
        others = [shard.number for shard in self.queue._lines.shards if shard.number % 2]
        with mock.patch.object(lines, '_habit', mock.Mock(below=lambda limit: others[0])):
            for _number in range(4):
                self.put_many(100)
        self.take()
        self.assertEqual(len(self.agent), 0, 'they are left to the other one for now')
        self.world.clock.advance(SECOND)
        self.take()
        self.assertEqual(len(self.agent), SIZE)

    def test_none_for_a_chooser_or_for_other_agents_classes(self):
        self.do_some(30)
        self.agent.chooser = choose
        self.put_many(20)
        self.take()
        self.assertEqual(len(self.agent), SIZE)

    def test_only_what_the_filter_wants(self):
        self.do_some(30)
        self.agent.filter = is_odd
        jobs = [self.put(nothing, number) for number in range(20)]
        self.client.commit()
        self.take()
        self.assertEqual(list(self.agent), jobs[1::2])

    def test_no_others(self):
        self.do_some(30)
        self.world.add_dispatcher(SECOND_ONE)
        self.world.clock.advance(2 * SECOND)
        self.put_many(1)
        self.take()  # sees that there are two
        for shard in range(16):
            with mock.patch('zc.async.model.lines._habit',
                            mock.Mock(below=lambda limit: shard)):
                self.put_many(2)
        self.take()
        ahead = [self.client.connection.get(ticket.oid)
                 for ticket in self.services.tickets if ticket.ahead]
        self.assertTrue(ahead)
        self.assertEqual({job._order[-1] % 2 for job in ahead}, {0})

    def test_nobody_innocent_beside_what_may_kill(self):
        self.do_some(30)
        jobs = self.put_many(SIZE + 3)
        jobs[SIZE]._deaths = 1
        self.client.commit()
        self.take()
        self.assertEqual(list(self.agent), jobs[:SIZE + 1])

    def test_none_at_polls_alone(self):
        self.do_some(30)
        self.services.claims_between_polls = False
        self.put_many(20)
        self.take()
        self.assertEqual(len(self.agent), SIZE)


class GivenBack(InTurns, unittest.TestCase):
    """What no thread has begun is given back."""

    def test_when_it_has_waited_for_a_moment(self):
        jobs = self.held_ahead()
        for _number in range(SIZE):
            self.begin_next()
        self.world.clock.advance(SECOND * LINGER / 2)
        self.take()
        self.assertEqual(len(self.agent), len(jobs))
        self.world.clock.advance(SECOND * LINGER / 2)
        self.take()
        self.assertEqual(list(self.agent), jobs[:SIZE])
        self.assertEqual(list(self.queue), jobs[SIZE:])
        self.assertEqual({job.status for job in jobs[SIZE:]}, {PENDING})
        self.assertEqual(self.turns.in_hand, SIZE)

    def test_a_turn_is_planned_for_it(self):
        self.held_ahead()
        expected = self.world.clock.moment + SECOND * LINGER
        self.assertIn(round(expected.timestamp() * 1_000_000), self.services.due)

    def test_no_worker_begins_it_then(self):
        jobs = self.held_ahead()
        self.world.clock.advance(SECOND * LINGER)
        self.take()
        self.assertFalse(any(ticket.take() for ticket in self.services.tickets
                             if ticket.ahead))
        self.assertEqual(list(self.queue), jobs[SIZE:])

    def test_what_a_worker_has_taken_is_not(self):
        jobs = self.held_ahead()
        tickets = [self.begin_next() for _job in jobs]
        self.world.clock.advance(SECOND * LINGER)
        self.take()
        self.assertEqual(list(self.agent), jobs)
        for ticket in tickets:
            self.end(ticket, 0, 'done')
        self.assertEqual({(job.status, job.result) for job in jobs},
                         {(COMPLETED, 'done')})

    def test_that_is_no_attempt(self):
        jobs = self.held_ahead()
        policies = [job.getRetryPolicy() for job in jobs]
        for _number in range(20):
            self.turns.give_back()
            self.take()
            self.world.clock.advance(SECOND)
            self.take()
        self.assertTrue(all(job.status in (PENDING, ACTIVE) for job in jobs))
        self.assertEqual({policy.data.get('interruptions', 0) for policy in policies}, {0})
        self.assertEqual([job._deaths for job in jobs], [0] * len(jobs))

    def test_none_is_ahead_until_jobs_are_short_again(self):
        self.held_ahead()
        for _number in range(SIZE):
            self.begin_next()
        self.world.clock.advance(SECOND * LINGER)
        self.take()
        self.take()
        self.assertEqual(len(self.agent), SIZE)

    def test_when_the_dispatcher_stops(self):
        jobs = self.held_ahead()
        for _number in range(SIZE):
            self.begin_next()
        self.turns.give_back()
        self.turns.take(claim=False)
        self.client.begin()
        self.assertEqual(list(self.queue), jobs[SIZE:])
        self.assertFalse(self.services.tickets and self.services.tickets[0].take())

    def test_a_job_that_may_run_only_once(self):
        self.do_some(30)
        jobs = self.put_many(SIZE + 2)
        for job in jobs:
            job.retry_policy_factory = NeverRetry
        self.client.commit()
        self.take()
        self.world.clock.advance(SECOND * LINGER)
        self.take()
        self.assertEqual(list(self.queue), jobs[SIZE:])
        self.assertEqual({job._attempt for job in jobs}, {0})

    def test_that_is_done_once_though_nobody_knew_that_it_was(self):
        jobs = self.held_ahead()
        self.world.clock.advance(SECOND * LINGER)
        commit = self.turns._manager.commit

        def lose_the_answer():
            commit()
            raise ReadOnlyError

        with mock.patch.object(self.turns._manager, 'commit', lose_the_answer):
            with contextlib.suppress(ReadOnlyError):
                self.turns.take(claim=False)
        self.turns.take(claim=False)
        self.client.begin()
        self.assertEqual(list(self.queue), jobs[SIZE:])
        self.assertEqual(self.turns.in_hand, SIZE)

    def test_what_others_have_by_then_stays_theirs(self):
        jobs = self.held_ahead()
        agents = self.queue.dispatchers[FIRST]
        agents.deactivate(died=True)
        other = self.world.add_dispatcher(SECOND_ONE, size=100)
        while other.claimJob() is not None:
            pass
        self.client.commit()
        self.assertEqual(set(other), set(jobs))
        self.turns.give_back()
        self.turns.take(claim=False)
        self.client.begin()
        self.assertEqual(set(other), set(jobs))
        self.assertEqual(len(self.queue), 0)

    def test_what_cannot_be_given_back_has_not_failed(self):
        jobs = self.held_ahead()
        self.world.clock.advance(SECOND * LINGER)
        with mock.patch.object(recovery, 'give_back', side_effect=ZeroDivisionError):
            self.take()
        self.assertEqual({job.status for job in jobs}, {ACTIVE})
        self.assertEqual(self.turns.in_hand, SIZE)
        # a poll puts them back
        self.assertEqual([self.turns.dropped(job, 'unnamed') for job in jobs],
                         [False] * SIZE + [True] * 2)

    def test_nothing_is_remembered_of_it(self):
        history = self.services.history
        self.do_some(30)
        before = history.statistics()
        self.put_many(SIZE + 2)
        self.take()
        self.turns.give_back()
        self.turns.take(claim=False)
        self.client.begin()
        after = history.statistics()
        self.assertEqual(after['started'], before['started'] + SIZE)
        self.assertEqual(len(history._jobs), 30 + SIZE)

    def test_a_worker_leaves_it_alone(self):
        self.held_ahead()
        self.turns.give_back()
        self.turns.take(claim=False)
        for ticket in self.services.tickets:
            if ticket.ahead:
                # it would need a real dispatcher for everything else
                self.assertIsNone(Worker(None).work(ticket))
                self.assertIsNone(ticket.thread)

    def test_a_conflict_does_not_matter(self):
        jobs = self.held_ahead()
        self.world.clock.advance(SECOND * LINGER)
        commit, conflicts = self.turns._manager.commit, [ConflictError(), ConflictError()]

        def conflict():
            if conflicts:
                raise conflicts.pop()
            commit()

        with mock.patch.object(self.turns._manager, 'commit', conflict):
            self.take()
        self.assertEqual(conflicts, [])
        self.assertEqual(list(self.queue), jobs[SIZE:])


class Threads(unittest.TestCase):
    """With a real dispatcher."""

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.dict(
            os.environ, ZC_ASYNC_UUID=os.path.join(folder.name, 'uuid.txt'))
        patch.start()
        self.addCleanup(patch.stop)
        configure.base()
        self.db = ZODB.DB(FileStorage(os.path.join(folder.name, 'Data.fs')))
        self.addCleanup(self.db.close)
        self.addCleanup(transaction.abort)
        zope.component.provideHandler(subscribers.AgentInstaller('main', size=1))
        subscribers.queue_installer(DatabaseOpened(self.db))
        self.dispatcher = subscribers.ThreadedDispatcherInstaller(600)(
            DatabaseOpened(self.db))
        self.addCleanup(dispatchers.clear)
        self.addCleanup(subscribers.restore_signal_handlers, self.dispatcher)
        self.addCleanup(testing.tear_down_dispatcher, self.dispatcher)
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        testing.wait_for(lambda: self.dispatcher.queues.get('', {}).get('main'))
        self.queue = self.connection.root()[KEY]['']

    def test_when_it_stops_no_more_are_begun(self):
        patch = mock.patch.object(turns, 'LINGER', 600)
        patch.start()
        self.addCleanup(patch.stop)
        jobs = [self.queue.put(Job(nothing)) for _number in range(300)]
        transaction.commit()
        testing.wait_for_result(jobs[-1])
        GO.clear()
        self.addCleanup(GO.set)
        long = self.queue.put(Job(wait_for_go))
        rest = [self.queue.put(Job(nothing)) for _number in range(3)]
        transaction.commit()

        def all_held():
            transaction.begin()
            return {job.status for job in [long, *rest]} == {ACTIVE}

        self.assertTrue(testing.wait_for(all_held))
        reactor = self.dispatcher.reactor
        self.dispatcher.shutdown_grace = 30
        reactor.callFromThread(reactor.stop)
        # the long one is waited for; the others are taken from under the thread
        waiting = self.dispatcher._turns._waiting
        self.assertTrue(testing.wait_for(lambda: len(waiting) == len(rest)))
        GO.set()
        self.assertTrue(testing.wait_for(lambda: self.dispatcher.activated is None))
        transaction.begin()
        self.assertIs(long.status, COMPLETED)
        self.assertEqual({job.status for job in rest}, {PENDING})
        self.assertEqual(list(self.queue), rest)

    def test_jobs_behind_a_long_one_are_given_back(self):
        jobs = [self.queue.put(Job(nothing)) for _number in range(300)]
        transaction.commit()
        testing.wait_for_result(jobs[-1])
        GO.clear()
        self.addCleanup(GO.set)
        long = self.queue.put(Job(wait_for_go))
        rest = [self.queue.put(Job(nothing)) for _number in range(5)]
        transaction.commit()

        def all_wait():
            transaction.begin()
            return long.status is ACTIVE and {job.status for job in rest} == {PENDING}

        self.assertTrue(testing.wait_for(all_wait))
        GO.set()
        for job in rest:
            testing.wait_for_result(job)
