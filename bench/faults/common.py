"""What the trials share: storages, workers, histories and verdicts.

A trial is a function that is called again and again, in several lanes at a time,
and returns what it found.  None of its processes outlives it.
"""
import argparse
import contextlib
import glob
import json
import math
import os
import signal
import sys
import threading
import time
import uuid

from zope.processlifetime import DatabaseOpened

from bench.faults import jobs
from zc.async_ import configure
from zc.async_ import failures
from zc.async_ import instanceuuid
from zc.async_ import outage
from zc.async_ import subscribers
from zc.async_.interfaces import COMPLETED
from zc.async_.interfaces import KEY
from zc.async_.job import Job
from zc.async_.tests import servers

#: Seconds between two looks at a database, a history or a process.
LOOK = 0.05
#: Seconds that anything may take before a trial is broken off.
PATIENCE = servers.PATIENCE


def parser(about, trials=10, parallel=5, storages=('zeo', 'postgresql', 'sqlite')):
    """Return a parser that knows the options that all have."""
    made = argparse.ArgumentParser(description=about.split('\n')[0])
    made.add_argument('--trials', type=int, default=trials, metavar='N',
                      help=f'how many ({trials})')
    made.add_argument('--parallel', type=int, default=parallel, metavar='N',
                      help=f'how many at a time, each in a queue of its own ({parallel})')
    made.add_argument('--storage', choices=storages, default=storages[0],
                      help=f'by default {storages[0]}')
    made.add_argument('--json', metavar='FILE', help='also write all that was found')
    made.add_argument('--keep-logs', metavar='FOLDER',
                      help='copy the logs of all processes there')
    return made


# Storages

class Server:
    """A storage in *folder* that several processes share; see `served`."""

    def __init__(self, folder):
        self.folder = folder

    def start(self):
        """Let it answer."""

    def kill(self):
        """Let nobody answer."""

    def end(self):
        """Leave no process."""


class Sqlite(Server):
    """RelStorage on SQLite: a folder and no server."""

    @property
    def uri(self):
        return f'sqlite://{self.folder}/db'


class File(Server):
    """A FileStorage, for one process at a time."""

    @property
    def uri(self):
        return f'file://{self.folder}/Data.fs'


class Zeo(Server):
    """A ZEO server for a FileStorage."""

    wait_timeout = 5

    def __init__(self, folder):
        super().__init__(folder)
        self._port = servers.free_port()

    @property
    def uri(self):
        return f'zeo://127.0.0.1:{self._port}?wait_timeout={self.wait_timeout}'

    def start(self):
        self._server = servers.Process(
            [sys.executable, '-m', 'ZEO.runzeo', '-a', f'127.0.0.1:{self._port}',
             '-f', os.path.join(self.folder, 'Data.fs')], self.folder, 'zeo')
        servers.wait_until(lambda: servers._answers(self._port), 'ZEO answers')

    def kill(self):
        self._server.send(signal.SIGKILL)
        self._server.wait()
        self._server.end()

    def end(self):
        self._server.end()


class Postgresql(Server):
    """RelStorage on a PostgreSQL server of its own."""

    def __init__(self, folder):
        super().__init__(folder)
        servers.PostgreSQL.setUp()
        if servers.PostgreSQL.missing:
            raise SystemExit(servers.PostgreSQL.missing)
        self.uri = servers.PostgreSQL.database('trials')

    def start(self):
        if not servers.PostgreSQL.server.running:
            servers.PostgreSQL.start()

    def kill(self):
        # SIGKILL would leave its children, and what they share, behind
        servers.PostgreSQL.server.send(signal.SIGQUIT)
        servers.PostgreSQL.server.wait()
        servers.PostgreSQL.server.end()

    def end(self):
        servers.PostgreSQL.tearDown()


STORAGES = {'zeo': Zeo, 'postgresql': Postgresql, 'sqlite': Sqlite, 'file': File}


