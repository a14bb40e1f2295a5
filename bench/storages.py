"""The storages that are measured: how to make, open, weigh and end them.

A store is described by plain data, so that another process can open it.
"""
import contextlib
import glob
import itertools
import os

import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64
from ZODB.utils import u64

from bench import children
from zc.async_.tests import servers

_numbers = itertools.count()


class Missing(Exception):
    """What a storage needs is not installed here; the text says what."""


class Store:
    """A fresh database in *folder*, from `made` to the end of its block."""

    kind = title = None
    #: Jobs in a backlog, unless somebody says how many: so many that to start a process,
    #: a fifth of a second, is little beside them.
    usual_jobs = 20_000

    def __init__(self, folder):
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def hosted(cls):
        """Keep running what all stores of this kind share, within the block.

        Raise `Missing` if that cannot be.
        """
        yield

    @contextlib.contextmanager
    def served(self):
        """Keep what the store needs running, within the block."""
        yield

    def describe(self):
        """Return the data with which `described` makes this store again."""
        return {'kind': self.kind, 'folder': self.folder}

    def open(self):
        """Return the `ZODB.DB`, with the settings that nobody has changed."""
        raise NotImplementedError

    def files(self):
        """Return the pattern of the names of the files that hold the data."""
        raise NotImplementedError

    # What was written

    def mark(self):
        """Return the present state, for `cost`.  Nobody may have it open."""
        with contextlib.closing(self.open()) as db:
            last = db.storage.lastTransaction()
        return last, self._size()

    def cost(self, mark):
        """Return what was written since *mark*.  Nobody may have it open.

        Commits are counted as the storage keeps them: one for each
        ``tpc_finish`` that stored anything.
        """
        last, size = mark
        commits = records = pickled = 0
        with contextlib.closing(self.open()) as db:
            for transaction in db.storage.iterator(p64(u64(last) + 1)):
                commits += 1
                for record in transaction:
                    records += 1
                    pickled += len(record.data or b'')
        return {'commits': commits, 'records': records, 'pickled': pickled,
                'bytes': self._size() - size}

    def _size(self):
        return sum(os.path.getsize(path) for path in glob.glob(
            os.path.join(glob.escape(self.folder), self.files())))


class File(Store):

    kind = 'filestorage'
    title = 'FileStorage, with fsync'

    def open(self):
        return ZODB.DB(FileStorage(self._path()))

    def files(self):
        return 'Data.fs'

    def _path(self):
        return os.path.join(self.folder, 'Data.fs')


class Zeo(File):

    kind = 'zeo'
    title = 'ZEO over loopback, on a FileStorage'
    usual_jobs = 3000

    def __init__(self, folder, address=None):
        super().__init__(folder)
        self._address = address

    @contextlib.contextmanager
    def served(self):
        with children.Child('zeo', self.folder, path=self._path()) as server:
            self._address = tuple(server.hear()['address'])
            yield

    def describe(self):
        return {**super().describe(), 'address': self._address}

    def open(self):
        import ZEO
        return ZEO.DB(tuple(self._address), wait_timeout=30)


class Sqlite(Store):

    kind = 'relstorage'
    title = 'RelStorage on SQLite'
    usual_jobs = 3000

    def open(self):
        from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
        from relstorage.options import Options
        from relstorage.storage import RelStorage
        options = Options()
        return ZODB.DB(RelStorage(
            Sqlite3Adapter(self.folder, pragmas={}, options=options),
            options=options))

    def files(self):
        return '*.sqlite3*'


class Server(servers.PostgreSQL):
    """PostgreSQL with the settings that it has by itself, so with fsync."""

    settings = ()


class Postgresql(Store):

    kind = 'postgresql'
    title = 'RelStorage on PostgreSQL, with fsync'
    usual_jobs = 1000

    def __init__(self, folder, dsn=None):
        super().__init__(folder)
        self._dsn = dsn

    @classmethod
    @contextlib.contextmanager
    def hosted(cls):
        Server.setUp()
        try:
            if Server.missing:
                raise Missing(Server.missing)
            yield
        finally:
            Server.tearDown()

    @contextlib.contextmanager
    def served(self):
        name = f'bench{next(_numbers)}'
        Server.database(name)
        self._dsn = Server.dsn(name)
        try:
            yield
        finally:
            with contextlib.closing(Server.connect('postgres')) as connection:
                connection.cursor().execute(f'DROP DATABASE {name} WITH (FORCE)')

    def describe(self):
        return {**super().describe(), 'dsn': self._dsn}

    def open(self):
        from relstorage.adapters.postgresql import PostgreSQLAdapter
        from relstorage.options import Options
        from relstorage.storage import RelStorage
        options = Options()
        return ZODB.DB(RelStorage(
            PostgreSQLAdapter(dsn=self._dsn, options=options), options=options))

    def _size(self):
        """Tables and indexes, in steps of a page of 8 KiB each."""
        import psycopg2
        with contextlib.closing(psycopg2.connect(self._dsn)) as connection:
            cursor = connection.cursor()
            cursor.execute('SELECT pg_database_size(current_database())')
            return cursor.fetchone()[0]


KINDS = {cls.kind: cls for cls in (File, Zeo, Sqlite, Postgresql)}


def described(description):
    """Return the store that *description* tells of."""
    description = dict(description)
    return KINDS[description.pop('kind')](**description)


@contextlib.contextmanager
def made(kind, folder):
    """Make a fresh store in the new *folder*; end it with the block."""
    os.mkdir(folder)
    store = KINDS[kind](folder)
    with store.served():
        yield store
