"""``zc-async worker``: what it is told, what it checks, and what it refuses."""
import argparse
import configparser
import contextlib
import io
import json
import logging
import os
import re
import shlex
import signal
import socket
import unittest
from unittest import mock
import uuid

from ZODB.Connection import Connection

from . import servers
from .. import cli
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..ops import databases
from ..ops import logs
from ..ops import notify
from ..ops import options
from ..ops import worker
from ..ops.options import Refused
from ..queue import Queue
from ..queue import Queues
from .checkout import needs_checkout
from .checkout import ROOT


def settle(*words, **environ):
    """Return the settings of these words and variables, or raise Refused."""
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return options.settle(parser.parse_args(words), environ)


class Options(unittest.TestCase):

    def refused(self, *words, **environ):
        with self.assertRaises(Refused) as caught:
            settle(*words, **environ)
        text = str(caught.exception)
        self.assertNotIn('\n', text)
        self.assertEqual(caught.exception.status, 2)
        return text

    def test_the_defaults(self):
        found = settle('file:///x.fs')
        self.assertEqual(found.uri, 'file:///x.fs')
        self.assertIsNone(found.queues)
        self.assertEqual([str(agent) for agent in found.agents], ['main:3'])
        self.assertEqual(found.uuid_file, os.path.abspath('uuid.txt'))
        self.assertEqual((found.processes, found.poll_interval, found.grace), (0, 5, 20))
        self.assertEqual(found.log_level, logging.INFO)
        self.assertFalse(found.check or found.install)

    def test_each_option_is_taken_from_the_environment_too(self):
        said = settle(
            'file:///x.fs', '--queue', 'a', '--queue', '', '--agent', 'fast:2',
            '--agent', 'slow:1:zc.async.tests.servers.is_short', '--uuid-file', 'u.txt',
            '--processes', '3', '--poll-interval', '0.5', '--grace', '9',
            '--ping-interval', '1', '--death-interval', '4', '--restart-delay', '2',
            '--log-level', 'warning', '--log-file', 'l', '--check', '--install')
        found = settle(
            ZC_ASYNC_URI='file:///x.fs', ZC_ASYNC_QUEUE='a,',
            ZC_ASYNC_AGENT='fast:2 slow:1:zc.async.tests.servers.is_short',
            ZC_ASYNC_UUID='u.txt', ZC_ASYNC_PROCESSES='3', ZC_ASYNC_POLL_INTERVAL='0.5',
            ZC_ASYNC_GRACE='9', ZC_ASYNC_PING_INTERVAL='1', ZC_ASYNC_DEATH_INTERVAL='4',
            ZC_ASYNC_RESTART_DELAY='2', ZC_ASYNC_LOG_LEVEL='warning', ZC_ASYNC_LOG_FILE='l',
            ZC_ASYNC_CHECK='yes', ZC_ASYNC_INSTALL='1')
        self.assertEqual(found, said)
        self.assertEqual(found.queues, ('a', ''))
        self.assertIs(found.agents[1].filter, servers.is_short)

    def test_there_is_no_option_without_a_variable(self):
        parser = argparse.ArgumentParser()
        options.add_arguments(parser)
        text = parser.format_help()
        for option in options.OPTIONS:
            self.assertIn(f'[{option.key}]', text)

    def test_the_command_line_wins_over_the_environment(self):
        found = settle('--config', 'other.conf', '--grace', '1',
                       ZC_ASYNC_URI='file:///x.fs', ZC_ASYNC_GRACE='2')
        self.assertEqual((found.uri, found.config, found.grace), (None, 'other.conf', 1))

    def test_an_empty_variable_says_nothing(self):
        found = settle('file:///x.fs', ZC_ASYNC_GRACE='', ZC_ASYNC_QUEUE='')
        self.assertEqual((found.grace, found.queues), (20, None))

    def test_exactly_one_database(self):
        self.assertIn('no database was named', self.refused())
        self.assertIn('give one of them', self.refused('file:///x.fs', '--config', 'c'))

    def test_an_error_names_the_place_the_value_and_the_remedy(self):
        self.assertEqual(self.refused('file:///x.fs', '--grace', 'long'),
                         "--grace is 'long'; give seconds from 0 to 604800")
        self.assertEqual(self.refused(ZC_ASYNC_URI='x', ZC_ASYNC_GRACE='nan'),
                         "ZC_ASYNC_GRACE is 'nan'; give seconds from 0 to 604800")

    def test_values_that_make_no_sense(self):
        for words in (('--agent', 'main'), ('--agent', 'main:0'), ('--agent', ':3'),
                      ('--agent', 'main:1001'), ('--agent', 'a:1', '--agent', 'a:2'),
                      ('--agent', 'a:1:nowhere.to_be_found'), ('--agent', 'a:1:os.sep'),
                      ('--agent', 'a:1:nodot'), ('--processes', '-1'),
                      ('--processes', '257'), ('--processes', '1.5'),
                      ('--poll-interval', '0'), ('--grace', '-1'), ('--grace', 'inf'),
                      ('--log-level', 'loud'), ('--ping-interval', '30', '--death-interval', '9'),
                      ('--death-interval', '5', '--ping-interval', '1')):
            with self.subTest(words):
                self.refused('file:///x.fs', *words)
        self.refused(ZC_ASYNC_URI='file:///x.fs', ZC_ASYNC_INSTALL='perhaps')

    def test_each_process_has_a_uuid_file_of_its_own(self):
        found = settle('x:', '--uuid-file', '/var/lib/it/uuid.txt', '--processes', '2')
        self.assertEqual([found.as_process(number).uuid_file for number in (1, 2)],
                         ['/var/lib/it/uuid-1.txt', '/var/lib/it/uuid-2.txt'])


