"""The identity of this instance, kept in a file.

The file is named by the environment variable ``ZC_ASYNC_UUID``, by default
``uuid.txt`` in the current directory.  It is made when the identity is first
asked for, and stays with the instance: a process that is started again with it
takes over what the one before left undone.
"""
import os
import uuid

ENVIRONMENT_KEY = 'ZC_ASYNC_UUID'

_TEXT = """\
The UUID above is this instance's identity in its database's zc.async queues.
Keep this file where it is: a process that starts with it continues the work of
the process before.  Two processes that run at the same time need a file each;
name it in the environment variable ZC_ASYNC_UUID.  To have a new identity,
remove this file while nothing runs.
"""

_found = {}  # path -> UUID


def path():
    """Return the absolute path of the file."""
    name = os.environ.get(ENVIRONMENT_KEY) or os.path.join(os.getcwd(), 'uuid.txt')
    return os.path.abspath(name)


def getUUID():
    """Return this instance's `uuid.UUID`; make the file if there is none.

    Raise ValueError for a file that does not begin with a UUID, and OSError for
    one that cannot be read or made.  Any thread.
    """
    where = path()
    if where not in _found:
        _found[where] = _read(where) or _make(where)
    return _found[where]


def _read(where):
    try:
        with open(where, encoding='ascii', errors='replace') as file:
            line = file.readline().strip()
    except FileNotFoundError:
        return None
    try:
        return uuid.UUID(line)
    except ValueError:
        raise ValueError(
            f'the first line of {where} is no UUID: {line[:80]!r}; restore the '
            f'file, or remove it to have a new identity made') from None


def _make(where):
    made = uuid.uuid1()
    try:
        # exclusively: of two processes that start at once, one makes it
        handle = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(where)
    with os.fdopen(handle, 'w', encoding='ascii') as file:
        file.write(f'{made}\n\n{_TEXT}')
        file.flush()
        os.fsync(file.fileno())
    return made


def __getattr__(name):
    if name == 'UUID':
        return getUUID()
    if name == 'key':
        return str(getUUID())
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
