"""Does a transaction change anything, and is it a connection's last?

The one place that looks into transactions and connections for it: what is
asked here is not part of their interfaces, and is tested on each version.
"""


def has_effects(transaction, connection):
    """Return whether committing *transaction* would do anything at all.

    That is: something joined it, it was doomed, or somebody wants to be called
    when it is committed.
    """
    return bool(
        transaction._resources
        or transaction.isDoomed()
        or not connection._needs_to_join
        or any(True for _hook in transaction.getBeforeCommitHooks())
        or any(True for _hook in transaction.getAfterCommitHooks()))


def ghost(connection, oid, cls=None):
    """Return the object *oid*, which is loaded when it is used.

    Where it is certain that its class is *cls*, only then: `Connection.get` loads an
    object of which it knows nothing once for its class, and once more for its state.
    """
    if cls is None:
        return connection.get(oid)
    return connection._reader.load_persistent(oid, cls)


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
