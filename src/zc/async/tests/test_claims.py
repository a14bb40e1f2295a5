"""What claims look at: memory of refusals, and places among several dispatchers."""
import contextlib
import random
import types
import unittest
from unittest import mock

from ZODB.POSException import ConflictError

from . import contracts
from .. import chance
from .. import clock
from .. import timekeys
from ..agent import Agent
from ..model import lines
from ..model import parking
from ..runtime import places
from ..runtime import refusals
from ..runtime.claims import Claims
from .contracts import FIRST
from .contracts import SECOND
from .contracts import SECOND_ONE
from .contracts import nothing

#: How often the filter was asked.
ASKED = []
#: What the filter wants besides even numbers.
WANTED = set()
#: What else the filter does.
DOES = []


def is_even(job):
    """A filter."""
    ASKED.append(job)
    for act in DOES:
        act()
    return job.args[0] % 2 == 0 or job.args[0] in WANTED


def in_shard(number):
    """Let all be put in one shard, within a block."""
    return mock.patch.object(lines, '_habit', mock.Mock(below=lambda limit: number))


def services(UUID=FIRST, between_polls=False):
    """Return what claims need of a dispatcher."""
    return types.SimpleNamespace(
        UUID=UUID, lacking=parking.Claimant(), claims_between_polls=between_polls)


class InTurns(contracts.InWorld):
    """Claims as a dispatcher's turns make them."""

    between_polls = False

    def setUp(self):
        super().setUp()
        ASKED.clear()
        WANTED.clear()
        DOES.clear()
        patch = mock.patch.object(timekeys, '_last', 0)
        patch.start()
        self.addCleanup(patch.stop)
        self.claims = Claims(services(FIRST, self.between_polls), lambda: 0.001)
        self.agent = self.world.add_dispatcher(size=10 ** 6)
        self.agent.filter = is_even
        self.client.commit()
        self.number = 1

    def put_odd(self, count, **options):
        """Put *count* jobs that the filter refuses."""
        for _number in range(count):
            self.put(nothing, self.number, **options)
            self.number += 2
        self.client.commit()

    def put_even(self, **options):
        """Put a job that the filter wants; return it."""
        job = self.put(nothing, self.number + 1, **options)
        self.number += 2
        self.client.commit()
        return job

    def turn(self, count=10 ** 6, fail=False, poll=False, agent=None):
        """Claim in one turn; return the first arguments of the jobs."""
        self.claims.begin(poll)
        parking.let_claim(self.client.transactions.get(), self.claims)
        agent = agent or self.agent
        self.claims.claim_for(agent)
        found = []
        while len(found) < count:
            job = agent.claimJob()
            if job is None:
                break
            found.append(job.args[0])
        if fail:
            self.client.begin()
        else:
            self.client.commit()
            self.claims.done()
        return found

    def settle(self):
        """Let so much time pass that nobody is expected to put anything before."""
        self.world.clock.advance(10 * SECOND)


