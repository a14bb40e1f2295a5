"""The demo, as it is run: processes of its own, killed ones among them."""
import contextlib
import io
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from unittest import mock

from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from .. import cli
from ..demo import folder as folders
from ..demo import jobs
from ..demo import screen
from ..demo import session
from ..demo.session import RUN
from ..interfaces import ACTIVE
from ..interfaces import KEY

#: Seconds that one process may take.  A dispatcher that waited until the one
#: before it counts as dead would need more.
LIMIT = 40
KILLS = 10

WORDS = ('alpha', 'Beta', 'GAMMA', 'größe', 'GRÖSSE', 'naïve', 'слово', 'СЛОВО',
         'λόγος', '日本語', 'don', 't', 'x', 'self', 'import')
BETWEEN = (' ', '\n', ', ', '_', '1', "'", ' -- ', '\t', '=')


def make_folder(where, rng, count=60):
    """Fill the folder *where*: *count* files of text and three that are none."""
    for number in range(count):
        path = where / f'part {number % 7}' / f'{number}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [f'{rng.choice(WORDS)}{rng.choice(BETWEEN)}'
                 for _word in range(rng.randrange(400))]
        path.write_text(''.join(words), encoding='utf-8')
    for name, data in (('latin-1.txt', 'größe'.encode('latin-1')),
                       ('part 3/late.txt', b'fine at first\n' * 2000 + b'\xff'),
                       ('short.txt', b'\xe3\x81')):
        (where / name).write_bytes(data)
    # not counted at all
    (where / 'picture.png').write_bytes(b'\x89PNG\0\xff')
    (where / '.hidden').write_text('hidden')


def count_plainly(where):
    """Return the counts of words in the text files of the folder *where*."""
    counts = {}
    for path in where.rglob('*.txt'):
        try:
            text = path.read_text(encoding='utf-8')
        except UnicodeDecodeError:
            continue
        letters = ''.join(one if one.isalpha() else ' ' for one in text.lower())
        for word in letters.split():
            counts[word] = counts.get(word, 0) + 1
    return counts


class InFolders(unittest.TestCase):
    """A test with a folder to count and one for the database."""

    def setUp(self):
        self.base = pathlib.Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.base)
        self.folder = self.base / 'texts'
        self.folder.mkdir()
        self.var = self.base / 'var'
        self.data = self.var / 'demo.fs'

    def start(self, *arguments):
        """Start a process of the demo."""
        environ = dict(os.environ, PYTHONIOENCODING='utf-8',
                       PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        process = subprocess.Popen(
            [sys.executable, '-m', 'zc.async', 'demo', '--var', str(self.var),
             *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding='utf-8', env=environ, cwd=self.base)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdout.close()

    def demo(self, *arguments, status=0):
        """Run the demo to its end; return what it printed."""
        process = self.start(*arguments)
        output, _none = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, status, output)
        return output

    def size(self):
        return self.data.stat().st_size if self.data.exists() else 0

    def start_until(self, size, *arguments):
        """Start the demo; return its process when the database has *size*."""
        process = self.start(*arguments)
        limit = time.monotonic() + LIMIT
        while self.size() < size and process.poll() is None:
            self.assertLess(time.monotonic(), limit, 'nothing goes on')
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.001)
        return process

    @contextlib.contextmanager
    def opened(self):
        """The root of the database, when no process has it open."""
        self.var.mkdir(exist_ok=True)
        db = DB(FileStorage(str(self.data)))
        try:
            with db.transaction() as connection:
                yield connection.root()
        finally:
            db.close()

    def assertCounted(self):
        """Check that the database has what a plain count of the folder finds."""
        expected = count_plainly(self.folder)
        with self.opened() as root:
            index, summary = root[RUN].index, root[RUN].summary
            self.assertEqual(dict(index.words), expected)
            self.assertEqual(summary['files'], 60)
            self.assertEqual(summary['words'], sum(expected.values()))
            self.assertEqual(summary['distinct'], len(expected))
            self.assertEqual(
                [name for name, _reason in summary['failures']],
                ['latin-1.txt', os.path.join('part 3', 'late.txt'), 'short.txt'])


