"""Tasks about what a process takes that stays: memory, and processor when idle."""
import gc
import os
import time

import transaction
from ZODB.utils import u64

from bench import work
from bench.tasks.common import agents_of
from bench.tasks.common import connected
from bench.tasks.common import left
from bench.tasks.common import LIMIT
from bench.tasks.common import LOOK
from bench.tasks.common import opened
from bench.tasks.common import say
from bench.tasks.common import SLOWEST
from bench.tasks.common import working
from zc.async_.job import Job
from zc.async_.queue import get_queues

MB = 2 ** 20
#: Jobs in one commit.
AT_ONCE = 1000


def remember(store, count, slices, poll_interval, size):
    """Put, do and prune *count* jobs in *slices*; say the resident memory after each.

    The first look is after one slice more, the warm-up.  To prune is to forget the
    completed jobs and to pack.
    """
    each, looks = count // slices, []
    with opened(store) as db:
        with working(db, poll_interval, size) as running, connected(db) as connection:
            for _number in range(slices + 1):
                _do(running, connection, each)
                _prune(db, connection)
                looks.append(_resident())
        with connected(db) as connection:
            _prune(db, connection)
    say(resident=looks, jobs=each * slices)


def _do(running, connection, count):
    transaction.begin()
    queue = get_queues(connection)['']
    before = _completed(queue)
    for start in range(0, count, AT_ONCE):
        def put_some(size=min(AT_ONCE, count - start)):
            for _number in range(size):
                queue.put(Job(work.nothing))

        transaction.manager.run(put_some, 100)
    end = time.perf_counter() + LIMIT + count / SLOWEST
    while not running.idle or any(left(connection)):
        if time.perf_counter() > end:
            raise SystemExit('the jobs were not done in time')
        time.sleep(LOOK)
    done = _completed(queue) - before
    if done != count:
        raise SystemExit(f'{done} jobs of {count} were completed')


def _completed(queue):
    return sum(len(agent.completed) for agent in agents_of(queue))


def _prune(db, connection):
    def forget():
        for agent in agents_of(get_queues(connection)['']):
            agent.completed.clear()

    transaction.manager.run(forget, 100)
    db.pack()
    gc.collect()


def _resident():
    with open('/proc/self/statm', encoding='ascii') as text:
        return int(text.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / MB


def idle(store, seconds, warm_up, poll_interval, size):
    """Have nothing to do; say the processor time of that, and the last commits."""
    with opened(store) as db, working(db, poll_interval, size):
        time.sleep(warm_up)
        first, cpu, start = _last(db), sum(os.times()[:2]), time.perf_counter()
        time.sleep(seconds)
        cpu, took = sum(os.times()[:2]) - cpu, time.perf_counter() - start
        last = _last(db)
    say(first=first, last=last, cpu=cpu, seconds=took)


def _last(db):
    """Return the last transaction, as an int, that is known here."""
    with connected(db) as connection:
        transaction.begin()
        connection.root()['bench.cells']
        return u64(db.storage.lastTransaction())
