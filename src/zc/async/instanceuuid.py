"""The identity of this instance, kept in a file.

The file is named by the environment variable ``ZC_ASYNC_UUID``, by default
``uuid.txt`` in the current directory.  It is made when the identity is first
asked for, and stays with the instance: a process that is started again with it
takes over what the one before left undone.

``UUID`` is the identity too, for those who want it by that name.

Two processes with one identity would take each other for dead.  So whoever works
under one that was read from a file holds a lock beside the file meanwhile.
"""
import os
import tempfile
import uuid

import zc.lockfile
import zope.interface

from . import log
from .interfaces import IUUID

#: The environment variable that names the file.
ENVIRONMENT_KEY = 'ZC_ASYNC_UUID'
key = ENVIRONMENT_KEY  # the documented name

_TEXT = """\
The UUID above is this instance's identity in its database's zc.async queues.
Keep this file where it is: a process that starts with it continues the work of
the process before.  Two processes that run at the same time need a file each;
name it in the environment variable ZC_ASYNC_UUID.  To have a new identity,
remove this file while nothing runs.
"""

#: The file where the environment names none.
default_file = 'uuid.txt'

# By what was said, not by path: a process that changes its directory after the
# first look stays who it is.
_found = {}
_files = {}  # UUID -> the path of the file that it was read from

zope.interface.classImplements(uuid.UUID, IUUID)


def path():
    """Return the absolute path that the environment means at this moment."""
    return os.path.abspath(os.environ.get(key) or default_file)


def getUUID(file=None):
    """Return this instance's `uuid.UUID`; make the file if there is none.

    *file* names another file than the instance's.  Raise ValueError for a file
    that does not begin with a UUID, and OSError for one that cannot be read or
    made.  Any thread.
    """
    said = file or os.environ.get(key) or default_file
    if said not in _found:
        where = os.path.abspath(said)
        _found[said] = _read_or_make(where)
        _files[_found[said]] = where
    return _found[said]


def hold(UUID):
    """Hold the lock of the file of *UUID*; return what lets go of it when called.

    Raise ValueError if another dispatcher, of any process, holds it.  For a UUID
    that is not from a file there is nothing to hold.
    """
    where = _files.get(UUID)
    if where is None:
        return _nothing
    try:
        return lock(where).close
    except zc.lockfile.LockError:
        raise ValueError(
            f'the UUID file {where} is in use by the living process '
            f'{_holder(where)}; let {key} name another file for this one') from None
    except OSError as error:
        # as where the file is given to a container that cannot write beside it
        log.events.warning('the UUID file %s cannot be locked: %s', where, error)
        return _nothing


def lock(where):
    """Return the lock beside the UUID file *where*, held until it is closed.

    Raise zc.lockfile.LockError if another process holds it, and OSError if it cannot
    be made.  Only its owner can open it: whoever can, can keep the owner out.
    """
    os.close(os.open(f'{where}.lock', os.O_WRONLY | os.O_CREAT, 0o600))
    return zc.lockfile.LockFile(f'{where}.lock')


def _nothing():
    pass


def _holder(where):
    """Return what is known of the process that holds the lock: its number."""
    try:
        with open(f'{where}.lock', encoding='ascii', errors='replace') as file:
            return file.readline(20).strip() or '(unknown)'
    except OSError:
        return '(unknown)'


def _read_or_make(where):
    try:
        found = _read(where)
        if found is None:
            _make(where)
            found = _read(where)
    except OSError as error:
        raise OSError(
            error.errno,
            f'cannot read or make the UUID file {where}: {error.strerror}; let '
            f'{key} name a file in a folder that exists and can be written'
        ) from None
    return found


def _read(where):
    """Return the UUID in the file, None if there is no file."""
    try:
        with open(where, encoding='ascii', errors='replace') as file:
            line = file.readline(200).strip()
    except FileNotFoundError:
        return None
    try:
        return uuid.UUID(line)
    except ValueError:
        raise ValueError(
            f'the first line of {where} is no UUID: {line[:80]!r}; restore the '
            f'file, or remove it to have a new identity made') from None


def _make(where):
    """Make the file, whole or not at all, unless another process is faster.

    It gets its name when it is complete and on the disk, so nobody reads half.
    """
    folder = os.path.dirname(where)
    handle, draft = tempfile.mkstemp(prefix='.uuid-', dir=folder)  # mode 0600
    try:
        with os.fdopen(handle, 'w', encoding='ascii') as file:
            file.write(f'{uuid.uuid1()}\n\n{_TEXT}')
            file.flush()
            os.fsync(file.fileno())
        _name(draft, where)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
    _sync(folder)


def _name(draft, where):
    """Let the file *draft* be known as *where*, unless something else is."""
    try:
        os.link(draft, where)
    except FileExistsError:
        if not os.path.exists(where):
            raise  # a symbolic link to nothing
    except OSError:
        # a file system without hard links
        if not os.path.exists(where):
            os.rename(draft, where)


def _sync(folder):
    """Have the file's name on the disk too, where folders can be synced."""
    if os.name == 'posix':
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def __getattr__(name):
    if name == 'UUID':
        return getUUID()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
