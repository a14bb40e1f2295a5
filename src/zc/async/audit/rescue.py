"""Putting jobs that nobody would do where their work can go on.

No job is dropped: what cannot go on is parked with its reason.
"""
import struct

from .. import timekeys
from ..failures import Failure
from ..interfaces import AbortedError
from ..interfaces import IAgent
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import IQueue
from ..model import execution
from ..model import parking
from ..model import recovery
from ..model import status
from ..model.call import is_broken
from .places import in_line
from .places import oid_of
from .records import provides
from .records import unreadable


class CannotRepair(Exception):
    """Why something is left as it is, in a sentence."""


def has_place(queue, key):
    """Return whether *key* is one that a line of *queue* can have."""
    try:
        return timekeys.split(key)[3] < len(queue._lines.shards)
    except (struct.error, TypeError):
        return False


def back_in_line(queue, job):
    """Put *job*, which has not begun or has its result, in line; return what was done.

    Where it stood, if it still says where; otherwise for its time, or at the front.
    """
    job.parent = queue
    if has_place(queue, job._order):
        queue.restore(job)
        if in_line(queue, job):
            return 'put back where it stood in line'
    return anew_in_line(queue, job)


def anew_in_line(queue, job):
    """Put *job* in line for its time, or at the front; return what was done."""
    job.parent = queue
    after = job.begin_after
    if job._code == status.UNSET and after is not None:
        queue.schedule(job, after)
        return f'put in line for {after}'
    queue.putBack(job)
    return 'put at the front of the line'


def rescue(queue, job):
    """Put *job*, which no container has, where its work can go on.

    Return what was done.  Raise `CannotRepair`.
    """
    if provides(IJob, job.parent) or provides(ICallbackProxy, job.parent):
        if unreadable(job.parent) is None:
            return _back_to_node(job)
    home = _home(job, queue)
    if job._code == status.KEPT:
        job.parent = home
        home.parked.add(job, 'it was not among the parked jobs', job._deaths)
        return 'parked again'
    if job._code == status.BEGUN:
        return resume(home, job)
    return back_in_line(home, job)


def _home(job, queue):
    """Return the queue that *job* belongs to, *queue* where it does not say."""
    parent = job.parent
    if provides(IQueue, parent) and unreadable(parent) is None:
        return parent
    if provides(IAgent, parent) and unreadable(parent) is None:
        return job.queue or queue
    return queue


def _back_to_node(job):
    node = job.parent
    if provides(ICallbackProxy, node):
        raise CannotRepair(
            f'nobody can tell whether job {oid_of(job)} is for success or failure')
    record = node.callback_record()
    record.callbacks = (*record.callbacks, job)
    return f'added to the callbacks of job {oid_of(node)} again'


def resume(queue, job):
    """Let *job*, which was begun and is in nobody's hands, go on; return what was done.

    Its retry policy decides, if it is known here; otherwise the job is parked.
    """
    job.parent = queue
    if job._awaits not in (None, execution.DEFERRED):
        return 'left to the job that brings its result'
    if not can_ask(job):
        parking.park(job, 'it was begun and found in nobody\'s hands, and its retry '
                          'policy is known to the site only')
        return 'parked, since its retry policy is known to the site only'
    recovery.interrupt(job)
    return f'taken as interrupted; now it is {job.status}'


def can_ask(job):
    """Return whether the retry policy of *job* is known in this process.

    One that is named is an adapter, which the site has registered.
    """
    policy = job._retry_policy
    if policy is not None:
        return unreadable(policy) is None
    factory = job.retry_policy_factory
    return not isinstance(factory, str) and not is_broken(factory)


def bring_result(queue, job, inner):
    """Give *job* the result of the settled *inner*; return what was done."""
    execution.settle(job, inner.result)
    return go_on(queue, job, f'given the result of job {oid_of(inner)}')


def give_up_waiting(queue, job):
    """Let *job* wait no more for a job that is gone; return what was done."""
    if provides(IQueue, job.parent) or provides(IAgent, job.parent):
        parking.park(job, 'the job whose result it waited for is gone; run again, its '
                          'effects happen a second time')
        job._awaits = None
        return 'parked'
    execution.settle(job, Failure(AbortedError('the job that it waited for is gone')))
    return go_on(queue, job, 'made a failure')


def go_on(queue, job, done):
    """Have what follows from the settled *job* done; return the text *done*."""
    if provides(IQueue, job.parent):
        queue.putBack(job)
    return done
