"""Whole runs of several processes from one seed: the same seed, the same run.

Dispatchers, producers and an administrator work on one storage while processes die,
stand still, or cannot reach it.  What is the product's is the product's own; only
threads, time and randomness are not: see `baton`.  After each commit the `watcher`
looks at what is stored, and the `model` says what must not be.
"""
import datetime
import random
import uuid

from BTrees.OOBTree import OOBTree

from . import swarm
from . import workload
from .baton import Baton
from .cluster import Cluster
from .model import Model
from .players import Administrator
from .players import Producer
from .players import settle_parked
from .players import told
from .players import Worker
from .sandbox import installed
from .storage import Died
from .storms import Storm
from .watcher import Watcher
from ... import clock
from ... import outage
from ...agent import Agent
from ...interfaces import KEY
from ...queue import Queue
from ...queue import Queues

#: When runs begin, in seconds since 1970.
BEGIN = 1_800_000_000
#: Virtual seconds after the trouble in which everything must be done.
PATIENCE = 1800
#: Jobs that an agent may hold by then.
ROOM = 20


class Simulation:
    """One run.  *profile* is drawn from *seed* unless it is given.

    *echo* is called with each line of the trace.
    """

    def __init__(self, seed, profile=None, echo=None):
        self.seed = seed
        source = random.Random(seed)
        self.profile = swarm.draw(source) if profile is None else profile
        self.baton = Baton(source, BEGIN)
        self.baton.echo = echo
        self.model = Model(self.baton.note)
        self.model.prompt = self.profile.quiet
        self.model.alone = self.profile.dispatchers == 1
        self.over = False      # the trouble is
        self.cluster = self.storm = self.watcher = None
        self.workers = []
        self.clients = []
        self.deferreds = []    # that jobs have returned
        self._number = 0       # of the latest worker

    @property
    def faults(self):
        """What went wrong, and how often: numbers by kind."""
        return {**self.cluster.faults, **self.storm.counts} if self.storm else {}

    @property
    def problems(self):
        """What must not be, as sentences."""
        return self.model.problems

    def report(self):
        """Return the seed, the problems and the end of the trace."""
        return '\n'.join((f'seed {self.seed}, {self.profile}', *self.problems,
                          'the last steps:', *self.baton.trace))

    # What jobs ask for

    def started(self, name):
        """The body of *name* starts."""
        process = self.baton.current.process.name
        self.baton.note(f'body of {name}')
        self.model.started(name, process)

    def times(self, name):
        """Return how often *name* was started."""
        return self.model.starts[name]

    def die(self):
        """Let the process die."""
        process = self.baton.current.process
        self.baton.note('dies of its job')
        self.cluster.kill(process)
        for worker in self.workers:
            if worker.process is process:
                self.storm.heir(worker)
        raise Died

    def is_poison(self, name):
        """Return whether *name* is that of a job that can only be discarded."""
        return name in self.model.specs and any(
            spec.call == 'poison' for spec in self.model.specs[name].walk())

    def step(self):
        """Let others run in the midst of a job."""
        self.baton.step()

    def after(self, seconds):
        """Return the moment so many *seconds* from now, None for None."""
        return None if seconds is None else clock.now() + self.delta(seconds)

    def delta(self, seconds):
        """Return a timedelta, None for None."""
        return None if seconds is None else datetime.timedelta(seconds=seconds)

    # A run

    def run(self):
        """Run; return this simulation, with its `problems`."""
        with installed(self):
            self.cluster = Cluster(self.baton, self.profile)
            self.watcher = Watcher(self.cluster, self.model)
            try:
                self._set_up()
                self._trouble()
                self._calm()
                self._end()
            except Exception as error:
                self.model.problem(told(error))
            finally:
                for process in list(self.cluster.processes):
                    self.cluster.kill(process)
                self.baton.run_out()
                self.watcher.close()
                for deferred in self.deferreds:
                    # a process may have died of it: nobody wants to read that
                    deferred.addErrback(lambda failure: None)
        for name, error in self.baton.errors:
            self.model.problem(f'{name}: {told(error)}')
        return self

    def _set_up(self):
        profile, client = self.profile, self.cluster.join('founder', trusted=True)
        manager, connection = client.open()
        with manager:
            root = connection.root()
            root['hot'] = workload.Hot()
            for number in range(profile.producers):
                root[f'p{number}'] = OOBTree()
            root['admin'] = OOBTree()
            queues = root[KEY] = Queues()
            queue = queues[''] = Queue()
            for name, size in swarm.QUOTAS.items():
                queue.quotas.create(name, size)
        connection.close()
        self.cluster.kill(client)
        for _one in range(profile.dispatchers):
            self.start_worker()
        self.clients = [Producer(self, f'p{number}')
                        for number in range(profile.producers)]
        if profile.deeds:
            self.clients.append(Administrator(self, 'admin'))

    def start_worker(self, UUID=None):
        """Start a dispatcher: a new one, or the next process of *UUID*."""
        self._number += 1
        number = self._number
        if UUID is None:
            UUID = uuid.UUID(int=number)
            self._register(UUID, self.profile.sizes[number % 5])
        timed = self.profile.timed[UUID.int % 5]
        lacks = not self.over and self.profile.lacking[UUID.int % 5]
        worker = Worker(self, UUID, f'd{UUID.int}#{number}', timed, lacks)
        self.workers.append(worker)
        return worker

    def _register(self, UUID, size):
        """Let the dispatcher *UUID* have an agent when it is activated."""
        def work(queue):
            queue.dispatchers.register(UUID)
            queue.dispatchers[UUID]['main'] = Agent(size=size)

        self._change(work)

    def _change(self, work):
        """Commit *work*, called with the queue, from outside and whatever happens."""
        process = self.cluster.join('outside', trusted=True)
        manager, connection = process.open()
        done = False
        while not done:
            manager.begin()
            try:
                work(connection.root()[KEY][''])
                manager.commit()
                done = True
            except Exception as error:
                manager.abort()
                if not outage.is_conflict(error):
                    raise
        connection.close()
        self.cluster.kill(process)

    def _trouble(self):
        self.storm = Storm(self)
        self.cluster.calm = False
        self.storm.rage(BEGIN + self.profile.seconds)
        self.over = True
        self.storm.end()
        self.model.unquiet = {*self.faults, *self.profile.deeds}
        self.baton.note('calm')

    def _calm(self):
        """Let those who live finish what there is."""
        living = {worker.UUID for worker in self.workers if not worker.process.dead}
        for UUID in sorted({worker.UUID for worker in self.workers} - living):
            if self.baton.source.random() < 0.5 or not living:
                self.start_worker(UUID)
                living.add(UUID)
        if any(worker.process.lacks for worker in self.workers):
            self.start_worker()  # with the code that others lack
        administrators = self.clients[self.profile.producers:]
        self.baton.wait(lambda: all(one.task.done for one in administrators), 600)
        self._change(self._make_room)
        end = self.baton.now + PATIENCE
        while not self.baton.wait(self._done, 60):
            self._change(lambda queue: settle_parked(queue, self))
            if all(worker.process.dead for worker in self.workers):
                self.start_worker()
                self._change(self._make_room)
            if self.baton.now > end:
                self.model.problem(f'not done in the end: {self._left()}')
                break

    def _make_room(self, queue):
        """Give all work a place where it can be done."""
        for agents in queue.dispatchers.values():
            if 'main' not in agents:
                agents['main'] = Agent()
            # jobs that wait for others hold their places
            agents['main'].size = ROOM
        for quota in queue.quotas.values():
            quota.size = max(1, quota.size)

    def _done(self):
        return self.watcher.drained and all(client.task.done for client in self.clients)

    def _left(self):
        """Return what is not done, for people."""
        left = [self.watcher.tell(oid) for oid in self.watcher.unfinished]
        return left + [f'{client.process.name} still plays'
                       for client in self.clients if not client.task.done]

    def _end(self):
        """Stop some in order, and look whether all is as it must be."""
        for worker in self.workers:
            if not worker.process.dead and self.baton.source.random() < 0.5:
                worker.stop()
                self.baton.wait(lambda: worker.process.dead, 60)
        for problem in self.watcher.finish():
            self.model.problem(problem)
        self.model.finish()


def run(seed, profile=None, echo=None):
    """Return the `Simulation` of *seed*, run to its end."""
    return Simulation(seed, profile, echo).run()
