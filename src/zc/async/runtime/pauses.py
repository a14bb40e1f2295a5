"""Pauses between tries, longer and longer, that a stop breaks off."""
from .. import chance

#: Seconds of a first pause; each is twice as long as the one before, up to a limit.
SOON = 0.001
#: The limit where nothing else is said.
LIMIT = 60
#: The limit while the storage is away.  A look costs next to nothing then, and work
#: has to go on within seconds after it is back.
AWAY = 5
#: The limit after conflicts: another transaction is over by then.
CROWD = 1


class Stopped(Exception):
    """The process is being stopped; the job is handed back with the others."""


class Pauses:
    """Longer and longer pauses, broken off when the process is stopped.

    *pause* waits the given seconds, and returns True at once when the process is
    being stopped.
    """

    def __init__(self, pause, first=SOON, limit=LIMIT):
        self._pause, self._next, self._limit = pause, first, limit

    def wait(self):
        """Pause; raise `Stopped` if the process is being stopped."""
        if self._pause(chance.jitter(self._next)):
            raise Stopped
        self._next = min(2 * self._next, self._limit)