class Memory(InTurns, unittest.TestCase):
    """A filter is not asked at each claim about what it has refused."""

    def asks(self, *args, **options):
        """Return what a turn claimed and how often the filter was asked."""
        before = len(ASKED)
        return self.turn(*args, **options), len(ASKED) - before

    def ask_all(self):
        """Claim until there is nothing more to ask about."""
        for _number in range(100):
            if not self.asks()[1]:
                return
            self.world.clock.advance()
        self.fail('it is asked again and again')

    def test_a_job_is_asked_about_once(self):
        self.put_odd(50)
        self.assertEqual(self.asks(), ([], 50))
        self.assertEqual(self.asks(), ([], 0))
        self.settle()
        self.assertEqual(self.asks(), ([], 0))
        self.assertEqual(self.asks(), ([], 0))

    def test_those_behind_are_claimed_in_order(self):
        self.put_odd(50)
        self.put_even()
        self.put_odd(50)
        self.put_even()
        self.assertEqual(self.turn(), [102, 204])

    def test_a_new_job_is_asked_about_alone(self):
        self.put_odd(50)
        self.turn()
        self.settle()
        self.turn()
        job = self.put_even()
        self.assertEqual(self.asks(), (list(job.args), 1))

    def test_many_in_front_cost_the_first_claim_little(self):
        self.put_odd(5000)
        job = self.put_even()
        found, asked = self.asks(1)
        self.assertEqual(found, list(job.args))
        self.assertLess(asked, 500)

    def test_many_in_front_cost_later_claims_nothing(self):
        self.put_odd(5000)
        self.settle()
        self.ask_all()
        for _number in range(10):
            job = self.put_even()
            self.assertEqual(self.asks(1), (list(job.args), 1))
            self.client.connection.cacheMinimize()
            before = self.client.connection.getTransferCounts(clear=True)
            self.turn()
            loaded, _stored = self.client.connection.getTransferCounts()
            self.assertLess(loaded, 150, before)

    def test_what_was_left_out_is_found_bit_by_bit(self):
        with in_shard(0):
            self.put_odd(2000)
            hidden = self.put_even()
            self.put_odd(2000)
            last = self.put_even()
        self.assertEqual(self.turn(1), list(last.args))
        found = []
        for _number in range(40):
            self.world.clock.advance()
            found += self.turn()
        self.assertEqual(found, list(hidden.args))

    def test_one_claim_asks_so_often_at_most(self):
        for _number in range(20):
            self.put_odd(200)
        self.put_even()
        self.assertLess(self.asks()[1], refusals.ASKS + 200)

    def test_a_slow_filter_does_not_hold_a_turn_up(self):
        self.put_odd(200)
        DOES.append(lambda: self.world.clock.advance(SECOND / 100))
        self.assertLess(self.asks()[1], 20)
        self.assertGreater(self.claims.again, clock.micros())

    def test_a_turn_that_loads_for_long_asks_nevertheless(self):
        # over a slow network, and where others change something before each turn
        self.put_odd(1)
        job = self.put_even()
        begin = refusals.Refusals.begin

        def load_slowly(*args):
            begin(*args)
            self.world.clock.advance(SECOND)

        with mock.patch.object(refusals.Refusals, 'begin', load_slowly):
            self.assertEqual(self.asks(), ([], 1))
            self.assertEqual(self.asks(), ([job.args[0]], 1))

    def test_a_job_that_is_put_in_front_is_found(self):
        self.put_odd(50)
        self.settle()
        self.turn()
        job = self.put_even()
        self.queue.claim(lambda one: one is job)
        self.queue.putBack(job)
        self.client.commit()
        self.assertEqual(self.turn(), list(job.args))

    def test_a_job_that_is_put_back_where_it_stood_is_found(self):
        self.put_odd(20)
        job = self.put_even()
        self.put_odd(20)
        self.queue.claim(lambda one: one is job)
        self.client.commit()
        self.settle()
        self.turn()
        self.queue.restore(job)
        self.client.commit()
        self.assertEqual(self.turn(), list(job.args))

    def test_a_commit_that_comes_late_is_not_missed(self):
        for seconds in (1, 3, 60):
            with self.subTest(seconds=seconds):
                other = self.world.open()
                other.put(nothing, 2)
                self.put_odd(5)
                self.world.clock.advance(seconds * SECOND)
                self.turn()
                self.world.clock.advance(SECOND)
                other.commit()
                self.client.begin()
                self.assertEqual(self.turn(), [2])

    def test_nor_is_one_among_those_that_were_left_out(self):
        with in_shard(0):
            self.put_odd(200)
            other = self.world.open()
            job = other.put(nothing, 2)
            self.put_odd(5)  # no more: where a leaf is split, the other's commit fails
            self.turn()
            self.world.clock.advance()
            self.turn()
            other.commit()
            self.client.begin()
            found = []
            for _number in range(2 * refusals.SETTLED):
                self.world.clock.advance()
                found += self.turn()
        self.assertEqual(found, list(job.args))

    def test_a_process_whose_clock_is_slow_is_not_missed(self):
        with in_shard(0):
            self.put_odd(5)
            self.settle()
            self.turn()
            self.world.clock.advance(-60 * SECOND)
            with mock.patch.object(timekeys, '_last', 0):
                job = self.put_even()
            self.world.clock.advance(60 * SECOND)
        self.assertEqual(self.turn(), list(job.args))

    def test_a_scheduled_job_is_found_when_it_is_due(self):
        self.put_odd(50)
        job = self.put_even(begin_after=clock.now() + 60 * SECOND)
        self.turn()
        self.world.clock.advance(60 * SECOND)
        self.assertEqual(self.turn(), list(job.args))

    def test_a_claim_that_fails_is_made_again(self):
        for count in (5, 60):
            with self.subTest(count=count), in_shard(0):
                self.put_odd(count)
                first, second = self.put_even(), self.put_even()
                self.put_odd(count)
                self.settle()
                wanted = [*first.args, *second.args]
                for _number in range(3):
                    self.assertEqual(self.turn(fail=True), wanted)
                self.assertEqual(self.turn(), wanted)

    def test_what_was_left_out_and_claimed_in_vain_is_claimed_again(self):
        with in_shard(0):
            self.put_odd(refusals.STRIDE + 10)
            hidden = self.put_even()
            self.put_odd(100)
            last = self.put_even()
        self.settle()
        self.assertEqual(self.turn(), list(last.args))
        self.world.clock.advance()
        self.assertEqual(self.turn(fail=True), list(hidden.args))
        self.world.clock.advance()
        self.assertEqual(self.turn(), list(hidden.args))

    def test_what_another_agent_took_in_vain_is_not_missed(self):
        self.put_odd(5)
        job = self.put_even()
        self.put_odd(5)
        self.settle()
        other = self.agent.parent['other'] = Agent()
        self.client.commit()
        self.claims.begin(False)
        parking.let_claim(self.client.transactions.get(), self.claims)
        self.claims.claim_for(other)
        other.hold(self.queue.claim(lambda one: one is job))
        self.claims.claim_for(self.agent)
        self.assertIsNone(self.agent.claimJob())
        self.client.begin()
        self.assertEqual(self.turn(), list(job.args))

    def test_another_filter_knows_of_nothing(self):
        self.put_odd(5)
        self.turn()
        self.agent.filter = None
        self.client.commit()
        self.assertEqual(self.turn(), [1, 3, 5, 7, 9])

    def test_a_filter_that_changes_its_mind_is_asked_at_a_poll(self):
        self.put_odd(50)
        self.settle()
        self.turn()
        WANTED.add(21)
        self.assertEqual(self.turn(), [])
        self.assertEqual(self.turn(poll=True), [21])

    def test_that_takes_longer_where_much_is_refused(self):
        self.put_odd(5000)
        self.settle()
        self.ask_all()
        WANTED.add(4001)
        found = self.turn(poll=True)
        for _number in range(60):
            self.world.clock.advance()
            found += self.turn()
        self.assertEqual(found, [4001])

    def test_arguments_that_are_changed_are_seen_at_a_poll(self):
        job = self.put(nothing, 1)
        self.client.commit()
        self.turn()
        job.args[0] = 2
        self.client.commit()
        self.assertEqual(self.turn(poll=True), [2])

    def test_many_lines_of_nothing_that_is_wanted_are_soon_passed(self):
        for number in range(lines.SHARDS):
            with in_shard(number):
                self.put_odd(200)
        last = self.put_even()
        self.settle()
        found, asks = self.asks()
        self.assertEqual(found, list(last.args))
        self.assertLess(asks, refusals.STRIDE + lines.SHARDS * 2 * refusals.FEW)

    def test_a_filter_that_takes_long_is_helped_by_looking_behind_too(self):
        DOES.append(lambda: self.world.clock.advance(SECOND / 200))
        with in_shard(0):
            self.put_odd(1000)
            last = self.put_even()
        self.settle()
        found = []
        for _number in range(20):
            found += self.turn()
        self.assertEqual(found, list(last.args))

    def test_a_line_in_which_all_was_asked_about_begins_anew(self):
        with in_shard(0):
            for _number in range(20):
                self.put_odd(6)
                self.assertEqual(self.turn(), [])
                self.settle()
            self.put_odd(20)
            wanted = [*self.put_even().args]
            self.put_odd(20)
            wanted += self.put_even().args
        self.assertEqual(self.turn(), wanted)

    def test_what_was_left_out_has_less_time_while_jobs_are_found(self):
        DOES.append(lambda: self.world.clock.advance(SECOND / 1000))
        with in_shard(0):
            self.put_odd(2000)
            for _number in range(30):
                self.put_even()
        self.settle()
        self.assertTrue(any(self.turn(5) for _number in range(20)))
        bit = 1000 * refusals.BIT
        self.assertAlmostEqual(self.pause_after_bit(), bit * refusals.BUSY, delta=bit)
        self.turn()
        self.pause_after_bit()
        self.assertAlmostEqual(self.pause_after_bit(), bit * refusals.BETWEEN, delta=bit)

    def pause_after_bit(self):
        """Ask about a bit, claim at most one; return the milliseconds until the next."""
        self.world.clock.advance(SECOND)
        self.turn(1)
        [memory] = self.claims._refusals.values()
        return 1000 * (memory.next_bit - clock.monotonic())

    def test_a_quota_that_opens_brings_what_was_behind_it(self):
        quota = self.queue.quotas.create('q', 0) or self.queue.quotas['q']
        self.put_odd(300, quotas=('q',))
        job = self.put_even(quotas=('q',))
        self.assertEqual(self.asks(), ([], 0))
        quota.size = 1
        self.client.commit()
        self.assertEqual(self.turn(), list(job.args))

    def test_a_quota_that_closes_hides_nothing_that_was_left_out(self):
        self.queue.quotas.create('q', 1)
        with in_shard(0):
            self.put_odd(300, quotas=('q',))
            hidden = self.put_even(quotas=('q',))
            self.put_odd(300, quotas=('q',))
            last = self.put_even(quotas=('q',))
        self.settle()
        self.assertEqual(self.turn(), list(last.args))
        for _number in range(10):
            self.world.clock.advance()
            self.assertEqual(self.turn(), [])
        self.queue.quotas['q'].size = 2
        self.client.commit()
        found = []
        for _number in range(10):
            self.world.clock.advance()
            found += self.turn()
        self.assertEqual(found, list(hidden.args))

    def test_a_chooser_sees_all_jobs_each_time(self):
        self.agent.filter = None
        self.agent.chooser = all_but_odd
        self.put_odd(2000)
        hidden = self.put_even()
        self.put_odd(2000)
        self.assertEqual(self.turn(), list(hidden.args))


