"""What a fresh process of a calibration or a check does: told in lines of JSON.

It says that it is ready, waits to be told to go on, and answers.  It ends when its
standard input does.
"""
import contextlib
import itertools
import json
import logging
import os
import statistics
import sys
import threading
import time

import transaction
from zc.async_.tests import servers

_saying = threading.Lock()
began = []  # when the bodies of jobs began, in this process
counts = {'finishes': 0, 'finish_cpu': 0.0, 'finish_seconds': 0.0, 'loads': 0}
turns = []  # (outcomes and claims, processor seconds of the thread) of each turn


def say(**answer):
    """Answer.  Any thread."""
    with _saying:
        print(json.dumps(answer), flush=True)


def told():
    """Return what is said next; end the process where nothing more is."""
    line = sys.stdin.readline()
    if not line:
        os._exit(3)
    return json.loads(line)


# What jobs do

def nothing():
    """Do nothing but say when."""
    began.append(time.perf_counter())


def change(cell):
    """Change one object."""
    began.append(time.perf_counter())
    cell.count += 1


def count_calls():
    """Count what this process asks the server for."""
    from relstorage.adapters.mover import AbstractObjectMover
    from relstorage.storage import RelStorage
    from ZEO.asyncio.client import ClientIO
    from ZEO.ClientStorage import ClientStorage
    for cls in (ClientStorage, RelStorage):
        cls.tpc_finish = _timed(cls.tpc_finish)
    ClientIO.load_before_co = _counted(ClientIO.load_before_co)
    AbstractObjectMover.load_current = _counted(AbstractObjectMover.load_current)


def _timed(method):
    def timed(*arguments, **named):
        cpu, start = time.process_time(), time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            counts['finishes'] += 1
            counts['finish_cpu'] += time.process_time() - cpu
            counts['finish_seconds'] += time.perf_counter() - start

    return timed


def _counted(method):
    def counted(*arguments, **named):
        counts['loads'] += 1
        return method(*arguments, **named)

    return counted


def count_turns():
    """Take note of what each turn does, and what it costs the thread that takes it."""
    from zc.async_.runtime.turns import Turns
    once = Turns._once

    def counted(self, batch, *arguments):
        cpu = time.thread_time()
        tickets = once(self, batch, *arguments)
        turns.append((len(batch) + len(tickets), time.thread_time() - cpu))
        return tickets

    Turns._once = counted


# Tasks

def raw(uri, name, records):
    """Commit *records* small objects again and again."""
    count_calls()
    with servers.opened(uri) as db, contextlib.closing(db.open()) as connection:
        cells = [connection.root()[f'cell-{name}-{number}'] for number in range(records)]
        for cell in cells:
            cell.count
        say()
        while True:
            seconds = told()['seconds']
            before, cpu = dict(counts), time.process_time()
            moments = [time.perf_counter()]
            while moments[-1] - moments[0] < seconds:
                transaction.begin()
                for cell in cells:
                    cell.count += 1
                transaction.commit()
                moments.append(time.perf_counter())
            say(seconds=moments[-1] - moments[0], cpu=time.process_time() - cpu,
                jitter=_jitter(moments),
                **{what: counts[what] - before[what] for what in counts})


def _jitter(moments):
    """Return the standard deviation of what passed between *moments*, beside the mean."""
    taken = [end - start for start, end in itertools.pairwise(moments)]
    return statistics.pstdev(taken) / statistics.mean(taken)


def load(uri, count):
    """Load objects that this process has never seen."""
    with servers.opened(uri) as db, contextlib.closing(db.open()) as connection:
        cells = list(connection.root()['many'])[:count]
        say()
        told()
        cpu, start = time.process_time(), time.perf_counter()
        for cell in cells:
            cell.count
        say(seconds=time.perf_counter() - start, cpu=time.process_time() - cpu)
        transaction.abort()


def idle(uri, count):
    """Have the database open *count* times over; say what that costs."""
    with contextlib.ExitStack() as stack:
        for _number in range(count):
            stack.enter_context(servers.opened(uri))
        say()
        while True:
            told()
            say(cpu=time.process_time())


def work(uri, size):
    """Work until told to end; then say when the bodies began, and what it cost."""
    count_calls()
    count_turns()
    from zc.async_ import configure
    from zc.async_ import subscribers
    with servers.opened(uri) as db:
        say()
        told()
        running = configure.start(db, poll_interval=5, agent_size=size)
        samples = []
        threading.Thread(target=_tell, args=(samples,), daemon=True).start()
        told()
        say(began=began, samples=samples, turns=turns,
            conflicts=running.conflicts.as_info()['total'])
        subscribers.stop(running)


def _tell(samples):
    """Say how far it is, ten times a second."""
    while True:
        samples.append([time.perf_counter(), time.process_time(), len(began),
                        counts['finishes'], counts['loads']])
        say(done=len(began))
        time.sleep(0.1)


def main():
    """Do the task of the first line."""
    # by this name jobs find this module, and not under that of a script
    from bench.simulation import parts
    logging.disable(logging.CRITICAL)
    task = told()
    getattr(parts, task.pop('task'))(**task)


if __name__ == '__main__':
    main()
