"""A site starts and stops: events, options, what is wrong outside, signals."""
import contextlib
import gc
import os
import pathlib
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import types
import unittest
import uuid
import weakref
from unittest import mock

import transaction
import ZODB
import zope.component
import zope.event
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadOnlyError
from zope.configuration import xmlconfig
from zope.interface.interfaces import ComponentLookupError
from zope.processlifetime import DatabaseOpened
from zope.processlifetime import DatabaseOpenedWithRoot
from zope.processlifetime import IDatabaseOpenedWithRoot
from zope.testing import cleanup

from .. import configure
from .. import dispatcher as dispatchers
from .. import instanceuuid
from .. import opened
from .. import productconfig
from .. import subscribers
from .. import testing
from ..interfaces import IQueue
from ..interfaces import IUUID
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import multiply

FIRST, SECOND = (uuid.UUID(int=number) for number in (1, 2))
SITE = '''
<configure xmlns="http://namespaces.zope.org/zope">
  <include package="zc.async" file="{}" />
</configure>'''


class Case(PlainCase):
    """Nothing is registered, and what is started is ended."""

    def setUp(self):
        super().setUp()
        cleanup.cleanUp()

    def database(self, storage=None, **options):
        """Return a new database."""
        db = ZODB.DB(storage, **options)
        self.addCleanup(db.close)
        self.addCleanup(self.end)
        self.addCleanup(transaction.abort)
        return db

    def end(self):
        for found in list(dispatchers._dispatchers.values()):
            subscribers.stop(found)
            dispatchers.pop(found.UUID)

    def site(self, policy='basic_dispatcher_policy.zcml'):
        """Configure a site with the *policy*."""
        xmlconfig.string(SITE.format(policy))

    def root(self, db):
        connection = db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        return connection.root()

    def work(self, db):
        """Return the result of a job in *db*."""
        job = self.root(db)[KEY][''].put(Job(multiply, 6, 7))
        transaction.commit()
        return testing.wait_for_result(job)

    def errors(self, call, *args):
        """Return the lines of errors that are logged while *call* is called."""
        with self.assertLogs('zc.async', 'DEBUG') as logs:
            subscribers.log.events.debug('something')
            call(*args)
        self.assertEqual([one for one in logs.records if one.exc_info], [])
        return [one.getMessage() for one in logs.records if one.levelname == 'ERROR']


