"""What a worker hands back about a job, to be committed together with others.

Applying an outcome twice does no harm: the number of the attempt and the status
tell whether it was applied already, which is how an ambiguous commit is told
from one that failed.
"""
import dataclasses

from . import callbacks
from . import ends
from . import execution
from . import recovery
from . import status
from .liveness import fence

#: No value: the worker has committed what became of the job itself.
NOTHING = object()
#: No value: the job was claimed ahead, and its call has not been entered.
UNTOUCHED = object()


@dataclasses.dataclass(slots=True)
class Outcome:
    """The end of one attempt at the job *oid*."""

    oid: bytes
    database_name: str
    attempt: int
    value: object = NOTHING
    visited: tuple = ()  # the oids of what was performed after it, children first
    order: bytes = None  # the key under which the job, completed already, is held
    ends: tuple = ()     # of `.ends`: what the worker has not committed, in order


def apply(job, outcome, nodes, ended=()):
    """Store *outcome* of *job*; return False if the job is in other hands.

    *nodes* are the objects of ``outcome.visited``, *ended* those of ``outcome.ends``.
    """
    if outcome.value is UNTOUCHED:
        return recovery.give_back(job, outcome.attempt)
    if outcome.value is not NOTHING:
        if job._attempt != outcome.attempt or job._code == status.UNSET:
            return False
        if job._code == status.BEGUN:
            if execution.is_callback(job) and job._awaits != execution.DEFERRED:
                # what a Deferred brings late: its process was taken for dead
                return False
            execution.settle(job, outcome.value)
    if callbacks.is_in_line(job):
        return False
    if outcome.ends and not (fence(job) and ends.apply_all(outcome.ends, ended)):
        return False
    if outcome.order is not None:
        callbacks.let_go(job.parent, outcome.order, job)
        return True
    callbacks.finish_all([*nodes, job])
    return True


def spoil(outcome, problem):
    """Let *problem*, a Failure, take the place of the values of *outcome*.

    Return whether there was one.
    """
    if outcome.value not in (NOTHING, UNTOUCHED):
        outcome.value = problem
        return True
    outcome.ends = tuple(dataclasses.replace(end, value=problem)
                         if isinstance(end, ends.End) else end for end in outcome.ends)
    return bool(outcome.ends)
