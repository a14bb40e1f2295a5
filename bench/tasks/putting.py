"""Tasks that put jobs."""
import time

import transaction
from ZODB.POSException import ConflictError

from bench import jobs
from bench import work
from bench.tasks.common import connected
from bench.tasks.common import opened
from bench.tasks.common import say
from bench.tasks.common import wait_for_a_line
from zc.async_ import configure
from zc.async_.job import Job
from zc.async_.queue import get_queues


def put(store, kind, count, per_commit):
    """Put *count* jobs of *kind*, and say how many seconds that took."""
    configure.base()
    with opened(store) as db, connected(db) as connection:
        queue = get_queues(connection)['']
        waiting = 0
        start = time.perf_counter()
        for job in jobs.made(connection, kind, count):
            queue.put(job)
            waiting += 1
            if waiting * jobs.KINDS[kind].per >= per_commit:
                transaction.commit()
                waiting = 0
        transaction.commit()
        seconds = time.perf_counter() - start
    say(seconds=seconds)


def produce(store, count):
    """Put *count* jobs one by one as soon as told to; say when, and the conflicts."""
    configure.base()
    with opened(store) as db, connected(db) as connection:
        queue = get_queues(connection)['']
        len(queue)  # loads what everybody has loaded in life
        say()
        wait_for_a_line()
        conflicts, start = 0, time.perf_counter()
        for _number in range(count):
            conflicts += _put_one(queue)
        end = time.perf_counter()
    say(start=start, end=end, conflicts=conflicts)


def _put_one(queue):
    """Put one job; return how many conflicts that met."""
    conflicts = 0
    while True:
        transaction.begin()
        try:
            queue.put(Job(work.nothing))
            transaction.commit()
            return conflicts
        except ConflictError:
            transaction.abort()
            conflicts += 1
