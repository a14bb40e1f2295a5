"""Parked jobs: kept out of the way, with the reason, until somebody decides.

A parked job is in no line and in no agent, and counts in no quota.  What is kept
about it is kept here and not in the job, since the record of the job may be the
very thing that cannot be read: entries are listed, looked up and removed without
loading a job.

Jobs whose code is missing here may have it elsewhere, so they are first *set
aside*: they wait in a line of their own, by what is missing, which a dispatcher
that lacks it passes over as a whole (see `.lines`).
"""
import dataclasses
import datetime

import persistent
import zope.interface
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from ZODB.utils import p64

from . import callbacks
from . import execution
from . import quota
from . import records
from . import status
from .call import check_code
from .call import is_broken
from .call import why_unreadable
from .walk import Look
from .workflow import Course
from .. import clock
from .. import describe
from .. import failures
from .. import log
from .. import outage
from .. import timekeys
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import BrokenCallError
from ..interfaces import IJob
from ..interfaces import IParked
from ..interfaces import IParkedJob
from ..interfaces import IQueue
from ..interfaces import NEW
from ..interfaces import NotParkedError
from ..interfaces import PENDING

#: How long a job is left to others, from when its code was first found missing.
PATIENCE = datetime.timedelta(hours=1)
#: Why a job is parked that seems to end the processes in which it runs.
POISON = 'its process died {} times while it was running'
#: Characters of a reason at most.
_LONGEST = 300


@zope.interface.implementer(IParkedJob)
@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """See `IParkedJob`.  Made when asked for; not stored."""

    job: object
    reason: str
    at: datetime.datetime
    deaths: int
    kind: str


@zope.interface.implementer(IParked)
class Parked(persistent.Persistent):
    """See `IParked`.

    Two trees: by the time of the parking, and by the object id of the job, which
    is known even where the job cannot be loaded.
    """

    def __init__(self, queue):
        self.parent = queue
        self._data = OOBTree()  # time key -> (job, reason, deaths, kind)
        self._keys = OOBTree()  # address of the job -> time key
        self._len = Length()

    # Looking

    def __iter__(self):
        for key, stored in self._data.items():
            yield _entry(key, stored)

    def __len__(self):
        return self._len()

    def __bool__(self):
        return True

    def __contains__(self, job):
        return job._p_oid is not None and self._address(job) in self._keys

    def entry(self, job):
        """See `IParked`."""
        key = self._key(job)
        return _entry(key, self._data[key])

    def find(self, oid, database_name=None):
        """See `IParked`."""
        name = database_name
        if name is not None and name == self.parent._p_jar.db().database_name:
            name = None
        key = self._keys.get(_address(p64(oid), name))
        if key is None:
            raise NotParkedError(
                f'no job with the object id {oid} is parked in queue '
                f'{self.parent.name!r}')
        return _entry(key, self._data[key])

    def raw(self, job):
        """See `IParked`."""
        self._key(job)
        return records.raw(job)

    # Deciding

    def rerun(self, job):
        """See `IParked`."""
        self._key(job)
        _check_readable(job)
        self._put(job, self.parent)

    def move(self, job, queue):
        """See `IParked`."""
        self._key(job)
        if not IQueue.providedBy(queue) or queue._p_jar is not self.parent._p_jar:
            raise ValueError(
                f'{describe.safe_repr(queue, 200)} is no queue of the same database; '
                f'give one that is')
        _check_readable(job)
        queue.check_quotas(job.quota_names)
        self._put(job, queue)

    def discard(self, job):
        """See `IParked`."""
        entry = self.entry(job)
        problem = why_unreadable(job)
        self._remove(job)
        if problem is not None:
            log.events.warning('job %d of queue %r is forgotten, unread: %s',
                               describe.address(job)[0], self.parent.name, problem)
            return
        job._order = None
        if _has_result(job):
            status.resume(job)
            if entry.deaths:
                _fail_what_kills(job, entry.reason)
            _fail_what_is_missing(job)
        else:
            job._code = status.KEPT
            _forget_deaths(job)
            execution.discard(
                job, AbortedError(f'parked and discarded: {entry.reason}'))
            execution.log_failure(job)
            _fail_late_job(job)
        self._end(job)

    def _put(self, job, queue):
        """Put the readable *job* in line in *queue*."""
        self._remove(job)
        job._lacks = None
        _forget_deaths(job)
        job.parent, job._order = queue, None
        if _has_result(job):
            status.resume(job)
            queue.putBack(job)
        elif not _waits_for_a_job(job):
            status.rerun(job)
            queue.put_again(job)

    def _end(self, job):
        """Let the discarded *job* end, or what follows from it be done."""
        try:
            following = callbacks.children(job)
        except BaseException as error:
            if outage.is_outage(error) or outage.is_conflict(error):
                raise
            # its call cannot be read, and with it what follows from it
            execution.end(job)
            return
        if following:
            self.parent.putBack(job)
        else:
            callbacks.try_finish(job)

    # Keeping

    def add(self, job, reason, deaths=0, kind=None):
        """Keep *job*, which has been taken out of wherever it was.

        The job is not read.  Nothing happens if it is here already.
        """
        queue = self.parent
        if queue._p_jar is None:
            raise ValueError(
                'the queue is in no database; add it to one before jobs are parked')
        if job._p_jar is None:
            queue._p_jar.add(job)
        address = self._address(job)
        if address in self._keys:
            return
        stored = job, describe.printable(reason, _LONGEST), deaths, kind
        key = None
        while key is None or not self._data.insert(key, stored):
            key = timekeys.make(clock.micros(), timekeys.READY, timekeys.stamp(), 0)
        self._keys[address] = key
        self._len.change(1)
        queue.keep_parked(self)

    def _remove(self, job):
        del self._data[self._keys.pop(self._address(job))]
        self._len.change(-1)

    def _key(self, job):
        key = self._keys.get(self._address(job)) if job._p_oid is not None else None
        if key is None:
            raise NotParkedError(
                f'{describe.safe_repr(job, 200)} is not parked in queue '
                f'{self.parent.name!r}')
        return key

    def _address(self, job):
        """Return what *job* is found by, whatever its database is called here."""
        at_home = job._p_jar is self.parent._p_jar
        return _address(job._p_oid, None if at_home else job._p_jar.db().database_name)


