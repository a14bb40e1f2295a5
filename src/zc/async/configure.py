"""What has to be registered before zc.async works, for use without ZCML.

`client` registers what ``configure.zcml`` does, and `start` makes what the
policies make.
"""
import types

import zc.twist
import zope.component
import zope.event
from persistent.interfaces import IPersistent
from transaction.interfaces import ITransactionManager
from ZODB.interfaces import IConnection
from zope.processlifetime import DatabaseOpened
from zope.processlifetime import IDatabaseOpened

from . import dispatcher as dispatchers
from . import instanceuuid
from . import subscribers
from .interfaces import IJob
from .interfaces import IQueue
from .interfaces import IUUID
from .job import Job
from .opened import opened_with_root
from .queue import getDefaultQueue

#: The types whose instances adapt to a job.
CALLABLE_TYPES = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType,
    zc.twist.METHOD_WRAPPER_TYPE)


def minimal():
    """Register everything but the adapter from persistent objects to connections.

    For use beside a package that registers that one, like zope.keyreference.
    """
    for adapted in (IPersistent, IConnection):
        zope.component.provideAdapter(
            zc.twist.transactionManager, (adapted,), ITransactionManager)
    for cls in CALLABLE_TYPES:
        zope.component.provideAdapter(Job, (cls,), IJob)
    zope.component.provideUtility(instanceuuid.getUUID(), IUUID)


def base():
    """Register everything that a process needs to put jobs and to do them."""
    minimal()
    zope.component.provideAdapter(zc.twist.connection, (IPersistent,), IConnection)


def client():
    """Register everything, and that objects and connections lead to a queue.

    ``IQueue`` adapts persistent objects and connections afterwards, to the queue
    ``''`` of their database.
    """
    base()
    for adapted in (IPersistent, IConnection):
        zope.component.provideAdapter(getDefaultQueue, (adapted,), IQueue)
    registry = zope.component.globalSiteManager
    if opened_with_root not in (one.handler for one in registry.registeredHandlers()):
        registry.registerHandler(opened_with_root)


_started = []  # the agent installer that the latest `start` registered


def start(db, poll_interval=5, db_name=None, agent_chooser=None, agent_size=3,
          twisted=False):
    """Register everything, make queue ``''`` in *db* and start a dispatcher.

    The queues are made in the database *db_name* of *db*'s, *db* itself by
    default.  The dispatcher runs in a thread of its own or, with *twisted*, in
    the installed Twisted reactor, and gets an agent ``'main'``.  Afterwards
    ``IQueue`` adapts persistent objects and connections.

    It is done by notifying `DatabaseOpened`, so other handlers of that hear of
    *db* too.  Commits.  Returns the dispatcher.  Raise ValueError for an agent
    that cannot be and for a second dispatcher in the process.
    """
    agents = subscribers.AgentInstaller('main', agent_chooser, agent_size)
    make = (subscribers.TwistedDispatcherInstaller if twisted
            else subscribers.ThreadedDispatcherInstaller)
    client()
    _replace_agents(agents)
    _notify(db, subscribers.QueueInstaller(db_name=db_name), make(poll_interval))
    return dispatchers.get(instanceuuid.getUUID())


def _replace_agents(installer):
    """Register *installer* in the place of an earlier start's."""
    registry = zope.component.globalSiteManager
    while _started:
        registry.unregisterHandler(_started.pop())
    registry.registerHandler(installer)
    _started.append(installer)


def _notify(db, *installers):
    """Notify that *db* was opened, to *installers* as well this once."""
    registry = zope.component.globalSiteManager
    # their methods: what is registered itself logs errors, and these are to raise
    calls = [installer.__call__ for installer in installers]
    for call in calls:
        registry.registerHandler(call, (IDatabaseOpened,))
    try:
        zope.event.notify(DatabaseOpened(db))
    finally:
        for call in calls:
            registry.unregisterHandler(call, (IDatabaseOpened,))
