"""What follows from a result: callbacks, and jobs that wait for it.

A job with a result is a *node*; so is a callback proxy.  The children of a node
are its callbacks, for a proxy also the job it chose, and the jobs that wait for
its result.  `walk` visits them depth first with a stack of its own, since
chains may be longer than Python's stack is deep, and starts again after a crash
where it stopped: what is done is stored in each node's status.
"""
from . import quota
from . import status
from .call import check_class
from .call import is_broken
from .call import why_unreadable
from .. import clock
from ..current import read_current
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import IAgent
from ..interfaces import ICallbackProxy
from ..interfaces import IJob
from ..interfaces import IQueue
from ..interfaces import NEW

#: The statuses of a node that has its result.
SETTLED = (CALLBACKS, COMPLETED)
#: Nodes that are looked at to tell what a job waits for: whoever asks claims.
_FEW = 100


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
    ``deliver(job, result)`` and ``interrupted(job, result)``; it commits as it
    likes.  ``leaves(job)`` says whether the callbacks of *job*, which waited for
    another, are done by whoever holds it: they must not be called by two.
    Raise `.call.CodeMissing` at a callback whose class is gone.
    """
    stack, visited = [(root, 0)], []
    while stack:
        node, position = stack.pop()
        following = children(node) if node.status in SETTLED else ()
        if position < len(following):
            stack.append((node, position + 1))
            child = following[position]
            check_class(child)
            _perform(child, node, performer)
            if child.status is not CALLBACKS:
                continue
            if child.parent is node or not (
                    has_callbacks_left(child) and performer.leaves(child)):
                stack.append((child, 0))
            else:
                visited.append(child)
        else:
            visited.append(node)
    return visited


def has_callbacks_left(node):
    """Return whether callbacks of *node*, not those who wait for it, are to be done."""
    return any(child.parent is node and child.status is not COMPLETED
               for child in children(node))


def top(node):
    """Return the job that *node* follows from in the end; itself if from none."""
    while is_node(node.parent):
        node = node.parent
    return node


def _perform(child, node, performer):
    """Do what *child* needs now that *node* has its result."""
    if child.status is NEW:
        _start(child, node.result, performer)
    elif child.status is ACTIVE:
        if child._awaits is node:
            performer.deliver(child, node.result)
        elif ICallbackProxy.providedBy(child):
            _go_on(child, node.result, performer)
        elif child._awaits is None and child.parent is node:
            performer.interrupted(child, node.result)


def _go_on(proxy, result, performer):
    """Go on with what *proxy* has chosen; who chose it is gone."""
    chosen = proxy.job
    check_class(chosen)
    if chosen.status is NEW:
        performer.run(chosen, result)
    elif chosen.status is ACTIVE and chosen._awaits is None and chosen.parent is proxy:
        performer.interrupted(chosen, result)


def _start(child, result, performer):
    if not ICallbackProxy.providedBy(child):
        performer.run(child, result)
        return
    chosen = performer.choose(child, result)
    if chosen is not None and chosen.status is NEW:
        performer.run(chosen, result)


def needs_room(job):
    """Return whether *job*, which has its result, is to be counted in its quotas again.

    It is not where it was parked, or failed in line, and what follows from it is done
    like any claimed job.  Not where others wait for its result: it may be they who
    fill the quotas.
    """
    return not quota.counts(job) and not any(
        child._awaits is job for child in children(job)
        if not is_broken(child) and why_unreadable(child) is None)


def needs_worker(node):
    """Return whether something follows from *node* that nobody has begun.

    A callback that is settled itself does not count: whoever settled it goes on
    with what follows from it.
    """
    return any(is_broken(child) or child.status is NEW or child._awaits is node
               for child in children(node))


def waits_for_a_job(job):
    """Return whether *job*, or all of what follows from it, waits for other jobs.

    Only where nobody can work on it before one of those has ended, so False where it
    cannot be read, and where more than a few nodes would have to be loaded.
    """
    # the last callbacks first: while a worker is at them, these have not begun
    todo, waits = [job], False
    for _number in range(_FEW):
        if not todo:
            return waits
        node = todo.pop()
        if is_broken(node) or (
                node._p_changed is None and why_unreadable(node) is not None):
            return False
        if node._awaits is not None:
            if not IJob.providedBy(node._awaits):
                return False
            waits = True
        elif node.status is ACTIVE and getattr(node, 'job', None) is not None:
            todo.append(node.job)  # a proxy has chosen it
        elif node.status is CALLBACKS and why_unreadable(node.callback_record()) is None:
            todo.extend(children(node))
        elif node.status is not COMPLETED:
            return False
    return False


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


def finish_in_hand(job):
    """Complete *job* if nothing follows from it; its agent holds it until `let_go`.

    So a worker stores effects, result and completion of a job at once, and nobody
    has to store it again.  Return whether it did.
    """
    return not job._quota_names and _complete(job)


def let_go(agent, order, job):
    """Let *agent* hold *job*, which is completed, no more.  Does not load the job.

    *order* is the key under which it is held.  Return False, and do nothing, where it is
    not: then an heir has done the same.
    """
    held = agent.holds(order, job)
    if held:
        agent.move_completed(order, job)
    return held


def finish_all(nodes):
    """Complete those of *nodes*, children first, for which everything is done.

    And what the last of them belong to, as `try_finish` does.
    """
    coming = {id(node) for node in nodes}
    for node in nodes:
        coming.discard(id(node))
        # what comes later is not looked at now: a job may have thousands of
        # callbacks, and would be looked through once for each
        while is_node(node) and node.status is CALLBACKS and _finish(node):
            node = node.parent
            if id(node) in coming:
                break


def is_in_line(node):
    """Return whether *node* is a job that waits for somebody to claim it.

    With a result it was put back by whoever took its worker for dead.
    """
    return IQueue.providedBy(node.parent) and node in node.parent


def is_with_others(job):
    """Return whether somebody holds *job*, which waited for another, or will claim it.

    With its result, its callbacks are done by that one.
    """
    first = top(job)
    return first.agent is not None or is_in_line(first)


def _is_done(child, node):
    """Return whether *node* need not wait for *child* any more."""
    if child.status is COMPLETED:
        return True
    # one that waited for the result has it, and who completes it knows nothing of
    # this node
    return (child.parent is not node and child.status is CALLBACKS
            and is_with_others(child))


def _finish(node):
    if is_in_line(node):
        # who claims it finishes it; completed in line, it would be claimed and
        # held for nothing
        return False
    completed = _complete(node)
    if completed and IJob.providedBy(node):
        release(node)
    return completed


def _complete(node):
    """Complete *node* if all that follows from it is done; return whether it was.

    A job still holds its agent's slot and its quotas then.
    """
    read_current(node.callback_record())
    for child in children(node):
        if is_broken(child) or not _is_done(child, node):
            read_current(child)
            return False
    status.move(node, 'finish')
    if IJob.providedBy(node):
        node._callbacks_end = clock.micros()
    return True


def release(job):
    """Give back what the completed *job* holds: its agent's slot and quotas."""
    # the names first: the queue may be found only at the end of a long chain
    if job._quota_names and job.queue is not None:
        quota.release(job)
    if IAgent.providedBy(job.parent):
        job.parent.jobCompleted(job)
