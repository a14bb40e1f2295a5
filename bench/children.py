"""Fresh processes of the bench, none of which outlives it.

A child is told its task in a line of JSON and answers in lines of JSON.  It ends
when its standard input does: when it is no longer needed, and also when the
bench was killed.
"""
import itertools
import json
import os
import subprocess
import sys

#: Seconds that a child has to end when it is told to.
PATIENCE = 20

_numbers = itertools.count()


class ChildFailed(Exception):
    """A child ended before it had answered; what it says stands before."""


class Child:
    """A process that does the task *role*; ended with the block.

    Its working directory and its identity are in *folder*.
    """

    def __init__(self, role, folder, **task):
        self._role = role
        self._folder = folder
        self._task = {'role': role, **task}

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'bench.child'], cwd=self._folder,
            env=_environment(self._folder), text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            # Ctrl-C is for the bench, which then ends its children in order
            start_new_session=True)
        try:
            print(json.dumps(self._task), file=self._process.stdin, flush=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def tell(self):
        """Let the child go on to what it does next."""
        print(file=self._process.stdin, flush=True)

    def hear(self):
        """Return what the child says next.  Raise `ChildFailed` if it is gone."""
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(
                f'the process for {self._role!r} ended with '
                f'{self._process.wait()} before it had answered')
        return json.loads(line)

    def __exit__(self, *_error):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(PATIENCE)
        except BaseException as error:
            self._process.kill()
            self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            self._process.stdout.close()


def done(role, folder, **task):
    """Have a fresh process do a task to its end; return its answer."""
    with Child(role, folder, **task) as child:
        return child.hear()


def _environment(folder):
    """A child sees the modules that this process sees, and is itself."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
                ZC_ASYNC_UUID=os.path.join(folder, f'uuid-{next(_numbers)}.txt'))
