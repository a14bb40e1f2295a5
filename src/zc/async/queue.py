"""Queues, and what they know of the dispatchers that work for them."""
import datetime

import persistent
import zope.component
import zope.component.event  # noqa: F401 lets events reach their handlers
import zope.event
import zope.interface
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from persistent.interfaces import IPersistent
from persistent.mapping import PersistentMapping
from ZODB.interfaces import IConnection

from . import clock
from . import describe
from . import interfaces
from . import log
from . import timekeys
from . import wake
from .current import read_current
from .interfaces import BadStatusError
from .interfaces import KEY
from .interfaces import NEW
from .interfaces import NoQueuesError
from .job import as_job
from .job import check_delta
from .job import check_moment
from .job import Job
from .model import callbacks
from .model import parking
from .model import quota
from .model import recovery
from .model import retry
from .model import status
from .model.call import check_storable
from .model.call import is_back
from .model.call import missing_class
from .model.call import why_unreadable
from .model.lines import Buckets
from .model.lines import Lines
from .model.lookup import Lookup
from .model.liveness import Activation
from .model.liveness import Ping
from .model.quota import Quota  # noqa: F401 documented here
from .model.quota import Quotas

#: The stored form that this code writes; see `zc.async.evolve`.
GENERATION = 2
#: Jobs that cannot be read are taken out of line so many at a time.
_AT_ONCE = 100


class _Children(PersistentMapping):
    """A mapping whose values know their parent and name."""

    parent = name = None

    def __setitem__(self, name, value):
        value.parent, value.name = self, name
        super().__setitem__(name, value)

    def __delitem__(self, name):
        value = self[name]
        super().__delitem__(name)
        if value.parent is self:
            value.parent = value.name = None

    def __bool__(self):
        return True


@zope.interface.implementer(interfaces.IQueues)
class Queues(_Children):
    """See `IQueues`."""

    def __init__(self):
        super().__init__()
        self.generation = GENERATION


@zope.interface.implementer(interfaces.IDispatcherAgents)
class DispatcherAgents(_Children):
    """See `IDispatcherAgents`."""

    ping_interval = datetime.timedelta(seconds=5)
    ping_death_interval = datetime.timedelta(seconds=15)

    #: Agents that were removed while they held jobs: these may have to be
    #: handed back one day.
    retired = ()

    def __init__(self, UUID):
        super().__init__()
        self.UUID = UUID
        self.activation = Activation()
        self.last_ping = Ping()

    def __setitem__(self, name, agent):
        if name in self and self[name] is not agent:
            del self[name]
        super().__setitem__(name, agent)

    def __delitem__(self, name):
        agent = self[name]
        super().__delitem__(name)
        if len(agent):
            # its jobs are still worked on, in this queue and by this dispatcher
            agent.parent, agent.name = self, name
        kept = tuple(one for one in (*self.retired, agent) if len(one))
        for one in {*self.retired, agent} - {*kept}:
            # a claim at the same time would be lost with it
            read_current(getattr(one, '_jobs', one))
        if kept != self.retired:
            self.retired = kept

    @property
    def activated(self):
        """See `IDispatcherAgents`."""
        return self.activation.value

    @property
    def dead(self):
        """See `IDispatcherAgents`."""
        if self.activation.micros is None:
            return False
        limit = self.ping_death_interval // datetime.timedelta(microseconds=1)
        return self.last_ping.age() > limit

    @property
    def ping_due(self):
        """Whether the ping interval is over."""
        # a ping in the future was made before the clock was set back
        limit = self.ping_interval // datetime.timedelta(microseconds=1)
        return not 0 <= self.last_ping.age() < limit

    def activate(self, ping=None, owner=None, process=None):
        """See `IDispatcherAgents`."""
        if self.activation.micros is not None:
            raise ValueError(
                f'dispatcher {self.UUID} is activated since {self.activated}; '
                f'deactivate it first')
        recovery.settle_left(self)
        if ping is not None and ping is not self.last_ping:
            self.last_ping = ping
        self.last_ping.beat()
        self.activation.begin(owner, process)
        zope.event.notify(interfaces.DispatcherActivated(self))

    def deactivate(self, died=False):
        """See `IDispatcherAgents`."""
        if self.activation.micros is None:
            raise ValueError(f'dispatcher {self.UUID} is not activated')
        self.activation.end()
        count = recovery.hand_over(self, died)
        if count:
            log.events.info('dispatcher %s deactivated; %d jobs handed back',
                            self.UUID, count)
        zope.event.notify(interfaces.DispatcherDeactivated(self))

    def reactivate(self, owner=None, process=None):
        """See `IDispatcherAgents`."""
        self.activation.begin(owner, process)
        self.last_ping.beat()
        zope.event.notify(interfaces.DispatcherReactivated(self))


