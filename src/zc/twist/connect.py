"""A connection of one's own, as soon as the pool has room for it."""
import random

import transaction
from twisted.internet import defer

FIRST_WAIT = 1 / 16     # seconds; each wait is longer than the one before
JITTER = 1 / 20         # at most this much is added, so that waits spread
PATIENCE = 0.5          # a wait this long is the last one


def default_reactor():
    """Return the process' reactor, installing one if there is none yet."""
    from twisted.internet import reactor
    return reactor


def availableConnectionCount(db):
    """Return how many connections *db* can open within its pool size."""
    pool = db.pool
    return len(pool.available) + db.getPoolSize() - len(pool.all)


class Waiting:
    """How long to wait for room in a database's pool: not for ever.

    The pool's size is a soft limit of the ZODB: after half a second or so the
    caller goes ahead anyway.
    """

    def __init__(self, db, backoff=0, chance=random.random):
        self._db, self._backoff, self._chance = db, backoff, chance

    def wait(self):
        """Return the seconds to wait before asking again; 0 to go ahead."""
        if self._backoff >= PATIENCE or availableConnectionCount(self._db) > 0:
            return 0
        self._backoff += FIRST_WAIT + self._chance() * JITTER
        return self._backoff


def open_connection(db):
    """Return a new connection of *db* in an explicit transaction manager.

    Explicit, so that neither opening nor aborting begins a transaction by
    itself: with the server away, beginning is what fails.
    """
    return db.open(transaction.TransactionManager(explicit=True))


def get_connection(db, deferred=None, backoff=0, reactor=None,
                   chance=random.random):
    """Return a Deferred of a connection of *db* with a manager of its own.

    Where the pool has no room, waits for it: *backoff* grows by a sixteenth
    of a second and a little *chance* before each look; once it has reached
    half a second, a connection is opened all the same.  The connection's
    transaction manager is explicit: begin a transaction before reading.
    """
    if deferred is None:
        deferred = defer.Deferred()
    waiting = Waiting(db, backoff, chance)

    def look():
        if deferred.called:
            return          # cancelled while waiting
        seconds = waiting.wait()
        if seconds:
            (reactor or default_reactor()).callLater(seconds, look)
            return
        try:
            opened = open_connection(db)
        except Exception:
            deferred.errback()
        else:
            deferred.callback(opened)

    look()
    return deferred
