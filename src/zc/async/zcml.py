"""The directives of the namespace ``http://namespaces.zope.org/async``.

They say what a site wants of zc.async without code::

    <configure xmlns:async="http://namespaces.zope.org/async">
      <include package="zc.async" file="meta.zcml" />
      <include package="zc.async" />
      <async:queue name="mail" />
      <async:quota name="smtp" queue="mail" size="2" />
      <async:agent name="sender" queue="mail" size="2" />
      <async:dispatcher poll_interval="2" />
    </configure>

One that says nothing, like ``<async:agent />``, stands for the ready-made
installer of `subscribers`, which heeds ``<product-config zc.async>`` too.  What a
site cannot have both of is a configuration conflict; the site's own file has
precedence over the files that it includes.

Of everything else that ZCML registers, another package may register its own:
zc.async then leaves it at that, whichever comes first.
"""
import pickle

import zope.component
import zope.interface
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import Bool
from zope.configuration.fields import GlobalInterface
from zope.configuration.fields import GlobalObject
from zope.configuration.fields import Path
from zope.interface import Interface
from zope.schema import Float
from zope.schema import Int
from zope.schema import TextLine

from . import instanceuuid
from . import productconfig
from . import subscribers
from .interfaces import IUUID
from .opened import Forgiving
from .opened import log_once
from .opened import opened_with_root

# The order of what is done.  Handlers are called in the order in which they are
# registered; and what others register has to be known before a default is.
_QUEUES, _QUOTAS, _AGENTS, _OTHER_AGENTS, _DISPATCHERS, _DEFAULTS = range(100, 106)


def _registry():
    return zope.component.globalSiteManager


def _handlers():
    return [one.handler for one in _registry().registeredHandlers()]


def _register(handler):
    """Register *handler* unless it is."""
    if handler not in _handlers():
        _registry().registerHandler(handler)


# What there is to say

class IQueueDirective(Interface):
    """Have a queue, and have it made when the database is opened."""

    name = TextLine(
        title='The name of the queue', default='', required=False)
    database = TextLine(
        title='The database that keeps it',
        description='The name of one that the site configures.  By default it is '
                    'the main database; where the database has queues, they stay.',
        min_length=1, required=False)


def queue(context, name='', database=None):
    """Handle ``<async:queue>``."""
    installer = {('', None): subscribers.queue_installer,
                 ('', 'async'): subscribers.multidb_queue_installer}.get((name, database))
    if installer is None:
        installer = subscribers.QueueInstaller((name,), db_name=database)
    context.action(
        f'the database of zc.async queue {name!r}', _add_queue,
        (Forgiving(installer),), order=_QUEUES)


def _add_queue(handler):
    mine = handler.installer
    for other in _handlers():
        other = getattr(other, 'installer', other)
        if (isinstance(other, subscribers.QueueInstaller)
                and other.db_name != mine.db_name
                and set(other.queues) & set(mine.queues)):
            raise ConfigurationError(
                f'zc.async queue {mine.queues[0]!r} is to be kept in database '
                f'{mine.db_name or "main"!r}, and in {other.db_name or "main"!r}; '
                f'include one policy only')
    _register(handler)


class IQuotaDirective(Interface):
    """Let no more than so many jobs of a kind run at any time."""

    name = TextLine(
        title='The name of the quota', description='Jobs name it in ``quota_names``.')
    queue = TextLine(
        title='The name of the queue', default='', required=False)
    size = Int(
        title='How many jobs', min=0, default=1, required=False)


def quota(context, name, queue='', size=1):
    """Handle ``<async:quota>``."""
    context.action(
        f'the size of quota {name!r} of zc.async queue {queue!r}', _register,
        (Forgiving(subscribers.QuotaInstaller(name, size, queue)),), order=_QUOTAS)


class IAgentDirective(Interface):
    """Let the dispatchers of this process have an agent.

    An agent that a dispatcher has already becomes what is said here.
    """

    name = TextLine(
        title='The name of the agent', default='main', required=False)
    queue = TextLine(
        title='The name of its queue',
        description='By default, each queue has such an agent.', required=False)
    size = Int(
        title='How many jobs it may hold', description='3 by default.',
        min=0, required=False)
    filter = GlobalObject(
        title='What tells of a job whether to take it',
        description='The dotted name of a function of a job.', required=False)
    chooser = GlobalObject(
        title='What chooses a job',
        description='The dotted name of a function of an agent that returns a '
                    'claimed job or None.  An agent has a filter or a chooser.',
        required=False)


