"""Who among the dispatchers is silent, as this process sees it.

Another machine's clock is not trusted.  What counts is how long a ping has not
changed, by this process's steady clock, since this process first saw it so: a
clock that jumps, here or there, makes nobody dead, and neither does a ping that
was already old when this process started.  Nor does time count in which this
process could not look, or not commit: whatever held it up, held the others up
too, or it sees first what was there before.
"""
import datetime

from .. import clock
from ..model.call import is_broken

#: Ping intervals between two pings of one who holds no jobs: its death would
#: be no loss, and an idle process is to cost nothing.
IDLE = 6


class Sightings:
    """Remembers pings.  While a turn is taken.

    *services* is the dispatcher, of which ``poll_interval`` is used.
    """

    def __init__(self, services):
        self._services = services
        # (queue's object id, UUID) -> (what was seen, its silence, when it was seen)
        self._seen = {}

    def forget(self):
        """Count all silence from the next look on: the database was away."""
        self._seen.clear()

    def silence(self, agents):
        """Return for how many seconds *agents*' dispatcher has not been heard of."""
        key = agents.parent._p_oid, agents.UUID
        sign = agents.last_ping.count, agents.activation.generation
        now = clock.monotonic()
        seen, silence, looked = self._seen.get(key, (None, 0.0, now))
        silence = 0.0 if seen != sign else silence + self._counted(now - looked, agents)
        self._seen[key] = sign, silence, now
        return silence

    def _counted(self, seconds, agents):
        """Return how much counts of the *seconds* between two looks.

        Of a look that is late, little: this process was stopped, or starved.
        """
        limit = agents.ping_death_interval.total_seconds()
        if seconds <= max(limit / 2, 1.5 * self._services.poll_interval):
            return seconds
        return limit / 4

    def is_dead(self, agents):
        """Return whether *agents*' dispatcher counts as dead."""
        limit = agents.ping_death_interval
        if not holds_jobs(agents):
            limit += agents.ping_interval * IDLE
        return self.silence(agents) > limit.total_seconds()

    def dead_neighbours(self, queue, UUID):
        """Return the dead dispatchers that the dispatcher *UUID* looks after.

        Those behind it in the order of the UUIDs, around, up to the first one that
        lives and holds jobs, which looks after those behind itself.
        """
        others = queue.dispatchers
        ring = [one for one in others if one > UUID] + [
            one for one in others if one < UUID]
        dead, is_ours = [], True
        for agents in map(others.__getitem__, ring):
            if agents.activated is None:
                continue
            # looked at in any case: when a machine takes many with it, the silence
            # of the last one counts from the same moment as that of the first
            if self.is_dead(agents):
                dead += [agents] * is_ours
            elif holds_jobs(agents):
                is_ours = False
        return dead


def holds_jobs(agents):
    """Return whether an agent of *agents* holds a job."""
    return any(is_broken(agent) or len(agent)
               for agent in (*agents.values(), *agents.retired))


def ping_due(agents):
    """Return whether *agents*' dispatcher is to ping now, claims apart."""
    interval = agents.ping_interval
    if not holds_jobs(agents):
        interval *= IDLE
    return _older(agents, interval)


def ping_with_claim(agents):
    """Return whether a claim is to ping as well: at no cost, and in good time."""
    return _older(agents, agents.ping_interval / 2)


def _older(agents, interval):
    # a ping in the future was made before the clock was set back
    limit = interval // datetime.timedelta(microseconds=1)
    return not 0 <= agents.last_ping.steady_age() < limit