@zope.interface.implementer(interfaces.IDispatchers)
class Dispatchers(Lookup, persistent.Persistent):
    """See `IDispatchers`."""

    #: (UUID, died) of dispatchers whose heirs lacked the classes of some of their
    #: jobs: they are held by its agents still.  See `recovery.hand_over`.
    left = ()

    def __init__(self):
        self._data = OOBTree()
        self._len = Length()
        self.parent = None

    def register(self, UUID):
        """See `IDispatchers`."""
        if UUID in self._data:
            raise ValueError(f'dispatcher {UUID} is registered already')
        agents = DispatcherAgents(UUID)
        agents.parent, agents.name = self.parent, UUID
        self._data[UUID] = agents
        self._len.change(1)
        zope.event.notify(interfaces.DispatcherRegistered(agents))

    def unregister(self, UUID):
        """See `IDispatchers`."""
        agents = self._data[UUID]
        if agents.activated is not None:
            raise ValueError(
                f'dispatcher {UUID} is activated since {agents.activated}; '
                f'deactivate it first')
        recovery.settle_left(agents)
        del self._data[UUID]
        self._len.change(-1)
        agents.parent = agents.name = None
        zope.event.notify(interfaces.DispatcherUnregistered(agents, self.parent))
        return agents

    def note_left(self, UUID, died):
        """Note that jobs of the dispatcher *UUID* were left; none if *died* is None."""
        rest = tuple(entry for entry in self.left if entry[0] != UUID)
        noted = rest if died is None else (*rest, (UUID, died))
        if set(noted) != set(self.left):
            self.left = noted

    def ping(self, UUID):
        """See `IDispatchers`."""
        agents = self._data[UUID]
        if not agents.ping_due:
            return
        agents.last_ping.beat()
        heir = self._dead_neighbour(UUID)
        if heir is not None:
            log.events.error(
                'dispatcher %s was silent since %s: %s takes over its jobs',
                heir.UUID, heir.last_ping.value, UUID)
            heir.deactivate(died=True)

    def _dead_neighbour(self, UUID):
        """Return the next activated dispatcher after *UUID* if it is dead."""
        ring = [*self._data.values(UUID, excludemin=True),
                *self._data.values(max=UUID, excludemax=True)]
        for agents in ring:
            if agents.activated is not None:
                return agents if agents.dead else None
        return None

    def __len__(self):
        return self._len()

    def __bool__(self):
        return True


