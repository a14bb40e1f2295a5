"""The dispatcher: one process's work for all queues of a database."""
import atexit
import datetime
import threading

import zope.component
import zope.interface

from . import clock
from . import describe
from . import log
from . import outage
from .interfaces import IDispatcher
from .interfaces import IUUID
from .runtime import idle
from .runtime import storing
from .runtime import threads
from .runtime.deferreds import Deferreds
from .runtime.blocked import Watchdog
from .runtime.history import History
from .runtime.lacking import Lacking
from .runtime.live import Live
from .runtime.overdue import Overdue
from .runtime.patrol import Patrol
from .runtime.room import Room
from .runtime.survey import Survey
from .runtime.troubles import Troubles
from .runtime.turns import Turns
from .runtime.wakeup import Wakeup
from .runtime.worker import Worker

#: Seconds that a dispatcher may take to hand back its jobs when the process ends.
_AT_EXIT = 5

#: Connections that a dispatcher has besides those of its workers.
_TURNS = 1

_dispatchers = {}  # by UUID; the dispatchers of this process


def get(uuid=None, default=None):
    """Return the dispatcher of *uuid*, or *default*.

    Without *uuid*, the only dispatcher of the process, or *default* where there
    is none or more than one.
    """
    if uuid is not None:
        return _dispatchers.get(uuid, default)
    if len(_dispatchers) == 1:
        return next(iter(_dispatchers.values()))
    return default


def pop(uuid=None, default=None):
    """Forget the dispatcher that `get` returns, and return it."""
    found = get(uuid)
    if found is None:
        return default
    return _dispatchers.pop(found.UUID, default)


#: Forget all dispatchers.
clear = _dispatchers.clear


def _instance_uuid():
    found = zope.component.queryUtility(IUUID)
    if found is None:
        raise LookupError(
            'this instance has no IUUID utility; call zc.async_.configure.base(), '
            'or give the dispatcher a uuid')
    return found


