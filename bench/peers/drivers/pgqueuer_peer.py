"""PgQueuer on PostgreSQL with asyncpg; what is called concurrency is its batch size.

As a script it is the worker: ``pgqueuer_peer.py CONCURRENCY``, which makes the call
that its command line makes, under uvloop as that does.
"""
import asyncio
import os
import subprocess
import sys

import asyncpg
import common
import postgresql_effects
import psycopg
from common import mark
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from postgresql_effects import effects

PROGRAM = os.path.join(os.path.dirname(sys.executable), 'pgq')
_run = _queries = None


def setup():
    global _run, _queries
    postgresql_effects.setup()
    if not postgresql_effects.has_table('pgqueuer'):
        # its command reads the variables of libpq
        told = {f'PG{name.upper()}': str(value) for name, value
                in psycopg.conninfo.conninfo_to_dict(common.DSN).items()}
        told['PGDATABASE'] = told.pop('PGDBNAME')
        subprocess.check_call([PROGRAM, 'install'], stdout=subprocess.DEVNULL,
                              env={**os.environ, **told})
    _run = asyncio.Runner().run

    async def opened():
        return Queries(AsyncpgDriver(await asyncpg.connect(common.URL)))

    _queries = _run(opened())


def reset():
    postgresql_effects.execute('truncate pgqueuer, pgqueuer_log, effects',
                               'vacuum analyze pgqueuer')


def enqueue(kind, number):
    _run(_queries.enqueue(kind, b'%d' % number, 0))


def bulk(kind, numbers):
    numbers = list(numbers)
    _run(_queries.enqueue([kind] * len(numbers),
                          [b'%d' % number for number in numbers],
                          [0] * len(numbers)))


def preload(kind, count):
    for first in range(0, count, 5000):
        bulk(kind, range(first, min(count, first + 5000)))
    postgresql_effects.execute('analyze pgqueuer')


def waiting():
    return postgresql_effects.count('select count(*) from pgqueuer')


def worker(concurrency):
    return [sys.executable, os.path.abspath(__file__), str(concurrency)]


# The worker

async def serve(concurrency):
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(common.URL)))
    pool = await asyncpg.create_pool(common.URL, min_size=2, max_size=10)

    @pgq.entrypoint('nothing')
    async def nothing(job):
        mark(int(job.payload))

    @pgq.entrypoint('effect')
    async def effect(job):
        mark(int(job.payload))
        await pool.execute('insert into effects(job) values ($1)', int(job.payload))

    await pgq.run(batch_size=concurrency)


if __name__ == '__main__':
    import uvloop
    uvloop.run(serve(int(sys.argv[1])))