class Events(Case):
    """A host sends either event or both, in any order."""

    def notify(self, *kinds):
        db = self.database()
        for kind in kinds:
            zope.event.notify(kind(db))
        return db

    def test_everything_is_done_once(self):
        for kinds in ([DatabaseOpened], [DatabaseOpenedWithRoot],
                      [DatabaseOpened, DatabaseOpenedWithRoot],
                      [DatabaseOpenedWithRoot, DatabaseOpened],
                      [DatabaseOpenedWithRoot, DatabaseOpened] * 2):
            for policy in 'basic', 'multidb':
                with self.subTest(policy, kinds=kinds):
                    self.check(f'{policy}_dispatcher_policy.zcml', kinds)

    def check(self, policy, kinds):
        cleanup.cleanUp()
        self.site(policy)
        databases = {}
        db = self.database(databases=databases, database_name='')
        self.database(databases=databases, database_name='async')
        made = []
        real = dispatchers.Dispatcher.activate
        with mock.patch.object(
                dispatchers.Dispatcher, 'activate',
                lambda *args: made.append(args) or real(*args)):
            errors = self.errors(lambda: [zope.event.notify(kind(db)) for kind in kinds])
        self.assertEqual((len(made), errors), (1, []))
        self.assertIs(dispatchers.get().db, db)
        self.assertEqual(self.work(db), 42)
        self.end()

    def test_nested_as_a_zope_toolkit_site_has_it(self):
        self.site()
        calls = []

        def send_with_root(event):
            zope.event.notify(DatabaseOpenedWithRoot(event.database))

        zope.event.subscribers.insert(
            0, lambda event: isinstance(event, DatabaseOpened) and send_with_root(event))
        self.addCleanup(zope.event.subscribers.pop, 0)
        real = subscribers.QueueInstaller.install
        with mock.patch.object(subscribers.QueueInstaller, 'install',
                               lambda *args: calls.append(args) or real(*args)):
            db = self.notify(DatabaseOpened)
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.work(db), 42)

    def test_for_each_database(self):
        """An installer remembers databases apart, and keeps none alive."""
        install = subscribers.QueueInstaller()
        first, second = self.database(), self.database()
        for kind in DatabaseOpened, DatabaseOpenedWithRoot:
            for db in first, second:
                install(kind(db))
        for db in first, second:
            self.assertIn('', self.root(db)[KEY])
        self.assertEqual(first.lastTransaction(), first.storage.lastTransaction())
        mortal = ZODB.DB(None)
        install(DatabaseOpened(mortal))
        opened.log_once('something', mortal)
        mortal.close()
        gone = weakref.ref(mortal)
        del mortal
        for _time in range(3):
            gc.collect()
        self.assertIsNone(gone())

    def test_an_echo_commits_nothing(self):
        install = subscribers.QueueInstaller()
        db = self.database()
        install(DatabaseOpenedWithRoot(db))
        with mock.patch.object(db, 'open', side_effect=AssertionError):
            install(DatabaseOpened(db))

    def test_an_echo_returns_the_dispatcher(self):
        install = subscribers.ThreadedDispatcherInstaller(uuid=FIRST)
        db = self.database()
        found = install(DatabaseOpened(db))
        for kind in DatabaseOpenedWithRoot, DatabaseOpened, DatabaseOpened:
            self.assertIs(install(kind(db)), found)

    def test_other_handlers_are_left_alone(self):
        heard = []

        def hear(event):
            heard.append(type(event))

        zope.component.provideHandler(hear, (subscribers.QueueInstaller.__mro__[-1],))
        zope.component.provideHandler(hear, (opened.IDatabaseOpened,))
        configure.client()
        zope.event.notify(DatabaseOpenedWithRoot(self.database()))
        self.assertNotIn(DatabaseOpened, heard)

    def test_it_is_passed_on_once_however_often_configured(self):
        for _time in range(3):
            configure.client()
        self.site('configure.zcml')
        handlers = zope.component.globalSiteManager.registeredHandlers()
        self.assertEqual([one.handler for one in handlers
                          if one.required == (IDatabaseOpenedWithRoot,)],
                         [opened.opened_with_root])


class Several(Case):
    """Dispatchers and databases in one process."""

    def test_each_works_for_its_own(self):
        configure.client()
        zope.component.provideHandler(subscribers.agent_installer)
        found = {}
        for UUID in FIRST, SECOND:
            db = self.database()
            subscribers.queue_installer(DatabaseOpened(db))
            found[db] = subscribers.ThreadedDispatcherInstaller(5, uuid=UUID)(
                DatabaseOpened(db))
        self.assertIsNone(dispatchers.get())
        for db, dispatcher in found.items():
            self.assertIs(dispatchers.get(dispatcher.UUID), dispatcher)
            self.assertEqual(self.work(db), 42)
        first, second = found.values()
        subscribers.stop(first)
        self.assertIsNone(first.activated)
        self.assertIsNotNone(second.activated)

    def test_two_for_one_database(self):
        configure.client()
        zope.component.provideHandler(subscribers.agent_installer)
        db = self.database()
        subscribers.queue_installer(DatabaseOpened(db))
        for UUID in FIRST, SECOND:
            subscribers.ThreadedDispatcherInstaller(5, uuid=UUID)(DatabaseOpened(db))
        queue = self.root(db)[KEY]['']
        self.assertTrue(testing.wait_for(lambda: len(queue.dispatchers) == 2))
        self.assertEqual(self.work(db), 42)

    def test_a_second_database_needs_an_identity_for_its_dispatcher(self):
        self.site()
        first, second = self.database(), self.database()
        zope.event.notify(DatabaseOpened(first))
        [line] = self.errors(zope.event.notify, DatabaseOpened(second))
        self.assertRegex(line, 'this process has a dispatcher with UUID.*of its own')
        self.assertIn('', self.root(second)[KEY])
        self.assertEqual(self.work(first), 42)


