"""From the commit of a job to its start, where nothing else is to be done."""
import contextlib
import math
import random
import statistics
import time

from bench import children
from bench.measures.base import Measure
from bench.tasks import starting
from bench.tasks.common import connected


#: As `starting.WARM_UP`; fewer, since each takes seconds where processes have to poll.
_WARM_UP = 2


def _samples(plan):
    return max(3, math.ceil(plan.latencies / plan.runs))


class Latency(Measure):
    """From commit to start, put in the process that has the dispatcher."""

    unit = 'ms'

    def take(self, store, plan, prepared):
        return _found(children.done(
            'latency', store.folder, store=store.describe(), samples=_samples(plan),
            poll_interval=plan.poll_interval, size=plan.size)['latencies'], plan)


class RemoteLatency(Measure):
    """From commit to start, put in another process than the dispatcher's."""

    unit = 'ms'
    kinds = ('zeo', 'relstorage', 'postgresql')

    def take(self, store, plan, prepared):
        with children.Child('serve', store.folder, store=store.describe(),
                            poll_interval=plan.poll_interval,
                            size=plan.size) as worker:
            worker.hear()
            with contextlib.closing(store.open()) as db, connected(db) as connection:
                return _found(list(self._samples(connection, worker, plan)), plan)

    def _samples(self, connection, worker, plan):
        for number in range(_WARM_UP):
            _one_latency(connection, worker, number)
        end = time.perf_counter() + plan.latency_seconds
        for number in range(_samples(plan)):
            time.sleep(random.uniform(*starting.PAUSE))
            yield _one_latency(connection, worker, number)
            if time.perf_counter() > end:
                # a process that has to poll
                return


def _one_latency(connection, worker, number):
    committed = starting.put_stamp(connection, number)
    # Where perf_counter is the machine's clock it may be compared between
    # processes; that is so on Linux, macOS and Windows.
    _number, begun = worker.hear()['stamp']
    return begun - committed


def _found(seconds, plan):
    latencies = [1000 * one for one in seconds]
    return {'value': statistics.median(latencies), 'latencies': latencies,
            'size': plan.size}


MEASURES = (Latency('latency', 'commit to start, same process'),
            RemoteLatency('remote latency', 'commit to start, another process'))
