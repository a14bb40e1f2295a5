"""A FileStorage that a broken-off pack left without its file is not begun anew."""
import contextlib
import logging
import os
import shutil
import sys
import unittest
from unittest import mock

import transaction
import ZODB
import zope.component
import zope.event
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError
from zope.processlifetime import DatabaseOpened

from . import servers
from .. import configure
from .. import datafile
from .. import subscribers
from ..interfaces import KEY
from .test_dispatcher import Case

_MODULE = sys.modules['ZODB.FileStorage.FileStorage']


class Killed(BaseException):
    """The process is gone."""


class Folder:
    """Files in a folder, as processes leave them."""

    def setUp(self):
        super().setUp()
        if not hasattr(self, 'folder'):
            self.folder = self.enterContext(servers.folder())
        self.path = os.path.join(self.folder, 'Data.fs')

    @contextlib.contextmanager
    def opened(self):
        """Open the database within the block."""
        db = ZODB.DB(FileStorage(self.path))
        try:
            yield db
        finally:
            db.close()

    def change(self, db, times=3):
        """Commit several times."""
        for number in range(times):
            with db.transaction() as connection:
                connection.root()[number] = object
                connection.root()['text'] = f'{number}' * 100

    def files(self):
        return sorted(name for name in os.listdir(self.folder)
                      if name in ('Data.fs', 'Data.fs.old', 'Data.fs.pack'))

    def break_off_pack(self, renames=1):
        """Kill a process in a pack after so many renames."""
        def rename(old, new):
            nonlocal renames
            if not renames:
                raise Killed
            renames -= 1
            os.rename(old, new)

        storage = FileStorage(self.path)
        db = ZODB.DB(storage)
        self.change(db)
        with mock.patch.object(_MODULE, 'os', mock.Mock(wraps=os, rename=rename)):
            with contextlib.suppress(Killed):
                db.pack()
        # what the system does for the dead
        for file in (storage._lock_file, storage._tfile, storage._file):
            file.close()
        storage._files.close()


class Files(Folder, unittest.TestCase):
    """What the files tell."""

    def test_after_a_kill_between_the_renames(self):
        self.break_off_pack()
        self.assertEqual(self.files(), ['Data.fs.old', 'Data.fs.pack'])
        with self.opened():
            self.assertEqual(datafile.older(self.path),
                             [f'{self.path}.old', f'{self.path}.pack'])

    def test_either_of_them_is_enough(self):
        self.break_off_pack()
        os.remove(f'{self.path}.pack')
        with self.opened() as db:
            self.change(db)
            self.assertEqual(datafile.older(self.path), [f'{self.path}.old'])
        os.rename(f'{self.path}.old', f'{self.path}.pack')
        self.assertEqual(datafile.older(self.path), [f'{self.path}.pack'])

    def test_a_file_without_a_transaction(self):
        self.break_off_pack()
        with open(self.path, 'wb') as file:
            file.write(b'FS30')
        self.assertEqual(len(datafile.older(self.path)), 2)

    def test_after_a_kill_before_the_renames_nothing_is_missing(self):
        self.break_off_pack(renames=0)
        self.assertEqual(self.files(), ['Data.fs', 'Data.fs.pack'])
        self.assertEqual(datafile.older(self.path), [])

    def test_after_packs_nothing_is_missing(self):
        with self.opened() as db:
            self.assertEqual(datafile.older(self.path), [])
            for _number in range(3):
                self.change(db)
                db.pack()
                self.assertEqual(datafile.older(self.path), [])
            self.change(db)
            self.assertEqual(datafile.older(self.path), [])
        self.assertEqual(self.files(), ['Data.fs', 'Data.fs.old'])

    def test_an_older_copy_that_was_put_back_is_the_right_one(self):
        with self.opened() as db:
            self.change(db)
        shutil.copy(self.path, f'{self.path}.copy')
        with self.opened() as db:
            self.change(db)
            db.pack()
        shutil.move(f'{self.path}.copy', self.path)
        self.assertEqual(datafile.older(self.path), [])

    def test_an_old_file_whose_end_is_torn(self):
        self.break_off_pack()
        with open(f'{self.path}.old', 'r+b') as file:
            file.truncate(os.path.getsize(file.name) - 5)
        with self.opened():
            self.assertIn(f'{self.path}.old', datafile.older(self.path))


class Starts(Folder, Case):
    """Nobody puts queues there, however the site is started."""

    def setUp(self):
        super().setUp()
        self.break_off_pack()
        db = self.db = ZODB.DB(FileStorage(self.path))
        self.addCleanup(lambda: db.close())  # which does nothing the second time
        self.addCleanup(transaction.abort)

    def assertNoQueues(self):
        with self.db.transaction() as connection:
            self.assertNotIn(KEY, connection.root())

    def assertTells(self, text):
        self.assertEqual(text.count('\n'), 0)
        self.assertIn(f'rename {self.path}.old to {self.path}', text)

    def test_a_queue_installer_that_is_called(self):
        with self.assertRaises(StorageError) as raised:
            subscribers.QueueInstaller()(DatabaseOpened(self.db))
        self.assertTells(str(raised.exception))
        self.assertNoQueues()

    def test_the_installers_of_a_site_which_starts_all_the_same(self):
        for installer in (subscribers.queue_installer, subscribers.agent_installer):
            zope.component.provideHandler(installer)
        with self.assertLogs('zc.async.events', logging.ERROR) as logged:
            zope.event.notify(DatabaseOpened(self.db))
        self.assertEqual(len(logged.output), 1)
        self.assertTells(logged.output[0])
        self.assertNoQueues()

    def test_configure_start(self):
        with self.assertRaises(StorageError) as raised:
            configure.start(self.db)
        self.assertTells(str(raised.exception))
        self.assertNoQueues()

    def test_queues_in_a_database_beside_it(self):
        databases = {}
        main = ZODB.DB(None, databases=databases, database_name='main')
        self.addCleanup(main.close)
        self.db.close()
        self.db = ZODB.DB(FileStorage(self.path), databases=databases,
                          database_name='async')
        self.addCleanup(self.db.close)
        with self.assertRaises(StorageError) as raised:
            subscribers.QueueInstaller(db_name='async')(DatabaseOpened(main))
        self.assertTells(str(raised.exception))
        self.assertNoQueues()

    def test_queues_that_are_there_already_are_used(self):
        os.rename(f'{self.path}.old', f'{self.path}.away')
        os.rename(f'{self.path}.pack', f'{self.path}.away')
        subscribers.QueueInstaller()(DatabaseOpened(self.db))
        os.rename(f'{self.path}.away', f'{self.path}.old')
        subscribers.QueueInstaller(('more',))(DatabaseOpened(self.db))
        with self.db.transaction() as connection:
            self.assertIn('more', connection.root()[KEY])

    def test_the_worker_command(self):
        self.db.close()
        status, _output, errors = servers.run_worker(
            f'file://{self.path}', '--install', '--log-level', 'critical',
            folder=self.folder)
        self.assertEqual(status, 1)
        self.assertRegex(errors, '^zc-async worker: cannot use .*\n$')
        self.assertTells(errors.rstrip('\n'))
