"""Virtual environments of the peers, made from the index and kept in a folder."""
import glob
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class Missing(Exception):
    """What a peer needs is not here; the text says what to install."""


def python_of(environment, cache):
    """Return the interpreter of an *environment*; make it in *cache* if needed.

    Raise `Missing` if that cannot be done.
    """
    if environment == 'own':
        return sys.executable
    wanted = os.path.join(HERE, {'peers': 'requirements.txt',
                                 'oban': 'requirements-oban.txt'}[environment])
    base = sys.executable if environment == 'peers' else _newer_python()
    with open(wanted, 'rb') as file:
        # other versions are another environment
        digest = hashlib.sha256(file.read()).hexdigest()[:12]
    folder = os.path.join(cache, f'{environment}-{digest}')
    if not os.path.exists(os.path.join(folder, 'complete')):
        _make(base, folder, wanted)
    return os.path.join(folder, 'bin', 'python')


def _make(base, folder, wanted):
    shutil.rmtree(folder, ignore_errors=True)
    _call(base, '-m', 'venv', folder)
    _call(os.path.join(folder, 'bin', 'python'), '-m', 'pip', 'install', '--quiet',
          '--disable-pip-version-check', '-r', wanted)
    open(os.path.join(folder, 'complete'), 'w').close()


def _call(*command):
    # what this interpreter sees is not for that one
    environ = {name: value for name, value in os.environ.items()
               if name != 'PYTHONPATH'}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Missing(f'{" ".join(command)} ended with {done.returncode}: '
                      f'{done.stdout.strip()[-500:]}')


def _newer_python():
    """Return a Python of 3.12 or newer."""
    root = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    for path in (sys.executable, *(f'python3.{minor}' for minor in range(14, 11, -1)),
                 *sorted(glob.glob(os.path.join(
                     glob.escape(root), 'versions', '3.1[2-9]*', 'bin', 'python')))):
        if _is_new(path):
            return path
    raise Missing('oban-py needs Python 3.12 or newer, and there is none on the PATH; '
                  'install python3.12, or leave oban out with --peers')


def _is_new(path):
    try:
        # a name of pyenv may be there and lead nowhere
        return subprocess.run(
            [path, '-c', 'import sys; sys.exit(sys.version_info < (3, 12))'],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False
