"""Hostile jobs of all kinds, mixed, for one real dispatcher, or for real processes."""
import collections
import contextlib
import ctypes
import gc
import logging
import os
import random
import re
import resource
import signal
import threading
import time
import traceback
from unittest import mock

import transaction
from zope.processlifetime import DatabaseOpened

from .. import servers
from ... import describe
from ... import failures
from ... import subscribers
from ... import testing
from ... import testkit
from ...audit.check import problems
from ...interfaces import COMPLETED
from ...interfaces import KEY
from ...interfaces import PARKED
from ...job import Job
from ...model import execution
from . import hostile_acts  # noqa: F401 registers its kinds
from . import hostile_errors  # noqa: F401
from . import hostile_surroundings
from . import hostile_transactions  # noqa: F401
from . import hostile_values  # noqa: F401
from .hostile import KINDS

#: Jobs that one transaction puts.
BATCH = 50
#: Places of the agent, and quotas and their sizes.
SIZE, QUOTAS, QUOTA_SIZE = 8, 5, 3
#: Seconds without a job that ends, after which nothing more is expected.
PATIENCE = 30
#: Megabytes that the process may grow by after its first third, with many jobs.
GROWTH, MANY = 50, 2000
#: Seconds between two looks.
LOOK = 0.2
#: Jobs that may follow from one another here; the product's own limit takes longer.
CHAIN = 25
#: Kinds that go on and on up to that limit.
ENDLESS = ('returned_for_ever', 'callbacks_for_ever', 'callbacks_to_parent_for_ever')
#: What no line of a log may have in it.
_RAW = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
#: What is never to be logged.
_NEVER = ('poll failed', 'a worker of agent')


class Lines(logging.Handler):
    """Looks at each record as a plain handler formats it."""

    def __init__(self):
        super().__init__()
        self.raw, self.long = [], []
        self.counts = collections.Counter()
        self.examples = {}
        self.setFormatter(logging.Formatter('%(name)s %(levelname)s %(message)s'))

    def emit(self, record):
        text = self.format(record)
        message = record.getMessage()
        self.counts[record.levelname] += 1
        if _RAW.search(text) or '\n' in message:
            self.raw.append(text[:200])
        if len(message.encode(errors='replace')) > 10_100:
            self.long.append(len(message))
        for sentence in _NEVER:
            if sentence in message:
                self.counts[sentence] += 1
                self.examples[sentence] = text[-1000:]


