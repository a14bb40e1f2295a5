"""Processes are killed while jobs are done, and in the end all is as it should be.

The short form; ``bench/faults/kill.py`` is the long one.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import unittest

from .. import servers

#: Seconds that a round may take where nothing else runs; many times what it takes.
LIMIT = 240


def play(*words):
    """Play one round in a process of its own; return its report.

    A round forks, so it must not have the threads of other tests.
    """
    process = subprocess.Popen(
        [sys.executable, '-m', 'zc.async.tests.faults.killloop',
         '--time-limit', str(LIMIT), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env=dict(
            os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))))
    try:
        printed, errors = process.communicate(timeout=LIMIT + 60)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        return json.loads(printed)
    except ValueError:
        raise AssertionError(f'no report, but:\n{printed}\n{errors}') from None


class KillLoop(unittest.TestCase):
    """Fifteen workers are killed; ZEO's server four times, PostgreSQL's connections."""

    def check(self, report, **strikes):
        self.assertEqual(report['problems'], {}, json.dumps(report, indent=1))
        for name, count in strikes.items():
            self.assertEqual(report['strikes'].get(name), count, report['strikes'])
        figures = report['figures']
        self.assertGreaterEqual(figures['jobs'], report['settings']['jobs'])
        # it was no easy life
        self.assertGreater(report['strikes']['kill at work'], 0)
        self.assertGreater(figures['interrupted'], 0)

    def test_workers_and_a_zeo_server(self):
        report = play('--kills', 15, '--server-kills', 4, '--jobs', 400)
        self.check(report, kill=15, after=2, before=2)
        self.assertEqual(
            report['figures']['lost answers']
            + report['strikes'].get('server killed between commits', 0) >= 2, True)


class OnPostgreSQL(KillLoop):

    layer = servers.PostgreSQL
    test_workers_and_a_zeo_server = None

    def test_workers_and_connections(self):
        if self.layer.missing:
            self.skipTest(self.layer.missing)
        name = f'kill_{os.getpid()}'
        uri = self.layer.database(name)
        report = play(
            '--storage', 'postgresql', '--uri', uri, '--dsn', self.layer.dsn(name),
            '--kills', 12, '--server-kills', 6, '--jobs', 300, '--size', 6)
        self.check(report, kill=12, terminate=6)


class Alone(unittest.TestCase):
    """Nothing is left of a round whose process is gone."""

    def test_actors_end_with_their_stage(self):
        with servers.folder() as folder:
            loop = servers.Process(
                [sys.executable, '-m', 'zc.async.tests.faults.killloop', '--kills', '0',
                 '--jobs', '1000000', '--folder', folder], folder, 'loop')
            try:
                logs = servers.wait_until(
                    lambda: self.workers(folder), 'the workers run')
                loop.send(signal.SIGKILL)
                servers.wait_until(
                    lambda: not any(map(_is_held, logs)), 'all of them are gone')
            finally:
                loop.end()

    def workers(self, folder):
        locks = [os.path.join(folder, name) for name in os.listdir(folder)
                 if name.endswith('.uuid.lock')]
        return locks if len(locks) == 3 else None


def _is_held(path):
    """Return whether a living process holds the lock *path*."""
    import zc.lockfile
    try:
        zc.lockfile.LockFile(path).close()
    except zc.lockfile.LockError:
        return True
    return False
