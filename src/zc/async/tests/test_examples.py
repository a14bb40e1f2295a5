"""The examples' servers, as their README starts them: real ones, driven over HTTP.

Slow, and needs the package index: at level 2, so ``bin/test --at-level 2``.  Each
example has an environment of its own in var/examples, made at the first run.
"""
import base64
import concurrent.futures
import contextlib
import functools
import html
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
import urllib.error
import urllib.parse
import urllib.request

from . import servers
from .checkout import ROOT, needs_checkout, run
from .servers import wait_until

EXAMPLES = ROOT / 'examples'
SCRIPT = EXAMPLES / 'serve.py'
NAMES = ('ztk', 'zope', 'pyramid')


@functools.cache
def prepare(name):
    """Make the environment of example *name*, once; return its Python."""
    return run(sys.executable, SCRIPT, name, '--prepare', cwd=ROOT,
               timeout=600).splitlines()[-1]


class Server:
    """The server of example *name*, with its data in *folder*.

    *words* are what ``serve.py`` is told besides.
    """

    path = '/'
    authorization = None

    def __init__(self, name, folder, *words):
        self.name = name
        self.folder = folder
        self.words = words
        self.process = None

    def start(self):
        """Start it as the README says, and wait until it can be visited."""
        self.port = servers.free_port()
        self.process = servers.Process(
            [sys.executable, SCRIPT, self.name, '--port', self.port, '--instance',
             f'{self.folder}/instance', *self.words], self.folder, 'server')
        ready = f'http://127.0.0.1:{self.port}'
        wait_until(lambda: ready in self.process.said() or not self.process.running,
                   f'{self.name} says where it is')
        if not self.process.running:
            raise AssertionError(f'{self.name} ended:\n{self.process.said()}')

    def stop(self, number):
        """Send it a signal; return its exit status."""
        self.process.send(number)
        status = self.process.wait()
        self.process.end()
        self.process = None
        return status

    def end(self):
        """Stop it if it runs."""
        if self.process is not None:
            self.process.end()

    def wait(self, condition, what):
        """Return the first true value of ``condition()``, or fail with *what*."""
        try:
            return wait_until(condition, what)
        except AssertionError as error:
            raise AssertionError(f'{error}\n{self.process.said()}') from None

    # What a browser does

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}{self.path}'

    def open(self, query='', form=None):
        """Return the URL and the text of a page; one that *form* was sent to."""
        url = urllib.parse.urljoin(self.url, query) if query else self.url
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(url, data)
        if self.authorization:
            request.add_header('Authorization', self.authorization)
        try:
            with urllib.request.urlopen(request, timeout=servers.PATIENCE) as response:
                return response.geturl(), response.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f'{error}\n{self.process.said()}') from error

    def put(self, text, **more):
        """Send the form; return the number of the report."""
        url, _text = self.open(form={'text': text, 'count': '', **more})
        return urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)['report'][0]

    def release(self, number):
        """Press the button of report *number*."""
        self.open(f'?report={number}', {'release': number})

    def see(self, number, what='', query='?report={}'):
        """Return the text of the element with id *what* of a report's page."""
        _url, text = self.open(query.format(number))
        found = re.search(rf'id="{what}">(.*?)</(?:b|div|span)>', text, re.S)
        return found and html.unescape(re.sub(r'<[^>]+>', ' ', found[1])).split()

    def result(self, number):
        """Wait for the words of the result of report *number*, and return them."""
        return self.wait(lambda: self.see(number, 'result'),
                         f'report {number} of {self.name} is complete')

    def wait_for_start(self, number, times='1'):
        """Wait until report *number* has been begun so often."""
        self.wait(lambda: self.see(number, 'begun') == [times],
                  f'report {number} of {self.name} is begun the {times}. time')

    def counted(self):
        """Return how many words were counted."""
        return int(self.see('', 'counted', '?')[0])


