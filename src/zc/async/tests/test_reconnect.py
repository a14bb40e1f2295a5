"""A ZEO server that restarts: what its clients hold in reserve is of no use any more."""
import contextlib
import unittest

import persistent
import transaction
import ZODB
from ZEO.ClientStorage import ClientStorage
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

from . import servers
from .. import outage
from ..runtime import mending
from ..runtime.troubles import Troubles


class Thing(persistent.Persistent):
    """Something new."""


class Clients:
    """A server that is started and stopped, and clients of it."""

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.port = servers.free_port()

    def server(self):
        return servers.zeo(self.folder, port=self.port)

    @contextlib.contextmanager
    def client(self, mended=False):
        db = ZODB.DB(ClientStorage(('127.0.0.1', self.port), wait_timeout=10,
                                   min_disconnect_poll=0.1, max_disconnect_poll=0.2))
        if mended:
            mending.mend(db)
        try:
            yield db
        finally:
            db.close()

    def add(self, db, name, count=1):
        """Commit new objects in the mapping *name*."""
        with db.transaction() as connection:
            things = connection.root()[name]
            for _number in range(count):
                things[len(things)] = Thing()

    @contextlib.contextmanager
    def after_a_restart(self, mended):
        """Yield two clients: one from before the restart of the server, one new."""
        with contextlib.ExitStack() as made:
            with self.server():
                db = made.enter_context(self.client(mended))
                with db.transaction() as connection:
                    connection.root().update(
                        mine=PersistentMapping(), others=PersistentMapping())
                storage = db.storage
                self.assertGreater(len(storage._oids), 50)
            servers.wait_until(lambda: not storage.is_connected(), 'it is away')
            made.enter_context(self.server())
            servers.wait_until(storage.is_connected, 'it is back')
            yield db, made.enter_context(self.client())


class Reserve(Clients, unittest.TestCase):
    """The ids for new objects that a client has fetched in advance."""

    def test_two_objects_of_a_transaction_never_share_an_id(self):
        first, second = Thing(), Thing()
        with contextlib.ExitStack() as made:
            with self.server():
                db = made.enter_context(self.client(mended=True))
                manager = transaction.TransactionManager(explicit=True)
                connection = db.open(manager)
                made.callback(connection.close)
                manager.begin()
                made.callback(manager.abort)
                connection.add(first)
            servers.wait_until(lambda: not db.storage.is_connected(), 'it is away')
            made.enter_context(self.server())
            servers.wait_until(db.storage.is_connected, 'it is back')
            # a server that was restarted begins again where the first had begun
            connection.add(second)
            self.assertGreater(second._p_oid, first._p_oid)

    def test_it_is_given_up_with_the_connection(self):
        with self.after_a_restart(mended=True) as (db, other):
            self.assertEqual(db.storage._oids, [])
            self.add(other, 'others', 50)
            self.add(db, 'mine', 50)
            self.add(other, 'others', 50)

    def test_mending_again_changes_nothing(self):
        with self.server(), self.client(mended=True) as db:
            before = db.storage.notify_connected
            mending.mend(db)
            self.assertIs(db.storage.notify_connected, before)

    def test_otherwise_it_is_a_conflict_until_it_is_forgotten(self):
        with self.after_a_restart(mended=False) as (db, other):
            self.add(other, 'others', 50)
            with self.assertRaises(ConflictError) as raised:
                self.add(db, 'mine', 50)
            error = raised.exception
            self.assertTrue(outage.is_stale_id(error))
            self.assertTrue(outage.is_storage_conflict(error))
            self.assertTrue(db.storage._oids)
            Troubles(db).met(error)
            self.assertEqual(db.storage._oids, [])
            self.add(db, 'mine', 50)

    def test_or_an_error_where_the_other_object_is_known(self):
        with self.after_a_restart(mended=False) as (db, other):
            self.add(other, 'others', 50)
            manager = transaction.TransactionManager(explicit=True)
            connection = db.open(manager)
            known = servers.wait_until(
                lambda: manager.begin() and list(connection.root()['others'].values())
                or manager.abort(), 'it hears of them')
            self.assertEqual(len(known), 50)
            try:  # assertRaises would take the traceback away
                connection.root()['mine'].update(
                    (number, Thing()) for number in range(50))
                manager.commit()
            except ValueError as raised:
                error = raised
            manager.abort()
            connection.close()
            self.assertTrue(outage.is_stale_id(error), error)
            self.assertTrue(outage.is_conflict(error))
            self.assertFalse(outage.is_outage(error))
            self.assertTrue(Troubles(db).met(error))
            self.assertEqual(db.storage._oids, [])


class Answers(Clients, unittest.TestCase):
    """Whether a server answers."""

    def test_it_is_asked(self):
        with contextlib.ExitStack() as made:
            with self.server():
                db = made.enter_context(self.client())
                self.assertTrue(outage.answers(db))
            servers.wait_until(lambda: not db.storage.is_connected(), 'it is away')
            self.assertFalse(outage.answers(db))