@contextlib.contextmanager
def served(kind, queues=('',)):
    """Serve a fresh database of this *kind* with *queues*; yield its `Server`."""
    with servers.folder() as folder:
        os.environ[instanceuuid.ENVIRONMENT_KEY] = f'{folder}/uuid.txt'
        os.environ[jobs.HISTORY] = f'{folder}/history'
        configure.base()
        server = STORAGES[kind](folder)
        try:
            server.start()
            with servers.opened(server.uri) as db:
                subscribers.QueueInstaller(queues)(DatabaseOpened(db))
            yield server
        finally:
            server.end()


# Workers

class Worker:
    """A ``zc-async worker`` with the name *name*; ended by `end`.

    *part* is what `jobs.is_victim` asks for.
    """

    def __init__(self, server, name, *words, part='', pace=()):
        self.name = name
        # the processes of a supervisor have files of their own
        self._stem = f'{server.folder}/uuid-{name}-'
        # one who is restarted says so in the same log
        self.process = servers.worker(
            server.uri, '--uuid-file', f'{self._stem}.txt', *map(str, (*pace, *words)),
            folder=server.folder, name=name, environ={
                jobs.PART: part, jobs.HISTORY: f'{server.folder}/history'})

    @property
    def UUID(self):
        """Its UUID, as text; None before it has one."""
        return next(iter(self.UUIDs), None)

    @property
    def UUIDs(self):
        """The UUIDs of its processes, as texts."""
        found = set()
        for path in glob.glob(f'{self._stem}*.txt'):
            with contextlib.suppress(ValueError), open(path, encoding='ascii') as lines:
                found.add(str(uuid.UUID(lines.readline().strip())))
        return found

    @property
    def pid(self):
        return self.process.pid

    def send(self, number):
        """Send a signal; return when, by the steady clock."""
        at = time.monotonic()
        self.process.send(number)
        return at

    @property
    def stopped(self):
        """Whether a signal has stopped it."""
        with open(f'/proc/{self.pid}/stat', encoding='utf-8') as text:
            return text.read().rpartition(')')[2].split()[0] == 'T'

    def works_in(self, db, queue):
        """Return whether it is active in *queue*, with an agent that has room."""
        def question(root):
            for agents in root[KEY][queue].dispatchers.values():
                if str(agents.UUID) == self.UUID:
                    return agents.activated and any(
                        agent.size for agent in agents.values())
            return False

        return self.UUID is not None and servers.look(db, question)

    def wait_until_it_works(self, db, queue):
        """Wait until it is active in *queue*; fail if it ended instead."""
        wait_until(lambda: not self.process.running or self.works_in(db, queue),
                   f'{self.name} works in {queue!r}')
        if not self.process.running:
            raise AssertionError(f'{self.name} ended:\n{self.process.said()}')

    def complaints(self, since=0):
        """Return the lines of its log with errors, from the character *since* on."""
        return [line for line in self.process.said()[since:].splitlines()
                if ' ERROR [' in line or ' CRITICAL [' in line]

    def end(self):
        """See it gone, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.running:
                self.process.send(signal.SIGKILL)
        self.process.end()


def pace(poll, ping, death):
    """Return the options for these intervals, in seconds."""
    return ('--poll-interval', poll, '--ping-interval', ping, '--death-interval', death)


# Looking and putting

def wait_until(condition, what, seconds=PATIENCE, look=LOOK):
    """Return the first true value of ``condition()``, or fail with *what*."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'not within {seconds} s: {what}')
        time.sleep(look)
    return found


def put(db, queue, *calls):
    """Put a job for each ``(function, trial, keywords)``; return their object ids.

    Each counts in a cell of its own.  ``callback`` among the keywords is not for
    the function, but a function that is to be called with its result.
    """
    def change(root):
        made = []
        for call, trial, keywords in calls:
            cell = jobs.Cell()
            root._p_jar.add(cell)
            keywords = dict(keywords, trial=trial)
            callback = keywords.pop('callback', None)
            job = Job(call, cell, **keywords)
            if callback is not None:
                job.addCallback(Job(callback, cell, **keywords))
            made.append(root[KEY][queue].put(job))
        return made

    def attempt():
        try:
            with db.transaction() as connection:
                made = change(connection.root())
        except Exception as error:
            if not outage.is_conflict(error):
                raise
            return None
        return [job._p_oid for job in made]

    return wait_until(attempt, 'a put')


