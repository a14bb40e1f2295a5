"""What has to be registered before zc.async works, for use without ZCML."""
import types

import zc.twist
import zope.component
from persistent.interfaces import IPersistent
from transaction.interfaces import ITransactionManager
from ZODB.interfaces import IConnection
from zope.processlifetime import DatabaseOpened

from . import instanceuuid
from . import subscribers
from .interfaces import IJob
from .interfaces import IUUID
from .job import Job
from .queue import getDefaultQueue

#: The types whose instances adapt to a job.
CALLABLE_TYPES = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType,
    types.MethodWrapperType)


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


def start(db, poll_interval=5, db_name=None, agent_chooser=None, agent_size=3,
          twisted=False):
    """Register everything, make queue ``''`` in *db* and start a dispatcher.

    The queues are made in the database *db_name* of *db*'s, *db* itself by
    default.  The dispatcher runs in a thread of its own or, with *twisted*, in
    the installed Twisted reactor, and gets an agent ``'main'``.  Afterwards
    ``IQueue`` adapts persistent objects and connections.  Commits.
    """
    base()
    zope.component.provideAdapter(getDefaultQueue)
    zope.component.provideAdapter(getDefaultQueue, (IConnection,))
    installer = subscribers.QueueInstaller(db_name=db_name)
    agents = subscribers.AgentInstaller('main', agent_chooser, agent_size)
    zope.component.provideHandler(agents)
    make = (subscribers.TwistedDispatcherInstaller if twisted
            else subscribers.ThreadedDispatcherInstaller)
    event = DatabaseOpened(db)
    installer(event)
    make(poll_interval=poll_interval)(event)
