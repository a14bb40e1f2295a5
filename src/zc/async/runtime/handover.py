"""What a claim has written of a job, for the worker, which need not load it again.

A record that was stored a moment ago is read, and made an object of, for a twelfth of
what a short job costs.  The claim has all that in its hands, so the ticket takes it
along.  It is used where it is certain to be what would be loaded: nobody has stored the
job since.  ZODB tells that to whoever is among the instances of a storage's adapter, and
does so before it lets a transaction begin that sees it.
"""
import contextlib
import dataclasses

from persistent import Persistent
from ZODB.mvccadapter import MVCCAdapter

from ..job import Job
from ..model.call import is_broken
from .effects import adopt
from .effects import begun_after
from .effects import ghost

#: Values of these types may be shared by connections: nobody can change them.
_PLAIN = frozenset((type(None), bool, int, str, bytes))


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The state of a job as it was committed, of no connection."""

    plain: dict       # attributes
    references: list  # (name of an attribute, object id, class)
    serial: bytes     # of the transaction
    size: int         # about the bytes of the record
    source: object    # the `Handover`


class Handover:
    """Makes the `State` of jobs that *connection* commits, and knows which is current.

    Where the storage has a protocol of its own (RelStorage), there is none.
    """

    def __init__(self, connection):
        self._connection = connection
        # of whoever has the adapter's lock: object id -> by which transaction it was
        # stored last, None: none since `expecting`
        self._serials = {}
        adapter = connection.db()._mvcc_storage
        self._adapter = adapter if isinstance(adapter, MVCCAdapter) else None
        if self._adapter is not None:
            with adapter._lock:
                adapter._instances.add(self)

    def close(self):
        """Listen no longer; what was handed over is loaded."""
        if self._adapter is not None and not self._adapter.closed:
            with self._adapter._lock:
                self._adapter._instances.discard(self)
                self._serials = {}

    @contextlib.contextmanager
    def expecting(self, jobs):
        """A context in which the connection commits *jobs*: listen for commits of them.

        Not any more where that fails.
        """
        if self._adapter is None:
            yield
            return
        oids = [job._p_oid for job in jobs if job._p_jar is self._connection]
        with self._adapter._lock:
            self._serials.update(dict.fromkeys(oids))
        try:
            yield
        except BaseException:
            self.forget(oids)
            raise

    def forget(self, oids):
        """Listen no more for commits of the objects *oids*."""
        if self._adapter is not None:
            with self._adapter._lock:
                for oid in oids:
                    self._serials.pop(oid, None)

    def state(self, job):
        """Return the `State` of *job*; None where it has more than most jobs have."""
        if (type(job) is not Job or job._p_changed is not False
                or job._p_oid not in self._serials):
            return None
        plain, references = {}, []
        for name, value in vars(job).items():
            if type(value) in _PLAIN or _is_plain(value):
                plain[name] = value
            elif _is_of(self._connection, value):
                references.append((name, value._p_oid, type(value)))
            elif not name.startswith('_v_'):
                return None
        return State(plain, references, job._p_serial, job._p_estimated_size, self)

    def serial(self, oid):
        """Return by which transaction the object *oid* was stored last.  Any thread.

        None where that is not certain.
        """
        # the instance of whoever asks may be told a moment before this one
        with self._adapter._lock:
            return self._serials.get(oid)

    # Called with the adapter's lock

    def _invalidate(self, tid, oids):
        serials = self._serials
        if not serials.keys().isdisjoint(oids):  # seldom, and each commit passes by here
            serials.update((oid, tid) for oid in oids if oid in serials)

    def _invalidateCache(self):
        # after a reconnection: anything may have happened
        self._serials = {}


def _is_plain(value):
    cls = type(value)
    return (cls is type and not is_broken(value)
            or cls is tuple and all(type(one) is str for one in value))


def _is_of(connection, value):
    """Return whether *value* is an object that any connection can have, as this one has."""
    cls = type(value)
    # not isinstance: that would ask *value* for its ``__class__``; and what is made with
    # arguments is loaded to be made
    return (issubclass(cls, Persistent) and not is_broken(value)
            and not hasattr(cls, '__getnewargs__') and value._p_jar is connection)


def job_of(ticket, connection):
    """Return the job of *ticket*, in the transaction that *connection* has begun.

    It is loaded when it is used, where it is not what the claim has handed over.
    """
    oid, state = ticket.oid, ticket.state
    if (state is not None and begun_after(connection, state.serial)
            and state.source.serial(oid) == state.serial):
        attributes = dict(state.plain)
        for name, other, cls in state.references:
            attributes[name] = ghost(connection, other, cls)
        job = adopt(connection, oid, Job, attributes, state.serial, state.size)
        if job is not None:
            return job
    return ghost(connection, oid, ticket.cls)
