"""Servers and workers beside the tests: real processes, none of which outlives them.

Each is the child of a guard, which stops it when the test process closes the
guard's standard input, or is gone, however that ended.  Here too is what the jobs
of these tests do, since the workers import it.
"""
import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import persistent
import transaction
import ZODB.config

#: Seconds that anything may take before it counts as broken.
PATIENCE = 40

_GUARD = '''
import json, os, signal, subprocess, sys, threading
told = json.loads(sys.argv[1])
child = subprocess.Popen(told["command"], stdin=subprocess.DEVNULL,
                         stdout=sys.stderr, **told["options"])
def end():
    sys.stdin.read()
    child.send_signal(told["stop"])
    try:
        child.wait(told["patience"])
    except subprocess.TimeoutExpired:
        child.kill()
print(child.pid, flush=True)
threading.Thread(target=end, daemon=True).start()
print(child.wait(), flush=True)
'''


class Process:
    """A guarded process, whose output goes to the file *name*.log in *folder*."""

    def __init__(self, command, folder, name, environ=None, stop=signal.SIGTERM,
                 **options):
        import json
        self.log = os.path.join(folder, f'{name}.log')
        told = {'command': [str(word) for word in command], 'options': options,
                'stop': int(stop), 'patience': PATIENCE / 2}
        with open(self.log, 'a') as log:
            self._guard = subprocess.Popen(
                [sys.executable, '-c', _GUARD, json.dumps(told)], cwd=folder, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=_environment(environ), start_new_session=True)
        self.pid = int(self._guard.stdout.readline() or 0)

    def send(self, number):
        """Send the process a signal."""
        os.kill(self.pid, number)

    def wait(self):
        """Wait for the end; return the exit status, negative for a signal."""
        self._guard.wait(PATIENCE)
        return int(self._guard.stdout.read())

    @property
    def running(self):
        """Whether it has not ended yet."""
        return self._guard.poll() is None

    def said(self):
        """Return the output until now."""
        with open(self.log, errors='replace') as log:
            return log.read()

    def end(self):
        """Stop the process if it runs, and see it gone."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._guard.stdin.close()
        self._guard.wait(PATIENCE)
        self._guard.stdout.close()


def _environment(more):
    """What this interpreter sees, without settings for workers, and *more*."""
    found = {name: value for name, value in os.environ.items()
             if not name.startswith('ZC_ASYNC_')}
    found['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
    found.update(more or {})
    return found


def worker(*words, folder, name='worker', environ=None):
    """Return the `Process` of a ``zc-async worker`` with these options."""
    return Process([sys.executable, '-m', 'zc.async', 'worker', *words],
                   folder, name, environ)


def run_worker(*words, folder, environ=None):
    """Run a worker that ends by itself; return its exit status, output and errors."""
    done = subprocess.run(
        [sys.executable, '-m', 'zc.async', 'worker', *map(str, words)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
        cwd=folder, env=_environment(environ))
    return done.returncode, done.stdout, done.stderr


def free_port():
    """Return a port of the loopback interface that nobody listens at."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def wait_until(condition, what, seconds=PATIENCE):
    """Return the first true value of ``condition()``, or fail with *what*."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f'not within {seconds} s: {what}')


def _answers(port):
    with socket.socket() as found:
        return found.connect_ex(('127.0.0.1', port)) == 0


@contextlib.contextmanager
def folder():
    """A folder for a server, gone after the block."""
    path = tempfile.mkdtemp(prefix='zc.async-')
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# ZEO

@contextlib.contextmanager
def zeo(where, *words, port=None):
    """Serve a FileStorage in the folder *where*; yield the port.

    *words* are what ``runzeo`` is told besides the address.
    """
    port = port or free_port()
    server = Process([sys.executable, '-m', 'ZEO.runzeo', '-a', f'127.0.0.1:{port}',
                      *(words or ['-f', os.path.join(where, 'Data.fs')])], where, 'zeo')
    try:
        wait_until(lambda: _answers(port) or not server.running, 'the ZEO server answers')
        if not server.running:
            raise AssertionError(f'the ZEO server ended:\n{server.said()}')
        yield port
    finally:
        server.end()


# PostgreSQL

USER = 'zcasync'
PASSWORD = 'only-for-tests'


class PostgreSQL:
    """A server for the tests; a layer of them.

    It runs in a folder of its own, at a free port of the loopback interface, and
    as a user without rights: PostgreSQL refuses to be root.
    """

    #: Why there is no server, where there is none.
    missing = None
    #: What is set otherwise than it is by itself.
    settings = ('fsync=off', 'max_connections=150', 'deadlock_timeout=100ms')

    @classmethod
    def setUp(cls):
        cls._made = contextlib.ExitStack()
        try:
            cls._start()
        except unittest.SkipTest as reason:
            cls.missing = str(reason)
        except BaseException:
            cls._made.close()
            raise

    @classmethod
    def tearDown(cls):
        cls._made.close()

    @classmethod
    def testSetUp(cls):
        """Nothing to do for each test."""

    testTearDown = testSetUp

    @classmethod
    def _start(cls):
        cls._programs = _programs()
        cls._folder = cls._made.enter_context(folder())
        cls._account = _account(cls._folder)
        cls.port = free_port()
        _initialize(cls._programs, cls._folder, cls._account)
        cls.start()

    @classmethod
    def start(cls):
        """Start the server; the layer has done it once."""
        settings = [word for setting in ('listen_addresses=127.0.0.1', *cls.settings)
                    for word in ('-c', setting)]
        cls.server = Process(
            [os.path.join(cls._programs, 'postgres'), '-D',
             os.path.join(cls._folder, 'data'), '-p', cls.port, '-k', cls._folder,
             *settings],
            cls._folder, 'postgresql', {'LC_ALL': 'C'}, stop=signal.SIGINT,
            **cls._account)
        cls._made.callback(cls.server.end)
        wait_until(lambda: not cls.server.running or cls._ready(), 'PostgreSQL answers')
        if not cls.server.running:
            raise AssertionError(f'PostgreSQL ended:\n{cls.server.said()}')

    @classmethod
    def _ready(cls):
        import psycopg2
        try:
            cls.connect('postgres').close()
        except psycopg2.OperationalError:
            return False
        return True

    @classmethod
    def connect(cls, database):
        """Return a connection that commits each statement."""
        import psycopg2
        connection = psycopg2.connect(cls.dsn(database))
        connection.autocommit = True
        return connection

    @classmethod
    def database(cls, name):
        """Make an empty database; return its URI."""
        with contextlib.closing(cls.connect('postgres')) as connection:
            connection.cursor().execute(f'CREATE DATABASE {name}')
        return cls.uri(name)

    @classmethod
    def dsn(cls, name):
        """Return how libpq names the database *name*."""
        return (f'host=127.0.0.1 port={cls.port} user={USER} password={PASSWORD} '
                f'dbname={name}')

    @classmethod
    def uri(cls, name):
        """Return the URI of the database *name*, with little to remember."""
        return (f'postgresql://{USER}:{PASSWORD}@127.0.0.1:{cls.port}/{name}'
                f'?keep_history=0')


def _programs():
    """Return the folder of PostgreSQL's programs, the newest.  Raise SkipTest."""
    found = sorted(glob.glob('/usr/lib/postgresql/*/bin'),
                   key=lambda path: [int(n) for n in path.split('/')[4].split('.')])
    found = [path for path in found if os.path.exists(os.path.join(path, 'initdb'))]
    if found:
        return found[-1]
    initdb, postgres = shutil.which('initdb'), shutil.which('postgres')
    if initdb and postgres:
        return os.path.dirname(os.path.realpath(postgres))
    raise unittest.SkipTest('there is no PostgreSQL server: neither initdb in '
                            '/usr/lib/postgresql/*/bin nor on the PATH')


