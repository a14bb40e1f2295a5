"""What has to be mended in a storage before its promises can be relied on.

One place, so that it can go when the storage's own release has it.
"""
import contextlib
import os

from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

try:
    from ZEO.ClientStorage import ClientStorage
except ImportError:
    class ClientStorage:
        """Stands in where ZEO is not installed: nothing is one."""

from .. import outage


def mend(db):
    """Mend the storages of *db* and those beside it.  Any thread; once is enough."""
    for one in db.databases.values():
        for storage in outage.layers(one.storage):
            if isinstance(storage, ClientStorage):
                _forget_ids_with_connection(storage)
                _verify_again(storage)
            if type(getattr(storage, '_adapter', None)).__name__ == 'Sqlite3Adapter':
                _roll_back_all(storage)
            if isinstance(storage, FileStorage):
                _sync_packed(storage)


def _roll_back_all(storage):
    """Let an aborted transaction leave nothing behind.

    RelStorage (4.3.0) on SQLite puts what is to be stored into a temporary table
    and empties that when it rolls back; but it rolls back only what SQLite calls a
    transaction.  One that is refused in its vote because of ``readCurrent`` is none
    yet: its rows stay, and the next transaction would commit them as well, so that
    the effects of a job could appear though its attempt was undone.
    """
    storage._adapter.connmanager._may_need_rollback = _always


def _always(connection):
    return True


def _sync_packed(storage):
    """Let what a pack has written be on the disk before it takes the file's place.

    ZODB (6.4) renames it without an fsync.  Until that of the next commit, a power
    cut can leave a file that lacks its end, or all of it, under the name of the
    whole one.
    """
    packer = storage.packer
    if getattr(packer, '__name__', None) == 'sync_packed':
        return

    def sync_packed(*args):
        found = packer(*args)
        if found is not None:
            # it has the commit lock now, and whoever fails gives it back
            with contextlib.ExitStack() as if_it_fails:
                if_it_fails.callback(storage._commit_lock.release)
                with open(f'{storage._file_name}.pack', 'r+b') as file:
                    os.fsync(file.fileno())
                if_it_fails.pop_all()
        return found

    storage.packer = sync_packed


def _forget_ids_with_connection(storage):
    """Let a ZEO client begin with new ids for new objects when it reconnects.

    ZEO (6.2) keeps those that it has in reserve, while a server that was restarted
    counts on from the highest id that is committed: it gives the same ones out
    again, to others or to the same client, and commits of new objects fail that
    have done nothing wrong.  But what was given out already may be that of an object
    in a transaction that is still to be committed, so the client gives out no id
    again: two objects of one transaction would be stored as one, without an error.
    """
    if 'notify_connected' in vars(storage):
        return
    storage._oids = _Reserve(storage._oids)
    connected = storage.notify_connected

    def notify_connected(*args):
        del storage._oids[:]
        return connected(*args)

    storage.notify_connected = notify_connected


class _Reserve(list):
    """The ids that a client has fetched, the next one last; none is taken twice."""

    last = z64  # that was taken

    def pop(self):
        """Take the next id that is new.  Raise IndexError where there is none."""
        found = super().pop()
        while found <= self.last:
            found = super().pop()
        self.last = found
        return found


def _verify_again(storage):
    """Let a ZEO client come back that has seen more than its server has.

    A FileStorage (ZODB 6.4) that is opened after its process was killed between
    the two phases of a commit says that the dropped transaction is its last one,
    and a client believes it.  If the server is killed once more before it has
    committed anything, what it knows is older, and the error at which ZEO (6.2)
    finds that out is lost with its task: the client is never connected again.
    """
    client = getattr(storage._server, 'client', None)
    if client is None or 'verify' in vars(client):
        return
    whole = client.verify

    async def verify(server_tid):
        protocol = client.protocol
        try:
            await whole(server_tid)
        except Exception as error:
            # as where the server is too far ahead: begin with an empty cache
            client.cache.clear()
            client.client.invalidateCache()
            client.protocol = None
            client.register_failed(protocol, error)

    client.verify = verify


def forget_ids(db):
    """Let the ZEO clients of *db* forget their ids in reserve.  Any thread."""
    for one in db.databases.values():
        for storage in outage.layers(one.storage):
            if isinstance(storage, ClientStorage):
                del storage._oids[:]
