"""The server of a kill loop: ends in the middle of a commit, when that is told."""
import errno
import io
import os
import pickle

from ZODB.FileStorage import FileStorage
from ZODB.utils import get_pickle_metadata

from . import work
from .session import raised

#: What says that something is to happen: files in the loop's folder.
FULL, BEFORE, AFTER = 'full', 'die-before', 'die-after'


class Hooked(FileStorage):
    """A storage whose process ends when it is told to, and whose disk fills.

    It ends by itself in a ``tpc_finish``: before anything of the transaction is
    durable, or after everything is and before anybody is told.
    """

    def __init__(self, path, folder):
        super().__init__(path)
        self._folder = folder
        self._marks = {}

    def tpc_begin(self, transaction, tid=None, status=' '):
        super().tpc_begin(transaction, tid, status)
        self._marks = {}

    def store(self, oid, oldserial, data, version, transaction):
        super().store(oid, oldserial, data, version, transaction)
        if get_pickle_metadata(data)[1] == 'Cell':
            state = _state(data)
            self._marks[state['id']] = sorted(state['marks'])

    def tpc_vote(self, transaction):
        if not raised(self._folder, FULL):
            return super().tpc_vote(transaction)
        file = self._file
        self._file = _FullDisk(file)
        try:
            return super().tpc_vote(transaction)
        finally:
            self._file = file

    def tpc_finish(self, transaction, f=None):
        marks = self._marks
        if self._is_time(BEFORE):
            work.history.note('dropped', ids=sorted(marks))
            os._exit(1)
        found = super().tpc_finish(transaction, f)
        if self._is_time(AFTER):
            work.history.note('landed', marks=marks)
            os._exit(1)
        return found

    def _is_time(self, flag):
        """Return whether *flag* is raised, and means this transaction.

        With text in it, it means one with effects of jobs, or one that puts some.
        """
        try:
            with open(os.path.join(self._folder, flag)) as file:
                wanted = file.read()
        except FileNotFoundError:
            return False
        effects = any(self._marks.values())
        return not wanted or effects == (wanted == 'effects') and bool(self._marks)


def _state(data):
    """Return the state in the record *data*."""
    unpickler = pickle.Unpickler(io.BytesIO(data))
    unpickler.load()
    return unpickler.load()


class _FullDisk:
    """A file that can be written a little further."""

    def __init__(self, file):
        self._file = file
        self._room = 100

    def write(self, data):
        if len(data) > self._room:
            self._file.write(data[:self._room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= len(data)
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


def serve(who, folder, path, port):
    """Serve the FileStorage *path* over ZEO, until told to end or hooked to."""
    from ZEO.StorageServer import StorageServer
    storage = Hooked(path, folder)
    server = StorageServer(('127.0.0.1', port), {'1': storage})
    try:
        server.loop()
    except SystemExit:
        server.close()
    return 0