def all_but_odd(agent):
    """A chooser that makes a filter for each claim."""
    return agent.queue.claim(lambda job: job.args[0] % 2 == 0)


class NothingIsMissed(InTurns, unittest.TestCase):
    """Whatever happens, a wanted job is claimed, and in its turn."""

    def setUp(self):
        super().setUp()
        patch = mock.patch.multiple(refusals, STRIDE=4, ASKS=40, _KNOWN=30)
        patch.start()
        self.addCleanup(patch.stop)

    def wanted(self):
        """Return the arguments of the jobs in line that are wanted, in order."""
        now = clock.micros()
        limit = timekeys.until(now)
        return [job.args[0] for job in self.queue if job.args[0] % 2 == 0
                and job._order <= limit]

    def test_by_many_seeds(self):
        for seed in range(40):
            with self.subTest(seed=seed), \
                    mock.patch.object(lines, '_habit', chance.Habit()), \
                    mock.patch.object(timekeys, '_last', 0):
                before = chance.install(random.Random(seed))
                try:
                    self.act(random.Random(seed))
                finally:
                    chance.install(before)

    def act(self, chance):
        self.held, self.late = [], []
        steps = [self.odd] * 4 + [self.even] * 3 + [self.claim] * 6 + [
            self.claim_in_vain, self.open_late, self.commit_late, self.hand_back,
            self.put_back, self.schedule, self.pass_time, self.pass_time]
        for _number in range(150):
            chance.choice(steps)(chance)
        while self.late:
            self.commit_late(chance)
        for _number in range(60):
            self.settle()
            self.turn()
        self.assertEqual(self.wanted(), [])
        for job in list(self.queue):
            self.queue.remove(job)
        self.client.commit()

    def odd(self, chance):
        self.put_odd(chance.choice([1, 3, 12]))

    def even(self, chance):
        self.put_even()

    def schedule(self, chance):
        self.put_even(begin_after=clock.now() + chance.randrange(1, 20) * SECOND)

    def pass_time(self, chance):
        self.world.clock.advance(chance.choice([0.1, 1, 6]) * SECOND)

    def open_late(self, chance):
        other = self.world.open()
        other.put(nothing, 2 * chance.randrange(10 ** 6))
        self.late.append(other)

    def commit_late(self, chance):
        if self.late:
            with contextlib.suppress(ConflictError):
                self.late.pop().commit()
            self.client.begin()

    def claim(self, chance, fail=False):
        before = self.wanted()
        self.claims.begin(False)  # or what failed before would not be undone yet
        complete = self.complete()
        found = self.turn(chance.choice([1, 2, 5]), fail=fail)
        self.assertLessEqual(set(found), set(before))
        if not found and complete and self.complete():
            self.assertEqual(before, [], 'missed')
        if complete and self.complete() and found:
            self.assertEqual(found, before[:len(found)], 'out of turn')

    def complete(self):
        """Return whether nothing is left out, so that the order is kept."""
        return all(one.next_bit is None and one._count < refusals.ASKS
                   for one in self.claims._refusals.values())

    def claim_in_vain(self, chance):
        self.claim(chance, fail=True)

    def hand_back(self, chance):
        for job in list(self.agent)[:1]:
            self.agent.discard(job)
            self.queue.restore(job)
            self.client.commit()

    def put_back(self, chance):
        for job in list(self.agent)[:1]:
            self.agent.discard(job)
            self.queue.putBack(job)
            self.client.commit()