class Case(unittest.TestCase):
    """A new server for each test."""

    level = 2
    name = None
    make = Server

    def setUp(self):
        prepare(self.name)
        folder = tempfile.mkdtemp(prefix='zc.async-example-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.server = self.make(self.name, folder)
        self.addCleanup(self.server.end)
        self.server.start()


class Promises:
    """What each example shows."""

    def test_a_browser_has_work_done(self):
        server = self.server
        self.assertEqual(server.counted(), 0)
        number = server.put('To be <or> not to be')
        self.assertEqual(server.result(number)[:4], ['to', '2', 'be', '2'])
        self.assertEqual(server.see(number, 'status'), ['completed'])
        self.assertEqual(server.counted(), 6)
        _url, overview = server.open()
        self.assertIn(f'?report={number}', overview)

    def test_a_page_loads_itself_again_until_the_report_is_complete(self):
        server = self.server
        number = server.put('wait a bit', wait='on')
        self.assertIn('http-equiv="refresh"', server.open(f'?report={number}')[1])
        server.wait_for_start(number)
        server.release(number)
        server.result(number)
        self.assertNotIn('http-equiv="refresh"', server.open(f'?report={number}')[1])

    def test_what_a_browser_invents_is_harmless(self):
        for query in ('?report=7', '?report=x', '?report=-1', '?report=', '?y=<b>'):
            with self.subTest(query):
                self.assertIn('name="text"', self.server.open(query)[1])
        self.server.release('7')
        number = self.server.put('<script>')
        self.assertEqual(self.server.result(number)[:2], ['script', '1'])

    def test_requests_at_once_lose_nothing(self):
        server = self.server
        server.result(server.put('one'))
        # more at once might exceed what the hosts do again at conflicts
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            numbers = set(pool.map(server.put, ['two two'] * 3))
        self.assertEqual(numbers, {'2', '3', '4'})
        for number in numbers:
            server.result(number)
        self.assertEqual(server.counted(), 7)

    def test_a_server_that_is_killed_in_mid_job_leaves_it_to_the_next(self):
        self.check_restart(signal.SIGKILL, -signal.SIGKILL)

    def test_a_server_that_is_terminated_in_mid_job_hands_it_to_the_next(self):
        self.check_restart(signal.SIGTERM, 0)

    def test_control_c_stops_it(self):
        self.server.result(self.server.put('one'))
        server, said = self.server, self.server.process.said
        self.assertEqual(server.stop(signal.SIGINT), 0)
        self.assertEqual(said().splitlines()[-1], 'stopped')
        self.assertNotIn('Traceback', said())
        with self.assertRaises(OSError):
            socket.create_connection(('127.0.0.1', server.port)).close()

    def check_restart(self, number, status):
        """End the server by a signal while it works; the next one ends the work."""
        server = self.server
        before = server.put('one')
        server.result(before)
        report = server.put('two three', wait='on')
        server.wait_for_start(report)
        self.assertEqual(server.stop(number), status)
        server.start()
        server.wait_for_start(report, times='2')
        self.assertEqual(server.see(report, 'status'), ['active'])
        self.assertEqual(server.counted(), 1)
        server.release(report)
        self.assertEqual(server.result(report)[:4], ['two', '1', 'three', '1'])
        self.assertEqual(server.see(report, 'begun'), ['2'])
        # the call began twice, and what it did was done once
        self.assertEqual(server.counted(), 3)
        self.assertEqual(server.see(before, 'begun'), ['1'])


@needs_checkout
class ZopeToolkit(Promises, Case):
    """A site of the Zope Toolkit."""

    name = 'ztk'


class ZopeServer(Server):
    """The server of the instance of Zope, and its manager's browser."""

    path = '/wordcount'

    def start(self):
        super().start()
        # said when the instance was made; the log has all that was said since
        word = re.search(r'password (\S+)', self.process.said())[1]
        credentials = base64.b64encode(f'admin:{word}'.encode()).decode()
        self.authorization = f'Basic {credentials}'


@needs_checkout
class Zope(Promises, Case):
    """Zope, the application server."""

    name = 'zope'
    make = ZopeServer

    def test_a_job_runs_for_who_has_put_it(self):
        server = self.server
        mine = server.put('mine')
        server.authorization = None
        anybodys = server.put('anybodys')
        for number, user in (mine, 'admin'), (anybodys, 'Anonymous User'):
            self.assertIn(
                f'counted for {user} in http://127.0.0.1:{server.port}/library',
                ' '.join(server.result(number)))


@needs_checkout
class Pyramid(Promises, Case):
    """Pyramid, with a connection of each request's own."""

    name = 'pyramid'


@needs_checkout
class PyramidOnPostgreSQL(unittest.TestCase):
    """Pyramid puts jobs, and worker processes do them, as the README says."""

    level = 2
    layer = servers.PostgreSQL

    def setUp(self):
        if self.layer.missing:
            self.skipTest(self.layer.missing)
        self.python = prepare('pyramid')
        self.folder = self.enterContext(servers.folder())
        name = f'example_{os.path.basename(self.folder)[-8:]}'.lower()
        self.uri = self.layer.database(name)
        self.dsn = self.layer.dsn(name)

    def serve(self, database):
        """Start the web process; return it."""
        server = Server('pyramid', self.folder, '--database', database)
        server.path = '/tallies'
        self.addCleanup(server.end)
        server.start()
        return server

    def work(self, number):
        """Start the worker that has UUID file *number*."""
        code = os.pathsep.join(str(EXAMPLES / name) for name in ('common', 'pyramid'))
        found = servers.Process(
            [self.python, '-m', 'zc.async', 'worker', self.uri, '--uuid-file',
             f'{self.folder}/uuid-{number}.txt', '--poll-interval', '0.2',
             '--ping-interval', '0.5', '--death-interval', '5'],
            self.folder, f'worker-{number}', {'PYTHONPATH': code})
        self.addCleanup(found.end)
        return found

    def put(self, server, requests, jobs):
        """Put so many jobs in so many requests, several of them at once."""
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _number: server.open(form={'jobs': jobs}),
                          range(requests)))

    def numbers(self, server):
        """Return what the page says, by what it is."""
        text = server.open()[1]
        return {what: int(number) for what, number in
                re.findall(r'<span id="(\w+)">(\d+)</span>', text)}

    def by_process(self, server):
        """Return how many jobs each process has done, by its number."""
        pairs = server.see('', 'processes', '')
        return {int(pid): int(jobs) for pid, jobs in (each.split(':') for each in pairs)}

    def has_done(self, server, worker):
        """Return whether *worker* has done a job; if not, put more for it."""
        if worker.pid in self.by_process(server):
            return True
        self.put(server, 1, 3)
        return False

    def wait_for(self, server, what, number):
        """Wait until the page says that many of *what*."""
        server.wait(lambda: self.numbers(server)[what] >= number,
                    f'{what} is {number}')

    def test_1000_jobs_are_done_once_though_a_worker_is_killed_and_restarted(self):
        server = self.serve(self.uri)
        steady, killed = workers = [self.work(number) for number in (1, 2)]
        try:
            self.check(server, steady, killed, workers)
        except AssertionError as error:
            raise AssertionError('\n'.join(
                [str(error), *(worker.said() for worker in workers)])) from error
        self.assertEqual(server.stop(signal.SIGTERM), 0)

    def check(self, server, steady, killed, workers):
        for worker in steady, killed:
            server.wait(lambda: self.has_done(server, worker), 'both work')
        before = self.numbers(server)['put']
        total = before + 1000
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            puts = pool.submit(self.put, server, 100, 10)
            self.wait_for(server, 'completed', before + 300)
            killed.send(signal.SIGKILL)
            self.assertEqual(killed.wait(), -signal.SIGKILL)
            self.assertLess(self.numbers(server)['completed'], total)
            restarted = self.work(2)
            workers.append(restarted)
            puts.result()
        self.wait_for(server, 'completed', total)
        self.assertEqual(self.numbers(server), {
            'put': total, 'completed': total, 'failed': 0, 'once': total, 'never': 0,
            'more': 0})
        self.assertLessEqual(self.by_process(server).keys(),
                             {worker.pid for worker in workers})
        server.wait(lambda: self.has_done(server, restarted), 'it works again')
        for worker in (steady, restarted):
            worker.send(signal.SIGTERM)
            self.assertEqual(worker.wait(), 0)

    def test_the_configuration_file_of_the_workers(self):
        path = EXAMPLES / 'deploy' / 'relstorage-postgresql.conf'
        with unittest.mock.patch.dict(os.environ, {'POSTGRESQL_DSN': self.dsn}):
            server = self.serve(path)
        self.put(server, 1, 3)
        self.work(1)
        self.wait_for(server, 'once', 3)
        # what a browser invents puts one job
        for jobs in ('', '-1', 'x', '12345'):
            self.put(server, 1, jobs)
        self.assertEqual(self.numbers(server)['put'], 7)


