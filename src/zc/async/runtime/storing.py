"""The commits of workers, and how long they take.

A thread that waits for the storage is not one that others could be woken for: they would
wait there, too.
"""
import threading

from ZODB.interfaces import IMVCCStorage

from .. import clock

#: Seconds that commits take, typically, for each thread that can be awake beside the first
#: and not be in its way.
QUICK = 0.01
#: The same where each connection has one of its own to the server.
QUICK_APART = 0.004

_under_way = set()  # the identities of threads


class _Spent(threading.local):
    seconds = 0.0


_spent = _Spent()


def commit(manager):
    """Commit the transaction of *manager*; the time counts as `spent`."""
    began, thread = clock.monotonic(), threading.get_ident()
    _under_way.add(thread)
    try:
        manager.commit()
    finally:
        _under_way.discard(thread)
        _spent.seconds += clock.monotonic() - began


def spent():
    """Return the seconds that this thread's commits took since it asked last."""
    seconds, _spent.seconds = _spent.seconds, 0.0
    return seconds


def committing(thread):
    """Return whether the thread of this identity is in `commit` now.  Any thread."""
    return thread in _under_way


def quick(db):
    """Return the seconds of a commit to *db* that make room for one more thread.

    All connections of a process to FileStorage share its lock, and those to ZEO its one
    thread that talks with the server.  Those to RelStorage do not meet in the process.
    """
    return QUICK_APART if IMVCCStorage.providedBy(db.storage) else QUICK
