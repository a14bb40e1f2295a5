"""A world for one test: a database with a queue, and all that works for it.

`World` is what the pytest fixture ``zc_async`` gives; any test can use it.
"""
import contextlib
import os
import tempfile
import uuid
from unittest import mock

import transaction
import ZODB
import zope.component
from ZODB.FileStorage import FileStorage
from zope.processlifetime import DatabaseOpened

from . import configure
from . import dispatcher as dispatchers
from . import instanceuuid
from . import processes
from . import subscribers
from . import testing
from .interfaces import KEY
from .job import as_job
from .processes import Process
from .processes import this_process

__all__ = ['Process', 'World', 'this_process']


class World:
    """A context manager: begins with an empty database, ends with nothing left.

    *folder* is where the files are; by default one that is removed afterwards.
    ``db``, ``connection``, ``root`` and ``queue`` are there inside; the connection
    belongs to ``transaction.manager``.  The package is configured as by
    `configure.client`, and what is registered inside is forgotten outside.
    """

    def __init__(self, folder=None):
        self.folder = folder
        self._ends = contextlib.ExitStack()
        self._processes = None

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *exc_info):
        self._ends.close()

    def _begin(self):
        if self.folder is None:
            self.folder = self._ends.enter_context(tempfile.TemporaryDirectory())
        transaction.abort()
        self._ends.enter_context(mock.patch.dict(os.environ, {
            instanceuuid.ENVIRONMENT_KEY: os.path.join(self.folder, 'uuid.txt')}))
        self._ends.enter_context(_registrations_restored())
        configure.client()
        self.db = ZODB.DB(FileStorage(
            os.path.join(self.folder, 'Data.fs'),
            blob_dir=os.path.join(self.folder, 'blobs')))
        self._ends.callback(self.db.close)
        subscribers.QueueInstaller()(DatabaseOpened(self.db))
        self.connection = self.db.open()
        self._ends.callback(self.connection.close)
        self._ends.callback(transaction.abort)
        self.root = self.connection.root()
        self.queue = self.root[KEY]['']

    def put(self, item, **options):
        """Put *item*, a job or a callable, into the queue, commit, return the job."""
        job = self.queue.put(as_job(item), **options)
        transaction.commit()
        return job

    # Who works

    def drain(self, limit=None):
        """See `testing.drain`."""
        return testing.drain(self.queue, limit)

    def inline(self):
        """See `testing.inline`."""
        return testing.inline(self.queue)

    def start(self, poll_interval=0.05, size=3):
        """Start a dispatcher in a thread, with an agent of *size*; return it."""
        self._install_agents(size)
        found = subscribers.ThreadedDispatcherInstaller(poll_interval)(
            DatabaseOpened(self.db))
        self._ends.callback(testing.tear_down_dispatcher, found)
        self._ends.callback(subscribers.restore_signal_handlers, found)
        return found

    def start_virtual(self, poll_interval=5, size=3):
        """Start a dispatcher in virtual time; return its `testing.Reactor`.

        Time passes in ``reactor.time_flies`` and ``reactor.wait_for``.
        """
        self._install_agents(size)
        reactor = testing.Reactor()
        found = dispatchers.Dispatcher(self.db, reactor, poll_interval)
        self._ends.callback(dispatchers.pop, found.UUID)
        self._ends.callback(reactor.stop)
        reactor.start()
        found.activate()
        return reactor

    def start_process(self, number=1, poll_interval=5, size=3):
        """Start a process that can be killed; return the `processes.Process`.

        It works in virtual time, which passes in `time_flies`, beside others of
        other *number*: a process that starts with the number of a dead one is the
        same instance again.  ValueError where one with that number works.  *size* is
        that of the agents, as the first call says it.
        """
        if self._processes is None:
            self._install_agents(size)
            self._processes = processes.Processes(self.db)
            self._ends.callback(self._processes.end)
        return self._processes.start(uuid.UUID(int=number), poll_interval)

    def time_flies(self, seconds):
        """Let *seconds* pass for all that `start_process` has started.

        Returns when no job runs, but those that hang.
        """
        if self._processes is None:
            raise ValueError('nothing works here; call start_process() before')
        self._processes.time_flies(seconds)

    def database_away(self):
        """Let the database be out of reach; see `processes.storage_away`."""
        return processes.storage_away(self.db.storage)

    def _install_agents(self, size):
        zope.component.provideHandler(subscribers.AgentInstaller('main', size=size))

    # When, and what came of it

    def virtual_time(self, moment=None):
        """Let time stand still up to the end; see `testing.virtual_time`."""
        return self._ends.enter_context(testing.virtual_time(moment))

    def wait_for_result(self, job, seconds=6):
        """See `testing.wait_for_result`."""
        return testing.wait_for_result(job, seconds)

    def put_jobs(self, call=None, **description):
        """See `testing.put_jobs`."""
        return testing.put_jobs(self.queue, call, **description)

    def assert_put(self, call=None, count=None, **description):
        """See `testing.assert_put`."""
        return testing.assert_put(self.queue, call, count, **description)

    def assert_not_put(self, call=None, **description):
        """See `testing.assert_not_put`."""
        testing.assert_not_put(self.queue, call, **description)


# The registry

@contextlib.contextmanager
def _registrations_restored():
    """Let the global component registry be afterwards what it was before."""
    registry = zope.component.globalSiteManager
    before = _registrations(registry)
    try:
        yield
    finally:
        now = _registrations(registry)
        for key in now.keys() - before.keys():
            now[key][1]()
        for key in before.keys():
            if key not in now or now[key][2] is not before[key][2]:
                before[key][0]()


def _registrations(registry):
    """Return {what: (how to register it, how to unregister it, it)}."""
    found = {}

    def add(kind, key, thing, words):
        found[(kind, *key)] = (
            lambda: getattr(registry, f'register{kind}')(*words),
            lambda: getattr(registry, f'unregister{kind}')(*words), thing)

    for one in registry.registeredAdapters():
        add('Adapter', (one.required, one.provided, one.name), one.factory,
            (one.factory, one.required, one.provided, one.name))
    for one in registry.registeredUtilities():
        add('Utility', (one.provided, one.name), one.component,
            (one.component, one.provided, one.name))
    for one in registry.registeredHandlers():
        add('Handler', (one.required, id(one.handler)), one.handler,
            (one.handler, one.required))
    for one in registry.registeredSubscriptionAdapters():
        add('SubscriptionAdapter', (one.required, one.provided, id(one.factory)),
            one.factory, (one.factory, one.required, one.provided))
    return found