class Mix:
    """*count* jobs, all kinds alike; *seed* says in which order.

    No more than *chain* jobs may follow from one another.  After `run`, ``problems`` are sentences and ``figures`` is plain data.
    """

    def __init__(self, count, seed=0, names=None, chain=CHAIN):
        self.count = count
        self._chain = chain
        self.random = random.Random(seed)
        self.names = sorted(KINDS) if names is None else list(names)
        self.problems = []
        self.figures = {'jobs': count, 'kinds': len(self.names), 'seed': seed}
        self.put = []       # (kind, object id) of what was accepted
        self.refused = 0
        self.lines = Lines()

    def run(self):
        """Put them, let them be done, and look; return self."""
        began = time.monotonic()
        try:
            with testkit.World() as world, self._surrounded():
                self._put_all(world)
                dispatcher = world.start(size=SIZE)
                self._wait(world, dispatcher)
                self._look(world, dispatcher)
        except BaseException as error:
            self.problems.append(f'broken off: {describe.error(error)}')
            traceback.print_exc()
        finally:
            hostile_surroundings.come()
        self.figures['seconds'] = round(time.monotonic() - began, 1)
        return self

    @contextlib.contextmanager
    def _surrounded(self):
        """Listen to the log, and let chains be short."""
        quiet = logging.NullHandler()  # others' loggers would write to the terminal
        logger, root = logging.getLogger('zc.async'), logging.getLogger()
        level, propagate = logger.level, logger.propagate
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self.lines)
        root.addHandler(quiet)
        try:
            with mock.patch.object(execution, 'MAX_CHAIN', self._chain):
                yield
        finally:
            root.removeHandler(quiet)
            logger.removeHandler(self.lines)
            logger.level, logger.propagate = level, propagate

    # Putting

    def _put_all(self, world):
        for number in range(QUOTAS):
            world.queue.quotas.create(f'quota {number}', QUOTA_SIZE)
        transaction.commit()
        hostile_surroundings.come()
        # each kind as often as any other
        names = [self.names[number % len(self.names)] for number in range(self.count)]
        self.random.shuffle(names)
        for start in range(0, self.count, BATCH):
            for name in names[start:start + BATCH]:
                self._put_one(world.queue, KINDS[name])
            transaction.commit()
        self.put = [(kind, job._p_oid) for kind, job in self.put]
        hostile_surroundings.go()
        world.connection.cacheMinimize()

    def _put_one(self, queue, kind):
        job = None
        try:
            job = kind.make()
            if self.random.random() < .5:
                job.quota_names = [f'quota {self.random.randrange(QUOTAS)}']
            queue.put(job)
        except Exception as error:
            if kind.refused is None or not isinstance(error, kind.refused):
                self.problems.append(f'{kind.name} was refused: {type(error)}')
            self.refused += 1
            if job is not None and job._p_oid is not None:
                self.problems.append(f'{kind.name} was refused and stored')
            return
        self.put.append((kind, job))

    # Working

    def _wait(self, world, dispatcher):
        """Wait until nothing is in line or in a place, or nothing changes."""
        sizes, last, changed = [resident()], None, time.monotonic()
        while True:
            transaction.begin()
            now = _places(world.queue, dispatcher)
            if now[0] < len(self.put) * (1 - len(sizes) / 3):
                sizes.append(resident())  # after a third, and after two
            if now[:2] == (0, 0) and dispatcher.idle:
                break
            if now != last:
                last, changed = now, time.monotonic()
            elif time.monotonic() - changed > PATIENCE:
                self.problems.append(f'nothing moves: {now[0]} in line, {now[1]} held')
                break
            time.sleep(LOOK)
        gc.collect()
        sizes.append(resident())
        self.figures['resident by thirds, MB'] = [round(one / 2**20) for one in sizes]
        growth = (sizes[-1] - sizes[len(sizes) // 2]) / 2**20
        if self.count >= MANY and growth > GROWTH:
            self.problems.append(f'grew by {growth:.0f} MB after the first third')

    # Looking

    def _look(self, world, dispatcher):
        transaction.begin()
        ends = collections.Counter()
        for kind, oid in self.put:
            job = world.connection.get(oid)
            try:
                is_parked = job in world.queue.parked
                problem = kind.problem(job, is_parked)
                ends[str(PARKED if is_parked else job.status)] += 1
            except BaseException as error:
                problem = f'{kind.name}: {describe.error(error)}'
            if problem is not None:
                self.problems.append(problem)
        self._look_at_structure(world, dispatcher)
        self._look_at_threads(dispatcher)
        self._look_at_log()
        self.figures.update(
            refused=self.refused, ends=dict(ends), logged=dict(self.lines.counts))

    def _look_at_structure(self, world, dispatcher):
        queue = world.queue
        if len(queue) or list(queue):
            self.problems.append(f'{len(queue)} counted in line, {len(list(queue))} there')
        for name, agent in queue.dispatchers[dispatcher.UUID].items():
            if len(agent):
                self.problems.append(f'agent {name} holds {list(agent)}'[:1000])
        held = 0
        for name, quota in queue.quotas.items():
            held += len(quota)
            quota.clean()
            if len(quota):
                self.problems.append(f'{name} holds {list(quota)}'[:500])
        # those that took themselves away are given back when room is looked for
        self.figures['in quotas before a look'] = held
        transaction.abort()
        self.problems += [f'fsck: {one}' for one in problems(world.connection)
                          if 'loaded too often' not in one]  # as is said of that kind

    def _look_at_threads(self, dispatcher):
        threads = dispatcher.queues['']['main'].threads
        alive = sum(thread.is_alive() for thread in threads)
        if alive != SIZE or len(threads) != SIZE:
            self.problems.append(f'{alive} of {SIZE} workers are alive')
        self.figures['threads'] = threading.active_count()
        errors = [agent['error'] for poll in dispatcher.iterPolls()
                  for queue in poll['results'].values() for agent in queue.values()
                  if agent['error'] is not None]
        if errors:
            self.problems.append(f'polls had errors: {errors[:3]}')

    def _look_at_log(self):
        for name in _NEVER:
            if self.lines.counts[name]:
                self.problems.append(f'{self.lines.counts[name]} times logged: '
                                     f'{self.lines.examples[name]}')
        self.problems += [f'raw in the log: {text!r}' for text in self.lines.raw[:5]]
        if self.lines.long:
            self.problems.append(f'long in the log: {self.lines.long[:5]}')


def _places(queue, dispatcher):
    """Return how many are in line, held and completed."""
    agents = queue.dispatchers.get(dispatcher.UUID, {})
    held = sum(len(agent) for agent in agents.values())
    # nothing is held before the first poll, but everything is in line then
    return len(queue), held, sum(len(agent.completed) for agent in agents.values())


def resident():
    """Return the bytes of this process that are in memory."""
    with open('/proc/self/statm', encoding='ascii') as text:
        return int(text.read().split()[1]) * resource.getpagesize()


# Jobs that end their process

def end_process(how):
    """End this process without a word."""
    {'exit': lambda: os._exit(0), 'fail': lambda: os._exit(3), 'abort': os.abort,
     'segfault': lambda: ctypes.string_at(0),
     'kill': lambda: os.kill(os.getpid(), signal.SIGKILL)}[how]()


def add(one, other):
    """Return the sum."""
    return one + other


WAYS = ('exit', 'segfault', 'abort', 'fail', 'kill')
#: Deaths after which a job is parked.
DEATHS = 3
_PACE = ('--poll-interval', '0.1', '--ping-interval', '0.2', '--death-interval', '0.6',
         '--restart-delay', '0.02')


class Ends:
    """*count* jobs that end their process, between as many that do not.

    They are done by ``zc-async worker`` with *processes* processes, whose agents have
    *size* places.  After `run`, ``problems`` and ``figures`` are as those of `Mix`.
    """

    def __init__(self, count, processes=1, size=1, seconds=60):
        self.count, self.processes, self.size = count, processes, size
        self.seconds = seconds
        self.problems = []
        self.figures = {'jobs': 2 * count, 'processes': processes, 'size': size}

    def run(self):
        """Put them, let them be done, and look; return self."""
        began = time.monotonic()
        with servers.folder() as folder, servers.zeo(folder) as port:
            uri = f'zeo://127.0.0.1:{port}?wait_timeout=10'
            with servers.opened(uri) as db:
                subscribers.QueueInstaller(('',))(DatabaseOpened(db))
                self._put(db)
                worker = servers.worker(
                    uri, '--processes', str(self.processes),
                    '--agent', f'main:{self.size}', *_PACE, folder=folder)
                try:
                    self._wait(db, worker)
                finally:
                    worker.end()
                servers.look(db, self._look)
        self.figures['seconds'] = round(time.monotonic() - began, 1)
        return self

    def _put(self, db):
        with db.transaction() as connection:
            queue = connection.root()[KEY]['']
            self.bad, self.good = [], []
            for number in range(self.count):
                self.bad.append(queue.put(Job(end_process, WAYS[number % len(WAYS)])))
                self.good.append(queue.put(Job(add, number, 1)))
        self.bad, self.good = ([job._p_oid for job in jobs] for jobs in (self.bad, self.good))

    def _wait(self, db, worker):
        def over(root):
            queue = root[KEY]['']
            return not len(queue) and not any(
                len(agent) for agents in queue.dispatchers.values()
                for agent in agents.values())

        end = time.monotonic() + self.seconds
        while not servers.look(db, over):
            if time.monotonic() > end or not worker.running:
                self.problems.append(f'not over in {self.seconds} s: {worker.said()[-2000:]}')
                return
            time.sleep(LOOK)

    def _look(self, root):
        parked = root[KEY][''].parked
        deaths = collections.Counter()
        for oid in self.bad:
            job = root._p_jar.get(oid)
            if job in parked:
                deaths[parked.entry(job).deaths] += 1
            else:
                self.problems.append(f'{job!r} is {job.status}')
        done = [root._p_jar.get(oid) for oid in self.good]
        innocent = [job for job in done if job in parked]
        for number, job in enumerate(done):
            if job not in innocent and (
                    job.status is not COMPLETED or job.result != number + 1):
                self.problems.append(f'{job!r} is {job.status} with {job.result!r}')
        # with one place, nobody else is there when a process dies
        if innocent and self.size == 1:
            self.problems.append(f'parked though they did nothing: {innocent}')
        if set(deaths) - {DEATHS}:
            self.problems.append(f'parked after so many deaths: {dict(deaths)}')
        self.figures.update(
            parked=sum(deaths.values()), deaths=dict(deaths), parked_innocent=len(innocent))


# Long chains

def number_after(number):
    """Return the next number."""
    return (number or 0) + 1


class Chain:
    """A chain of *count* callbacks, or as many side by side; see `run`."""

    def __init__(self, count, side_by_side=False, limit=60):
        self.count, self.side_by_side, self.limit = count, side_by_side, limit
        self.problems = []
        self.figures = {'callbacks': count, 'side by side': side_by_side}

    def run(self):
        """Put it, let it be done by a dispatcher, and look; return self."""
        with testkit.World() as world:
            job = last = Job(number_after, 0)
            for _number in range(self.count):
                callback = (job if self.side_by_side else last).addCallback(
                    Job(number_after))
                last = callback
            world.put(job)
            size, began = resident(), time.monotonic()
            world.start()
            testing.wait_for(lambda: job.status is COMPLETED, 5 * self.limit)
            seconds = time.monotonic() - began
            if seconds > self.limit or failures.is_failure(last.result):
                self.problems.append(f'{seconds:.0f} s, result {last.result!r}')
            expected = 2 if self.side_by_side else self.count + 1
            if last.result != expected:
                self.problems.append(f'{last.result!r} instead of {expected}')
            self.figures.update(
                {'seconds': round(seconds, 1),
                 'growth, MB': round((resident() - size) / 2**20, 1)})
        return self
