"""A storage in memory, and its clients: each call of theirs may fail.

`Server` is to a `Client` what a ZEO server is to a ZEO client: it keeps what was
committed, resolves conflicts, lets one transaction commit at a time, and tells
clients what others have changed.  Whatever the clients of a world ask is counted
by its `Faults`, and fails where these say so.
"""
from ZODB.BaseStorage import checkCurrentSerialInTransaction
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.POSException import POSKeyError
from ZODB.POSException import StorageTransactionError
from ZODB.utils import p64
from ZODB.utils import u64
from ZODB.utils import z64

from .storage import AFTER
from .storage import BEFORE
from .storage import Died
from .storage import LASTING


class Faults:
    """Counts the calls of a world, from 1, and says which fail.

    *planned* are pairs of a number and a kind.
    """

    def __init__(self, *planned):
        self._planned = dict(planned)
        self.kinds = frozenset(self._planned.values())
        self.count = 0
        self.met = []       # (number, kind, name of the call), as they come
        self._left = 0      # calls that a lasting fault will meet yet

    def next(self, name):
        """Count a call of *name*; return the kind of fault that it meets, or None."""
        self.count += 1
        kind = self._planned.get(self.count)
        if kind is not None:
            self.met.append((self.count, kind, name))
            if kind in LASTING:
                self._left = LASTING[kind][1]
        if self._left:
            self._left -= 1
            return kind or 'away'
        return kind


class Server(ConflictResolvingStorage):
    """What is committed, with all that was.  Calls come one at a time."""

    def __init__(self, name='main'):
        self.name = name
        self.records = {}       # oid -> [(tid, data), …], the oldest first
        self.last = self.copied = z64   # the copied ones are older, or as old
        self.issued = 0         # the highest oid
        self.transaction = None
        self._stored = {}
        self._clients = []

    def copy(self):
        """Return another with the same content, and nobody who uses it."""
        other = Server(self.name)
        other.records = {oid: list(all) for oid, all in self.records.items()}
        other.last, other.issued = self.last, self.issued
        other.copied = self.last
        return other

    def connect(self, client):
        """Tell *client* from now on what others change."""
        self._clients.append(client)

    # Reading

    def load_before(self, oid, tid):
        """Return data, tid and the next tid of *oid*; None where it was not yet."""
        following = None
        for found, data in reversed(self._all(oid)):
            if found < tid:
                return data, found, following
            following = found
        return None

    def _all(self, oid):
        try:
            return self.records[oid]
        except KeyError:
            raise POSKeyError(oid) from None

    def loadSerial(self, oid, serial):
        """Return the data of *oid* as *serial* made it."""
        for found, data in reversed(self._all(oid)):
            if found == serial:
                return data
        raise POSKeyError(oid, serial)

    def getTid(self, oid):
        """Return the tid of what is current of *oid*."""
        return self._all(oid)[-1][0]

    # Writing

    def new_oid(self):
        """Return an oid that nobody has."""
        self.issued += 1
        return p64(self.issued)

    def begin(self, transaction):
        """Begin; there is one transaction at a time."""
        assert self.transaction is None, 'the one before has not ended'
        self.transaction, self._stored, self._resolved = transaction, {}, []

    def check(self, transaction):
        """Raise StorageTransactionError unless *transaction* is the present one."""
        if transaction is not self.transaction:
            raise StorageTransactionError(self.name, transaction)

    _transaction = property(lambda self: self.transaction)
    checkCurrentSerialInTransaction = checkCurrentSerialInTransaction

    def store(self, oid, serial, data, transaction):
        """Keep *data* for the commit; resolve a conflict, or raise ConflictError."""
        self.check(transaction)
        current = self.records[oid][-1][0] if oid in self.records else z64
        if serial != current:
            data = self.tryToResolveConflict(oid, current, serial, data)
            self._resolved.append(oid)
        self._stored[oid] = data

    def vote(self, transaction):
        """Return the oids whose conflicts were resolved."""
        self.check(transaction)
        return self._resolved

    def finish(self, transaction, committing):
        """Commit; tell all clients but *committing*; return tid and oids."""
        self.check(transaction)
        tid = self.last = p64(u64(self.last) + 1)
        for oid, data in self._stored.items():
            self.records.setdefault(oid, []).append((tid, data))
        oids = list(self._stored)
        self.transaction = None
        for client in self._clients:
            if client is not committing:
                client.told(tid, oids)
        return tid, oids

    def abort(self, transaction):
        """Give up *transaction*, if it is the present one."""
        if transaction is self.transaction:
            self.transaction = None


class Life:
    """Whether a process lives; all of its clients ask the same."""

    dead = False


def _counted(method):
    """Let *method* of a `Client` be counted, and fail where that is planned."""
    name = method.__name__

    def call(self, *args, **kwargs):
        if self.life.dead:
            raise Died
        kind = self._faults.next(name)
        if kind is None:
            return method(self, *args, **kwargs)
        if kind in AFTER:
            self._lost = True
            method(self, *args, **kwargs)
            self._fail(AFTER[kind])
        self._fail(BEFORE[kind] if kind in BEFORE else LASTING[kind][0])

    call.__name__ = name
    return call


class Client:
    """One process's storage: what ZODB asks of it is asked of *server*."""

    _lost = False   # whether the call that is being made will not be answered

    def __init__(self, server, faults=None, life=None):
        self.server = server
        self.life = Life() if life is None else life
        self._faults = Faults() if faults is None else faults
        self._db = None
        server.connect(self)

    def _fail(self, make):
        self._lost = False
        error = make()
        if isinstance(error, Died):
            self.life.dead = True
        raise error

    def registerDB(self, db):
        """Let *db* hear what others change."""
        self._db = db
        self.server.registerDB(db)

    def told(self, tid, oids):
        """Hear that others have changed *oids*."""
        if not self.life.dead:
            self._db.invalidate(tid, oids)

    # What may fail

    @_counted
    def loadBefore(self, oid, tid):
        return self.server.load_before(oid, tid)

    @_counted
    def loadSerial(self, oid, serial):
        return self.server.loadSerial(oid, serial)

    @_counted
    def lastTransaction(self):
        return self.server.last

    @_counted
    def new_oid(self):
        return self.server.new_oid()

    @_counted
    def tpc_begin(self, transaction):
        self.server.begin(transaction)

    @_counted
    def store(self, oid, serial, data, version, transaction):
        self.server.store(oid, serial, data, transaction)

    @_counted
    def checkCurrentSerialInTransaction(self, oid, serial, transaction):
        self.server.checkCurrentSerialInTransaction(oid, serial, transaction)

    @_counted
    def tpc_vote(self, transaction):
        return self.server.vote(transaction)

    @_counted
    def tpc_finish(self, transaction, func=lambda tid: None):
        lost = self._lost
        # where the answer is lost, it is among what others have changed that the
        # client hears of its own commit, once it is connected again
        tid, _oids = self.server.finish(transaction, None if lost else self)
        if not lost:
            func(tid)
        return tid

    # What may not

    def tpc_abort(self, transaction):
        """A process that is dead aborts nothing, but its locks are gone."""
        self.server.abort(transaction)

    def getName(self):
        return self.server.name

    sortKey = getName

    def isReadOnly(self):
        return False

    def supportsUndo(self):
        return False

    def __len__(self):
        return len(self.server.records)

    def close(self):
        """Nothing to do."""