def _entry(key, stored):
    job, reason, deaths, kind = stored
    return Entry(job, reason, clock.from_micros(timekeys.split(key)[0]), deaths, kind)


def _address(oid, database_name):
    return (database_name or '').encode() + oid


def _check_readable(job):
    problem = why_unreadable(job)
    if problem is not None:
        raise BrokenCallError(
            f'job {describe.address(job)[0]} cannot be read here ({problem}); do it '
            f'where its code is')


def _has_result(job):
    """Return whether the readable *job* has its result already."""
    if job._code == status.KEPT:
        return job._active_end is not None
    return job._code in (status.SETTLED, status.FINISHED)


def _fail_late_job(stand_in):
    """Let fail the late job, in no line, that *stand_in* alone knew of.

    See `..queue.Queue.claim`: a job is let fail by another where it is too late.
    """
    try:
        call = stand_in._call
        late = call.target
    except Exception as error:
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        return  # its call cannot be read: fsck finds what that leaves behind
    if (call.method == 'fail' and IJob.providedBy(late)
            and why_unreadable(late) is None and late.status is PENDING):
        late.fail()


def _waits_for_a_job(job):
    """Return whether *job*, unreadable for a time, only waits for another's result."""
    return job._code == status.BEGUN and job._awaits not in (None, execution.DEFERRED)


def _forget_deaths(job):
    if job._deaths:
        del job._deaths


def _is_arrival(node):
    """Return whether *node* tells a workflow of a part: it would wait for ever."""
    call = getattr(node, '_call', None)
    return (call is not None and why_unreadable(call) is None
            and isinstance(call.target, Course))


def _fail_what_kills(job, reason):
    """Let fail what follows from *job* and was run when its process died.

    That is what comes first of all that is not done, in the order of
    `callbacks.walk`.
    """
    _forget_deaths(job)
    todo = [*reversed(callbacks.children(job))]
    while todo:
        node = todo.pop()
        if why_unreadable(node) is not None or node._awaits is not None or (
                _is_arrival(node)):
            continue
        if node._code == status.UNSET or (
                node._code == status.BEGUN and hasattr(node, '_call')):
            _fail_undone(node, AbortedError(f'parked and discarded: {reason}'))
            return
        if node._code != status.FINISHED:
            todo.extend(reversed(callbacks.children(node)))


def _fail_undone(node, error):
    """Let the callback *node*, perhaps begun, or a proxy that has not chosen, fail."""
    if not hasattr(node, '_call'):
        node._code, node._result = status.SETTLED, failures.Failure(error)
        return
    if node.status is ACTIVE:
        execution.settle(node, failures.Failure(error))
    else:
        execution.fail(node, error)
    execution.log_failure(node)


