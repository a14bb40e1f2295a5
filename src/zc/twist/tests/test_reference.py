import unittest

from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.mapping import PersistentMapping
import transaction
import ZODB

import zc.twist
from zc.twist import reference


class Thing(Persistent):

    def public(self):
        return self

    def __private(self):
        return self

    def private(self):
        return self.__private


class Overriding(Thing):

    def public(self):
        return super().public      # a method that its name would not find


class References(unittest.TestCase):

    def setUp(self):
        self.databases = {}
        self.db = ZODB.DB(None, databases=self.databases, database_name='main')
        self.side = ZODB.DB(None, databases=self.databases, database_name='side')
        self.addCleanup(self.db.close)
        self.addCleanup(self.side.close)
        with self.db.transaction() as connection:
            root = connection.root()
            root['thing'], root['tree'] = Overriding(), OOBTree()
            side = connection.get_connection('side').root()
            side['thing'] = Thing()
        self.one = self.open(self.db)
        self.two = self.open(self.db)

    def open(self, db):
        connection = db.open(transaction.TransactionManager())
        self.addCleanup(connection.close)
        return connection

    def assertMoves(self, obj, owner):
        there = zc.twist.Reference(obj).resolve(self.two)
        bound_to = reference.get_self(there)
        self.assertIs(there if bound_to is None else bound_to, owner)
        return there

    def test_an_object_is_found_in_the_other_connection(self):
        self.assertMoves(self.one.root()['thing'], self.two.root()['thing'])

    def test_so_are_methods_of_every_kind(self):
        thing, tree = self.two.root()['thing'], self.two.root()['tree']
        here = self.one.root()
        self.assertEqual(self.assertMoves(here['thing'].private, thing),
                         thing.private)
        self.assertMoves(here['thing'].private(), thing)
        plain = self.assertMoves(here['thing'].public(), thing)
        self.assertIs(plain(), thing)       # Thing's, not Overriding's
        self.assertEqual(self.assertMoves(here['tree'].get, tree), tree.get)
        slot = self.assertMoves(here['tree'].__setitem__, tree)
        self.assertIsInstance(slot, zc.twist.METHOD_WRAPPER_TYPE)

    def test_an_object_of_a_sibling_database_is_found(self):
        thing = self.one.get_connection('side').root()['thing']
        there = zc.twist.Reference(thing).resolve(self.two)
        self.assertEqual(there._p_oid, thing._p_oid)
        self.assertIs(there._p_jar, self.two.get_connection('side'))

    def test_a_database_of_the_same_name_is_not_it(self):
        other = ZODB.DB(None, database_name='main')
        self.addCleanup(other.close)
        with other.transaction() as connection:
            connection.root()['thing'] = Thing()
        thing = self.open(other).root()['thing']
        with self.assertRaisesRegex(ValueError, 'not a sibling'):
            zc.twist.Reference(thing).resolve(self.two)

    def test_nothing_else_can_be_referred_to(self):
        for thing in Thing(), PersistentMapping().keys, 42, [].append, len, Thing:
            with self.assertRaisesRegex(TypeError, 'neither a persistent'):
                zc.twist.Reference(thing)
            self.assertIs(reference.refer(thing), thing)

    def test_an_object_is_not_kept(self):
        thing = self.one.root()['thing']
        held = vars(zc.twist.Reference(thing)).values()
        self.assertNotIn(thing, held)
        held = vars(zc.twist.Reference(self.one.root()['tree'].get)).values()
        self.assertTrue(all(isinstance(v, (bytes, str, ZODB.DB)) for v in held))


if __name__ == '__main__':
    unittest.main()
