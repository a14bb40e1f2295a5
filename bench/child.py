"""What a fresh process of the bench does: ``python -m bench.child``.

See `children`.  Each task is a function here, called with what it was told.
"""
import contextlib
import json
import logging
import os
import random
import sys
import threading
import time

import transaction

from bench import storages
from bench import work
from zc.async_ import configure
from zc.async_ import dispatcher
from zc.async_ import subscribers
from zc.async_.job import Job
from zc.async_.queue import get_queues

#: Where the objects that the jobs change are kept.
CELLS = 'bench.cells'
#: Seconds without a sign of life that count as a fault.
LIMIT = 30
#: Jobs a second: a backlog that is drained more slowly counts as a fault.
SLOWEST = 10
#: Seconds between two looks at a backlog.
LOOK = 0.004
#: Jobs that are run, and not counted, before a latency is measured.
WARM_UP = 5


def say(**answer):
    """Answer the bench."""
    print(json.dumps(answer), flush=True)


# Making a backlog

def put(store, job, jobs, per_commit):
    """Put *jobs* jobs that do *job*, and say how many seconds that took."""
    configure.base()
    with opened(store) as db, connected(db) as connection:
        calls = _calls(connection, job, jobs)
        queue = get_queues(connection)['']
        start = time.perf_counter()
        while calls:
            for call in calls[:per_commit]:
                queue.put(Job(*call))
            transaction.commit()
            del calls[:per_commit]
        seconds = time.perf_counter() - start
    say(seconds=seconds)


def _calls(connection, job, jobs):
    call = getattr(work, job)
    if call is work.increment:
        return [(call, cell) for cell in connection.root()[CELLS][:jobs]]
    return [(call,)] * jobs


# Working it off

def drain(store, jobs, poll_interval, size):
    """Work off a backlog of *jobs*, and say how long that took."""
    with opened(store) as db:
        cpu, start = sum(os.times()[:2]), time.perf_counter()
        with working(db, poll_interval, size) as running, connected(db) as connection:
            _wait_until_drained(running, connection, LIMIT + jobs / SLOWEST)
            seconds = time.perf_counter() - start
            cpu = sum(os.times()[:2]) - cpu
        with connected(db) as connection:
            _check(connection, jobs)
    say(seconds=seconds, cpu=cpu)


def _wait_until_drained(running, connection, limit):
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        # asking the dispatcher disturbs it less than asking the database
        if running.idle and not any(_left(connection)):
            return
        time.sleep(LOOK)
    waiting, held = _left(connection)
    raise SystemExit(
        f'a backlog was not drained within {limit:.0f} seconds: {waiting} jobs wait, '
        f'{held} are held, and the dispatcher is '
        + ('idle' if running.idle else 'busy'))


def _left(connection):
    """Return how many jobs wait and how many agents hold."""
    transaction.begin()
    queue = get_queues(connection)['']
    return len(queue), sum(map(len, _agents(queue)))


def _agents(queue):
    return [agent for agents in queue.dispatchers.values()
            for agent in agents.values()]


def _check(connection, jobs):
    """A rate of jobs that were not done is no rate."""
    completed = [job for agent in _agents(get_queues(connection)[''])
                 for job in agent.completed]
    if len(completed) != jobs or any(job.result is not None for job in completed):
        raise SystemExit(f'{len(completed)} jobs of {jobs} were completed, or some failed')
    changed = [cell for cell in connection.root()[CELLS] if cell.value != 1]
    if changed:
        raise SystemExit(f'{len(changed)} objects were not changed exactly once')


# Latency

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
                time.sleep(random.uniform(0.02, 0.1))
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


# A server

def zeo(path):
    """Serve the FileStorage *path* until told to end; say the address."""
    import ZEO
    address, stop = ZEO.server(path, threaded=True)
    try:
        say(address=address)
        sys.stdin.read()
    finally:
        stop()


# What the tasks share

@contextlib.contextmanager
def opened(store):
    """Open the database of the described *store* within the block."""
    with contextlib.closing(storages.described(store).open()) as db:
        yield db


@contextlib.contextmanager
def connected(db):
    """Have a connection within the block, and nothing of it left."""
    connection = db.open()
    try:
        yield connection
    finally:
        transaction.abort()
        connection.close()


@contextlib.contextmanager
def working(db, poll_interval, size):
    """Run a dispatcher within the block."""
    configure.start(db, poll_interval=poll_interval, agent_size=size)
    running = dispatcher.get()
    try:
        yield running
    finally:
        subscribers.stop(running)


def _end_with_the_bench():
    """End at once when nobody is there who waits for an answer."""
    sys.stdin.read()
    os._exit(3)


TASKS = {task.__name__: task for task in (put, drain, latency, serve, zeo)}
#: Those that end when they are told to.
UNTIL_TOLD = (serve, zeo)


def main():
    told = json.loads(sys.stdin.readline())
    task = TASKS[told.pop('role')]
    # that a client or a server leaves is no news here
    logging.getLogger('ZEO').setLevel(logging.ERROR)
    if task not in UNTIL_TOLD:
        threading.Thread(target=_end_with_the_bench, daemon=True).start()
    task(**told)


if __name__ == '__main__':
    main()
