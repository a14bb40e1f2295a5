"""Hears commits that put jobs, of this process and of others.

Where ZODB adapts a storage to its multi-version protocol (FileStorage, ZEO and
others), every commit passes by the adapter's instances with the ids of what it
changed; over ZEO those of other processes too.  An ear among them hears it at
once.  That is private to ZODB, so it is in this module, `.handover` and `.idle` alone;
storages with a protocol of their own (RelStorage) are asked, often, and cheaply.  With
PostgreSQL there is a `.listener` besides, and they are asked seldom while that works.

Nothing depends on it: what is not heard is found by the next poll.
"""
from ZODB.mvccadapter import MVCCAdapter

from .. import bell
from .. import clock
from .. import describe
from .. import log
from .. import outage
from .listener import Listener


#: Seconds for which nobody counts on notes after a commit of which there was none.
UNTOLD = 60


class _Ear:
    """Stands among the instances of a storage's adapter."""

    def __init__(self, heard):
        self.signs = {}
        self._heard = heard

    def _invalidate(self, tid, oids):
        # called with the storage's locks held
        seconds = _patience(self.signs, oids)
        if seconds is not None:
            self._heard(seconds)

    def _invalidateCache(self):
        # after a reconnection: anything may have happened
        self._heard(0)


def _patience(signs, oids):
    """Return the least of the seconds that *signs* tell of those of *oids*, or None."""
    if signs.keys().isdisjoint(oids):
        return None  # nearly always: each commit passes by here
    return min((signs[oid] for oid in signs.keys() & oids), default=None)


class Watch:
    """Calls *heard* when one of the signs is changed.  Any thread calls it.

    It is given for how many seconds that may be left to other processes, or None where
    a `look` has to tell.

    `start`, `concern`, `look` and `stop` are for the reactor's thread.  ``away`` says
    whether the latest look found a database away.
    """

    away = False

    def __init__(self, db, heard):
        self._databases = db.databases
        self._heard = heard
        self._ears = {}       # database name -> (adapter, ear)
        self._instances = {}  # database name -> (instance, signs)
        self._listeners = {}  # database name -> listener
        self._noted = False   # whether there was a note since the latest look
        self._untold = None   # when a look found what no note had told of

    def start(self):
        """Begin to listen in all databases that allow it."""
        for name, db in self._databases.items():
            adapter = db._mvcc_storage
            if isinstance(adapter, MVCCAdapter):
                ear = _Ear(self._heard)
                with adapter._lock:
                    adapter._instances.add(ear)
                self._ears[name] = adapter, ear
            else:
                self._instances[name] = adapter.new_instance(), {}
                line = bell.line_of(db)
                if line is not None:
                    self._listeners[name] = Listener(line, self._hear_note)

    def _hear_note(self):
        self._noted = True
        self._heard(None)  # a note does not say what was changed

    @property
    def deaf(self):
        """Whether there are databases that have to be asked with `look`."""
        return bool(self._instances)

    @property
    def told(self):
        """Whether all databases that have to be asked also tell by themselves.

        There may be processes that put jobs and cannot tell of them.
        """
        if self._untold is not None and clock.monotonic() - self._untold < UNTOLD:
            return False
        return all(name in self._listeners and self._listeners[name].works
                   for name in self._instances)

    def concern(self, signs):
        """Listen for changes of *signs*.

        By database name, these are object ids with the seconds for which a change of
        them may be left to other processes.
        """
        for name, (_adapter, ear) in self._ears.items():
            ear.signs = dict(signs.get(name, ()))
        for name, (instance, _signs) in self._instances.items():
            self._instances[name] = instance, dict(signs.get(name, ()))

    def look(self):
        """Return for how many seconds may be left to others what was changed, or None.

        Of databases that must be asked.  None: no sign was changed.
        """
        found, put, self.away = [], False, False
        for instance, signs in self._instances.values():
            try:
                changed = instance.poll_invalidations()
            except Exception as error:
                if not (outage.is_outage(error) or outage.is_conflict(error)):
                    raise
                self.away = True
                log.trace.debug('database away: %s', describe.safe_repr(error))
                continue
            if changed is None:
                # at first, and after very many commits: anything may have happened
                found.append(0)
                continue
            seconds = _patience(signs, changed)
            if seconds is not None:
                found.append(seconds)
                put = True
        if put and not self._noted:
            self._untold = clock.monotonic()
        self._noted = False
        return min(found, default=None)

    def stop(self):
        """Listen no longer.  Never raises."""
        for adapter, ear in self._ears.values():
            if not adapter.closed:
                with adapter._lock:
                    adapter._instances.discard(ear)
        for listener in self._listeners.values():
            listener.stop()
        for instance, _signs in self._instances.values():
            try:
                instance.release()
            except Exception:
                log.events.warning('a storage could not be released', exc_info=True)
        self._listeners.clear()
        self._ears.clear()
        self._instances.clear()
