"""Kinds of faults, and a storage that fails at one call."""
import errno
import sqlite3
import threading

from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadConflictError
from ZODB.POSException import StorageError

from ...outage import ClientDisconnected

#: What is counted, and may fail.
CALLS = ('load', 'loadBefore', 'loadSerial', 'store', 'new_oid', 'tpc_begin',
         'tpc_vote', 'tpc_finish', 'lastTransaction',
         'checkCurrentSerialInTransaction')


class Died(BaseException):
    """The process is dead: nothing that it does has any effect."""


def _pos_key_error():
    return POSKeyError(b'\0' * 8)


#: Kinds of faults: what the call raises instead of being done.
BEFORE = {
    'conflict': ConflictError,
    'read conflict': ReadConflictError,
    'disconnected': ClientDisconnected,
    'driver error': lambda: sqlite3.OperationalError('server closed the connection'),
    'no such object': _pos_key_error,
    'storage error': lambda: StorageError('injected'),
    'disk full': lambda: OSError(errno.ENOSPC, 'No space left on device'),
    'death': Died,
}
#: … and after it was done: the answer is lost, or the process.
AFTER = {
    'lost answer': ClientDisconnected,
    'death after': Died,
}
#: … and what this call and those after it raise, and how many calls do.
LASTING = {
    'away': (ClientDisconnected, 25),
}
KINDS = (*BEFORE, *AFTER, *LASTING)
#: Those that say of themselves that they pass, and deaths.  Whichever it is and
#: wherever it strikes, each job is done in the end, and its effects are there once.
PASSING = frozenset(('conflict', 'read conflict', 'disconnected', 'driver error',
                     'lost answer', 'death', 'death after', 'away', 'disk full'))
#: Those of which nothing says that they will pass.  A job may end in a Failure, and
#: has no effects then; or it is parked, and has them once when it is run again.
HARD = frozenset(KINDS) - PASSING


class FaultStorage:
    """Passes calls on to *base* and fails at the call number *at*, counted from 1.

    Counts nothing until it is armed.  After a death, every call of every thread
    raises `Died`.
    """

    def __init__(self, base):
        self._base = base
        self._lock = threading.RLock()
        self.count = 0
        self.armed = self.dead = False
        self.at = self.kind = None
        self.failed_at = None  # the name of the call
        for name in CALLS:
            if hasattr(base, name):
                setattr(self, name, self._counted(name, getattr(base, name)))

    def arm(self, at=None, kind=None):
        """Begin to count; fail at the call number *at* with *kind*."""
        self.count, self.armed, self.at, self.kind = 0, True, at, kind

    def _counted(self, name, call):
        def counted(*args, **kwargs):
            with self._lock:
                self._check_alive()
                mine = self._is_mine(name)
            if mine and self.kind in BEFORE:
                self._fail(name, BEFORE[self.kind])
            found = call(*args, **kwargs)
            if mine:
                self._fail(name, AFTER[self.kind])
            return found

        return counted

    def _check_alive(self):
        if self.dead:
            raise Died

    def _is_mine(self, name):
        if self.armed:
            self.count += 1
        return self.armed and self.count == self.at

    def _fail(self, name, make):
        self.failed_at = name
        error = make()
        self.dead = isinstance(error, Died)
        raise error

    def tpc_abort(self, *args, **kwargs):
        """A process that is dead aborts nothing, but its locks are gone."""
        return self._base.tpc_abort(*args, **kwargs)

    def __len__(self):
        return len(self._base)

    def __getattr__(self, name):
        return getattr(self._base, name)