@zope.interface.implementer(interfaces.IQueue)
class Queue(persistent.Persistent):
    """See `IQueue`.

    A job that was ACTIVE in ``deaths_before_parking`` deaths of its process is
    parked and not run again: it may be what kills them.  A death is counted when a
    neighbour, or the restarted instance, takes over after it; a process that is
    stopped in order, a job that was claimed and not begun, a thread that ends and
    a database that is away are none.  A claim begins most jobs in its own commit,
    so a job may count as active whose call had not been entered.  Set it on the
    class, or on one queue; None: never.
    """

    deaths_before_parking = 3
    _parked = None        # in queues that were made before there was parking
    parent = name = None  # kept when ``__init__`` is called again to empty it

    def __init__(self):
        self._lines = Lines()
        self.quotas = Quotas()
        self.quotas.parent = self
        self.dispatchers = Dispatchers()
        self.dispatchers.parent = self
        self._parked = parking.Parked(self)

    @property
    def parked(self):
        """See `IQueue`."""
        return parking.Parked(self) if self._parked is None else self._parked

    def keep_parked(self, parked):
        """Keep *parked*, which got its first job, in a queue that had none."""
        if self._parked is None:
            self._parked = parked

    # Putting

    def put(self, item, begin_after=None, begin_by=None, failure_log_level=None,
            retry_policy_factory=None):
        """See `IQueue`."""
        job = as_job(item)
        self._check_new(job)
        after = check_moment('begin_after', begin_after)
        by = check_delta('begin_by', begin_by)
        self.check_quotas(job.quota_names)
        _check_storable(job)
        if after is not None:
            job._begin_after = after
        if by is not None:
            job._begin_by = by
        if failure_log_level is not None:
            job.failure_log_level = failure_log_level
        if retry_policy_factory is not None:
            job.retry_policy_factory = retry_policy_factory
        self._insert(job)
        return job

    def _check_new(self, job):
        if job.status is not NEW or job.parent is not None:
            raise BadStatusError(
                f'cannot put {job!r}: its status is {job.status}'
                + (' and it is a callback' if job.parent is not None
                   and job.status is NEW else '')
                + '; put a new job, or pull this one first')

    def _insert(self, job):
        now = clock.micros()
        UUID = zope.component.queryUtility(interfaces.IUUID)
        job._assigner = None if UUID is None else UUID.bytes
        jar = self._p_jar
        if jar is not None and job._p_jar is None and len(jar.db().databases) > 1:
            # a job that the application keeps as well is the queue's database's
            jar.add(job)
        job.parent = self
        if job._begin_after is None or job._begin_after <= now:
            if job._begin_after is None:
                job._begin_after = now
            self._lines.add(job, now, timekeys.READY)
        else:
            self._lines.add(job, job._begin_after, timekeys.SCHEDULED)
        self._announce()

    def _announce(self):
        if self._p_jar is not None:
            wake.after_commit(self._p_jar.transaction_manager.get(), self)

    def putBack(self, job):
        """See `IQueue`."""
        job.parent = self
        if job._code == status.UNSET:
            quota.release(job)
        elif job._quota_names and callbacks.needs_room(job):
            quota.release(job)
            job._uncounted = True
        self._lines.add(job, 0, timekeys.FRONT)
        self._announce()

    def schedule(self, job, moment):
        """Put *job*, NEW again, in line for the aware datetime *moment*."""
        job.parent = self
        job._begin_after = clock.to_micros(moment)
        self._lines.add(job, job._begin_after, timekeys.SCHEDULED)
        self._announce()

    def put_again(self, job):
        """Put *job*, which is NEW again, at the end of the line."""
        job.parent = self
        job._begin_after = clock.micros()
        self._lines.add(job, job._begin_after, timekeys.READY)
        self._announce()

    def restore(self, job):
        """Put a claimed *job* back where it stood."""
        job.parent = self
        if job._code == status.UNSET:
            quota.release(job)
        self._lines.restore(job)
        self._announce()

    def check_quotas(self, names):
        """Raise ``ValueError('unknown quota name', name)`` for one that is missing."""
        for name in names:
            if name not in self.quotas:
                raise ValueError('unknown quota name', name)

    def change_quotas(self, job, names):
        """Let the waiting *job* count against other quotas from now on."""
        self.check_quotas(names)
        if self._lines.discard(job):
            job._quota_names = names
            self._lines.restore(job)

    # Taking out

    def pull(self, index=0):
        """See `IQueue`."""
        job = self[index]
        self.remove(job)
        return job

    def remove(self, job):
        """See `IQueue`."""
        if job in self:
            status.check(job, 'take')
        if not self.discard(job):
            raise LookupError(f'{describe.safe_repr(job)} is not in queue {self.name!r}')

    def discard(self, job):
        """Take *job* out and return True, or return False if it is not here."""
        if getattr(job, 'parent', None) is not self or not self._lines.discard(job):
            return False
        if timekeys.split(job._order)[1] == timekeys.READY:
            job._begin_after = None
        job._order = job._assigner = job.parent = None
        return True

    def claim(self, filter=None, default=None):
        """See `IQueue`."""
        now = clock.micros()
        claimant = parking.claimant_in(self._p_jar)
        while True:
            look = claimant.look(self, filter, now)
            job, unreadable = self._look_for(filter, look, claimant)
            # not before: lines must not change while they are looked through
            for key, one, reason in unreadable:
                self._lines.drop(key, one)
                parking.park_unread(self, one, reason)
            if job is not None:
                self._lines.discard(job)
                return self._claimed(job, now)
            if len(unreadable) < _AT_ONCE:
                return default

    def _look_for(self, filter, look, claimant):
        """Return a job of *look* to claim, or None, and what is to be parked before it.

        The latter as ``(key, job, reason)``; it holds up no other.
        """
        unreadable = []
        for key, job in look:
            reason = why_unreadable(job)
            if reason is None:
                if filter is None or filter(job):
                    return job, unreadable
                look.refused()
                continue
            name = missing_class(job)
            if name is not None and is_back(job):
                claimant.stale = True
            elif name is None or not parking.is_left(self, job, name, claimant):
                unreadable.append((key, job, f'its record cannot be read: {reason}'))
                if len(unreadable) == _AT_ONCE:
                    break
        return None, unreadable

    def has_room(self, names):
        """Return whether no quota of *names* is filled; removed ones are not."""
        for name in names:
            quota = self.quotas.get(name)
            if quota is not None and quota.filled:
                quota.clean()
                if quota.filled:
                    return False
        return True

    def _claimed(self, job, now):
        if job.expired(now):
            return self._instead_of(job)
        if job._code == status.UNSET or job._uncounted:
            for name in job._quota_names:
                quota = self.quotas.get(name)
                if quota is not None:
                    quota.add(job)
        if job._uncounted:
            del job._uncounted
        job.parent = None
        return job

    def _instead_of(self, job):
        """Return a job that lets *job* fail, since it is too late to begin it."""
        order, job._order = job._order, None
        stand_in = Job(job.fail)
        # it alone knows of the job now
        stand_in.retry_policy_factory = retry.RetryErrorsToo
        stand_in._begin_after, stand_in._assigner = job._begin_after, job._assigner
        stand_in._order = order
        return stand_in

    # Looking

    def index(self, job):
        """See `IQueue`."""
        for position, one in enumerate(self):
            if one is job:
                return position
        raise ValueError(f'{describe.safe_repr(job)} is not in queue {self.name!r}')

    def __getitem__(self, index):
        if index == -1:
            return self._lines.last()
        wanted = index + len(self) if index < 0 else index
        for position, job in enumerate(self if wanted >= 0 else ()):
            if position == wanted:
                return job
        raise IndexError(f'no job at {index} in a queue of {len(self)}')

    def __contains__(self, job):
        return getattr(job, 'parent', None) is self and job in self._lines

    def __iter__(self):
        return iter(self._lines)

    def __len__(self):
        return len(self._lines)

    def next_due(self):
        """Return when the next scheduled job falls due: aware UTC, or None."""
        return clock.from_micros(self._lines.next_due())

    def signs(self):
        """Return the object ids of what changes whenever a job is put."""
        return self._lines.signs()

    @property
    def _queue(self):
        return Buckets(self._lines)


