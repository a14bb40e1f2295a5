"""The Deferreds that jobs of this process wait for."""
import dataclasses

from ZODB.utils import u64

from .. import clock
from .. import describe
from .. import failures
from .. import log
from ..model.execution import storable_value
from ..model.outcomes import Outcome
from .overdue import UnderWay


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting:
    ticket: object
    attempt: int
    deferred: object
    since: float


class Deferreds:
    """Waits for Deferreds, and submits what they bring as outcomes.

    *services* is the dispatcher, of which ``reactor`` and ``submit`` are used.
    """

    def __init__(self, services):
        self._services = services
        self._waiting = {}  # id -> _Waiting; reactor's thread

    def watch(self, deferred, ticket, attempt):
        """Submit the result of *deferred* for its job one day.  Any thread."""
        one = _Waiting(ticket, attempt, deferred, clock.monotonic())
        self._services.reactor.callFromThread(self._add, one)

    def _add(self, one):
        self._waiting[id(one)] = one
        try:
            one.deferred.addBoth(lambda value: self._fired(one, value))
        except Exception as error:
            self._fired(one, failures.Failure(error))

    def _fired(self, one, value):
        if self._waiting.pop(id(one), None) is not None:
            self._services.submit(one.ticket, Outcome(
                one.ticket.oid, one.ticket.database_name, one.attempt,
                storable_value(value)))

    def under_way(self):
        """Return the jobs that wait, as `UnderWay`.  Any thread."""
        return [UnderWay(
            (u64(one.ticket.oid), one.ticket.database_name), one.ticket.pool, one.since,
            f'job {u64(one.ticket.oid)}', None) for one in list(self._waiting.values())]

    def cancel(self):
        """Cancel all Deferreds; what they bring is for nobody.  Reactor's thread.

        The jobs were handed back: they have not been done.
        """
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            try:
                one.deferred.cancel()
            except Exception as error:
                log.events.warning('the Deferred of job %d cannot be cancelled: %s',
                                   u64(one.ticket.oid), describe.error(error))