class Undisturbed(InFolders):

    def setUp(self):
        super().setUp()
        make_folder(self.folder, random.Random(1))

    def test_counts_what_a_plain_count_finds_and_shows_it_ever_after(self):
        first = self.demo(self.folder)
        self.assertCounted()
        expected = count_plainly(self.folder)
        word = max(expected, key=expected.get)
        for text in ('Counting the words of 63 files', '63 of 63 files',
                     f'words            {sum(expected.values()):,}\n',
                     f'distinct words   {len(expected)}\n',
                     f'most frequent    {word} {expected[word]:,}',
                     'failures         3\n', 'latin-1.txt: UnicodeDecodeError',
                     'seconds', 'jobs per second'):
            self.assertIn(text, first)
        self.assertNotIn('Traceback', first)
        table = first[first.index('\nfolder'):]

        second = self.demo()
        self.assertTrue(second.startswith(table), second)
        self.assertIn('--again begins anew', second)

    def test_leaves_its_files_in_its_folder_only(self):
        self.demo(self.folder)
        self.assertEqual(sorted(os.listdir(self.base)), ['texts', 'var'])
        self.assertIn('uuid.txt', os.listdir(self.var))

    def test_another_folder_is_refused_until_it_is_said_again(self):
        other = self.base / 'other'
        other.mkdir()
        (other / 'a').write_text('one two')
        self.demo(other)
        refused = self.demo(self.folder, status=2)
        self.assertRegex(refused, r"^zc-async demo: '.*other' is there already .*--var\n$")
        self.demo(self.folder, '--again', '--workers', '1')
        self.assertCounted()

    def test_a_whole_that_failed_is_said_and_is_no_success(self):
        with self.opened() as root:
            found = root[RUN] = jobs.Run(str(self.folder), ['short.txt'])
            found.job.fail(ValueError('the reason'))
        output = self.demo(status=1)
        self.assertIn('could not be finished: the reason', output)


@unittest.skipUnless(hasattr(signal, 'SIGKILL'), 'needs signals')
class Disturbed(InFolders):

    def setUp(self):
        super().setUp()
        make_folder(self.folder, random.Random(2))
        self.demo(self.folder)
        self.full = self.size()
        shutil.rmtree(self.var)

    def test_killed_at_ten_random_moments_it_counts_the_same(self):
        seed = random.randrange(10**6)
        rng = random.Random(seed)
        # the first while the database is being made
        moments = [0, *sorted(rng.uniform(0, 0.8) for _kill in range(KILLS - 1))]
        killed = 0
        with self.subTest(seed=seed, moments=moments):
            for moment in moments:
                # always a little more than there is: each process does something
                size = max(self.full * moment,
                           self.size() + rng.uniform(0, self.full / 50))
                process = self.start_until(size, self.folder)
                process.kill()
                output, _none = process.communicate()
                killed += process.returncode == -signal.SIGKILL
                self.assertNotIn('Traceback', output)
            self.assertGreaterEqual(killed, KILLS - 1)
            self.assertIn('63 of 63 files', self.demo(self.folder))
            self.assertCounted()

    def test_a_job_that_was_under_way_in_each_of_many_kills_is_done(self):
        active = []
        while not active:
            process = self.start_until(
                max(self.size(), self.full / 4) + self.full / 100, self.folder)
            process.kill()
            process.communicate()
            self.assertEqual(process.returncode, -signal.SIGKILL, 'nothing was under way')
            with self.opened() as root:
                active = [job for agents in root[KEY][''].dispatchers.values()
                          for agent in agents.values() for job in agent
                          if job.status == ACTIVE]
                for job in active:
                    # as if it had been so in all kills before
                    job._deaths = 100
        self.assertIn('63 of 63 files', self.demo(self.folder))
        self.assertCounted()

    def test_interrupted_it_says_how_to_go_on_and_does(self):
        process = self.start_until(self.full / 2, self.folder)
        process.send_signal(signal.SIGINT)
        output, _none = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 130, output)
        self.assertIn('Stopped.', output)

        (self.base / 'other').mkdir()
        (self.base / 'other' / 'a').write_text('text')
        self.assertIn('is half done in', self.demo(self.base / 'other', status=2))

        self.assertIn('Going on with', self.demo())
        self.assertCounted()


