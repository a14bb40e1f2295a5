"""Databases that do not tell of commits are asked, less often while they are away."""
import unittest
from unittest import mock

import zope.interface
from twisted.internet.interfaces import IReactorTime

from . import contracts
from .. import clock
from .. import outage
from ..runtime import wakeup
from ..runtime.watch import UNTOLD
from ..runtime.watch import Watch

SIGN = b'a sign'


@zope.interface.implementer(IReactorTime)
class Reactor:
    """Remembers after how many seconds it is to call something, and calls it."""

    def __init__(self):
        self.later = []

    def callLater(self, seconds, call, *args):
        self.later.append((seconds, call))

    def next(self):
        """Make the next call; return after how many seconds that was."""
        seconds, call = self.later.pop(0)
        call()
        return seconds


class Instance:
    """What there is of a storage: *answers* to whether anything has changed."""

    def __init__(self, *answers):
        self.poll_invalidations = mock.Mock(side_effect=answers)

    def release(self):
        """There is nothing to release."""


class Looks(unittest.TestCase):

    def test_one_that_is_away_is_asked_less_often_until_it_is_back(self):
        away = outage.ClientDisconnected('away')
        instance = Instance((), away, away, None, ())
        db = mock.Mock()
        db.databases = {'': mock.Mock()}
        db.databases['']._mvcc_storage.new_instance = lambda: instance
        reactor, claims = Reactor(), []
        woken = wakeup.Wakeup(db, reactor, lambda: claims.append(1), lambda: False)
        with self.assertNoLogs('zc.async.events'):
            woken.start()
            seconds = [reactor.next() for _number in range(4)]
        woken.stop()
        self.assertEqual(seconds, [wakeup.LOOK, wakeup.LOOK_AWAY, wakeup.LOOK_AWAY,
                                   wakeup.LOOK])
        self.assertGreater(wakeup.LOOK_AWAY, wakeup.LOOK)
        self.assertEqual(claims, [1], 'after its return, when anything may have changed')


class InVain(unittest.TestCase):
    """One that is woken a moment before it can see why looks again."""

    def looks(self, *answers):
        """Return the pauses between looks with these *answers*, and answers not asked."""
        reactor, left, pauses = Reactor(), list(answers), []
        reactor.callFromThread = lambda call: call()
        reactor.callLater = lambda seconds, call, *args: (
            pauses.append(seconds), call(*args))
        woken = wakeup.Wakeup(mock.Mock(), reactor, lambda: left.pop(0), lambda: False)
        woken.running = True
        woken.wake()
        return tuple(pauses), len(left)

    def test_nothing_was_found(self):
        self.assertEqual(self.looks(True, True, True), (wakeup.AGAIN, 0))

    def test_something_was(self):
        self.assertEqual(self.looks(False), ((), 0))

    def test_something_was_later(self):
        self.assertEqual(self.looks(True, False), (wakeup.AGAIN[:1], 0))


class Notes(unittest.TestCase):
    """One that tells of jobs besides is asked seldom, while nobody puts without that."""

    def setUp(self):
        self.clock = contracts.StoppedClock()
        self.addCleanup(clock.install, clock.install(self.clock))
        self.watch = Watch(mock.Mock(), lambda seconds: None)
        self.instance = Instance((SIGN,), (SIGN,), (), ())
        self.watch._instances[''] = self.instance, {SIGN: 0}
        self.listener = self.watch._listeners[''] = mock.Mock(works=True)

    def test_a_note_told_of_what_is_found(self):
        self.watch._hear_note()
        self.assertEqual(self.watch.look(), 0)
        self.assertTrue(self.watch.told)

    def test_none_did(self):
        self.assertTrue(self.watch.told)
        self.assertEqual(self.watch.look(), 0)
        self.assertFalse(self.watch.told)
        self.clock.advance((UNTOLD - 1) * contracts.SECOND)
        self.assertFalse(self.watch.told)
        self.clock.advance()
        self.assertTrue(self.watch.told)

    def test_where_anything_may_have_happened_nobody_knows_of_a_put_without_a_note(self):
        self.instance.poll_invalidations.side_effect = [None]
        self.assertEqual(self.watch.look(), 0)
        self.assertTrue(self.watch.told)

    def test_it_is_asked_seldom_then(self):
        reactor = Reactor()
        woken = wakeup.Wakeup(mock.Mock(), reactor, lambda: None, lambda: False)
        woken._watch, woken.running = self.watch, True
        self.watch._hear_note()
        woken._look_again()
        self.assertEqual([seconds for seconds, _call in reactor.later],
                         [wakeup.LOOK_TOLD])
        reactor.next()
        self.assertEqual([seconds for seconds, _call in reactor.later], [wakeup.LOOK])
        self.assertGreater(wakeup.LOOK_TOLD, wakeup.LOOK)

    def test_a_note_has_a_look_tell_for_whom_the_job_is(self):
        claims, reactor = [], mock.Mock()
        reactor.callFromThread.side_effect = lambda call, *args: call(*args)
        woken = wakeup.Wakeup(mock.Mock(), reactor, lambda: claims.append(1), lambda: False)
        woken._watch, woken.running = self.watch, True
        self.watch._heard = woken.wake
        self.watch._hear_note()
        self.assertEqual(claims, [1])
        self.watch._instances[''] = self.instance, {SIGN: 0.35}
        self.watch._hear_note()
        self.assertEqual(claims, [1])
        self.assertAlmostEqual(reactor.callLater.call_args.args[0], 0.35, 3)
        self.watch._hear_note()
        self.assertEqual((claims, reactor.callLater.call_count), ([1], 1))

    def test_a_note_tells_of_what_is_found_once(self):
        self.watch._hear_note()
        self.watch.look(), self.watch.look()
        self.assertFalse(self.watch.told)

    def test_no_notes_arrive(self):
        self.listener.works = False
        self.assertFalse(self.watch.told)

    def test_not_all_tell(self):
        self.watch._instances['other'] = Instance(()), {}
        self.assertFalse(self.watch.told)
