"""What becomes of the jobs of a dispatcher that works no longer.

Nothing here imports what a job calls: the heir may not have that code.
"""
from . import callbacks
from . import execution
from . import status
from .retry import decide_interrupted
from .retry import RunAgain
from .. import clock
from .. import failures
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED


def hand_over(agents):
    """Hand back the jobs of all agents of a dispatcher; return how many."""
    count = 0
    for agent in (*agents.values(), *agents.retired):
        for job in list(agent):
            hand_back(agent, job, agents.parent)
            count += 1
    agents.retired = ()
    return count


def hand_back(agent, job, queue):
    """Take *job* from *agent* and put it where its work can go on in *queue*."""
    agent.discard(job)
    if job.status is COMPLETED:
        agent.completed.add(job)
        job.parent = agent
        return
    job.parent = queue
    if job.status is ASSIGNED or job._code == status.UNSET:
        queue.restore(job)
    elif job.status is CALLBACKS:
        queue.putBack(job)
    elif job.status is ACTIVE and job._awaits in (None, execution.DEFERRED):
        interrupt(job)
    # A job that waits for another needs no process: its effects are committed,
    # so it must not run again, and the other brings its result.


def release_quotas(job):
    """Stop counting *job* in its quotas."""
    queue = job.queue
    for name in job.quota_names:
        quota = queue.quotas.get(name)
        if quota is not None:
            quota.discard(job)


def interrupt(job):
    """Let the policy of an ACTIVE *job* decide about its broken-off attempt."""
    decision = decide_interrupted(job)
    queue = job.queue
    if isinstance(decision, RunAgain):
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
        release_quotas(job)
        queue.schedule(job, clock.now() + after)
    else:
        queue.putBack(job)
