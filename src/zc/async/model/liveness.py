"""Whether a dispatcher lives, as the database tells it.

Two records.  A `Ping` is written again and again; an `Activation` only when a
dispatcher is activated, deactivated or declared dead.  Claims and callbacks are
fenced with ``Connection.readCurrent`` on the activation, so one that a
neighbour has declared dead can commit neither, and pings disturb nobody.  A commit
that writes a job which an agent holds needs no fence: who declares its dispatcher
dead writes each such job, too, and one of both meets a conflict.
"""
import persistent

from .. import clock
from ..current import read_current


class Ping(persistent.Persistent):
    """The latest sign of life of a process; shared by all of its queues."""

    _v_beat = None  # by the steady clock, where this process made the latest one

    def __init__(self):
        self.micros = clock.micros()
        self.count = 0

    @property
    def value(self):
        """The time of the latest ping: aware UTC."""
        return clock.from_micros(self.micros)

    def beat(self):
        """Record that the process lives now."""
        self.micros = clock.micros()
        self.count += 1
        self._v_beat = clock.monotonic()

    def age(self):
        """Return the microseconds since the latest ping, by the clock on the wall."""
        return clock.micros() - self.micros

    def steady_age(self):
        """Return the microseconds since the latest ping, for who has made it.

        By the steady clock as far as that is kept in memory: a clock that is set
        back must not put off the next ping.
        """
        if self._v_beat is None:
            return self.age()
        return round((clock.monotonic() - self._v_beat) * 1e6)


class Activation(persistent.Persistent):
    """Since when a dispatcher is activated, if it is."""

    micros = None
    generation = 0
    owner = None    # the token of the process that activated it
    process = None  # what tells that process from others of its machine, or None

    def begin(self, owner=None, process=None):
        """Record the activation, by the process with the token *owner*.

        *process* is what `..runtime.predecessor.this_process` returns there.
        """
        self.micros = clock.micros()
        self.generation += 1
        self.owner = owner
        self.process = process

    def end(self):
        """Record the end; whoever is fenced with this record loses now."""
        self.micros = self.owner = self.process = None
        self.generation += 1

    @property
    def value(self):
        """When it was activated: aware UTC, or None."""
        return clock.from_micros(self.micros)


def may_store(job):
    """Return whether what became of *job* may be stored: its dispatcher is active.

    Or it has none.  As this transaction sees it: enough where its commit writes *job*.
    """
    agents = _holder(job)
    return agents is None or agents.activation.micros is not None


def fence(job):
    """Let the commit fail if *job*'s agent is deactivated meanwhile.

    Return False if it is deactivated already: the job is in other hands.
    """
    agents = _holder(job)
    return agents is None or fence_agents(agents)


def _holder(job):
    """Return the agents of the dispatcher that holds *job*, or None."""
    agent = job.agent
    return None if agent is None else agent.parent


def fence_agents(agents):
    """Let the commit fail if the dispatcher of *agents* is deactivated meanwhile.

    Return False if it is deactivated already.
    """
    activation = agents.activation
    read_current(activation)
    return activation.micros is not None
