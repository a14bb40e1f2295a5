"""What a host lets happen when its database is opened.

An installer is a handler of `IDatabaseOpened` events, or of
`IDispatcherActivated` ones for agents; it may as well be called with anything
that has the event's ``database`` or ``object``.
"""
import signal
import threading

import transaction
import zope.component
import zope.event
from zope.processlifetime import IDatabaseOpened

from . import dispatcher as dispatchers
from . import log
from .agent import Agent
from .interfaces import IDispatcherActivated
from .interfaces import KEY
from .interfaces import ObjectAdded
from .queue import Queue
from .queue import Queues

#: The signals that end a process.
SIGNALS = tuple(
    getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGBREAK')
    if hasattr(signal, name))

#: Tries of a commit that another process may disturb which starts as well.
_TRIES = 10


class QueueInstaller:
    """Makes the queues of a database that was opened, as far as they are missing.

    *queues* are names; *factory* makes a queue.  With *db_name* they are kept in
    the root of that one of the opened database's databases, and mounted in its
    own.  Commits.  Raise ValueError if there is no such database.
    """

    def __init__(self, queues=('',), factory=Queue, db_name=None):
        zope.component.adapter(IDatabaseOpened)(self)
        if isinstance(queues, str):
            raise TypeError(f'queues is a sequence of names, not the string '
                            f'{queues!r}; write ({queues!r},)')
        self.queues = queues
        self.factory = factory
        self.db_name = db_name

    def __call__(self, event):
        db = event.database
        if self.db_name is not None and self.db_name not in db.databases:
            raise ValueError(
                f'no database {self.db_name!r} beside {db.database_name!r}, only '
                f'{", ".join(map(repr, sorted(db.databases)))}; configure it or '
                f'choose another db_name')
        manager = transaction.TransactionManager(explicit=True)
        connection = db.open(transaction_manager=manager)
        def add_queues():  # the transaction is described by this name
            return self._install(connection)

        try:
            done = manager.run(add_queues, _TRIES)
        finally:
            connection.close()
        for message in done:
            log.events.info(*message)

    def _install(self, connection):
        """Return the arguments of log messages about what was added."""
        done = []
        root = connection.root()
        queues = root.get(KEY)
        if queues is None:
            queues = root[KEY] = self._stored_queues(connection)
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

    def _stored_queues(self, connection):
        """Return the queues of the database that is to hold them.

        They are in its own root too: packing a database keeps nothing else.
        """
        if self.db_name is not None:
            connection = connection.get_connection(self.db_name)
        root = connection.root()
        if KEY not in root:
            queues = root[KEY] = Queues()
            connection.add(queues)
        return root[KEY]


class AgentInstaller:
    """Gives an activated dispatcher an agent, if it has none of the name.

    *queue_names* says for which queues; None: for all.  Raise ValueError for
    what no agent can be made of.
    """

    def __init__(self, agent_name, chooser=None, size=3, queue_names=None,
                 filter=None):
        zope.component.adapter(IDispatcherActivated)(self)
        self.agent_name = agent_name
        self.chooser = chooser
        self.size = size
        self.queue_names = queue_names
        self.filter = filter
        self._make()  # raises here, not in a poll

    def _make(self):
        return Agent(self.chooser, self.filter, self.size)

    def __call__(self, event):
        agents = event.object
        if self.queue_names is not None and agents.parent.name not in self.queue_names:
            return
        if self.agent_name not in agents:
            agents[self.agent_name] = self._make()
            log.events.info('agent %r added to queue %r',
                            self.agent_name, agents.parent.name)


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


class ThreadedDispatcherInstaller:
    """Starts a dispatcher for a database that was opened, in a thread of its own.

    *uuid* is by default the instance's.  SIGINT and SIGTERM stop the dispatcher
    and then do what they did before.  Returns the dispatcher.
    """

    def __init__(self, poll_interval=5, reactor_factory=_select_reactor, uuid=None):
        zope.component.adapter(IDatabaseOpened)(self)
        self.poll_interval = poll_interval
        self.reactor_factory = reactor_factory
        self.uuid = uuid

    def __call__(self, event):
        found = dispatchers.Dispatcher(
            event.database, self.reactor_factory(), self.poll_interval, self.uuid)
        found.activate(threaded=True)
        _chain_signals(found)
        return found


class TwistedDispatcherInstaller:
    """Lets a dispatcher for a database that was opened run in Twisted's reactor.

    The application runs and stops the reactor.  Returns the dispatcher.
    """

    def __init__(self, poll_interval=5):
        zope.component.adapter(IDatabaseOpened)(self)
        self.poll_interval = poll_interval

    def __call__(self, event):
        found = dispatchers.Dispatcher(
            event.database, poll_interval=self.poll_interval)
        found.activate()
        return found


# Signals

def stop(dispatcher, timeout=3):
    """Stop the threaded *dispatcher* and wait for its thread, up to *timeout* s."""
    if dispatcher.activated is not None:
        dispatcher.reactor.callFromThread(dispatcher.reactor.stop)
        if dispatcher.thread is not None:
            dispatcher.thread.join(timeout + dispatcher.shutdown_grace)


class _StopFirst:
    """A signal handler: stop a dispatcher, then do what was done *before*."""

    def __init__(self, dispatcher, before):
        self.dispatcher = dispatcher
        self.before = before

    def __call__(self, number, frame):
        dispatcher, before = self.dispatcher, self.before
        if dispatcher is not None:
            stop(dispatcher)
            restore_signal_handlers(dispatcher)
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise SystemExit(128 + number)


#: The signal handlers that stop a dispatcher, by its UUID and the signal.
signal_handlers = {}


def _chain_signals(dispatcher):
    """Stop *dispatcher* at a signal, before what else the signal does.

    Only the main thread can arrange that; elsewhere nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        before = signal.getsignal(number)
        # a signal that is ignored stays so; None: not Python's to restore
        if before not in (None, signal.SIG_IGN):
            handler = _StopFirst(dispatcher, before)
            signal_handlers[dispatcher.UUID, number] = handler
            signal.signal(number, handler)


def restore_signal_handlers(dispatcher):
    """Let the signals do again what they did before *dispatcher* was started."""
    for number in SIGNALS:
        handler = signal_handlers.pop((dispatcher.UUID, number), None)
        if handler is not None:
            _take_out(number, handler)


def _take_out(number, handler):
    """Take *handler* out of the chain of handlers of the signal *number*."""
    # whoever calls it still, passes through
    handler.dispatcher = None
    if (signal.getsignal(number) is handler
            and threading.current_thread() is threading.main_thread()):
        signal.signal(number, handler.before)
    for (_UUID, other_number), other in signal_handlers.items():
        if other_number == number and other.before is handler:
            other.before = handler.before


queue_installer = QueueInstaller()
multidb_queue_installer = QueueInstaller(db_name='async')
agent_installer = AgentInstaller('main')
threaded_dispatcher_installer = ThreadedDispatcherInstaller()
twisted_dispatcher_installer = TwistedDispatcherInstaller()
