"""Is an error the storage's absence, or a conflict, or the job's own fault?

One place decides it, by the class of the error and by where it was raised: jobs
have databases and files of their own, and what goes wrong there is their own
affair.  Three things are told apart:

outage
    the storage cannot be reached, or its disk is full, or it has closed itself.
    Nothing is decided meanwhile: who meets one waits.  `closed` says that waiting
    is in vain.
conflict
    another transaction was quicker.
everything else
    whoever raised it has to answer for it.

Note the order: today ZEO's ``ClientDisconnected`` is a
`transaction.interfaces.TransientError` as well, and RelStorage lets its drivers'
raw errors through, which are neither.
"""
import errno
import functools
import sys
import traceback

from transaction.interfaces import TransactionError
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.DB import DB
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

try:
    from ZEO.Exceptions import ClientDisconnected
    from ZEO.Exceptions import ServerException
except ImportError:
    class ClientDisconnected(Exception):
        """Stands in where ZEO is not installed: nothing raises it."""

    class ServerException(Exception):
        """Stands in as well."""

#: Names of the classes by which database drivers say that the server is gone.
_DRIVER_ERRORS = frozenset(('OperationalError', 'InterfaceError'))
#: … and of those that speak of what was asked of it.
_ASKED_WRONGLY = frozenset((
    'IntegrityError', 'ProgrammingError', 'DataError', 'NotSupportedError',
    'InternalError'))
_DRIVERS = frozenset((
    'psycopg', 'psycopg2', 'pg8000', 'sqlite3', 'MySQLdb', 'pymysql', 'mysql',
    'cx_Oracle', 'oracledb'))
#: What a disk says that is full, or fails.
_DISK = frozenset(
    getattr(errno, name) for name in ('ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO')
    if hasattr(errno, name))
#: The codes by which databases say that theirs is full, or may not be written.
_FULL_CODES = frozenset(('53100', 'SQLITE_FULL'))
_READ_ONLY_CODES = frozenset(('25006', 'SQLITE_READONLY'))

#: The packages, and single modules, whose code is a storage's.
_storages = {'ZODB', 'ZEO', 'relstorage'}
#: … and those that a storage calls: they raise in its name.
_called = {*sys.stdlib_module_names, *_DRIVERS, 'gevent', 'perfmetrics', 'scramp'}
#: What the drivers in use raise when they find their connection gone, besides.
_disconnected = set()


def learn(db):
    """Take errors out of the storages of *db*, and those beside it, for theirs.

    Any thread.  That of a storage which is none of ZODB's, ZEO's or RelStorage's
    own is known by its classes' modules.
    """
    for one in db.databases.values():
        for storage in layers(one.storage):
            _storages.update(
                cls.__module__ for cls in type(storage).__mro__
                if cls.__module__.partition('.')[0] not in _called)
            driver = getattr(getattr(storage, '_adapter', None), 'driver', None)
            _disconnected.update(getattr(driver, 'disconnected_exceptions', ()))


def _is_storage_code(module):
    return module in _storages or module.partition('.')[0] in _storages


def _raised_by_storage(error, unraised=False):
    """Return whether a storage raised *error*, or what it had called.

    *unraised* is the answer for an error that nobody has raised.
    """
    answer = unraised
    for frame, _line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get('__name__') or ''
        if _is_storage_code(module):
            answer = True
        elif module.partition('.')[0] not in _called:
            answer = False
    return answer


def _answered(question):
    """Let *question* be answered False by an error that cannot even be asked."""
    @functools.wraps(question)
    def ask(error):
        try:
            return question(error)
        except BaseException:
            # its ``__getattribute__`` or ``__str__`` may do anything
            return False

    return ask


# What the storage says

def _is_driver_error(error):
    if isinstance(error, tuple(_disconnected)) and _raised_by_storage(error):
        return True
    for cls in type(error).__mro__:
        if cls.__module__.partition('.')[0] not in _DRIVERS:
            continue
        if cls.__name__ in _ASKED_WRONGLY:
            return False
        if cls.__name__ in _DRIVER_ERRORS or (
                cls.__name__ == 'DatabaseError' and cls is type(error)):
            return _raised_by_storage(error, unraised=True)
    return False


def _is_lock_timeout(error):
    # locks on rows, which another transaction has or both wait for: a conflict
    return not isinstance(error, ConflictError) and any(
        cls.__name__.startswith('UnableTo') and 'relstorage' in cls.__module__
        for cls in type(error).__mro__)


@_answered
def is_disk_error(error):
    """Return whether *error* says that the storage's disk is full, or fails."""
    if isinstance(error, OSError):
        return error.errno in _DISK and _raised_by_storage(error)
    name, told = _of_server(error)
    if name == 'builtins.OSError':
        return not _DISK.isdisjoint(told[:1])
    return _code(error) in _FULL_CODES and _is_driver_error(error)


def _of_server(error):
    """Return the name of the error that a ZEO server has met, and its arguments.

    A client has no class for most: it is told of them in one of ZEO's own.
    """
    if isinstance(error, ServerException) and len(error.args) == 2:
        name, told = error.args
        return name, told if isinstance(told, tuple) else ()
    return '', ()


