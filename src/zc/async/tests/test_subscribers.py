"""What is installed when a database is opened, and how signals end it."""
import contextlib
import os
import signal
import threading
import unittest
import uuid

import transaction
import ZODB
import ZODB.FileStorage
import zope.component
import zope.event
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from zope.interface import implementedBy
from zope.interface.verify import verifyObject

from .. import agent as agents
from .. import dispatcher as dispatchers
from .. import interfaces
from .. import subscribers
from .. import testing
from ..interfaces import DatabaseOpened
from ..interfaces import KEY
from ..queue import Queue
from ..queue import Queues
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import choose_nothing
from .test_dispatcher import is_short


class Special(Queue):
    """Made by a factory."""


class QueueInstallers(PlainCase):

    def setUp(self):
        super().setUp()
        self.db = ZODB.DB(MappingStorage())
        self.addCleanup(self.db.close)

    def root(self, db=None):
        connection = (db or self.db).open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        return connection.root()

    def install(self, *args, **options):
        subscribers.QueueInstaller(*args, **options)(DatabaseOpened(self.db))

    def test_the_queue(self):
        with self.assertLogs('zc.async.events', 'INFO') as logs:
            self.install()
        self.assertEqual([record.getMessage() for record in logs.records],
                         ['queues collection added', "queue '' added"])
        queues = self.root()[KEY]
        self.assertIsInstance(queues, Queues)
        self.assertEqual(list(queues), [''])
        self.assertEqual(queues[''].name, '')
        self.assertIs(queues[''].parent, queues)

    def test_what_is_there_stays(self):
        self.install()
        before = self.root()[KEY]['']._p_oid
        with self.assertNoLogs('zc.async.events', 'INFO'):
            self.install()
        self.assertEqual(self.root()[KEY]['']._p_oid, before)

    def test_several_by_a_factory(self):
        self.install()
        self.install(queues=('', 'b', 'a'), factory=Special)
        queues = self.root()[KEY]
        self.assertEqual(sorted(queues), ['', 'a', 'b'])
        self.assertEqual(type(queues['']), Queue)
        self.assertEqual(type(queues['a']), Special)

    def test_a_string_is_no_sequence_of_names(self):
        with self.assertRaisesRegex(TypeError, r"\('work',\)"):
            self.install('work')

    def test_events(self):
        heard = []
        zope.event.subscribers.append(heard.append)
        self.addCleanup(zope.event.subscribers.remove, heard.append)
        self.install()
        self.assertEqual([event.name for event in heard], [KEY, ''])
        for event in heard:
            verifyObject(interfaces.IObjectAdded, event)
        queues, queue = heard
        self.assertIs(queues.object, queue.parent)
        self.assertIs(queue.object.parent, queue.parent)

    def test_it_handles_an_opened_database(self):
        zope.component.provideHandler(subscribers.QueueInstaller())
        zope.event.notify(DatabaseOpened(self.db))
        self.assertIn('', self.root()[KEY])

    def test_anything_with_a_database_is_an_event(self):
        class Event:
            database = self.db

        subscribers.queue_installer(Event)
        self.assertIn('', self.root()[KEY])

    def test_two_processes_that_install_at_once(self):
        def install_too(event):
            zope.event.subscribers.remove(install_too)
            self.install()

        zope.event.subscribers.append(install_too)
        self.install()
        self.assertEqual(list(self.root()[KEY]), [''])

    def test_a_conflict_that_stays_is_raised(self):
        def fails(event):
            raise ConflictError

        zope.event.subscribers.append(fails)
        self.addCleanup(zope.event.subscribers.remove, fails)
        with self.assertRaises(ConflictError):
            self.install()
        self.assertNotIn(KEY, self.root())

    def test_its_connection_is_closed(self):
        self.install()
        with contextlib.suppress(ZeroDivisionError):
            self.install(queues=('bad',), factory=lambda: 1 / 0)
        self.assertEqual([info for info in self.db.connectionDebugInfo()
                          if info['opened']], [])


