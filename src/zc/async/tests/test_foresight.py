"""What is about to be read is loaded together, where each load is a round trip."""
import contextlib
import os
import threading
import unittest
from unittest import mock

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import Connection
from ZODB.MappingStorage import MappingStorage
from zope.testing import cleanup

from . import contracts
from . import servers
from .. import configure
from ..agent import Agent
from ..interfaces import DatabaseOpened
from ..interfaces import KEY
from ..job import Job
from ..model.walk import PAGE
from ..runtime import effects
from ..runtime import foresight
from ..runtime.turns import Turns
from ..subscribers import QueueInstaller
from .contracts import nothing
from .test_ahead import Services
from .test_dispatcher import VirtualCase


def is_wanted(job):
    """A filter that reads the call of each job."""
    return job.kind.endswith('nothing')


def unwanted():
    """Be never done."""


def given(*things):
    """Be given *things*."""


class Trips:
    """Counts the round trips of a ZEO client, or of all that RelStorage loads."""

    def __init__(self, db):
        self.count = 0
        self._undo = contextlib.ExitStack()
        storage = db.storage
        if hasattr(storage, '_adapter'):
            mover = type(storage._adapter.mover)
            for name in ('load_current', 'load_currents'):
                self._patch(mover, name, self._counted(getattr(mover, name)))
        else:
            self._known = set()
            self._patch(storage, 'loadBefore', self._load(storage.loadBefore))
            self._patch(storage, 'prefetch', self._fetch(storage.prefetch))
        self.close = self._undo.close

    def _patch(self, where, name, new):
        self._undo.enter_context(mock.patch.object(where, name, new))

    def _counted(self, load):
        def counted(*args):
            self.count += 1
            return load(*args)

        return counted

    # What a ZEO client asks for twice comes with the first answer.

    def _load(self, load):
        def counted(oid, tid):
            self.count += oid not in self._known
            self._known.add(oid)
            return load(oid, tid)

        return counted

    def _fetch(self, prefetch):
        def counted(oids, tid):
            oids = list(oids)
            self.count += not self._known.issuperset(oids)
            self._known.update(oids)
            return prefetch(oids, tid)

        return counted


class World:
    """A database that is opened twice: where jobs are put, and where they are done."""

    def __init__(self, here, there):
        self.db = there
        self.clock = mock.Mock()
        self._here = here
        QueueInstaller()(DatabaseOpened(here))

    def put(self, count, call=nothing, things=0):
        """Put jobs in one transaction, so that they are in one shard.

        Each is given as many persistent *things* of its own.
        """
        self._hear(self._here, self.db)
        with self._here.transaction() as connection:
            for _number in range(count):
                mine = [PersistentMapping() for _thing in range(things)]
                connection.root()[KEY][''].put(Job(call, *mine))
        self._hear(self.db, self._here)

    def _hear(self, listening, db):
        """Wait for *listening*: a ZEO client hears of commits in *db* a moment later."""
        if not hasattr(db.storage, '_adapter'):
            last = db.lastTransaction()
            servers.wait_until(lambda: listening.lastTransaction() >= last, 'it is heard')


