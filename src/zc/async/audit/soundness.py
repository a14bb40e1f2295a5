"""What has to hold of a job and of what follows from it, wherever it is.

The *tree* of a job is what follows from its result, and the jobs that are given to it
and not put yet.
"""
from persistent import Persistent
from ZODB.broken import Broken

from .. import describe
from ..interfaces import IAgent
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import IQueue
from ..model import callbacks
from ..model import execution
from ..model import status
from ..model.call import missing_class
from .findings import Place
from .places import children_of
from .places import is_node
from .places import is_undone
from .places import key_of
from .places import named
from .places import PERHAPS
from .places import Places
from .records import provides
from .records import unreadable


class Jobs:
    """Looks at the jobs of *queues*, a mapping, with *records*."""

    def __init__(self, queues, records):
        self.records = records
        self.places = Places(queues, records)
        self._instead = set()    # jobs that are let fail by another in their place
        self._reached = set()    # settled jobs that follow from another's result
        self._suspects = {}      # key -> (queue name, job)
        self._told = set()
        self.code_missing = {}   # (queue name, dotted name) -> how many

    # Reading

    def read(self, job, place):
        """Return whether *job* can be looked at, and a finding if not, or None."""
        if not self.records.exists(job):
            return False, place.finding(
                'job-missing', f'{named(job)} has no record in the database', job)
        problem = unreadable(job)
        if isinstance(job, Broken) or problem is None:
            name = missing_class(job)
            if name is not None:
                self.lacks(place.queue, name)
            if isinstance(job, Broken):
                return False, None
        if problem is None and not is_node(job):
            problem = f'it is no job, but a {describe.type_name(type(job))}'
        if problem is not None:
            return False, place.finding(
                'job-unreadable', f'{named(job)} cannot be read: {problem}', job)
        return True, None

    def lacks(self, queue_name, name):
        """Note that the class *name* cannot be imported here."""
        key = queue_name, name
        self.code_missing[key] = self.code_missing.get(key, 0) + 1

    # The tree of a job

    def tree(self, root, queue_name, place_name, idle=False):
        """Yield what is wrong with the readable job *root* and what follows from it.

        *idle*: no process has anything to do with it now.
        """
        place = Place(queue_name, place_name, ('job', queue_name, *_where(root), idle))
        todo, seen = [root], set()
        while todo:
            node = todo.pop()
            key = key_of(node)
            if key not in seen:
                seen.add(key)
                yield from self._node(node, place, todo, idle)

    def _node(self, node, place, todo, idle):
        whole = yield from self._references(node, place)
        if not whole:
            return
        for child in children_of(node):
            yield from self._child(child, node, place, todo, idle)
        if provides(IJob, node):
            yield from self._waiting(node, place, todo)
            yield from self._given(node, place, todo)

    def _references(self, node, place):
        """Yield what *node* refers to in vain; return whether its call is there."""
        if provides(ICallbackProxy, node):
            for _jar, oid in self.records.missing(node):
                yield self._missing_of_proxy(node, oid, place)
            return True
        for _jar, oid in self.records.missing(node):
            finding = self._missing_of_job(node, oid, place)
            if finding is not None:
                yield finding
        call = node._call
        if not self.records.exists(call):
            return False
        problem = unreadable(call)
        if problem is not None:
            yield place.finding(
                'call-missing', f'the call of {named(node)} cannot be read: {problem}',
                node, repairable=_can_be_parked(node))
            return False
        for _jar, oid in self.records.missing(call):
            yield self._missing_of_call(node, oid, place)
        return True

    def _missing_of_proxy(self, proxy, oid, place):
        text = f'{named(proxy)} refers to object {_number(oid)}, which is missing'
        held = (getattr(proxy, name, None) for name in ('success', 'failure', 'job'))
        if any(_is_at(one, oid) for one in (*proxy.callbacks, *held)):
            return place.finding('callback-missing', text, proxy, oid)
        return place.finding('reference-missing', text, proxy, oid, repairable=False)

    def _missing_of_job(self, job, oid, place):
        if _is_at(job.parent, oid) or _is_at(job._awaits, oid):
            return None  # told where it matters
        if _is_at(job._call, oid):
            return place.finding(
                'call-missing', f'the call of {named(job)} is missing', job, oid,
                _can_be_parked(job))
        policy = _is_at(job._retry_policy, oid)
        return place.finding(
            'reference-missing', f'{"the retry policy" if policy else "a part"} of '
            f'{named(job)}, object {_number(oid)}, is missing', job, oid, policy)

    def _missing_of_call(self, job, oid, place):
        call, number = job._call, _number(oid)
        if any(_is_at(one, oid) for one in call.callbacks):
            return place.finding(
                'callback-missing', f'callback {number} of {named(job)} is missing',
                job, oid)
        if _is_at(call.annotations, oid):
            return place.finding(
                'reference-missing', f'the annotations of {named(job)} are missing',
                job, oid)
        if job._code in (status.SETTLED, status.FINISHED):
            return place.finding(
                'reference-missing', f'object {number}, which {named(job)} was called '
                f'with, is missing', job, oid, False)
        return place.finding(
            'call-missing', f'object {number}, which {named(job)} needs, is missing',
            job, oid, _can_be_parked(job))

    # Callbacks

    def _child(self, child, node, place, todo, idle):
        """Look at *child*, which follows from the result of *node*."""
        if not self.records.exists(child):
            return  # told already
        readable, finding = self.read(child, place)
        if not readable:
            if finding is not None:
                yield place.finding(finding.code, finding.text, child, repairable=False)
            return
        if child.parent is node:
            todo.append(child)
            yield from self._own(child, node, place, idle)
        elif child._awaits is node or child._code in (status.SETTLED, status.FINISHED):
            # it returned the other and is told the result
            if child._code == status.SETTLED:
                self._reached.add(key_of(child))
            if provides(IQueue, child.parent) and child._code != status.FINISHED:
                todo.append(child)  # no container has it
        elif child.parent is None or is_node(child.parent) or self.places.lost(child):
            yield place.finding(
                'callback-parent', f'{named(child)} is a callback of {named(node)} and '
                f'says that it belongs to {_shown(child.parent)}', child,
                node._p_oid, not is_node(child.parent) or not self.places.has(child))

    def _own(self, child, node, place, idle):
        if not any(child is one for one in callbacks.children(node)):
            return  # what a proxy has not chosen
        if node._code == status.FINISHED and is_undone(child) and self._all_there(node):
            yield place.finding(
                'callback-undone', f'{named(node)} is completed, and its callback '
                f'{named(child)} is not', node, child._p_oid)
        elif idle and (child._code, child._awaits) == (
                status.BEGUN, execution.DEFERRED):
            yield place.finding(
                'callback-stuck', f'{named(child)} waits for a Deferred, and no process '
                f'works on {named(node)}', child)

    def _all_there(self, node):
        # a parked job that is discarded ends without what cannot be read
        return all(self.records.exists(child) and unreadable(child) is None
                   for child in callbacks.children(node))

    # Other jobs that a job has to do with

    def _waiting(self, job, place, todo):
        """Look at the job whose result *job* waits for, if it does."""
        inner = job._awaits
        if job._code != status.BEGUN or not isinstance(inner, Persistent):
            return
        problem = None
        if not self.records.exists(inner):
            problem = 'which is missing'
        elif unreadable(inner) is not None:
            return  # perhaps only here
        elif inner._code == status.FINISHED:
            problem = 'which is completed'
        elif not any(one is job for one in children_of(inner)):
            problem = 'which does not know of it'
        if problem is not None:
            yield place.finding(
                'waits-in-vain', f'{named(job)} waits for {named(inner)}, {problem}',
                job, inner._p_oid)
        elif inner._code == status.UNSET and inner.parent is None:
            todo.append(inner)  # as the last step of a workflow
        else:
            yield from self.mention(inner, place.queue)

    def _given(self, job, place, todo):
        """Look at the jobs that *job* is called with, or whose method it calls."""
        call = job._call
        if (call.method == 'fail' and provides(IJob, call.target)
                and job._code in (status.UNSET, status.BEGUN, status.KEPT)):
            self._instead.add(key_of(call.target))
        for one in (call.target, *call.args, *(call.kwargs or {}).values()):
            if not provides(IJob, one) or one is job:
                continue
            if not self.records.exists(one) or unreadable(one) is not None:
                continue
            if one._code == status.UNSET and one.parent is None:
                todo.append(one)
            else:
                yield from self.mention(one, place.queue)

    def mention(self, job, queue_name):
        """Yield a finding if the readable *job* is lost."""
        lost, key = self.places.lost(job), key_of(job)
        if lost == PERHAPS:
            self._suspects[key] = queue_name, job
        elif lost and key not in self._told:
            self._told.add(key)
            yield self._orphan(job, queue_name, lost)

    def _orphan(self, job, queue_name, text):
        place = Place(queue_name, 'nowhere', ('orphan', queue_name, *_where(job)))
        return place.finding('orphan', f'{named(job)} {text}', job)

    def leftovers(self):
        """Yield the suspects that are lost indeed.  When all queues have been seen."""
        for key, (queue_name, job) in self._suspects.items():
            if key in self._instead or key in self._reached or key in self._told:
                continue
            text = self.places.surely_lost(job)
            if text is not None:
                yield self._orphan(job, queue_name, text)


# Small things

def _can_be_parked(job):
    return job._code == status.UNSET and (
        provides(IQueue, job.parent) or provides(IAgent, job.parent))


def _where(obj):
    number, database = describe.address(obj)
    return database, number


def _is_at(value, oid):
    return isinstance(value, Persistent) and value._p_oid == oid


def _number(oid):
    return int.from_bytes(oid, 'big')


def _shown(parent):
    return 'none' if parent is None else (
        describe.persistent_repr(parent) if isinstance(parent, Persistent)
        else describe.safe_repr(parent, 200))