@needs_checkout
class WithZope(unittest.TestCase):
    """The tests that need Zope, which the development environment has not."""

    level = 2

    def test_jobs_of_zope(self):
        environ = {name: value for name, value in os.environ.items()
                   if name != 'PYTHONPATH'}
        with servers.folder() as folder:
            said = run(prepare('zope'), '-m', 'unittest', 'zc.async.tests.test_zope_job',
                       cwd=folder, env=environ, timeout=300)
        self.assertRegex(said, r'Ran \d{2,} tests in .*\n\nOK\n$')  # none skipped


# In a browser

#: Without what a browser does on its own account.
SWITCHES = (
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage')


class Driver:
    """A headless Chromium, driven through the calls of WebDriver."""

    def __init__(self, folder, chromium, chromedriver):
        self.port = servers.free_port()
        self.session = ''
        self.process = servers.Process(
            [chromedriver, f'--port={self.port}'], folder, 'chromedriver')
        wait_until(self._ready, 'chromedriver answers')
        options = {'binary': chromium,
                   'args': [*SWITCHES, f'--user-data-dir={folder}/browser']}
        found = self.call('', capabilities={
            'alwaysMatch': {'goog:chromeOptions': options}})
        self.session = '/' + found['sessionId']

    def _ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            url = f'http://127.0.0.1:{self.port}/status'
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)['value']['ready']
        return False

    def call(self, command, method='POST', **words):
        """Return the value of a command of the session."""
        request = urllib.request.Request(
            f'http://127.0.0.1:{self.port}/session{self.session}{command}',
            json.dumps(words).encode() if method == 'POST' else None,
            {'Content-Type': 'application/json'}, method=method)
        with urllib.request.urlopen(request, timeout=servers.PATIENCE) as answer:
            return json.load(answer)['value']

    def end(self):
        """Close the browser, and end the driver."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.call('', 'DELETE')
        self.process.end()

    def visit(self, url):
        self.call('/url', url=url)

    def find(self, selector):
        """Return the path of the element that a CSS *selector* finds."""
        [(_kind, found)] = self.call(
            '/element', using='css selector', value=selector).items()
        return f'/element/{found}'

    def type(self, selector, text):
        self.call(self.find(selector) + '/value', text=text)

    def click(self, selector):
        self.call(self.find(selector) + '/click')

    def text(self, selector):
        """Return an element's text; None while there is none, or a page comes."""
        try:
            return self.call(self.find(selector) + '/text', 'GET')
        except urllib.error.HTTPError as error:
            error.close()
            return None


