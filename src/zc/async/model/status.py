"""The status machine of jobs as one table.  Drawn in `..interfaces.IJob`."""
import dataclasses

from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import BadStatusError
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import IAgent
from ..interfaces import IQueue
from ..interfaces import NEW
from ..interfaces import PARKED
from ..interfaces import PENDING

# What is stored.  UNSET is not: the parent tells NEW, PENDING and ASSIGNED.
UNSET, BEGUN, SETTLED, FINISHED, KEPT = range(5)

_STORED = {BEGUN: ACTIVE, SETTLED: CALLBACKS, FINISHED: COMPLETED, KEPT: PARKED}


@dataclasses.dataclass(frozen=True)
class Arrow:
    """One way from a status to another."""

    name: str
    sources: tuple
    target: str
    code: int
    fired_by: str
    committed_with: str


ARROWS = {arrow.name: arrow for arrow in (
    Arrow('put', (NEW,), PENDING, UNSET, 'anybody',
          'its place in the queue'),
    Arrow('take', (PENDING,), NEW, UNSET, 'anybody',
          'its leaving the queue'),
    Arrow('claim', (PENDING,), ASSIGNED, UNSET, 'an agent of a living dispatcher',
          'its quotas, other claims of the process, and begin where it may'),
    Arrow('hand back', (ASSIGNED,), PENDING, UNSET, 'the dispatcher or its heir',
          'its leaving the agent and its quotas'),
    Arrow('begin', (NEW, ASSIGNED), ACTIVE, BEGUN, 'the dispatcher that claimed it',
          'the number of the attempt'),
    Arrow('wait', (ACTIVE,), ACTIVE, BEGUN, 'the worker',
          'the effects of the call, and what will bring the result'),
    Arrow('reschedule', (ACTIVE,), NEW, UNSET, 'the worker, or an heir by policy',
          'its place in the queue'),
    Arrow('settle', (ACTIVE,), CALLBACKS, SETTLED, 'who holds the attempt',
          'the result and the effects'),
    Arrow('fail', (NEW, PENDING, ASSIGNED), CALLBACKS, SETTLED, 'anybody',
          'the failure'),
    Arrow('finish', (CALLBACKS,), COMPLETED, FINISHED, 'who holds the job',
          'its leaving the agent and its quotas, with others that are ready'),
    Arrow('park', (PENDING, ASSIGNED, ACTIVE, CALLBACKS), PARKED, KEPT,
          'the dispatcher or its heir',
          'the reason, and its leaving the line or the agent, and its quotas'),
    Arrow('rerun', (PARKED,), PENDING, UNSET, 'anybody',
          'its place in the queue'),
    Arrow('resume', (PARKED,), CALLBACKS, SETTLED, 'anybody, if it has its result',
          'its place in the queue'),
    Arrow('discard', (PARKED,), CALLBACKS, SETTLED, 'anybody',
          'the failure'),
)}


def of(job):
    """Return the status constant of *job*, the very object."""
    code = job._code
    if code:
        return _STORED[code]
    parent = job.parent
    if parent is None:
        return NEW
    if IAgent.providedBy(parent):
        return ASSIGNED
    if IQueue.providedBy(parent):
        return PENDING
    return NEW


def check(job, name):
    """Raise `BadStatusError` unless the arrow *name* starts where *job* is."""
    status = of(job)
    if status not in ARROWS[name].sources:
        expected = ' or '.join(ARROWS[name].sources)
        raise BadStatusError(
            f'cannot {name} {job!r}: its status is {status}, not {expected}')


def move(job, name):
    """Follow the arrow *name* from where *job* is; check that it starts there."""
    arrow = ARROWS[name]
    if of(job) not in arrow.sources:
        check(job, name)
    job._code = arrow.code


def rerun(job):
    """Let *job*, just taken from the parked ones, wait again.

    Where its record could not be read it does not say that it was parked.
    """
    job._code = KEPT
    move(job, 'rerun')


def resume(job):
    """Let *job*, just taken from the parked ones, go on with its callbacks."""
    if job._code != FINISHED:
        job._code = KEPT
        move(job, 'resume')
