"""Connections that lie idle in a pool, which ZODB tells of every commit.

What was changed since their last transaction is kept for each of them, without an
end, until they are used again: after a busy hour those that only the busiest
moments need keep the ids of all jobs that were done in it.
"""
from ZODB.mvccadapter import MVCCAdapter

#: Ids that one connection may keep, unless its cache may have more objects.
LIMIT = 10_000


def forget(db):
    """Let connections to *db*, and the databases beside it, keep no more ids than that.

    One that kept more reads all of its objects again when it is used.  Any thread.
    """
    for one in db.databases.values():
        adapter = one._mvcc_storage
        if isinstance(adapter, MVCCAdapter):
            _forget(adapter, max(LIMIT, one.getCacheSize()))


def _forget(adapter, limit):
    with adapter._lock:
        for instance in getattr(adapter, '_instances', ()):  # none once it is closed
            if len(getattr(instance, '_invalidations', None) or ()) > limit:
                # as after a reconnection, where nobody knows what was changed
                instance._invalidateCache()
