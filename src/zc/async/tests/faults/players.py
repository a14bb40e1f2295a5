"""Who plays in a simulation: dispatchers, producers and an administrator.

Each is a process of the `cluster` with tasks of its own.
"""
import heapq
import itertools
import traceback

import zope.interface
from twisted.internet.interfaces import IReactorTime
from ZODB.POSException import POSKeyError

from . import swarm
from .storage import Died
from .workload import build
from .workload import Cancelled
from ... import dispatcher as dispatchers
from ... import outage
from ...agent import Agent
from ...interfaces import ACTIVE
from ...interfaces import ASSIGNED
from ...interfaces import CALLBACKS
from ...interfaces import COMPLETED
from ...interfaces import KEY
from ...interfaces import PENDING

#: The statuses of a job that is in the product's hands.
UNFINISHED = (PENDING, ASSIGNED, ACTIVE, CALLBACKS)


class _Call:
    """A call of a `Reactor` at *time*."""

    def __init__(self, time, number, call):
        self.time, self.number, self.call = time, number, call

    def __lt__(self, other):
        return (self.time, self.number) < (other.time, other.number)

    def cancel(self):
        """Do nothing when the time comes."""
        self.call = lambda: None


class Reactor:
    """The reactor of one process; `run` is its thread's work."""

    def __init__(self, baton):
        self._baton = baton
        self._calls = []
        self._numbers = itertools.count()
        self.running = True
        self.cancelled = []

    def seconds(self):
        """Return the time."""
        return self._baton.now

    def callLater(self, seconds, callable, *args, **kw):
        """See `IReactorTime`."""
        call = _Call(self._baton.now + seconds, next(self._numbers),
                     lambda: callable(*args, **kw))
        heapq.heappush(self._calls, call)
        return call

    def callFromThread(self, callable, *args, **kw):
        """See `IReactorFromThreads`."""
        self.callLater(0, callable, *args, **kw)

    callWhenRunning = callFromThread

    def addSystemEventTrigger(self, phase, event, callable, *args, **kw):
        """Nothing is told of the end: whoever wants it, brings it about."""

    def _due(self):
        return bool(self._calls) and self._calls[0].time <= self._baton.now

    def run(self):
        """Make the calls that are due, until it is stopped."""
        while self.running:
            if not self._due():
                wait = self._calls[0].time - self._baton.now if self._calls else None
                self._baton.wait(self._due, wait)
                continue
            heapq.heappop(self._calls).call()


@zope.interface.implementer(IReactorTime)
class TimedReactor(Reactor):
    """One whose time is real, as far as the product knows."""


class Worker:
    """A process with a dispatcher, *UUID*'s."""

    def __init__(self, simulation, UUID, name, timed, lacks):
        self.UUID, self.timed = UUID, timed
        self._simulation = simulation
        self._baton = simulation.baton
        self._cluster = simulation.cluster
        self.process = simulation.cluster.join(name)
        self.process.UUID, self.process.lacks = UUID, lacks
        self.reactor = (TimedReactor if timed else Reactor)(self._baton)
        self._baton.start(self._run, name, self.process)

    def _run(self):
        process = self.process

        def start_thread(target, name):
            return self._baton.start(target, f'{process.name} {name}', process)

        self.dispatcher = dispatchers.Dispatcher(
            process.db, self.reactor, uuid=self.UUID, start_thread=start_thread)
        dispatchers.pop(self.UUID)
        self.dispatcher.activate()
        self.reactor.run()

    def stop(self):
        """End it in order, soon."""
        def end():
            self._baton.note('stops')
            self._simulation.model.stopping.add(self.process.name)
            self.dispatcher.deactivate()
            self.reactor.running = False
            self._cluster.kill(self.process)
            raise Died

        self.reactor.callFromThread(end)


class Client:
    """A process that does things in transactions, again after conflicts."""

    def __init__(self, simulation, name):
        self.simulation, self.baton = simulation, simulation.baton
        self.source = simulation.baton.source
        self.model = simulation.model
        self.process = simulation.cluster.join(name)
        self.task = self.baton.start(self.play, name, self.process)

    def play(self):
        """What it does."""
        raise NotImplementedError

    def transact(self, work):
        """Commit *work*, called with the root; return what it returns.

        Conflicts are tried again, and so are outages before the commit; one within
        the commit, after which nobody can tell, is raised.
        """
        while True:
            committing = False
            manager = connection = None
            try:
                manager, connection = self.process.open()
                manager.begin()
                found = work(connection.root())
                self.baton.step()
                committing = True
                manager.commit()
                return found
            except Exception as error:
                self._end(manager)
                if committing and outage.is_outage(error):
                    raise
                if not (outage.is_conflict(error) or outage.is_outage(error)):
                    raise
            finally:
                if connection is not None:
                    self._end(manager)
                    connection.close()
            self.baton.sleep(self.source.random() * 2)

    def _end(self, manager):
        try:
            manager.abort()
        except Exception:
            pass  # there is no transaction, or nobody to tell


