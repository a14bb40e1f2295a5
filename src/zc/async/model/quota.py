"""Quotas: how many of the jobs that name one may be claimed at a time."""
import persistent
import zope.interface
from BTrees.OOBTree import OOBTree

from .. import describe
from ..interfaces import COMPLETED
from ..interfaces import FullError
from ..interfaces import IQuota
from ..interfaces import IQuotas
from ..interfaces import NEW
from ..interfaces import PARKED
from ..interfaces import PENDING
from .call import why_unreadable
from .lookup import Lookup


def release(job):
    """Stop counting *job* in its quotas."""
    queue = job.queue
    # what is stored, not what a subclass makes of it: nobody could answer for that here
    for name in job._quota_names:
        found = queue.quotas.get(name)
        if found is not None:
            found.discard(job)


def counts(job):
    """Return whether all quotas that *job* names, and that exist, count it."""
    found = map(job.queue.quotas.get, job._quota_names)
    return all(job in quota for quota in found if quota is not None)


def _check_size(size):
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(
            f'size {describe.safe_repr(size)} is no number of jobs; '
            f'give an int of 0 or more')
    return size


@zope.interface.implementer(IQuota)
class Quota(persistent.Persistent):
    """See `IQuota`.

    The jobs are in this one record on purpose: two claims that would together
    exceed the size conflict, so no committed state ever does.
    """

    def __init__(self, name, size=1):
        self.name = name
        self.size = size
        self.parent = None
        self._data = ()

    @property
    def size(self):
        """How many jobs may be claimed."""
        return self._size

    @size.setter
    def size(self, value):
        self._size = _check_size(value)

    @property
    def filled(self):
        """See `IQuota`."""
        return len(self._data) >= self._size

    def add(self, job):
        """See `IQuota`."""
        if self.filled:
            raise FullError(
                f'quota {self.name!r} holds {len(self._data)} of {self._size} jobs; '
                f'wait for one to end or enlarge it')
        self._data = (*self._data, job)

    def discard(self, job):
        """See `IQuota`."""
        rest = tuple(one for one in self._data if one is not job)
        if len(rest) != len(self._data):
            self._data = rest

    def clean(self):
        """See `IQuota`."""
        rest = tuple(job for job in self._data
                     if why_unreadable(job) is None
                     and job.status not in (COMPLETED, NEW, PARKED, PENDING))
        if len(rest) != len(self._data):
            self._data = rest

    def __iter__(self):
        return iter(self._data)

    def __len__(self):
        return len(self._data)

    def __bool__(self):
        return True

    def __contains__(self, job):
        return any(one is job for one in self._data)


@zope.interface.implementer(IQuotas)
class Quotas(Lookup, persistent.Persistent):
    """See `IQuotas`."""

    def __init__(self):
        self._data = OOBTree()
        self.parent = None

    def create(self, name, size=1):
        """See `IQuotas`."""
        if not isinstance(name, str):
            raise TypeError(f'quota name {describe.safe_repr(name)} is no string')
        if name in self._data:
            raise KeyError(f'quota {name!r} exists; set its size instead')
        quota = Quota(name, size)
        quota.parent = self.parent
        self._data[name] = quota

    def remove(self, name):
        """See `IQuotas`."""
        self._data.pop(name).parent = None

    def __len__(self):
        return len(self._data)
