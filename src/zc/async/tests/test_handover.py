"""A worker has a job as its claim has written it, and loads it where that is not certain."""
import unittest
from unittest import mock

import persistent
import transaction
from ZEO.ClientStorage import ClientStorage
import ZODB
from ZODB.mvccadapter import MVCCAdapterInstance
from ZODB.POSException import ConflictError
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage

from . import servers
from .. import testing
from ..job import Job
from ..job import NeverRetry
from ..job import RetryCommonForever
from ..model import execution
from ..runtime import handover
from ..runtime.worker import Ticket
from ..testkit import World
from .contracts import Client
from .contracts import nothing


class Policy(persistent.Persistent):
    """One that is made with arguments."""

    def __getnewargs__(self):
        return ()


class OwnJob(Job):
    """Not the usual class."""


class Case(unittest.TestCase):
    """A job that a connection has written just now, and another connection."""

    storage = None

    def setUp(self):
        databases = {}
        self.db = ZODB.DB(self.storage, databases=databases)
        self.addCleanup(self.db.close)
        other = ZODB.DB(None, database_name='other', databases=databases)
        self.addCleanup(other.close)
        self.claims, self.works = self.open(), self.open()
        self.job = self.claims.root['job'] = Job(nothing, 1, name='two')
        self.job.parent = self.claims.root['parent'] = persistent.Persistent()
        execution.begin(self.job)
        self.claims.commit()
        self.handover = handover.Handover(self.claims.connection)
        self.addCleanup(self.handover.close)
        self.claim()

    def open(self):
        client = Client(self.db)
        self.addCleanup(client.connection.close)
        self.addCleanup(client.transactions.abort)
        return client

    def claim(self):
        """Commit the job as claims do."""
        self.job._p_changed = True
        with self.handover.expecting([self.job]):
            self.claims.commit()

    def state(self):
        return self.handover.state(self.job)

    def handed(self, begin=True):
        """Return the job that the other connection has of a ticket."""
        ticket = Ticket(self.job._p_oid, 'unnamed', 1, ('', 'main'), cls=type(self.job),
                        state=self.state())
        if begin:
            self.works.begin()
        return handover.job_of(ticket, self.works.connection)


class Handed(Case):

    def test_it_is_there_and_nothing_is_loaded(self):
        with mock.patch.object(MVCCAdapterInstance, 'load', side_effect=AssertionError):
            self.assertFalse(self.handed()._p_changed is not False)

    def test_it_is_what_would_be_loaded(self):
        self.job.retry_policy_factory, self.job.failure_log_level = NeverRetry, 40
        self.job.getRetryPolicy()
        self.claims.commit()
        found, other = self.handed(), self.open()
        loaded = other.connection.get(self.job._p_oid)
        loaded._p_activate()
        self.assertEqual(found._p_serial, loaded._p_serial)
        self.assertIs(type(found), type(loaded))
        theirs = loaded._attributes()
        self.assertEqual(found._attributes().keys(), theirs.keys())
        for name, value in found._attributes().items():
            same = theirs[name]
            if isinstance(value, persistent.Persistent):
                self.assertIs(value._p_jar, self.works.connection)
                self.assertEqual((type(value), value._p_oid), (type(same), same._p_oid))
            else:
                self.assertEqual(value, same)
        self.assertEqual((list(found.args), dict(found.kwargs)), ([1], {'name': 'two'}))

    def test_what_is_changed_of_it_is_stored_and_seen_by_others(self):
        found = self.handed()
        execution.settle(found, 'result')
        self.works.commit()
        self.claims.begin()
        self.assertEqual(self.job.result, 'result')

    def test_it_is_forgotten_when_others_change_it(self):
        found = self.handed()
        self.job.failure_log_level = 10
        self.claims.commit()
        self.works.begin()
        self.assertEqual(found.failure_log_level, 10)

    def test_a_change_that_is_behind_meets_a_conflict(self):
        found = self.handed()
        self.job.failure_log_level = 10
        self.claims.commit()
        found.failure_log_level = 20
        self.assertRaises(ConflictError, self.works.commit)

    def test_the_cache_counts_it(self):
        cache, before = self.works.connection._cache, len(self.works.connection._cache)
        found = self.handed()
        self.assertIs(cache.get(found._p_oid), found)
        self.assertGreater(len(cache), before)
        cache.minimize()
        self.assertIsNone(found._p_changed)
        self.assertEqual(list(found.args), [1])