class Secrets(unittest.TestCase):

    def test_no_password_is_shown(self):
        for said, shown in (
                ('postgresql://me:s/cr@t@host:5/db', None),
                ('postgresql://me:secret@host:5/db', 'postgresql://me:***@host:5/db'),
                ('zeo://host:1?username=me&password=secret&wait=1',
                 'zeo://host:1?username=me&password=***&wait=1'),
                ('file:///a@b:c', 'file:///a@b:c'),
                ('zeo://localhost:9991', 'zeo://localhost:9991')):
            with self.subTest(said):
                found = databases.shown(said)
                self.assertNotIn('secret', found)
                if shown is not None:
                    self.assertEqual(found, shown)


class Sources(unittest.TestCase):
    """A database that is not there is refused in one line."""

    def setUp(self):
        self.folder = self.enterContext(servers.folder())

    def source(self, uri=None, config=None, install=False):
        words = ([uri] if uri else ['--config', config]) + ['--install'] * install
        return databases.Source(settle(*words))

    def refused(self, uri=None, config=None, install=False):
        with self.assertRaises(Refused) as caught:
            self.source(uri, config, install).open()
        text = str(caught.exception)
        self.assertNotIn('\n', text)
        self.assertLess(len(text), 600)
        return text

    def test_a_file_is_made_only_when_that_was_said(self):
        path = os.path.join(self.folder, 'Data.fs')
        self.assertIn(f'there is no database {path}', self.refused(f'file://{path}'))
        self.assertFalse(os.path.exists(path))
        self.source(f'file://{path}', install=True).open().close()
        self.source(f'file://{path}').open().close()

    def test_a_pack_that_was_broken_off_is_not_taken_for_a_new_database(self):
        path = os.path.join(self.folder, 'Data.fs')
        open(f'{path}.old', 'w').close()
        text = self.refused(f'file://{path}', install=True)
        self.assertIn('a pack was broken off', text)
        self.assertFalse(os.path.exists(path))

    def test_a_file_in_use(self):
        uri = f'file://{self.folder}/Data.fs'
        db = self.source(uri, install=True).open()
        self.addCleanup(db.close)
        self.assertIn('another process uses it', self.refused(uri))

    def test_a_database_that_another_makes_at_the_same_moment(self):
        uri = f'sqlite://{self.folder}/db'
        others = [self.source(uri, install=True)]
        add = Connection._add

        def add_second(connection, obj, oid):
            while others:  # between the look for the root and its commit
                others.pop().open().close()
            add(connection, obj, oid)

        with mock.patch.object(Connection, '_add', add_second):
            db = self.source(uri, install=True).open()
        self.addCleanup(db.close)
        self.assertEqual(others, [])
        with db.transaction() as connection:
            self.assertEqual(dict(connection.root()), {})

    def test_nobody_answers(self):
        port = servers.free_port()
        text = self.refused(f'zeo://127.0.0.1:{port}?wait_timeout=1')
        self.assertIn(f'cannot open zeo://127.0.0.1:{port}', text)
        text = self.refused(f'postgresql://me:secret@127.0.0.1:{port}/db')
        self.assertIn('Connection refused', text)
        self.assertNotIn('secret', text)

    def test_what_is_no_uri(self):
        for uri in ('Data.fs', 'oracel://x', 'postgresql://host/db',
                    'postgresql://me:x@host/db', 'file:///x.fs?nonsense=1'):
            with self.subTest(uri):
                self.refused(uri)

    def test_a_file_of_configuration(self):
        path = os.path.join(self.folder, 'worker.conf')
        self.assertIn('cannot read', self.refused(config=path))
        for text in ('<zodb>', '<zodb>\n<nonsense>\n</nonsense>\n</zodb>', ''):
            with open(path, 'w') as file:
                file.write(text)
            with self.subTest(text):
                self.assertIn('cannot read', self.refused(config=path))

    def test_a_configuration_opens_all_its_databases_or_none(self):
        path = os.path.join(self.folder, 'worker.conf')
        with open(path, 'w') as file:
            for name in ('main', 'other'):
                file.write(f'<zodb {name}>\n<filestorage>\npath {self.folder}/{name}.fs\n'
                           f'</filestorage>\n</zodb>\n')
        self.assertIn('there is no database', self.refused(config=path))
        db = self.source(config=path, install=True).open()
        self.assertEqual(sorted(db.databases), ['main', 'other'])
        other = db.databases['other']
        db.close()
        self.assertIn('another process uses it', self.refused(config=path))
        other.close()
        databases.close(self.source(config=path).open())
        databases.close(self.source(config=path).open())

    def test_the_files_of_a_configuration_are_found_in_what_wraps_them(self):
        path = os.path.join(self.folder, 'worker.conf')
        with open(path, 'w') as file:
            file.write('<zodb>\n<blobstorage>\nblob-dir blobs\n<filestorage>\npath x.fs\n'
                       '</filestorage>\n</blobstorage>\n</zodb>\n')
        self.assertEqual(self.source(config=path).files, [os.path.abspath('x.fs')])


