import gc
import unittest
from unittest import mock

from transaction.interfaces import (
    DoomedTransaction, TransactionError, TransientError)
from twisted.internet import defer
from twisted.python import failure as twisted_failure
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError

import zc.twist
from zc.twist import partial as partial_module
from zc.twist.tests import hostile
from zc.twist.tests.world import Away, Counter, World


class Calls(World):
    """What is called, with what, and where."""

    def test_a_method_is_called_and_committed(self):
        partial = self.partial(self.counter.add, 2)
        self.assertEqual(self.outcome(partial()), 2)
        self.assertEqual(self.value(), 2)
        self.assertEqual(partial.attempt_count, 1)
        self.assertEqual(partial.transaction_error_count, 0)
        self.assertAllClosed()

    def test_later_arguments_are_appended_and_updated(self):
        partial = self.partial(self.counter.add, a=10, b=100)
        self.assertEqual(self.outcome(partial(1, b=1000)), 1011)
        self.assertEqual(self.outcome(partial(1)), 1011 + 111)

    def test_a_partial_can_be_called_again(self):
        partial = self.partial(self.counter.add)
        self.assertEqual(self.outcome(partial(1)), 1)
        self.assertEqual(self.outcome(partial(10)), 11)

    def test_it_serves_as_a_callback(self):
        deferred = defer.succeed(5)
        deferred.addCallback(self.partial(self.counter.add))
        self.assertEqual(self.outcome(deferred), 5)

    def test_methods_in_c_are_called(self):
        mapping = self.root['mapping']
        self.outcome(self.partial(mapping.__setitem__, 'k')('v'))
        self.manager.begin()
        self.assertEqual(mapping['k'], 'v')

    def test_arguments_are_loaded_in_the_connection_of_the_call(self):
        other, side = self.root['other'], \
            self.connection.get_connection('side').root()['counter']
        got = self.outcome(self.partial(self.counter.take, other)(other, other))
        self.assertEqual(got, [(True, 0)] * 3)
        got = self.outcome(self.partial(Counter.take, self.counter)(side))
        self.assertEqual(got, [(False, 0)])

    def test_a_method_may_be_an_argument(self):
        def call(method):
            self.assertIsNot(method.__self__, self.counter)
            return method(3)
        self.assertEqual(self.outcome(self.partial(call, self.counter.add)()), 3)
        self.assertEqual(
            self.outcome(self.partial(call, method=self.counter.add)()), 6)
        self.assertEqual(self.value(), 6)

    def test_the_first_persistent_object_decides_on_the_database(self):
        side = self.connection.get_connection('side').root()['counter']

        order = []

        def recording(db):
            opened = db.open
            return mock.patch.object(db, 'open', lambda *args, **named: (
                order.append(db), opened(*args, **named))[1])
        for first, second in (side, self.counter), (self.counter, side):
            del order[:]
            with recording(self.db), recording(self.side):
                self.outcome(self.partial(max, 'x', first, key=id)(second))
            self.assertIs(order[0], first._p_jar.db())
        self.assertEqual(self.outcome(self.partial(side.add, 4)()), 4)
        self.manager.begin()
        self.assertEqual(side.value, 4)

    def test_two_databases_are_committed_together(self):
        side = self.connection.get_connection('side').root()['counter']

        def both(one, two):
            one.add(1)
            two.add(2)
        self.outcome(self.partial(both, self.counter)(side))
        self.manager.begin()
        self.assertEqual((self.counter.value, side.value), (1, 2))
        self.assertAllClosed()

    def test_the_transaction_manager_is_its_own_and_explicit(self):
        def look(counter):
            return counter._p_jar.transaction_manager
        manager = self.outcome(self.partial(look, self.counter)())
        self.assertIsNot(manager, self.manager)
        self.assertTrue(manager.explicit)

    def test_changes_made_since_are_seen(self):
        partial = self.partial(self.counter.add)
        self.counter.value = 41
        self.manager.commit()
        self.assertEqual(self.outcome(partial()), 42)

    def test_without_persistent_objects_it_is_just_a_call(self):
        self.assertEqual(self.partial(sum, [1, 2])(3), 6)
        self.assertEqual(self.partial(Counter().add)(3), 3)
        with self.assertRaises(ZeroDivisionError):
            self.partial(lambda: 1 / 0)()
        self.assertEqual(self.partial([self.counter].count, None)(), 0)

    def test_a_reactor_is_looked_for_only_where_one_is_needed(self):
        partial = zc.twist.Partial(self.counter.add)
        with mock.patch.object(partial_module.connect, 'default_reactor') as get:
            self.outcome(partial())
            get.assert_not_called()
            self.assertIs(partial.getReactor(), get.return_value)
        self.assertIs(self.partial(len).getReactor(), self.clock)


