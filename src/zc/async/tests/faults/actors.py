"""The processes of a kill loop: each is a function that is called in a fork.

What an actor is told are its keyword arguments: *who* it is, the *folder* of the
loop and the *uri* of the database, and more for each.  Its exit status is what the
function returns.
"""
import contextlib
import datetime
import errno
import io
import json
import os
import pickle
import random
import time

import transaction
from BTrees.OOBTree import OOBTree
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import get_pickle_metadata
from zope.processlifetime import DatabaseOpened

from . import work
from ... import cli
from ... import clock
from ... import configure
from ... import failures
from ... import outage
from ... import subscribers
from ...audit.check import problems
from ...interfaces import KEY
from ...ops import databases
from ...ops import identity
from .history import History

#: What says that something is to happen: files in the loop's folder.
STOP, FULL, BEFORE, AFTER = 'stop', 'full', 'die-before', 'die-after'
#: Seconds between two looks at something that changes by and by.
LOOK = 0.02
#: Seconds of history that a pack leaves on RelStorage.
RETENTION = 10
#: Tries of a put that conflicts.
_TRIES = 8
#: Tasks that are put before the first that kills.
_BEFORE_POISON = 20
#: A worker here looks often, and is soon found dead.
PING, DEATH, GRACE = 0.3, 2, 2


def _flag(folder, name):
    return os.path.exists(os.path.join(folder, name))


# Their databases

@contextlib.contextmanager
def opened(uri):
    """Open the database *uri* within the block; yield it and a `Session`."""
    import types
    db = databases.Source(types.SimpleNamespace(uri=uri, config=None, install=True)).open()
    session = Session(db)
    try:
        yield db, session
    finally:
        session.close()
        databases.close(db)


class Session:
    """A connection that can do one thing after the other."""

    def __init__(self, db):
        self._manager = transaction.TransactionManager(explicit=True)
        self._db = db
        self._connection = None
        self.committing = False

    def do(self, change):
        """Commit ``change(connection)`` and return what it returns."""
        self.committing = False
        try:
            if self._connection is None:
                self._connection = self._db.open(transaction_manager=self._manager)
            self._manager.begin()
            found = change(self._connection)
            self.committing = True
            self._manager.commit()
            return found
        except BaseException as error:
            self._undo(outage.is_outage(error))
            raise

    def _undo(self, close):
        try:
            self._manager.abort()
        except Exception:
            close = True  # the database is away
        if close:
            self.close()

    def close(self):
        """Close the connection; the next thing to do has another."""
        connection, self._connection = self._connection, None
        with contextlib.suppress(Exception):
            connection.close()

    def ask(self, question):
        """Return ``question(connection)``, however often that has to be asked."""
        while True:
            try:
                return self.do(question)
            except Exception as error:
                if not (outage.is_outage(error) or outage.is_conflict(error)):
                    raise
                time.sleep(LOOK)


# The server

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
        if not _flag(self._folder, FULL):
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


def prepare(who, folder, uri):
    """Make the queue, its quotas and the room."""
    configure.base()
    with opened(uri) as (db, session):
        subscribers.QueueInstaller()(DatabaseOpened(db))

        def change(connection):
            queue = connection.root()[KEY]['']
            for name, size in work.QUOTAS.items():
                queue.quotas.create(name, size)
            connection.root()[work.ROOM] = work.Room(OOBTree())

        session.ask(change)
    return 0


# Producers

def produce(who, folder, uri, seed, batch, backlog, poison=0, kinds=None):
    """Put tasks until told to stop: *batch* at most in one commit.

    There are never many more than *backlog* jobs in line.  *poison* of the tasks
    kill whoever runs them.
    """
    configure.base()
    with opened(uri) as (_db, session):
        Producer(who, folder, session, seed, batch, backlog, poison, kinds).run()
    return 0


class Producer:
    """See `produce`."""

    #: Whether it acknowledges what is not committed yet; a mutant of the harness.
    hasty = False

    def __init__(self, who, folder, session, seed, batch, backlog, poison, kinds):
        self._who, self._folder, self._session = who, folder, session
        self._random = random.Random(f'{seed} {who}')
        self._batch, self._backlog, self._poison = batch, backlog, poison
        self._kinds = kinds or {
            name: kind.share for name, kind in work.KINDS.items() if kind.share}
        self._count = self._acknowledged = 0
        self._tally = os.open(os.path.join(folder, f'{who}.count'),
                              os.O_CREAT | os.O_WRONLY, 0o600)

    def run(self):
        """Put until told to stop."""
        self._session.ask(self._enter)
        while not _flag(self._folder, STOP):
            if self._session.ask(_waiting) > self._backlog:
                time.sleep(LOOK)
                continue
            self._put(self._ids())

    def put_one(self):
        """Put one."""
        self._session.ask(self._enter)
        self._put(self._ids())

    def _enter(self, connection):
        index = connection.root()[work.ROOM].index
        if self._who not in index:
            index[self._who] = OOBTree()

    def _ids(self):
        names = self._random.choices(
            list(self._kinds), list(self._kinds.values()),
            k=self._random.randint(1, self._batch))
        if self._poison and self._count > _BEFORE_POISON:
            self._poison -= 1
            names[-1] = 'poison'
        return [f'{self._who}.{number}.{name}'
                for number, name in enumerate(names, self._count)]

    def _put(self, ids):
        note = work.history.note
        self._count += len(ids)
        note('put', type='invoke', ids=ids)
        if self.hasty:
            note('put', type='ok', ids=ids)
        kind, error = self._try(ids)
        note('put', type=kind, ids=ids, error=error)
        if kind == 'ok':
            self._acknowledged += len(ids)
            os.pwrite(self._tally, b'%12d' % self._acknowledged, 0)

    def _try(self, ids):
        """Return ``(type, error)``: whether the tasks were put, if that is known."""
        for _number in range(_TRIES):
            try:
                self._session.do(
                    lambda connection: work.put(connection, self._who, ids))
                return 'ok', None
            except Exception as error:
                conflict = isinstance(error, ConflictError)
                name = type(error).__name__
            if self._session.committing and not conflict:
                # committed or not: nobody knows
                return 'info', name
            time.sleep(LOOK)
        return 'fail', name


