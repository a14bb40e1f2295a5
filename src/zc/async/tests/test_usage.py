"""The pages that show how to use the package hold, example by example.

``usage.rst`` belongs to the package.  ``README.rst`` and the pages in ``docs`` stand
in the checkout only, so an installed package is tested without them.

Blocks of other languages than Python hold too: ZCML is executed, each block as a
site of its own; files of ZConfig are read; and commands are understood.
"""
import doctest
import io
import logging
import os
import re
import shlex
import sys
import tempfile
import textwrap
import types
import unittest
from unittest import mock

import manuel
import manuel.doctest
import manuel.footnote
import manuel.testing
import transaction
import ZConfig
import ZODB
from ZODB.Connection import Connection
from zope.configuration import xmlconfig
from zope.testing import cleanup

from .. import cli
from .. import dispatcher
from .. import productconfig
from .. import testing
from ..ops import options

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHECKOUT = os.path.normpath(os.path.join(PACKAGE, '..', '..', '..'))

USAGE = os.path.join(PACKAGE, 'usage.rst')
BESIDE = [path for path in (
    os.path.join(CHECKOUT, *name.split('/')) for name in (
        'README.rst', 'docs/quickstart.rst', 'docs/configuration.rst',
        'docs/zcml.rst', 'docs/deployment.rst', 'docs/recovery.rst',
        'docs/testing.rst'))
    if os.path.exists(path)]


class Stage:
    """The world in which one page is acted.

    The page's names are those of a module called ``library``, for its functions
    and classes are stored by name and must be found by the workers.
    """

    def __init__(self):
        self.module = types.ModuleType('library')
        self.globs = self.module.__dict__

    def set_up(self, test):
        """Set the stage; what is undone is undone after a page broke off, too."""
        # connections that an earlier test left open would fail our commits
        transaction.manager.clearSynchs()
        transaction.abort()
        test.addCleanup(cleanup.cleanUp)
        test.addCleanup(self.globs.clear)
        self.module.__name__ = 'library'
        sys.modules['library'] = self.module
        test.addCleanup(sys.modules.pop, 'library')
        self.move_to_a_folder(test)
        self.silence_the_log(test)
        test.addCleanup(self.remove_folders)
        test.addCleanup(self.close_databases)
        test.addCleanup(self.stop_dispatchers)

    def move_to_a_folder(self, test):
        """Let the files that are made, of databases and the UUID, be nobody's."""
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        test.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        told = mock.patch.dict(
            os.environ, ZC_ASYNC_UUID=os.path.join(folder.name, 'uuid.txt'))
        told.start()
        test.addCleanup(told.stop)

    def silence_the_log(self, test):
        """The pages show jobs that fail, and failures are logged."""
        log = logging.getLogger('zc.async')
        silent = mock.patch.multiple(
            log, propagate=False, handlers=[logging.NullHandler()])
        silent.start()
        test.addCleanup(silent.stop)

    def made(self, *classes):
        """Return what the page has made of *classes*."""
        return [thing for thing in self.globs.values() if isinstance(thing, classes)]

    def stop_dispatchers(self):
        """A virtual reactor stops in this thread, a real one in its own."""
        if self.made(testing.Reactor):
            for reactor in self.made(testing.Reactor):
                reactor.stop()
        elif dispatcher.get() is not None:
            testing.tear_down_dispatcher(dispatcher.get())
        dispatcher.clear()

    def close_databases(self):
        transaction.abort()
        for connection in self.made(Connection):
            if connection.opened is not None:
                connection.close()
        for database in self.made(ZODB.DB):
            database.close()

    def remove_folders(self):
        for folder in self.made(tempfile.TemporaryDirectory):
            folder.cleanup()


# Blocks of other languages