class Log(unittest.TestCase):

    def format(self, message, *arguments):
        return logs.Formatter().format(logging.LogRecord(
            'zc.async.events', logging.ERROR, 'file', 1, message, arguments, None))

    def test_nothing_in_a_record_can_pass_for_another(self):
        found = self.format('%s', 'x\n2026-01-01 INFO forged\r\x1b[2J\x85\u2028y')
        self.assertEqual(len(found.splitlines()), 2)
        self.assertTrue(found.splitlines()[1].startswith('    '))
        self.assertNotIn('\x1b', found)
        self.assertIn('\\x85\\u2028', found)

    def test_a_record_has_an_end(self):
        self.assertLess(len(self.format('%s', 'x' * 1_000_000)), 11_000)


class Notify(unittest.TestCase):
    """What systemd is told, heard at a socket of our own."""

    def hear(self, address):
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(heard.close)
        heard.bind(address)
        heard.settimeout(servers.PATIENCE)
        return heard

    def test_states_arrive_in_one_datagram(self):
        for name, address in ((f'@zc.async-{os.getpid()}', f'\0zc.async-{os.getpid()}'),
                              (self.path(), None)):
            with self.subTest(name):
                heard = self.hear(address or name)
                environ = {'NOTIFY_SOCKET': name, 'OTHER': '1'}
                tell = notify.notifier(environ)
                self.assertEqual(environ, {'OTHER': '1'})
                tell(notify.READY, notify.status('all\nwell'))
                self.assertEqual(heard.recv(100), b'READY=1\nSTATUS=all well')

    def path(self):
        return os.path.join(self.enterContext(servers.folder()), 'notify')

    def test_nothing_is_said_where_nobody_wants_to_hear(self):
        notify.notifier({})(notify.READY)
        notify.notifier({'NOTIFY_SOCKET': 'nonsense'})(notify.READY)

    def test_a_service_manager_that_is_gone_stops_nothing(self):
        with self.assertLogs('zc.async.events', logging.WARNING):
            notify.notifier({'NOTIFY_SOCKET': self.path()})(notify.READY)

    def test_the_watchdog_is_told_twice_in_its_time(self):
        me = str(os.getpid())
        for environ, seconds in (
                ({'WATCHDOG_USEC': '30000000'}, 15), ({}, None), ({'WATCHDOG_USEC': 'x'}, None),
                ({'WATCHDOG_USEC': '2000000', 'WATCHDOG_PID': me}, 1),
                ({'WATCHDOG_USEC': '2000000', 'WATCHDOG_PID': '1' + me}, None)):
            with self.subTest(environ):
                self.assertEqual(notify.watchdog_interval(environ), seconds)
                self.assertEqual(environ, {})


