"""Listens for the notes of `..bell`, in a thread of its own.

It knows whether notes arrive, since it sends one to itself now and then: between it
and the server may be a pool of connections that does not keep the one that listens,
and a connection may be dead for long without a word.
"""
import os
import select
import threading
import uuid

from .. import clock
from .. import describe
from .. import log
from ..bell import CHANNEL
from . import threads

#: Seconds between two notes to itself, and until one must have arrived.
CHECK, ANSWER = 20, 5
#: Seconds before it connects again: at first, and at most.
FIRST, LONGEST = 0.1, 60


class Listener:
    """Calls *heard*, in its thread, when a note arrives, and when it begins to listen.

    *open_line* is what `..bell.line_of` returns.
    """

    def __init__(self, open_line, heard, start_thread=threads.start):
        self._open = open_line
        self._heard = heard
        self._own = f'{CHANNEL}_{uuid.uuid4().hex}'
        self._told_deaf = False
        self._hears = threading.Event()
        self._stopping = threading.Event()
        self._stopped, self._stop = os.pipe()
        self._thread = start_thread(self._run, 'zc.async listener')

    @property
    def works(self):
        """Whether notes arrive, as far as is known.  Any thread."""
        return self._hears.is_set()

    def stop(self):
        """Stop, and wait for a moment until it has.  Any thread; raises nothing."""
        if not self._stopping.is_set():
            self._stopping.set()
            os.close(self._stop)  # the thread's end can be read from then on
            threads.join([self._thread], 1)

    def _run(self):
        pause = FIRST
        try:
            while not self._stopping.is_set():
                try:
                    self._listen()
                except Exception as error:
                    log.trace.info(
                        'the line on which PostgreSQL tells of jobs failed (%s): it is '
                        'asked for them meanwhile, and a new line is tried in %g seconds',
                        describe.safe_repr(error, 200), pause)
                if self._hears.is_set():
                    self._hears.clear()
                    pause = FIRST
                self._wait((), pause)
                pause = min(2 * pause, LONGEST)
        finally:
            self._hears.clear()
            os.close(self._stopped)

    def _listen(self):
        """Listen until that works no more, or it is stopped."""
        connection, cursor = self._open('zc.async listener')
        try:
            for channel in (CHANNEL, self._own):
                cursor.execute(f'LISTEN {channel}')
            while not self._stopping.is_set():
                cursor.execute(f'NOTIFY {self._own}')
                if not self._hear(connection, ANSWER, self._own):
                    self._tell_deaf()
                    return
                if not self._hears.is_set():
                    self._hears.set()
                    self._heard()  # whatever was put before
                self._hear(connection, CHECK)
        finally:
            connection.close()

    def _tell_deaf(self):
        """Log, once, that notes are sent and do not arrive, unless it is to stop."""
        if not self._stopping.is_set() and not self._told_deaf:
            self._told_deaf = True
            log.events.warning(
                "PostgreSQL's notes of new jobs do not arrive within %g seconds, so it is "
                'asked for them all the time; connect to the server itself, not to a '
                'pool that gives each transaction another connection', ANSWER)

    def _hear(self, connection, seconds, until=None):
        """Take notes for some *seconds*; return True at once for one to *until*."""
        end = clock.monotonic() + seconds
        while not self._stopping.is_set():
            connection.poll()
            channels = {note.channel for note in connection.notifies}
            connection.notifies.clear()
            if CHANNEL in channels:
                self._heard()
            if until in channels:
                return True
            left = end - clock.monotonic()
            if left <= 0:
                return False
            self._wait((connection,), left)
        return False

    def _wait(self, connections, seconds):
        """Wait until there is something on *connections*, or it is to stop."""
        select.select((*connections, self._stopped), (), (), seconds)
