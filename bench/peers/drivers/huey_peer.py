"""Huey on SQLite: threads.  It takes a job out before it runs, so that a worker that
is killed loses it.
"""
import os
import sqlite3
import sys
import threading

import common
import huey as huey_module
from common import mark

PATH = os.path.join(common.FOLDER, 'huey.db')
huey = huey_module.SqliteHuey('bench', filename=PATH,
                              fsync=True if common.DURABLE else None)
_local = threading.local()


def _connection():
    if not hasattr(_local, 'connection'):
        _local.connection = sqlite3.connect(PATH, timeout=30, isolation_level=None)
        _local.connection.execute(
            f'pragma synchronous={"full" if common.DURABLE else "normal"}')
    return _local.connection


@huey.task()
def nothing(number):
    mark(number)


@huey.task()
def effect(number):
    mark(number)
    _connection().execute('insert into effects(job) values (?)', (number,))


TASKS = {'nothing': nothing, 'effect': effect}


def setup():
    _connection().execute('create table if not exists effects '
                          '(id integer primary key, job integer)')


def reset():
    for table in ('effects', 'task', 'kv'):
        _connection().execute(f'delete from {table}')
    _connection().execute('pragma wal_checkpoint(truncate)')


def enqueue(kind, number):
    TASKS[kind](number)


def preload(kind, count):
    # a transaction of our own: one by one, each is a commit
    rows = [(huey.name, huey.serialize_task(TASKS[kind].s(number)), 0)
            for number in range(count)]
    connection = _connection()
    connection.execute('begin')
    connection.executemany(
        'insert into task (queue, data, priority) values (?, ?, ?)', rows)
    connection.execute('commit')


def waiting():
    return _connection().execute('select count(*) from task').fetchone()[0]


def effects():
    return [job for job, in _connection().execute('select job from effects')]


def worker(concurrency):
    folder = os.path.dirname(sys.executable)
    [program] = [name for name in ('huey_consumer', 'huey_consumer.py')
                 if os.path.exists(os.path.join(folder, name))][:1]
    return [os.path.join(folder, program), 'huey_peer.huey', '-w', str(concurrency),
            '-k', 'thread']
