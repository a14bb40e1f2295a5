"""What a claim has written of a job, for the worker, which need not load it again.

A record that was stored a moment ago is read, and made an object of, for a twelfth of
what a short job costs.  The claim has all that in its hands, so the ticket takes it
along.  It is used where it is certain to be what would be loaded.
"""
import dataclasses

from persistent import Persistent

from ..job import Job
from ..model.call import is_broken
from .effects import adopt
from .effects import ghost
from .effects import is_current_record
from .effects import tells_current_records

#: Values of these types may be shared by connections: nobody can change them.
_PLAIN = (type(None), bool, int, str, bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The state of a job as it was committed, of no connection."""

    plain: dict       # attributes
    references: list  # (name of an attribute, object id, class)
    serial: bytes     # of the transaction
    size: int         # about the bytes of the record


def states(connection):
    """Return what makes a `State` of a job that *connection* has just committed."""
    return _state if tells_current_records(connection) else _nothing


def _nothing(job):
    """Return None: whoever needs the job loads it."""


def _state(job):
    """Return the `State` of *job*; None where it has more than most jobs have."""
    if type(job) is not Job or job._p_changed is not False:
        return None
    plain, references = {}, []
    for name, value in vars(job).items():
        if _is_plain(value):
            plain[name] = value
        elif _is_of(job._p_jar, value):
            references.append((name, value._p_oid, type(value)))
        elif not name.startswith('_v_'):
            return None
    return State(plain, references, job._p_serial, job._p_estimated_size)


def _is_plain(value):
    cls = type(value)
    return (cls in _PLAIN or cls is type and not is_broken(value)
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
    if state is not None and is_current_record(connection, oid, state.serial):
        attributes = dict(state.plain)
        for name, other, cls in state.references:
            attributes[name] = ghost(connection, other, cls)
        job = adopt(connection, oid, Job, attributes, state.serial, state.size)
        if job is not None:
            return job
    return ghost(connection, oid, ticket.cls)
