"""Real servers and processes, on this machine: what the simulation is held against."""
import contextlib
import datetime
import glob
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import transaction
from zc.async_ import configure
from zc.async_ import subscribers
from zc.async_.job import Job
from zc.async_.queue import get_queues
from zc.async_.tests import servers
from zope.processlifetime import DatabaseOpened

from bench.simulation import parts
from bench.simulation import world

#: Seconds that anything may take before it counts as broken.
PATIENCE = 120
#: Jobs a second: what is slower counts as broken.
SLOWEST = 5
#: Seconds until jobs fall due: at least, for each process, and for each job that is put.
START, START_EACH, PUT = 1.5, 0.5, 0.002

_numbers = itertools.count()


class Part:
    """A process that does one of the tasks of `parts`."""

    def __init__(self, folder, label, **task):
        environ = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
                       ZC_ASYNC_UUID=os.path.join(folder, f'{label}.uuid'))
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'bench.simulation.parts'], cwd=folder, env=environ,
            text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True)
        self.tell(**task)

    def tell(self, **said):
        """Say the next thing."""
        print(json.dumps(said), file=self._process.stdin, flush=True)

    def hear(self):
        """Return what it says next."""
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f'a process ended with {self._process.wait()}')
        return json.loads(line)

    def end(self):
        """End it."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class _Durable(servers.PostgreSQL):
    """A server that waits for the disk, as it does by itself."""

    settings = ('max_connections=400', 'deadlock_timeout=100ms')


class Server:
    """A server, with a queue in a fresh database at *uri*."""

    def __init__(self, kind, uri, pid, folder):
        self.kind, self.uri, self.folder = kind, uri, folder
        self._pid = pid

    def cpu(self):
        """Return the processor seconds of all its processes.  Linux only."""
        ticks = 0
        for path in glob.glob('/proc/[0-9]*/stat'):
            with contextlib.suppress(OSError), open(path) as file:
                pid, rest = file.read().split(' (', 1)
                words = rest.rpartition(') ')[2].split()
                if int(pid) == self._pid:
                    ticks += sum(map(int, words[11:15]))
                elif int(words[1]) == self._pid:
                    ticks += sum(map(int, words[11:13]))
        return ticks / os.sysconf('SC_CLK_TCK')

    def fill(self, committers=(), records=0, many=0):
        """Make the queue and objects to change, those of each name of *committers*."""
        configure.base()
        with servers.opened(self.uri) as db:
            subscribers.QueueInstaller()(DatabaseOpened(db))
            with db.transaction() as connection:
                root = connection.root()
                for name in committers:
                    for number in range(records):
                        root[f'cell-{name}-{number}'] = servers.Counter()
                if many:
                    root['many'] = [servers.Counter() for _number in range(many)]

    def put(self, jobs, effect, due, per_commit=50):
        """Put *jobs* jobs, each commit in a shard of its own, that fall *due* then."""
        with servers.opened(self.uri) as db:
            for start in range(0, jobs, per_commit):
                part = min(per_commit, jobs - start)
                _in_thread(self._put_some, db, part, effect, due)

    def _put_some(self, db, jobs, effect, due):
        manager = transaction.TransactionManager()
        with contextlib.closing(db.open(manager)) as connection:
            queue = get_queues(connection)['']
            for _number in range(jobs):
                call = (parts.change, servers.Counter()) if effect else (parts.nothing,)
                queue.put(Job(*call), begin_after=due)
            manager.commit()


def _in_thread(call, *arguments):
    """Call in a thread of its own, which has no habits yet."""
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(call, *arguments).result()


@contextlib.contextmanager
def served(kind):
    """Run a fresh server of *kind* within the block."""
    with tempfile.TemporaryDirectory(prefix='bench-simulate-') as folder:
        if kind == 'zeo':
            port = servers.free_port()
            server = servers.Process(
                [sys.executable, '-m', 'ZEO.runzeo', '-a', f'127.0.0.1:{port}',
                 '-f', os.path.join(folder, 'Data.fs')], folder, 'zeo')
            try:
                servers.wait_until(lambda: servers._answers(port), 'ZEO answers')
                yield Server(kind, f'zeo://127.0.0.1:{port}?wait_timeout=30',
                             server.pid, folder)
            finally:
                server.end()
        else:
            _Durable.missing = None
            _Durable.setUp()
            try:
                if _Durable.missing:
                    raise SystemExit(_Durable.missing)
                yield Server(kind, _Durable.database(f'bench{time.time_ns()}'),
                             _Durable.server.pid, folder)
            finally:
                _Durable.tearDown()


@contextlib.contextmanager
def running(server, task, names, **more):
    """Have a process for each of *names*, all of them ready, within the block."""
    found = []
    try:
        for name in names:
            named = {'name': name} if task == 'raw' else {}
            found.append(Part(server.folder, f'{task}-{next(_numbers)}', task=task,
                              uri=server.uri, **named, **more))
        for part in found:
            part.hear()
        yield found
    finally:
        for part in found:
            part.end()


def raw(server, committers, seconds=1.0, records=1):
    """Return the commits a second of so many processes, and what each one cost."""
    with running(server, 'raw', range(committers), records=records) as found:
        for part in found:
            part.tell(seconds=0.2)
        for part in found:
            part.hear()
        cpu = server.cpu()
        for part in found:
            part.tell(seconds=seconds)
        answers = [part.hear() for part in found]
        cpu = server.cpu() - cpu
    commits = sum(one['finishes'] for one in answers)
    return {'rate': sum(one['finishes'] / one['seconds'] for one in answers),
            'cpu': sum(one['cpu'] for one in answers) / commits,
            'finish_cpu': sum(one['finish_cpu'] for one in answers) / commits,
            'finish_seconds': sum(one['finish_seconds'] for one in answers) / commits,
            'jitter': sum(one['jitter'] for one in answers) / len(answers),
            'server_cpu': cpu / commits}


def load(server, count):
    """Return what it costs to load each of *count* records, one after the other."""
    with running(server, 'load', [0], count=count) as [part]:
        cpu = server.cpu()
        part.tell()
        answer = part.hear()
        cpu = server.cpu() - cpu
    return {'seconds': answer['seconds'] / count, 'cpu': answer['cpu'] / count,
            'server_cpu': cpu / count}


def disk(server, times=200):
    """Return the seconds that the disk of *server* takes to make some bytes durable."""
    taken = []
    with open(os.path.join(server.folder, 'durable'), 'ab', buffering=0) as file:
        for _number in range(times):
            file.write(bytes(300))
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def told(server, clients, seconds):
    """Return what a commit costs, the server and *clients* idle clients of it."""
    with running(server, 'idle', [0], count=clients) as [part]:
        part.tell()
        cpu = part.hear()['cpu']
        found = raw(server, 1, seconds)
        part.tell()
        cpu = part.hear()['cpu'] - cpu
    commits = found['rate'] * (seconds + 0.2)
    return {'server_cpu': found['server_cpu'], 'cpu': cpu / commits,
            'rate': found['rate']}


def drain(server, workers, jobs, size, effect):
    """Have *jobs* jobs done by so many processes; return what that took.

    All of them are at work, and know of each other, when the jobs fall due.  The rate is
    that from the moment when each has begun one until nine tenths have begun.
    """
    seconds = START + START_EACH * workers + PUT * jobs
    server.put(jobs, effect, datetime.datetime.now(datetime.timezone.utc)
               + datetime.timedelta(seconds=seconds))
    with running(server, 'work', range(workers), size=size) as found:
        for part in found:
            part.tell()
        cpu, done = server.cpu(), dict.fromkeys(found, 0)
        end = time.monotonic() + PATIENCE + jobs / SLOWEST
        while sum(done.values()) < jobs:
            for part in found:
                done[part] = part.hear()['done']
            if time.monotonic() > end:
                raise SystemExit(f'only {done.values()} of {jobs} jobs were begun')
        cpu = server.cpu() - cpu
        answers = [_last(part) for part in found]
    return {**_steady(answers, jobs), 'server_cpu_per_job': cpu / jobs}


def _last(part):
    part.tell()
    answer = part.hear()
    while 'began' not in answer:
        answer = part.hear()
    return answer


def _used(samples, start, end, jobs):
    """Return what a process that did *jobs* used from *start* to *end*, of its *samples*.

    At the start much is loaded and imported once.  Where the time was too short to tell,
    it is what it used in all.
    """
    within = [one for one in samples if start <= one[0] <= end] or samples
    if within[-1][2] - within[0][2] < jobs / 3:
        within = samples
    return [last - first for first, last in zip(within[0], within[-1])]


def _steady(answers, jobs):
    began = [one['began'] for one in answers]
    start, end = world.window(began)
    sums = [_used(one['samples'], start, end, jobs / len(answers)) for one in answers]
    jobs = max(1, sum(one[2] for one in sums))
    return {'rate': world.steady(began), 'bodies': sum(map(len, began)),
            'turns': [one for each in answers for one in each['turns']],
            'cpu_per_job': sum(one[1] for one in sums) / jobs,
            'commits_per_job': sum(one[3] for one in sums) / jobs,
            'loads_per_job': sum(one[4] for one in sums) / jobs,
            'conflicts': sum(one['conflicts'] for one in answers)}