class Interrupted(InFolders):
    """A job whose thread is not waited for still has its connection."""

    def test_the_file_is_closed_even_if_the_thread_closes_that_just_then(self):
        options = types.SimpleNamespace(folder=None, var=str(self.var), again=False)
        with self.assertRaises(KeyboardInterrupt):
            with session.opened(options) as db:
                db.open()._release_resources = mock.Mock(side_effect=KeyError(139704))
                raise KeyboardInterrupt
        with session.opened(options):
            self.assertTrue(self.data.exists())


class Refusals(InFolders):
    """What makes no sense is refused in one sentence, with status 2."""

    def refuse(self, *arguments):
        """Return the sentence."""
        output = io.StringIO()
        with contextlib.redirect_stderr(output):
            try:
                status = cli.main([*map(str, arguments), '--var', str(self.var)])
            except SystemExit as ended:
                status = ended.code
        self.assertEqual(status, 2)
        said = [line for line in output.getvalue().splitlines()
                if line.startswith('zc-async demo: ')]
        self.assertEqual(len(said), 1, output.getvalue())
        self.assertRegex(said[0], r'; \w+')
        return said[0]

    def test_a_folder_that_does_not_exist(self):
        self.assertIn("there is no folder 'nowhere'", self.refuse('demo', 'nowhere'))

    def test_a_folder_that_is_a_file(self):
        self.assertIn('is no folder', self.refuse('demo', __file__))

    def test_a_folder_without_text(self):
        (self.folder / 'data').write_bytes(b'\0')
        (self.folder / '.hidden').write_text('text')
        self.assertIn('no text file is in', self.refuse('demo', self.folder))
        self.assertFalse(self.var.exists(), 'something was made nevertheless')

    def test_a_number_of_workers_that_is_none(self):
        for text in ('0', '-1', '101', 'many', '1.5'):
            with self.subTest(text):
                self.assertIn(repr(text), self.refuse('demo', f'--workers={text}'))

    def test_a_folder_for_the_database_that_is_a_file(self):
        self.var.write_text('')
        self.assertIn('cannot open', self.refuse('demo'))

    def test_a_file_that_is_no_database(self):
        self.var.mkdir()
        self.data.write_bytes(b'something else' * 100)
        self.assertIn('is no database', self.refuse('demo'))

    def test_a_database_that_is_in_use(self):
        with self.opened():
            self.assertIn('is used by another process', self.refuse('demo'))


