"""What a process keeps of jobs that are done: ``bin/py bench/faults/memory.py``.

One process with a FileStorage puts jobs that do nothing, and does them.  After a
warm-up its resident memory is measured.  The criterion: it grows by less than 20 MB.
The storage's own index of the objects in its file is told apart: it grows with the
database, whoever fills it.  ``--trace`` says which lines have allocated what is kept.

The caches of the connections have the size that ZODB gives them, 400 objects.  Larger
ones have to be full before the growth says anything: each connection sees one new
object for each job.
"""
import contextlib
import gc
import json
import os
import sys
import time
import tracemalloc

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

import argparse  # noqa: E402

import transaction  # noqa: E402
import ZODB  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402

from bench import work  # noqa: E402
from bench.faults import common  # noqa: E402
from zc.async_ import configure  # noqa: E402
from zc.async_ import dispatcher  # noqa: E402
from zc.async_ import subscribers  # noqa: E402
from zc.async_.interfaces import KEY  # noqa: E402
from zc.async_.job import Job  # noqa: E402
from zc.async_.tests import servers  # noqa: E402

#: Jobs that are put in one commit, and that wait at most.
AT_ONCE, WAITING = 500, 2000
#: Looks at the memory after the warm-up.
LOOKS = 20
MB = 2 ** 20


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--jobs', type=int, default=200_000)
    parser.add_argument('--warm-up', type=int, default=20_000)
    parser.add_argument('--limit', type=float, default=20, help='in MB (20)')
    parser.add_argument('--trace', action='store_true')
    parser.add_argument('--json', metavar='FILE')
    options = parser.parse_args(argv)
    options.storage = 'file'
    return options


def resident():
    """Return the resident memory of this process, in MB."""
    with open('/proc/self/statm', encoding='ascii') as text:
        return int(text.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / MB


class Load:
    """Puts jobs and waits until they are done."""

    def __init__(self, db, running):
        self._running = running
        self._connection = db.open()
        self._queue = self._connection.root()[KEY]['']

    def do(self, jobs):
        """Have so many jobs done; return when that is so."""
        left = jobs
        while left:
            count = min(left, AT_ONCE)
            self._put(count)
            left -= count
            self._wait(WAITING if left else 0)
        common.wait_until(lambda: self._running.idle, 'the dispatcher is idle')
        gc.collect()

    def _put(self, count):
        def put():
            for _number in range(count):
                self._queue.put(Job(work.nothing))

        # claims of the same jobs' bucket conflict with it now and then
        transaction.manager.run(put, 100)

    def _wait(self, most):
        def few():
            transaction.begin()
            return len(self._queue) <= most

        common.wait_until(few, f'no more than {most} jobs wait', seconds=300, look=0.01)

    def close(self):
        transaction.abort()
        self._connection.close()


def look(db, start, done):
    """Return what there is to see after *done* jobs."""
    index = db.storage._index
    return {'jobs': done, 'seconds': time.monotonic() - start, 'resident': resident(),
            'objects': len(gc.get_objects()), 'stored': len(index),
            # what fsIndex takes: two bytes of the object id and six of the place
            'index': len(index) * 8 / MB}


def measure(options, db):
    """Return the looks at the memory: the first after the warm-up."""
    running = configure.start(db)
    load = Load(db, running)
    try:
        load.do(options.warm_up)
        if options.trace:
            tracemalloc.start(12)
        before = tracemalloc.take_snapshot() if options.trace else None
        start, found = time.monotonic(), []
        found.append(look(db, start, 0))
        for number in range(LOOKS):
            load.do(options.jobs * (number + 1) // LOOKS - found[-1]['jobs'])
            found.append(look(db, start, options.jobs * (number + 1) // LOOKS))
        if options.trace:
            _print_trace(before)
        return found
    finally:
        load.close()
        subscribers.stop(running)
        dispatcher.pop(running.UUID)


def _print_trace(before):
    after = tracemalloc.take_snapshot()
    for one in after.compare_to(before, 'traceback')[:10]:
        print(f'{one.size_diff / 1024:.0f} KiB in {one.count_diff} blocks:')
        print('\n'.join(one.traceback.format(most_recent_first=True)[:12]))


def main(argv=None):
    """Measure; return the exit status."""
    options = arguments(argv)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(servers.folder())
        os.environ['ZC_ASYNC_UUID'] = os.path.join(folder, 'uuid.txt')
        db = stack.enter_context(contextlib.closing(ZODB.DB(FileStorage(
            os.path.join(folder, 'Data.fs')))))
        found = measure(options, db)
    first, last = found[0], found[-1]
    growth = last['resident'] - first['resident']
    holds = growth < options.limit
    print(f'memory after {options.jobs} jobs [file]: grew by {growth:.1f} MB, from '
          f'{first["resident"]:.1f} MB, {"holds" if holds else "DOES NOT HOLD"} '
          f'(limit {options.limit:g} MB); at least {last["index"] - first["index"]:.1f} '
          f'MB of it is the index of {last["stored"]} stored objects; '
          f'{last["objects"] - first["objects"]} Python objects more; '
          f'{options.jobs / last["seconds"]:.0f} jobs a second')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'title': 'memory', 'options': vars(options), 'holds': holds,
                       'growth': growth, 'found': found}, out, indent=1)
    return 0 if holds else 1


if __name__ == '__main__':
    common.main(main)