class InAnotherDatabase(PlainCase):

    def setUp(self):
        super().setUp()
        databases = {}
        self.main = ZODB.DB(MappingStorage(), databases=databases, database_name='main')
        self.other = ZODB.DB(
            ZODB.FileStorage.FileStorage(os.path.join(self.folder, 'async.fs')),
            databases=databases, database_name='async')
        self.addCleanup(self.main.close)
        self.addCleanup(self.other.close)

    def root(self, db):
        connection = db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        return connection.root()

    def test_queues_are_mounted(self):
        subscribers.multidb_queue_installer(DatabaseOpened(self.main))
        queues = self.root(self.main)[KEY]
        self.assertEqual(list(queues), [''])
        for one in queues, queues['']:
            self.assertEqual(one._p_jar.db().database_name, 'async')
        self.assertEqual(queues._p_oid, self.root(self.other)[KEY]._p_oid)

    def test_packing_spares_them(self):
        subscribers.multidb_queue_installer(DatabaseOpened(self.main))
        self.other.pack()
        self.other.cacheMinimize()
        self.assertEqual(len(self.root(self.main)[KEY]['']), 0)

    def test_queues_that_the_other_has_are_used(self):
        subscribers.queue_installer(DatabaseOpened(self.other))
        subscribers.multidb_queue_installer(DatabaseOpened(self.main))
        self.assertEqual(self.root(self.main)[KEY]['']._p_oid,
                         self.root(self.other)[KEY]['']._p_oid)

    def test_an_unknown_database(self):
        with self.assertRaisesRegex(ValueError, "'none'.*'async', 'main'"):
            subscribers.QueueInstaller(db_name='none')(DatabaseOpened(self.main))


class AgentInstallers(PlainCase):

    def setUp(self):
        super().setUp()
        self.connection = self.open().open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.queues = self.connection.root()[KEY]
        self.queues['other'] = Queue()

    def activate(self, *installers):
        """Return the agents of a dispatcher in each queue."""
        for installer in installers:
            zope.component.provideHandler(installer)
        found = []
        for queue in self.queues.values():
            queue.dispatchers.register(uuid.UUID(int=7))
            queue.dispatchers[uuid.UUID(int=7)].activate()
            found.append(queue.dispatchers[uuid.UUID(int=7)])
        return found

    def test_the_main_agent(self):
        for found in self.activate(subscribers.agent_installer):
            self.assertEqual(list(found), ['main'])
            self.assertEqual(found['main'].size, 3)
            self.assertTrue(interfaces.IFilterAgent.providedBy(found['main']))

    def test_in_some_queues(self):
        first, other = self.activate(
            subscribers.AgentInstaller('mine', queue_names=('other',)))
        self.assertEqual((list(first), list(other)), ([], ['mine']))

    def test_with_a_chooser_or_a_filter(self):
        found, _other = self.activate(
            subscribers.AgentInstaller('chooser', choose_nothing, 2),
            subscribers.AgentInstaller('filter', filter=is_short, size=1))
        self.assertEqual((found['chooser'].chooser, found['chooser'].size),
                         (choose_nothing, 2))
        self.assertEqual((found['filter'].filter, found['filter'].size), (is_short, 1))

    def test_an_agent_that_is_there_stays(self):
        found, _other = self.activate(
            subscribers.AgentInstaller('main', size=1),
            subscribers.AgentInstaller('main', size=2),
            agents.addMainAgentActivationHandler)
        self.assertEqual(found['main'].size, 1)

    def test_an_agent_that_cannot_be_is_refused_at_once(self):
        for options in ({'size': -1}, {'chooser': 3},
                        {'chooser': choose_nothing, 'filter': is_short}):
            with self.subTest(options):
                with self.assertRaises((TypeError, ValueError)):
                    subscribers.AgentInstaller('main', **options)


class DispatcherInstallers(PlainCase):

    def end(self, found):
        subscribers.restore_signal_handlers(found)
        if found.thread is not None:
            testing.tear_down_dispatcher(found)

    def test_what_they_handle(self):
        for installer in (
                subscribers.queue_installer, subscribers.multidb_queue_installer,
                subscribers.threaded_dispatcher_installer,
                subscribers.twisted_dispatcher_installer,
                subscribers.QueueInstaller(), subscribers.ThreadedDispatcherInstaller(),
                subscribers.TwistedDispatcherInstaller()):
            self.assertEqual(zope.component.adaptedBy(installer),
                             (interfaces.IDatabaseOpenedEvent,))
        self.assertEqual(zope.component.adaptedBy(subscribers.AgentInstaller('main')),
                         (interfaces.IDispatcherActivated,))
        self.assertTrue(implementedBy(DatabaseOpened).isOrExtends(
            interfaces.IDatabaseOpenedEvent))

    def test_in_a_thread(self):
        install = subscribers.ThreadedDispatcherInstaller()
        install.poll_interval = 2
        found = install(DatabaseOpened(self.open()))
        self.addCleanup(self.end, found)
        self.assertIs(dispatchers.get(), found)
        self.assertEqual(found.poll_interval, 2)
        self.assertTrue(found.thread.is_alive())

    def test_with_another_reactor_and_identity(self):
        reactors = []

        def make():
            reactors.append(subscribers._select_reactor())
            return reactors[0]

        UUID = uuid.UUID(int=7)
        found = subscribers.ThreadedDispatcherInstaller(0.1, make, UUID)(
            DatabaseOpened(self.open()))
        self.addCleanup(self.end, found)
        self.assertIs(found.reactor, reactors[0])
        self.assertEqual(found.UUID, UUID)

    def test_a_database_without_queues_does_no_harm(self):
        db = ZODB.DB(MappingStorage())
        self.addCleanup(db.close)
        found = subscribers.ThreadedDispatcherInstaller(0.02)(DatabaseOpened(db))
        self.addCleanup(self.end, found)
        self.assertEqual(testing.get_poll(found, 2), {})