def browser_or_skip():
    """Return the paths of Chromium and its driver, or skip the test."""
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    chromedriver = shutil.which('chromedriver')
    if not (chromium and chromedriver):
        raise unittest.SkipTest(
            'needs a browser (on Debian: apt install chromium chromium-driver)')
    return chromium, chromedriver


@needs_checkout
class Browser(Case):
    """Somebody with a browser, and without JavaScript of ours."""

    name = 'ztk'

    def setUp(self):
        paths = browser_or_skip()
        super().setUp()
        self.driver = Driver(self.server.folder, *paths)
        self.addCleanup(self.driver.end)

    def test_the_result_comes_without_anybody_asking(self):
        driver = self.driver
        driver.visit(self.server.url)
        self.assertEqual(driver.text('h1'), 'Word count')
        driver.type('textarea', 'to be or not to be')
        driver.click('input[name=wait]')
        driver.click('button[name=count]')
        wait_until(lambda: driver.text('#begun') == '1', 'the browser sees the start')
        self.assertEqual(driver.text('#status'), 'active')
        self.server.release('1')
        table = wait_until(lambda: driver.text('#result'), 'the browser sees the result')
        self.assertEqual(table.split()[:4], ['to', '2', 'be', '2'])
        self.assertEqual(driver.text('#status'), 'completed')
        driver.click('p a')
        self.assertEqual(driver.text('#counted'), '6')

    def test_a_button_releases_what_waits(self):
        driver = self.driver
        driver.visit(self.server.url)
        driver.type('textarea', 'word')
        driver.click('input[name=wait]')
        driver.click('button[name=count]')
        # the page may be loaded again between finding the button and pressing it
        wait_until(self.press_release, 'the browser releases the report')
        wait_until(lambda: driver.text('#status') == 'completed', 'it is complete')

    def press_release(self):
        try:
            self.driver.click('button[name=release]')
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True


