"""Stored records, read without loading an object and without running any code."""
import dataclasses
import io

from ZODB.POSException import POSKeyError
from ZODB.utils import load_current
from zodbpickle.pickle import Unpickler

from .stored import CALL


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """The stored bytes of a job's record and of its call's; None if missing."""

    job: bytes
    call: bytes


def raw(job):
    """Return the `Raw` of *job*, which is only asked for its object id."""
    storage = job._p_jar.db().storage
    stored = _load(storage, job._p_oid)
    oid = None if stored is None else _call_oid(stored)
    return Raw(stored, None if oid is None else _load(storage, oid))


def _load(storage, oid):
    try:
        return load_current(storage, oid)[0]
    except POSKeyError:
        return None


def _call_oid(stored):
    """Return the object id of the call in a job's *stored* record, or None."""
    reader = _Reader(io.BytesIO(stored))
    try:
        reader.load()  # the class
        state = reader.load()
        found = state[CALL] if type(state) is tuple else state['_call']
    except Exception:
        return None  # no job's record, or a broken one: its bytes are all there is
    return found if isinstance(found, bytes) else None


class _Reader(Unpickler):
    """Puts stand-ins for whatever has a class, and object ids for references."""

    def find_class(self, module, name):
        return _StandIn

    def persistent_load(self, reference):
        if isinstance(reference, tuple):
            reference = reference[0]
        return reference.encode('ascii') if isinstance(reference, str) else reference


class _StandIn:
    """Takes any arguments and any state, and forgets them."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        """Take anything."""

    def __setstate__(self, state):
        """Take anything."""

    def __setitem__(self, key, value):
        """Take anything."""

    def append(self, value):
        """Take anything."""

    extend = add = append
