"""What a host lets happen when its database is opened.

An installer is a handler of `IDatabaseOpened` events, or of
`IDispatcherActivated` ones for agents; it may as well be called with anything
that has the event's ``database`` or ``object``.

Hosts may send `IDatabaseOpenedWithRoot` as well, or instead: see
`zc.async.opened`.
"""
import threading
import weakref

import transaction
import zope.component
import zope.event
from ZODB.POSException import ReadOnlyError
from zope.interface.interfaces import ComponentLookupError

from . import dispatcher as dispatchers
from . import instanceuuid
from . import log
from . import outage
from . import productconfig
from . import signals
from .agent import Agent
from .interfaces import IDispatcherActivated
from .interfaces import KEY
from .interfaces import ObjectAdded
from .model.quota import _check_size
from .opened import DatabaseInstaller
from .opened import read_only
from .opened import refuse_replaced
from .opened import say_when_committed
from .queue import Queue
from .queue import Queues
from .runtime.attempt import abort
from .runtime.mending import mend
from .runtime.pauses import CROWD
from .runtime.pauses import Pauses
from .signals import restore_signal_handlers  # noqa: F401 documented here
from .signals import signal_handlers  # noqa: F401 documented here
from .signals import SIGNALS  # noqa: F401 documented here
from .signals import stop  # noqa: F401 documented here

#: Tries of a commit that another process may disturb which starts as well.
_TRIES = 10


class QueueInstaller(DatabaseInstaller):
    """Makes the queues of a database that was opened, as far as they are missing.

    *queues* are names; *factory* makes a queue.  With *db_name* they are kept in
    the root of that one of the opened database's databases, and mounted in its
    own.  Commits.  Raise ValueError if there is no such database, ReadOnlyError if
    it cannot be written, and StorageError if it is a new FileStorage beside the
    files of a pack that was broken off.
    """

    def __init__(self, queues=('',), factory=Queue, db_name=None):
        super().__init__()
        if isinstance(queues, str):
            raise TypeError(f'queues is a sequence of names, not the string '
                            f'{queues!r}; write ({queues!r},)')
        self.queues = queues
        self.factory = factory
        self.db_name = db_name

    def install(self, db):
        """Make the queues that *db* has not."""
        # also for processes that only put jobs
        mend(db)
        name = self.options().get('db-name', self.db_name)
        if name is not None and name not in db.databases:
            raise ValueError(
                f'no database {name!r} beside {db.database_name!r}, only '
                f'{", ".join(map(repr, sorted(db.databases)))}; configure it or '
                f'choose another db_name')

        def add_queues(connection):
            return self._install(connection, name)

        for message in _change(db, add_queues):
            log.events.info(*message)

    def _install(self, connection, db_name):
        """Return the arguments of log messages about what was added."""
        done = []
        root = connection.root()
        queues = root.get(KEY)
        if queues is None:
            refuse_replaced(connection.db())
            queues = root[KEY] = self._stored_queues(connection, db_name)
            zope.event.notify(ObjectAdded(queues, root, KEY))
            done.append(('queues collection added',))
        for name in self.queues:
            if name not in queues:
                queue = self.factory()
                queues._p_jar.add(queue)
                queues[name] = queue
                zope.event.notify(ObjectAdded(queue, queues, name))
                done.append(('queue %r added', name))
        return done

    def _stored_queues(self, connection, db_name):
        """Return the queues of the database that is to hold them.

        They are in its own root too: packing a database keeps nothing else.
        """
        if db_name is not None:
            connection = connection.get_connection(db_name)
        root = connection.root()
        if KEY not in root:
            refuse_replaced(connection.db())
            queues = root[KEY] = Queues()
            connection.add(queues)
        return root[KEY]


def _change(db, change):
    """Commit what *change* does with a connection of *db*; return what it returns.

    The transaction is described by the name of *change*.
    """
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)

    def attempt():
        return change(connection)

    try:
        return _run(manager, attempt, change.__name__)
    except ReadOnlyError:
        raise read_only(db) from None
    finally:
        abort(manager)
        connection.close()


