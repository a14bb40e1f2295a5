"""What has to be mended in a storage before its promises can be relied on.

One place, so that it can go when the storage's own release has it.
"""


def mend(db):
    """Let an aborted transaction leave nothing behind in *db* and those beside it.

    RelStorage (4.3.0) on SQLite puts what is to be stored into a temporary table
    and empties that when it rolls back; but it rolls back only what SQLite calls a
    transaction.  One that is refused in its vote because of ``readCurrent`` is none
    yet: its rows stay, and the next transaction would commit them as well, so that
    the effects of a job could appear though its attempt was undone.
    """
    for one in db.databases.values():
        adapter = getattr(one.storage, '_adapter', None)
        if type(adapter).__name__ == 'Sqlite3Adapter':
            adapter.connmanager._may_need_rollback = _always


def _always(connection):
    return True
