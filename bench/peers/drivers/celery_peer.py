"""Celery on Redis, acknowledged late, without results; processes, its default."""
import os
import sys

import celery
import redis_effects
from common import mark
from redis_effects import effects

app = celery.Celery('celery_peer', broker=redis_effects.QUEUE)
app.conf.update(task_ignore_result=True, task_acks_late=True,
                task_reject_on_worker_lost=True,
                broker_connection_retry_on_startup=True)


@app.task(name='nothing')
def nothing(number):
    mark(number)


@app.task(name='effect')
def effect(number):
    mark(number)
    redis_effects.effect(number)


TASKS = {'nothing': nothing, 'effect': effect}
reset = redis_effects.reset


def setup():
    """Nothing to make."""


def enqueue(kind, number):
    TASKS[kind].delay(number)


def preload(kind, count):
    for number in range(count):
        enqueue(kind, number)


def waiting():
    return redis_effects.queue.llen('celery') + redis_effects.queue.hlen('unacked')


def worker(concurrency):
    return [os.path.join(os.path.dirname(sys.executable), 'celery'),
            '-A', 'celery_peer', 'worker', '-c', str(concurrency),
            '-n', f'bench{os.getpid()}@%h']