class NotAsItShouldBe(Case):
    """One clear line, and the rest of the site starts."""

    def notify(self, db):
        """Return the lines of errors when *db* is opened, and again."""
        return self.errors(lambda: [
            zope.event.notify(kind(db))
            for kind in (DatabaseOpenedWithRoot, DatabaseOpened, DatabaseOpened)])

    def read_only(self, fill):
        path = os.path.join(self.folder, 'read.fs')
        db = ZODB.DB(FileStorage(path))
        fill(DatabaseOpened(db))
        db.close()
        return self.database(FileStorage(path, read_only=True))

    def test_a_database_that_cannot_be_written(self):
        self.site()
        for fill in subscribers.queue_installer, lambda event: None:
            with self.subTest(fill):
                db = self.read_only(fill)
                [line] = self.notify(db)
                self.assertRegex(line, "database 'unnamed' is read-only: .*open it for")
                self.assertIsNone(dispatchers.get())
                os.unlink(os.path.join(self.folder, 'read.fs'))

    def test_a_site_that_registers_the_handlers_itself_starts_too(self):
        configure.client()
        for handler in (subscribers.queue_installer,
                        subscribers.threaded_dispatcher_installer):
            zope.component.provideHandler(handler)
        [line] = self.notify(self.read_only(lambda event: None))
        self.assertRegex(line, "database 'unnamed' is read-only: .*open it for")

    def test_its_queues_are_read_all_the_same(self):
        self.site('queue.zcml')
        db = self.read_only(subscribers.queue_installer)
        self.assertEqual(self.notify(db), [])
        self.assertEqual(len(IQueue(self.root(db))), 0)

    def test_it_is_raised_where_the_caller_can_tell(self):
        configure.client()
        db = self.read_only(lambda event: None)
        for install in (subscribers.QueueInstaller(),
                        subscribers.ThreadedDispatcherInstaller()):
            with self.assertRaisesRegex(ReadOnlyError, 'is read-only'):
                install(DatabaseOpened(db))
        with self.assertRaises(ReadOnlyError):
            configure.start(db)
        self.assertIsNone(dispatchers.get())

    def test_a_second_database_that_is_missing(self):
        self.site('multidb_dispatcher_policy.zcml')
        db = self.database(database_name='main')
        [line] = self.notify(db)
        self.assertRegex(line, "no database 'async' beside 'main'.*configure it")
        self.assertIsNotNone(dispatchers.get().activated)

    def test_an_identity_that_cannot_be_made(self):
        os.environ['ZC_ASYNC_UUID'] = os.path.join(self.folder, 'no', 'such.txt')
        db = self.database()
        [line] = self.errors(lambda: [self.site(), self.notify(db)])
        self.assertRegex(line, 'UUID file .*such.txt: No such file.*ZC_ASYNC_UUID')
        self.assertIsNone(dispatchers.get())
        job = IQueue(self.root(db)).put(multiply)
        transaction.commit()
        self.assertEqual((job.status, job.assignerUUID), (PENDING, None))

    def test_an_identity_that_is_none(self):
        with open(os.environ['ZC_ASYNC_UUID'], 'w') as file:
            file.write('me\n')
        with mock.patch.dict(instanceuuid._found, clear=True):
            [line] = self.errors(lambda: [self.site(), self.notify(self.database())])
        self.assertRegex(line, "no UUID: 'me'")

    def test_a_configuration_that_was_forgotten(self):
        install = opened.Forgiving(subscribers.ThreadedDispatcherInstaller())
        [line] = self.errors(install, DatabaseOpened(self.database()))
        self.assertIn('no IUUID utility; call', line)
        with self.assertRaisesRegex(ComponentLookupError, 'no IUUID utility'):
            install.installer(DatabaseOpened(self.database()))

    def test_a_mistake_in_code_is_no_surrounding(self):
        install = opened.Forgiving(subscribers.QueueInstaller(factory=lambda: 1 / 0))
        with self.assertRaises(ZeroDivisionError):
            install(DatabaseOpened(self.database()))

    def test_an_error_without_words(self):
        install = opened.Forgiving(mock.Mock(side_effect=POSKeyError.__mro__[1]()))
        [line] = self.errors(install, DatabaseOpened(self.database()))
        self.assertTrue(line.strip())

    def test_nothing_of_a_reactor_is_left_open(self):
        configure.client()
        db = self.database()
        event = DatabaseOpened(db)
        subscribers.threaded_dispatcher_installer(event)
        count = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
        for _time in range(5):
            with self.assertRaises(ValueError):
                subscribers.ThreadedDispatcherInstaller()(event)
        if count:
            self.assertEqual(len(os.listdir('/proc/self/fd')), count)


