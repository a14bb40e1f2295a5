"""Tasks that tell when jobs begin."""
import random
import sys
import threading
import time

import transaction

from bench import work
from bench.tasks.common import connected
from bench.tasks.common import LIMIT
from bench.tasks.common import LOOK
from bench.tasks.common import opened
from bench.tasks.common import say
from bench.tasks.common import working
from zc.async_.job import Job
from zc.async_.queue import get_queues

#: Jobs that are run, and not counted, before a latency is measured.
WARM_UP = 5
#: Seconds between two jobs, at least and at most.
PAUSE = 0.05, 0.3


def latency(store, samples, poll_interval, size):
    """Put jobs where they are worked on; say each one's seconds to its start."""
    found = []
    with opened(store) as db, working(db, poll_interval, size) as running:
        with connected(db) as connection:
            for number in range(WARM_UP + samples):
                committed = put_stamp(connection, number)
                _number, begun = work.stamps.get(timeout=LIMIT)
                found.append(begun - committed)
                while not running.idle:
                    time.sleep(LOOK)
                time.sleep(random.uniform(*PAUSE))
    say(latencies=found[WARM_UP:])


def put_stamp(connection, number):
    """Put a job that says when it began; return when it was committed."""
    committed = []
    transaction.begin()
    # before the queue's own hook, which wakes the dispatcher
    transaction.get().addAfterCommitHook(
        lambda success: committed.append(time.perf_counter()))
    get_queues(connection)[''].put(Job(work.stamp, number))
    transaction.commit()
    return committed[0]


def serve(store, poll_interval, size):
    """Work until told to end; say when the body of each `work.stamp` began."""
    with opened(store) as db, working(db, poll_interval, size):
        threading.Thread(target=_tell_stamps, daemon=True).start()
        say()
        sys.stdin.read()


def _tell_stamps():
    while True:
        say(stamp=work.stamps.get())
