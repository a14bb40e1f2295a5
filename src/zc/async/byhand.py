"""A dispatcher's work done by hand: in the caller's thread, one job at a time.

What works is the worker that dispatchers have, with its attempts, retries and
callbacks, and the turns that they take; there is no reactor and no thread.
For tests: ``zc.async.testing.drain`` is what they call.
"""
import collections
import contextlib
import threading
import uuid

import transaction

from .agent import Agent
from .interfaces import AbortedError
from .interfaces import KEY
from .model import recovery
from .model.execution import storable_value
from .model.outcomes import Outcome
from .failures import Failure
from .runtime.attempt import abort
from .runtime.history import History
from .runtime.lacking import Lacking
from .runtime.live import Live
from .runtime.troubles import Troubles
from .runtime.turns import Turns
from .runtime.worker import Worker
from .threadlocal import local

#: The dispatcher that queues know these hands as; its agent is ``'by hand'``.
UUID = uuid.UUID('2f0a2d5e-6a86-11ee-8c99-0242ac120002')
_AGENT = 'by hand'
#: Jobs that wait for others are held too, so an agent must hold many.
_SIZE = 10 ** 6
#: Pauses that one job may ask for: none takes any time here.
_PAUSES = 1000

_at_work = threading.local()  # .hands: those of this thread


def choose(agent):
    """Choose one job for each look; nothing where nobody works by hand."""
    hands = getattr(_at_work, 'hands', None)
    return None if hands is None else hands.choose(agent)


def busy():
    """Return whether this thread works by hand just now."""
    return getattr(_at_work, 'hands', None) is not None


class Hands:
    """Work for the queue *name* of *db*.  A context manager; not to be nested.

    Also what a dispatcher is to its worker and its turns.
    """

    UUID = UUID
    reactor = None
    claims_between_polls = False

    def __init__(self, db, name):
        self.db = db
        self.name = name
        self.history = History()
        self.lacking = Lacking(UUID)
        self.live = Live(db, self.pause)
        self.troubles = Troubles(db)
        self._turns = Turns(self)
        self._worker = Worker(self)
        self._tickets = collections.deque()
        self._watched = []
        self._may_choose = False
        self._pauses = 0

    def __enter__(self):
        if busy() or local.getJob() is not None:
            raise RuntimeError(
                'a job cannot have other jobs run by hand; put them, and they are run '
                'when it has ended')
        _at_work.hands = self
        try:
            with self._changing() as queue:
                _enrol(queue)
        except BaseException:
            _at_work.hands = None
            raise
        return self

    def __exit__(self, *exc_info):
        try:
            self._turns.close()
            with self._changing() as queue:
                _leave(queue)
        finally:
            _at_work.hands = None

    @contextlib.contextmanager
    def _changing(self):
        """Give the queue, in a connection of its own, and commit."""
        manager = transaction.TransactionManager(explicit=True)
        connection = self.db.open(transaction_manager=manager)
        try:
            manager.begin()
            yield connection.root()[KEY][self.name]
            manager.commit()
        finally:
            abort(manager)
            connection.close()

    def work(self):
        """Do the next due job and what follows; return its key, None if none is due.

        The key is the object id, in bytes, and the database name.
        """
        ticket = self._claim()
        if ticket is None:
            return None
        while self._tickets:
            self._perform(self._tickets.popleft())
        return ticket.oid, ticket.database_name

    def _claim(self):
        while True:
            self._may_choose = True
            failed = self._turns.take()
            for error in failed.values():
                raise error
            if self._tickets:
                return self._tickets[0]
            if self._may_choose:
                return None
            # what was chosen met a conflict

    def choose(self, agent):
        """Claim a job for *agent*, one after each `_claim`."""
        job = agent.queue.claim() if self._may_choose else None
        if job is not None:
            self._may_choose = False
        return job

    def _perform(self, ticket):
        self._pauses = 0
        transaction.begin()
        own = transaction.manager.manager
        try:
            self._worker.work(ticket)
        finally:
            # a worker may replace it, but the test's connection listens to this one
            transaction.manager.manager = own
        watched, self._watched = self._watched, []
        for deferred, job, attempt in watched:
            self.submit(job, Outcome(
                job.oid, job.database_name, attempt, _fired(deferred)))

    # What a worker and its turns ask of a dispatcher

    def works_for(self, queue):
        """Return whether *queue* is the one."""
        return queue.name == self.name

    def pause(self, seconds):
        """Wait no time at all; return True where that was asked for too often."""
        self._pauses += seconds > 0
        if self._pauses > _PAUSES:
            raise RuntimeError(
                f'a job paused {_PAUSES} times, as one does whose database is away '
                f'or whose retry policy never gives up')
        return False

    def hand_out(self, ticket):
        """Keep *ticket* until it is its turn."""
        self._tickets.append(ticket)

    def submit(self, ticket, outcome):
        """Store the *outcome* of *ticket*."""
        self._turns.submit(ticket, outcome)

    def watch(self, deferred, ticket, attempt):
        """Look at *deferred* when the job is out of the worker's hands."""
        self._watched.append((deferred, ticket, attempt))

    def due_next(self, moment):
        """Nobody waits here."""

    def wake(self):
        """Nobody sleeps here."""


def _enrol(queue):
    """Let these hands be an activated dispatcher of *queue*.

    Without events: those who hear them would give it agents of their own.
    """
    if UUID not in queue.dispatchers:
        queue.dispatchers.register(UUID)
    agents = queue.dispatchers[UUID]
    recovery.hand_over(agents)  # what hands that broke off have left
    if _AGENT not in agents:
        agents[_AGENT] = Agent(chooser=choose, size=_SIZE)
    agents.last_ping.beat()
    agents.activation.begin()


def _leave(queue):
    agents = queue.dispatchers[UUID]
    recovery.hand_over(agents)
    agents.activation.end()


def _fired(deferred):
    """Return the result of *deferred*; a Failure where it has none yet."""
    found = []
    deferred.addBoth(found.append)
    if not found:
        deferred.cancel()
        return Failure(AbortedError(
            'a job that is run by hand cannot wait for a Deferred, for no reactor '
            'runs; test it with a dispatcher'))
    return storable_value(found[0])