#: What another process does: say when it is ready, and go on until it is told.
OTHER = '''
import sys
sys.path[:] = {path!r}
import ZODB
from zc.async_ import configure
configure.start(ZODB.DB(None))
print('ready', flush=True)
sys.stdin.readline()
'''


class Identity(Case):
    """One living process for each UUID file."""

    def other(self):
        process = subprocess.Popen(
            [sys.executable, '-c', OTHER.format(path=sys.path)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), 'ready\n')
        return process

    def test_a_file_that_a_living_process_has(self):
        process = self.other()
        self.site()
        db = self.database()
        [line] = self.errors(zope.event.notify, DatabaseOpened(db))
        self.assertRegex(line, f'uuid.txt is in use by the living process {process.pid};')
        self.assertIsNone(dispatchers.get())
        # the site can put jobs, and take over when the other is gone
        IQueue(self.root(db)).put(multiply)
        transaction.abort()
        process.kill()
        process.wait()
        self.assertEqual(self.errors(zope.event.notify, DatabaseOpened(db)), [])
        self.assertEqual(self.work(db), 42)

    def test_it_is_raised_where_the_caller_can_tell(self):
        self.other()
        with self.assertRaisesRegex(ValueError, 'in use by the living process'):
            configure.start(self.database())
        self.assertIsNone(dispatchers.get())

    def test_it_is_held_from_start_to_end(self):
        configure.client()
        install = subscribers.ThreadedDispatcherInstaller()
        event = DatabaseOpened(self.database())
        for _time in range(3):
            found = install(event)
            with self.assertRaisesRegex(ValueError, f'process {os.getpid()};'):
                instanceuuid.hold(found.UUID)
            with self.assertRaisesRegex(ValueError, 'is activated since'):
                found.activate()
            with self.assertRaises(ValueError):
                instanceuuid.hold(found.UUID)
            self.end()
            instanceuuid.hold(found.UUID)()

    def test_a_dispatcher_that_is_switched_on_again_holds_it_again(self):
        configure.client()
        reactor = testing.Reactor()
        reactor.start()
        self.addCleanup(reactor.stop)
        found = subscribers.HostedDispatcher(self.database(), reactor)
        for _time in range(2):
            found.activate()
            with self.assertRaises(ValueError):
                instanceuuid.hold(found.UUID)
            found.deactivate()
            found.deactivate()
            instanceuuid.hold(found.UUID)()

    def test_an_identity_of_no_file_is_not_held(self):
        instanceuuid.hold(FIRST)
        instanceuuid.hold(FIRST)()
        self.assertEqual([name for name in os.listdir(self.folder) if 'lock' in name], [])

    @unittest.skipUnless(os.name == 'posix', 'needs POSIX permissions')
    def test_a_folder_that_cannot_be_written(self):
        """As where the file is given to a container."""
        found = instanceuuid.getUUID()
        with mock.patch('zc.lockfile.LockFile', side_effect=PermissionError(13, 'denied')):
            with self.assertLogs('zc.async.events', 'WARNING') as logs:
                instanceuuid.hold(found)()
        [record] = logs.records
        self.assertRegex(record.getMessage(), 'uuid.txt cannot be locked: .*denied')

    def test_its_text_and_its_rights_stay(self):
        found = instanceuuid.getUUID()
        path = pathlib.Path(os.environ['ZC_ASYNC_UUID'])
        before = path.read_text(), stat.S_IMODE(path.stat().st_mode)
        instanceuuid.hold(found)()
        self.assertEqual((path.read_text(), stat.S_IMODE(path.stat().st_mode)), before)


