"""What becomes of the jobs of a dispatcher that works no longer.

Nothing here imports what a job calls: the heir may not have that code.
"""
from . import callbacks
from . import execution
from . import parking
from . import quota
from . import status
from .call import is_back
from .call import is_broken
from .call import missing_class
from .call import why_unreadable
from .retry import decide_interrupted
from .retry import RunAgain
from .. import clock
from .. import failures
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED


def hand_over(agents, died=False, leave=True):
    """Hand back the jobs of all agents of a dispatcher; return how many.

    *died*: its process is gone, and was not stopped in order.  Jobs whose class is
    missing here cannot be changed here.  With *leave*, they stay for a time in those
    agents, and are left to whoever has the code: see `take_left`.
    """
    queue, count, left = agents.parent, 0, False
    claimant = parking.claimant_in(agents._p_jar)
    for agent in (*agents.values(), *agents.retired):
        for job in held(agent):
            if leave and _is_left(queue, job, claimant):
                left = True
                continue
            hand_back(agent, job, queue, died)
            count += 1
    kept = tuple(agent for agent in agents.retired if left and len(agent))
    if kept != agents.retired:
        agents.retired = kept
    queue.dispatchers.note_left(agents.UUID, died if left else None)
    return count


def _is_left(queue, job, claimant):
    """Return whether *claimant* leaves *job*, whose class is gone, where it is."""
    if why_unreadable(job) is None:
        return False
    if is_back(job):
        claimant.stale = True
        return True
    name = missing_class(job)
    return name is not None and parking.is_left(queue, job, name, claimant)


def take_left(queue):
    """Hand back what other heirs left in *queue*, as far as its classes are here.

    What nobody else could have the code of is parked.
    """
    dispatchers = queue.dispatchers
    for UUID, died in dispatchers.left:
        agents = dispatchers.get(UUID)
        if agents is None or agents.activation.micros is not None:
            dispatchers.note_left(UUID, None)
        else:
            hand_over(agents, died)


def settle_left(agents):
    """Hand back, or park, what was left in *agents*, which are to be used again."""
    if agents.parent is not None:
        for UUID, died in agents.parent.dispatchers.left:
            if UUID == agents.UUID:
                hand_over(agents, died, leave=False)


def held(agent):
    """Return the jobs that *agent* holds, also where its class is gone."""
    if not is_broken(agent):
        return list(agent)
    agent._p_activate()
    jobs = (agent.__Broken_state__ or {}).get('_jobs', {}).values()
    # it cannot be written: those that were handed back are still in there
    return [job for job in jobs if why_unreadable(job) is None and job.parent is agent]


def hand_back(agent, job, queue, died=None):
    """Take *job* from *agent* and put it where its work can go on in *queue*.

    *died*: whether its process is gone, or, if False, was stopped in order; None:
    it lives, and only a thread has ended.
    """
    reason = why_unreadable(job)
    if reason is not None:
        agent.drop(job)
        parking.park_unread(queue, job, f'its record cannot be read: {reason}')
        return
    if not is_broken(agent):
        agent.discard(job)
    if job.status is COMPLETED:
        agent.completed.add(job)
        job.parent = agent
        return
    job.parent = queue
    if job.status is ASSIGNED or job._code == status.UNSET:
        queue.restore(job)
    elif job.status is CALLBACKS:
        if died is not None:
            _forget_deferreds(job)
        if not (died and park_if_poisonous(job)):
            queue.putBack(job)
    elif job.status is ACTIVE and job._awaits in (None, execution.DEFERRED):
        interrupt(job, died)
        if job.status is COMPLETED and not is_broken(agent):
            # given up; among the completed it can be found
            agent.completed.add(job)
            job.parent = agent
    # A job that waits for another needs no process: its effects are committed,
    # so it must not run again, and the other brings its result.


def give_back(job, attempt):
    """Put *job* back where it stood in line: its call was not entered.

    The caller's agent holds it.  Return False where its *attempt* was another.
    """
    if job._attempt != attempt or job.status not in (ASSIGNED, ACTIVE):
        return False
    agent, queue = job.agent, job.queue
    agent.discard(job)
    if job.status is ACTIVE:
        status.move(job, 'reschedule')
    queue.restore(job)
    return True


def _forget_deferreds(job):
    """Let callbacks of *job* that wait for a Deferred of the process be broken off.

    Whoever comes to them next decides what becomes of them.
    """
    todo = [job]
    while todo:
        node = todo.pop()
        if why_unreadable(node) is not None or (
                why_unreadable(node.callback_record()) is not None):
            continue
        if node._awaits == execution.DEFERRED:
            node._awaits = None
        todo.extend(callbacks.children(node))


def park_if_poisonous(job):
    """Count a death of the process that worked on *job*; return whether to park it.

    It is parked where there were as many as `Queue.deaths_before_parking` says.
    """
    job._deaths += 1
    limit = job.queue.deaths_before_parking
    if limit is None or job._deaths < limit:
        return False
    times = 'three' if job._deaths == 3 else job._deaths
    parking.park(job, parking.POISON.format(times))
    return True


def interrupt(job, died=None):
    """Let the policy of an ACTIVE *job* decide about its broken-off attempt.

    If it is to run again, but its process *died* too often, it is parked.  See
    `hand_back`.
    """
    decision = decide_interrupted(job, stopped=died is False)
    queue = job.queue
    if isinstance(decision, RunAgain):
        if not (died and park_if_poisonous(job)):
            reschedule(job, decision.after)
        return
    execution.settle(job, failures.Failure(AbortedError(
        f'interrupted in attempt {job._attempt}, and its policy allows no other')))
    execution.log_failure(job)
    if not callbacks.children(job):
        callbacks.try_finish(job)
    elif job.agent is None:
        queue.putBack(job)
    # else it is still in the hands of a worker, who goes on with the callbacks


def reschedule(job, after):
    """Put the ACTIVE *job* back in its queue to run again.

    After zero, it goes to the front of the line; otherwise it is scheduled.
    """
    queue = job.queue
    if job.agent is not None:
        job.agent.discard(job)
    status.move(job, 'reschedule')
    job.parent = queue
    if after:
        quota.release(job)
        queue.schedule(job, clock.now() + after)
    else:
        queue.putBack(job)