class Loads:
    """The round trips of a claim; a subclass has the storage."""

    #: Jobs that are claimed.
    COUNT = 10
    filter = None

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.folder = self.enterContext(servers.folder())
        self.enterContext(mock.patch.dict(
            os.environ, ZC_ASYNC_UUID=f'{self.folder}/uuid.txt'))
        configure.base()
        self.addCleanup(transaction.abort)

    def make(self, uri):
        """Open the database *uri* here and there, with an agent there."""
        here = self.enterContext(servers.opened(uri))
        self.world = World(here, self.enterContext(servers.opened(uri)))
        self.services = Services(self.world)
        with here.transaction() as connection:
            dispatchers = connection.root()[KEY][''].dispatchers
            dispatchers.register(self.services.UUID)
            agents = dispatchers[self.services.UUID]
            agents['main'] = Agent(size=self.COUNT, filter=self.filter)
            agents.activate()
        self.turns = Turns(self.services)
        self.addCleanup(self.turns.close)

    def claim(self):
        """Claim all that there is; return how many round trips its loads took."""
        trips = Trips(self.world.db)
        with contextlib.closing(trips):
            self.turns.take()
        return trips.count

    def claim_first(self):
        """Claim one job, after which whatever is always there is loaded."""
        self.world.put(1)
        self.claim()
        self.assertEqual(len(self.services.tickets), 1)
        self.services.tickets.clear()

    def read(self, call=nothing):
        """Read what workers need of the claimed jobs; return the round trips."""
        manager = transaction.TransactionManager(explicit=True)
        connection = self.world.db.open(transaction_manager=manager)
        trips = Trips(self.world.db)
        with contextlib.closing(connection), contextlib.closing(trips):
            manager.begin()
            for ticket in self.services.tickets:
                job = connection.get(ticket.oid)
                self.assertIs(job.callable, call)
                for thing in job.args:
                    thing._p_activate()
            manager.abort()
        return trips.count

    def check_given(self):
        """What the calls are given costs one more, and workers none."""
        self.claim_first()
        self.world.put(self.COUNT - 1, given, things=2)
        self.assertLessEqual(self.claim(), 6)

    def check_few(self):
        """A claim of many jobs costs few round trips, and their calls none."""
        self.claim_first()
        self.world.put(self.COUNT - 1)
        # what the put has changed, the jobs, and their calls
        self.assertLessEqual(self.claim(), 5)
        self.assertEqual(len(self.services.tickets), self.COUNT - 1)
        with mock.patch.object(Connection, 'prefetch') as prefetch:
            self.claim()
        self.assertEqual(prefetch.mock_calls, [], 'nothing is asked for again and again')


class ZEO(Loads, unittest.TestCase):

    def setUp(self):
        super().setUp()
        port = self.enterContext(servers.zeo(self.folder))
        self.make(f'zeo://127.0.0.1:{port}?wait_timeout={servers.PATIENCE}')

    def test_a_claim_of_ten_jobs_is_a_few_round_trips(self):
        self.check_few()

    def test_what_ten_calls_are_given_is_one_more(self):
        self.check_given()


class ZEOWithFilter(ZEO):

    filter = staticmethod(is_wanted)

    test_what_ten_calls_are_given_is_one_more = None

    def test_jobs_that_are_refused_are_loaded_together(self):
        self.claim_first()
        self.world.put(2 * PAGE, unwanted)
        # as before, with some leaves of the line; and twice for jobs and their calls
        self.assertLessEqual(self.claim(), 12)


class SQLite(Loads, unittest.TestCase):

    def setUp(self):
        super().setUp()
        os.mkdir(f'{self.folder}/database')
        self.make(f'sqlite://{self.folder}/database')

    def test_a_claim_of_ten_jobs_is_a_few_queries(self):
        self.check_few()
        self.assertLessEqual(self.read(), 1)


    def test_what_ten_calls_are_given_is_one_more(self):
        self.check_given()
        self.assertLessEqual(self.read(given), 1)


class SQLiteWithFilter(SQLite):

    filter = staticmethod(is_wanted)

    test_what_ten_calls_are_given_is_one_more = None


class PostgreSQL(Loads, unittest.TestCase):

    layer = servers.PostgreSQL

    def setUp(self):
        if self.layer.missing:
            self.skipTest(self.layer.missing)
        super().setUp()
        name = f'test_{os.path.basename(self.folder)[-8:]}'.lower()
        self.make(self.layer.database(name))

    def test_a_claim_of_ten_jobs_is_a_few_queries(self):
        self.check_few()
        self.assertLessEqual(self.read(), 1)


class Told(MappingStorage):
    """A storage that is told what will be read."""

    def __init__(self):
        super().__init__()
        self.told = []

    def prefetch(self, oids, tid):
        """Remember it."""
        self.told.append(list(oids))


