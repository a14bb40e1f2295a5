"""A worker's thread keeps its connection from one job to the next, if that does no harm."""
import threading
import unittest
from unittest import mock

import transaction
import ZODB
from ZODB.Connection import resetCaches
from ZODB.POSException import StorageError

from ..runtime import threads
from ..runtime.effects import can_be_kept
from ..runtime.opening import Connections


class Services:
    """What connections need of a dispatcher."""

    def __init__(self, db):
        self.db = db
        self.pauses = []

    def pause(self, seconds):
        self.pauses.append(seconds)
        return False


class Case(unittest.TestCase):

    keeps = True

    def setUp(self):
        self.databases = {}
        self.db = ZODB.DB(None, databases=self.databases)
        self.addCleanup(self.db.close)
        self.other = ZODB.DB(None, database_name='other', databases=self.databases)
        self.addCleanup(self.other.close)
        self.services = Services(self.db)
        self.connections = Connections(self.services, self.keeps)
        self.addCleanup(transaction.abort)
        self.addCleanup(self.connections.rest)

    def take(self):
        return self.connections.take(transaction.manager)

    def put_back(self, connection, sound=True):
        self.connections.put_back(connection, connection.opened, sound)

    def use(self, change=lambda connection: None, sound=True):
        """Take a connection, let *change* use it, and put it back; return it."""
        connection = self.take()
        change(connection)
        self.put_back(connection, sound)
        return connection

    def open_now(self):
        """Return how many connections are open."""
        return sum(one['opened'] is not None for one in self.db.connectionDebugInfo())


class Kept(Case):

    def test_the_next_job_gets_the_same_one_without_opening_it(self):
        first = self.use()
        with mock.patch.object(self.db, 'open', side_effect=AssertionError):
            self.assertIs(self.take(), first)

    def test_in_a_transaction_that_sees_what_others_have_committed(self):
        first = self.use(lambda connection: connection.root().get('number'))
        with self.db.transaction() as connection:
            connection.root()['number'] = 1
        self.assertEqual(self.take().root()['number'], 1)
        self.assertIsNotNone(first.opened)

    def test_it_is_closed_when_the_thread_rests(self):
        self.use()
        self.assertEqual(self.open_now(), 1)
        self.connections.rest()
        self.assertEqual(self.open_now(), 0)
        self.connections.rest()
        self.assertIsNotNone(self.take().opened)

    def test_each_thread_has_its_own(self):
        first, others = self.use(), []

        def work():
            others.append(self.use())
            self.connections.rest()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertIsNot(others[0], first)
        self.assertIs(self.take(), first)


class NotKept(Case):

    def check(self, change, sound=True):
        """After *change*, the connection is closed when it is put back."""
        connection = self.use(change, sound)
        self.assertIsNone(connection.opened)
        self.assertIsNone(self.connections._kept.connection)

    def test_where_nobody_would_close_it(self):
        self.connections = Connections(self.services)
        self.check(lambda connection: None)

    def test_after_a_job_that_has_broken_it(self):
        self.check(lambda connection: None, sound=False)

    def test_where_somebody_wants_to_know_when_it_is_closed(self):
        closed = []
        self.check(lambda connection: connection.onCloseCallback(
            lambda: closed.append(True)))
        self.assertEqual(closed, [True])

    def test_with_another_database_open_beside_it(self):
        self.check(lambda connection: connection.get_connection('other'))

    def test_where_something_is_left_in_its_transaction(self):
        def change(connection):
            connection.root()['left'] = True

        self.check(change)
        self.assertNotIn('left', self.take().root())

    def test_where_it_is_not_told_of_transactions_any_more(self):
        self.check(lambda connection: transaction.manager.unregisterSynch(connection))

    def test_with_a_storage_that_has_a_protocol_of_its_own(self):
        connection = self.db.open()
        self.addCleanup(connection.close)
        self.assertTrue(can_be_kept(connection, transaction.manager.manager))
        with mock.patch.object(connection, '_storage', object()):
            self.assertFalse(can_be_kept(connection, transaction.manager.manager))

    def test_one_that_a_call_has_closed_is_left_alone(self):
        connection = self.take()
        opened = connection.opened
        connection.close()
        again = self.db.open(transaction_manager=transaction.TransactionManager())
        self.assertIs(again, connection)
        self.connections.put_back(connection, opened, True)
        self.assertIsNotNone(again.opened)
        again.close()


class Renewed(Case):
    """What happens while it is kept is noticed when it is taken again."""

    def check(self, happens):
        first = self.use()
        opened = first.opened
        happens(first)
        found = self.take()
        self.assertIsNot(found.opened, opened)
        return found

    def test_caches_that_are_reset(self):
        def happens(connection):
            self.cache = connection._cache
            resetCaches()

        self.assertIsNot(self.check(happens)._cache, self.cache)

    def test_a_thread_that_got_another_transaction_manager(self):
        before = transaction.manager.manager
        self.addCleanup(setattr, transaction.manager, 'manager', before)

        def happens(_connection):
            transaction.manager.manager = transaction.TransactionManager()

        self.check(happens)

    def test_somebody_who_has_closed_it(self):
        self.check(lambda connection: connection.close())

    def close_for_another(self):
        """Close what is kept; return it, opened by somebody else."""
        connection = self.use()
        connection.close()
        manager = transaction.TransactionManager()
        self.assertIs(self.db.open(transaction_manager=manager), connection)
        self.addCleanup(connection.close)
        return connection

    def test_one_that_is_somebody_elses_by_now_is_left_alone(self):
        connection = self.close_for_another()
        self.assertIsNot(self.take(), connection)
        self.assertIsNotNone(connection.opened)

    def test_and_when_the_thread_rests(self):
        connection = self.close_for_another()
        self.connections.rest()
        self.assertIsNotNone(connection.opened)

    def test_a_storage_that_is_away(self):
        def happens(connection):
            connection.newTransaction = mock.Mock(
                side_effect=[StorageError('away'), None, None])

        found = self.check(happens)
        del found.newTransaction


class Threads(unittest.TestCase):

    def test_a_thread_that_ends_rests_before(self):
        rests = []
        pool = threads.Pool('test', lambda ticket: None,
                            rest=lambda: rests.append(threading.current_thread()))
        pool.setSize(1)
        thread, = pool.threads
        pool.setSize(0)
        threads.join([thread], 10)
        self.assertIs(rests[-1], thread)
