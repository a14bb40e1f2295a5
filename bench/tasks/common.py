"""What the tasks share."""
import contextlib
import json
import sys

import transaction
import zope.component
from zope.processlifetime import DatabaseOpened

from bench import storages
from bench import work
from zc.async_ import configure
from zc.async_ import dispatcher
from zc.async_ import subscribers
from zc.async_.queue import get_queues

#: Seconds without a sign of life that count as a fault.
LIMIT = 60
#: Jobs a second: a backlog that is drained more slowly counts as a fault.
SLOWEST = 3
#: Seconds between two looks at a backlog.
LOOK = 0.004
#: The same where the dispatcher itself tells when it was done.
SELDOM = 0.05


def say(**answer):
    """Answer the bench."""
    print(json.dumps(answer), flush=True)


def wait_for_a_line():
    """Return when the bench says the next thing; end when it says no more."""
    if not sys.stdin.readline():
        sys.exit(3)


@contextlib.contextmanager
def opened(store):
    """Open the database of the described *store* within the block."""
    with contextlib.closing(storages.described(store).open()) as db:
        yield db


@contextlib.contextmanager
def connected(db):
    """Have a connection within the block, and nothing of it left."""
    connection = db.open()
    try:
        yield connection
    finally:
        transaction.abort()
        connection.close()


@contextlib.contextmanager
def working(db, poll_interval, size, filter=None):
    """Run a dispatcher within the block; *filter* is a name in `work`."""
    if filter is None:
        running = configure.start(db, poll_interval=poll_interval, agent_size=size)
    else:
        configure.client()
        zope.component.provideHandler(subscribers.AgentInstaller(
            'main', size=size, filter=getattr(work, filter)))
        running = subscribers.ThreadedDispatcherInstaller(poll_interval)(
            DatabaseOpened(db))
    try:
        yield running
    finally:
        subscribers.stop(running)
        dispatcher.pop(running.UUID)


def left(connection):
    """Return how many jobs wait and how many agents hold."""
    transaction.begin()
    queue = get_queues(connection)['']
    return len(queue), sum(map(len, agents_of(queue)))


def agents_of(queue):
    """Return all agents of *queue*."""
    return [agent for agents in queue.dispatchers.values()
            for agent in agents.values()]
