"""A process that was told to stop is gone when its time is over, whatever holds it:
a storage that does not answer, or a thread that a job has left behind.
"""
import logging
import os
import threading

from .. import log
from ..runtime import threads

#: Seconds that the log may take for the last words.
_LAST_WORDS = 0.5


class Deadline:
    """Ends this process *seconds* after `tell`, unless `call_off` came before.

    ``status`` is the exit status then.  *end* ends the process, and *start_thread*
    starts a thread that calls a function.
    """

    def __init__(self, seconds, end=os._exit, start_thread=threads.start):
        self.status = 1
        self._before = set(threading.enumerate())
        self._seconds = seconds
        self._end = end
        self._start_thread = start_thread
        self._told, self._over = threading.Event(), threading.Event()
        self._late, self._said = threading.Event(), threading.Event()

    def start(self):
        """Begin to wait for `tell`."""
        # both now: an interpreter that ends starts no thread any more
        self._start_thread(self._wait, 'zc.async deadline')
        self._start_thread(self._speak, 'zc.async last words')

    def tell(self):
        """Let the time begin.  A handler of signals may call this, once."""
        self._told.set()

    def call_off(self):
        """Let the process go on."""
        self._over.set()
        self._told.set()

    @property
    def left_behind(self):
        """The threads besides ours that have begun since this was made.

        The interpreter may wait for them before it ends: for those that are no
        daemons, and for those of executors.
        """
        return [thread for thread in threading.enumerate()
                if thread not in self._before and not thread.name.startswith('zc.async ')]

    def _wait(self):
        self._told.wait()
        called_off = self._over.wait(self._seconds)
        self._late.set()
        if not called_off:
            # whoever holds the process up may hold a lock of the log, too
            self._said.wait(_LAST_WORDS)
            self._end(self.status)

    def _speak(self):
        self._late.wait()
        if not self._over.is_set():
            self._say()
        self._said.set()

    def _say(self):
        log.events.critical(
            'process %d had not ended %g s after it was told to, and ends now; what it '
            'had in hand %s; threads besides ours: %s', os.getpid(), self._seconds,
            'is taken over when it counts as dead' if self.status else 'was handed back',
            ', '.join(thread.name for thread in self.left_behind) or 'none')
        logging.shutdown()