class Producer(Client):
    """Puts jobs."""

    def play(self):
        """Put, and wait a while, and put."""
        profile = self.simulation.profile
        for number in range(profile.jobs):
            self.baton.sleep(self.source.expovariate(1 / profile.gap))
            name = f'{self.process.name}-{number}'
            self._put(swarm.invent(self.source, name, profile))

    def _put(self, spec):
        model = self.model
        model.know(spec)

        def work(root):
            # from here on, nobody knows until the commit has ended
            model.roots[spec.name] = 'info'
            job = build(spec, root[self.process.name], root['hot'])
            root[KEY][''].put(
                job, begin_after=self.simulation.after(spec.after),
                begin_by=self.simulation.delta(spec.by))

        try:
            self.transact(work)
            model.roots[spec.name] = 'ok'
        except Exception as error:
            if not outage.is_outage(error):
                raise


class Administrator(Client):
    """Changes what others work with."""

    def play(self):
        """Do one deed after the other while there is trouble."""
        self.number = 0
        while not self.simulation.over:
            self.baton.sleep(self.source.expovariate(0.5))
            deed = self.source.choice(self.simulation.profile.deeds)
            self.baton.note(deed)
            self.number += 1
            try:
                added = self.transact(getattr(self, deed.replace(' ', '_')))
                if added is not None:
                    self.model.added[added] = 'ok'
            except Exception as error:
                if not outage.is_outage(error):
                    raise

    def _any(self, things):
        things = list(things)
        return self.source.choice(things) if things else None

    def _job(self, root, *statuses):
        """Return a job that was put and is in one of *statuses*, or None."""
        found = []
        for name in list(self.model.roots):
            oid = self.simulation.watcher.oids.get(name)
            if oid is None:
                continue
            try:
                job = root._p_jar.get(oid)
                if job.status in statuses:
                    found.append((name, job))
            except POSKeyError:
                pass  # it was pulled, and packed away
        return self.source.choice(found) if found else (None, None)

    def resize_agent(self, root):
        """Give an agent more or less room."""
        agents = self._any(root[KEY][''].dispatchers.values())
        if 'main' in agents:
            agents['main'].size = self.source.randint(0, 4)

    def replace_agent(self, root):
        """Put another agent in one's place."""
        agents = self._any(root[KEY][''].dispatchers.values())
        if 'main' in agents:
            del agents['main']
        agents['main'] = Agent(size=self.source.randint(1, 3))

    def resize_quota(self, root):
        """Give a quota more or less room."""
        quota = self._any(root[KEY][''].quotas.values())
        quota.size = self.source.randint(0, 3)

    def new_quotas(self, root):
        """Let a waiting job count elsewhere."""
        _name, job = self._job(root, PENDING)
        if job is not None:
            job.quota_names = self.source.choice(
                ((), ('one',), ('two',), ('one', 'two')))

    def pull(self, root):
        """Take a job out of the queue for good."""
        name, job = self._job(root, PENDING)
        if job is not None and job in root[KEY]['']:
            self.model.pulled.add(name)
            root[KEY][''].remove(job)

    def cancel(self, root):
        """Let a job fail that has not begun."""
        name, job = self._job(root, PENDING, ASSIGNED)
        if job is not None:
            self.model.ended.add(name)
            job.fail(Cancelled())

    def add_callback(self, root):
        """Add a callback to a job that is not completed; return its name."""
        name, job = self._job(root, *UNFINISHED)
        if job is None:
            return None
        added = f'{name}+{self.number}'
        spec = swarm.Spec(added, 'effect')
        self.model.know(spec)
        self.model.added[added] = 'info'
        job.addCallback(build(spec, root['admin'], root['hot']))
        return added

    def annotate(self, root):
        """Annotate whatever job it is."""
        _name, job = self._job(root, *UNFINISHED, COMPLETED)
        if job is not None:
            job.annotations[self.number] = self.number

    def settle_parked(self, root):
        """Decide about a parked job."""
        settle_parked(root[KEY][''], self.simulation, 1)


def settle_parked(queue, simulation, most=None):
    """Rerun or discard parked jobs, up to *most*."""
    for entry in list(queue.parked)[:most]:
        name = simulation.watcher.names[entry.job._p_oid] or ''
        if simulation.baton.source.random() < 0.3 or simulation.is_poison(name):
            simulation.model.ended.add(name)
            queue.parked.discard(entry.job)
        else:
            simulation.model.reruns[name] += 1
            queue.parked.rerun(entry.job)


def told(error):
    """Return *error* with its traceback, for people."""
    return ''.join(traceback.format_exception(error))
