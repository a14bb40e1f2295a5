"""A producer of one system: ``python host.py DRIVER``, in that system's environment.

Reads a line of JSON for each thing to do, answers each with a line of JSON, and ends
with its standard input.  A driver is a module here; it has the functions

``setup()``                 make tables and connections, once
``reset()``                 empty the queue and forget the effects
``enqueue(kind, number)``   put one job, acknowledged when this returns
``bulk(kind, numbers)``     put them all at once; missing where the system cannot
``preload(kind, count)``    put jobs 0 to count - 1 in any way
``waiting()``               how many jobs are not done yet, as the system counts
``effects()``               the numbers of the jobs whose effects are stored
``worker(concurrency)``     the command line of its worker

A kind is ``nothing`` or ``effect``.  ``release()``, where there is one, is called
before a worker starts, and ``latencies(...)`` replaces the function here.
"""
import importlib
import json
import os
import random
import sys
import time


class Host:
    """Does with the module *driver* what it is told."""

    def __init__(self, driver):
        self._driver = driver

    def setup(self):
        self._driver.setup()
        return {'bulk': hasattr(self._driver, 'bulk')}

    def reset(self):
        self._driver.reset()
        return {}

    def put(self, count):
        """Put jobs one by one; say how long that took, and how many wait."""
        enqueue, start = self._driver.enqueue, time.monotonic()
        for number in range(count):
            enqueue('nothing', number)
        return {'seconds': time.monotonic() - start, 'waiting': self._driver.waiting()}

    def bulk(self, count):
        """Put jobs at once."""
        start = time.monotonic()
        self._driver.bulk('nothing', range(count))
        return {'seconds': time.monotonic() - start, 'waiting': self._driver.waiting()}

    def preload(self, kind, count):
        self._driver.preload(kind, count)
        return {'waiting': self._driver.waiting()}

    def waiting(self):
        return {'waiting': self._driver.waiting()}

    def effects(self):
        return {'effects': sorted(self._driver.effects())}

    def worker(self, concurrency):
        getattr(self._driver, 'release', lambda: None)()
        return {'command': self._driver.worker(concurrency)}

    def latencies(self, first, count, concurrency):
        """Put jobs at irregular times; say when each was asked for and acknowledged."""
        if hasattr(self._driver, 'latencies'):
            return {'sent': self._driver.latencies(first, count, concurrency)}
        return {'sent': latencies(self._driver.enqueue, first, count)}


def latencies(enqueue, first, count):
    """Return ``(asked, acknowledged)`` for each of *count* jobs."""
    found = []
    for number in range(first, first + count):
        time.sleep(random.uniform(0.02, 0.1))
        asked = time.monotonic()
        # what the driver knows better than "when it returned"
        acknowledged = enqueue('nothing', number)
        found.append((asked, acknowledged or time.monotonic()))
    return found


def main():
    # the answers go where standard output was; what others print does not
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    host = Host(importlib.import_module(sys.argv[1]))
    for line in sys.stdin:
        told = json.loads(line)
        answer = getattr(host, told.pop('do'))(**told)
        print(json.dumps(answer), file=answers, flush=True)
    # pools and loops of the systems' own are not waited for
    os._exit(0)


if __name__ == '__main__':
    main()