class Fetch(unittest.TestCase):

    def setUp(self):
        self.storage = Told()
        self.db = ZODB.DB(self.storage)
        self.addCleanup(self.db.close)
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.jobs = self.connection.root()['jobs'] = [Job(nothing) for _one in range(3)]
        transaction.commit()

    def test_ghosts_alone_are_fetched(self):
        self.connection.cacheMinimize()
        self.jobs[1]._p_activate()
        foresight.fetch(self.jobs)
        self.assertEqual(self.storage.told, [[self.jobs[0]._p_oid, self.jobs[2]._p_oid]])

    def test_one_is_not_worth_it(self):
        foresight.fetch(self.jobs)
        self.jobs[1]._p_deactivate()
        foresight.fetch(self.jobs)
        foresight.fetch([])
        self.assertEqual(self.storage.told, [])

    def test_a_job_that_cannot_be_read_is_left_to_whom_it_concerns(self):
        self.connection.cacheMinimize()
        foreseeing = foresight.Foresight()
        foreseeing.begin(self.connection)
        with mock.patch.object(self.connection, 'setstate', side_effect=KeyError):
            foreseeing.calls(self.jobs)
        self.assertEqual(self.storage.told, [])
        foreseeing.calls(self.jobs)
        self.assertEqual(len(self.storage.told), 1)

    def test_only_so_many_of_the_objects_that_calls_are_given_are_loaded(self):
        given = [PersistentMapping() for _one in range(foresight.GIVEN + 5)]
        self.jobs[0].args.extend(given)
        transaction.commit()
        self.connection.cacheMinimize()
        foreseeing = foresight.Foresight()
        foreseeing.begin(self.connection)
        foreseeing.calls(self.jobs)
        self.assertEqual([len(told) for told in self.storage.told], [3, foresight.GIVEN])


class Elsewhere(contracts.InWorld, unittest.TestCase):
    """A storage that cannot be told is not."""

    def test_nothing_is_fetched_nor_looked_for(self):
        self.world.add_dispatcher(size=5)
        for _number in range(5):
            self.put(nothing)
        self.client.commit()
        services = Services(self.world)
        turns = Turns(services)
        self.addCleanup(turns.close)
        with mock.patch.object(foresight, 'fetch', side_effect=AssertionError):
            turns.take()
        self.assertEqual(len(services.tickets), 5)


class Last(unittest.TestCase):

    def setUp(self):
        self.db = ZODB.DB(None)
        self.addCleanup(self.db.close)
        self.manager = transaction.TransactionManager()
        self.connection = self.db.open(transaction_manager=self.manager)
        self.addCleanup(self.connection.close)

    def polls(self):
        """Return a mock that stands in for the storage's look for commits."""
        return mock.patch.object(
            self.connection._storage, 'poll_invalidations', return_value=[])

    def test_zodb_does_not_look_again_after_the_last_transaction(self):
        with self.polls() as polls:
            with effects.LastOf(self.connection):
                self.manager.abort()
            self.assertEqual(polls.call_count, 0)
            self.manager.abort()
            self.assertEqual(polls.call_count, 1)

    def test_what_is_committed_then_is_stored(self):
        self.connection.root()['done'] = True
        with effects.LastOf(self.connection):
            self.manager.commit()
        with self.db.transaction() as connection:
            self.assertTrue(connection.root()['done'])


class Careful(Job):
    """Its tearDown may look at the database."""

    def tearDown(self, setup_info):
        """See `IJob`."""


def change(cell):
    """Have an effect."""
    cell['done'] = True


class Looks(VirtualCase):
    """How often a worker's connection looks for commits of others, for one job."""

    def looks(self, job):
        """Return how often, until *job* is done."""
        looks, look = [], Connection.newTransaction

        def counted(connection, *args):
            if (threading.current_thread() is not threading.main_thread()
                    and not connection.explicit_transactions):
                looks.append(connection)
            return look(connection, *args)

        with mock.patch.object(Connection, 'newTransaction', counted):
            self.finish(job)
        return len(looks)

    def cell(self):
        found = self.connection.root()['cell'] = PersistentMapping()
        return found

    def test_once_for_a_job_without_effects(self):
        self.assertEqual(self.looks(self.put(nothing)), 1)

    def test_once_for_a_job_with_an_effect(self):
        cell = self.cell()
        self.assertEqual(self.looks(self.put(change, cell)), 1)
        self.assertTrue(cell['done'])

    def test_again_before_what_follows_in_the_same_connection(self):
        self.assertEqual(self.looks(self.put(Careful(nothing))), 2)
        job = Job(change, self.cell())
        job.addCallback(nothing)
        self.assertGreater(self.looks(self.put(job)), 1)
