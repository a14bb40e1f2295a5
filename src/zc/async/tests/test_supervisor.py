"""The supervisor of ``zc-async worker --processes``, with real processes."""
import contextlib
import os
import re
import signal
import socket
import sys
import textwrap
import unittest
import uuid

from . import servers
from ..interfaces import KEY
from ..ops import supervisor

#: A supervisor whose children write down what happens to them.
_PROGRAM = textwrap.dedent('''
    import logging, os, signal, sys, time
    from zc.async_.ops import notify
    from zc.async_.ops.supervisor import Supervisor

    def note(number, text):
        with open(f'{number}.txt', 'a') as file:
            file.write(f'{text}\\n')

    class Child:
        def __init__(self, number, tell):
            self.number, self.tell, self.stops = number, tell, 0
            for name in ('SIGTERM', 'SIGINT', 'SIGUSR1'):
                signal.signal(getattr(signal, name), self.signalled)

        def signalled(self, number, frame):
            note(self.number, signal.Signals(number).name)
            self.stops += number != signal.SIGUSR1
            if self.stops == STOPS:
                raise SystemExit(0)

        def work(self):
            note(self.number, os.getpid())
            self.tell('READY=1')
            while True:
                DO
                self.tell('WATCHDOG=1')

    logging.basicConfig(level='INFO', format='%(message)s')
    sys.exit(Supervisor(
        COUNT, lambda number, tell: Child(number, tell).work(), DELAY,
        notify.notifier(os.environ), None, SILENCE).run())
''')


