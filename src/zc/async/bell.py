"""Tells other processes, through PostgreSQL, that jobs were put.

RelStorage does not tell of commits: who wants to know of them asks, again and again.
PostgreSQL passes notes on at once (https://www.postgresql.org/docs/current/sql-notify.html).
One is sent after each commit that put jobs, on a connection of its own that every
process keeps: a note within the commit would make commits wait for each other.  There
is nothing in it, and nobody relies on it: who misses it finds the work when he asks.

How RelStorage connects is private to it, so it is in this module alone.
"""
import os
import threading
import weakref

from . import clock
from . import describe
from . import log

#: The channel that is rung on; each database of a server has its own.
CHANNEL = 'zc_async'
#: Seconds for which no note is sent after one that could not be.
SILENCE = 60

_bells = weakref.WeakKeyDictionary()  # ZODB database -> Bell, or None
_making = threading.Lock()


def of(db):
    """Return the `Bell` of the ZODB database *db*, or None.  Any thread."""
    try:
        return _bells[db]
    except KeyError:
        with _making:
            found = line_of(db)
            return _bells.setdefault(db, None if found is None else Bell(found))


def line_of(db):
    """Return what opens lines to the server of *db*, or None where there are none.

    Called with a name for the server's administrator, it returns a connection and a
    cursor, or raises; each statement is committed by itself.
    """
    adapter = getattr(db.storage, '_adapter', None)
    if getattr(getattr(adapter, 'driver', None), '__name__', None) != 'psycopg2':
        # others cannot wait for notes, or only in a way of their own
        return None

    def opened(name):
        connection, cursor = adapter.connmanager.open(application_name=name)
        try:
            connection.autocommit = True
        except BaseException:
            connection.close()
            raise
        return connection, cursor

    return opened


class Bell:
    """Sends notes.  Any thread; raises nothing."""

    def __init__(self, open_line):
        self._open = open_line
        self._lock = threading.Lock()
        self._pid = self._line = None  # the process, connection and cursor
        self._silent_since = None

    def ring(self, success=True):
        """Tell the others, if *success*: the signature is that of an after-commit hook."""
        if not success:
            return
        with self._lock:
            if self._silent_since is not None and (
                    clock.monotonic() - self._silent_since < SILENCE):
                return
            self._silent_since = None
            try:
                if self._send():
                    return
                self._send()  # on a new one: the server was perhaps restarted
            except Exception as error:
                self._silent_since = clock.monotonic()
                log.trace.info(
                    'PostgreSQL took no note that jobs were put (%s): other processes '
                    'find them when they ask, and none is sent for %d seconds; see to '
                    'its connections if this goes on',
                    describe.safe_repr(error, 200), SILENCE)

    def _send(self):
        """Send a note; return False if it could not be on a line that was open."""
        fresh = self._line is None or self._pid != os.getpid()
        if fresh:
            # that of a parent process is its own, and not to be touched
            self._pid, self._line = os.getpid(), self._open('zc.async bell')
        try:
            self._line[1].execute(f'NOTIFY {CHANNEL}')
            return True
        except Exception:
            self._hang_up()
            if fresh:
                raise
            return False

    def _hang_up(self):
        line, self._line = self._line, None
        try:
            line[0].close()
        except Exception as error:
            log.trace.info('a line could not be closed: %s', describe.safe_repr(error))
