"""Tasks that work a backlog off."""
import time

import transaction

from bench import jobs
from bench.probe import cpu
from bench.probe import Probe
from bench.tasks.common import agents_of
from bench.tasks.common import connected
from bench.tasks.common import left
from bench.tasks.common import LIMIT
from bench.tasks.common import opened
from bench.tasks.common import say
from bench.tasks.common import SELDOM
from bench.tasks.common import SLOWEST
from bench.tasks.common import wait_for_a_line
from bench.tasks.common import working
from zc.async_.queue import get_queues

#: Seconds between two looks of one that has nothing to do, and others may have.
OTHERS = 0.2


def drain(store, kind, count, poll_interval, size):
    """Work off a backlog of *count* jobs of *kind*, and say how long that took."""
    with opened(store) as db:
        probe = Probe(db)
        cpu_before, start = cpu(), time.perf_counter()
        with working(db, poll_interval, size) as running, connected(db) as connection:
            _wait_until(lambda: running.idle and not any(left(connection)),
                        running, connection, count)
            seconds, spent = probe.ended - start, cpu() - cpu_before
            found = probe.found(running.conflicts)
        with connected(db) as connection:
            jobs.check(connection, kind, count)
    say(seconds=seconds, cpu=spent, **found)


def drain_some(store, count, poll_interval, size, filter):
    """Work off the first *count* jobs, and say how long that took.

    It ends when their outcomes are stored; what is done until the process has come to
    an end is put again afterwards.  *filter* is the agent's, by its name in `work`, or
    None.
    """
    with opened(store) as db:
        probe = Probe(db, count)
        with connected(db) as connection:
            before, done_before = sum(left(connection)), _completed(connection)
        cpu_before, start = cpu(), time.perf_counter()
        with working(db, poll_interval, size, filter) as running:
            if not probe.enough.wait(LIMIT + count / SLOWEST):
                with connected(db) as connection:
                    _give_up(running, connection)
            found = probe.found(running.conflicts)
        with connected(db) as connection:
            done = _completed(connection) - done_before
            if done + sum(left(connection)) != before:
                raise SystemExit(f'{before} jobs waited, {done} were done, and '
                                 f'{sum(left(connection))} are left')
    say(seconds=probe.ended - start, cpu=found['process_cpu'] - cpu_before, done=done,
        **found)


def work_with_others(store, poll_interval, size, count):
    """Work on *count* jobs with others as soon as told to; say when none is left.

    Then, when told to end, say what that took.
    """
    with opened(store) as db:
        probe = Probe(db)
        say()
        wait_for_a_line()
        cpu_before = cpu()
        with working(db, poll_interval, size) as running, connected(db) as connection:
            # each look asks the server, and takes its time from those that are measured
            _wait_until(lambda: running.idle and not any(left(connection)),
                        running, connection, count, OTHERS)
            say()
            wait_for_a_line()
            found = probe.found(running.conflicts)
            spent = cpu() - cpu_before
    say(cpu=spent, **found)


def _completed(connection):
    transaction.begin()
    return sum(len(agent.completed) for agent in agents_of(get_queues(connection)['']))


def _wait_until(condition, running, connection, count, seconds=SELDOM):
    end = time.perf_counter() + LIMIT + count / SLOWEST
    while not condition():
        if time.perf_counter() > end:
            _give_up(running, connection)
        # who waits for the interpreter makes others wake it in vain at each read
        time.sleep(seconds)


def _give_up(running, connection):
    waiting, held = left(connection)
    raise SystemExit(
        f'a backlog was not drained in time: {waiting} jobs wait, {held} are held, and '
        f'the dispatcher is ' + ('idle' if running.idle else 'busy'))
