"""The pages that show how to use the package hold, example by example.

``usage.rst`` belongs to the package.  ``README.rst`` and the quick start stand
in the checkout only, so an installed package is tested without them.
"""
import doctest
import logging
import os
import sys
import tempfile
import types
import unittest

import manuel.doctest
import manuel.footnote
import manuel.testing
import transaction
import ZODB
from zope.testing import cleanup

from .. import dispatcher
from .. import testing

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHECKOUT = os.path.normpath(os.path.join(PACKAGE, '..', '..', '..'))

USAGE = os.path.join(PACKAGE, 'usage.rst')
BESIDE = [path for path in (os.path.join(CHECKOUT, 'README.rst'),
                            os.path.join(CHECKOUT, 'docs', 'quickstart.rst'))
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
        self.module.__name__ = 'library'
        sys.modules['library'] = self.module
        self.home = os.getcwd()
        self.folder = tempfile.TemporaryDirectory()
        self.uuid_file = os.environ.get('ZC_ASYNC_UUID')
        os.environ['ZC_ASYNC_UUID'] = os.path.join(self.folder.name, 'uuid.txt')
        os.chdir(self.folder.name)
        # The pages show jobs that fail, and failures are logged.
        self.log = logging.getLogger('zc.async')
        self.log_state = self.log.propagate, self.log.handlers[:]
        self.log.propagate = False
        self.log.handlers[:] = [logging.NullHandler()]

    def tear_down(self, test):
        """Leave nothing running, also after a page that broke off."""
        transaction.abort()
        self.stop_dispatchers()
        self.close_databases()
        self.log.propagate, self.log.handlers[:] = self.log_state
        os.chdir(self.home)
        if self.uuid_file is None:
            del os.environ['ZC_ASYNC_UUID']
        else:
            os.environ['ZC_ASYNC_UUID'] = self.uuid_file
        for made in list(self.globs.values()):
            if isinstance(made, tempfile.TemporaryDirectory):
                made.cleanup()
        self.folder.cleanup()
        self.globs.clear()
        del sys.modules['library']
        cleanup.cleanUp()

    def stop_dispatchers(self):
        """A virtual reactor stops in this thread, a real one in its own."""
        reactor = self.globs.get('reactor')
        if isinstance(reactor, testing.Reactor):
            if reactor.started:
                reactor.stop()
        elif dispatcher.get() is not None:
            testing.tear_down_dispatcher(dispatcher.get())
        dispatcher.clear()

    def close_databases(self):
        for made in list(self.globs.values()):
            if isinstance(made, ZODB.DB):
                made.close()


def reader():
    return (manuel.doctest.Manuel(optionflags=doctest.ELLIPSIS)
            + manuel.footnote.Manuel())


def page(path):
    """Return the suite that runs the document *path*."""
    stage = Stage()
    return manuel.testing.TestSuite(
        reader(), path, globs=stage.globs,
        setUp=stage.set_up, tearDown=stage.tear_down)


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
