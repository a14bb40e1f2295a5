"""Do the jobs of a database, in the foreground, until a signal says to stop.

The database is named by a URI or by a ZConfig file.  SIGTERM or SIGINT stop the
work: nothing more is claimed, jobs that run may end within the grace, the others
are handed back, and the exit status is 0.  A second signal ends the process at
once.  SIGUSR1 writes where each thread is to the standard error output.

Where the storage has closed itself, as a FileStorage does after an error of its disk,
the process ends at once, with status 75: it has to be started anew.

What the command says of agents holds from its start on.  A size that is changed
in the database lasts until the next start.
"""
import contextlib
import datetime
import faulthandler
import logging
import os
import signal
import sys

import zope.component
from persistent.interfaces import IPersistent
from ZODB.interfaces import IConnection
from ZODB.POSException import StorageError
from zope.processlifetime import DatabaseOpened

from .. import clock
from .. import configure
from .. import log
from .. import opened
from .. import outage
from .. import subscribers
from ..agent import Agent
from ..dispatcher import Dispatcher
from ..interfaces import IDispatcherActivated
from ..queue import getDefaultQueue
from . import check
from . import databases
from . import deadline
from . import identity
from . import logs
from . import notify
from . import options
from .options import Refused
from .supervisor import STOPPING
from .supervisor import Supervisor
from .supervisor import TICK

#: Seconds between two looks at a dispatcher that has not begun yet.
_SOON = 0.1
#: Seconds within which it has to begin.
_LATE = 60
#: Seconds after the grace in which a process has to be gone.
_MORE = 4
#: Seconds between two looks at the storage at most.
_LOOK = 2
#: The exit status after the storage has closed itself: that of ``sysexits.h`` for
#: what is worth another try.
LOST = 75

add_arguments = options.add_arguments


def run(said):
    """Do what the parsed options say and return the exit status.

    0: it was stopped; 1: it cannot be done now; 2: it makes no sense; `LOST`: the
    storage has closed itself.
    """
    try:
        settings = options.settle(said, os.environ)
        source = databases.Source(settings)
        _check_processes(settings, source)
        if settings.check:
            return check.run(settings, source, sys.stdout)
        logs.set_up(settings)
        tell = notify.notifier(os.environ)
        watchdog = notify.watchdog_interval(os.environ)
        if settings.processes:
            return _supervised(settings, source, tell, watchdog)
        return Worker(settings, source, tell, watchdog).run()
    except Refused as refused:
        sys.stderr.write(f'zc-async worker: {refused}\n')
        return refused.status


def _check_processes(settings, source):
    if settings.processes > 1 and source.files:
        raise Refused(f'only one process can use the database {source.files[0]}; leave '
                      f'--processes out, or serve the database with ZEO')


def _supervised(settings, source, tell, watchdog):
    """Supervise the processes that *settings* ask for."""
    def work(number, tell):
        try:
            return Worker(settings.as_process(number), source, tell).run()
        except Refused as refused:
            log.events.critical('process %d: %s', number, refused)
            return refused.status

    return Supervisor(
        settings.processes, work, settings.restart_delay, tell, watchdog).run()