# What can be seen without a server

def pins(path, pattern):
    """Return the versions that a file pins, by normalized name."""
    return {re.sub(r'[-_.]+', '-', name).lower(): version for name, version
            in re.findall(pattern, path.read_text(encoding='utf-8'), re.M)}


@needs_checkout
class Requirements(unittest.TestCase):
    """What an example installs."""

    def test_versions_are_those_of_the_development_environment(self):
        ours = pins(ROOT / 'versions.cfg', r'^([\w.-]+) = (\S+)$')
        # Pyramid needs pkg_resources, which newer ones have not
        excepted = {'pyramid': {'setuptools'}}
        for name in NAMES:
            found = pins(EXAMPLES / name / 'requirements.txt', r'^([\w.-]+)==(\S+)$')
            both = found.keys() & ours.keys() - excepted.get(name, set())
            with self.subTest(name):
                self.assertGreater(len(both), 20)
                self.assertEqual({each: found[each] for each in both},
                                 {each: ours[each] for each in both})

    def test_all_is_pinned(self):
        for name in NAMES:
            path = EXAMPLES / name / 'requirements.txt'
            for line in path.read_text(encoding='utf-8').splitlines():
                with self.subTest(name, line=line):
                    self.assertRegex(line, r'^([\w.-]+==[\w.]+|#.*|)$')


@needs_checkout
class Readme(unittest.TestCase):
    """What the README of an example says."""

    def test_one_command_starts_the_server(self):
        for name in NAMES:
            text = (EXAMPLES / name / 'README.rst').read_text(encoding='utf-8')
            text = text.partition('\nOn PostgreSQL')[0]
            with self.subTest(name):
                self.assertEqual(re.findall(r'^    (python.*)$', text, re.M),
                                 [f'python3 {SCRIPT.relative_to(ROOT)} {name}'])

    def test_what_it_names_is_there(self):
        for name in NAMES:
            text = (EXAMPLES / name / 'README.rst').read_text(encoding='utf-8')
            for listed in re.findall(r'^``.*``$', text, re.M):
                for file in re.findall(r'``(.+?)``', listed):
                    with self.subTest(name, file=file):
                        self.assertTrue((EXAMPLES / name / file).exists())


@needs_checkout
class Refusals(unittest.TestCase):
    """``serve.py`` says in one line what it cannot do."""

    level = 2

    def test_a_port_that_somebody_has(self):
        prepare('pyramid')
        with socket.create_server(('127.0.0.1', 0)) as held, servers.folder() as folder:
            port = held.getsockname()[1]
            done = subprocess.run(
                [sys.executable, SCRIPT, 'pyramid', '--port', str(port), '--instance',
                 f'{folder}/instance'], stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=servers.PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf'^serve\.py: port {port} cannot be had .*\n$')

    def test_a_database_for_an_example_that_has_its_own(self):
        done = subprocess.run(
            [sys.executable, SCRIPT, 'ztk', '--database', 'site.conf'],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=servers.PATIENCE)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r'--database is for pyramid, not for ztk\n$')
