"""Agents choose the jobs that a dispatcher works on, and hold them meanwhile."""
import persistent
import zope.component
import zope.interface
from BTrees.OOBTree import OOBTree

from . import describe
from . import timekeys
from .current import read_current
from .interfaces import BrokenCallError
from .interfaces import IAgent
from .interfaces import IDispatcherActivated
from .interfaces import IFilterAgent
from .model.call import is_broken
from .model.callbacks import waits_for_a_job
from .model.completed import Completed
from .model.quota import _check_size


#: Jobs that a dispatcher may claim for an agent over its size, before a thread is free.
AHEAD = 32


def _check_choice(name, value):
    if value is not None and not callable(value):
        raise ValueError(
            f'{name} is a callable or None, not {describe.safe_repr(value, 200)}; '
            f'give the size of an agent as size=')
    return value


@zope.interface.implementer(IAgent)
class Agent(persistent.Persistent):
    """See `IAgent`; `IFilterAgent` as well while it has no chooser."""

    parent = name = None
    _chooser = _filter = None

    def __init__(self, chooser=None, filter=None, size=3):
        if chooser is not None and filter is not None:
            raise ValueError(
                f'an agent has a chooser or a filter, not both: '
                f'{describe.safe_repr(chooser, 200)} and '
                f'{describe.safe_repr(filter, 200)}')
        self.size = size
        self.chooser = chooser
        if filter is not None:
            self.filter = filter
        self._jobs = OOBTree()  # a record of its own: claims write it, not the agent
        self.completed = Completed()

    @property
    def size(self):
        """See `IAgent`."""
        return self._size

    @size.setter
    def size(self, value):
        self._size = _check_size(value)

    @property
    def chooser(self):
        """None, or a callable that is given the agent and returns a claimed job."""
        return self._chooser

    @chooser.setter
    def chooser(self, value):
        if value is not None and self._filter is not None:
            raise ValueError('an agent with a filter has no chooser; '
                             'set its filter to None first')
        self._chooser = _check_choice('chooser', value)
        if value is None:
            zope.interface.alsoProvides(self, IFilterAgent)
        elif IFilterAgent.providedBy(self):
            zope.interface.noLongerProvides(self, IFilterAgent)

    @property
    def filter(self):
        """See `IFilterAgent`."""
        return self._filter

    @filter.setter
    def filter(self, value):
        if value is not None and self._chooser is not None:
            raise ValueError('an agent with a chooser has no filter; '
                             'set its chooser to None first')
        self._filter = _check_choice('filter', value)

    @property
    def queue(self):
        """See `IAgent`."""
        return None if self.parent is None else self.parent.parent

    def claimJob(self):
        """See `IAgent`."""
        if self.free < 1:
            return None
        for choice in (self._chooser, self._filter):
            if is_broken(choice):
                # called, it would return something true and take every job
                raise BrokenCallError(
                    f'{describe.safe_repr(choice, 200)} of agent {self.name!r} cannot '
                    f'be loaded; put its code back in place, or set another')
        job = self._choose()
        if job is not None:
            self.hold(job)
        return job

    def claim_ahead(self, count):
        """Claim a job although it is full, if it holds fewer than *count* over its size.

        Return it, or None.  Only a plain agent does: a chooser, or a subclass, may
        count on no more than the size.
        """
        if (type(self) is not Agent or self._chooser is not None
                or len(self._jobs) >= self._size + count):
            return None
        job = self.queue.claim(self._filter)
        if job is not None:
            self.hold(job)
        return job

    def _choose(self):
        """Claim and return a job, or return None.  A hook for subclasses."""
        if self._chooser is not None:
            return self._chooser(self)
        return self.queue.claim(self._filter)

    @property
    def free(self):
        """How many more jobs it may hold.

        One, where it is full of jobs that all wait for others: these are perhaps
        in line for it, and nothing would ever move.
        """
        room = self._size - len(self._jobs)
        if room < 1 <= self._size:
            # the newest first: one that works is found there
            jobs = reversed(list(self._jobs.values()))
            room = int(all(map(waits_for_a_job, jobs)))
        return room

    def hold(self, job):
        """Hold the claimed *job*."""
        if self.parent is not None:
            read_current(self.parent)  # removed meanwhile, it could not give it back
        job.parent = self
        if job._order is None:
            job._order = timekeys.make(0, timekeys.FRONT, timekeys.stamp(), 0)
        self._jobs[job._order] = job

    def discard(self, job):
        """No longer hold *job*; nothing happens if it was not held."""
        if job._order is not None and self._jobs.get(job._order) is job:
            del self._jobs[job._order]
            job.parent = None

    remove = discard

    def drop(self, job):
        """No longer hold *job*, which cannot be read."""
        for key in [key for key, one in self._jobs.items() if one is job]:
            del self._jobs[key]

    def jobCompleted(self, job):
        """See `IAgent`."""
        self.discard(job)
        job._order = None
        job.parent = self
        self.completed.add(job)

    def holds(self, order, job):
        """Return whether *job* is held under the key *order*.  Does not load the job."""
        return self._jobs.get(order) is job

    def move_completed(self, order, job):
        """As `jobCompleted`, for a job that says itself that it is completed here."""
        del self._jobs[order]
        self.completed.add(job)

    @property
    def _data(self):
        # what clients of old look at: the jobs
        return tuple(self)

    def __iter__(self):
        return iter(self._jobs.values())

    def __len__(self):
        return len(self._jobs)

    def __bool__(self):
        return True

    def __contains__(self, job):
        return job.parent is self and job._order in self._jobs

    def index(self, job):
        """Return the position of *job*.  Raise ValueError if it is not held."""
        for position, one in enumerate(self):
            if one is job:
                return position
        raise ValueError(f'{describe.safe_repr(job)} is not held by agent {self.name!r}')


def addMainAgentActivationHandler(event):
    """Add an agent 'main' to a dispatcher that has none when it is activated."""
    agents = event.object
    if 'main' not in agents:
        agents['main'] = Agent()


zope.component.adapter(IDispatcherActivated)(addMainAgentActivationHandler)
