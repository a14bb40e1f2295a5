"""What follows from a result: callbacks, and jobs that wait for it.

A job with a result is a *node*; so is a callback proxy.  The children of a node
are its callbacks, for a proxy also the job it chose, and the jobs that wait for
its result.  `walk` visits them depth first with a stack of its own, since
chains may be longer than Python's stack is deep, and starts again after a crash
where it stopped: what is done is stored in each node's status.
"""
from . import status
from .. import clock
from ..current import read_current
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import IAgent
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import NEW

#: The statuses of a node that has its result.
SETTLED = (CALLBACKS, COMPLETED)


def children(node):
    """Return what has to be completed before *node* is."""
    if ICallbackProxy.providedBy(node) and node.job is not None:
        return (node.job, *node.callbacks)
    return node.callbacks


def is_node(thing):
    """Return whether *thing* is a job or a callback proxy."""
    return IJob.providedBy(thing) or ICallbackProxy.providedBy(thing)


def walk(root, performer):
    """Perform what follows from *root*; return the visited nodes, children first.

    The *performer* has ``run(job, result)``, ``choose(proxy, result)``,
    ``deliver(job, result)`` and ``interrupted(job)``; it commits as it likes.
    """
    stack, visited = [(root, 0)], []
    while stack:
        node, position = stack.pop()
        following = children(node) if node.status in SETTLED else ()
        if position < len(following):
            stack.append((node, position + 1))
            child = following[position]
            _perform(child, node, performer)
            if child.status is CALLBACKS:
                stack.append((child, 0))
        else:
            visited.append(node)
    return visited


def _perform(child, node, performer):
    """Do what *child* needs now that *node* has its result."""
    if child.status is NEW:
        _start(child, node.result, performer)
    elif child.status is ACTIVE:
        if child._awaits is node:
            performer.deliver(child, node.result)
        elif child._awaits is None and child.parent is node:
            performer.interrupted(child)


def _start(child, result, performer):
    if not ICallbackProxy.providedBy(child):
        performer.run(child, result)
        return
    chosen = performer.choose(child, result)
    if chosen is not None and chosen.status is NEW:
        performer.run(chosen, result)


def needs_worker(node):
    """Return whether something follows from *node* that nobody has begun.

    A callback that is settled itself does not count: whoever settled it goes on
    with what follows from it.
    """
    return any(child.status is NEW or child._awaits is node
               for child in children(node))


def try_finish(node):
    """Complete *node*, and what it belongs to, as far as everything is done.

    Return the nodes that were completed.  What is found undone, and the record
    to which a callback may be added meanwhile, are guarded with ``readCurrent``:
    of two workers who each finish one of the last two callbacks at the same
    time, one must see the other.
    """
    finished = []
    while is_node(node) and node.status is CALLBACKS and _finish(node):
        finished.append(node)
        node = node.parent
    return finished


def _finish(node):
    read_current(node.callback_record())
    for child in children(node):
        if child.status is not COMPLETED:
            read_current(child)
            return False
    status.move(node, 'finish')
    if IJob.providedBy(node):
        node._callbacks_end = clock.micros()
        release(node)
    return True


def release(job):
    """Give back what the completed *job* holds: its agent's slot and quotas."""
    queue = job.queue
    if queue is not None:
        for name in job.quota_names:
            quota = queue.quotas.get(name)
            if quota is not None:
                quota.discard(job)
    if IAgent.providedBy(job.parent):
        job.parent.jobCompleted(job)
