"""Does a transaction change anything, and is it a connection's last?

The one place that looks into transactions and connections for it: what is
asked here is not part of their interfaces, and is tested on each version.
"""
from ZODB import Connection
from ZODB.mvccadapter import MVCCAdapterInstance
from ZODB.utils import p64
from ZODB.utils import u64

#: The status of a transaction whose commit has failed.
_FAILED = 'Commit failed'


def has_effects(transaction, connection):
    """Return whether committing *transaction* would do anything at all.

    That is: something joined it, it was doomed, or somebody wants to be called
    when it is committed.
    """
    return bool(
        transaction._resources
        or not connection._needs_to_join
        or _is_waited_for(transaction))


def _is_waited_for(transaction):
    return (transaction.isDoomed()
            or any(True for _hook in transaction.getBeforeCommitHooks())
            or any(True for _hook in transaction.getAfterCommitHooks()))


def is_under_way(transaction, manager):
    """Return whether *transaction*, of *manager*, was neither ended nor has failed."""
    return manager._txn is transaction and transaction.status != _FAILED


def is_told(connection, manager):
    """Return whether *connection* is told of the transactions of *manager*."""
    return connection in manager._synchs


class Mark:
    """What a transaction has changed in *connection* so far, and the state of *job*.

    To be compared afterwards: what was changed before is known, and kept elsewhere.
    """

    __slots__ = ('_connection', '_states', '_guards')

    #: What is changed when a callback begins.
    _BEGINNING = frozenset(
        ('_code', '_attempt', '_active_start', '_active_end', '_awaits'))

    def __init__(self, connection, job):
        self._connection = connection
        self._guards = dict(connection._readCurrent)
        self._states = {id(one): (one, _state(one))
                        for one in (*connection._registered_objects, job)}

    def is_exceeded(self, transaction, job):
        """Return whether committing *transaction* would do more by now.

        Beyond letting *job* begin.
        """
        connection = self._connection
        return bool(
            any(one is not connection for one in transaction._resources)
            or _is_waited_for(transaction)
            or connection._savepoint_storage is not None
            or connection._readCurrent != self._guards
            or not all(self._is_as_before(one, job)
                       for one in connection._registered_objects))

    def _is_as_before(self, one, job):
        found = self._states.get(id(one))
        if found is None:
            return False
        before, now = found[1], _state(one)
        ignored = self._BEGINNING if one is job else ()
        # by identity: what is equal may have been written all the same
        return all(before.get(name, self) is now.get(name, self)
                   for name in before.keys() | now.keys() if name not in ignored)


def _state(one):
    return {name: value for name, value in vars(one).items()
            if not name.startswith('_v_')}


def is_current(connection):
    """Return whether nothing was committed since *connection*'s transaction began.

    Nor in a database beside it.  False where the storage does not tell that for nothing.
    """
    return all(_is_newest(one._storage) for one in connection.connections.values())


def _is_newest(storage):
    if type(storage) is not MVCCAdapterInstance:
        return False
    latest = max(storage._storage.lastTransaction(), storage._ltid)
    return storage._start == p64(u64(latest) + 1)


def ghost(connection, oid, cls=None):
    """Return the object *oid*, which is loaded when it is used.

    Where it is certain that its class is *cls*, only then: `Connection.get` loads an
    object of which it knows nothing once for its class, and once more for its state.
    """
    if cls is None:
        return connection.get(oid)
    return connection._reader.load_persistent(oid, cls)


def begun_after(connection, serial):
    """Return whether the transaction of *connection* sees what *serial* has stored.

    Of a storage that ZODB adapts to its multi-version protocol.
    """
    return serial < connection._storage._start


def adopt(connection, oid, cls, state, serial, size):
    """Return the object *oid* of *cls* with *state*, as *serial* has stored it.

    *size* is about that of its record, in bytes.  Return None where *connection* has the
    object already.
    """
    if connection._cache.get(oid) is not None:
        return None
    found = cls.__new__(cls)
    found.__setstate__(state)
    found._p_oid, found._p_jar, found._p_serial = oid, connection, serial
    found._p_estimated_size = size
    connection._cache[oid] = found
    return found


def can_be_kept(connection, manager):
    """Return whether *connection*, of *manager*, is as good for another transaction as anew.

    Not where somebody wants to be called when it is closed, nor where it has begun
    something or is not told of transactions; not where others are open beside it, or a
    begin could ask its storage for more than an opening; nor where its cache is to be
    thrown away.
    """
    return (type(connection._storage) is MVCCAdapterInstance
            and len(connection.connections) == 1
            and connection._needs_to_join
            and connection._reset_counter == Connection.global_reset_counter
            and not connection._Connection__onCloseCallbacks
            and is_told(connection, manager))


class LastOf:
    """A context: what ends in it is the last transaction before *connection* is closed.

    After each one ZODB looks for what others have committed, in case somebody goes on
    without a ``begin``.  On RelStorage that is a question to the server, and whoever
    opens the connection asks it again.
    """

    __slots__ = ('_family', '_before')

    def __init__(self, connection):
        self._family = list(connection.connections.values())

    def __enter__(self):
        self._before = [one.explicit_transactions for one in self._family]
        for one in self._family:
            one.explicit_transactions = True

    def __exit__(self, *error):
        for one, explicit in zip(self._family, self._before):
            one.explicit_transactions = explicit
