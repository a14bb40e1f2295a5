#!/usr/bin/env python3
"""Set up this checkout and, given a word, go on with what the word says.

    python3 bootstrap.py                 set up only
    python3 bootstrap.py demo [ARGS...]  set up, then bin/zc-async demo ARGS
    python3 bootstrap.py test [ARGS...]  set up, then bin/test ARGS

Setting up makes an environment of its own in .venv and leaves bin/test, bin/py
and bin/zc-async.  Nothing outside the checkout is changed but the caches of
pip and buildout.  When nothing has changed since the last time, it is skipped.
"""
# The whole file must parse on every Python, or one that is too old could not
# say so: no f-string, no annotation, no unpacking in a display or a call.
import os
import sys

OLDEST = (3, 11)
if sys.version_info < OLDEST:
    sys.exit('zc.async needs Python %d.%d or newer, and this is %s: run '
             'bootstrap.py with a newer python3.'
             % (OLDEST + (sys.version.split()[0],)))

import ast
import contextlib
import hashlib
import importlib.util
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

try:
    import fcntl
except ImportError:  # Windows: two set-ups at once are then the user's affair
    fcntl = None

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, '.venv')
BIN = os.path.join(ROOT, 'bin')
TOOLS = os.path.join(VENV, 'Scripts' if os.name == 'nt' else 'bin')
PYTHON = os.path.join(TOOLS, 'python')
LOG = os.path.join(VENV, 'setup.log')
# Written when the environment is whole, and when the set-up is: whatever is
# found without them is the rest of a run that died, and is made again.
VENV_STAMP = os.path.join(VENV, 'environment.stamp')
SETUP_STAMP = os.path.join(VENV, 'setup.stamp')

DEFINING = ('bootstrap.py', 'buildout.cfg', 'setup.py', 'versions.cfg')
MADE = ('test', 'py', 'zc-async')
WORDS = {'demo': ['zc-async', 'demo'], 'test': ['test']}

# What would lead pip or Python out of the environment we make.
MISLEADING = (
    '__PYVENV_LAUNCHER__', 'PIP_PREFIX', 'PIP_PYTHON',
    'PIP_REQUIRE_VIRTUALENV', 'PIP_ROOT', 'PIP_TARGET', 'PYTHONHOME',
    'PYTHONPATH', 'PYTHONUSERBASE', 'VIRTUAL_ENV', 'VIRTUAL_ENV_PROMPT')
DEFAULT_INDEX = 'https://pypi.org/simple'


class Trouble(Exception):
    """The set-up cannot go on; its text is one sentence for the user."""


def main(words):
    if words[:1] in (['-h'], ['--help']):
        sys.stdout.write(__doc__)
        return 0
    if words and words[0] not in WORDS:
        return '%r is nothing bootstrap.py can do: say "demo", "test" or ' \
               'nothing at all.' % words[0]
    environ = clean_environment(os.environ)
    try:
        set_up(environ)
    except Trouble as trouble:
        return 'bootstrap.py: %s' % trouble
    except KeyboardInterrupt:
        return 'bootstrap.py: interrupted; the next run mends what is missing.'
    if not words:
        say('ready: bin/test, bin/py and bin/zc-async.')
        return 0
    command = WORDS[words[0]]
    return become([os.path.join(BIN, command[0])] + command[1:] + words[1:],
                  environ)


def say(text):
    sys.stderr.write('bootstrap.py: %s\n' % text)
    sys.stderr.flush()


