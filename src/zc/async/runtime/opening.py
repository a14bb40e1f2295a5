"""The connections in which workers do their jobs.

To open and to close one costs a tenth of what a short job does, so that a thread which
goes on with the next job at once keeps the one it has.  It closes it when it rests: a
connection that is open holds on to old states of its objects.
"""
import threading

import transaction

from .. import log
from .. import outage
from .attempt import abort
from .effects import can_be_kept
from .pauses import AWAY
from .pauses import Pauses
from .troubles import met


class _Kept(threading.local):
    """What a thread keeps: a connection, and when it was opened."""

    connection = opened = None


class Connections:
    """Opens connections.  Any thread; each has its own.

    *services* is the dispatcher, of which ``db`` and ``pause`` are used.  Where it
    *keeps* them, `rest` has to be called by each thread that has nothing more to do, or
    ends.
    """

    def __init__(self, services, keeps=False):
        self._services = services
        self._keeps = keeps
        self._kept = _Kept()

    def take(self, manager):
        """Return a connection of *manager*, the thread's, in a transaction just begun.

        Wait while the storage is away.  Whoever takes one has to put it back.
        """
        kept, inner = self._kept, manager.manager
        connection, kept.connection = kept.connection, None
        if connection is not None and connection.opened is kept.opened:
            if can_be_kept(connection, inner):
                try:
                    inner.begin()
                    return connection
                except Exception as error:
                    met(error)
                    abort(inner)
            close(connection)
        return self._open(manager)

    def put_back(self, connection, opened, sound):
        """Take back *connection*, whose attribute ``opened`` was *opened* when it was taken.

        *sound*: whether the transaction was ended as it should be.  A connection that a
        call has closed may be somebody else's by now.
        """
        if connection.opened is not opened:
            return
        if sound and self._keeps and can_be_kept(connection, transaction.manager.manager):
            self._kept.connection, self._kept.opened = connection, opened
        else:
            close(connection)

    def rest(self):
        """Close what this thread keeps."""
        kept = self._kept
        connection, kept.connection = kept.connection, None
        if connection is not None and connection.opened is kept.opened:
            close(connection)

    def _open(self, manager):
        pauses = Pauses(self._services.pause, first=0.1, limit=AWAY)
        while True:
            try:
                return self._services.db.open(transaction_manager=manager)
            except Exception as error:
                if not outage.is_outage(error):
                    raise
                met(error)
            pauses.wait()


def close(primary):
    """Close *primary* and those beside it, whatever a call has done to them."""
    try:
        try:
            primary.close()
        except Exception:
            for connection in primary.connections.values():
                connection.abort(None)
                # a call may have had it forgotten
                connection.transaction_manager.registerSynch(connection)
            primary.close()
    except Exception:
        log.events.warning('a connection could not be closed', exc_info=True)
