import unittest
from unittest import mock

from twisted.internet import defer
import transaction

import zc.twist
from zc.twist import connect
from zc.twist.tests.world import World


class Available(World):

    def test_counts_what_can_be_opened_within_the_pool_size(self):
        self.assertEqual(zc.twist.availableConnectionCount(self.db), 6)
        self.db.setPoolSize(3)
        self.assertEqual(zc.twist.availableConnectionCount(self.db), 2)
        more = [self.db.open(transaction.TransactionManager())
                for _ in range(3)]
        self.assertEqual(zc.twist.availableConnectionCount(self.db), -1)
        for connection in more:
            connection.close()
        self.assertEqual(zc.twist.availableConnectionCount(self.db), 2)


class GetConnection(World):

    def setUp(self):
        super().setUp()
        self.got = []

    def fill(self):
        self.db.setPoolSize(1)

    def get(self, **options):
        deferred = zc.twist.get_connection(
            self.db, reactor=self.clock, chance=lambda: 0.5, **options)
        deferred.addBoth(self.got.append)
        return deferred

    def test_it_is_there_at_once_where_there_is_room(self):
        self.get()
        connection = self.got[0]
        self.addCleanup(connection.close)
        self.assertTrue(connection.transaction_manager.explicit)
        self.assertIsNot(connection.transaction_manager, self.manager)
        connection.transaction_manager.begin()
        self.assertEqual(connection.root()['counter'].value, 0)
        connection.transaction_manager.abort()

    def test_each_wait_is_longer_and_the_last_half_a_second(self):
        self.fill()
        self.get()
        waits = []
        while not self.got:
            [call] = self.clock.getDelayedCalls()
            waits.append(round(call.getTime() - self.clock.seconds(), 6))
            self.clock.advance(waits[-1])
        self.got[0].close()
        self.assertEqual(waits, [0.0875, 0.175, 0.2625, 0.35, 0.4375, 0.525])

    def test_it_is_taken_as_soon_as_there_is_room(self):
        self.fill()
        self.get()
        self.db.setPoolSize(2)
        self.clock.advance(0.1)
        self.got[0].close()
        self.assertPoolWhole()

    def test_a_backoff_at_its_end_does_not_wait(self):
        self.fill()
        self.get(backoff=0.5)
        self.got[0].close()

    def test_a_given_deferred_is_used(self):
        deferred = defer.Deferred()
        self.assertIs(self.get(deferred=deferred), deferred)
        self.got[0].close()

    def test_a_database_that_cannot_be_opened_is_told_to_the_errbacks(self):
        with mock.patch.object(self.db, 'open', side_effect=OSError('down')):
            self.get()
        self.assertIs(self.got[0].check(OSError), OSError)
        self.assertPoolWhole()

    def test_nothing_is_opened_for_a_cancelled_one(self):
        self.fill()
        self.get().cancel()
        self.clock.pump([1] * 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(self.got[0].check(defer.CancelledError),
                      defer.CancelledError)
        self.assertPoolWhole()

    def test_the_process_reactor_is_the_default(self):
        self.fill()
        with mock.patch.object(connect, 'default_reactor',
                               return_value=self.clock):
            zc.twist.get_connection(self.db).addCallback(self.got.append)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


if __name__ == '__main__':
    unittest.main()
