"""One living process for each UUID file.

A process that works holds a lock beside its UUID file, which the system takes
away with the process, however it ends.
"""
import contextlib
import os

from zc.lockfile import LockError

from .. import instanceuuid
from .options import Refused


@contextlib.contextmanager
def taken(path):
    """Be, within the block, the process whose identity is in the file *path*.

    Yields the UUID.  Raise `Refused` where another living process is it, or the
    file cannot be read or made.
    """
    lock = _lock(path)
    try:
        os.environ[instanceuuid.ENVIRONMENT_KEY] = path
        try:
            UUID = instanceuuid.getUUID()
        except (OSError, ValueError) as error:
            raise Refused(str(error)) from None
        yield UUID
    finally:
        lock.close()


def _lock(path):
    try:
        return instanceuuid.lock(path)
    except LockError:
        raise Refused(f'the UUID file {path} is that of a living process; let each '
                      f'process have a file of its own', 1) from None
    except OSError as error:
        raise Refused(f'cannot make {_lock_path(path)}: {error.strerror}; name a UUID '
                      f'file in a folder that exists and can be written') from None


def _lock_path(path):
    return f'{path}.lock'


def problem(path):
    """Return what would keep this process from taking the UUID file *path*, or None.

    Makes no file.
    """
    folder = os.path.dirname(path)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        return f'the folder {folder} of the UUID file does not exist or cannot be written'
    if os.path.exists(_lock_path(path)):
        try:
            _lock(path).close()
        except Refused as refused:
            return str(refused)
    return None


def known(path):
    """Return the UUID in the file *path*, None if there is no file.

    Raise ValueError for a file without a UUID.
    """
    return instanceuuid._read(path)