class Command(unittest.TestCase):

    def say(self, *arguments):
        """Return what the command prints, and the status it ends with."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            with self.assertRaises(SystemExit) as ended:
                cli.main(list(arguments))
        return output.getvalue(), ended.exception.code

    def test_help_names_each_command(self):
        output, status = self.say('--help')
        self.assertEqual(status, 0)
        for word in cli.COMMANDS:
            self.assertIn(word, output)

    def test_a_command_has_its_own_help(self):
        output, status = self.say('demo', '--help')
        self.assertEqual(status, 0)
        for text in ('FOLDER', '--var', '--workers', '--again', 'kill -9'):
            self.assertIn(text, output)

    def test_version(self):
        self.assertRegex(self.say('--version')[0], r'^zc\.async \S+')

    def test_no_command_and_an_unknown_one(self):
        self.assertEqual(self.say()[1], 2)
        output, status = self.say('dance')
        self.assertEqual(status, 2)
        self.assertIn("'dance'", output)


class Folder(InFolders):

    def test_files_are_found_by_what_is_in_them(self):
        for name, data in (('b.py', b'x'), ('a', b''), ('sub/c', b'\xff'),
                           ('image', b'\0'), ('.git/config', b'x'),
                           ('__pycache__/d', b'x'), ('var/uuid.txt', b'x')):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        self.assertEqual(
            folders.files_in(str(self.folder), str(self.folder / 'var')),
            ['a', 'b.py', os.path.join('sub', 'c')])

    def test_of_the_library_its_sources(self):
        found = folders.files_in(folders.library(), 'var')
        self.assertIn('argparse.py', found)
        self.assertEqual({path.rpartition('.')[2] for path in found}, {'py'})
        self.assertFalse([path for path in found if 'site-packages' in path])


class Words(unittest.TestCase):

    def test_are_letters_of_any_script_in_lower_case(self):
        self.assertEqual(
            jobs.words_of("Größe GRÖSSE größe x1y_z 42 don't слово"),
            {'größe': 2, 'grösse': 1, 'x': 1, 'y': 1, 'z': 1, 'don': 1, 't': 1,
             'слово': 1})

    def test_are_the_same_in_the_index_however_often_it_folds(self):
        texts = [{'a': 1, 'b': 2}, {'b': 1}, {}, {'c': 5, 'a': 1}, {'a': 4}]
        for fold in range(1, 7):
            index = jobs.WordIndex(fold)
            self.assertEqual([index.merge(text) for text in texts], [3, 1, 0, 6, 4])
            index.fold()
            with self.subTest(fold=fold):
                self.assertEqual(dict(index.words), {'a': 6, 'b': 3, 'c': 5})
                self.assertEqual((index.files, index.total), (5, 14))
                self.assertEqual(
                    index.most_frequent(), [('a', 6), ('c', 5), ('b', 3)])


class Put(unittest.TestCase):

    def files(self, run):
        return [job.args[1] for batch in run.job.args for job in batch.args]

    def test_there_is_one_job_for_each_file(self):
        for count in (1, 2, 3, 4, 10, 60, 1790):
            paths = [str(number) for number in range(count)]
            with self.subTest(count):
                self.assertEqual(self.files(jobs.Run('folder', paths)), paths)

    def test_no_job_has_many_parts(self):
        run = jobs.Run('folder', [str(number) for number in range(1790)])
        self.assertLessEqual(len(run.job.args), 43)
        self.assertLessEqual(max(len(batch.args) for batch in run.job.args), 43)


class Shown(unittest.TestCase):

    def progress(self, merged, failed=0, files=200):
        return jobs.Progress(files, merged, failed, 0, merged + failed == files)

    def test_a_bar_is_as_long_as_what_is_done(self):
        self.assertEqual(screen.bar(self.progress(0), 40),
                         '[..................] 0 of 200 files   0%')
        self.assertEqual(screen.bar(self.progress(99, 1), 40).count('#'), 8)
        self.assertIn('] 199 of 200 files  99%', screen.bar(self.progress(199), 40))
        self.assertEqual(len(screen.bar(self.progress(200), 79)), 79)
        self.assertEqual(len(screen.bar(self.progress(200), 9)), 9)

    def test_without_a_terminal_there_is_a_line_now_and_then(self):
        stream = io.StringIO()
        shown = screen.Screen(stream)
        for merged in (0, 1, 1, 2, 200):
            shown.show(self.progress(merged))
        self.assertEqual(stream.getvalue(),
                         '0 of 200 files\n200 of 200 files\n')

    def test_on_a_terminal_it_is_written_in_place(self):
        stream = io.StringIO()
        stream.isatty = lambda: True
        shown = screen.Screen(stream)
        shown.show(self.progress(1))
        shown.show(self.progress(2))
        shown.say('the end')
        self.assertEqual(stream.getvalue().count('\r'), 2)
        self.assertTrue(stream.getvalue().endswith('%\nthe end\n'))

    def test_what_the_stream_cannot_encode_is_escaped(self):
        data = io.BytesIO()
        shown = screen.Screen(io.TextIOWrapper(data, encoding='ascii'))
        shown.say('größe \udc80')
        self.assertEqual(data.getvalue(), b'gr\\xf6\\xdfe \\udc80\n')

    def test_a_table_shortens_what_is_long(self):
        run = jobs.Run('folder', ['x'])
        run.summary = {
            'files': 0, 'words': 0, 'distinct': 0, 'frequent': [('w' * 200, 1)],
            'failures': [('p' * 200, 'why ' * 100)] * 30}
        lines = screen.table(run)
        self.assertLessEqual(max(map(len, lines)), 79)
        self.assertIn('and 20 more', lines[-1])
