"""Procrastinate on PostgreSQL: asynchronous tasks, its fastest kind."""
import os
import subprocess
import sys

import common
import postgresql_effects
import procrastinate
from common import mark
from postgresql_effects import effects

PROGRAM = [os.path.join(os.path.dirname(sys.executable), 'procrastinate'),
           '--app=procrastinate_peer.app']
# enough connections for the concurrency that is measured; its default is 4
app = procrastinate.App(connector=procrastinate.PsycopgConnector(
    conninfo=common.DSN, min_size=4, max_size=14))
_pool = postgresql_effects.Pool()


@app.task(name='nothing')
async def nothing(number):
    mark(number)


@app.task(name='effect')
async def effect(number):
    mark(number)
    await _pool.effect(number)


TASKS = {'nothing': nothing, 'effect': effect}


def setup():
    postgresql_effects.setup()
    if not postgresql_effects.has_table('procrastinate_jobs'):
        subprocess.check_call([*PROGRAM, 'schema', '--apply'],
                              stdout=subprocess.DEVNULL)
    app.open()


def reset():
    postgresql_effects.execute(
        'truncate procrastinate_jobs, procrastinate_events, procrastinate_workers, '
        'effects restart identity cascade', 'vacuum analyze procrastinate_jobs')


def enqueue(kind, number):
    TASKS[kind].configure().defer(number=number)


def bulk(kind, numbers):
    TASKS[kind].batch_defer(*[{'number': number} for number in numbers])


def preload(kind, count):
    for first in range(0, count, 5000):
        bulk(kind, range(first, min(count, first + 5000)))
    postgresql_effects.execute('analyze procrastinate_jobs')


def waiting():
    return postgresql_effects.count(
        "select count(*) from procrastinate_jobs where status in ('todo', 'doing')")


def worker(concurrency):
    return [*PROGRAM, 'worker', '-q', 'default', '-c', str(concurrency)]