class Results(World):
    """What the Deferred fires with."""

    def test_a_failure_goes_to_the_errbacks_and_is_committed(self):
        plain = twisted_failure.Failure(KeyError('k'))
        got = self.outcome(self.partial(self.counter.give, plain)())
        self.assertIs(type(got), zc.twist.Failure)
        self.assertIs(got.check(KeyError), KeyError)
        self.assertEqual(self.value(), 1)
        self.assertAllClosed()

    def test_a_deferred_is_chained_after_the_commit(self):
        inner = defer.Deferred()
        deferred = self.partial(self.counter.give, inner)()
        self.assertFalse(deferred.called)
        self.assertEqual(self.value(), 1)
        self.assertAllClosed()
        inner.callback('later')
        self.assertEqual(self.outcome(deferred), 'later')

    def test_a_chained_failure_arrives_sanitized(self):
        inner = defer.Deferred()
        deferred = self.partial(self.counter.give, inner)()
        got = []
        deferred.addErrback(got.append)
        inner.errback(KeyError('k'))
        self.assertIs(type(got[0]), zc.twist.Failure)

    def test_an_exception_goes_to_the_errbacks_and_nothing_is_committed(self):
        got = self.outcome(self.partial(self.counter.fail, [KeyError('k')])())
        self.assertIs(type(got), zc.twist.Failure)
        self.assertIs(got.check(KeyError), KeyError)
        self.assertIsInstance(got.value, KeyError)
        self.assertEqual([frame[0] for frame in got.frames], ['fail'])
        self.assertEqual(self.value(), 0)
        self.assertAllClosed()

    def test_so_does_an_exception_of_the_commit(self):
        got = self.outcome(
            self.partial(self.counter.fail_commit, [KeyError('k')])())
        self.assertIs(got.check(KeyError), KeyError)
        self.assertEqual(self.value(), 0)
        self.assertAllClosed()

    def test_so_does_a_wrong_call(self):
        got = self.outcome(self.partial(self.counter.add)(1, 2, 3))
        self.assertIs(got.check(TypeError), TypeError)
        self.assertAllClosed()

    def test_so_do_hostile_exceptions(self):
        for cls in hostile.ALL:
            got = self.outcome(self.partial(self.counter.fail, [cls()])())
            self.assertIs(type(got), zc.twist.Failure)
            self.assertAllClosed()

    def test_so_does_an_exception_of_opening(self):
        with mock.patch.object(self.db, 'open', side_effect=OSError('down')):
            got = self.outcome(self.partial(self.counter.add)())
        self.assertIs(got.check(OSError), OSError)
        self.assertPoolWhole()

    def test_so_does_an_object_that_cannot_be_loaded(self):
        def missing(oid):
            raise KeyError(oid)
        partial = self.partial(self.counter.add)
        with mock.patch('ZODB.Connection.Connection.get', side_effect=missing):
            got = self.outcome(partial())
        self.assertIs(got.check(KeyError), KeyError)
        self.assertAllClosed()

    def test_a_failure_does_not_keep_the_connection(self):
        got = self.outcome(self.partial(self.counter.fail, [KeyError('k')])())
        self.assertIsNone(got.tb)
        self.assertIsNone(got.value.__traceback__)


