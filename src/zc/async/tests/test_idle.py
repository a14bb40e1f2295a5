"""Connections that nobody uses: they must not remember every commit there is."""
import unittest
import unittest.mock

import persistent
import transaction
from persistent.mapping import PersistentMapping
import ZODB
from ZODB.MappingStorage import MappingStorage

from . import test_dispatcher
from ..runtime import idle


class Thing(persistent.Persistent):
    """Something that is changed."""

    number = 0


class Case(unittest.TestCase):

    def setUp(self):
        self.enterContext(unittest.mock.patch.object(idle, 'LIMIT', 10))
        self.db = ZODB.DB(MappingStorage(), cache_size=5)
        self.addCleanup(self.db.close)
        with self.db.transaction() as connection:
            connection.root()['things'] = PersistentMapping(
                {number: Thing() for number in range(20)})

    def open(self):
        found = self.db.open(transaction.TransactionManager(explicit=True))
        self.addCleanup(found.close)
        return found

    def read(self, connection):
        """Return the numbers of the things, in a transaction of its own."""
        with connection.transaction_manager:
            return [thing.number for thing in connection.root()['things'].values()]

    def change(self, count):
        """Change so many things, in a commit for each."""
        for number in range(count):
            with self.db.transaction() as connection:
                connection.root()['things'][number].number += 1

    def kept(self, connection):
        """Return how many ids *connection* keeps; None where it reads all anew."""
        found = connection._storage._invalidations
        return None if found is None else len(found)


class Idle(Case):

    def test_it_keeps_ids_up_to_the_limit(self):
        connection = self.open()
        self.read(connection)
        self.change(10)
        idle.forget(self.db)
        self.assertEqual(self.kept(connection), 10)
        self.change(11)
        idle.forget(self.db)
        self.assertIsNone(self.kept(connection))
        self.change(20)
        self.assertIsNone(self.kept(connection), 'nothing is gathered any more')

    def test_it_reads_what_was_changed_all_the_same(self):
        connection = self.open()
        self.assertEqual(sum(self.read(connection)), 0)
        self.change(15)
        idle.forget(self.db)
        self.change(2)
        self.assertEqual(self.read(connection), [2] * 2 + [1] * 13 + [0] * 5)
        self.change(1)
        self.assertEqual(self.kept(connection), 1, 'it goes on as before')

    def test_a_transaction_sees_until_its_end_what_it_saw_before(self):
        connection = self.open()
        connection.transaction_manager.begin()
        self.change(15)
        idle.forget(self.db)
        self.assertEqual(
            sum(one.number for one in connection.root()['things'].values()), 0)
        connection.transaction_manager.abort()
        self.assertEqual(sum(self.read(connection)), 15)

    def test_a_large_cache_is_worth_more(self):
        self.db.setCacheSize(15)
        connection = self.open()
        self.read(connection)
        self.change(15)
        idle.forget(self.db)
        self.assertEqual(self.kept(connection), 15)

    def test_a_closed_database_has_none(self):
        db = ZODB.DB(MappingStorage())
        db.close()
        idle.forget(db)


class Dispatching(test_dispatcher.VirtualCase):

    def test_each_poll_sees_to_it(self):
        connection = self.db.open(transaction.TransactionManager(explicit=True))
        self.addCleanup(connection.close)
        instance = connection._storage
        with unittest.mock.patch.object(idle, 'LIMIT', 10):
            self.db.setCacheSize(5)
            for number in range(12):
                with self.db.transaction() as other:
                    other.root()[number] = Thing()
            self.assertGreater(len(instance._invalidations), 10)
            self.poll()
        self.assertIsNone(instance._invalidations)