def _account(where):
    """Return the options of a process that gives up root's rights, if it has them."""
    if os.geteuid() != 0:
        return {}
    for name in ('postgres', 'nobody'):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            os.chown(where, entry.pw_uid, entry.pw_gid)
            return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': []}
    raise unittest.SkipTest('PostgreSQL must not run as root, and there is no other user')


def _initialize(programs, where, account):
    secret = os.path.join(where, 'password')
    with open(secret, 'w') as file:
        file.write(PASSWORD)
    os.chmod(secret, 0o644)
    done = subprocess.run(
        [os.path.join(programs, 'initdb'), '-D', os.path.join(where, 'data'), '-U', USER, '--pwfile', secret,
         '-A', 'scram-sha-256', '-E', 'UTF8', '--locale=C', '--no-sync'],
        cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, **account)
    if done.returncode:
        raise AssertionError(f'initdb failed:\n{done.stdout}')


# Databases, as the first process sees them

@contextlib.contextmanager
def opened(uri):
    """Open the database *uri* within the block."""
    import types

    from ..ops.databases import Source
    db = Source(types.SimpleNamespace(uri=uri, config=None, install=True)).open()
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def configured(path):
    """Open the database of the ZConfig file *path* within the block."""
    db = ZODB.config.databaseFromURL(str(path))
    try:
        yield db
    finally:
        db.close()


def look(db, question):
    """Return ``question(root)``, asked in a new transaction that changes nothing."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)
    try:
        manager.begin()
        return question(connection.root())
    finally:
        manager.abort()
        connection.close()


# What the jobs do

class Counter(persistent.Persistent):
    """Counts how often it was counted."""

    count = 0


def increment(counter):
    """Count, and return which process did."""
    counter.count += 1
    return os.getpid()


def linger(seconds):
    """Take a while, as a job that waits for something outside."""
    time.sleep(seconds)
    return os.getpid()


def is_short(job):
    """A filter: whether the job is not one that lingers."""
    return job.kind.rpartition('.')[2] != 'linger'