def _waiting(connection):
    return len(connection.root()[KEY][''])


def put(who, folder, uri, kind):
    """Put one task."""
    configure.base()
    with opened(uri) as (_db, session):
        Producer(who, folder, session, 0, 1, 1, 0, {kind: 1}).put_one()
    return 0


def await_active(who, folder, uri, uuid_file, active):
    """Wait until the dispatcher of *uuid_file* is *active*, or is not."""
    UUID = identity.known(uuid_file)

    def is_active(connection):
        agents = connection.root()[KEY][''].dispatchers.get(UUID)
        return agents is not None and agents.activated is not None

    with opened(uri) as (_db, session):
        while session.ask(is_active) != active:
            time.sleep(LOOK)
    return 0


# Workers

class _Wrong:
    """A clock on the wall that is *seconds* wrong."""

    def __init__(self, seconds):
        self._off = datetime.timedelta(seconds=seconds)

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc) + self._off

    monotonic = staticmethod(time.monotonic)


def do_jobs(who, folder, uri, uuid_file, size, skew=0, filter=None, death=DEATH):
    """Be a ``zc-async worker``."""
    if skew:
        clock.install(_Wrong(skew))
    work.look_on()
    return cli.main([
        'worker', uri, '--uuid-file', uuid_file,
        '--agent', f'main:{size}' + (f':{work.__name__}.{filter}' if filter else ''),
        '--poll-interval', '0.2', '--ping-interval', str(PING),
        '--death-interval', str(death), '--grace', str(GRACE)])


# In the middle

def pack(who, folder, uri):
    """Pack what is not needed now.

    Not so on RelStorage: between the two moments at which its pack (4.3.0) looks at
    the database, an older object may have moved into a new one, and is lost then.
    """
    with opened(uri) as (db, _session):
        db.pack(time.time() - (0 if uri.startswith('zeo') else RETENTION))
    return 0


def audit(who, folder, uri):
    """Look whether what has to hold in each committed state holds now."""
    with opened(uri) as (_db, session):
        for problem in session.ask(problems):
            work.history.note('damage', problem=problem)
    return 0


# In the end

def drain(who, folder, uri, seconds):
    """Wait until nothing is left, and run what is parked; fail after *seconds*."""
    end = time.monotonic() + seconds
    configure.base()
    with opened(uri) as (_db, session):
        while time.monotonic() < end:
            if session.ask(_rerun_parked):
                continue
            if not any(session.ask(_left).values()):
                return 0
            time.sleep(5 * LOOK)
    return 1


def _agents(queue):
    for agents in queue.dispatchers.values():
        yield from (*agents.values(), *agents.retired)


def _left(connection):
    """Return what is not empty: how many, by its name."""
    queue = connection.root()[KEY]['']
    return {
        'in line': len(queue),
        'counted, and not in line': len(queue) - len(list(queue)),
        'in agents': sum(len(agent) for agent in _agents(queue)),
        'in quotas': sum(len(quota) for quota in queue.quotas.values())}


def _parked(queue):
    """Return the parked jobs by their task; none where nothing can be parked."""
    found = {}
    for entry in getattr(queue, 'parked', ()):
        id, _part = work.whose(entry.job)
        found[id or f'job {entry.job._p_oid!r}'] = entry.job
    return found


def _rerun_parked(connection):
    """Let innocent jobs run again that were there when too many processes died."""
    queue = connection.root()[KEY]['']
    innocent = {id: job for id, job in _parked(queue).items()
                if not id.endswith('.poison')}
    for id, job in innocent.items():
        work.history.note('rerun', id=id)
        queue.parked.rerun(job)
    return len(innocent)


def census(who, folder, uri=None, path=None):
    """Write all that the checker wants to know of the database to a file."""
    with opened(uri or f'file://{path}') as (db, session):
        db.setCacheSize(20_000)
        found = session.do(_census)
    with open(os.path.join(folder, 'census'), 'w') as file:
        json.dump(found, file)
    return 0


def _census(connection):
    room, queue = connection.root()[work.ROOM], connection.root()[KEY]['']
    return {
        'jobs': {id: _facts(job, cell) for tasks in room.index.values()
                 for id, (job, cell) in tasks.items()},
        'left': _left(connection),
        'damage': problems(connection),
        'hot': room.hot.count,
        'parked': sorted(_parked(queue)),
        'quotas': {name: _most(connection, quota) for name, quota
                   in queue.quotas.items()}}


def _facts(job, cell):
    result, failure = job.result, None
    if failures.is_failure(result):
        kind = getattr(result.type, '__name__', result.type)
        result, failure = None, kind.rpartition('.')[2]
    elif not isinstance(result, int):
        result = None
    return {'status': job.status, 'failure': failure, 'result': result,
            'attempt': job._attempt, 'marks': cell.marks, 'turn': cell.turn}


def _most(connection, quota):
    """Return how many jobs *quota* held at most, in its history as far as it is kept."""
    storage = connection.db().storage
    if not isinstance(storage, FileStorage):
        return len(quota)
    most = 0
    for entry in storage.history(quota._p_oid, size=1_000_000):
        data = storage.loadSerial(quota._p_oid, entry['tid'])
        most = max(most, len(connection._reader.getState(data)['_data']))
    return most