class Supervised(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(servers.folder())

    def start(self, count=2, do='time.sleep(0.05)', stops=1, delay=0.05, silence=60,
              environ=None):
        program = _PROGRAM
        for name, value in (('STOPS', stops), ('COUNT', count), ('DELAY', delay),
                            ('SILENCE', silence), ('DO', do)):
            program = re.sub(rf'\b{name}\b', str(value), program)
        found = servers.Process([sys.executable, '-c', program], self.folder,
                                'supervisor', environ)
        self.addCleanup(found.end)
        self.addCleanup(self.kill_children)
        return found

    def kill_children(self):
        for number in range(1, 5):
            for pid in self.pids(number):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def notes(self, number):
        """Return what the child *number* noted."""
        try:
            with open(os.path.join(self.folder, f'{number}.txt')) as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def pids(self, number):
        return [int(note) for note in self.notes(number) if note.isdigit()]

    def wait_for_pids(self, number, count):
        servers.wait_until(lambda: len(self.pids(number)) >= count,
                           f'child {number} is started {count} times')
        return self.pids(number)


class Restarts(Supervised):

    def test_a_child_that_was_killed_is_replaced_and_the_others_are_not(self):
        running = self.start(3)
        for number in (1, 2, 3):
            self.wait_for_pids(number, 1)
        os.kill(self.pids(2)[0], signal.SIGKILL)
        first, second = self.wait_for_pids(2, 2)
        self.assertNotEqual(first, second)
        self.assertIn(f'process 2 (pid {first}) ended with -9', running.said())
        self.assertEqual([len(self.pids(number)) for number in (1, 3)], [1, 1])

    def test_later_and_later_while_it_dies_soon(self):
        running = self.start(1, do='os._exit(7)')
        # the sixth is there once it was said how the fifth has ended
        self.wait_for_pids(1, 6)
        waits = [float(found) for found in re.findall(
            r'ended with 7; it is replaced in ([\d.]+) s', running.said())]
        for number, wait in enumerate(waits):
            self.assertGreaterEqual(wait, round(0.05 * 2 ** number / 2, 1) - 0.05)
            self.assertLessEqual(wait, round(0.05 * 2 ** number, 1) + 0.05)
        self.assertGreater(waits[4], waits[1])

    def test_there_is_one_child_of_a_number_at_a_time(self):
        running = self.start(2)
        for number in (1, 2):
            for count in range(1, 4):
                pids = self.wait_for_pids(number, count)
                alive = [pid for pid in pids if _is_alive(pid)]
                self.assertEqual(alive, pids[-1:])
                os.kill(pids[-1], signal.SIGKILL)
        self.assertTrue(running.running)

    def test_a_silent_child_is_killed_and_replaced(self):
        running = self.start(1, do='time.sleep(1000)', silence=0.3)
        self.wait_for_pids(1, 2)
        self.assertIn('is silent', running.said())

    def test_a_child_that_refuses_is_not_started_again(self):
        running = self.start(2, do='os._exit(2) if self.number == 2 else time.sleep(0.05)')
        self.assertEqual(running.wait(), supervisor.SENSELESS)
        self.assertEqual(len(self.pids(2)), 1)
        self.assertIn('refused to work', running.said())


class Signals(Supervised):

    def test_each_child_is_stopped(self):
        running = self.start(3)
        for number in (1, 2, 3):
            self.wait_for_pids(number, 1)
        running.send(signal.SIGTERM)
        self.assertEqual(running.wait(), 0)
        for number in (1, 2, 3):
            self.assertEqual(self.notes(number)[1:], ['SIGTERM'])
            self.assertFalse(_is_alive(self.pids(number)[0]))

    def test_a_second_signal_is_passed_on_too(self):
        running = self.start(2, stops=2)
        for number in (1, 2):
            self.wait_for_pids(number, 1)
        running.send(signal.SIGTERM)
        for number in (1, 2):
            servers.wait_until(lambda: 'SIGTERM' in self.notes(number), 'the first signal')
        running.send(signal.SIGINT)
        self.assertEqual(running.wait(), 0)
        for number in (1, 2):
            self.assertEqual(self.notes(number)[1:], ['SIGTERM', 'SIGINT'])

    def test_other_signals_stop_nothing(self):
        running = self.start(2)
        for number in (1, 2):
            self.wait_for_pids(number, 1)
        running.send(signal.SIGUSR1)
        for number in (1, 2):
            servers.wait_until(lambda: 'SIGUSR1' in self.notes(number), 'the signal')
        self.assertTrue(running.running)

    def test_children_get_what_the_terminal_sends_once(self):
        self.start(1)
        [pid] = self.wait_for_pids(1, 1)
        self.assertEqual(os.getpgid(pid), pid)

    def test_none_is_started_while_stopping(self):
        running = self.start(2, stops=2)
        pids = [self.wait_for_pids(number, 1)[0] for number in (1, 2)]
        running.send(signal.SIGTERM)
        servers.wait_until(lambda: 'SIGTERM' in self.notes(1), 'the signal')
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(running.wait(), 0)
        self.assertEqual([self.pids(1), self.pids(2)], [pids[:1], pids[1:]])


class Telling(Supervised):

    def test_it_is_ready_when_all_are(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
            heard.bind(f'{self.folder}/notify')
            heard.settimeout(servers.PATIENCE)
            running = self.start(2, environ={'NOTIFY_SOCKET': f'{self.folder}/notify'})
            states = ''
            while 'READY=1' not in states:
                states += heard.recv(1000).decode() + '\n'
            self.assertIn('2 of 2 processes work', states)
            self.assertEqual([len(self.pids(1)), len(self.pids(2))], [1, 1])
            running.send(signal.SIGTERM)
            while 'STOPPING=1' not in states:
                states += heard.recv(1000).decode() + '\n'
            self.assertEqual(states.count('READY=1'), 1)

    def test_children_whose_supervisor_is_gone_stop(self):
        running = self.start(2)
        pids = [self.wait_for_pids(number, 1)[0] for number in (1, 2)]
        running.send(signal.SIGKILL)
        for number, pid in enumerate(pids, 1):
            servers.wait_until(lambda: not _is_alive(pid), 'the child is gone')
            self.assertEqual(self.notes(number)[1:], ['SIGTERM'])


class Workers(Supervised):
    """The command itself, over a database."""

    def test_each_process_is_a_dispatcher_of_its_own_and_stays_the_same(self):
        uri = f'sqlite://{self.folder}/db'
        running = servers.worker(
            uri, '--install', '--processes', '2', '--uuid-file', 'uuid.txt',
            '--poll-interval', '0.1', '--ping-interval', '0.2', '--death-interval', '1',
            '--restart-delay', '0.05', folder=self.folder)
        self.addCleanup(running.end)
        with servers.opened(uri) as db:
            first = servers.wait_until(lambda: self.active(db, 2), 'two dispatchers work')
            self.assertEqual(set(first), {self.uuid(1), self.uuid(2)})
            [pid, *_others] = self.started(running, 1)
            os.kill(pid, signal.SIGKILL)
            servers.wait_until(lambda: len(self.started(running, 1)) == 2, 'a new process')
            again = servers.wait_until(
                lambda: self.newer(db, first, self.uuid(1)), 'it works again')
            self.assertEqual(set(again), set(first))
            self.assertEqual(again[self.uuid(2)], first[self.uuid(2)])
        running.send(signal.SIGTERM)
        self.assertEqual(running.wait(), 0, running.said())
        self.assertNotIn('Traceback', running.said())

    def active(self, db, count):
        """Return since when each dispatcher is active, if *count* are."""
        def question(root):
            return {UUID: agents.activated
                    for UUID, agents in root[KEY][''].dispatchers.items()
                    if agents.activated is not None} if KEY in root else {}

        found = servers.look(db, question)
        return found if len(found) == count else None

    def newer(self, db, before, UUID):
        found = self.active(db, len(before))
        return found if found and found[UUID] > before[UUID] else None

    def uuid(self, number):
        with open(os.path.join(self.folder, f'uuid-{number}.txt')) as file:
            return uuid.UUID(file.readline().strip())

    def started(self, running, number):
        return [int(pid) for pid in re.findall(
            rf'process {number} has pid (\d+)', running.said())]


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    return True