BLOCK = re.compile(r'^\.\. code-block:: (\w+)\n\n((?: {4}.*\n|\n)+)', re.M)
SITE = """\
<configure
    xmlns="http://namespaces.zope.org/zope"
    xmlns:async="http://namespaces.zope.org/async">
{}
</configure>
"""
#: What a host lets its configuration file say, as far as it matters here.
SCHEMA = """\
<schema>
  <import package="ZODB" />
  <import package="ZConfig.components.logger" />
  <sectiontype name="product-config">
    <key name="+" attribute="said" />
  </sectiontype>
  <key name="site-definition" />
  <multisection type="ZODB.database" name="*" attribute="databases" />
  <multisection type="product-config" name="*" attribute="products" />
  <section type="eventlog" name="*" attribute="eventlog" />
  <multisection type="logger" name="*" attribute="loggers" />
</schema>
"""


def configure(text):
    """Execute the ZCML *text*, in a process where nothing else was."""
    cleanup.cleanUp()
    xmlconfig.string(text if text.startswith('<configure') else SITE.format(text))


def load(text):
    """Read the configuration *text* of a host, or of a worker."""
    schema = ZConfig.loadSchemaFile(io.StringIO(SCHEMA))
    with mock.patch.dict(os.environ, ZEO_ADDRESS='127.0.0.1:9991'):
        config, _handlers = ZConfig.loadConfigFile(schema, io.StringIO(text))
    for section in config.products:
        if section.getSectionName() == 'zc.async':
            for key, value in section.said.items():
                productconfig._read(key, value)


def understand(text):
    """Parse what is said to ``zc-async`` in the lines of *text*."""
    for line in text.replace('\\\n', ' ').splitlines():
        environ, words = {}, shlex.split(line, comments=True)
        while words and '=' in words[0]:
            name, _equals, environ[name] = words.pop(0).partition('=')
        if words and os.path.basename(words[0]) == 'zc-async':
            found = cli.parser().parse_args(words[1:])
            if words[1] == 'worker':
                options.settle(found, environ)


#: Pygments knows no ZConfig.
LANGUAGES = {'xml': configure, 'text': load, 'sh': understand}


class Block:
    """A block of *text* in the *language*."""

    def __init__(self, language, text):
        self.language = language
        self.text = textwrap.dedent(text).strip() + '\n'


def find_blocks(document):
    for region in document.find_regions(BLOCK):
        region.parsed = Block(*region.start_match.groups())
        document.claim_region(region)


def run_block(region, document, globs):
    if isinstance(region.parsed, Block):
        LANGUAGES[region.parsed.language](region.parsed.text)


def reader():
    return (manuel.doctest.Manuel(optionflags=doctest.ELLIPSIS)
            + manuel.footnote.Manuel()
            + manuel.Manuel([find_blocks], [run_block]))


def page(path):
    """Return the suite that runs the document *path*."""
    stage = Stage()
    return manuel.testing.TestSuite(
        reader(), path, globs=stage.globs,
        setUp=stage.set_up)


class EveryExampleIsRun(unittest.TestCase):
    """No example of a page stays unnoticed, say in a forgotten footnote."""

    def check(self, path):
        with open(path, encoding='utf-8') as f:
            text = f.read()
        document = manuel.Document(text, location=path)
        document.parse_with(reader())
        run = [region.parsed.source for region in document
               if isinstance(region.parsed, doctest.Example)]
        held = [example.source
                for example in doctest.DocTestParser().get_examples(text)]
        blocks = [region for region in document if isinstance(region.parsed, Block)]
        self.assertEqual(len(blocks), text.count('code-block::'))
        self.assertTrue(held, f'{path} holds no examples')
        self.assertEqual(sorted(run), sorted(held))

    def test_of_the_usage_document(self):
        self.check(USAGE)

    def test_of_the_pages_beside_the_package(self):
        for path in BESIDE:
            with self.subTest(path=os.path.basename(path)):
                self.check(path)


def test_suite():
    suite = unittest.TestSuite()
    suite.addTest(
        unittest.defaultTestLoader.loadTestsFromTestCase(EveryExampleIsRun))
    for path in [USAGE, *BESIDE]:
        suite.addTest(page(path))
    return suite