def _code(error):
    """Return the code that a driver has put on *error*, or None."""
    for name in ('pgcode', 'sqlstate', 'sqlite_errorname'):
        code = getattr(error, name, None)
        if code:
            return code
    return None


@_answered
def _says_closed(error):
    name, told = _of_server(error)
    if name == 'builtins.ValueError':
        return 'closed' in str(told)
    return (isinstance(error, ValueError) and 'closed' in str(error)
            and _raised_by_storage(error))


@_answered
def is_outage(error):
    """Return whether *error* says that the storage cannot be used now."""
    judged = getattr(error, _JUDGED, not is_read_only(error) and None)
    if judged is not None:
        return judged
    return (isinstance(error, ClientDisconnected)
            or _is_driver_error(error)
            or _is_lock_timeout(error)
            or is_disk_error(error)
            or _says_closed(error))


@_answered
def is_certain(error):
    """Return whether the outage *error* is a storage's without a doubt.

    Others may be one's own that only looks like it.
    """
    return _is_lock_timeout(error) or is_disk_error(error) or _says_closed(error)


@_answered
def is_read_only(error):
    """Return whether *error* says that the database cannot be written at all.

    That is no outage: a person has to do something about it.
    """
    return isinstance(error, ReadOnlyError) or (
        _code(error) in _READ_ONLY_CODES and _raised_by_storage(error))


def is_standstill(error):
    """Return whether *error* says that nothing at all can be stored now."""
    return is_outage(error) or is_read_only(error)


@_answered
def is_conflict(error):
    """Return whether *error* is a conflict with another transaction."""
    return is_stale_id(error) or (
        isinstance(error, (ConflictError, TransientError))
        and not isinstance(error, ClientDisconnected) and not is_outage(error))


@_answered
def is_stale_id(error):
    """Return whether *error* says that a new object's id was given out twice.

    A ZEO server that restarts gives ids out again that its clients had in
    reserve: the aftermath of an outage.
    """
    if isinstance(error, ConflictError):  # what was to be stored had no serial yet
        return bool(error.serials) and error.serials[1] == z64
    return (isinstance(error, ValueError)
            and 'already has the same oid' in str(error)
            and _raised_by_storage(error))


@_answered
def is_storage_conflict(error):
    """Return whether *error* is a conflict that a storage found.

    Somebody else has committed, so there is progress, and no reason to count.
    Others raise such errors in their own interest.
    """
    return is_stale_id(error) or (
        isinstance(error, ConflictError) and _raised_by_storage(error))


@_answered
def is_transaction_error(error):
    """Return whether *error* is the transaction's, and no outage."""
    return isinstance(error, (TransactionError, ConflictError)) and not is_outage(error)


# Whose storage

_JUDGED = '_zc_async_outage'


def disown(error, note):
    """Let *error* be no outage any more, and have its traceback say *note*."""
    setattr(error, _JUDGED, False)
    error.add_note(note)


def adopt(error):
    """Let *error* be an outage."""
    setattr(error, _JUDGED, True)


def comes_from(error, *databases):
    """Return whether *error* was raised in one of *databases*."""
    found = None
    for frame, _line in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        if isinstance(owner, Connection):
            found = owner.db()
        elif isinstance(owner, DB):
            found = owner
    return found is not None and any(found is one for one in databases)


def answers(db):
    """Return whether the storages of *db* and those beside it answer, just now.

    Any thread; over the network, where there is one.  Does not wait for a server
    that is known to be away.
    """
    databases = list(db.databases.values())
    return bool(databases) and all(map(_answers, databases))


def _answers(db):
    try:
        storage = db.storage
        if not getattr(storage, 'is_connected', lambda: True)():
            return False
        ping = getattr(storage, 'ping', None)  # ZEO
        if ping is not None:
            ping()
            return True
        instance = db._mvcc_storage.new_instance()
        try:
            instance.poll_invalidations()
        finally:
            instance.release()
    except Exception:
        return False
    return closed(db) is None


# Storages that nothing can be done with any more

def closed(db):
    """Return which storage of *db*, or of those beside it, is closed; or None.

    The answer is for people.  A FileStorage closes itself when it cannot tell
    what of a commit is on the disk; only opening it anew, in a new process, helps.
    """
    if not db.databases:
        return f'database {db.database_name!r}'
    for name, one in list(db.databases.items()):
        for storage in layers(getattr(one, 'storage', None)):
            if _is_closed(storage):
                where = getattr(storage, '_file_name', None) or storage.getName()
                return f'{type(storage).__name__} {where} of database {name!r}'
    return None


def _is_closed(storage):
    if getattr(storage, '_closed', False) is True:  # RelStorage
        return True
    if getattr(getattr(storage, '_file', None), 'closed', False) is not True:
        return False
    with storage._lock:  # a pack closes it for a moment
        return storage._file.closed


def layers(storage):
    """Yield *storage* and those that it stands on; nothing for None."""
    waiting, seen = [storage], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # not what it would only pass on to another
        known = getattr(one, '__dict__', {})
        waiting += [known[name] for name in ('base', 'changes', '_base', '_storage')
                    if name in known]