class Signals(PlainCase):
    """Of a process with one or more threaded dispatchers."""

    def setUp(self):
        super().setUp()
        self.db = self.open()
        self.told = []
        for number in subscribers.SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, self.tell)

    def tell(self, number, frame):
        self.told.append((number, len(self.alive())))

    def alive(self):
        return [one for one in dispatchers._dispatchers.values()
                if one.activated is not None]

    def start(self, number=1):
        found = subscribers.ThreadedDispatcherInstaller(
            0.05, uuid=uuid.UUID(int=number))(DatabaseOpened(self.db))
        self.addCleanup(testing.tear_down_dispatcher, found)
        self.addCleanup(subscribers.restore_signal_handlers, found)
        testing.get_poll(found, 1)
        return found

    def assertRestored(self):
        self.assertEqual([signal.getsignal(one) for one in subscribers.SIGNALS],
                         [self.tell] * len(subscribers.SIGNALS))
        self.assertEqual(subscribers.signal_handlers, {})

    def test_one_stops_the_dispatcher_and_then_does_what_it_did(self):
        for number in subscribers.SIGNALS:
            with self.subTest(number):
                self.told.clear()
                found = self.start(number)
                signal.raise_signal(number)
                self.assertEqual(self.told, [(number, 0)])
                self.assertFalse(found.thread.is_alive())
                self.assertRestored()

    def test_where_it_did_the_default_the_process_exits(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        found = self.start()
        with self.assertRaises(SystemExit) as caught:
            signal.raise_signal(signal.SIGTERM)
        self.assertEqual(caught.exception.code, 128 + signal.SIGTERM)
        self.assertIsNone(found.activated)

    def test_an_interrupt_is_one(self):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        found = self.start()
        with self.assertRaises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        self.assertIsNone(found.activated)

    def test_one_that_is_ignored_stays_so(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        found = self.start()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        signal.raise_signal(signal.SIGINT)
        self.assertIsNotNone(found.activated)

    def test_one_stops_all_dispatchers(self):
        self.start(1), self.start(2)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.told, [(signal.SIGTERM, 0)])
        self.assertRestored()

    def test_dispatchers_may_end_in_any_order(self):
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
            with self.subTest(order):
                found = [self.start(number) for number in (1, 2, 3)]
                for place in order:
                    subscribers.restore_signal_handlers(found[place])
                self.assertRestored()
                for one in found:
                    testing.tear_down_dispatcher(one)

    def test_the_others_stay_chained(self):
        first, second = self.start(1), self.start(2)
        subscribers.restore_signal_handlers(first)
        signal.raise_signal(signal.SIGTERM)
        self.assertIsNotNone(first.activated)
        self.assertIsNone(second.activated)
        self.assertEqual(self.told, [(signal.SIGTERM, 1)])

    def test_a_handler_that_others_have_wrapped_passes_through(self):
        found = self.start()
        wrapped = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *args: wrapped(*args))
        subscribers.restore_signal_handlers(found)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.told, [(signal.SIGTERM, 1)])
        self.assertIsNotNone(found.activated)

    def test_twice_restored_is_restored(self):
        found = self.start()
        subscribers.restore_signal_handlers(found)
        subscribers.restore_signal_handlers(found)
        self.assertRestored()

    def test_other_threads_cannot_arrange_it(self):
        thread = threading.Thread(target=self.start)
        thread.start()
        thread.join()
        self.assertEqual(len(self.alive()), 1)
        self.assertRestored()


if __name__ == '__main__':
    unittest.main()
