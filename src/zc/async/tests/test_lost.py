"""Disks that fail: a storage that closes itself ends the work, a full one holds it up."""
import errno
import logging
import os
import resource
import signal
import sys
import threading
import unittest
from unittest import mock

import persistent
import transaction
import twisted.internet
import ZODB
import zope.component
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ReadOnlyError

from . import servers
from .. import dispatcher as dispatchers
from .. import instanceuuid
from .. import interfaces
from .. import outage
from .. import subscribers
from .. import testing
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..job import Job
from ..ops.worker import LOST
from .test_dispatcher import Case
from .test_dispatcher import event
from .test_dispatcher import nothing
from .test_dispatcher import VirtualCase

_MODULE = sys.modules['ZODB.FileStorage.FileStorage']


def broken_disk():
    """Let no FileStorage bring its data to the disk: the next commit closes it."""
    def fsync(number):
        raise OSError(errno.EIO, 'Input/output error')

    return mock.patch.object(_MODULE, 'fsync', fsync)


class FullDisk:
    """Stands for the file of a FileStorage while there is no room on its disk."""

    def __init__(self, storage):
        self._storage, self._file = storage, storage._file

    def __enter__(self):
        self._full = open('/dev/full', 'wb', buffering=0)
        self.write = self._full.write
        self._storage._file = self
        return self

    def __exit__(self, *error):
        self._storage._file = self._file
        self._full.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


class Document(persistent.Persistent):
    """What jobs change."""

    text = ''

    def write(self, text):
        """Change it."""
        self.text += text

    def write_between(self, text):
        """Change it between two signals."""
        self.write(text)
        event('written').set()
        event('go').wait(10)


class Closed(Case):
    """What a FileStorage that has closed itself says, whatever it is asked."""

    def setUp(self):
        super().setUp()
        self.db = self.open()
        self.manager = transaction.TransactionManager(explicit=True)
        self.connection = self.db.open(self.manager)
        with self.manager:
            self.document = self.connection.root()['document'] = Document()

    def errors(self):
        """Yield what a commit, and each use after it, raises."""
        for use in (self.write, self.read, self.write, self.read_elsewhere):
            self.manager.begin()
            try:
                use()
                self.manager.commit()
            except Exception as error:
                self.manager.abort()
                yield error

    def write(self):
        self.document.write('x')

    def read(self):
        self.document._p_deactivate()
        self.document.text

    def read_elsewhere(self):
        with self.db.transaction() as connection:
            connection.root()['document'].text

    def test_each_error_is_an_outage_and_it_is_known_to_be_closed(self):
        self.assertIsNone(outage.closed(self.db))
        with broken_disk(), self.assertLogs('ZODB', logging.CRITICAL):
            errors = list(self.errors())
        self.assertEqual([type(error) for error in errors], [OSError, *[ValueError] * 3])
        for error in errors[1:]:
            self.assertTrue(outage.is_outage(error), error)
        self.assertIn(f'{self.folder}/Data.fs', outage.closed(self.db))
        self.assertFalse(outage.answers(self.db))
        self.connection.close()

    def test_a_pack_closes_it_for_a_moment_only(self):
        storage = self.db.storage
        found, answers, threads = [], [], []

        def ask():
            answers.append(outage.closed(self.db))

        def rename(old, new):
            found.append(storage._file.closed)
            if storage._file.closed:
                threads.append(threading.Thread(target=ask))
                threads[-1].start()
                threads[-1].join(0.1)  # it waits
            os.rename(old, new)

        with mock.patch.object(_MODULE, 'os', mock.Mock(wraps=os, rename=rename)):
            with self.manager:
                self.write()
            self.db.pack()
        self.assertEqual(found[:2], [True, True])
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [None, None])
        self.connection.close()

    def test_one_that_others_closed(self):
        self.connection.close()
        db = ZODB.DB(None)
        db.close()
        self.assertEqual(outage.closed(db), "database 'unnamed'")
        self.assertFalse(outage.answers(db))


