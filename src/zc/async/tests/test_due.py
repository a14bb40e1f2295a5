"""Between polls, a scheduled job is begun when it falls due."""
import unittest

import zope.interface
from twisted.internet.interfaces import IReactorTime

from . import contracts
from .. import clock
from ..runtime.wakeup import Wakeup
from .contracts import MINUTE
from .contracts import SECOND
from .contracts import START


@zope.interface.implementer(IReactorTime)
class Reactor:
    """Remembers what is to be called, and when."""

    def __init__(self):
        self.calls = []

    def callFromThread(self, call, *args):
        """Call it at once."""
        call(*args)

    def callLater(self, seconds, call, *args):
        """See `IReactorTime`."""
        self.calls.append((seconds, call, args))


class Due(contracts.InWorld, unittest.TestCase):
    """Dispatchers are told of the next moment at which there may be work."""

    def setUp(self):
        super().setUp()
        self.claims = []
        self.reactor = Reactor()
        self.wakeup = Wakeup(
            self.world.db, self.reactor, lambda: self.claims.append(clock.micros()),
            lambda: False)
        self.wakeup.start()
        self.addCleanup(self.wakeup.stop)

    def planned(self):
        """Return the seconds after which calls are planned."""
        return [seconds for seconds, _call, _args in self.reactor.calls]

    def test_a_claim_is_planned_for_the_moment(self):
        self.wakeup.due_next(clock.micros() + 3_000_000)
        self.assertEqual(self.planned(), [3])

    def test_a_moment_that_has_passed_meanwhile_is_not_missed(self):
        moment = clock.micros() + 1
        self.world.clock.advance(SECOND)
        self.wakeup.due_next(moment)
        self.assertEqual(self.planned(), [0])
        [(_seconds, call, args)] = self.reactor.calls
        call(*args)
        self.assertEqual(len(self.claims), 1)

    def test_what_is_due_and_was_not_claimed_hides_nothing(self):
        self.queue.quotas.create('none', 0)
        self.put(begin_after=START + SECOND, quotas=('none',))
        self.put(begin_after=START + MINUTE, quotas=('none',))
        self.put(begin_after=START + 2 * MINUTE)
        self.client.commit()
        lines = self.queue._lines
        first, second, third = (clock.to_micros(START + later) for later in (
            SECOND, MINUTE, 2 * MINUTE))
        self.assertEqual(lines.next_due(), first)
        self.assertEqual(lines.next_due(first - 1), first)
        self.assertEqual(lines.next_due(first), second)
        self.assertEqual(lines.next_due(second + 1), third)
        self.assertIsNone(lines.next_due(third))
