"""Written by hand: a table, FOR UPDATE SKIP LOCKED, and threads.

A job, its effect and its removal are one transaction.  As a script it is the
worker: ``skiplocked_peer.py CONCURRENCY``.
"""
import os
import sys
import threading

import postgresql_effects
import psycopg
from common import DSN
from common import mark
from postgresql_effects import effects

TAKE = ('delete from jobs where id = (select id from jobs order by id '
        'for update skip locked limit 1) returning kind, argument')
_connection = None


def setup():
    global _connection
    postgresql_effects.setup()
    postgresql_effects.execute(
        'create table if not exists jobs (id bigserial primary key, '
        'kind text not null, argument jsonb not null, '
        'added timestamptz default now())')
    _connection = postgresql_effects.connect()


def reset():
    postgresql_effects.execute('truncate jobs, effects restart identity',
                               'vacuum jobs')


def enqueue(kind, number):
    with _connection.pipeline(), _connection.transaction():
        _connection.execute(
            "insert into jobs(kind, argument) "
            "values (%s, jsonb_build_object('number', %s::bigint))", (kind, number))
        _connection.execute('notify jobs')


def bulk(kind, numbers):
    _connection.execute(
        "insert into jobs(kind, argument) "
        "select %s, jsonb_build_object('number', x) from unnest(%s::bigint[]) x",
        (kind, list(numbers)))
    _connection.execute('notify jobs')


def preload(kind, count):
    bulk(kind, range(count))
    _connection.execute('analyze jobs')


def waiting():
    return postgresql_effects.count('select count(*) from jobs')


def worker(concurrency):
    return [sys.executable, os.path.abspath(__file__), str(concurrency)]


# The worker

def _work(woken):
    with psycopg.connect(DSN) as connection:
        while True:
            woken.clear()
            while _one(connection):
                pass
            woken.wait(5)


def _one(connection):
    row = connection.execute(TAKE).fetchone()
    if row is None:
        connection.rollback()
        return False
    kind, argument = row
    mark(argument['number'])
    if kind == 'effect':
        connection.execute('insert into effects(job) values (%s)',
                           (argument['number'],))
    connection.commit()
    return True


def main():
    threads = [threading.Event() for _number in range(int(sys.argv[1]))]
    for woken in threads:
        threading.Thread(target=_work, args=(woken,), daemon=True).start()
    with postgresql_effects.connect() as connection:
        connection.execute('listen jobs')
        for _notification in connection.notifies():
            for woken in threads:
                woken.set()


if __name__ == '__main__':
    main()
