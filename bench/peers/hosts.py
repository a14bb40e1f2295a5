"""The processes of a system: its server, its producer and its worker."""
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

from bench import storages
from bench.peers.environments import HERE
from bench.peers.environments import Missing
from bench.peers.marks import Marks
from zc.async_.tests import servers

DRIVERS = os.path.join(HERE, 'drivers')
#: Seconds for anything that is asked of a producer.
PATIENCE = 120


class PeerFailed(Exception):
    """A system did not do its work; the text says what, and what it printed."""


class Servers:
    """PostgreSQL, and Redis with each settings; started when first needed."""

    def __init__(self, folder):
        self._folder = folder
        self._made = contextlib.ExitStack()
        self._redis = {}        # durable -> port
        self._postgresql = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._made.__exit__(*error)

    def environ(self, system):
        """Return what the driver of *system* is told.  Raise `Missing`."""
        if system.storage == 'redis':
            if system.durable not in self._redis:
                self._redis[system.durable] = self._start_redis(system.durable)
            return {'PEERS_REDIS': str(self._redis[system.durable])}
        if system.storage == 'postgresql':
            if not self._postgresql:
                self._start_postgresql()
            name = system.name.replace('.', '')
            if name not in self._databases:
                storages.Server.database(name)
                self._databases.add(name)
            return {'PEERS_DSN': storages.Server.dsn(name),
                    'PEERS_URL': storages.Server.uri(name).partition('?')[0]}
        return {}

    def _start_redis(self, durable):
        program = shutil.which('redis-server')
        if program is None:
            raise Missing('there is no redis-server on the PATH; install it (on Debian: '
                          'apt-get install redis-server), or leave those that need it '
                          'out with --peers')
        folder = os.path.join(self._folder, f'redis-{durable}')
        os.mkdir(folder)
        port = servers.free_port()
        settings = ['--appendonly', 'yes', '--appendfsync', 'always'] if durable else []
        server = servers.Process([program, '--port', port, '--bind', '127.0.0.1',
                                  '--dir', folder, *settings], folder, 'redis')
        self._made.callback(server.end)
        servers.wait_until(lambda: servers._answers(port) or not server.running,
                           'Redis answers')
        if not server.running:
            raise PeerFailed(f'redis-server ended: {server.said()[-500:]}')
        return port

    def _start_postgresql(self):
        try:
            self._made.enter_context(storages.Postgresql.hosted())
        except storages.Missing as reason:
            raise Missing(f'{reason}; install it (on Debian: apt-get install '
                          'postgresql), or leave those that need it out with --peers'
                          ) from None
        self._postgresql, self._databases = True, set()


class Host:
    """The producer of *system*, a process from entering the block to its end."""

    def __init__(self, system, python, folder, environ):
        self._system, self._python, self._folder = system, python, folder
        self.marks = Marks(os.path.join(_memory(folder), f'peers-{os.getpid()}.marks'))
        path = [DRIVERS]
        if system.environment == 'own':
            path += [os.path.dirname(os.path.dirname(HERE)), *filter(None, sys.path)]
        self._environ = {
            **environ, 'PYTHONPATH': os.pathsep.join(path), 'PEERS_FOLDER': folder,
            'PEERS_DURABLE': str(int(system.durable)), 'PEERS_MARKS': self.marks.path,
            'PEERS_STORAGE': system.storage, 'PYTHONDONTWRITEBYTECODE': '1',
            'ZC_ASYNC_UUID': os.path.join(folder, 'uuid.txt')}

    def __enter__(self):
        self._log = os.path.join(self._folder, 'producer.log')
        with open(self._log, 'ab') as log:
            self._process = subprocess.Popen(
                [self._python, os.path.join(DRIVERS, 'host.py'), self._system.driver],
                cwd=self._folder, env={**os.environ, **self._environ}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=1,
                start_new_session=True)
        return self

    def __exit__(self, *error):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self.marks.remove()

    def ask(self, do, **task):
        """Have the producer do something; return its answer.  Raise `PeerFailed`."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({'do': do, **task}), file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else ''
        if not line:
            raise PeerFailed(f'{self._system.key} did not {do}: {_end_of(self._log)}')
        return json.loads(line)

    @contextlib.contextmanager
    def working(self, concurrency):
        """Have a worker within the block."""
        command = self.ask('worker', concurrency=concurrency)['command']
        worker = servers.Process(
            command, self._folder, 'worker',
            # guard and worker see what this worker needs, not what we see
            {**self._environ}, start_new_session=True)
        try:
            yield worker
        finally:
            worker.end()
            # what it started and did not end
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.pid, signal.SIGKILL)

    def until(self, condition, worker, limit, what):
        """Wait for ``condition()`` while *worker* runs.  Raise `PeerFailed`."""
        end = time.monotonic() + limit
        while not condition():
            if not worker.running or time.monotonic() > end:
                how = (f'not within {limit:.0f} s' if worker.running
                       else 'its worker ended')
                raise PeerFailed(f'{self._system.key}: {what}: {how}: '
                                 f'{_end_of(worker.log)}')
            time.sleep(0.01)


def _memory(folder):
    """Return a folder in memory, or else *folder*."""
    return '/dev/shm' if os.access('/dev/shm', os.W_OK) else folder


def _end_of(log):
    with open(log, errors='replace') as file:
        return file.read()[-1500:].strip() or 'it printed nothing'