@zope.interface.implementer(IDispatcher)
class Dispatcher:
    """See `IDispatcher`.

    *uuid* is by default the `IUUID` utility.  *jobs_size* and *polls_size* say
    how many jobs and polls are remembered.  Raise ValueError if the process has
    a dispatcher with that UUID.
    """

    #: Seconds that jobs have to end when the dispatcher is deactivated.
    shutdown_grace = 3
    #: Seconds after which it warns of a job that is still worked on; None: never.
    warn_after = 3600
    #: Called with the dispatcher and a text, once, in any thread, when it had to stop
    #: because a storage is closed; for a process that can do nothing else.
    on_fatal = None

    def __init__(self, db, reactor=None, poll_interval=5, uuid=None,
                 jobs_size=200, polls_size=400, start_thread=threads.start):
        self.UUID = _instance_uuid() if uuid is None else uuid
        if self.UUID in _dispatchers:
            raise ValueError(
                f'this process has a dispatcher with UUID {self.UUID}; '
                f'give the second one a uuid of its own')
        if reactor is None:
            from twisted.internet import reactor
        self.db = db
        self.reactor = reactor
        self.poll_interval = poll_interval
        self.history = History(jobs_size, polls_size)
        self.lacking = Lacking(self.UUID)
        self.queues = {}  # queue name -> agent name -> pool of threads
        self.activated = None
        self.thread = None
        self.live = Live(db, self.pause)
        self._start_thread = start_thread
        self.lost = None        # the text for `on_fatal`, when that was called
        self._losing = threading.Lock()
        self._stopping = threading.Event()
        outage.learn(db)
        self.troubles = Troubles(db, self._lost)
        self._turns = Turns(self)
        self._survey = Survey(self, self._turns)
        self._worker = Worker(self, keeps=True)
        self._wakeup = Wakeup(
            db, reactor, self._claim_now, self._turns.committing_here)
        self._watchdog = Watchdog(self, start_thread)
        self._deferreds = Deferreds(self)
        self._patrol = Patrol(reactor, self._pools, self._turns.lead_late)
        self._overdue = Overdue(self)
        self._room = Room(db)
        self._next_poll = None
        _dispatchers[self.UUID] = self

    # Being switched on and off

    def activate(self, threaded=False):
        """See `IDispatcher`."""
        if self.activated is not None:
            raise ValueError(
                f'dispatcher {self.UUID} is activated since {self.activated}')
        self._stopping.clear()
        self.lost = None
        self.activated = clock.now()
        self.reactor.addSystemEventTrigger('before', 'shutdown', self.deactivate)
        self.reactor.callWhenRunning(self._begin)
        if threaded:
            self.thread = self._start_thread(
                self._run_reactor, f'zc.async dispatcher {self.UUID}')
            atexit.register(self._end_with_process)

    def _run_reactor(self):
        self.reactor.run(installSignalHandlers=False)

    def _begin(self):
        self._wakeup.start()
        if self._wakeup.running:
            self._watchdog.start()
        self._next_poll = self.reactor.callLater(0, self._poll_again_and_again)

    def deactivate(self):
        """See `IDispatcher`."""
        if self.activated is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._wakeup.stop()
        try:
            self._turns.give_back()
            self._let_jobs_end()
            self._turns.take(claim=False)
            self._survey.leave()
            self._deferreds.cancel()
        except (Exception, SystemExit):
            log.events.exception(
                'dispatcher %s could not deactivate itself; another one, or its '
                'next start, takes over', self.UUID)
        finally:
            self._turns.close()
            self._watchdog.join()
            self.queues.clear()
            self._room.make(0)
            self.activated = None
            atexit.unregister(self._end_with_process)

    def _end_with_process(self):
        """Hand the jobs back, since the interpreter ends.

        At once: an interpreter that ends starts no thread any more, so that a job
        could fail for that reason alone.  Who wants its jobs to have their time
        stops the dispatcher before.  In a forked process there is nothing to do.
        """
        if self.thread.is_alive() and self.activated is not None:
            self.shutdown_grace = 0
            self.reactor.callFromThread(self.reactor.stop)
            self.thread.join(_AT_EXIT)

    def _let_jobs_end(self):
        for pool in self._pools():
            pool.setSize(0)
        threads.join([thread for pool in self._pools() for thread in pool.threads],
                     self.shutdown_grace)

    def _pools(self):
        return [pool for pools in list(self.queues.values())
                for pool in list(pools.values())]

    @property
    def idle(self):
        """Whether nothing is in a worker's hands or waits to be stored."""
        return not self._turns.busy

    def _lost(self, which):
        """Stop for good, since *which* storage is closed.  Any thread.

        What this process had in hand is as after its death: nothing can be
        stored any more, not even that it ends.
        """
        with self._losing:
            if self.lost is not None or self.activated is None:
                return
            self.lost = which
        self._stopping.set()
        log.events.critical(
            '%s is closed, by itself after an error or by somebody: dispatcher %s '
            'stops for good; see the messages before this one, and start the '
            'process anew', which, self.UUID)
        self.activated = None
        self.reactor.callFromThread(self._end_lost)
        if self.on_fatal is not None:
            try:
                self.on_fatal(self, which)
            except Exception:
                log.events.exception('on_fatal of dispatcher %s failed', self.UUID)

    def _end_lost(self):
        atexit.unregister(self._end_with_process)
        self._wakeup.stop()
        for pool in self._pools():
            pool.setSize(0)
        self.queues.clear()
        self._turns.close()
        if self.thread is not None and getattr(self.reactor, 'running', True):
            self.reactor.stop()  # which runs for this dispatcher only

    # Polls

    def _poll_again_and_again(self):
        if self._stopping.is_set():
            return
        try:
            self.poll()
        finally:
            if not self._stopping.is_set():
                self._next_poll = self.reactor.callLater(
                    self.poll_interval, self._poll_again_and_again)

    def poll(self):
        """Enrol with new queues, ping, and claim what there is room for.

        Reactor's thread.  Commits; raises nothing: the next poll tries again.
        """
        self._watchdog.beat()
        record = self.history.add_poll()
        if self.troubles.check():
            return
        try:
            with self._turns.turn:
                self._replace_dead()
                sizes, strays, signs = self._survey.look()
                self._wakeup.concern(signs)
                self._match_pools({name: size for name, (size, _jobs) in sizes.items()})
                failed = self._turns.take(pings=True)
                self._turns.hand_out(strays)
            self._note(record, sizes, failed)
            self._overdue.look({name: size for name, (size, _jobs) in sizes.items()})
            idle.forget(self.db)
        except (Exception, SystemExit) as error:
            self._poll_failed(error)
        self._watchdog.beat()

    def _replace_dead(self):
        """Let no pool lack a thread, and nobody hold what a dead thread held."""
        for pool in self._pools():
            for ticket in pool.replace_dead():
                log.events.critical('a worker of agent %s died while working on %r; it '
                                    'is replaced', pool.name, ticket)
                self._turns.drop(ticket)

    def _poll_failed(self, error):
        if not self.troubles.met(error):
            log.events.error('poll failed', exc_info=True)

    def _note(self, record, sizes, failed):
        """Remember what the poll found."""
        for name, (size, jobs) in sizes.items():
            found = self.history.agent_poll(record, *name)
            found.size = size
            found.active_jobs = tuple(describe.key_of(*job) for job in jobs)
            found.length = len(jobs) + len(found.new_jobs)
            found.error = failed.get(name)
            if found.error is not None:
                log.events.error('agent %r of queue %r could not choose: %s',
                                 name[1], name[0], describe.safe_repr(found.error))

    def _match_pools(self, sizes):
        """Let each agent have a pool of its size, and nobody else."""
        if sizes:
            self._room.make(sum(sizes.values()) + _TURNS)
        for queue, agent in sizes:
            self._pool(queue, agent).setSize(sizes[queue, agent])
        for queue in list(self.queues):
            for agent in list(self.queues[queue]):
                if (queue, agent) not in sizes:
                    self.queues[queue].pop(agent).setSize(0)
            if not self.queues[queue]:
                del self.queues[queue]

    def _pool(self, queue, agent):
        pools = self.queues.setdefault(queue, {})
        if agent not in pools:
            pools[agent] = threads.Pool(
                f'{queue}:{agent}', self._worker.work, self._start_thread,
                lambda: self.claims_between_polls, self._rest, storing.quick(self.db))
        return pools[agent]

    def _rest(self):
        """Do what a worker's thread does when it has no ticket.  Its thread."""
        self._worker.rest()
        self._turns.lead()

    # Between polls

    def wake(self):
        """Claim soon, without waiting for the next poll.  Any thread.

        Nothing happens on a reactor whose time is not real.
        """
        self._wakeup.wake()

    def _claim_now(self):
        """Claim; return whether there is nothing to do."""
        try:
            self._turns.take()
        except (Exception, SystemExit) as error:
            self._poll_failed(error)
        return self.idle

    # What turns, workers and live annotations need

    @property
    def claims_between_polls(self):
        """Whether work is claimed as soon as there is work or room for it."""
        return self._wakeup.running

    def works_for(self, queue):
        """Return whether this process is the one that is active in *queue*."""
        return self._survey.works_for(queue)

    def due_next(self, moment):
        """Claim at *moment*, in microseconds, too.  Any thread."""
        self._wakeup.due_next(moment)

    def pause(self, seconds):
        """Wait; return True, at once, when the dispatcher is being stopped."""
        return self._stopping.wait(seconds)

    def hand_out(self, ticket):
        """Give *ticket* to a worker.  Any thread."""
        pool = self._pool(*ticket.pool)
        if pool.getSize() == 0:
            # an agent that is newer than the last poll, or is being shrunk
            pool.setSize(1)
        if not pool.put(ticket):
            self._patrol.begin()

    def submit(self, ticket, outcome):
        """Take a ticket back from a worker.  Workers' threads."""
        queue, agent = ticket.pool
        pool = self.queues.get(queue, {}).get(agent)
        # its agent may be gone
        committing = storing.spent()
        seconds = clock.monotonic() - ticket.begun - committing
        goes_on = pool is not None and pool.worked(seconds, committing)
        self._turns.submit(ticket, outcome, goes_on)

    def watch(self, deferred, ticket, attempt):
        """Store the result of *deferred* for its job one day.  Any thread."""
        self._deferreds.watch(deferred, ticket, attempt)

    def under_way(self):
        """Return what is worked on or waits for a Deferred, as `UnderWay`.  Any thread."""
        return self._turns.under_way() + self._deferreds.under_way()

    # Looking

    @property
    def conflicts(self):
        """The `runtime.conflicts.Conflicts` of this dispatcher and its jobs."""
        return self.troubles.conflicts

    def getStatistics(self, at=None, before=None, since=None, queue=None, agent=None):
        """See `IDispatcher`."""
        return self.history.statistics(at, before, since, queue, agent)

    def getActiveJobIds(self, queue=None, agent=None):
        """See `IDispatcher`."""
        return self.history.active_ids(queue, agent)

    def getOverdueJobIds(self, queue=None, agent=None):
        """See `IDispatcher`."""
        return [one.key for one in self._overdue.found()
                if queue in (None, one.pool[0]) and agent in (None, one.pool[1])]

    @property
    def ready(self):
        """See `IDispatcher`."""
        pools = {(queue, agent) for queue, agents in list(self.queues.items())
                 for agent in list(agents)}
        return (self.getStatusInfo()['status'] == 'RUNNING'
                and not (pools and pools <= self._overdue.full))

    def getJobInfo(self, oid, database_name=None):
        """See `IDispatcher`."""
        return self.history.job_info(oid, database_name)

    def getPollInfo(self, at=None, before=None):
        """See `IDispatcher`."""
        for poll in self.history.polls(at, before, count=1):
            return poll.as_info()
        return None

    def iterPolls(self, at=None, before=None, since=None, count=None):
        """See `IDispatcher`."""
        for poll in self.history.polls(at, before, since, count):
            yield poll.as_info()

    def getStatusInfo(self):
        """See `IDispatcher`."""
        now = clock.now()
        polls = self.history.polls(count=1)
        last = None
        if polls:
            last = now.replace(tzinfo=None) - polls[0].utc_timestamp
        return {
            'poll interval': datetime.timedelta(seconds=self.poll_interval),
            'status': self._status(last),
            'time since last poll': last,
            'uptime': None if self.activated is None else now - self.activated,
            'uuid': self.UUID}

    def _status(self, since_last_poll):
        if self.activated is None:
            return 'STOPPED'
        if since_last_poll is None:
            return 'STARTING'
        patience = datetime.timedelta(seconds=max(60, 3 * self.poll_interval))
        return 'STUCK' if since_last_poll > patience else 'RUNNING'