class LongLines(InTurns, unittest.TestCase):
    """Who works at the heads of lines loads nothing of their ends."""

    def loads(self, each):
        """Return how many records a claim loads where lines have *each* so many jobs."""
        for number in range(4):
            with in_shard(number):
                for _number in range(each if number else 5):
                    self.put(nothing, 2)
            self.client.commit()
        self.client.connection.cacheMinimize()
        self.client.connection.getTransferCounts(clear=True)
        self.assertEqual(self.turn(5), [2] * 5)
        return self.client.connection.getTransferCounts()[0]

    def test_a_line_costs_one_leaf_more_than_one_that_is_as_short_as_a_leaf(self):
        self.agent.filter = None
        short = self.loads(5)
        self.assertLessEqual(self.loads(800) - short, 3)


class Blocked(InTurns, unittest.TestCase):
    """A full quota, and jobs behind it, cost a claim nothing."""

    def loads(self, in_front):
        """Return how many records one claim loads in a new connection."""
        for _number in range(in_front):
            self.put(nothing, 1, quotas=('full',))
        for _number in range(20):
            self.put(nothing, 2)
        self.client.commit()
        self.client.connection.cacheMinimize()
        self.client.connection.getTransferCounts(clear=True)
        self.assertEqual(self.turn(5), [2] * 5)
        return self.client.connection.getTransferCounts()[0]

    def test_a_claim_loads_as_much_as_with_nothing_in_front(self):
        self.agent.filter = None
        self.queue.quotas.create('full', 0)
        with in_shard(0):
            free = self.loads(0)
            self.assertLess(self.loads(3000) - free, 6)


