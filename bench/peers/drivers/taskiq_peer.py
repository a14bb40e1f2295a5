"""taskiq on Redis streams, its broker with acknowledgements; one process of tasks."""
import asyncio
import os
import sys

import redis.asyncio
import redis_effects
from common import mark
from redis_effects import effects
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(url=redis_effects.QUEUE)
_effects = _run = None


@broker.task(task_name='nothing')
async def nothing(number: int):
    mark(number)


@broker.task(task_name='effect')
async def effect(number: int):
    global _effects
    mark(number)
    if _effects is None:
        _effects = redis.asyncio.Redis.from_url(redis_effects.EFFECTS)
    await _effects.rpush('effects', number)


TASKS = {'nothing': nothing, 'effect': effect}


def setup():
    global _run
    _run = asyncio.Runner().run
    _run(broker.startup())


def reset():
    redis_effects.reset()
    # the group of consumers went with the rest; this is how the broker makes it
    _run(broker._declare_consumer_group())


def enqueue(kind, number):
    _run(TASKS[kind].kiq(number))


def preload(kind, count):
    async def put():
        for number in range(count):
            await TASKS[kind].kiq(number)

    _run(put())


def waiting():
    groups = redis_effects.queue.xinfo_groups('taskiq')
    return sum(group['pending'] + (group['lag'] or 0) for group in groups)


def worker(concurrency):
    return [os.path.join(os.path.dirname(sys.executable), 'taskiq'), 'worker',
            '--workers', '1', '--max-async-tasks', str(concurrency),
            'taskiq_peer:broker']
