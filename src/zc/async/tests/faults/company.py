"""Dispatchers under virtual time, without a thread of their own.

A process's workers work in the test's thread, one job after the other, as soon as
its poll is over.  So the same story is always told in the same way, and no thread has
to be waited for.
"""
import collections
import datetime
import random
import threading
import uuid

import transaction

from ... import chance
from ... import clock
from ... import dispatcher as dispatchers
from ... import log
from ... import testing
from ... import timekeys
from ...agent import Agent
from ...interfaces import KEY
from ...model import lines
from ...queue import Queue
from ...queue import Queues
from ...runtime import surroundings
from ...runtime.ahead import Ahead
from .scenarios import Account
from .scenarios import stage
from .server import Life
from .storage import Died

#: Seconds between two polls.
POLL = 5
#: Shorter than the defaults, so that a death costs two or three polls.
PING, DEATH = datetime.timedelta(seconds=1), datetime.timedelta(seconds=4)
#: When each story begins.
BEGIN = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


class Hands:
    """Stands in for a pool of threads: keeps tickets until the poll is over."""

    threads = ()

    def __init__(self, tickets):
        self._tickets = tickets
        self._size = 0

    def getSize(self):
        return self._size

    def setSize(self, size):
        self._size = size

    def replace_dead(self):
        return ()

    def put(self, ticket):
        self._tickets.append(ticket)
        return True

    def worked(self, seconds, committing):
        """Return whether there is more: outcomes are kept together where it is so."""
        return bool(self._tickets and stage.ahead)


class Eager(Ahead):
    """Claims as many ahead as the story says."""

    def count(self, pool, size, turn_time):
        return stage.ahead


class Process(dispatchers.Dispatcher):
    """A dispatcher without threads, whose pauses take no time."""

    def __init__(self, db, reactor, number, life=None):
        self.number = number
        self.life = Life() if life is None else life
        self._tickets = collections.deque()
        super().__init__(db, reactor, uuid=uuid.UUID(int=number))
        self._turns._ahead = Eager()
        self.activate()

    @property
    def claims_between_polls(self):
        """Whether jobs are claimed ahead: at polls alone they are not."""
        return bool(stage.ahead)

    def _begin(self):
        """The world says when to poll."""

    def _pool(self, queue, agent):
        pools = self.queues.setdefault(queue, {})
        if agent not in pools:
            pools[agent] = Hands(self._tickets)
        return pools[agent]

    def pause(self, seconds):
        return self._stopping.is_set()

    def poll(self, work=True):
        """Poll, and do what was claimed; it is kept for the next poll without *work*."""
        try:
            super().poll()
            while work and self._tickets and not self.life.dead:
                self._work(self._tickets.popleft())
            if not self.life.dead:
                # as a thread of a pool does that has nothing more to do
                self._worker.rest()
        except Died:
            pass

    def _work(self, ticket):
        try:
            self._worker.work(ticket)
        except Died:
            raise
        except BaseException:
            # a thread of a pool logs it, and goes on
            log.events.critical('a worker failed', exc_info=True)

    def watch(self, deferred, ticket, attempt):
        super().watch(deferred, ticket, attempt)
        # or Twisted would tell of it: the outcome waits for the next turn
        self.reactor.callFromThread(deferred.addErrback, lambda failure: None)

    def die(self):
        """End without another word."""
        self.life.dead = True
        raise Died

    def bury(self):
        """Forget the dead process; nothing of it is tidied up."""
        dispatchers.pop(self.UUID)
        self._tickets.clear()
        # the transaction of its worker is gone too
        transaction.manager.manager = transaction.TransactionManager()


class Look:
    """A context with the root of *db*, in a transaction of its own; commits."""

    def __init__(self, db):
        self._manager = transaction.TransactionManager()
        self._connection = db.open(self._manager)

    def __enter__(self):
        self._manager.begin()
        return self._connection.root()

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self._manager.commit()
        else:
            self._manager.abort()


# What they work for

def furnish(root, home, enrolled=(1,)):
    """Make a queue, and an account, in the *root*; the queues live in *home*'s.

    *home* is a connection.  Return the account.  The dispatchers with the numbers
    *enrolled* are known to the queue.
    """
    queues = home.root()[KEY] = Queues()
    queue = queues[''] = Queue()
    # one would hide what several are for; sixteen are as many loads
    queue._lines = lines.Lines(shards=2)
    for number in enrolled:
        _enrol(queue, number)
    # so that it is known in which database they are
    home.transaction_manager.commit()
    root[KEY] = queues
    account = root['account'] = Account()
    root._p_jar.add(account)
    return account


