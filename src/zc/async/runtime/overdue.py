"""Tells of jobs that are worked on for very long, and of agents that such jobs fill.

Nothing is broken off: a thread cannot be, and what it does may still be stored.
"""
import dataclasses

from .. import clock
from .. import log
from . import threads

#: Frames of a thread that are shown, the innermost ones.
_FRAMES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class UnderWay:
    """A job that is worked on, or waits for a Deferred."""

    key: tuple      # (object id, database name)
    pool: tuple     # (queue name, agent name)
    since: float    # by the steady clock
    text: str
    thread: int     # that works on it; None for one that waits

    @property
    def age(self):
        """Seconds that it took by now."""
        return clock.monotonic() - self.since


class Overdue:
    """Looks at the jobs of one dispatcher at each poll.

    *services* is the dispatcher, of which ``warn_after`` and ``under_way`` are used.
    """

    def __init__(self, services):
        self._services = services
        self._told = {}     # (key, since) -> age at which to tell again
        self.full = set()   # names of agents that can do nothing, as last looked

    def found(self):
        """Return what is `UnderWay` for longer than it should.  Any thread."""
        limit = self._services.warn_after
        if limit is None:
            return []
        return [one for one in self._services.under_way() if one.age > limit]

    def look(self, sizes):
        """Tell of what is found; *sizes* are those of the agents, by their names.

        Of each job once it is overdue, and again when its age has doubled.
        """
        found = self.found()
        told = {}
        for one in found:
            name = one.key, one.since
            told[name] = self._told.get(name, 0)
            if one.age > told[name]:
                told[name] = 2 * one.age
                _tell(one)
        self._told = told
        self._tell_of_agents(found, sizes)

    def _tell_of_agents(self, found, sizes):
        threads = {}
        for one in found:
            if one.thread is not None:
                threads[one.pool] = threads.get(one.pool, 0) + 1
        full = {name for name, count in threads.items() if count >= sizes.get(name, 1)}
        for queue, agent in full - self.full:
            log.events.error(
                'agent %r of queue %r can do nothing more: all its places are taken by '
                'jobs of more than %s s', agent, queue, self._services.warn_after)
        for queue, agent in self.full - full:
            log.events.info('agent %r of queue %r can work again', agent, queue)
        self.full = full


def _tell(one):
    queue, agent = one.pool
    if one.thread is None:
        log.events.warning(
            '%s of agent %r of queue %r waits for its Deferred since %.0f s; it keeps '
            'its place until that is fired', one.text, agent, queue, one.age)
    else:
        log.events.warning(
            '%s of agent %r of queue %r is worked on since %.0f s; it keeps its place '
            'until it ends; it is in %s', one.text, agent, queue, one.age,
            threads.place(one.thread, _FRAMES))
