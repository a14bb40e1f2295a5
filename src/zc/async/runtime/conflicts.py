"""Which objects transactions meet at: conflicts, counted by class and object.

A conflict is nobody's failure and is tried again, but an object that many jobs
change at once costs all of them time.  In memory only, bounded, any thread.
"""
import collections
import dataclasses
import datetime
import threading

from .. import clock
from .. import log

#: Objects that are remembered, the latest.
OBJECTS = 1000
#: Conflicts of one object within `PERIOD` seconds that are worth a warning.
CROWD, PERIOD = 100, 60
_NOBODY = '?'


@dataclasses.dataclass(slots=True)
class Conflict:
    """How often one object was in conflict."""

    class_name: str         # dotted; '?' where the storage did not tell
    oid: bytes              # None where the storage did not tell
    count: int = 0
    last: datetime.datetime = None  # aware UTC
    recent: int = 0         # those since *begun*, by the steady clock
    begun: float = 0.0
    warned: bool = False    # in this period

    def as_info(self):
        """Return a dictionary: class, oid (an int or None), count, last."""
        oid = None if self.oid is None else int.from_bytes(self.oid, 'big')
        return {'class': self.class_name, 'oid': oid, 'count': self.count,
                'last': self.last}


class Conflicts:
    """Counts conflicts."""

    def __init__(self, objects=OBJECTS):
        self.total = 0
        self._objects = objects
        self._lock = threading.Lock()
        self._found = collections.OrderedDict()  # (class, oid) -> Conflict

    def count(self, error):
        """Count the conflict *error*, and warn where there are too many."""
        oid = getattr(error, 'oid', None)
        name = getattr(error, 'class_name', None) or _NOBODY
        log.trace.debug('conflict of %s %s: %s', name, _shown(oid), error)
        with self._lock:
            self.total += 1
            found = self._found.setdefault((name, oid), Conflict(name, oid))
            self._found.move_to_end((name, oid))
            if len(self._found) > self._objects:
                self._found.popitem(last=False)
            warn = _is_crowd(found)
        if warn:
            log.events.warning(
                '%s %s was in conflict %d times within %d s: jobs that change the '
                'same object get into each other\'s way; give them a quota of size 1, '
                'or an object each', name, _shown(oid), CROWD, PERIOD)

    def worst(self, count=10):
        """Return the `Conflict` records with the highest counts, at most *count*."""
        with self._lock:
            found = [dataclasses.replace(one) for one in self._found.values()]
        return sorted(found, key=lambda one: -one.count)[:count]

    def as_info(self, count=10):
        """Return ``{'total': int, 'objects': [...]}``, the worst objects first."""
        return {'total': self.total,
                'objects': [one.as_info() for one in self.worst(count)]}


def _is_crowd(found):
    """Count for *found* and return whether it is time to warn, once a period."""
    now = clock.monotonic()
    found.count += 1
    found.last = clock.now()
    if not 0 <= now - found.begun < PERIOD:
        found.begun, found.recent, found.warned = now, 0, False
    found.recent += 1
    if found.recent < CROWD or found.warned:
        return False
    found.warned = True
    return True


def _shown(oid):
    return 'of unknown id' if oid is None else f'0x{int.from_bytes(oid, "big"):02x}'
