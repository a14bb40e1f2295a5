"""What a host lets happen when its database is opened."""
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

#: The signal handlers that were there before, by dispatcher UUID and signal.
signal_handlers = {}


class QueueInstaller:
    """Makes the queues of a database that was opened.  Commits.

    *queues* are names; *factory* makes a queue.  With *db_name* they are kept in
    that database of the opened one's, and only mounted in its root.  Raise
    ValueError if there is no such database.
    """

    def __init__(self, queues=('',), factory=Queue, db_name=None):
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
        try:
            with manager:
                self._install(connection)
        finally:
            connection.close()

    def _install(self, connection):
        root = connection.root()
        if KEY not in root:
            queues = Queues()
            if self.db_name is not None:
                connection.get_connection(self.db_name).add(queues)
            root[KEY] = queues
            zope.event.notify(ObjectAdded(queues, root, KEY))
            log.events.info('queues collection added')
        queues = root[KEY]
        for name in self.queues:
            if name not in queues:
                queue = self.factory()
                if queues._p_jar is not None:
                    queues._p_jar.add(queue)
                queues[name] = queue
                zope.event.notify(ObjectAdded(queue, queues, name))
                log.events.info('queue %r added', name)


class AgentInstaller:
    """Gives an activated dispatcher an agent, if it has none of the name.

    *queue_names* says for which queues; None: for all.
    """

    def __init__(self, agent_name, chooser=None, size=3, queue_names=None,
                 filter=None):
        zope.component.adapter(IDispatcherActivated)(self)
        self.agent_name = agent_name
        self.chooser = chooser
        self.size = size
        self.queue_names = queue_names
        self.filter = filter

    def __call__(self, event):
        agents = event.object
        if self.queue_names is not None and agents.parent.name not in self.queue_names:
            return
        if self.agent_name not in agents:
            agents[self.agent_name] = Agent(self.chooser, self.filter, self.size)
            log.events.info('agent %r added to queue %r',
                            self.agent_name, agents.parent.name)


def _select_reactor():
    from twisted.internet.selectreactor import SelectReactor
    return SelectReactor()


class ThreadedDispatcherInstaller:
    """Starts a dispatcher for a database that was opened, in a thread of its own.

    *uuid* is by default the instance's.  SIGINT and SIGTERM stop the dispatcher
    and then do what they did before.
    """

    def __init__(self, poll_interval=5, reactor_factory=_select_reactor, uuid=None):
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
    """Lets a dispatcher for a database that was opened run in Twisted's reactor."""

    def __init__(self, poll_interval=5):
        self.poll_interval = poll_interval

    def __call__(self, event):
        found = dispatchers.Dispatcher(
            event.database, poll_interval=self.poll_interval)
        found.activate()
        return found


def stop(dispatcher, timeout=3):
    """Stop the threaded *dispatcher* and wait for its thread, up to *timeout* s."""
    if dispatcher.activated is not None:
        dispatcher.reactor.callFromThread(dispatcher.reactor.stop)
        if dispatcher.thread is not None:
            dispatcher.thread.join(timeout + dispatcher.shutdown_grace)


def _chain_signals(dispatcher):
    """Stop *dispatcher* at a signal, before what else the signal does."""
    if threading.current_thread() is not threading.main_thread():
        return

    def handle(number, frame):
        before = signal_handlers.get((dispatcher.UUID, number))
        stop(dispatcher)
        restore_signal_handlers(dispatcher)
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise SystemExit(128 + number)

    for number in SIGNALS:
        signal_handlers[dispatcher.UUID, number] = signal.signal(number, handle)


def restore_signal_handlers(dispatcher):
    """Let the signals do again what they did before *dispatcher* was started."""
    for number in SIGNALS:
        before = signal_handlers.pop((dispatcher.UUID, number), None)
        if before is not None:
            signal.signal(number, before)


queue_installer = QueueInstaller()
multidb_queue_installer = QueueInstaller(db_name='async')
agent_installer = AgentInstaller('main')
threaded_dispatcher_installer = ThreadedDispatcherInstaller()
twisted_dispatcher_installer = TwistedDispatcherInstaller()

for _installer in (queue_installer, multidb_queue_installer,
                   threaded_dispatcher_installer, twisted_dispatcher_installer):
    zope.component.adapter(IDatabaseOpened)(_installer)
