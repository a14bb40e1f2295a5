"""The checkout that the tests run in, and fresh interpreters beside them."""
import os
import pathlib
import subprocess
import sys
import unittest

#: The root of the checkout: src/zc/async/tests is four levels below it.
ROOT = pathlib.Path(__file__).resolve().parents[4]


def needs_checkout(test):
    """Skip *test* where zc.async is installed without its repository."""
    return unittest.skipUnless(
        (ROOT / 'setup.py').exists(), 'needs a checkout')(test)


def run_python(*arguments, **options):
    """Run a fresh interpreter that sees what this one sees; return its output.

    What it prints on either stream is the output; a failure is an
    `AssertionError` with that output as its text.
    """
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    return run(sys.executable, *arguments, env=environ, **options)


def run(*command, **options):
    """Run *command* and return its output, or fail with it."""
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise AssertionError(
            f'{command} ended with {done.returncode}:\n{done.stdout}')
    return done.stdout