class Agents(unittest.TestCase):
    """The agents of a dispatcher are those that the command names."""

    def setUp(self):
        self.queues = Queues()
        for name in ('', 'mail'):
            self.queues[name] = Queue()

    def activated(self, *words):
        """Return the agents in each queue after a start with *words*."""
        settings = settle('file:///x.fs', *words)
        found = {}
        for name, queue in self.queues.items():
            if 'me' not in queue.dispatchers:
                queue.dispatchers.register('me')
            agents = queue.dispatchers['me']
            worker.WantedAgents(settings)(argparse.Namespace(object=agents))
            found[name] = {agent.name: agent.size for agent in agents.values()}
        return found

    def test_each_queue_has_them(self):
        self.assertEqual(self.activated('--agent', 'a:2', '--agent', 'b:1'),
                         {'': {'a': 2, 'b': 1}, 'mail': {'a': 2, 'b': 1}})

    def test_other_queues_have_none(self):
        self.assertEqual(self.activated('--queue', 'mail'), {'': {}, 'mail': {'main': 3}})

    def test_the_next_start_may_say_otherwise(self):
        self.activated('--agent', 'main:5')
        self.assertEqual(self.activated('--agent', 'new:1', '--queue', 'mail'),
                         {'': {'main': 0}, 'mail': {'main': 0, 'new': 1}})
        self.assertEqual(self.activated(),
                         {'': {'main': 3}, 'mail': {'main': 3, 'new': 0}})

    def test_filters_come_and_go(self):
        self.activated('--agent', 'main:1:zc.async.tests.servers.is_short')
        [agent] = self.queues[''].dispatchers['me'].values()
        self.assertIs(agent.filter, servers.is_short)
        self.activated()
        self.assertIsNone(agent.filter)

    def test_how_long_silence_may_last_is_stored(self):
        self.activated('--ping-interval', '1.5', '--death-interval', '8')
        agents = self.queues[''].dispatchers['me']
        self.assertEqual(agents.ping_interval.total_seconds(), 1.5)
        self.assertEqual(agents.ping_death_interval.total_seconds(), 8)