def _run(manager, change, description):
    """Commit *change*, several times where there are conflicts; return its value."""
    pauses = Pauses(threading.Event().wait, limit=CROWD)
    for left in reversed(range(_TRIES)):
        try:
            manager.begin().note(description)
            found = change()
            manager.commit()
            return found
        except Exception as error:
            abort(manager)
            if not left or not outage.is_conflict(error):
                raise
        pauses.wait()


class QuotaInstaller(DatabaseInstaller):
    """Gives a queue a quota of a size, or the quota that it has that size.

    Commits.  Raise ValueError if there is no such queue, and ReadOnlyError if
    the database cannot be written.
    """

    def __init__(self, name, size=1, queue=''):
        super().__init__()
        self.name = name
        self.size = _check_size(size)
        self.queue = queue

    def install(self, db):
        """Make or change the quota in *db*."""
        if _change(db, self._set_quota):
            log.events.info('quota %r of queue %r has size %s',
                            self.name, self.queue, self.size)

    def _set_quota(self, connection):
        queues = connection.root().get(KEY, ())
        if self.queue not in queues:
            raise ValueError(
                f'no queue {self.queue!r} in database '
                f'{connection.db().database_name!r} for quota {self.name!r}; '
                f'have a QueueInstaller make it first')
        quotas = queues[self.queue].quotas
        if self.name not in quotas:
            quotas.create(self.name, self.size)
        elif quotas[self.name].size != self.size:
            quotas[self.name].size = self.size
        else:
            return False
        return True


class AgentInstaller:
    """Gives an activated dispatcher an agent, if it has none of the name.

    *queue_names* says for which queues; None: for all.  An agent that is there
    is left as it is or, with *declared*, becomes what is said here.  Raise
    ValueError for what no agent can be made of.
    """

    options = dict  # see `DatabaseInstaller`
    #: Names of queues that it is not for, when *queue_names* is None.
    except_queues = frozenset()

    def __init__(self, agent_name, chooser=None, size=3, queue_names=None,
                 filter=None, declared=False):
        zope.component.adapter(IDispatcherActivated)(self)
        self.agent_name = agent_name
        self.chooser = chooser
        self.size = size
        self.queue_names = queue_names
        self.filter = filter
        self.declared = declared
        Agent(chooser, filter, size)  # raises here, not in a poll

    def _make(self):
        size = self.options().get('agent-size', self.size)
        return Agent(self.chooser, self.filter, size)

    def __call__(self, event):
        agents = event.object
        if not self._is_for(agents.parent.name):
            return
        if self.agent_name not in agents:
            agents[self.agent_name] = self._make()
            say_when_committed(agents.parent, 'agent %r added to queue %r',
                               self.agent_name, agents.parent.name)
        elif self.declared:
            self._change(agents[self.agent_name])

    def _is_for(self, queue):
        if self.queue_names is None:
            return queue not in self.except_queues
        return queue in self.queue_names

    def _change(self, agent):
        """Let *agent* be what is said here; write nothing if it is."""
        if agent.size != self.size:
            agent.size = self.size
        if (agent.chooser, agent.filter) != (self.chooser, self.filter):
            agent.chooser = agent.filter = None  # it never has both
            agent.chooser = self.chooser
            agent.filter = self.filter


def _select_reactor():
    """Return a reactor of its own, which closes what it opened when it ends."""
    from twisted.internet.selectreactor import SelectReactor

    class OwnReactor(SelectReactor):

        def run(self, *args, **kw):
            try:
                super().run(*args, **kw)
            finally:
                waker, self.waker = self.waker, None
                waker.connectionLost(None)

    return OwnReactor()