def _fail_what_is_missing(job):
    """Let fail what cannot be loaded of what follows from *job*, which has its result.

    Where a callback's own record is unreadable, all that is left of them is given up.
    """
    todo = [job]
    while todo:
        for child in callbacks.children(todo.pop()):
            if is_broken(child) or why_unreadable(child) is not None:
                execution.end(job)
                return
            if child.status is NEW and hasattr(child, '_call'):
                _fail_if_missing(child)
            elif child.status in callbacks.SETTLED:
                todo.append(child)


def _fail_if_missing(job):
    try:
        check_code(job)
    except BrokenCallError as error:
        execution.fail(job, error)
        execution.log_failure(job)


# Parking

def park(job, reason):
    """Park the readable *job*, wherever it is; commit nothing."""
    status.check(job, 'park')
    queue, agent = job.queue, job.agent
    if agent is not None:
        agent.discard(job)
    else:
        queue.discard(job)
    job.parent, job._order = queue, None
    quota.release(job)
    status.move(job, 'park')
    log.events.error('%s is parked: %s', describe.safe_repr(job), reason)
    queue.parked.add(job, reason, job._deaths, _kind(job))


def _kind(job):
    """Return what *job* does, None where its call cannot be read."""
    try:
        return describe.printable(str(job.kind), _LONGEST)
    except BaseException as error:
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        return None


def park_unread(queue, job, reason):
    """Park *job*, which cannot be read and was taken out of its place."""
    for one in queue.quotas.values():
        one.discard(job)
    log.events.error('job %d of queue %r is parked, unread: %s',
                     describe.address(job)[0], queue.name, reason)
    queue.parked.add(job, reason)


# Leaving jobs to those who have the code

def served_by_others(queue, UUID):
    """Return whether a living dispatcher other than *UUID* works for *queue*."""
    return any(
        other != UUID and agents.activation.micros is not None
        and any(getattr(agent, 'size', 0) > 0 for agent in agents.values())
        for other, agents in queue.dispatchers.items())


def set_aside(job, name, UUID):
    """Leave the claimed *job* to dispatchers other than *UUID*, which lacks *name*.

    Return False, with nothing changed, where nobody else could have the code, or
    nobody had it for too long.
    """
    queue, now = job.queue, clock.micros()
    known, since = job._lacks or (None, now)
    if known != name:
        since = now
    patience = PATIENCE // datetime.timedelta(microseconds=1)
    if now - since >= patience or not served_by_others(queue, UUID):
        return False
    back_in_line(job, (name, since))
    return True


def back_in_line(job, lacks=None):
    """Put the claimed *job* back where it stood, as if it had not been claimed."""
    queue = job.queue
    job.agent.discard(job)
    if job.status is ACTIVE:
        status.move(job, 'reschedule')
    job._lacks = lacks
    queue.restore(job)


def first_lacked(job):
    """Return since when the code of *job* was found missing, None if it was not."""
    return job._lacks and clock.from_micros(job._lacks[1])


class Claimant:
    """Who claims, as far as it matters: here, nobody in particular.

    A dispatcher's own knows what its process lacks.
    """

    UUID = None
    #: Set where an object was met whose class was missing and is back: until the
    #: connection forgets the object, it goes on being without it.
    stale = False

    def lacks(self, name):
        """Return whether to pass over the jobs that were set aside for *name*."""
        return False

    def leaves(self, address, name):
        """Return whether to pass over the job at *address*, whose class is gone."""
        return True

    def look(self, queue, filter, now):
        """Return the `Look` with which a claim by *filter* goes through *queue*."""
        lines = queue._lines
        heads = lines.heads(lines.shards, now, self.lacks)
        return Look(heads, queue.has_room)


_claimants = object()  # names the claimant in a transaction's data


def let_claim(transaction, claimant):
    """Let the claims in *transaction* be those of *claimant*."""
    transaction.set_data(_claimants, claimant)


def claimant_in(jar):
    """Return who claims in the transaction of the connection *jar*."""
    try:
        return jar.transaction_manager.get().data(_claimants)
    except (AttributeError, KeyError):
        return Claimant()


def is_left(queue, job, name, claimant):
    """Return whether *claimant* leaves *job*, whose class *name* is gone, to others."""
    address = describe.address(job)
    return claimant.leaves(address, name) and served_by_others(queue, claimant.UUID)