class ProductConfig(Case):
    """The section ``<product-config zc.async>``."""

    def say(self, **options):
        said = {key.replace('_', '-'): value for key, value in options.items()}
        host = types.SimpleNamespace(
            getProductConfiguration=lambda name: said if name == 'zc.async' else None)
        self.enterContext(mock.patch.dict(
            sys.modules, {'zope.app.appsetup.product': host}))
        self.enterContext(mock.patch.object(
            instanceuuid, 'default_file', instanceuuid.default_file))

    def test_what_may_be_said(self):
        self.say(poll_interval='0.5', db_name='async', agent_size='7', uuid_file='u.txt')
        self.assertEqual(productconfig.options(), {
            'poll-interval': 0.5, 'db-name': 'async', 'agent-size': 7,
            'uuid-file': 'u.txt'})

    def test_nothing(self):
        self.assertEqual(productconfig.options(), {})
        with mock.patch.dict(sys.modules, {'zope.app.appsetup.product': mock.Mock(
                **{'getProductConfiguration.return_value': None})}):
            self.assertEqual(productconfig.options(), {})

    def say_in_zope(self, **configuration):
        config = types.SimpleNamespace(**configuration)
        self.enterContext(mock.patch.dict(sys.modules, {
            'App.config': types.SimpleNamespace(getConfiguration=lambda: config)}))

    def test_zope_has_such_sections_too(self):
        self.say_in_zope(product_config={
            'other': {'size': '3'}, 'zc.async': {'agent-size': '7'}})
        self.assertEqual(productconfig.options(), {'agent-size': 7})
        self.say_in_zope(product_config={'zc.async': {'size': '3'}})
        with self.assertRaisesRegex(ValueError, "a key 'size'"):
            productconfig.options()

    def test_zope_without_the_section(self):
        for configuration in ({}, {'product_config': None}, {'product_config': {}},
                              {'product_config': {'other': {'size': '3'}}}):
            with self.subTest(**configuration):
                self.say_in_zope(**configuration)
                self.assertEqual(productconfig.options(), {})

    def test_the_toolkit_comes_before_zope(self):
        self.say_in_zope(product_config={'zc.async': {'agent-size': '7'}})
        self.say(agent_size='5')
        self.assertEqual(productconfig.options(), {'agent-size': 5})

    def test_zope_where_the_toolkit_is_only_imported(self):
        self.say_in_zope(product_config={'zc.async': {'agent-size': '7'}})
        with mock.patch.dict(sys.modules, {'zope.app.appsetup.product': mock.Mock(
                **{'getProductConfiguration.return_value': None})}):
            self.assertEqual(productconfig.options(), {'agent-size': 7})

    def test_what_cannot_be(self):
        for key, value in (('poll-interval', 'soon'), ('poll-interval', '0'),
                           ('poll-interval', 'nan'), ('agent-size', '0'),
                           ('agent-size', '2.5'), ('db-name', ''), ('uuid-file', ''),
                           ('size', '3')):
            with self.subTest(key, value=value):
                self.say(**{key: value})
                with self.assertRaisesRegex(ValueError, rf'{key}.*product-config zc.async|'
                                                        rf'product-config zc.async.*{key}'):
                    productconfig.options()

    def test_it_is_refused_when_the_site_is_configured(self):
        self.say(size='3')
        with self.assertRaisesRegex(Exception, "a key 'size'; what it may have is poll-"):
            self.site('configure.zcml')

    def test_the_policies_heed_it(self):
        own = os.path.join(self.folder, 'own.txt')
        self.say(poll_interval='0.05', db_name='second', agent_size='7', uuid_file=own)
        del os.environ['ZC_ASYNC_UUID']
        self.site()
        databases = {}
        db = self.database(databases=databases, database_name='main')
        self.database(databases=databases, database_name='second')
        zope.event.notify(DatabaseOpenedWithRoot(db))
        found = dispatchers.get()
        self.assertEqual(found.poll_interval, 0.05)
        with open(own) as file:
            self.assertEqual(file.readline().strip(), str(found.UUID))
        self.assertEqual(instanceuuid.UUID, found.UUID)
        queues = self.root(db)[KEY]
        self.assertEqual(queues._p_jar.db().database_name, 'second')
        self.assertTrue(testing.wait_for(
            lambda: found.UUID in queues[''].dispatchers
            and 'main' in queues[''].dispatchers[found.UUID]))
        self.assertEqual(queues[''].dispatchers[found.UUID]['main'].size, 7)

    def test_the_environment_counts_before_it(self):
        self.say(uuid_file=os.path.join(self.folder, 'own.txt'))
        self.site('configure.zcml')
        self.assertEqual(os.listdir(self.folder), ['uuid.txt'])

    def test_what_is_made_in_code_does_not_heed_it(self):
        self.say(poll_interval='1', db_name='none')
        found = configure.start(self.database())
        self.assertEqual(found.poll_interval, 5)


