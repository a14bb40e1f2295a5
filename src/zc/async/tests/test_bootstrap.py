"""What ``bootstrap.py`` promises before it has made anything.

That it makes a working environment is seen by whoever runs these tests.
"""
import ast
import contextlib
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from .checkout import ROOT, needs_checkout


def bootstrap():
    """Return bootstrap.py as a module."""
    spec = importlib.util.spec_from_file_location(
        'zc_async_bootstrap', ROOT / 'bootstrap.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def completed(output, status=0):
    return subprocess.CompletedProcess([], status, stdout=output)


@needs_checkout
class Refusals(unittest.TestCase):
    """Where it cannot go on, it says why in one sentence."""

    def run_pretending(self, pretence):
        """Run bootstrap.py after *pretence*; return its status and words."""
        done = subprocess.run(
            [sys.executable, '-c', f'import runpy, sys\n{pretence}\n'
             'sys.argv = ["bootstrap.py"]\n'
             f'runpy.run_path({str(ROOT / "bootstrap.py")!r}, run_name="__main__")'],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    def test_too_old_a_python(self):
        status, said = self.run_pretending('sys.version_info = (3, 10, 13)')
        self.assertEqual(status, 1)
        self.assertRegex(said, r'^zc\.async needs Python 3\.11 or newer, [^\n]*\n$')

    def test_the_file_parses_on_every_python(self):
        """Else an old one would report a syntax error instead."""
        tree = ast.parse((ROOT / 'bootstrap.py').read_text(encoding='utf-8'))
        for node in ast.walk(tree):
            with self.subTest(line=getattr(node, 'lineno', None)):
                self.assertNotIsInstance(node, (
                    ast.JoinedStr, ast.Starred, ast.AnnAssign, ast.NamedExpr,
                    ast.AsyncFunctionDef, ast.Nonlocal, ast.Match, ast.YieldFrom))
                if isinstance(node, ast.arguments):
                    self.assertFalse(node.kwonlyargs or node.posonlyargs)
                if isinstance(node, ast.Raise):
                    self.assertIsNone(node.cause)

    def test_no_venv_module(self):
        module = bootstrap()
        with mock.patch.dict(sys.modules, ensurepip=None):
            with self.assertRaisesRegex(module.Trouble, 'apt install python3-venv'):
                module.require_venv()

    def test_an_unknown_word(self):
        module = bootstrap()
        with mock.patch.object(module, 'set_up') as set_up:
            self.assertRegex(module.main(['tset']), r"^'tset' .* \"test\"")
        set_up.assert_not_called()

    def test_an_unreachable_index_is_named_without_its_password(self):
        module = bootstrap()
        module.PYTHON = sys.executable
        told = {'index-url': 'http://user:secret@127.0.0.1:9/simple'}
        with mock.patch.object(module, 'pip_settings', return_value=told):
            why = module.why_unreachable({})
        self.assertIn('http://127.0.0.1:9 cannot be reached', why)
        self.assertNotIn('secret', why)

    def test_a_step_that_fails_shows_its_output(self):
        module = bootstrap()
        with tempfile.TemporaryDirectory() as module.VENV, \
                mock.patch.object(module, 'why_unreachable', return_value=None), \
                contextlib.redirect_stderr(io.StringIO()) as shown:
            module.LOG = os.path.join(module.VENV, 'setup.log')
            with self.assertRaisesRegex(module.Trouble, '^it went wrong: .*setup.log'):
                module.step([sys.executable, '-c', 'print("clue"); exit(1)'],
                            dict(os.environ), 'it went wrong')
            self.assertIn('clue', shown.getvalue())
            self.assertIn('clue', pathlib.Path(module.LOG).read_text())


@needs_checkout
class Environment(unittest.TestCase):
    """pip and buildout are kept in .venv, and use the same package index."""

    def setUp(self):
        self.module = bootstrap()

    def test_variables_that_lead_elsewhere_are_dropped(self):
        kept = self.module.clean_environment({
            'HOME': 'h', 'PIP_REQUIRE_VIRTUALENV': '1', 'PIP_TARGET': 't',
            'PIP_USER': '1', 'PYTHONHOME': 'h', 'PYTHONPATH': 'p',
            'PIP_INDEX_URL': 'i', 'VIRTUAL_ENV': 'v'})
        self.assertEqual(kept, {
            'HOME': 'h', 'PIP_INDEX_URL': 'i', 'PIP_USER': '0',
            'PIP_DISABLE_PIP_VERSION_CHECK': '1'})

    def index_for(self, settings):
        with mock.patch.object(self.module.subprocess, 'run',
                               return_value=completed(settings)):
            return self.module.package_index({'HOME': 'h'})

    def test_buildout_is_told_what_pip_is_told(self):
        settings, environ = self.index_for(
            ":env:.index-url='https://env/simple'\n"
            "global.cert='/etc/authority.pem'\n"
            "global.index-url='https://global/simple'\n"
            "install.index-url='https://install/simple'\n")
        self.assertEqual(settings, ['buildout:index=https://env/simple'])
        self.assertEqual(environ, {'HOME': 'h', 'SSL_CERT_FILE': '/etc/authority.pem'})

    def test_without_settings_buildout_is_told_nothing(self):
        self.assertEqual(self.index_for(''), ([], {'HOME': 'h'}))


@needs_checkout
class Stamps(unittest.TestCase):
    """What is finished is left alone, what is not is made again."""

    def setUp(self):
        self.module = module = bootstrap()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in module.DEFINING:
            (self.root / name).write_bytes((ROOT / name).read_bytes())
        for name in ('ROOT', 'VENV', 'BIN', 'SETUP_STAMP', 'VENV_STAMP'):
            path = getattr(module, name).replace(str(ROOT), str(self.root))
            setattr(module, name, path)
        self.steps = []
        module.make_environment = lambda environ: self.steps.append('environment')
        module.run_buildout = self.buildout

    def buildout(self, environ):
        self.steps.append('buildout')
        for folder in (self.module.VENV, self.module.BIN):
            os.makedirs(folder, exist_ok=True)
        for name in self.module.MADE:
            (self.root / 'bin' / name).touch()

    def assertSteps(self, *steps):
        del self.steps[:]
        self.module.set_up({})
        self.assertEqual(self.steps, list(steps))

    def test_a_second_run_does_nothing(self):
        self.assertSteps('environment', 'buildout')
        self.assertSteps()

    def test_a_changed_definition_or_python_is_set_up_again(self):
        self.module.set_up({})
        for name in self.module.DEFINING:
            with self.subTest(name):
                with open(self.root / name, 'a') as f:
                    f.write('\n# changed\n')
                self.assertSteps('environment', 'buildout')
                self.assertSteps()
        with mock.patch.object(sys, 'version', 'another'):
            self.assertSteps('environment', 'buildout')

    def test_a_missing_script_is_made_again(self):
        self.module.set_up({})
        (self.root / 'bin' / 'test').unlink()
        self.assertSteps('environment', 'buildout')

    def test_a_run_that_dies_leaves_no_stamp(self):
        def die(environ):
            raise KeyboardInterrupt
        self.module.run_buildout, mended = die, self.module.run_buildout
        with self.assertRaises(KeyboardInterrupt):
            self.module.set_up({})
        self.module.run_buildout = mended
        self.assertSteps('environment', 'buildout')

    def test_the_word_is_run_with_the_arguments_and_its_status_counts(self):
        with mock.patch.object(self.module, 'become', return_value=7) as become:
            self.assertEqual(self.module.main(['demo', 'folder', '-v']), 7)
        command, environ = become.call_args.args
        self.assertEqual(command, [
            os.path.join(self.module.BIN, 'zc-async'), 'demo', 'folder', '-v'])
        self.assertNotIn('PYTHONPATH', environ)