class HostedDispatcher(dispatchers.Dispatcher):
    """A dispatcher that holds the file of its UUID while it is activated."""

    def activate(self, threaded=False):
        """See `IDispatcher`; raise ValueError where another one holds the file."""
        if self.activated is not None:
            super().activate(threaded)  # says that this cannot be
        self._let_go = instanceuuid.hold(self.UUID)
        try:
            super().activate(threaded)
        except BaseException:
            self._let_go()
            raise

    def deactivate(self):
        """See `IDispatcher`."""
        was_activated = self.activated is not None
        super().deactivate()
        # not when somebody else is still deactivating it
        if was_activated and self.activated is None:
            self._let_go()

    def _end_lost(self):
        super()._end_lost()
        self._let_go()


class _DispatcherInstaller(DatabaseInstaller):
    """Base of the handlers that start a dispatcher."""

    threaded = False

    def __init__(self, poll_interval, uuid):
        super().__init__()
        self.poll_interval = poll_interval
        self.uuid = uuid
        self._made = weakref.WeakSet()

    def install(self, db):
        """Return the dispatcher for *db*; start it if it does not work."""
        found = self.installed(db)
        if found is None:
            if db.storage.isReadOnly():
                raise read_only(db)
            found = self._make(db)
            self._start(found)
            self._made.add(found)
        return found

    def installed(self, db):
        """Return the dispatcher for *db* if it works."""
        for one in list(self._made):
            if one.db is db and one.activated is not None:
                return one
        return None

    def _make(self, db, reactor=None):
        interval = self.options().get('poll-interval', self.poll_interval)
        try:
            return HostedDispatcher(db, reactor, interval, self.uuid)
        except LookupError as error:
            instanceuuid.getUUID()  # says why, where its file is the reason
            raise ComponentLookupError(*error.args) from None

    def _start(self, found):
        try:
            found.activate(self.threaded)
        except BaseException:
            dispatchers.pop(found.UUID)
            raise


class ThreadedDispatcherInstaller(_DispatcherInstaller):
    """Starts a dispatcher for a database that was opened, in a thread of its own.

    *uuid* is by default the instance's.  SIGINT and SIGTERM stop the dispatcher
    and then do what they did before.  Returns the dispatcher.  Raise ValueError
    where the process has one with the UUID, or another process holds its file,
    and ReadOnlyError where the database cannot be written.
    """

    threaded = True

    def __init__(self, poll_interval=5, reactor_factory=_select_reactor, uuid=None):
        super().__init__(poll_interval, uuid)
        self.reactor_factory = reactor_factory

    def _make(self, db, reactor=None):
        reactor = self.reactor_factory()
        try:
            return super()._make(db, reactor)
        except BaseException:
            _discard(reactor)
            raise

    def _start(self, found):
        try:
            super()._start(found)
        except BaseException:
            _discard(found.reactor)
            raise
        signals.chain(found)


def _discard(reactor):
    """Close what *reactor*, which never ran, has opened."""
    waker, reactor.waker = getattr(reactor, 'waker', None), None
    if waker is not None:
        waker.connectionLost(None)


class TwistedDispatcherInstaller(_DispatcherInstaller):
    """Lets a dispatcher for a database that was opened run in Twisted's reactor.

    The application runs and stops the reactor.  Returns the dispatcher.  Raises
    what `ThreadedDispatcherInstaller` does.
    """

    def __init__(self, poll_interval=5, uuid=None):
        super().__init__(poll_interval, uuid)


def _ready(installer):
    """Let *installer* heed the host's own configuration."""
    installer.options = productconfig.options
    return installer


queue_installer: QueueInstaller = _ready(QueueInstaller())
multidb_queue_installer: QueueInstaller = _ready(QueueInstaller(db_name='async'))
agent_installer: AgentInstaller = _ready(AgentInstaller('main'))
threaded_dispatcher_installer: ThreadedDispatcherInstaller = _ready(
    ThreadedDispatcherInstaller())
twisted_dispatcher_installer: TwistedDispatcherInstaller = _ready(
    TwistedDispatcherInstaller())
