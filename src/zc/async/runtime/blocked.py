"""Tells of a reactor that does not come round: which call keeps it.

Nobody polls or pings meanwhile, and others may take the dispatcher for dead.
"""
import threading

from .. import clock
from .. import log
from . import threads

#: Seconds that count as blocked at least, however often is polled.
LEAST = 2


class Watchdog:
    """Looks after the reactor of one dispatcher, from a thread of its own.

    *services* is the dispatcher, of which ``UUID``, ``pause``,
    ``poll_interval`` and ``troubles`` are used.
    """

    def __init__(self, services, start_thread=threads.start):
        self._services = services
        self._start_thread = start_thread
        self._thread = None
        self._watched = None  # the identity of the reactor's thread
        self._beat = 0.0      # when the reactor was here, by the steady clock

    @property
    def limit(self):
        """Seconds after which the reactor counts as blocked: two polls."""
        return max(2 * self._services.poll_interval, LEAST)

    def start(self):
        """Begin.  Reactor's thread."""
        self._watched = threading.get_ident()
        self.beat()
        self._thread = self._start_thread(
            self._watch, f'zc.async watchdog {self._services.UUID}')

    def beat(self):
        """Take note that the reactor is not blocked.  Reactor's thread."""
        self._beat = clock.monotonic()

    def join(self):
        """Wait for the end of the thread, which a stopped dispatcher lets end."""
        if self._thread is not None:
            threads.join([self._thread], 1)

    def _watch(self):
        blocked = None  # since when, once it was told of
        while not self._services.pause(self.limit / 4):
            beat = self._beat
            silence = clock.monotonic() - beat
            if self._services.troubles.outage is not None:
                continue  # known: it waits for the storage
            if blocked is None and silence > self.limit:
                blocked = beat
                log.events.warning(
                    'the reactor of dispatcher %s is blocked for %.0f s; it is in %s',
                    self._services.UUID, silence, threads.place(self._watched))
            elif blocked is not None and beat != blocked:
                log.events.warning('the reactor of dispatcher %s was blocked for %.0f s',
                                   self._services.UUID, beat - blocked)
                blocked = None