def agent(context, name='main', queue=None, size=None, filter=None, chooser=None):
    """Handle ``<async:agent>``."""
    installer = subscribers.agent_installer
    if (name, queue, size, filter, chooser) != ('main', None, None, None, None):
        _check_stored(filter)
        _check_stored(chooser)
        installer = subscribers.AgentInstaller(
            name, chooser, 3 if size is None else size,
            None if queue is None else (queue,), filter, declared=True)
    context.action(
        f'agent {name!r} of ' + ('other zc.async queues' if queue is None
                                 else f'zc.async queue {queue!r}'),
        _add_agent, (installer,), order=_OTHER_AGENTS if queue is None else _AGENTS)


def _check_stored(choice):
    """Refuse what an agent in the database could not refer to."""
    try:
        pickle.dumps(choice)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f'{choice!r} cannot be stored ({error}); name a function that can be '
            f'imported') from None


def _add_agent(installer):
    if installer.declared and installer.queue_names is None:
        installer.except_queues = _queues_with_their_own(installer.agent_name)
    _register(installer)


def _queues_with_their_own(name):
    """Return the queues of which it is said which agent *name* they have."""
    return frozenset(
        queue for other in _handlers()
        if isinstance(other, subscribers.AgentInstaller) and other.agent_name == name
        for queue in other.queue_names or ())


class IDispatcherDirective(Interface):
    """Let this process do jobs, from when the database is opened."""

    poll_interval = Float(
        title='Seconds between polls', description='5 by default.',
        min=0.001, required=False)
    threads = Bool(
        title='Whether it has a thread of its own',
        description='So it is by default.', required=False)
    reactor = Bool(
        title="Whether it works in Twisted's reactor, which the site runs",
        required=False)
    uuid_file = Path(
        title='The file with its identity',
        description="By default it has the instance's.  A second dispatcher in "
                    "the process needs one.",
        required=False)


def dispatcher(context, poll_interval=None, threads=None, reactor=None, uuid_file=None):
    """Handle ``<async:dispatcher>``."""
    if threads is not None and threads == bool(reactor):
        raise ConfigurationError(
            'a dispatcher has threads="yes" or reactor="yes", and not both')
    in_reactor = bool(reactor) or threads is False
    context.action(
        f'the zc.async dispatcher of {uuid_file or "this instance"}', _add_dispatcher,
        (_dispatcher_installer(in_reactor, poll_interval, uuid_file), uuid_file),
        order=_DISPATCHERS)


def _dispatcher_installer(in_reactor, poll_interval, uuid_file):
    if poll_interval is None and uuid_file is None:
        return (subscribers.twisted_dispatcher_installer if in_reactor
                else subscribers.threaded_dispatcher_installer)
    make = (subscribers.TwistedDispatcherInstaller if in_reactor
            else subscribers.ThreadedDispatcherInstaller)
    return make(5 if poll_interval is None else poll_interval)


def _add_dispatcher(installer, uuid_file):
    if uuid_file is not None:
        installer.uuid = _identity(uuid_file)
    if uuid_file is None or installer.uuid is not None:
        _register(Forgiving(installer))


# What is there unless somebody else has it

class IDefaultDirective(Interface):
    """Register an adapter unless another package does."""

    factory = GlobalObject(title='What makes it')
    for_ = GlobalObject(title='The interface or class that is adapted')
    provides = GlobalInterface(title='The interface to which')


def default(context, factory, for_, provides):
    """Handle ``<async:default>``."""
    context.action(
        ('zc.async', for_, provides), _register_default,
        (factory, for_, provides), order=_DEFAULTS)


def _register_default(factory, for_, provides):
    registry = _registry()
    known = {(one.required, one.provided) for one in registry.registeredAdapters()
             if not one.name}
    required = zope.interface.implementedBy(for_) if isinstance(for_, type) else for_
    if ((required,), provides) not in known:
        registry.registerAdapter(factory, (for_,), provides)


class IIdentityDirective(Interface):
    """Register the UUID utility, and what passes events on to the installers."""


def identity(context):
    """Handle ``<async:identity>``."""
    context.action(('zc.async', IUUID), _register_identity, order=_DEFAULTS)


def _register_identity():
    options = productconfig.options()
    instanceuuid.default_file = options.get('uuid-file', instanceuuid.default_file)
    if not any(one.provided is IUUID and not one.name
               for one in _registry().registeredUtilities()):
        found = _identity()
        if found is not None:
            _registry().registerUtility(found, IUUID)
    _register(opened_with_root)


def _identity(file=None):
    """Return the UUID of *file*; None, with a line in the log, where there is none."""
    try:
        return instanceuuid.getUUID(file)
    except (OSError, ValueError) as error:
        log_once(f'{error}')
        return None
