"""Dramatiq on Redis: one process of threads, the middleware that is its default."""
import os
import sys

import dramatiq
import redis_effects
from common import mark
from dramatiq.brokers.redis import RedisBroker
from redis_effects import effects

broker = RedisBroker(url=redis_effects.QUEUE)
dramatiq.set_broker(broker)


@dramatiq.actor
def nothing(number):
    mark(number)


@dramatiq.actor
def effect(number):
    mark(number)
    redis_effects.effect(number)


TASKS = {'nothing': nothing, 'effect': effect}
reset = redis_effects.reset


def setup():
    """Nothing to make."""


def enqueue(kind, number):
    TASKS[kind].send(number)


def preload(kind, count):
    for number in range(count):
        enqueue(kind, number)


def waiting():
    # messages leave this mapping when they are acknowledged
    return redis_effects.queue.hlen('dramatiq:default.msgs')


def worker(concurrency):
    return [os.path.join(os.path.dirname(sys.executable), 'dramatiq'),
            'dramatiq_peer', '-p', '1', '-t', str(concurrency)]
