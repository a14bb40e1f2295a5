"""What a worker hands back about a job, to be committed together with others.

Applying an outcome twice does no harm: the number of the attempt and the status
tell whether it was applied already, which is how an ambiguous commit is told
from one that failed.
"""
import dataclasses

from . import callbacks
from . import execution
from . import recovery
from . import status

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


def apply(job, outcome, nodes):
    """Store *outcome* of *job*; return False if the job is in other hands.

    *nodes* are the objects of ``outcome.visited``.
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
    if outcome.order is not None:
        callbacks.let_go(job.parent, outcome.order, job)
        return True
    callbacks.finish_all([*nodes, job])
    return True