def _enrol(queue, number):
    """Let *queue* know the dispatcher *number*, with its agent."""
    UUID = uuid.UUID(int=number)
    queue.dispatchers.register(UUID)
    agents = queue.dispatchers[UUID]
    agents.ping_interval, agents.ping_death_interval = PING, DEATH
    agents['main'] = Agent(size=2)


# The time they live in

def begin_time():
    """Let each story begin at the same time, with the same chances, and in a thread
    that is as good as new."""
    testing.set_now(BEGIN)
    timekeys._last = 0
    chance.install(random.Random(1))
    lines._habit.left = 0
    surroundings._doubts.any = False
    transaction.manager.manager = transaction.TransactionManager()


class Company:
    """Processes that come and go.  A context manager.

    Virtual time is the whole interpreter's: there is one company at a time.
    Subclasses say with `open` how a process opens its database, and have ``look``,
    a `Look`.
    """

    def __init__(self):
        self.processes, self._to_start = [], []
        self.parked = 0     # jobs that were parked, and run again

    def __enter__(self):
        self._chance = chance.install(None)
        begin_time()
        self.reactor = testing.Reactor()
        self.reactor.start()
        testing.set_now(BEGIN)
        stage.begin(self)
        return self

    def __exit__(self, *exc_info):
        for process in self.processes:
            process.bury()
        stage.begin(None)
        self.reactor._triggers.clear()
        self.reactor.stop()
        testing.tearDownDatetime()
        chance.install(self._chance)

    def open(self, life):
        """Return the `ZODB.DB` of a process that has the `Life` *life*."""
        raise NotImplementedError

    def step(self):
        """Let `POLL` seconds pass; then processes are started, poll and work."""
        self.reactor.time_flies(POLL)
        to_start, self._to_start = self._to_start, []
        for number in to_start:
            self.start(number)
        for process in list(self.processes):
            process.poll()
            if process.life.dead or process.activated is None:
                self._end(process)
        # a connection that could not be opened would hear of what the test does
        transaction.manager.manager = transaction.TransactionManager()
        while self.reactor.time_passes():
            pass

    def start(self, number):
        """Start a process; one that cannot open its database is started again."""
        life = Life()
        try:
            self.processes.append(Process(self.open(life), self.reactor, number, life))
        except (Exception, Died):
            self.forget_votes()
            self._to_start.append(number)

    def _end(self, process):
        """Another process takes the place of the last one that lived."""
        process.bury()
        self.processes.remove(process)
        self.forget_votes()
        if not self.processes:
            # what its jobs wait for does not come
            self.reactor._calls.clear()
            self.reactor._triggers.clear()
            self._to_start.append(process.number)

    def forget_votes(self):
        """What a process had voted is gone with it."""

    def process(self, number):
        """Return the process with the *number* that lives."""
        return next(one for one in self.processes if one.number == number)

    def stand_still(self, process, work=True):
        """Let the others poll for twenty seconds, and *process* not.

        Without *work* they claim, and do nothing of it until it has gone on.
        """
        def others():
            for _poll in range(20 // POLL):
                testing.set_now(clock.now() + datetime.timedelta(seconds=POLL))
                for one in self.processes:
                    if one is not process and not one.life.dead:
                        one.poll(work)

        # in a thread of their own, with its own transaction and job
        thread = threading.Thread(target=others)
        thread.start()
        thread.join()

    def done(self):
        """Return whether nothing waits and nothing is held."""
        with self.look as root:
            queue = root[KEY]['']
            return not len(queue) and not any(
                len(agent) for agents in queue.dispatchers.values()
                for agent in (*agents.values(), *agents.retired))

    def run_again(self):
        """Run again what is parked, all being well now; return whether any was."""
        with self.look as root:
            parked = root[KEY][''].parked
            entries = list(parked)
            if entries:
                self.be_well()
            for entry in entries:
                parked.rerun(entry.job)
        self.parked += len(entries)
        return bool(entries)

    def be_well(self):
        """End what hurts without any fault."""
        stage.well = True