class ClosesItself(VirtualCase):
    """A dispatcher whose storage does."""

    def setUp(self):
        super().setUp()
        self.document = self.connection.root()['document'] = Document()
        transaction.commit()
        self.fatal = []
        self.dispatcher.on_fatal = lambda *args: self.fatal.append(args)

    def reopened(self):
        """Open the database anew, as another process."""
        self.db.storage._lock_file.close()
        db = ZODB.DB(FileStorage(os.path.join(self.folder, 'Data.fs')))
        self.addCleanup(db.close)
        return db

    def assertStopped(self, logged):
        critical = [line for line in logged.output if ':zc.async' in line]
        self.assertEqual(len(critical), 1, logged.output)
        self.assertIn(f'{self.folder}/Data.fs', critical[0])
        self.assertIsNone(self.dispatcher.activated)
        self.assertIn('Data.fs', self.dispatcher.lost)
        self.assertEqual(self.fatal, [(self.dispatcher, self.dispatcher.lost)])
        self.assertEqual(self.dispatcher.getStatusInfo()['status'], 'STOPPED')

    def test_in_a_commit_of_its_own(self):
        self.put(nothing)
        with broken_disk(), self.assertLogs(level=logging.ERROR) as logged:
            self.reactor.time_flies(5)
            self.reactor.time_flies(30)
        self.assertStopped(logged)

    def test_in_the_commit_of_a_job(self):
        self.put(self.document.write_between, 'x')
        self.reactor.time_flies(5)
        self.wait('written')
        with broken_disk(), self.assertLogs(level=logging.ERROR) as logged:
            event('go').set()
            self.assertTrue(testing.wait_for(lambda: self.fatal, 10))
            self.reactor.time_flies(30)
        self.assertStopped(logged)

    def test_in_a_commit_of_somebody_else(self):
        self.document.text = 'y'
        with broken_disk(), self.assertLogs(level=logging.ERROR) as logged:
            with self.assertRaises(OSError):
                transaction.commit()
            transaction.abort()
            self.reactor.time_flies(5)  # the poll looks, though it reads nothing
        self.assertStopped(logged)

    def test_its_jobs_are_done_by_the_next_process(self):
        job = self.put(self.document.write_between, 'x')
        self.reactor.time_flies(5)
        self.wait('written')
        with broken_disk(), self.assertLogs('ZODB', logging.CRITICAL):
            event('go').set()
            self.assertTrue(testing.wait_for(lambda: self.fatal, 10))
        transaction.abort()
        dispatchers.clear()
        db = self.reopened()
        dispatcher = dispatchers.Dispatcher(db, self.reactor, uuid=self.dispatcher.UUID)
        dispatcher.activate()
        self.addCleanup(dispatcher.deactivate)

        def done():
            self.reactor.time_flies(5)
            with db.transaction() as connection:
                return (connection.get(job._p_oid).status is COMPLETED
                        and connection.root()['document'].text)

        # in the file or not: there was no telling; but it is there once
        self.assertEqual(testing.wait_for(done, 10), 'x')

    def test_nothing_is_claimed_any_more(self):
        with broken_disk(), self.assertLogs(level=logging.ERROR):
            self.put_nothing()
            self.reactor.time_flies(5)
        polls = len(list(self.dispatcher.iterPolls()))
        self.reactor.time_flies(60)
        self.assertEqual(len(list(self.dispatcher.iterPolls())), polls)
        self.assertEqual(self.dispatcher.queues, {})

    def put_nothing(self):
        self.queue.put(nothing)
        with self.assertRaises(OSError):
            transaction.commit()
        transaction.abort()


class Installed(Case):
    """Dispatchers that the handlers of a site start: the site goes on."""

    def lose(self, db):
        manager = transaction.TransactionManager(explicit=True)
        connection = db.open(manager)
        with broken_disk(), self.assertLogs('ZODB', logging.CRITICAL):
            with self.assertRaises(OSError), manager:
                connection.root()['a'] = 1
        connection.close()

    def test_the_one_with_a_thread_of_its_own(self):
        db = self.open()
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        found = subscribers.ThreadedDispatcherInstaller(0.05)(
            interfaces.DatabaseOpened(db))
        self.addCleanup(subscribers.restore_signal_handlers, found)
        testing.get_poll(found, 1)
        with self.assertLogs('zc.async.events', logging.CRITICAL) as logged:
            self.lose(db)
            found.thread.join(10)
        self.assertFalse(found.thread.is_alive())
        self.assertIsNone(found.activated)
        self.assertEqual(len(logged.output), 1, logged.output)
        instanceuuid.hold(found.UUID)()  # it is free again

    def test_the_one_in_the_reactor_of_the_site(self):
        db = self.open()
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        reactor = testing.Reactor()
        reactor.start()
        self.addCleanup(reactor.stop)
        with mock.patch.object(twisted.internet, 'reactor', reactor, create=True):
            found = subscribers.TwistedDispatcherInstaller(5)(
                interfaces.DatabaseOpened(db))
        reactor.time_flies(1)
        with self.assertLogs('zc.async.events', logging.CRITICAL):
            self.lose(db)
            reactor.time_flies(5)
        self.assertIsNone(found.activated)
        reactor.callFromThread(event('the reactor goes on').set)
        self.assertTrue(testing.wait_for(
            lambda: reactor.time_passes() or event('the reactor goes on').is_set()))