class Worker:
    """One process, with one dispatcher.  *tell* and *watchdog* are from `notify`."""

    def __init__(self, settings, source, tell, watchdog=None):
        self._settings = settings
        self._source = source
        self._tell = tell
        self._tick = min(_LOOK, TICK, watchdog or TICK)
        self._ready = False

    def run(self):
        """Work until a signal says to stop; return the exit status.

        Raise `Refused` if the work cannot be begun.
        """
        last = deadline.Deadline(self._settings.grace + _MORE)
        last.start()
        try:
            status = self._run(last)
        except BaseException:
            last.call_off()
            raise
        if last.left_behind:
            last.tell()
        else:
            last.call_off()
        return status

    def _run(self, last):
        """Work until a signal, which *last* is told of, says to stop."""
        with (_Signals(last) as signals,
              identity.taken(self._settings.uuid_file) as UUID):
            db = self._source.open()
            _register(self._settings)
            self._install(db)
            dispatcher = self._start(db, UUID)
            signals.dispatcher = dispatcher
            log.events.info('dispatcher %s works on %s', UUID, self._source.name)
            self._attend(dispatcher)
            if dispatcher.lost is not None:
                self._end(dispatcher)
            status = last.status = 0 if signals.count else 1
            log.events.info('dispatcher %s stopped', UUID)
            _close(db, dispatcher, status)
            return status

    def _install(self, db):
        """Make the queues, if that was said.  Raise `Refused` where nothing can be."""
        try:
            if db.storage.isReadOnly():
                raise opened.read_only(db)
            if self._settings.install:
                subscribers.QueueInstaller(self._settings.queues or ('',))(
                    DatabaseOpened(db))
        except Exception as error:
            databases.close(db)
            if not (outage.is_standstill(error) or isinstance(error, StorageError)):
                raise
            raise Refused(f'cannot use {self._source.name}: {error}', 1) from None

    def _start(self, db, UUID):
        reactor = subscribers.threaded_dispatcher_installer.reactor_factory()
        dispatcher = Dispatcher(db, reactor, self._settings.poll_interval, UUID)
        dispatcher.shutdown_grace = self._settings.grace
        dispatcher.warn_after = self._settings.warn_after
        dispatcher.activate(threaded=True)
        return dispatcher

    def _attend(self, dispatcher):
        """Tell how the dispatcher is, until it has stopped."""
        late = clock.monotonic() + _LATE
        while not dispatcher.pause(self._tick if self._ready else _SOON):
            if not dispatcher.thread.is_alive() or (
                    not self._ready and clock.monotonic() > late):
                log.events.critical('dispatcher %s does not run', dispatcher.UUID)
                return
            if not dispatcher.troubles.check():
                self._report(dispatcher)
        if dispatcher.lost is not None:
            return
        self._tell(notify.STOPPING)
        while dispatcher.thread.is_alive():
            dispatcher.thread.join(self._tick)
            self._tell(notify.WATCHDOG)

    def _end(self, dispatcher):
        """End the process, which can do nothing any more, not even close the database."""
        if self._settings.log_file:  # else it was said there
            sys.stderr.write(f'zc-async worker: {dispatcher.lost} is closed\n')
            sys.stderr.flush()
        logging.shutdown()
        os._exit(LOST)

    def _report(self, dispatcher):
        """Tell that all is well, unless it is not."""
        found = dispatcher.getStatusInfo()['status']
        if found == 'STUCK':
            return
        states = [notify.WATCHDOG]
        if found == 'RUNNING' and not self._ready:
            self._ready = True
            states.append(notify.READY)
        if self._ready:
            overdue = len(dispatcher.getOverdueJobIds())
            states.append(notify.status(
                f'{len(dispatcher.getActiveJobIds())} jobs are worked on'
                + (f', {overdue} for very long' if overdue else '')))
        self._tell(*states)


class _Signals:
    """What signals do within the block: the first stops, the second ends all."""

    def __init__(self, last):
        self._last = last  # the `Deadline`
        self.count = 0
        self.dispatcher = None
        self._before = {}

    def __enter__(self):
        for number in STOPPING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:  # as nohup wants it
                self._before[number] = signal.signal(number, self._stop)
        if hasattr(signal, 'SIGUSR1'):
            with contextlib.suppress(ValueError, OSError, AttributeError):
                faulthandler.register(signal.SIGUSR1, all_threads=True)  # no such output
        return self

    def __exit__(self, *_error):
        for number, before in self._before.items():
            signal.signal(number, before)

    def _stop(self, number, frame):
        # between any two steps of the main thread: nothing may be logged here
        self.count += 1
        if self.count > 1:
            os._exit(128 + number)
        self._last.tell()
        if self.dispatcher is None:
            raise SystemExit(0)
        self.dispatcher.reactor.callFromThread(self.dispatcher.reactor.stop)


def _close(db, dispatcher, status):
    """Close the database, unless jobs that would not end are still using it.

    Those were handed back already; nothing that they do any more can be stored.
    """
    if dispatcher.idle:
        databases.close(db)
        return
    log.events.warning('jobs that would not end within the grace were handed back')
    logging.shutdown()
    os._exit(status)


# What is registered

def _register(settings):
    configure.base()
    for adapted in (IPersistent, IConnection):
        zope.component.provideAdapter(getDefaultQueue, (adapted,))
    zope.component.provideHandler(WantedAgents(settings))


class WantedAgents:
    """Gives an activated dispatcher the agents that *settings* want, and no others.

    One that is not wanted keeps what it completed, and has size 0.
    """

    def __init__(self, settings):
        zope.component.adapter(IDispatcherActivated)(self)
        self._settings = settings

    def __call__(self, event):
        agents = event.object
        wanted = self._wanted_in(agents.parent.name)
        for name in agents.keys() - wanted.keys():
            agents[name].size = 0
        for spec in wanted.values():
            _install(agents, spec)
        self._set_intervals(agents)

    def _wanted_in(self, queue_name):
        queues = self._settings.queues
        if queues is not None and queue_name not in queues:
            return {}
        return {spec.name: spec for spec in self._settings.agents}

    def _set_intervals(self, agents):
        for name in ('ping_interval', 'death_interval'):
            seconds = getattr(self._settings, name)
            if seconds is not None:
                setattr(agents, name.replace('death', 'ping_death'),
                        datetime.timedelta(seconds=seconds))


def _install(agents, spec):
    """Let *agents* have one as *spec* says."""
    if spec.name not in agents:
        agents[spec.name] = Agent(filter=spec.filter, size=spec.size)
        opened.say_when_committed(
            agents.parent, 'agent %s added to queue %r', spec, agents.parent.name)
        return
    agent = agents[spec.name]
    agent.size = spec.size
    if agent.chooser is not None:
        agent.chooser = None
    agent.filter = spec.filter
