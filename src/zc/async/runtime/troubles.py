"""What a dispatcher meets that is nobody's failure, and what it says about it.

Outages, which it waits out; conflicts, which it counts; and storages that nothing
can be done with any more, which are its end.
"""
import threading

from .. import clock
from .. import describe
from .. import log
from .. import outage
from ..threadlocal import local
from . import mending
from .conflicts import Conflicts

#: Seconds between two messages of one kind, while the trouble lasts.
AGAIN = 60
_MET = '_zc_async_met'


def met(error):
    """Tell the dispatcher that this thread works for of *error*; see `Troubles.met`."""
    if local.dispatcher is not None:
        local.dispatcher.troubles.met(error)


def _was_met(error):
    try:
        return getattr(error, _MET, False)
    except BaseException:
        return False  # not one of ours, which answer


class Troubles:
    """The troubles of one dispatcher with *db*.  Any thread.

    ``lost(which)`` is called, perhaps more than once, when a storage has closed
    itself; *which* says for people which one.
    """

    def __init__(self, db, lost=None):
        self.conflicts = Conflicts()
        self._db = db
        self._lost = lost
        self._lock = threading.Lock()
        self._told = {}     # kind -> when, by the steady clock
        self._since = None  # when the outage was met first, by the same

    @property
    def outage(self):
        """Seconds since the present outage was met first; None if there is none."""
        since = self._since
        return None if since is None else clock.monotonic() - since

    def met(self, error):
        """Tell of *error*, or count it, if it is one of these troubles.

        Return whether it is, or whether a storage is closed: any error may tell of that.
        """
        if self.check() or _was_met(error):
            return True  # it passes through several hands
        if outage.is_outage(error):
            self._absent(error)
        elif outage.is_conflict(error):
            self.conflicts.count(error)
            if outage.is_stale_id(error):
                mending.forget_ids(self._db)
        elif outage.is_read_only(error):
            self._tell('read-only', log.events.error,
                       'the database is read-only, so nothing can be claimed or '
                       'stored; open it for writing', error)
        else:
            return False
        setattr(error, _MET, True)
        return True

    def _absent(self, error):
        with self._lock:
            if self._since is None:
                self._since = clock.monotonic()
        if outage.is_disk_error(error):
            self._tell('disk', log.events.critical,
                       'the database cannot be written, which is tried again and '
                       'again; jobs wait', error)
        else:
            self._tell('away', log.events.warning, 'database away', error)

    def check(self):
        """Return whether a storage has closed itself; see to it that it is known."""
        which = outage.closed(self._db)
        if which is None:
            return False
        if self._lost is not None:
            self._lost(which)
        return True

    def over(self):
        """Take note of a commit: the outage is over, if there was one."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            # on a disk that is almost full, this may be so again and again
            self._tell('over', log.events.info, 'the database can be used again after',
                       f'{clock.monotonic() - since:.1f} s')

    def _tell(self, kind, say, text, what):
        now = clock.monotonic()
        with self._lock:
            if 0 <= now - self._told.get(kind, now - AGAIN) < AGAIN:
                return
            self._told[kind] = now
        if isinstance(what, Exception):
            text, what = f'{text}:', describe.safe_repr(what)
        say('%s %s', text, what)