class Full(VirtualCase):
    """A disk that is full for a while."""

    def setUp(self):
        super().setUp()
        self.document = self.connection.root()['document'] = Document()
        transaction.commit()
        self.pauses = 0
        self.full = FullDisk(self.db.storage)

    def until_free(self, times):
        """Let the disk have room again after *times* pauses."""
        def pause(seconds):
            self.pauses += seconds > 0
            if self.pauses == times:
                self.full.__exit__()
            return self.dispatcher._stopping.is_set()

        patched = mock.patch.object(self.dispatcher, 'pause', pause)
        patched.start()
        self.addCleanup(patched.stop)

    def test_a_job_waits_and_is_done_once(self):
        self.until_free(30)
        job = self.put(self.document.write_between, 'x')
        self.reactor.time_flies(5)
        self.wait('written')
        with self.full, self.assertLogs('zc.async.events', logging.WARNING) as logged:
            event('go').set()
            self.settle()
        self.assertIs(job.status, COMPLETED)
        self.assertIsNone(job.result)
        self.assertEqual(self.document.text, 'x')
        self.assertGreaterEqual(self.pauses, 30)
        self.assertEqual(len(logged.output), 1, logged.output)
        self.assertRegex(logged.output[0], '^CRITICAL.*No space left')

    def test_polls_go_on(self):
        job = self.put(nothing)
        with self.full, self.assertLogs('zc.async.events', logging.WARNING) as logged:
            for _number in range(6):
                self.reactor.time_flies(5)
        self.assertRegex(logged.output[0], '^CRITICAL.*No space left')
        self.assertEqual(len(logged.output), 1, logged.output)
        self.finish(job)
        self.assertIsNone(job.result)


class ReadOnlyForAWhile(VirtualCase):
    """A database that nobody may write loses no outcome."""

    def test_outcomes_wait(self):
        job = self.put(event_only)
        self.reactor.time_flies(5)
        self.wait('begun')
        refusals = []

        def refuse(storage, *args):
            refusals.append(1)
            raise ReadOnlyError

        with mock.patch.object(FileStorage, 'tpc_begin', refuse), \
                self.assertLogs('zc.async.events') as logged:
            event('go').set()
            self.assertTrue(testing.wait_for(lambda: refusals, 10))
            self.reactor.time_flies(30)
        self.assertRegex(logged.output[0], '^ERROR.*read-only')
        self.assertEqual(len(logged.output), 1, logged.output)
        self.finish(job)
        self.assertEqual(job.result, 42)


    def test_so_do_jobs_with_effects(self):
        document = self.connection.root()['document'] = Document()
        transaction.commit()
        refusals = []
        begin = FileStorage.tpc_begin

        def refuse(storage, *args):
            refusals.append(1)
            if len(refusals) < 20:
                raise ReadOnlyError
            return begin(storage, *args)

        stopping = self.dispatcher._stopping
        with mock.patch.object(self.dispatcher, 'pause', lambda seconds: stopping.is_set()):
            job = self.put(document.write_between, 'x')
            self.reactor.time_flies(5)
            self.wait('written')
            with mock.patch.object(FileStorage, 'tpc_begin', refuse), \
                    self.assertLogs('zc.async.events') as logged:
                event('go').set()
                self.settle()
        self.assertIs(job.status, COMPLETED)
        self.assertIsNone(job.result)
        self.assertEqual(document.text, 'x')
        self.assertEqual(len(logged.output), 1, logged.output)


def event_only():
    """Change nothing."""
    event('begun').set()
    event('go').wait(10)
    return 42


# The command

#: A worker whose disk breaks when there is a file ``broken`` in its folder.
_BREAKING = '''
import errno, os, sys
import ZODB.FileStorage
from zc.async_.cli import main

def fsync(number):
    if os.path.exists('broken'):
        raise OSError(errno.EIO, 'Input/output error')

sys.modules['ZODB.FileStorage.FileStorage'].fsync = fsync
sys.exit(main(['worker', *sys.argv[1:]]))
'''
#: A worker that may write no files longer than so many bytes.
_LIMITED = '''
import resource, sys
from zc.async_.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(['worker', *sys.argv[2:]]))
'''