#: A site: it works for the database of a file, and says when a job blocks.
SERVER = textwrap.dedent('''
    import logging, sys, threading
    sys.path[:] = {path!r}
    import zope.event
    from zope.configuration import xmlconfig
    from zope.processlifetime import DatabaseOpenedWithRoot
    import ZODB, ZODB.FileStorage
    from zc.async_ import dispatcher
    xmlconfig.string({site!r})
    db = ZODB.DB(ZODB.FileStorage.FileStorage({file!r}))
    zope.event.notify(DatabaseOpenedWithRoot(db))
    dispatcher.get().shutdown_grace = 0.05
    threading.Event().wait()
    ''')


def say_and_block():
    """Say that it runs, and never end."""
    print('working', flush=True)
    threading.Event().wait()


class RealSignals(Case):
    """A real process of a site gets a real signal while a job runs."""

    def serve(self):
        """Return a process that works on a job of `serve`'s caller."""
        file = os.path.join(self.folder, 'Data.fs')
        db = ZODB.DB(FileStorage(file))
        try:
            subscribers.queue_installer(DatabaseOpened(db))
            with db.transaction() as connection:
                connection.root()[KEY][''].put(say_and_block)
        finally:
            db.close()
        self.said = os.path.join(self.folder, 'said.txt')
        with open(self.said, 'w') as said:
            process = subprocess.Popen(
                [sys.executable, '-c', SERVER.format(
                    path=sys.path, file=file,
                    site=SITE.format('basic_dispatcher_policy.zcml'))],
                stdout=said, stderr=said)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(testing.wait_for(
            lambda: 'working\n' in self.text() or process.poll() is not None, 30))
        self.assertEqual(self.text(), 'working\n')
        return process, file

    def text(self):
        """Return what the process has said."""
        with open(self.said) as said:
            return said.read()

    def check_handed_back(self, file):
        configure.client()
        db = self.database(FileStorage(file))
        queue = self.root(db)[KEY]['']
        [job] = queue
        self.assertEqual(job.status, PENDING)
        [agents] = queue.dispatchers.values()
        self.assertIsNone(agents.activated)
        self.assertEqual(agents.UUID, zope.component.getUtility(IUUID))
        queue.remove(job)
        transaction.commit()
        # its identity is free again
        zope.component.provideHandler(subscribers.agent_installer)
        subscribers.threaded_dispatcher_installer(DatabaseOpened(db))
        self.assertEqual(self.work(db), 42)

    def test_to_terminate(self):
        process, file = self.serve()
        process.send_signal(signal.SIGTERM)
        self.assertEqual((process.wait(30), self.text()),
                         (128 + signal.SIGTERM, 'working\n'))
        self.check_handed_back(file)

    def test_to_interrupt(self):
        process, file = self.serve()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), -signal.SIGINT)
        self.assertRegex(self.text(), r'(?s)^working\nTraceback.*KeyboardInterrupt\s*$')
        self.check_handed_back(file)


