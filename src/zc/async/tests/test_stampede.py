"""Fifty dispatchers do not stampede for one job."""
import collections
import heapq
import itertools
import types
import unittest
from unittest import mock

import zope.interface
from twisted.internet.interfaces import IReactorTime

from . import contracts
from .. import dispatcher as dispatchers
from .. import timekeys
from ..agent import Agent
from ..model import lines
from ..queue import Queue
from ..runtime import places
from ..runtime.turns import Turns
from .contracts import nothing
from .contracts import SECOND

#: Dispatchers; more than there are shards.
NUMBER = 50


@zope.interface.implementer(IReactorTime)
class Reactor:
    """The reactor of one dispatcher, whose time is that of all."""

    def __init__(self, together):
        self._together = together
        self.gone = False

    def callLater(self, seconds, call, *args):
        """See `IReactorTime`."""
        self._together.plan(self, seconds, call, args)
        return mock.Mock()

    def callFromThread(self, call, *args):
        """See `IReactorFromThreads`."""
        self.callLater(0, call, *args)

    callWhenRunning = callFromThread

    def addSystemEventTrigger(self, phase, event, call):
        """Nothing is told of the end."""


class Together(contracts.InWorld):
    """Dispatchers in one process, under one clock; their threads do nothing."""

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(timekeys, '_last', 0)
        patch.start()
        self.addCleanup(patch.stop)
        self.calls, self.numbers = [], itertools.count()
        self.seconds = 0.0
        self.turns = []   # (seconds, number of the dispatcher)
        self.claims = []  # the same, of those that claimed
        self.dispatchers = [self.begin(number) for number in range(NUMBER)]
        self.addCleanup(self.end)
        self.watch_turns()
        for one in self.dispatchers:
            # not all at once: they do not poll at the same moment either
            self.plan(one.reactor, int(one.UUID[1:]) / NUMBER, one.activate, ())
        self.run_for(7)  # a poll of each, and what they look at after it
        self.turns.clear()

    def begin(self, number):
        UUID = f'd{number:02}'
        self.queue.dispatchers.register(UUID)
        self.queue.dispatchers[UUID]['main'] = Agent(size=1)
        self.client.commit()
        return dispatchers.Dispatcher(
            self.world.db, Reactor(self), uuid=UUID, start_thread=self.start_thread)

    def start_thread(self, target, name):
        """Return what looks like a thread, and calls nothing."""
        return types.SimpleNamespace(
            name=name, ident=0, is_alive=lambda: True, join=lambda seconds=None: None)

    def end(self):
        for one in self.dispatchers:
            one.deactivate()
            dispatchers.pop(one.UUID)

    def watch_turns(self):
        take, claim = Turns.take, Queue.claim

        def watched_take(turns, *args, **options):
            self.now = self.seconds, int(turns._services.UUID[1:])
            self.turns.append(self.now)
            return take(turns, *args, **options)

        def watched_claim(queue, *args, **options):
            job = claim(queue, *args, **options)
            if job is not None:
                self.claims.append(self.now)
            return job

        for patch in (mock.patch.object(Turns, 'take', watched_take),
                      mock.patch.object(Queue, 'claim', watched_claim)):
            patch.start()
            self.addCleanup(patch.stop)

    # Time

    def plan(self, reactor, seconds, call, args):
        heapq.heappush(self.calls, (
            self.seconds + seconds, next(self.numbers), reactor, call, args))

    def run_for(self, seconds):
        """Let so many seconds pass."""
        end = self.seconds + seconds
        while self.calls and self.calls[0][0] <= end:
            moment, _number, reactor, call, args = heapq.heappop(self.calls)
            self.pass_time(moment)
            if not reactor.gone:
                call(*args)
        self.pass_time(end)

    def pass_time(self, moment):
        self.world.clock.advance((moment - self.seconds) * SECOND)
        self.seconds = moment

    # What happens

    def put_in(self, number, count=1, **options):
        """Put jobs, one by one, in the shard *number*; return when."""
        with mock.patch.object(lines, '_habit', mock.Mock(below=lambda limit: number)):
            for _number in range(count):
                self.client.begin()
                self.put(nothing, **options)
                self.client.commit()
        return self.seconds

    def hold(self, number):
        """Let the dispatcher with this number be full."""
        self.put_in(number)
        self.run_for(0)
        self.assertEqual(self.claims.pop()[1], number)

    def waiting(self):
        self.client.begin()
        return len(self.client.queue)

    def looked(self, since, before):
        """Return how often each dispatcher took a turn in these seconds after *since*."""
        return collections.Counter(
            number for moment, number in self.turns if since <= moment < since + before)


class OneJob(Together, unittest.TestCase):

    def test_it_is_taken_at_once_and_nobody_else_looks(self):
        since = self.put_in(5)
        self.run_for(0.04)
        self.assertEqual(self.claims, [(since, 5)])
        self.assertEqual(set(self.looked(since, 0.04)), {5})

    def test_the_others_look_one_by_one_and_once(self):
        since = self.put_in(5)
        self.run_for(4)
        looked = self.looked(since, 1)
        del looked[5]
        self.assertLessEqual(max(looked.values()), 2)  # one of them may be its poll
        self.assertLess(sum(looked.values()), 1.3 * NUMBER)
        moments = sorted(moment for moment, number in self.turns
                         if since < moment < since + 1 and number != 5)
        for first in moments:
            beside = [one for one in moments if first <= one < first + 0.005]
            self.assertLessEqual(len(beside), 3)
        self.assertEqual(self.claims, [(since, 5)])

    def test_who_comes_next_takes_what_a_full_one_cannot(self):
        self.hold(5)
        since = self.put_in(5)
        self.run_for(0.1)
        (moment, number), = self.claims
        self.assertEqual(number, 6)
        self.assertLess(moment - since, 1.5 * places.STILL)

    def test_and_what_one_that_is_gone_does_not(self):
        self.dispatchers[5].reactor.gone = True
        since = self.put_in(5)
        self.run_for(0.1)
        (moment, number), = self.claims
        self.assertEqual(number, 6)
        self.assertLess(moment - since, 1.5 * places.STILL)

    def test_a_job_is_taken_soon_though_many_are_gone(self):
        for number in range(5, 35):
            self.dispatchers[number].reactor.gone = True
        since = self.put_in(5)
        self.run_for(2)
        (moment, number), = self.claims
        self.assertEqual(number, 35)
        self.assertLess(moment - since, 1)

    def test_one_that_falls_due_is_taken_at_once_and_nobody_else_looks(self):
        self.put_in(5, begin_after=self.world.clock.now() + 7 * SECOND)
        self.run_for(6.9)
        self.assertEqual(self.claims, [])
        self.turns.clear()
        self.run_for(0.14)
        (moment, number), = self.claims
        self.assertEqual(number, 5)
        self.assertLessEqual(len(self.looked(moment, 0.04)), 3)  # polls

    def test_puts_close_together_are_one_call_to_the_others(self):
        since = self.seconds
        for _number in range(20):
            self.put_in(5)
            self.run_for(0.002)
        self.run_for(0.005)
        looked = self.looked(since, 0.049)
        self.assertLessEqual(len(looked), 2)
        self.run_for(5)
        self.assertEqual(self.waiting(), 0)
        self.assertEqual(len(self.claims), 20)
        self.assertEqual(len({number for _moment, number in self.claims}), 20)
        self.assertEqual(sum(one.conflicts.total for one in self.dispatchers), 0)