class Check(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.uri = f'file://{self.folder}/Data.fs'

    def check(self, *words):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = cli.main(['worker', self.uri, '--check', '--uuid-file',
                               f'{self.folder}/uuid.txt', *words])
        return status, output.getvalue() + errors.getvalue()

    def make(self, *names):
        with servers.opened(self.uri) as db, db.transaction() as connection:
            queues = connection.root()[KEY] = Queues()
            for name in names:
                queues[name] = Queue()

    def test_it_says_what_would_be_done_and_changes_nothing(self):
        self.make('', 'mail')
        before = sorted(os.listdir(self.folder))
        status, said = self.check('--queue', 'mail', '--agent', 'main:4')
        self.assertEqual(status, 0, said)
        for text in (self.uri, "'mail', where 0 jobs wait", 'uuid.txt: would be made',
                     "main:4 in 'mail'", 'a poll every 5 s'):
            self.assertIn(text, said)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_what_is_missing_is_wrong_unless_it_is_to_be_made(self):
        status, said = self.check()
        self.assertEqual(status, 1)
        self.assertIn('wrong      there is no database', said)
        self.assertEqual(self.check('--install')[0], 0)
        self.assertEqual(os.listdir(self.folder), [])
        self.make('')
        status, said = self.check('--queue', 'mail')
        self.assertEqual(status, 1)
        self.assertIn("wrong      there is no queue 'mail'", said)
        self.assertEqual(self.check('--queue', 'mail', '--install')[0], 0)

    def test_a_uuid_file_without_a_uuid_is_wrong(self):
        self.make('')
        with open(f'{self.folder}/uuid.txt', 'w') as file:
            file.write('nonsense')
        status, said = self.check()
        self.assertEqual(status, 1)
        self.assertIn('is no UUID', said)

    def test_a_folder_that_is_missing_is_wrong(self):
        self.make('')
        status, said = self.check('--uuid-file', f'{self.folder}/no/uuid.txt',
                                  '--log-file', f'{self.folder}/no/log')
        self.assertEqual(status, 1)
        self.assertEqual(said.count('wrong '), 2)

    def test_several_processes_cannot_share_a_file(self):
        self.make('')
        status, said = self.check('--processes', '2')
        self.assertEqual(status, 2)
        self.assertIn('only one process can use the database', said)

    def test_what_makes_no_sense_is_said_in_one_line(self):
        status, said = self.check('--grace', 'x')
        self.assertEqual(status, 2)
        self.assertEqual(said.count('\n'), 1)
        self.assertTrue(said.startswith('zc-async worker: --grace is'))


class Foreground(unittest.TestCase):
    """The command, as a process of its own."""

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.uri = f'sqlite://{self.folder}/db'

    def start(self, *words, name='worker', environ=None):
        found = servers.worker(
            self.uri, '--install', '--poll-interval', '0.2', *words,
            folder=self.folder, name=name, environ=environ)
        self.addCleanup(found.end)
        return found

    def put(self, db, *call):
        """Put a job; return a function that returns its result, None before."""
        from functools import partial

        from ..job import Job
        servers.wait_until(lambda: servers.look(db, lambda root: KEY in root), 'queues')
        with db.transaction() as connection:
            job = connection.root()[KEY][''].put(Job(*call))
            connection.root()[f'job{len(connection.root())}'] = job
        oid = job._p_oid

        def result(root):
            found = root._p_jar.get(oid)
            return found.status is COMPLETED and found.result

        return partial(servers.look, db, result)

    def status(self, db, root_key='job1'):
        return servers.look(db, lambda root: root[root_key].status)

    def test_a_signal_lets_jobs_end(self):
        with servers.opened(self.uri) as db:
            running = self.start('--grace', '30')
            result = self.put(db, servers.linger, 1)
            servers.wait_until(lambda: 'active' in self.status(db), 'the job runs')
            running.send(signal.SIGTERM)
            self.assertEqual(running.wait(), 0, running.said())
            self.assertEqual(result(), running.pid)
            self.assertNotIn('Traceback', running.said())

    def test_jobs_that_do_not_end_within_the_grace_are_handed_back(self):
        with servers.opened(self.uri) as db:
            running = self.start('--grace', '0.1')
            self.put(db, servers.linger, 1000)
            servers.wait_until(lambda: 'active' in self.status(db), 'the job runs')
            running.send(signal.SIGINT)
            self.assertEqual(running.wait(), 0, running.said())
            self.assertIn('pending', self.status(db))
            self.assertIn('handed back', running.said())

    def test_a_second_signal_ends_at_once(self):
        with servers.opened(self.uri) as db:
            running = self.start('--grace', '1000')
            self.put(db, servers.linger, 1000)
            servers.wait_until(lambda: 'active' in self.status(db), 'the job runs')
            running.send(signal.SIGTERM)
            running.send(signal.SIGTERM)
            # signals of one number that wait are one: this is another
            with contextlib.suppress(ProcessLookupError):  # they were two, and enough
                running.send(signal.SIGINT)
            self.assertIn(running.wait() - 128, (signal.SIGTERM, signal.SIGINT))

    def test_no_two_living_processes_share_a_uuid_file(self):
        with servers.opened(self.uri) as db:
            running = self.start('--uuid-file', 'same.txt')
            result = self.put(db, os.getpid)
            servers.wait_until(result, 'the result')
            status, _output, errors = servers.run_worker(
                self.uri, '--uuid-file', 'same.txt', folder=self.folder)
            self.assertEqual(status, 1)
            self.assertRegex(errors, r'^zc-async worker: the UUID file .* living process')
            status, output, _errors = servers.run_worker(
                self.uri, '--uuid-file', 'same.txt', '--check', folder=self.folder)
            self.assertEqual(status, 1)
            self.assertIn('living process', output)
            running.send(signal.SIGKILL)
            self.assertEqual(running.wait(), -signal.SIGKILL)
            status, output, _errors = servers.run_worker(
                self.uri, '--uuid-file', 'same.txt', '--check', folder=self.folder)
            self.assertEqual(status, 0, output)

    def test_a_database_that_cannot_be_opened_is_one_line_and_status_1(self):
        port = servers.free_port()
        status, output, errors = servers.run_worker(
            f'zeo://127.0.0.1:{port}?wait_timeout=1', '--log-level', 'critical',
            folder=self.folder)
        self.assertEqual((status, output), (1, ''))
        self.assertRegex(errors, rf'^zc-async worker: cannot open zeo://127.0.0.1:{port}.*\n$')

    def test_everything_by_the_environment_and_systemd_hears_of_it(self):
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(heard.close)
        heard.bind(f'{self.folder}/notify')
        heard.settimeout(servers.PATIENCE)
        environ = {
            'ZC_ASYNC_URI': self.uri, 'ZC_ASYNC_INSTALL': '1', 'ZC_ASYNC_QUEUE': ',',
            'ZC_ASYNC_AGENT': 'main:2:zc.async.tests.servers.is_short',
            'ZC_ASYNC_UUID': f'{self.folder}/here.txt', 'ZC_ASYNC_LOG_FILE': 'worker.txt',
            'ZC_ASYNC_POLL_INTERVAL': '0.1', 'NOTIFY_SOCKET': f'{self.folder}/notify',
            'WATCHDOG_USEC': '400000'}
        running = servers.worker(folder=self.folder, environ=environ)
        self.addCleanup(running.end)
        states = b''
        while states.count(b'WATCHDOG=1') < 3:
            states += heard.recv(1000) + b'\n'
        self.assertEqual(states.count(b'READY=1'), 1)
        with servers.opened(self.uri) as db:
            self.put(db, servers.linger, 0)
            servers.wait_until(self.put(db, os.getpid), 'the result')
            self.assertIn('pending', self.status(db))  # the filter left it
        running.send(signal.SIGTERM)
        while b'STOPPING=1' not in states:
            states += heard.recv(1000) + b'\n'
        self.assertEqual(running.wait(), 0)
        with open(f'{self.folder}/here.txt') as file:
            uuid.UUID(file.readline().strip())
        with open(f'{self.folder}/worker.txt') as file:
            self.assertIn('works for queue', file.read())
        self.assertEqual(running.said(), '')




@needs_checkout
class Deployment(unittest.TestCase):
    """The files of the worked example say nothing that the worker does not know."""

    folder = ROOT / 'examples' / 'deploy'

    def read(self, name):
        return (self.folder / name).read_text(encoding='utf-8')

    def settle(self, environ):
        """Return the settings that the variables of *environ* ask for."""
        ours = {name: value for name, value in environ.items()
                if name.startswith(options.PREFIX)}
        known = {option.key for option in options.OPTIONS} | {'ZC_ASYNC_URI'}
        self.assertLessEqual(ours.keys(), known)
        return settle(**ours)

    def unit(self):
        found = configparser.ConfigParser(interpolation=None, strict=True)
        found.optionxform = str
        found.read_string(self.read('zc-async-worker.service'))
        return found['Service']

    def test_the_environment_file(self):
        lines = [line for line in self.read('worker.env').splitlines()
                 if line and not line.startswith('#')]
        environ = dict(line.split('=', 1) for line in lines)
        found = self.settle(environ)
        self.assertEqual((found.processes, found.install), (2, False))
        self.assertEqual(os.path.basename(found.config), 'worker.conf')
        for name in re.findall(r'\$\((\w+)\)', self.read('worker.conf')):
            self.assertIn(name, environ)
        unit = self.unit()
        self.assertLess(found.grace, int(unit['TimeoutStopSec']))
        self.assertTrue(found.uuid_file.startswith(unit['WorkingDirectory']))

    def test_the_unit(self):
        unit = self.unit()
        _program, *words = shlex.split(unit['ExecStart'])
        self.assertEqual(words, ['worker'])
        self.assertEqual((unit['Type'], unit['NotifyAccess'], unit['KillMode']),
                         ('notify', 'main', 'mixed'))
        self.assertGreater(int(unit['WatchdogSec']) / 2, worker.TICK)
        self.assertEqual(unit['RestartPreventExitStatus'], '2')
        self.assertEqual(os.path.basename(unit['EnvironmentFile']), 'worker.env')

    def test_the_container(self):
        lines = self.read('Containerfile').replace('\\\n', ' ').splitlines()
        said = dict(line.split(' ', 1) for line in lines
                    if line and not line.startswith('#'))
        self.assertEqual(json.loads(said['ENTRYPOINT']), ['zc-async', 'worker'])
        self.assertEqual(said['STOPSIGNAL'], 'SIGTERM')
        self.assertEqual(said['VOLUME'], said['WORKDIR'])
        [extras] = re.findall(r'zc\.async\[([\w,]+)\]', said['RUN'])
        for extra in extras.split(','):
            self.assertRegex((ROOT / 'setup.py').read_text(), rf"'{extra}': ")

    def test_the_composition(self):
        text = self.read('compose.yaml')
        pairs = re.findall(r'(?m)^      (\w+): "?(.*?)"?$', text)
        self.assertEqual(len(pairs), 8)
        environ = {name: re.sub(r'\$\{[^}]*\}', 'secret', value) for name, value in pairs}
        found = self.settle(environ)
        self.assertEqual((found.processes, found.install), (4, True))
        databases.Source(found)
        [seconds] = re.findall(r'stop_grace_period: (\d+)s', text)
        self.assertLess(found.grace, int(seconds))
        [folder] = re.findall(r'- worker:(\S+)', text)
        self.assertIn(f'VOLUME {folder}', self.read('Containerfile'))

    def test_every_file_is_described(self):
        for name in os.listdir(self.folder):
            if name != 'README.rst':
                self.assertIn(f'``{name}``', self.read('README.rst'))