class Cycles(Case):
    """Started and stopped for ever."""

    def files(self):
        """Return what is open, but for the database: its storage keeps a pool."""
        if not os.path.isdir('/proc/self/fd'):
            return None
        found = []
        for number in os.listdir('/proc/self/fd'):
            with contextlib.suppress(FileNotFoundError):  # that of this look
                found.append(os.readlink(f'/proc/self/fd/{number}').partition(':')[0])
        return sorted(one for one in found if not one.endswith('Data.fs'))

    def counts(self, db):
        return {
            'threads': sorted(one.name for one in threading.enumerate()),
            'files': self.files(),
            'connections': len([
                one for one in db.connectionDebugInfo() if one['opened']]),
            'pooled': len(db.connectionDebugInfo()),
            'signals': [signal.getsignal(number) for number in subscribers.SIGNALS],
            'chained': dict(subscribers.signal_handlers),
            'handlers': len(list(
                zope.component.globalSiteManager.registeredHandlers()))}

    def test_two_hundred_times_on_and_off_leaves_nothing(self):
        db = self.database(FileStorage(os.path.join(self.folder, 'Data.fs')))
        subscribers.queue_installer(DatabaseOpened(db))
        queue = self.root(db)[KEY]['']
        signals = [signal.getsignal(number) for number in subscribers.SIGNALS]
        gone, before = [], None
        for number in range(200):
            found = configure.start(db, poll_interval=5)
            job = queue.put(Job(multiply, 6, number))
            transaction.commit()
            self.assertEqual(testing.wait_for_result(job), 6 * number)
            self.stop(found, number)
            gone.append(weakref.ref(found))
            del found
            if number == 4:  # pools are as large as they get
                before = self.counts(db)
        self.assertEqual(self.counts(db), before)
        self.assertEqual(before['signals'], signals)
        self.assertEqual(before['chained'], {})
        gc.collect()
        self.assertEqual([one for one in gone if one() is not None], [])

    def stop(self, found, number):
        """Stop a dispatcher: in our way, or as clients of old do."""
        if number % 2:
            subscribers.stop(found)
        else:
            found.reactor.callFromThread(found.reactor.stop)
            found.thread.join(30)
            subscribers.restore_signal_handlers(found)
        self.assertIsNone(found.activated)
        self.assertFalse(found.thread.is_alive())
        dispatchers.pop(found.UUID)

    def test_who_forgets_to_restore_the_signals_leaves_no_chain(self):
        before = [signal.getsignal(number) for number in subscribers.SIGNALS]
        db = self.database()
        for _time in range(5):
            found = configure.start(db)
            found.reactor.callFromThread(found.reactor.stop)
            found.thread.join(30)
            dispatchers.pop(found.UUID)
        self.assertLessEqual(len(subscribers.signal_handlers), len(subscribers.SIGNALS))
        for handler in subscribers.signal_handlers.values():
            self.assertIn(handler.before, before)
        subscribers.stop(found)
        self.assertEqual([signal.getsignal(number) for number in subscribers.SIGNALS], before)


if __name__ == '__main__':
    unittest.main()