def _is_stored(node):
    """Return whether what *node* calls was stored and is unchanged since then."""
    record = node.callback_record()
    return record._p_jar is not None and not record._p_changed


def _check_storable(job):
    """Check the calls of *job*, its callbacks and the new jobs it is given."""
    todo, seen = [job], set()
    while todo:
        one = todo.pop()
        if id(one) in seen or _is_stored(one):
            continue
        seen.add(id(one))
        if isinstance(one, Job):
            call = one._call
            check_storable(call)
            given = (*call.args, *(call.kwargs or {}).values())
            todo.extend([value for value in given if issubclass(type(value), Job)])
            todo.extend(call.callbacks)
        else:
            todo.extend(jobs for jobs in (
                *one.callbacks, getattr(one, 'success', None),
                getattr(one, 'failure', None)) if jobs is not None)


def get_queues(connection):
    """Return the queues of the database of *connection*.

    Raise `NoQueuesError` where there are none.
    """
    queues = connection.root().get(KEY)
    if queues is None:
        raise NoQueuesError(
            f'database {connection.db().database_name!r} has no queues; '
            f'notify a zc.async.subscribers.QueueInstaller of it, or set '
            f'root[{KEY!r}] to a zc.async.queue.Queues with a Queue in it')
    return queues


@zope.component.adapter(IPersistent)
@zope.interface.implementer(interfaces.IQueue)
def getDefaultQueue(obj):
    """Return the queue '' of the database of *obj*, or of a connection.

    Raise `NoQueuesError` where the database has no queues.
    """
    return get_queues(IConnection(obj))['']
