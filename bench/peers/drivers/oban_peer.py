"""oban-py, the open edition, on PostgreSQL; it needs Python 3.12."""
import asyncio
import os
import subprocess
import sys

import common
import postgresql_effects
from common import mark
from oban import Oban
from oban import worker as oban_worker
from postgresql_effects import effects

PROGRAM = os.path.join(os.path.dirname(sys.executable), 'oban')
_pool = postgresql_effects.Pool()
_run = _oban = None


@oban_worker(queue='default')
class Nothing:
    async def process(self, job):
        mark(job.args['number'])


@oban_worker(queue='default')
class Effect:
    async def process(self, job):
        mark(job.args['number'])
        await _pool.effect(job.args['number'])


TASKS = {'nothing': Nothing, 'effect': Effect}


def setup():
    global _run, _oban
    postgresql_effects.setup()
    if not postgresql_effects.has_table('oban_jobs'):
        subprocess.check_call([PROGRAM, 'install', '--dsn', common.URL])
    _run = asyncio.Runner().run

    async def opened():
        return Oban(pool=await Oban.create_pool(dsn=common.URL))

    _oban = _run(opened())


def reset():
    postgresql_effects.execute(
        'truncate oban_jobs, oban_producers, oban_leaders, effects',
        'vacuum analyze oban_jobs')


def enqueue(kind, number):
    _run(_oban.enqueue(TASKS[kind].new({'number': number})))


def bulk(kind, numbers):
    _run(_oban.enqueue_many([TASKS[kind].new({'number': number})
                             for number in numbers]))


def preload(kind, count):
    for first in range(0, count, 5000):
        bulk(kind, range(first, min(count, first + 5000)))
    postgresql_effects.execute('analyze oban_jobs')


def waiting():
    return postgresql_effects.count(
        "select count(*) from oban_jobs where state <> 'completed'")


def worker(concurrency):
    return [PROGRAM, 'start', '--dsn', common.URL, '--queues',
            f'default:{concurrency}', '--pool-max-size', '14']
