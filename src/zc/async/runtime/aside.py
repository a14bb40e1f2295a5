"""What a worker does with a job that cannot be worked on here.

Where code is missing that another dispatcher may have, the job goes back to the
line; otherwise it is parked.
"""
from .. import describe
from ..interfaces import ReassignedError
from ..model import callbacks
from ..model import parking
from ..model import status
from ..model.call import CodeMissing
from ..model.call import is_found
from ..model.call import PartMissing
from ..model.call import why_unreadable
from ..model.liveness import fence
from .attempt import commit_step


class Aside:
    """Puts the job of *outcome*, in this worker's hands, out of the way.

    *services* is the dispatcher; *record* is what history remembers of the job,
    or None.
    """

    def __init__(self, connection, services, outcome, record):
        self._connection = connection
        self._services = services
        self._outcome = outcome
        self._record = record

    def put(self, error):
        """Leave the job to others, or park it, because of *error*.  Commits.

        Raise *error* where its record cannot be read: the next poll parks it.
        Raise `ReassignedError` where it is in other hands by now.
        """
        name, reason = _told(error)
        if name is not None and is_found(self._connection, name):
            # what was loaded without its code stays so in that connection
            self._services.lacking.stale = True
            self._commit(lambda: parking.back_in_line(self._job(error)))
            return

        def change():
            job = self._job(error)
            if (name is not None and not self._may_not_again(error)
                    and parking.set_aside(job, name, self._services.UUID)):
                return False
            parking.park(job, reason)
            return True

        parked = self._commit(change)
        if name is not None:
            lacking = self._services.lacking
            (lacking.forget if parked else lacking.note)(name)
        self._note(parked, reason)

    def _commit(self, change):
        return commit_step(
            self._connection.transaction_manager, self._services.pause, change)

    def _job(self, error):
        """Return the job that is to be put aside; all of it is still ours."""
        outcome = self._outcome
        try:
            job = self._connection.get(outcome.oid)
        except KeyError:
            raise error from None
        if why_unreadable(job) is not None:
            raise error
        agent = job.agent
        if (agent is None or agent.parent.UUID != self._services.UUID
                or job._code not in (status.UNSET, status.BEGUN, status.SETTLED)
                or job._attempt != outcome.attempt or not fence(job)):
            raise ReassignedError(f'{job!r} was reassigned')
        while callbacks.is_node(job.parent):
            job = job.parent  # the one that an agent holds
        return job

    def _may_not_again(self, error):
        """Return whether the call had begun to work, and must not be made twice."""
        if not isinstance(error, PartMissing):
            return False
        policy = self._connection.get(self._outcome.oid).retry_policy_factory
        return getattr(policy, 'at_most_once', False)

    def _note(self, parked, reason):
        record = self._record
        if record is not None:
            record.reassigned = not parked
            text = f'parked: {reason}' if parked else f'left to others: {reason}'
            self._services.history.ended(record, parked, text)


def _told(error):
    """Return the name of what is missing, or None, and the reason as text."""
    if isinstance(error, CodeMissing):
        return error.name, f'{error.name} cannot be loaded'
    return None, f'it cannot be worked on: {describe.error(error)}'
