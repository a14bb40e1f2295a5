"""The plugin, in a pytest of its own."""
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

from .checkout import ROOT, needs_checkout

#: Runs without anything of pytest but what is named.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith('PYTEST_')}


@unittest.skipUnless(importlib.util.find_spec('pytest'), 'pytest is not installed')
class Plugin(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_pytest(self, text, *words):
        path = os.path.join(self.folder, 'test_small.py')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(textwrap.dedent(text))
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', *words, path],
            cwd=self.folder, capture_output=True, text=True, timeout=120,
            env={**ENVIRONMENT, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
        return done.returncode, done.stdout + done.stderr

    def test_it_is_registered_under_an_importable_name(self):
        [point] = {(point.name, point.value) for point in
                   importlib.metadata.entry_points(group='pytest11')
                   if point.value.startswith('zc.async')}
        self.assertEqual(point, ('zc_async', 'zc.async_.pytestplugin'))

    @needs_checkout
    def test_the_documented_examples(self):
        text = (ROOT / 'docs' / 'testing.rst').read_text(encoding='utf-8')
        [example] = re.findall(r'otherwise::\n\n((?: {4}.*\n|\n)+)', text)
        code, output = self.run_pytest(example, '-W', 'error')
        self.assertEqual(code, 0, output)
        self.assertIn('4 passed', output)

    def test_each_test_has_its_own_world(self):
        code, output = self.run_pytest('''
            import pytest
            from math import factorial
            from zope.component import globalSiteManager
            from zc.async_ import dispatcher
            from zc.async_.job import Job

            @pytest.mark.parametrize('number', [1, 2])
            def test_jobs(zc_async, number):
                assert len(zc_async.queue) == 0
                zc_async.put(Job(factorial, number))

            def test_virtually(zc_async):
                job = zc_async.put(Job(factorial, 5))
                zc_async.start_virtual().wait_for(job)
                assert job.result == 120

            def test_afterwards():
                assert dispatcher.get() is None
                assert not list(globalSiteManager.registeredAdapters())
            ''')
        self.assertEqual(code, 0, output)

    def test_a_test_that_fails_says_why_and_harms_no_other(self):
        code, output = self.run_pytest('''
            from math import factorial
            from zc.async_.job import Job

            def test_bad(zc_async):
                zc_async.start()
                zc_async.queue.put(Job(factorial, 5))
                zc_async.assert_put(factorial, args=(6,))

            def test_good(zc_async):
                assert len(zc_async.queue) == 0
            ''')
        self.assertEqual(code, 1, output)
        self.assertIn('1 failed, 1 passed', output)
        self.assertIn('no job of math.factorial, args (6,) was put', output)

    def test_nothing_is_loaded_before_it_is_used(self):
        code, output = self.run_pytest('''
            import sys

            def test_nothing():
                assert 'zc.async.pytestplugin' in sys.modules
                for name in 'ZODB', 'transaction', 'twisted', 'zc.async.testing':
                    assert name not in sys.modules, name
            ''')
        self.assertEqual(code, 0, output)

    def test_the_fixture_is_shown(self):
        code, output = self.run_pytest('', '--fixtures')
        self.assertRegex(output, r'zc_async.*\n\s+A temporary database')