class Loaded(Case):
    """Where it is not what is handed over."""

    def is_loaded(self):
        return self.handed()._p_changed is None

    def test_where_somebody_has_changed_it_since(self):
        state = self.state()
        self.job.failure_log_level = 10
        self.claims.commit()
        with mock.patch.object(self, 'state', lambda: state):
            found = self.handed()
        self.assertIsNone(found._p_changed)
        self.assertEqual(found.failure_log_level, 10)

    def test_where_the_transaction_began_before(self):
        self.works.begin()
        self.job.failure_log_level = 10
        self.claims.commit()
        found = self.handed(begin=False)
        self.assertIsNone(found._p_changed)
        self.assertIsNone(found.failure_log_level)

    def test_where_the_connection_has_it_already(self):
        self.works.begin()
        before = self.works.connection.get(self.job._p_oid)
        self.assertIs(self.handed(), before)

    def test_where_it_has_something_that_cannot_be_shared(self):
        for value in ([], {}, ('one', []), (('one',),), Policy()):
            with self.subTest(value=value):
                self.job.extra = value
                self.claim()
                self.assertIsNone(self.state())
        self.job.extra = persistent.Persistent()
        self.claim()
        self.assertIsNotNone(self.state())

    def test_where_it_refers_to_an_object_of_another_database(self):
        there = self.claims.connection.get_connection('other')
        self.job.extra = there.root()['thing'] = persistent.Persistent()
        there.add(self.job.extra)
        self.claim()
        self.assertIsNone(self.state())

    def test_where_it_was_changed_and_not_committed(self):
        self.job.failure_log_level = 10
        self.assertIsNone(self.state())

    def test_where_it_is_of_another_class(self):
        self.job = self.claims.root['job'] = OwnJob(nothing)
        self.claims.connection.add(self.job)
        self.claim()
        self.assertTrue(self.is_loaded())

    def test_where_it_was_not_claimed_here(self):
        self.job = self.claims.root['job'] = Job(nothing)
        self.claims.commit()
        self.assertIsNone(self.state())

    def test_where_its_claim_has_failed(self):
        self.works.begin()
        self.works.connection.get(self.job._p_oid).failure_log_level = 10
        self.works.commit()
        self.handover.forget([self.job._p_oid])
        with self.assertRaises(ConflictError):
            self.claim()
        self.claims.begin()
        self.job._p_activate()
        self.assertIsNone(self.state())

    def test_where_it_was_given_back(self):
        state = self.state()
        self.handover.forget([self.job._p_oid])
        with mock.patch.object(self, 'state', lambda: state):
            self.assertTrue(self.is_loaded())

    def test_where_the_storage_was_away(self):
        state = self.state()
        self.db._mvcc_storage.invalidateCache()
        with mock.patch.object(self, 'state', lambda: state):
            self.assertTrue(self.is_loaded())
        self.assertIsNone(self.state())

    def test_where_nobody_listens_any_more(self):
        state = self.state()
        self.handover.close()
        self.assertNotIn(self.handover, self.db._mvcc_storage._instances)
        with mock.patch.object(self, 'state', lambda: state):
            self.assertTrue(self.is_loaded())

    def test_where_a_commit_is_told_of_just_now(self):
        # and this connection has been told already
        state, oid, heard = self.state(), self.job._p_oid, self.handover._invalidate

        class Telling:

            def __enter__(self):
                heard(b'later...', [oid])

            def __exit__(self, *error):
                pass

        self.works.begin()
        with (mock.patch.object(self, 'state', lambda: state),
              mock.patch.object(self.db._mvcc_storage, '_lock', Telling())):
            self.assertIsNone(self.handed(begin=False)._p_changed)


class Elsewhere(Case):
    """Where the storage has a protocol of its own, and nobody is told."""

    def setUp(self):
        self.storage = MVCCMappingStorage()
        super().setUp()

    def test_it_is_loaded(self):
        self.assertIsNone(self.state())
        self.assertIsNone(self.handed()._p_changed)
        self.handover.forget([self.job._p_oid])


class OverZEO(Case):
    """Where a server tells each process of the commits of the others."""

    def setUp(self):
        port = self.enterContext(servers.zeo(self.enterContext(servers.folder())))
        self.address = '127.0.0.1', port
        self.storage = ClientStorage(self.address, wait_timeout=servers.PATIENCE)
        super().setUp()

    def test_it_is_there_and_nothing_is_loaded(self):
        with mock.patch.object(MVCCAdapterInstance, 'load', side_effect=AssertionError):
            self.assertIs(self.handed()._p_changed, False)

    def test_it_is_loaded_where_another_process_has_changed_it(self):
        state = self.state()
        other = ZODB.DB(ClientStorage(self.address, wait_timeout=servers.PATIENCE))
        self.addCleanup(other.close)
        with other.transaction() as connection:
            connection.root()['job'].failure_log_level = 10
        servers.wait_until(
            lambda: self.handover.serial(self.job._p_oid) != state.serial, 'it is told')
        with mock.patch.object(self, 'state', lambda: state):
            found = self.handed()
        self.assertIsNone(found._p_changed)
        self.assertEqual(found.failure_log_level, 10)


class Work(unittest.TestCase):

    def test_workers_load_no_job_that_was_claimed_just_now(self):
        with World() as world:
            jobs = [world.put(Job(nothing), retry_policy_factory=RetryCommonForever)
                    for _number in range(5)]
            oids, loaded = {job._p_oid for job in jobs}, []
            load = MVCCAdapterInstance.load

            def noted(self, oid, *args):
                loaded.append(oid)
                return load(self, oid, *args)

            with mock.patch.object(MVCCAdapterInstance, 'load', noted):
                dispatcher = world.start()

                def done():
                    transaction.begin()
                    return dispatcher.idle and not len(world.queue)

                self.assertTrue(testing.wait_for(done, 60))
            self.assertEqual({job.status for job in jobs}, {testing.COMPLETED})
            self.assertEqual(sorted(oid for oid in loaded if oid in oids), sorted(oids))
