"""Processes on one storage, as clients of a ZEO server are: each with a database,
invalidations that may come late, a clock that may be wrong, and a life that may end.
"""
import time

import transaction
import ZODB
from persistent.timestamp import TimeStamp
from ZODB.broken import Broken
from ZODB.broken import find_global
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.serialize import referencesf
from ZODB.utils import u64
from ZODB.utils import z64

from .storage import AFTER
from .storage import BEFORE
from .storage import Died
from .storage import FaultStorage
from .workload import rare
from ... import outage

#: Calls at which others may run: none is made between ``tpc_begin`` and its end,
#: where the server serves nobody else.
YIELDS = {'tpc_begin': 0.5, 'lastTransaction': 0.3, 'loadBefore': 0.05, 'sync': 0.3}
#: Calls of a commit; a fault there leaves it made or not made.
COMMIT = ('tpc_begin', 'store', 'checkCurrentSerialInTransaction', 'tpc_vote',
          'tpc_finish')
#: For how many seconds a process stands still, or is cut off: shorter and longer than
#: the interval after which it counts as dead.
PAUSES = (0.5, 14, 18, 40, 80)
#: Calls that may find what another has changed or packed away.
LOADS = ('loadBefore', 'loadSerial')


class Server(ConflictResolvingStorage, MappingStorage):
    """The storage.  Its transactions are of virtual time."""

    def __init__(self, baton):
        super().__init__()
        self._baton = baton
        self._resolved = []

    def tid(self, now):
        """Return a transaction id for *now*, in seconds."""
        return TimeStamp(*time.gmtime(now)[:5], now % 60)

    def tpc_begin(self, transaction, tid=None):
        """Begin; the server serves one at a time."""
        if not self.not_in_transaction():
            raise AssertionError('a commit began within another')
        found = self.tid(self._baton.now)
        last = TimeStamp(self.lastTransaction())
        super().tpc_begin(transaction, found.laterThan(last).raw())
        self._resolved = []

    def store(self, oid, serial, data, version, transaction):
        """Store, after a conflict with what the classes can make of it."""
        revisions = self._data.get(oid)
        newest = serial if revisions is None else revisions.maxKey()
        if newest != serial:
            data = self.tryToResolveConflict(oid, newest, serial, data)
            self._resolved.append(oid)
        super().store(oid, newest, data, version, transaction)

    def tpc_vote(self, transaction):
        """Return what was resolved."""
        super().tpc_vote(transaction)
        return self._resolved

    def dangling(self):
        """Yield what the newest records refer to that is not there."""
        todo, seen = [z64], {z64}
        while todo:
            oid = todo.pop()
            revisions = self._data[oid]
            for other in referencesf(revisions[revisions.maxKey()]):
                if other not in self._data:
                    yield f'object {u64(oid)} refers to {u64(other)}, which is gone'
                elif other not in seen:
                    seen.add(other)
                    todo.append(other)

    def changed(self):
        """Return the ids of what the transaction under way stores."""
        return tuple(self._tdata)


#: What is loaded for a function where it is missing.
_Missing = type('rare', (Broken,), {'__module__': rare.__module__})


class Link(FaultStorage):
    """How *process* reaches the server: where others run, and where faults are."""

    def __init__(self, process):
        self._process = process
        super().__init__(process.cluster.server)
        self.sync = self._counted('sync', process.deliver)
        self.ping = self._counted('ping', process.deliver)
        self._finish = self._base.tpc_finish

    def _counted(self, name, call):
        process, cluster = self._process, self._process.cluster
        if name == 'tpc_finish':
            call = self._finishing
        elif name == 'lastTransaction':
            call = process.last_seen

        def counted(*args, **kwargs):
            cluster.before(process, name)
            return call(*args, **kwargs)

        return counted

    def _finishing(self, transaction, func=lambda tid: None):
        process, cluster = self._process, self._process.cluster
        fault = cluster.fault_after(process)
        oids = self._base.changed()
        process.deliver()
        if fault is not None:
            # nobody tells this process: it will hear of it like the others
            tid = self._base.tpc_finish(transaction)
            cluster.committed(process, tid, oids, heard=False)
            process.fail(fault, AFTER[fault]())
        tid = self._base.tpc_finish(transaction, func)
        process.seen = tid
        cluster.committed(process, tid, oids)
        cluster.after(process)
        return tid

    def tpc_abort(self, transaction):
        """Let the server forget it, whoever asks for it."""
        self._base.tpc_abort(transaction)


