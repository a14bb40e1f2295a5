"""The databases of a kill loop, as its actors see them."""
import contextlib
import os
import time
import types

import transaction

from ... import outage
from ...ops import databases

#: Seconds between two looks at something that changes by and by.
LOOK = 0.02


def raised(folder, flag):
    """Return whether the file *flag*, which says that something is to be, is there."""
    return os.path.exists(os.path.join(folder, flag))


@contextlib.contextmanager
def opened(uri):
    """Open the database *uri* within the block; yield it and a `Session`."""
    told = types.SimpleNamespace(uri=uri, config=None, install=True)
    db = databases.Source(told).open()
    session = Session(db)
    try:
        yield db, session
    finally:
        session.close()
        databases.close(db)


class Session:
    """A connection that can do one thing after the other."""

    def __init__(self, db):
        self._manager = transaction.TransactionManager(explicit=True)
        self._db = db
        self._connection = None
        self.committing = False

    def do(self, change):
        """Commit ``change(connection)`` and return what it returns."""
        self.committing = False
        try:
            if self._connection is None:
                self._connection = self._db.open(transaction_manager=self._manager)
            self._manager.begin()
            found = change(self._connection)
            self.committing = True
            self._manager.commit()
            return found
        except BaseException as error:
            self._undo(outage.is_outage(error))
            raise

    def _undo(self, close):
        try:
            self._manager.abort()
        except Exception:
            close = True  # the database is away
        if close:
            self.close()

    def close(self):
        """Close the connection; the next thing to do has another."""
        connection, self._connection = self._connection, None
        with contextlib.suppress(Exception):
            connection.close()

    def ask(self, question):
        """Return ``question(connection)``, however often that has to be asked."""
        while True:
            try:
                return self.do(question)
            except Exception as error:
                if not (outage.is_outage(error) or outage.is_conflict(error)):
                    raise
                time.sleep(LOOK)