class Conflicts(World):
    """Transaction errors are retried at once, up to a number of attempts."""

    def test_the_call_is_made_again(self):
        for error in (ConflictError, ReadConflictError, TransientError,
                      TransactionError, DoomedTransaction):
            partial = self.partial(
                self.counter.fail, [error() for _ in range(4)], then='done')
            before = self.value()
            self.assertEqual(self.outcome(partial()), 'done')
            self.assertEqual(partial.attempt_count, 5)
            self.assertEqual(partial.transaction_error_count, 4)
            self.assertEqual(self.value(), before + 1)
            self.assertAllClosed()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_five_are_too_many(self):
        errors = [ConflictError('no %d' % n) for n in range(9)]
        partial = self.partial(self.counter.fail, errors)
        got = self.outcome(partial())
        self.assertIs(got.check(ConflictError), ConflictError)
        self.assertEqual(got.getErrorMessage().split(' (')[0], 'no 4')
        self.assertEqual((partial.attempt_count, len(errors)), (5, 4))
        self.assertEqual(self.value(), 0)
        self.assertAllClosed()

    def test_the_number_can_be_changed(self):
        partial = self.partial(self.counter.fail, [ConflictError()] * 9)
        partial.max_transaction_errors = 2
        self.outcome(partial())
        self.assertEqual(partial.attempt_count, 2)

    def test_none_is_for_ever_but_lets_the_reactor_work(self):
        partial = self.partial(self.counter.fail, [ConflictError()] * 50, 'done')
        partial.max_transaction_errors = None
        deferred = partial()
        self.assertEqual(partial.attempt_count, 1)
        for _ in range(50):
            self.clock.advance(0)
        self.assertEqual(self.outcome(deferred), 'done')
        self.assertEqual(partial.attempt_count, 51)
        self.assertAllClosed()

    def test_a_real_conflict_is_resolved_by_trying_again(self):
        attempts = []

        def add(counter):
            counter.add()
            attempts.append(counter)
            if len(attempts) < 3:
                self.manager.begin()
                self.counter.add(10)
                self.manager.commit()
        partial = self.partial(add, self.counter)
        self.outcome(partial())
        self.assertEqual(self.value(), 21)
        self.assertEqual(partial.attempt_count, 3)
        self.assertAllClosed()

    def test_a_conflict_of_the_commit_counts(self):
        partial = self.partial(self.counter.fail_commit, [ConflictError()] * 9)
        got = self.outcome(partial())
        self.assertIs(got.check(ConflictError), ConflictError)
        self.assertEqual(partial.attempt_count, 5)
        self.assertAllClosed()

    def test_each_call_counts_anew(self):
        errors = [ConflictError()] * 4
        partial = self.partial(self.counter.fail, errors)
        self.outcome(partial())
        errors.extend([ConflictError()] * 4)
        self.outcome(partial())
        self.assertEqual(partial.transaction_error_count, 4)