def describe(db, oid):
    """Return what can be told of the job *oid*, as plain data."""
    def question(root):
        job = root._p_jar.get(oid)
        completed = job.status is COMPLETED
        result = job.result if completed else None
        return {'status': str(job.status), 'done': completed,
                'failed': str(result) if failures.is_failure(result) else None,
                'result': None if failures.is_failure(result) else result,
                'effects': job.args[0].count, 'attempts': job._attempt}

    return servers.look(db, question)


def events(server, trial, event=None):
    """Return the events of *trial* in the history."""
    return [one for one in jobs.history(f'{server.folder}/history')
            if one['trial'] == trial and event in (None, one['event'])]


# Many trials

def run(trials, parallel, trial):
    """Call ``trial(lane, number)`` for each number; return what it returned.

    It returns a dictionary, with the reason under ``'wrong'`` if the criterion
    does not hold.  One that raises AssertionError did not hold either.
    """
    found, numbers, lock = [], iter(range(trials)), threading.Lock()

    def lane(which):
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                one = trial(which, number)
            except Exception as error:
                one = {'wrong': f'{type(error).__name__}: {error}'}
            with lock:
                found.append({'number': number, 'lane': which, **one})
                _progress(f'{len(found)} of {trials}')

    threads = [threading.Thread(target=lane, args=(which,), daemon=True)
               for which in range(min(parallel, trials))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _progress('')
    return found


def _progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


# Verdicts

def spread(values):
    """Return p50, p99 and the maximum of *values*, and how many there are."""
    values = sorted(values)
    if not values:
        return None
    return {'n': len(values), 'p50': _percentile(values, 50),
            'p99': _percentile(values, 99), 'max': values[-1]}


def _percentile(values, percent):
    # the nearest rank: a value that was measured
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def shown(name, found):
    """Return the figures of `spread` as a text."""
    if found is None:
        return f'{name}: none'
    return (f'{name} p50 {found["p50"]:.2f} s, p99 {found["p99"]:.2f} s, '
            f'max {found["max"]:.2f} s')


def conclude(title, options, found, figures, texts=()):
    """Print the verdict of the trials *found*; return the exit status.

    *figures* are added to the file that ``--json`` names.
    """
    wrong = [one for one in found if one.get('wrong')]
    good = len(found) - len(wrong)
    verdict = 'holds' if found and not wrong else 'DOES NOT HOLD'
    print(f'{title} [{options.storage}]: {good} of {len(found)} {verdict}; '
          + '; '.join(texts), flush=True)
    for one in wrong[:5]:
        print(f'  trial {one.get("number")}: {one["wrong"]}')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'title': title, 'options': vars(options), 'holds': not wrong,
                       'good': good, 'trials': len(found), 'figures': figures,
                       'found': found}, out, indent=1, default=str)
    return 0 if found and not wrong else 1


@contextlib.contextmanager
def kept_logs(options, folder):
    """Copy the logs in *folder*, after the block, where the options say."""
    try:
        yield
    finally:
        if options.keep_logs:
            os.makedirs(options.keep_logs, exist_ok=True)
            _copy(folder, options.keep_logs)


def _copy(folder, target):
    for name in os.listdir(folder):
        if name.endswith('.log') or name == 'history':
            with (open(os.path.join(folder, name), 'rb') as old,
                  open(os.path.join(target, name), 'wb') as new):
                new.write(old.read())


def main(trial):
    """Run the trial's ``main()`` as a script does: SIGTERM ends it in order."""
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    sys.exit(trial())