class Process:
    """A client of the server.  All times are of the baton."""

    def __init__(self, cluster, name, trusted=False):
        self.cluster, self.name = cluster, name
        self.trusted = trusted  # nothing ever happens to it
        self.UUID = None        # of its dispatcher
        self.dead = False
        self.frozen_until = 0   # it stands still
        self.thaws = False      # … at most until it is taken for dead
        self.away_until = 0     # it cannot reach the server
        self.late_until = 0     # what the server tells it comes late
        self.offset = 0.0       # of its clock on the wall
        self.pending = []       # what it has not heard of yet
        self.seen = cluster.server.lastTransaction()
        self.planned = None     # the call at which this commit fails, and how
        self.db = None
        self.lacks = False      # the code of some jobs
        self.db = ZODB.DB(Link(self), pool_size=50)
        self.db.classFactory = self._find
        outage.learn(self.db)

    def _find(self, connection, module, name):
        """Return what pickles call *name*, as it is in this process."""
        if self.lacks and name == _Missing.__name__:
            return _Missing
        return find_global(module, name)

    def last_seen(self):
        """Return the newest transaction it has heard of."""
        return self.seen

    def hears(self):
        """Return whether it hears at once of what others commit."""
        now = self.cluster.baton.now
        return not self.dead and now >= self.away_until and now >= self.late_until

    def deliver(self):
        """Let it hear of all that was committed."""
        pending, self.pending = self.pending, []
        for tid, oids in pending:
            self.seen = tid
            self.db._mvcc_storage.invalidate(tid, oids)

    def check(self, name):
        """Raise what the call *name* raises while it is dead or away."""
        if self.dead:
            raise Died
        if self.cluster.baton.now < self.away_until and name != 'lastTransaction':
            raise BEFORE[self.cluster.outage]()
        if self.pending and self.hears():
            self.deliver()

    def away(self, seconds):
        """Let it not reach the server for so long."""
        self.away_until = max(self.away_until, self.cluster.baton.now + seconds)

    def fail(self, kind, error):
        """Raise *error*, with what goes with its *kind*."""
        self.cluster.baton.note(f'fault {kind!r}')
        self.cluster.faults[kind] = self.cluster.faults.get(kind, 0) + 1
        if isinstance(error, Died):
            self.cluster.kill(self)
        elif kind in ('disconnected', 'driver error', 'lost answer'):
            self.away(self.cluster.absence())
        raise error

    def open(self):
        """Return an explicit transaction manager and a connection."""
        manager = transaction.TransactionManager(explicit=True)
        return manager, self.db.open(transaction_manager=manager)


class Cluster:
    """The server, its clients, and what goes wrong between them.

    *profile* has the rates of faults and their kinds; while `calm`, there are none.
    """

    def __init__(self, baton, profile):
        self.baton, self.profile = baton, profile
        self.source = baton.source
        self.server = Server(baton)
        self.processes = []
        self.watchers = []  # called with (process, tid, oids) after each commit
        self.faults = {}    # kind -> how often
        self.calm = True
        self.outage = 'disconnected'

    def join(self, name, trusted=False):
        """Return a new process."""
        process = Process(self, name, trusted)
        self.processes.append(process)
        return process

    def kill(self, process):
        """Let *process* be dead from now on, whatever it is doing."""
        if process.dead:
            return
        process.dead = True
        self.processes.remove(process)
        if self.baton.current.process is process:
            # what it voted is gone with it
            under_way = self.server.tpc_transaction()
            if under_way is not None:
                self.server.tpc_abort(under_way)

    # What happens at calls

    def before(self, process, name):
        """Let others run before the call *name*, and let it fail."""
        if process.db is None:
            return  # it is being opened
        process.check(name)
        if self.source.random() < YIELDS.get(name, 0):
            self.baton.step()
            process.check(name)
        self.baton.note(name, small=name not in ('tpc_begin', 'tpc_finish'))
        if self.calm or process.trusted:
            return
        if name == 'tpc_begin':
            process.planned = self._plan_commit()
            if process.planned is not None and process.planned[1] == 'pause':
                self._pause(process)
        if name in COMMIT:
            if process.planned is not None and process.planned[0] == name:
                kind, process.planned = process.planned[1], None
                process.fail(kind, BEFORE[kind]())
        elif self.source.random() < self.profile.load_faults:
            kind = self.source.choice(self.profile.load_kinds)
            if name in LOADS or 'conflict' not in kind:
                process.fail(kind, BEFORE[kind]())

    def _pause(self, process):
        """Let *process* stand still just before its commit.

        Until it is taken for dead, perhaps: then, above all, it must not commit.
        """
        process.planned = None
        seconds = self.source.choice(PAUSES)
        process.thaws = self.source.random() < 0.7
        self.baton.note(f'fault pause of {seconds} s')
        self.faults['pause'] = self.faults.get('pause', 0) + 1
        process.frozen_until = self.baton.now + seconds
        self.baton.step()
        process.check('tpc_begin')

    def _plan_commit(self):
        """Return (call, kind) of the fault in the commit that begins, or None."""
        if self.source.random() >= self.profile.commit_faults:
            return None
        return self.source.choice(COMMIT), self.source.choice(self.profile.commit_kinds)

    def fault_after(self, process):
        """Return the kind of fault after the commit under way, or None."""
        if self.calm or process.trusted or not self.profile.after_kinds:
            return None
        if self.source.random() >= self.profile.after_faults:
            return None
        return self.source.choice(self.profile.after_kinds)

    def absence(self):
        """Return for how many seconds a process is away."""
        return self.source.choice((0, 0, 0.2, 2, 2, 20, 40))

    def committed(self, process, tid, oids, heard=True):
        """Tell the others of a commit, and whoever watches."""
        for other in self.processes:
            if other is process and heard:
                continue
            other.pending.append((tid, oids))
            if other is not process and other.hears():
                other.deliver()
        for watcher in self.watchers:
            watcher(process, tid, oids)

    def after(self, process):
        """Let others run before *process* knows that its commit was made."""
        if self.source.random() < 0.5:
            self.baton.step()
