"""Is an error the storage's absence, or a conflict, or the job's own fault?

One place decides it.  Note the order: today ZEO's ``ClientDisconnected`` is a
`transaction.interfaces.TransientError` as well, and RelStorage lets its
drivers' raw errors through, which are neither.
"""
from transaction.interfaces import TransactionError
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError

try:
    from ZEO.Exceptions import ClientDisconnected
except ImportError:
    class ClientDisconnected(Exception):
        """Stands in where ZEO is not installed: nothing raises it."""

#: Names of the classes by which database drivers say that the server is gone.
_DRIVER_ERRORS = frozenset(('OperationalError', 'InterfaceError', 'DatabaseError'))
_DRIVER_MODULES = ('psycopg', 'psycopg2', 'pg8000', 'sqlite3', 'MySQLdb', 'pymysql')


def _is_driver_error(error):
    return any(
        cls.__name__ in _DRIVER_ERRORS
        and cls.__module__.partition('.')[0] in _DRIVER_MODULES
        for cls in type(error).__mro__)


def _is_lock_timeout(error):
    # locks on rows, which another transaction has or both wait for: a conflict
    return not isinstance(error, ConflictError) and any(
        cls.__name__.startswith('UnableTo') and 'relstorage' in cls.__module__
        for cls in type(error).__mro__)


def is_outage(error):
    """Return whether *error* says that the storage cannot be reached now."""
    return (isinstance(error, ClientDisconnected)
            or _is_driver_error(error)
            or _is_lock_timeout(error))


def is_conflict(error):
    """Return whether *error* is a conflict with another transaction."""
    return (isinstance(error, (ConflictError, TransientError))
            and not is_outage(error))


def is_transaction_error(error):
    """Return whether *error* is the transaction's, and no outage."""
    return isinstance(error, (TransactionError, ConflictError)) and not is_outage(error)