class Disconnects(World):
    """While the server is away, a call waits, longer each time, for ever."""

    def partial(self, *args, **kwargs):
        partial = super().partial(*args, **kwargs)
        partial.disconnects = (Away,)
        return partial

    def schedule(self, partial, deferred):
        """Return the waits until *deferred* fires."""
        waits = []
        while not deferred.called:
            [call] = self.clock.getDelayedCalls()
            waits.append(round(call.getTime() - self.clock.seconds()))
            self.assertEqual(partial.backoff, waits[-1])
            self.assertAllClosed()
            self.clock.advance(waits[-1] - 0.5)
            self.assertEqual(partial.attempt_count, len(waits))
            self.clock.advance(0.5)
        return waits

    EXPECTED = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]

    def test_waits_grow_to_a_minute(self):
        partial = self.partial(self.counter.fail, [Away()] * 14, 'back')
        deferred = partial()
        self.assertEqual(self.schedule(partial, deferred), self.EXPECTED)
        self.assertEqual(self.outcome(deferred), 'back')
        self.assertEqual(partial.transaction_error_count, 0)
        self.assertEqual(self.value(), 1)
        self.assertAllClosed()

    def test_also_where_the_commit_or_the_opening_fails(self):
        partial = self.partial(self.counter.fail_commit, [Away()] * 14)
        self.assertEqual(self.schedule(partial, partial()), self.EXPECTED)
        partial = self.partial(self.counter.add)
        opened = self.db.open
        outcomes = [Away()] * 14
        with mock.patch.object(
                self.db, 'open', lambda *args, **kw: opened(*args, **kw)
                if not outcomes else self.fail_with(outcomes.pop())):
            self.assertEqual(self.schedule(partial, partial()), self.EXPECTED)
        self.assertEqual(self.value(), 2)

    def fail_with(self, error):
        raise error

    def test_the_waits_can_be_changed(self):
        partial = self.partial(self.counter.fail, [Away()] * 4)
        partial.initial_backoff, partial.backoff_increment, \
            partial.max_backoff = 1, 2, 4
        self.assertEqual(self.schedule(partial, partial()), [1, 3, 4, 4])

    def test_disconnects_and_conflicts_are_counted_apart(self):
        partial = self.partial(
            self.counter.fail, [Away(), ConflictError()] * 4, 'done')
        deferred = partial()
        self.clock.pump([100] * 4)
        self.assertEqual(self.outcome(deferred), 'done')
        self.assertEqual(partial.transaction_error_count, 4)
        self.assertEqual(partial.attempt_count, 9)

    def test_zeos_disconnect_is_one(self):
        # It is a transient error and a POSError as well.
        from ZEO.Exceptions import ClientDisconnected
        partial = World.partial(
            self, self.counter.fail, [ClientDisconnected()] * 14, 'back')
        deferred = partial()
        self.assertEqual(self.schedule(partial, deferred), self.EXPECTED)
        self.assertEqual(self.outcome(deferred), 'back')

    def test_a_disconnect_is_logged(self):
        with self.assertLogs('zc.twist', 'WARNING') as logs:
            self.partial(self.counter.fail, [Away('gone')])()
        self.assertRegex(logs.output[0], 'again in 5 seconds: .*Away: gone')

    def test_a_waiting_call_can_be_cancelled(self):
        deferred = self.partial(self.counter.fail, [Away()] * 9)()
        deferred.cancel()
        got = self.outcome(deferred)
        self.assertIs(got.check(defer.CancelledError), defer.CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Cancelled(World):

    def test_cancelling_reaches_the_deferred_that_was_returned(self):
        inner = defer.Deferred()
        deferred = self.partial(self.counter.give, inner)()
        deferred.cancel()
        got = self.outcome(deferred)
        self.assertIs(got.check(defer.CancelledError), defer.CancelledError)
        self.assertTrue(inner.called)

    def test_a_call_that_cancels_itself_is_not_tried_again(self):
        for error in ConflictError(), Away(), KeyError('k'):
            partial = self.partial(self.cancelling, self.counter, error)
            partial.disconnects = (Away,)
            # Its first attempt is made by the reactor, so that the Deferred
            # is at hand by then.
            with mock.patch.object(zc.twist.connect.Waiting, 'wait',
                                   side_effect=[1, 0, 0, 0]):
                self.deferred = partial()
                self.clock.advance(1)
            got = self.outcome(self.deferred)
            self.assertIs(got.check(defer.CancelledError), defer.CancelledError)
            self.assertEqual(partial.attempt_count, 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertAllClosed()

    def cancelling(self, counter, error):
        self.deferred.cancel()
        raise error


class Explosions(World):
    """Some errors are told to the errbacks and raised all the same."""

    def test_they_are_raised_after_the_errbacks_were_told(self):
        for error in SystemExit(3), KeyboardInterrupt(), POSKeyError(b'8bytes..'):
            partial = self.partial(self.counter.fail, [error])
            deferred = []
            with self.watched(deferred), \
                    self.assertRaises(type(error)) as caught:
                partial()
            self.assertIs(caught.exception, error)
            got = self.outcome(deferred[0])
            self.assertIs(got.check(type(error)), type(error))
            self.assertEqual(partial.attempt_count, 1)
            self.assertAllClosed()

    def watched(self, made):
        class Watched(defer.Deferred):
            def __init__(this, *args):
                super().__init__(*args)
                made.append(this)
        return mock.patch.object(partial_module.defer, 'Deferred', Watched)

    def test_conflicts_are_none_although_they_are_poserrors(self):
        partial = self.partial(self.counter.fail, [ReadConflictError()], 'done')
        self.assertEqual(self.outcome(partial()), 'done')

    def test_any_other_exit_goes_to_the_errbacks(self):
        got = self.outcome(self.partial(self.counter.fail, [GeneratorExit()])())
        self.assertIs(got.check(GeneratorExit), GeneratorExit)
        self.assertAllClosed()


class GivingBack(World):
    """Whatever fails, the connection returns to the pool."""

    def quietly(self):
        return self.assertLogs('zc.twist', 'ERROR')

    def test_an_abort_that_raises_hides_nothing(self):
        with self.quietly():
            got = self.outcome(self.partial(
                self.counter.fail_abort, KeyError('first'), OSError('abort'))())
        self.assertEqual(got.getErrorMessage(), "'first'")
        self.assertAllClosed()

    def test_an_abort_that_never_reached_the_connection_leaks_nothing(self):
        side = self.connection.get_connection('side').root()['counter']

        def change(one, two, error):
            one.value = two.value = 13
            raise error
        for error in KeyError('first'), ConflictError():
            with mock.patch('transaction.TransactionManager.abort',
                            side_effect=OSError('abort')), self.quietly():
                got = self.outcome(
                    self.partial(change, self.counter, side, error)())
            self.assertIs(got.check(type(error)), type(error))
            self.assertAllClosed()
        self.assertEqual(self.value(), 0)
        self.assertEqual(self.outcome(self.partial(self.counter.add)()), 1)
        self.assertAllClosed()

    def test_a_commit_and_its_abort_that_raise_leak_nothing(self):
        for _ in range(3):
            with self.quietly():
                got = self.outcome(self.partial(
                    self.counter.fail_commit, [KeyError('first')],
                    abort=OSError('abort'), tpc_abort=OSError('tpc'))())
            self.assertIs(got.check(KeyError), KeyError)
            self.assertAllClosed()

    def test_a_begin_that_raises_leaks_nothing(self):
        with mock.patch('transaction.TransactionManager.begin',
                        side_effect=OSError('begin')):
            got = self.outcome(self.partial(self.counter.add)())
        self.assertIs(got.check(OSError), OSError)
        self.assertAllClosed()

    def test_a_call_that_ends_the_transaction_itself(self):
        def ends(counter):
            counter.add()
            counter._p_jar.transaction_manager.abort()
        got = self.outcome(self.partial(ends, self.counter)())
        self.assertIsInstance(got, zc.twist.Failure)
        self.assertAllClosed()

    def test_a_thousand_calls_open_one_connection(self):
        before = len(self.db.pool.all)
        for number in range(200):
            self.outcome(self.partial(self.counter.fail, [
                (KeyError, ConflictError)[number % 2]()] * (number % 7))())
        gc.collect()
        self.assertLessEqual(len(self.db.pool.all), before + 1)
        self.assertPoolWhole()


class Room(World):
    """A call waits a while for room in the pool."""

    def fill(self):
        self.db.setPoolSize(2)
        opened = []
        while zc.twist.availableConnectionCount(self.db) > 0:
            opened.append(self.db.open(type(self.manager)()))
        return opened

    def test_it_is_made_when_there_is_room(self):
        opened = self.fill()
        partial = self.partial(self.counter.add)
        deferred = partial()
        self.assertEqual(partial.attempt_count, 0)
        opened.pop().close()
        self.clock.advance(0.2)
        self.assertEqual(self.outcome(deferred), 1)
        self.assertAllClosed()

    def test_it_is_made_in_the_end(self):
        for each in self.fill():
            self.addCleanup(each.close)
        partial = self.partial(self.counter.add)
        partial.chance = lambda: 0
        deferred = partial()
        # 1/16 + 2/16 + … + 8/16 of a second
        self.clock.pump([1 / 16] * 35)
        self.assertFalse(deferred.called)
        self.clock.advance(1 / 16)
        self.assertEqual(self.outcome(deferred), 1)

    def test_a_call_that_waits_for_room_can_be_cancelled(self):
        for each in self.fill():
            self.addCleanup(each.close)
        partial = self.partial(self.counter.add)
        partial().addErrback(lambda failure: None).cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(partial.attempt_count, 0)


if __name__ == '__main__':
    unittest.main()
