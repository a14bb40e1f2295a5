#!/usr/bin/env python3
"""Start an example's server:  python3 examples/serve.py NAME [OPTIONS]

NAME is ztk, zope or pyramid.  What the example needs is installed in an
environment of its own at the first time, in var/examples/NAME of the checkout;
there is its database, too.
"""
import argparse
import errno
import hashlib
import os
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

import bootstrap  # noqa: E402  found by the line before; refuses an old Python

NAMES = ('ztk', 'zope', 'pyramid')


def main(words):
    told = options(words)
    environ = bootstrap.clean_environment(os.environ)
    try:
        python = make_environment(told.name, environ)
        if told.prepare:
            print(python)
            return 0
        check_port(told.port)
    except bootstrap.Trouble as trouble:
        return f'serve.py: {trouble}'
    except KeyboardInterrupt:
        return 'serve.py: interrupted; the next run mends what is missing.'
    os.makedirs(told.instance, exist_ok=True)
    words = [os.path.abspath(told.instance), str(told.port)]
    if told.database:
        words.append(told.database)
    return become([python, os.path.join(HERE, told.name, 'serve.py'), *words], environ)


def options(words):
    parser = argparse.ArgumentParser(
        'serve.py', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=NAMES)
    parser.add_argument('--port', type=port, default=8080, help='8080 by default')
    parser.add_argument('--instance', metavar='FOLDER', help='where its data is')
    parser.add_argument('--prepare', action='store_true',
                        help='make the environment, print its Python, and start nothing')
    parser.add_argument('--database', metavar='FILE_OR_URI', type=database,
                        help='pyramid only: keep the data there, as a ZConfig file or a '
                             'URI says, and leave the jobs to workers (zc-async worker)')
    told = parser.parse_args(words)
    if told.database and told.name != 'pyramid':
        parser.error(f'--database is for pyramid, not for {told.name}')
    told.instance = told.instance or os.path.join(made(told.name), 'instance')
    return told


def port(text):
    """Return the number of a port."""
    number = int(text)
    if not 0 < number < 1 << 16:
        raise ValueError(text)
    return number


def database(text):
    """Return a URI as it is, and where a file is for a process in any folder."""
    return text if '://' in text else os.path.abspath(text)


def made(name):
    """Return the folder of what is made for example *name*."""
    return os.path.join(ROOT, 'var', 'examples', name)


def make_environment(name, environ):
    """Return the Python of the example's environment; make it if need be."""
    folder = os.path.join(made(name), 'environment')
    scripts = 'Scripts' if os.name == 'nt' else 'bin'
    python = os.path.join(folder, scripts, 'python')
    stamp = os.path.join(folder, 'environment.stamp')
    wanted = mark(name, folder)
    if bootstrap.read(stamp) == wanted:
        return python
    bootstrap.require_venv()
    os.makedirs(made(name), exist_ok=True)
    with bootstrap.one_at_a_time():
        if bootstrap.read(stamp) != wanted:
            sys.stderr.write(f'serve.py: making {os.path.relpath(folder, ROOT)} (the '
                             f'first time this takes about a minute)\n')
            run([sys.executable, '-m', 'venv', '--clear', folder], environ)
            install(name, python, environ)
            bootstrap.write(stamp, wanted)
    return python


def install(name, python, environ):
    """Install what the example needs, and then the checkout itself."""
    pip = [python, '-m', 'pip']
    requirements = os.path.join(HERE, name, 'requirements.txt')
    run(pip + ['install', '-q', '-r', requirements], environ)
    run(pip + ['install', '-q', '--no-deps', '--no-build-isolation', '-e', ROOT],
        environ)
    run(pip + ['check'], environ)


def mark(name, folder):
    """Return what the environment depends on, in short."""
    digest = hashlib.sha256(f'{sys.version} {sys.base_prefix} {folder}'.encode())
    for path in (os.path.join(HERE, name, 'requirements.txt'),
                 os.path.join(ROOT, 'setup.py'), os.path.abspath(__file__)):
        with open(path, 'rb') as f:
            digest.update(b'\0' + f.read())
    return digest.hexdigest()


def run(command, environ):
    """Run *command*; show its output only if it fails."""
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors='replace')
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        raise bootstrap.Trouble(
            f'{" ".join(command[1:5])} ... failed: see the output above, and check '
            f'that the package index can be reached.')


def check_port(port):
    """Say it before anything is started, if somebody has the port."""
    with socket.socket() as probe:
        if os.name == 'posix':
            # or connections that have just ended would count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise bootstrap.Trouble(
                f'port {port} cannot be had ({error.strerror}): choose another one '
                f'with --port.')


def become(command, environ):
    """Run *command* in the place of this process, so that signals reach it."""
    environ['PYTHONPATH'] = os.path.join(HERE, 'common')
    # as this instance's identity is kept with its data, whatever the shell says
    environ.pop('ZC_ASYNC_UUID', None)
    if os.name == 'nt':
        return subprocess.call(command, env=environ)
    os.execve(command[0], command, environ)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
