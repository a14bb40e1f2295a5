"""Live annotations: of a running job, read and written by other connections."""
import transaction

from .. import chance
from .. import describe
from .. import outage
from ..interfaces import NotStorableError
from ..model.call import probe
from .troubles import met

#: Seconds between two looks at least, so that nobody spins.
SHORTEST = 0.01
#: Seconds of the first pause after a conflict, doubled each time.
_PAUSE = 0.001
_TRIES = 12


class Live:
    """Reads and writes annotations in transactions of its own.  Any thread.

    *pause* waits the given seconds, and returns True at once when the process
    is being stopped.
    """

    def __init__(self, db, pause):
        self._db = db
        self._pause = pause

    def set_annotation(self, job, name, value):
        """Commit the annotation *name* of *job*."""
        if probe(value):
            raise NotStorableError(
                f'{describe.safe_repr(value, 200)} refers to persistent objects and '
                f'cannot be a live annotation; give plain data')

        def write(job):
            job.annotations[name] = value

        # a commit that counts on its call's record being as it was would fail
        job._v_annotated = True
        self._in_transaction(job, write)

    def get_annotation(self, job, name, default, timeout, poll):
        """Return the annotation, waiting for it up to *timeout* seconds."""
        left = timeout  # by what was waited: virtual time stands still meanwhile
        missing = object()
        while True:
            found = self._in_transaction(
                job, lambda job: job.annotations.get(name, missing))
            if found is not missing:
                return found
            step = min(max(poll, SHORTEST), left)
            if left <= 0 or self._pause(step):
                return default
            left -= step

    def _in_transaction(self, job, work):
        """Do *work* with *job* in a connection of its own and commit."""
        if job._p_jar is None or job._p_oid is None:
            raise ValueError(
                f'{describe.safe_repr(job)} is in no database yet and has no live '
                f'annotations; put it and commit first')
        pause = _PAUSE
        for _attempt in range(_TRIES - 1):
            try:
                return self._once(job, work)
            except Exception as error:
                met(error)
                if not outage.is_conflict(error):
                    raise
            self._pause(chance.jitter(pause))
            pause *= 2
        return self._once(job, work)

    def _once(self, job, work):
        manager = transaction.TransactionManager(explicit=True)
        primary = self._db.open(transaction_manager=manager)
        try:
            with manager:
                connection = primary.get_connection(job._p_jar.db().database_name)
                return work(connection.get(job._p_oid))
        finally:
            primary.close()