class Several(InTurns, unittest.TestCase):
    """Each dispatcher begins with shards of its own."""

    between_polls = True

    def setUp(self):
        super().setUp()
        self.agent.filter = None
        self.world.add_dispatcher(SECOND_ONE, 100)
        self.other = self.client.agent(SECOND_ONE)
        self.client.commit()
        self.others = Claims(services(SECOND_ONE, True), lambda: 0.001)
        patch = mock.patch.object(places, 'NEW', 0)
        patch.start()
        self.addCleanup(patch.stop)

    def put_in(self, number, count=1, first=0, **options):
        """Put *count* jobs in the shard *number*; their arguments count on."""
        with in_shard(number):
            for one in range(count):
                self.put(nothing, (number, first + one), **options)
            self.client.commit()

    def numbers(self, *args, **options):
        return [number for number, _one in self.turn(*args, **options)]

    def test_one_dispatcher_takes_all_in_order(self):
        self.other.parent.deactivate()
        for number in (3, 0, 7, 2):
            self.put_in(number)
        self.assertEqual(self.numbers(), [3, 0, 7, 2])

    def test_two_have_different_ones(self):
        for number in range(16):
            self.put_in(number)
        mine, self.claims = self.numbers(), self.others
        theirs = self.numbers(agent=self.other)
        self.assertEqual(sorted(mine + theirs), list(range(16)))
        self.assertEqual({number % 2 for number in mine}, {0})
        self.assertEqual({number % 2 for number in theirs}, {1})

    def test_those_under_a_quota_come_in_order_to_whoever_takes_them(self):
        self.queue.quotas.create('q', 5)
        for number in (3, 0, 7, 2):
            self.put_in(number, quotas=('q',))
        self.assertEqual(self.numbers(2), [3, 0])
        self.claims = self.others
        self.assertEqual(self.numbers(agent=self.other), [7, 2])

    def test_what_nobody_takes_is_taken_after_a_moment(self):
        self.put_in(1)
        self.assertEqual(self.turn(), [])
        self.assertGreater(self.claims.again, clock.micros())
        self.world.clock.advance(
            (self.claims.again - clock.micros()) * SECOND / 10 ** 6)
        self.assertEqual(self.numbers(), [1])

    def test_who_is_next_comes_first(self):
        self.put_in(1)
        self.world.add_dispatcher('third dispatcher')
        ring = sorted(self.queue.dispatchers)
        waits = {}
        for UUID in ring:
            claims = self.claims = Claims(services(UUID, True), lambda: 0)
            found = self.turn(fail=True, agent=self.client.agent(UUID))
            waits[ring.index(UUID)] = 0 if found else claims.again - clock.micros()
        self.assertEqual(waits[1], 0)
        self.assertLess(waits[2], waits[0])

    def test_far_back_others_jobs_are_taken_at_once(self):
        self.put_in(1, 3 * places.LANE)
        found = self.turn(3)
        self.assertEqual([one for _number, one in found],
                         [places.LANE + one for one in range(3)])

    def test_a_job_that_waits_for_long_is_not_overtaken_for_ever(self):
        self.put_in(1)
        found = []
        for second in range(20):
            self.put_in(0, 5, 5 * second)
            found += self.numbers(3)
            self.world.clock.advance()
        self.assertIn(1, found)
        self.assertLess(found.index(1), 3 * 12)

    def test_while_some_wait_for_too_long_they_come_first(self):
        self.put_in(1, 60)
        self.world.clock.advance(2 * places.UNFAIR * SECOND)
        found = self.numbers(3)
        self.world.clock.advance(places.FAIR * SECOND)
        for _number in range(20):
            # less time passes than there is between two looks at others' jobs
            self.world.clock.advance(0.04 * SECOND)
            self.put_in(0, 3)
            found += self.numbers(3)
        self.assertGreater(found.count(1), 30)

    def test_nothing_stays_in_line(self):
        chance = random.Random(3)
        for _number in range(300):
            self.put_in(chance.randrange(16))
        for _number in range(60):
            self.turn(7)
            self.world.clock.advance(0.2 * SECOND)
        self.assertEqual(len(self.queue), 0)

    def test_a_conflict_lets_it_count_dispatchers_anew(self):
        self.other.parent.deactivate()
        self.client.commit()
        self.put_in(0)
        self.put_in(1)
        self.assertEqual(self.numbers(fail=True), [0, 1])
        self.other.parent.activate()
        self.client.commit()
        self.assertEqual(self.numbers(fail=True), [0])

    def test_one_that_takes_elsewhere_is_left_what_is_his(self):
        self.put_in(1)
        self.put_in(3, 3)
        mine, theirs = self.claims, self.others

        def taken():
            self.claims = mine
            return self.numbers()

        self.assertEqual(taken(), [])
        self.world.clock.advance(0.04 * SECOND)
        self.claims = theirs
        self.put_in(5)
        self.assertEqual(self.numbers(1, agent=self.other), [1])
        self.assertEqual(taken(), [])
        self.world.clock.advance(0.04 * SECOND)
        self.assertEqual(taken(), [], 'he has taken one just now')
        self.world.clock.advance(0.06 * SECOND)
        self.assertEqual(taken(), [3, 3, 3, 5])

    def test_one_that_comes_back_to_his_own_is_left_them(self):
        self.put_in(1, 9)
        mine, theirs = self.claims, self.others
        self.assertEqual(self.turn(1), [])
        self.world.clock.advance(0.06 * SECOND)
        self.assertEqual(self.turn(1), [(1, 0)])
        self.assertEqual(self.turn(1), [(1, 1)], 'he has not come yet')
        self.claims = theirs
        self.assertEqual(self.turn(2, agent=self.other), [(1, 2), (1, 3)])
        self.claims = mine
        self.assertEqual(self.turn(1), [])

    def test_after_a_conflict_others_jobs_are_left_to_them_for_a_moment(self):
        self.put_in(1)
        self.assertEqual(self.numbers(), [])
        self.world.clock.advance(0.06 * SECOND)
        self.assertEqual(self.numbers(fail=True), [1])
        self.put_in(0)
        self.assertEqual(self.numbers(), [0])
        self.assertGreater(self.claims.again, clock.micros())
        self.world.clock.advance(0.2 * SECOND)
        self.assertEqual(self.numbers(), [1])

    def test_a_shard_that_has_become_ours_is_left_for_a_moment(self):
        with mock.patch.object(places, 'NEW', 0.2):
            self.claims = Claims(services(FIRST, True), lambda: 0)
            self.put_in(0)
            self.assertEqual(self.numbers(), [])
            self.assertGreater(self.claims.again, clock.micros())
            self.world.clock.advance(0.2 * SECOND)
            self.assertEqual(self.numbers(), [0])

    def test_one_that_was_ours_before_is_not(self):
        self.other.parent.deactivate()
        self.client.commit()
        with mock.patch.object(places, 'NEW', 0.2):
            self.claims = Claims(services(FIRST, True), lambda: 0)
            self.put_in(0)
            self.put_in(1)
            self.assertEqual(self.numbers(), [0, 1])
            self.other.parent.activate()
            self.client.commit()
            self.world.clock.advance(0.01 * SECOND)
            self.put_in(0)
            self.put_in(1)
            self.assertEqual(self.numbers(), [0])

    def test_polls_far_apart_wait_for_nobody(self):
        self.claims = Claims(services(), lambda: 0)
        self.put_in(1)
        self.put_in(0)
        self.assertEqual(self.numbers(), [1, 0])


