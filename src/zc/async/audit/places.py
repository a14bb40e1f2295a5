"""Whether a job is where it says that it is.

A job is *lost* if the container which it says that it is in has not got it: then
nobody will do it.
"""
import struct

from persistent import Persistent
from ZODB.broken import Broken
from ZODB.POSException import POSKeyError

from .. import describe
from ..interfaces import IAgent
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import IQueue
from ..model import callbacks
from ..model import status
from .records import provides
from .records import unreadable

#: Perhaps lost: that can be told when all queues have been seen.
PERHAPS = 'perhaps'


class Places:
    """Knows where jobs of *queues*, a mapping, can be; reads with *records*."""

    def __init__(self, queues, records):
        self._queues = queues
        self._records = records

    def elsewhere(self, job, place):
        """Return the finding about *job*, which is at *place* and denies it."""
        number = oid_of(job)
        if job._code == status.FINISHED:
            return place.finding(
                'status-wrong', f'job {number} is completed, and in {place.name}', job)
        if job.parent is None or self.lost(job):
            return place.finding(
                'place-wrong', f'job {number} is in {place.name} and says that it is '
                f'elsewhere', job)
        return place.finding(
            'job-twice', f'job {number} is in {place.name} and elsewhere', job)

    def lost(self, job):
        """Return why the readable *job* is lost, `PERHAPS`, or None if it is not."""
        if job._code == status.FINISHED or job.parent is None:
            return None
        try:
            text = self._lost(job, job.parent)
            if text is not None and self._is_parked(job):
                text = None
        except POSKeyError:
            return None  # a container cannot be read, which is told of
        return text

    def _lost(self, job, parent):
        if not self._records.exists(parent):
            return 'is in something that is missing'
        if provides(IAgent, parent):
            return None if _in_agent(parent, job) else (
                f'says that agent {parent.name!r} holds it, which does not')
        if provides(IQueue, parent):
            return None if in_line(parent, job) else _lost_from_line(job)
        if is_node(parent) and not self.has(job):
            return f'says that it is a callback of {named(parent)}, and is not'
        return None

    def _is_parked(self, job):
        return any(queue._parked is not None and job in queue._parked
                   for queue in self._queues.values() if hasattr(queue, '_parked'))

    def has(self, child):
        """Return whether the node that *child* names has it."""
        parent = child.parent
        return (self._records.exists(parent) and unreadable(parent) is None
                and any(one is child for one in children_of(parent)))

    def surely_lost(self, job):
        """Return why a suspect is lost indeed, or None."""
        if job._code == status.SETTLED and not is_stalled(job):
            return None
        return 'says that it is in line and is not'


def _lost_from_line(job):
    """Return why *job*, which says that it is in a queue, is lost, if it is."""
    if job._code == status.BEGUN:
        if isinstance(job._awaits, Persistent):
            return None  # it needs no place: the other brings its result
        return 'has begun, and no agent holds it'
    if job._code == status.KEPT:
        return 'says that it is parked and is not'
    if job._code == status.UNSET and job._order is not None:
        return 'says that it is in line and is not'
    return PERHAPS


def is_undone(child):
    """Return whether a callback was not begun, or was and nobody goes on with it."""
    return child._code == status.UNSET or (
        child._code == status.BEGUN and child._awaits is None
        and provides(IJob, child))


def is_stalled(node):
    """Return whether *node*, which has its result, needs a worker to go on."""
    todo = [node]
    while todo:
        waiting = False
        for child in callbacks.children(todo.pop()):
            if provides(ICallbackProxy, child) and child._code == status.BEGUN:
                child = child.job  # it goes on when what it chose does
            if is_undone(child) or _is_due(child):
                return True
            if child._code == status.SETTLED:
                todo.append(child)
            waiting = waiting or child._code != status.FINISHED
        if not waiting:
            return True  # somebody has to complete it
    return False


def _is_due(child):
    """Return whether *child* waits for a result that is there."""
    return (child._code == status.BEGUN and is_node(child._awaits)
            and child._awaits._code in (status.SETTLED, status.FINISHED))


def in_line(queue, job):
    """Return whether *job* stands in a line of *queue*, where it says."""
    try:
        return job in queue._lines
    except POSKeyError:
        raise
    except (struct.error, LookupError, TypeError, AttributeError):
        return False  # the place that it names is none


def _in_agent(agent, job):
    if isinstance(agent, Broken):
        return True  # nobody can tell
    return any(one is job for one in agent._jobs.values())


def children_of(node):
    """Return what follows from *node*; for a proxy also what it chooses from."""
    if provides(ICallbackProxy, node):
        held = (getattr(node, name, None) for name in ('job', 'success', 'failure'))
        found = {id(one): one for one in held if is_node(one)}
        return (*found.values(), *node.callbacks)
    try:
        return node.callback_record().callbacks
    except POSKeyError:
        return ()


# What things are called

def is_node(value):
    """Return whether *value* is a job or a callback proxy, without loading it."""
    return provides(IJob, value) or provides(ICallbackProxy, value)


def key_of(obj):
    """Return what names the persistent *obj* in all databases."""
    return obj._p_jar.db().database_name, obj._p_oid


def oid_of(obj):
    """Return the object id of *obj*, as a number."""
    return describe.address(obj)[0]


def named(node):
    """Return how *node* is called in a text, without loading it."""
    word = 'callback proxy' if provides(ICallbackProxy, node) else 'job'
    return f'{word} {oid_of(node)}'