class Command(unittest.TestCase):
    """``zc-async worker``, as a process of its own."""

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.path = os.path.join(self.folder, 'Data.fs')

    def start(self, program, *words):
        found = servers.Process(
            [sys.executable, '-c', program, *words, f'file://{self.path}', '--install',
             '--poll-interval', '1', '--ping-interval', '0.5'], self.folder, 'worker')
        self.addCleanup(found.end)
        return found

    def wait_until_ready(self, process):
        servers.wait_until(lambda: 'works for queue' in process.said(), 'it works')

    def break_disk(self):
        open(os.path.join(self.folder, 'broken'), 'w').close()

    def our_lines(self, process):
        """Return the lines of trouble that are ours."""
        return [line for line in process.said().splitlines()
                if (' zc.async' in line or line.startswith('zc-async'))
                and ' INFO ' not in line]

    def test_it_ends_within_five_seconds_with_one_line(self):
        process = self.start(_BREAKING)
        self.wait_until_ready(process)
        self.break_disk()
        servers.wait_until(lambda: 'Failure in _finish' in process.said(), 'the fault')
        servers.wait_until(lambda: not process.running, 'the end', 5)
        self.assertEqual(process.wait(), LOST)
        lines = self.our_lines(process)
        self.assertEqual(len(lines), 1, process.said())
        self.assertRegex(lines[0], f' CRITICAL .*FileStorage {self.path} .*start the '
                                   f'process anew')

    def test_with_a_log_file_it_says_so_on_the_standard_error_output_too(self):
        process = self.start(_BREAKING, '--log-file', 'worker.txt')
        log = os.path.join(self.folder, 'worker.txt')
        servers.wait_until(lambda: 'works for queue' in self.read(log), 'it works')
        self.break_disk()
        self.assertEqual(process.wait(), LOST)
        self.assertRegex(process.said(), f'^zc-async worker: .*{self.path}.* is closed\n$')

    def read(self, path):
        if not os.path.exists(path):
            return ''
        with open(path) as file:
            return file.read()

    def test_a_supervisor_starts_it_anew(self):
        process = self.start(_BREAKING, '--processes', '1', '--restart-delay', '0.1')
        self.wait_until_ready(process)
        self.break_disk()
        servers.wait_until(lambda: f'ended with {LOST}; it is replaced' in process.said(),
                           'it notices')
        os.remove(os.path.join(self.folder, 'broken'))
        servers.wait_until(lambda: process.said().count('works for queue') > 1,
                           'it works again')
        process.send(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)

    @unittest.skipUnless(hasattr(resource, 'prlimit'), 'needs prlimit of Linux')
    def test_a_full_disk_is_said_once_and_work_goes_on_when_there_is_room(self):
        with servers.configured(self.configuration()) as db:
            subscribers.QueueInstaller().install(db)
            with db.transaction() as connection:
                counter = connection.root()['counter'] = servers.Counter()
                connection.root()[KEY][''].put(Job(servers.increment, counter))
        size = os.path.getsize(self.path)
        process = self.start(_LIMITED, str(size + 50))
        servers.wait_until(lambda: 'CRITICAL' in process.said(), 'it says so')
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        # over: the file grows
        servers.wait_until(lambda: os.path.getsize(self.path) > size + 2000, 'work', 10)
        self.wait_until_ready(process)
        process.send(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.said())
        lines = self.our_lines(process)
        self.assertEqual(len(lines), 1, process.said())
        self.assertRegex(lines[0], 'CRITICAL .*cannot be written.*File too large')
        with servers.configured(self.configuration()) as db:
            self.assertEqual(servers.look(db, lambda root: root['counter'].count), 1)

    def configuration(self):
        path = os.path.join(self.folder, 'database.conf')
        with open(path, 'w') as file:
            file.write(f'<zodb>\n<filestorage>\npath {self.path}\n</filestorage>\n</zodb>')
        return path

    def test_a_database_that_is_read_only_is_refused_in_one_line(self):
        with servers.configured(self.configuration()):
            pass
        status, _output, errors = servers.run_worker(
            f'file://{self.path}?read_only=1', '--log-level', 'critical',
            folder=self.folder)
        self.assertEqual(status, 1)
        self.assertRegex(errors, '^zc-async worker: .*read-only.*open it for writing.*\n$')
