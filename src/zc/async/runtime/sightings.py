"""Who among the dispatchers is silent, as this process sees it.

Another machine's clock is not trusted.  What counts is how long a ping has not
changed, by this process's steady clock, since this process first saw it so: a
clock that jumps, here or there, makes nobody dead, and neither does a ping that
was already old when this process started.
"""
import datetime

from .. import clock

#: Ping intervals between two pings of one who holds no jobs: its death would
#: be no loss, and an idle process is to cost nothing.
IDLE = 6


class Sightings:
    """Remembers pings.  While a turn is taken."""

    def __init__(self):
        self._seen = {}  # (queue's object id, UUID) -> (what was seen, since when)

    def silence(self, agents):
        """Return for how many seconds *agents*' dispatcher has not been heard of."""
        key = agents.parent._p_oid, agents.UUID
        sign = agents.last_ping.count, agents.activation.generation
        now = clock.monotonic()
        seen, since = self._seen.get(key, (None, now))
        if seen != sign:
            self._seen[key] = sign, now
            return 0.0
        return now - since

    def is_dead(self, agents):
        """Return whether *agents*' dispatcher counts as dead."""
        limit = agents.ping_death_interval
        if not holds_jobs(agents):
            limit += agents.ping_interval * IDLE
        return self.silence(agents) > limit.total_seconds()

    def dead_neighbour(self, queue, UUID):
        """Return the next dispatcher after *UUID* that is dead, or None.

        In the order of the UUIDs, around: the first one that lives and holds
        jobs looks after those behind it.
        """
        others = queue.dispatchers
        ring = [one for one in others if one > UUID] + [
            one for one in others if one < UUID]
        for one in ring:
            agents = others[one]
            if agents.activated is None:
                continue
            if self.is_dead(agents):
                return agents
            if holds_jobs(agents):
                return None
        return None


def holds_jobs(agents):
    """Return whether an agent of *agents* holds a job."""
    return any(len(agent) for agent in (*agents.values(), *agents.retired))


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
    return not 0 <= agents.last_ping.age() < limit
