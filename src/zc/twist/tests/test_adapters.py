import unittest

from persistent import Persistent
from persistent.interfaces import IPersistent
import transaction
from transaction.interfaces import ITransactionManager
import ZODB
from ZODB.interfaces import IConnection
import zope.component
from zope.component.testing import PlacelessSetup
import zope.configuration.xmlconfig
import zope.interface

import zc.twist


class Node(Persistent):

    def __init__(self, parent=None):
        self.__parent__ = parent


class Adapters(PlacelessSetup, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.db = ZODB.DB(None)
        self.manager = transaction.TransactionManager()
        self.connection = self.db.open(self.manager)
        self.addCleanup(self.db.close)
        self.root = self.connection.root()

    def test_they_say_what_they_adapt(self):
        for factory, provided in ((zc.twist.connection, IConnection),
                                  (zc.twist.transactionManager,
                                   ITransactionManager)):
            self.assertIn(provided, zope.interface.implementedBy(factory))
            self.assertEqual(list(zope.component.adaptedBy(factory)),
                             [IPersistent])

    def test_a_stored_object_has_a_connection(self):
        self.assertIs(zc.twist.connection(self.root), self.connection)
        self.assertIs(zc.twist.transactionManager(self.root), self.manager)

    def test_a_new_object_has_that_of_a_parent(self):
        grandchild = Node(Node(self.root))
        self.assertIs(zc.twist.connection(grandchild), self.connection)
        self.assertIs(zc.twist.transactionManager(grandchild), self.manager)

    def test_an_object_without_either_has_none(self):
        ring = Node()
        ring.__parent__ = Node(ring)
        for obj in Node(), ring, Persistent():
            self.assertIsNone(zc.twist.connection(obj))
            self.assertIsNone(zc.twist.transactionManager(obj))

    def test_a_connection_has_its_transaction_manager(self):
        self.assertIs(zc.twist.transactionManager(self.connection), self.manager)

    def test_a_registered_connection_adapter_is_asked(self):
        zope.component.provideAdapter(
            lambda obj: self.connection, (IPersistent,), IConnection)
        self.assertIs(zc.twist.transactionManager(Node()), self.manager)

    def test_zcml(self):
        zope.configuration.xmlconfig.string('''
            <configure xmlns="http://namespaces.zope.org/zope">
              <include package="zope.component" file="meta.zcml"/>
              <adapter factory="zc.twist.connection"/>
              <adapter factory="zc.twist.transactionManager"/>
              <adapter factory="zc.twist.transactionManager"
                       for="ZODB.interfaces.IConnection"/>
            </configure>''')
        self.assertIs(IConnection(self.root), self.connection)
        self.assertIs(ITransactionManager(self.root), self.manager)
        self.assertIs(ITransactionManager(self.connection), self.manager)
        with self.assertRaises(TypeError):
            IConnection(Node())


if __name__ == '__main__':
    unittest.main()
