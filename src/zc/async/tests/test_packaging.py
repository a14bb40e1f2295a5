"""The package as people install it, beside other packages of ``zc``.

Slow, and needs the package index: at level 2, so ``bin/test --at-level 2``.
"""
import os
import re
import shutil
import sys
import tarfile
import tempfile
import textwrap
import unittest
import zipfile
from pathlib import Path

from .checkout import ROOT, needs_checkout, run

#: What is in a checkout and is no part of it.
MADE = shutil.ignore_patterns(
    '.git', '.venv', 'bin', 'build', 'develop-eggs', 'dist', 'eggs', 'parts',
    'var', '_build', '.installed.cfg', '*.egg-info', '__pycache__', '.hypothesis',
    '*_cache')

#: Neighbours in the namespace: native ones, and one of the old style, whose
#: installation brings a ``-nspkg.pth`` file that meddles with ``zc``.
NEIGHBOURS = ('zc.buildout', 'zc.lockfile', 'zc.queue==2.0.0')

USE = textwrap.dedent('''
    import importlib, importlib.metadata, os, pkgutil, sys
    import zc.buildout, zc.lockfile, zc.queue, zc.twist
    import zc.async_
    from zc.async_ import interfaces
    assert interfaces is importlib.import_module('zc.async.interfaces')
    assert interfaces.__spec__.name == 'zc.async.interfaces'
    assert importlib.metadata.version('zc.async')
    assert pkgutil.get_data('zc.async_', 'usage.rst')
    alias = os.path.join(os.path.dirname(os.path.dirname(interfaces.__file__)), 'async_')
    for name in ('py.typed', 'interfaces.pyi', os.path.join('model', 'status.pyi')):
        assert os.path.exists(os.path.join(alias, name)), name
    print(interfaces.__file__)
''')


def plain_environment():
    """Return the environment without what would lead to this installation."""
    return {name: value for name, value in os.environ.items()
            if name not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')}


def pins():
    """Return versions.cfg as a list of pip's constraints."""
    text = (ROOT / 'versions.cfg').read_text(encoding='utf-8')
    return [f'{name}=={version}' for name, version
            in re.findall(r'^([\w.-]+) = (\S+)$', text, re.M)]


class Built:
    """The layer of the tests: both distributions, and a place to install them.

    A layer, since zope.testrunner does not call ``setUpClass``.
    """

    @classmethod
    def setUp(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix='zc.async-packaging-'))
        cls.source = cls.folder / 'source'
        cls.dist = cls.folder / 'dist'
        shutil.copytree(ROOT, cls.source, ignore=MADE)
        cls.files = {path.relative_to(cls.source).as_posix()
                     for path in cls.source.rglob('*') if path.is_file()}
        cls.build('sdist', '--dist-dir', cls.dist)
        cls.build('bdist_wheel', '--dist-dir', cls.dist)
        cls.make_environment()

    @classmethod
    def tearDown(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def testSetUp(cls):
        """Nothing to do for each test."""

    testTearDown = testSetUp

    @classmethod
    def build(cls, *words):
        run(sys.executable, 'setup.py', '-q', *words, cwd=cls.source,
            env=plain_environment())

    @classmethod
    def make_environment(cls):
        """An environment with what zc.async needs, and without zc.async."""
        environment = cls.folder / 'environment'
        run(sys.executable, '-m', 'venv', environment)
        cls.python = environment / 'bin' / 'python'
        constraints = cls.folder / 'constraints.txt'
        constraints.write_text('\n'.join(pins()))
        [wheel] = cls.dist.glob('*.whl')
        cls.pip('install', '-c', constraints, 'setuptools', 'wheel', *NEIGHBOURS, wheel)
        cls.pip('uninstall', '-y', 'zc.async')

    @classmethod
    def pip(cls, *words):
        run(cls.python, '-m', 'pip', '-q', '--disable-pip-version-check', *words,
            env=plain_environment())


@needs_checkout
class Distributions(unittest.TestCase):
    """A wheel, a source distribution and an editable install do the same."""

    layer = Built
    level = 2

    def install(self, *words):
        self.layer.pip('install', '--no-deps', '--no-build-isolation', *words)
        self.addCleanup(self.layer.pip, 'uninstall', '-y', 'zc.async')

    def use(self, *words):
        return run(self.layer.python, *words, cwd=self.layer.folder, env=plain_environment())

    def check_use(self):
        """Use the installation in each way that the documents name."""
        where = self.use('-c', USE)
        self.use('-m', 'compileall', '-q', Path(where.strip()).parent)
        for spelling in ('zc.async', 'zc.async_'):
            self.assertIn('usage: ', self.use('-m', spelling, '--help'))
        script = self.layer.python.with_name('zc-async')
        self.assertIn('usage: ', run(script, '--help', env=plain_environment()))
        self.assertNotIn('egg-info', ' '.join(os.listdir(self.layer.folder)))
        return where

    def test_wheel(self):
        self.install(*self.layer.dist.glob('*.whl'))
        self.assertIn('site-packages', self.check_use())

    def test_source_distribution(self):
        self.install(*self.layer.dist.glob('*.tar.gz'))
        self.assertIn('site-packages', self.check_use())

    def test_editable(self):
        self.install('-e', self.layer.source)
        self.assertIn(str(self.layer.source), self.check_use())
        # A plain path, which editors and type checkers can follow: no hook.
        packages = [path.name for path in self.layer.folder.glob(
            'environment/lib/python*/site-packages/__editable__*')]
        self.assertEqual(len(packages), 1, packages)
        self.assertTrue(packages[0].endswith('.pth'), packages)

    def test_the_wheel_holds_every_file_of_the_package(self):
        [wheel] = self.layer.dist.glob('*.whl')
        held = {name for name in zipfile.ZipFile(wheel).namelist()
                if '.dist-info/' not in name}
        self.assertEqual(held, {name.removeprefix('src/') for name in self.layer.files
                                if name.startswith('src/')})

    def test_the_source_distribution_holds_the_checkout(self):
        [archive] = self.layer.dist.glob('*.tar.gz')
        with tarfile.open(archive) as opened:
            held = {name.partition('/')[2] for name in opened.getnames()}
        # Other dot files, in the root, belong to a user's tools.
        wanted = {name for name in self.layer.files if not name.startswith('.')}
        self.assertEqual((wanted | {'.gitignore', '.ci/run'}) - held, set())

    def test_metadata(self):
        [wheel] = self.layer.dist.glob('*.whl')
        with zipfile.ZipFile(wheel) as opened:
            [name] = [n for n in opened.namelist() if n.endswith('/METADATA')]
            metadata = opened.read(name).decode()
        for line in ('Name: zc.async', 'Requires-Python: >=3.11',
                     'Provides-Extra: zeo', 'Provides-Extra: relstorage'):
            self.assertIn(line, metadata.splitlines())
        self.assertRegex(metadata, r'(?m)^License(-Expression)?: ZPL-2\.1$')
