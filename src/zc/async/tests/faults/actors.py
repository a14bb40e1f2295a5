"""The processes of a kill loop: each is a function that is called in a fork.

What an actor is told are its keyword arguments: *who* it is, the *folder* of the
loop and the *uri* of the database, and more for each.  Its exit status is what the
function returns.
"""
import datetime
import os
import random
import time

from BTrees.OOBTree import OOBTree
from ZODB.POSException import ConflictError
from zope.processlifetime import DatabaseOpened

from . import work
from ... import cli
from ... import clock
from ... import configure
from ... import subscribers
from ...interfaces import KEY
from ...ops import identity
from .census import audit  # noqa: F401 roles as well
from .census import census  # noqa: F401
from .census import drain  # noqa: F401
from .hooked import serve  # noqa: F401
from .session import LOOK
from .session import opened
from .session import raised

#: A file in the loop's folder that says that nobody is to put any more.
STOP = 'stop'
#: Tries of a put that conflicts.
_TRIES = 8
#: Tasks that are put before the first that kills.
_BEFORE_POISON = 20
#: A worker here looks often, and is soon found dead.
PING, DEATH, GRACE = 0.3, 2, 2


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
        while not raised(self._folder, STOP):
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
    """Pack what is not needed now."""
    with opened(uri) as (db, _session):
        db.pack(time.time())
    return 0