def clean_environment(environ):
    """Return a copy of *environ* that keeps pip and Python in .venv."""
    kept = {k: v for k, v in environ.items() if k not in MISLEADING}
    kept['PIP_USER'] = '0'  # also wins over "user = true" in a pip.conf
    kept['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
    return kept


def become(command, environ):
    """Run *command* in the place of this process, so its exit status counts."""
    command = [PYTHON] + command  # a "#!" line has a greatest length
    if os.name == 'nt':
        return subprocess.call(command, env=environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(PYTHON, command, environ)


# Setting up

def set_up(environ):
    """Bring .venv and bin up to date; cheap when they are."""
    wanted = setup_mark()
    if is_set_up(wanted):
        return
    with one_at_a_time():
        if is_set_up(wanted):  # by the process that was waited for
            return
        make_environment(environ)
        run_buildout(environ)
        write(SETUP_STAMP, wanted)


def is_set_up(wanted):
    return read(SETUP_STAMP) == wanted and all(
        os.path.exists(os.path.join(BIN, name)) for name in MADE)


def environment_mark():
    """What .venv depends on: the Python under it, its place and its tools."""
    return '\n'.join((sys.version, sys.base_prefix, ROOT, pinned('zc.buildout')))


def setup_mark():
    """What bin depends on: the environment and the files that define it."""
    digest = hashlib.sha256(environment_mark().encode())
    for name in DEFINING:
        with open(os.path.join(ROOT, name), 'rb') as f:
            digest.update(b'\0' + f.read())
    return digest.hexdigest()


def pinned(name):
    """Return the requirement for *name* that versions.cfg asks for."""
    text = read(os.path.join(ROOT, 'versions.cfg')) or ''
    found = re.search(r'^%s = (\S+)$' % re.escape(name), text, re.M)
    if not found:
        raise Trouble('versions.cfg pins no version of %s.' % name)
    return '%s==%s' % (name, found.group(1))


@contextlib.contextmanager
def one_at_a_time():
    """Let a second set-up of the same checkout wait for the first."""
    if fcntl is None:
        yield
        return
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system can lock
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def make_environment(environ):
    """Make .venv with the pinned buildout in it, unless it is there whole."""
    wanted = environment_mark()
    if read(VENV_STAMP) == wanted and os.path.exists(PYTHON):
        return
    require_venv()
    say('making .venv for Python %s' % sys.version.split()[0])
    leave_venv()
    if os.path.islink(VENV) or os.path.isfile(VENV):
        raise Trouble('%s is not a folder: move it away.' % VENV)
    shutil.rmtree(VENV, ignore_errors=True)
    step([sys.executable, '-m', 'venv', '--clear', VENV], environ,
         'the environment %s could not be made' % VENV)
    tools = [pinned(name) for name in (
        'pip', 'setuptools', 'wheel', 'packaging', 'zc.buildout')]
    step([PYTHON, '-m', 'pip', 'install', '-q', '--retries', '2'] + tools,
         environ, 'zc.buildout could not be installed')
    write(VENV_STAMP, wanted)


def require_venv():
    """Debian ships Python without the modules that make an environment."""
    for name in ('venv', 'ensurepip'):
        if importlib.util.find_spec(name) is None:
            raise Trouble(
                'this Python (%s) lacks the module %r: install the rest of '
                'it (on Debian and Ubuntu: apt install python3-venv) and run '
                'bootstrap.py again.' % (sys.executable, name))


def leave_venv():
    """Refuse to take away the floor we stand on."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        raise Trouble('.venv must be made again, and this Python is in it: '
                      'say "deactivate" and run bootstrap.py again.')


def run_buildout(environ):
    """Make bin/ from buildout.cfg, from scratch but for the eggs."""
    say('making bin/ (the first time this takes about a minute)')
    for name in ('.installed.cfg', 'develop-eggs', 'parts'):
        remove(os.path.join(ROOT, name))
    settings, environ = package_index(environ)
    failure = 'buildout could not make bin/'
    step([os.path.join(TOOLS, 'buildout')] + settings + ['bootstrap'],
         environ, failure)
    step([os.path.join(BIN, 'buildout')] + settings, environ, failure)


def package_index(environ):
    """Translate pip's settings of the package index, which buildout ignores.

    Return the settings for buildout's command line and the environment.
    """
    told = pip_settings(environ)
    settings, environ = [], dict(environ)
    if 'index-url' in told:
        settings.append('buildout:index=' + told['index-url'])
    if 'cert' in told:
        environ.setdefault('SSL_CERT_FILE', told['cert'])
    return settings, environ


def pip_settings(environ):
    """Return pip's settings as a dict; the later source wins, as in pip."""
    listed = subprocess.run(
        [PYTHON, '-m', 'pip', 'config', 'list'], cwd=ROOT, env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    told = {}
    for scope in ('global', 'install', ':env:'):
        for name, value in re.findall(
                r'^%s\.([\w-]+)=(.*)$' % re.escape(scope), listed.stdout, re.M):
            with contextlib.suppress(ValueError, SyntaxError):
                told[name] = ast.literal_eval(value)
    return told


def step(command, environ, failure):
    """Run *command*, its output into the log; or say why it failed."""
    if os.path.dirname(command[0]) in (TOOLS, BIN) and command[0] != PYTHON:
        command = [PYTHON] + command
    done = subprocess.run(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors='replace')
    if os.path.isdir(VENV):
        with open(LOG, 'a', encoding='utf-8') as log:
            log.write(done.stdout)
    if done.returncode == 0:
        return
    unreachable = why_unreachable(environ)
    if unreachable:
        raise Trouble('%s, because %s.' % (failure, unreachable))
    sys.stderr.write(done.stdout[-4000:])
    raise Trouble('%s: see the output above, which is also in %s.'
                  % (failure, LOG))


def why_unreachable(environ):
    """Return why packages cannot be fetched, or None when they can."""
    if not os.path.exists(PYTHON):
        return None
    index = pip_settings(environ).get('index-url', DEFAULT_INDEX)
    parts = urllib.parse.urlsplit(index)
    if parts.scheme not in ('http', 'https'):
        return None
    shown = '%s://%s' % (parts.scheme, parts.netloc.rpartition('@')[2])
    plain = parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()
    page = plain.rstrip('/') + '/zc.buildout/'
    try:
        urllib.request.urlopen(page, timeout=15).close()
    except urllib.error.HTTPError:
        return None  # it answers: the network is not what is missing
    except OSError as error:
        return ('the package index %s cannot be reached (%s): check the '
                'network, or name another index in PIP_INDEX_URL'
                % (shown, getattr(error, 'reason', error)))


# Files

def read(path):
    try:
        with open(path, encoding='utf-8') as f:
            return f.read()
    except OSError:
        return None


def write(path, text):
    """Write *text* so that the file is never seen with half of it."""
    with open(path + '.new', 'w', encoding='utf-8') as f:
        f.write(text)
    os.replace(path + '.new', path)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
