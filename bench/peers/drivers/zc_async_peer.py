"""zc.async itself, on a FileStorage or on PostgreSQL with RelStorage.

As a script it is the worker: ``zc_async_peer.py CONCURRENCY``.  The settings are
those that nobody has changed, but for the size of the agent.
"""
import contextlib
import glob
import os
import queue
import signal
import sys
import threading
import time

import common
import host
import transaction
import ZODB
import zc_async_work
from persistent.list import PersistentList
from zope.processlifetime import DatabaseOpened

from zc.async_ import configure
from zc.async_ import dispatcher
from zc.async_ import subscribers
from zc.async_.job import Job
from zc.async_.queue import get_queues

STORAGE = os.environ['PEERS_STORAGE']
PATH = os.path.join(common.FOLDER, 'Data.fs')
#: Jobs in one commit, where many are put at once.
MANY = 1000
#: The mark of a worker that has settled all it was given.
SETTLED = -2
#: Seconds between two looks whether all is settled.
LOOK = 0.02

_db = _connection = None


def _storage():
    if STORAGE == 'filestorage':
        from ZODB.FileStorage import FileStorage
        return FileStorage(PATH)
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage
    options = Options(keep_history=False)
    return RelStorage(PostgreSQLAdapter(dsn=common.DSN, options=options),
                      options=options)


# The producer

def setup():
    configure.base()


def reset():
    release()
    if STORAGE == 'filestorage':
        for path in glob.glob(glob.escape(PATH) + '*'):
            os.unlink(path)
    else:
        with contextlib.closing(_storage()) as storage:
            storage.zap_all()
    with contextlib.closing(ZODB.DB(_storage())) as db:
        subscribers.QueueInstaller()(DatabaseOpened(db))


def release():
    """Close the database: a FileStorage has one process at a time."""
    global _db, _connection
    if _db is not None:
        transaction.abort()
        _connection.close()
        _db.close()
        _db = _connection = None


def _opened():
    """Return the connection of the producer in a new transaction."""
    global _db, _connection
    if _db is None:
        _db = ZODB.DB(_storage())
        _connection = _db.open()
    transaction.begin()
    return _connection


def enqueue(kind, number):
    """Put a job; return when it was committed."""
    queue_, committed = get_queues(_opened())[''], []
    # before the queue's own hook, which wakes a dispatcher of the same process
    transaction.get().addAfterCommitHook(
        lambda success: committed.append(time.monotonic()))
    queue_.put(Job(getattr(zc_async_work, kind), number))
    transaction.commit()
    return committed[0]


def bulk(kind, numbers):
    queue_ = get_queues(_opened())['']
    call = getattr(zc_async_work, kind)
    for number in numbers:
        queue_.put(Job(call, *_cell(kind, number), number))
    transaction.commit()


def _cell(kind, number):
    return [_connection.root()['cells'][number]] if kind == 'effect' else []


def preload(kind, count):
    _opened().root()['cells'] = PersistentList(
        zc_async_work.Cell() for _number in range(count if kind == 'effect' else 0))
    transaction.commit()
    for first in range(0, count, MANY):
        bulk(kind, range(first, min(count, first + MANY)))
    # a cold cache, as in life
    release()


def waiting():
    return sum(_left(_opened()))


def effects():
    return [number for number, cell in enumerate(_opened().root()['cells'])
            for _time in range(cell.value)]


def _left(connection):
    """Return how many jobs wait and how many agents hold."""
    queue_ = get_queues(connection)['']
    return len(queue_), sum(
        len(agent) for agents in queue_.dispatchers.values()
        for agent in agents.values())


def worker(concurrency):
    return [sys.executable, os.path.abspath(__file__), str(concurrency)]


def latencies(first, count, concurrency):
    """As `host.latencies`; a FileStorage's dispatcher is in the same process."""
    with contextlib.ExitStack() as made:
        if STORAGE == 'filestorage':
            _opened()
            made.enter_context(_working(_db, concurrency))
        return host.latencies(enqueue, first, count)


# The worker

@contextlib.contextmanager
def _working(db, concurrency):
    running = configure.start(db, agent_size=concurrency)
    try:
        yield running
    finally:
        subscribers.stop(running)
        # a sample that is taken once more starts another one in this process
        dispatcher.pop(running.UUID)


def serve(concurrency):
    """Work until SIGTERM; say when there is nothing left to settle."""
    told = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_signal: told.put(True))
    end = threading.Event()
    with contextlib.closing(ZODB.DB(_storage())) as db:
        with _working(db, concurrency) as running:
            looking = threading.Thread(target=_tell_settled, args=(db, running, end))
            looking.start()
            told.get()
            end.set()
            looking.join()


def _tell_settled(db, running, end):
    manager = transaction.TransactionManager(explicit=True)
    with contextlib.closing(db.open(manager)) as connection:
        while not end.wait(LOOK):
            # asking the dispatcher disturbs it less than asking the database
            if running.idle and not _any_left(manager, connection):
                common.mark(SETTLED)
                return


def _any_left(manager, connection):
    manager.begin()
    try:
        return any(_left(connection))
    finally:
        manager.abort()


if __name__ == '__main__':
    serve(int(sys.argv[1]))
