"""Nothing in the repository imports the package by a name Python cannot parse.

``async`` is a keyword: a statement that imports ``zc.async`` breaks the file
it is in, and a reader's file when it stands in a document.
"""
import ast
import re
import unittest

from .checkout import ROOT, needs_checkout

FOLDERS = ('src', 'docs', 'bench', 'examples', 'tools')
SUFFIXES = {'.cfg', '.md', '.py', '.pyi', '.rst', '.toml', '.txt', '.zcml'}
#: Made by tools, from files that are looked at themselves.
MADE = re.compile(r'\.egg-info$|^__pycache__$|^_build$')

STATEMENT = re.compile(
    r'(?<![\w.])(?:import\s+zc\.async|from\s+zc\.async(?:\.\w+)*\s+import'
    r'|from\s+zc\s+import\s+async)(?!\w)')
#: A line that shows the statement in order to say that it does not work.
WARNING = re.compile(r'SyntaxError|keyword|cannot')


def wrong_lines(text):
    """Return (number, line) of each statement that Python cannot parse."""
    return [(number, line) for number, line in enumerate(text.splitlines(), 1)
            if STATEMENT.search(line) and not WARNING.search(line)]


def files():
    """Yield the text files of the repository."""
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in SUFFIXES:
            yield path
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob('*')):
            made = any(MADE.search(part) for part in path.relative_to(ROOT).parts)
            if path.is_file() and path.suffix in SUFFIXES and not made:
                yield path


@needs_checkout
class Repository(unittest.TestCase):

    def test_no_file_imports_the_package_by_its_keyword(self):
        wrong = [f'{path.relative_to(ROOT)}:{number}: {line.strip()}'
                 for path in files()
                 for number, line in wrong_lines(path.read_text(encoding='utf-8'))]
        self.assertEqual(wrong, [])

    def test_each_python_file_parses(self):
        for path in files():
            if path.suffix in ('.py', '.pyi'):
                with self.subTest(path.relative_to(ROOT)):
                    ast.parse(path.read_text(encoding='utf-8'), str(path))

    def test_there_is_something_to_look_at(self):
        self.assertGreater(len(list(files())), 20)


class WrongLines(unittest.TestCase):
    """The rule itself."""

    name = 'zc.' + 'async'

    def test_statements_that_cannot_be_parsed(self):
        for line in ('import {}', '    >>> import {}.job', 'from {} import job',
                     'a = 1; from {}.job import Job', '``import {}``',
                     "python -c 'import {}'", 'from zc import ' + 'async'):
            with self.subTest(line):
                self.assertEqual(len(wrong_lines(line.format(self.name))), 1)

    def test_what_is_right(self):
        for line in ('import {}_', 'from {}_.job import Job', 'import {}hronous',
                     'python -m {}', '<include package="{}"/>',
                     "importlib.import_module('{}')", 'from zc import async_',
                     '>>> import {}  # SyntaxError', 'you cannot "import {}"'):
            with self.subTest(line):
                self.assertEqual(wrong_lines(line.format(self.name)), [])
