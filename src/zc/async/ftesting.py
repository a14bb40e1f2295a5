"""A real dispatcher for the functional tests of an application.

`setUp` starts one, in a thread, that polls ten times a second; `tearDown` ends
it.  The package has to be configured before, with `configure.base` or ZCML.
Tests wait for their jobs with ``zc.async.testing.wait_for_result``.
"""
import contextlib
import logging
import sys

import zope.component
from zope.processlifetime import DatabaseOpened

from . import dispatcher as dispatchers
from . import subscribers
from . import testing

#: Stands for the standard output at the time of the call.
STDOUT = object()

#: Seconds between the polls of the dispatcher.
POLL_INTERVAL = 0.1

#: Real seconds that the first polls may take.
_PATIENCE = 30

_dispatcher = None  # the one that setUp started
_undo = contextlib.ExitStack()


def setUp(connection=None, queue_installer=None, dispatcher_installer=None,
          agent_installer=None, log_file=STDOUT, log_level=logging.CRITICAL):
    """Make queues and agents, start a dispatcher and wait for two polls.

    *connection* tells the database; without one, a function ``getRootFolder``
    among the globals of the caller returns an object of it.  The installers are
    by default those of `subscribers`.  What is logged to ``zc.async`` and below
    at *log_level* and above is printed to *log_file*; None: nowhere.

    Commits, and returns the dispatcher.  Raise TypeError where there is no
    connection, and RuntimeError where `tearDown` was not called since the last
    time.
    """
    if _dispatcher is not None:
        raise RuntimeError('this was set up already; '
                           'call zc.async.ftesting.tearDown() first')
    if connection is None:
        connection = _connection_of(sys._getframe(1).f_globals)
    try:
        _show_logs(log_file, log_level)
        _register(agent_installer or subscribers.agent_installer)
        _start(DatabaseOpened(connection.db()),
               queue_installer or subscribers.queue_installer,
               dispatcher_installer or
               subscribers.ThreadedDispatcherInstaller(POLL_INTERVAL))
    except BaseException:
        _undo.close()
        raise
    testing.get_poll(_dispatcher, 2, _PATIENCE)  # the third begins: two are over
    testing.look_again(connection.transaction_manager)
    return _dispatcher


def _connection_of(caller):
    """Return the connection of the root folder of the test that calls."""
    get_root = caller.get('getRootFolder')
    connection = None if get_root is None else get_root()._p_jar
    if connection is None:
        raise TypeError(
            'setUp needs a connection: give it one, or let your test have a '
            'global function getRootFolder that returns a stored object')
    return connection


def _show_logs(log_file, log_level):
    logger = logging.getLogger('zc.async')
    if log_file is None:
        handler = logging.NullHandler()
        logger.addHandler(handler)
    else:
        handler = testing.print_logs(
            sys.stdout if log_file is STDOUT else log_file, log_level)
        _undo.callback(logger.setLevel, logger.level)
        logger.setLevel(min(log_level, logger.getEffectiveLevel()))
    _undo.callback(logger.removeHandler, handler)


def _register(agent_installer):
    registry = zope.component.globalSiteManager
    before = {handler.handler for handler in registry.registeredHandlers()}
    if agent_installer not in before:
        registry.registerHandler(agent_installer)
        _undo.callback(registry.unregisterHandler, agent_installer)


def _start(event, queue_installer, dispatcher_installer):
    global _dispatcher
    queue_installer(event)
    _dispatcher = dispatcher_installer(event) or dispatchers.get()


def tearDown(seconds=3):
    """End the dispatcher, its threads and all that `setUp` did but the queues.

    Raise `testing.TearDownDispatcherError`, naming the dispatcher's UUID or an
    agent and its job, where one does not end in *seconds*; call it again when
    it can.  Without a `setUp`, end the process's dispatcher, if it has one.
    """
    global _dispatcher
    found = _dispatcher or dispatchers.get()
    if found is not None:
        subscribers.restore_signal_handlers(found)
        testing.tear_down_dispatcher(found, seconds)
    _dispatcher = None
    _undo.close()