class Puts(InTurns, unittest.TestCase):
    """Processes that put choose different shards."""

    def shard_of(self, job):
        return timekeys.split(job._order)[3]

    def test_a_shard_in_which_another_puts_is_left(self):
        other, chosen = self.world.open(), iter([4, 4, 9, 4, 9])
        habit = mock.Mock(below=lambda limit: next(chosen))
        with mock.patch.object(lines, '_habit', habit):
            self.assertEqual(self.shard_of(other.put(nothing, 1)), 4)
            other.commit()
            self.client.begin()
            self.assertEqual(self.shard_of(self.put(nothing, 1)), 9)
            self.client.commit()
            other.begin()
            self.assertEqual(self.shard_of(other.put(nothing, 1)), 4)
            other.commit()
            self.client.begin()
            self.assertEqual(self.shard_of(self.put(nothing, 1)), 9)

    def test_where_all_are_used_one_is_kept(self):
        other = self.world.open()
        habit = mock.Mock(below=mock.Mock(side_effect=[*range(16)] + [3] * 100))
        with mock.patch.object(lines, '_habit', habit):
            for _number in range(16):
                other.put(nothing, 1)
                other.commit()
            self.client.begin()
            asked = []
            for _number in range(10):
                before = habit.below.call_count
                self.put(nothing, 1)
                self.client.commit()
                asked.append(habit.below.call_count - before)
        self.assertEqual(asked, [lines._TRIES + 1] + [1] * 9)

    def test_a_great_transaction_uses_several(self):
        chosen = iter(range(16))
        with mock.patch.object(lines, '_habit', mock.Mock(below=lambda limit: next(chosen))), \
                mock.patch.object(lines, 'TOGETHER', 5):
            jobs = [self.put(nothing, number) for number in range(12)]
        self.assertEqual([self.shard_of(job) for job in jobs],
                         [0] * 5 + [1] * 5 + [2] * 2)
        self.assertEqual([job.args[0] for job in self.queue], list(range(12)))

    def test_it_uses_one_after_the_other_and_the_next_goes_on_there(self):
        with mock.patch.object(lines, '_habit', chance.Habit()), \
                mock.patch.object(lines, 'TOGETHER', 5):
            found = []
            for count in (12, 1):
                found += [self.shard_of(self.put(nothing, 1)) for _number in range(count)]
                self.client.commit()
        first = found[0]
        self.assertEqual([(number - first) % 16 for number in found],
                         [0] * 5 + [1] * 5 + [2] * 2 + [2])
