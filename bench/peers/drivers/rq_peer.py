"""RQ on Redis: a pool of simple workers, each a process with one job at a time.

The default worker forks for each job, which is several times slower.
"""
import os
import sys

import redis_effects
import rq
from common import mark
from redis_effects import effects

queue = rq.Queue('default', connection=redis_effects.queue)
reset = redis_effects.reset


def nothing(number):
    mark(number)


def effect(number):
    mark(number)
    redis_effects.effect(number)


def setup():
    """Nothing to make."""


def enqueue(kind, number):
    queue.enqueue(f'rq_peer.{kind}', number)


def bulk(kind, numbers):
    queue.enqueue_many([rq.Queue.prepare_data(f'rq_peer.{kind}', (number,))
                        for number in numbers])


def preload(kind, count):
    for first in range(0, count, 1000):
        bulk(kind, range(first, min(count, first + 1000)))


def waiting():
    return len(queue) + len(queue.started_job_registry)


def worker(concurrency):
    return [os.path.join(os.path.dirname(sys.executable), 'rq'), 'worker-pool',
            '-n', str(concurrency), '-u', redis_effects.QUEUE,
            '-w', 'rq.worker.SimpleWorker', 'default']
