"""Ends of calls that are stored later, together with others.

A worker whose call has changed nothing need not commit how it ended: it keeps that as
an `End`, lets the job have its result in its own transaction, for the callbacks to see,
and hands the ends over to be applied once more by whoever commits.  Applied twice, or
after it was stored, an end does no harm.
"""
import dataclasses
import pickle

from . import execution
from . import result
from . import status
from .. import failures
from ..interfaces import ICallbackProxy

#: Types of values that nobody can change until they are stored.
_FIXED = frozenset((type(None), bool, int, float, complex, str, bytes, failures.Failure))


@dataclasses.dataclass(frozen=True, slots=True)
class Pickled:
    """A value that is loaded anew wherever it is used.

    A list is the result's own as soon as it is stored; until then a callback could
    append to what is going to be stored.
    """

    data: bytes


def is_fixed(value):
    """Return whether *value* stays what it is, whatever a callback does with it."""
    return type(value) in _FIXED


def can_be_kept(value):
    """Return whether *value* may be stored by another connection, later.

    Raise `NotStorableError` where it cannot be stored at all.
    """
    if is_fixed(value):
        return True
    if execution.is_deferred(value) or execution.is_job(value):
        return False
    found = execution.check_result(value)
    return not (found.met_persistent or found.met_code)


def kept(value):
    """Return what an `End` keeps of *value*, which can be kept."""
    return value if is_fixed(value) else Pickled(pickle.dumps(value, 3))


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """How one attempt at the job *oid*, or a callback, has ended."""

    oid: bytes
    code: int       # of its status, as it is stored
    attempt: int    # the number of the attempt
    value: object   # as `kept` returns it
    started: int    # microseconds
    ended: int      # the same

    def fits(self, job):
        """Return whether *job* is as it was, or has ended like this already."""
        return self._is_stored(job) or job._awaits is None and (
            job._code, job._attempt) == (
                self.code, self.attempt - (self.code == status.UNSET))

    def apply(self, job):
        """Let *job*, which fits, have its result; nothing happens where it has it."""
        if self._is_stored(job):
            return
        if job._code == status.UNSET:
            execution.begin(job)
        execution.settle(job, self._value())
        job._active_start, job._active_end = self.started, self.ended

    def restore(self, job):
        """Let *job*, which this was applied to, have the value as it was then."""
        if type(self.value) is Pickled:
            job._result = result.kept(self._value())
            if ICallbackProxy.providedBy(job.parent):
                job.parent.job_settled(job)

    def _value(self):
        if type(self.value) is Pickled:
            return pickle.loads(self.value.data)
        return self.value

    def _is_stored(self, job):
        # others who took it over may have settled it in the same attempt, but not then
        return (job._code in (status.SETTLED, status.FINISHED)
                and (job._attempt, job._active_end) == (self.attempt, self.ended))


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """That the callback proxy *oid* has chosen, as it does by the result alone."""

    oid: bytes

    def fits(self, proxy):
        """Return True: who holds the job lets nobody else choose."""
        return True

    def apply(self, proxy):
        """Let *proxy* choose, unless it has."""
        if proxy._code == status.UNSET:
            proxy.choose(proxy.parent.result)

    def restore(self, proxy):
        """Let *proxy*, where it has chosen nothing, have the result as it was then."""
        if proxy.job is None:
            proxy._result = result.kept(proxy.parent.result)


def apply_all(ends, nodes):
    """Apply *ends* to their *nodes*, in order; return False if one does not fit.

    Nothing is changed then: they are in other hands.
    """
    pairs = list(zip(ends, nodes, strict=True))
    if not all(end.fits(node) for end, node in pairs):
        return False
    for end, node in pairs:
        end.apply(node)
    return True
