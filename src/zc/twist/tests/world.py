"""A database, a reactor whose time is virtual, and what calls can do."""
import logging
import os
import tempfile
import unittest

from persistent import Persistent
from persistent.mapping import PersistentMapping
import transaction
from transaction.interfaces import TransientError
from twisted.internet.task import Clock
import ZODB
from ZODB.FileStorage import FileStorage

import zc.twist


class Away(TransientError):
    """Stands for a disconnect: a transient error, as ZEO's is."""


class Saboteur:
    """A data manager that fails where it is told to."""

    transaction_manager = None

    def __init__(self, **errors):
        self.errors = errors

    def _fail(self, name):
        if name in self.errors:
            raise self.errors[name]

    def abort(self, txn):
        self._fail('abort')

    def tpc_begin(self, txn):
        self._fail('tpc_begin')

    def commit(self, txn):
        self._fail('commit')

    def tpc_vote(self, txn):
        self._fail('tpc_vote')

    def tpc_finish(self, txn):
        self._fail('tpc_finish')

    def tpc_abort(self, txn):
        self._fail('tpc_abort')

    def sortKey(self):
        return '~last'


class Counter(Persistent):
    """Counts, and fails as it is told to."""

    value = 0

    def add(self, number=1, **named):
        self.value += number + sum(named.values())
        return self.value

    def fail(self, errors, then=None):
        """Raise the next of the list *errors*; return *then* when it is empty."""
        self.value += 1
        if errors:
            raise errors.pop(0)
        return then

    def fail_commit(self, errors, **more):
        self.value += 1
        if errors:
            self.sabotage(commit=errors.pop(0), **more)
        return 'committed'

    def fail_abort(self, error, abort_error):
        self.value += 1
        self.sabotage(abort=abort_error)
        raise error

    def sabotage(self, **errors):
        self._p_jar.transaction_manager.get().join(Saboteur(**errors))

    def take(self, *things):
        return [(thing._p_jar is self._p_jar, getattr(thing, 'value', None))
                for thing in things]

    def give(self, thing):
        self.value += 1
        return thing


class World(unittest.TestCase):
    """Tests over a FileStorage, a sibling in memory, and a `Clock`."""

    def setUp(self):
        # What is said of failures that a test provokes, by us, by the
        # transaction and by the pool, is not for the test's reader.
        for name in 'zc.twist', 'txn', 'ZODB.DB':
            logger, quiet = logging.getLogger(name), logging.NullHandler()
            logger.addHandler(quiet)
            self.addCleanup(logger.removeHandler, quiet)
            self.addCleanup(setattr, logger, 'propagate', logger.propagate)
            logger.propagate = False
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        databases = {}
        storage = FileStorage(os.path.join(folder.name, 'Data.fs'))
        self.db = ZODB.DB(storage, databases=databases, database_name='main')
        self.side = ZODB.DB(None, databases=databases, database_name='side')
        self.addCleanup(self.db.close)
        self.addCleanup(self.side.close)
        with self.db.transaction() as connection:
            root = connection.root()
            root['counter'], root['other'] = Counter(), Counter()
            root['mapping'] = PersistentMapping()
            connection.get_connection('side').root()['counter'] = Counter()
        self.manager = transaction.TransactionManager()
        self.connection = self.db.open(self.manager)
        self.addCleanup(self.connection.close)
        self.addCleanup(self.manager.abort)
        self.root = self.connection.root()
        self.counter = self.root['counter']
        self.clock = Clock()

    def partial(self, *args, **kwargs):
        return zc.twist.Partial(*args, **kwargs).setReactor(self.clock)

    def outcome(self, deferred):
        """Return what *deferred* fired with, or None."""
        got = []
        deferred.addBoth(got.append)
        return got[0] if got else None

    def value(self, name='counter'):
        self.manager.begin()
        return self.root[name].value

    def assertPoolWhole(self):
        """Only the test's own connection is out of the pool."""
        self.assertEqual(
            len(self.db.pool.all) - len(self.db.pool.available), 1)

    def assertAllClosed(self):
        self.assertPoolWhole()
        for connection in list(self.db.pool.all) + list(self.side.pool.all):
            if connection is not self.connection \
                    and connection not in self.connection.connections.values():
                self.assertIsNone(connection.transaction_manager)
                self.assertTrue(connection._needs_to_join)
