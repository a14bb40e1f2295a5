"""What stands in for the world while a simulation runs: time, chance, threads, logs."""
import contextlib
import datetime
import gc
import logging
import types
from unittest import mock

from ZODB.POSException import POSKeyError

from . import workload
from .baton import Threading
from .players import told
from .storage import Died
from ... import chance
from ... import clock
from ... import dispatcher as dispatchers
from ... import outage
from ... import timekeys
from ...model import lines
from ...runtime import threads
from ...runtime import turns

#: Loggers whose messages are kept from whoever else listens.
LOGGERS = ('zc.async', 'ZODB', 'txn', 'transaction', 'twisted')
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@contextlib.contextmanager
def _without_gc():
    """Let no garbage be collected: it decides whether a ghost must be loaded again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Clock:
    """The clock of whichever process runs."""

    def __init__(self, baton):
        self._baton = baton

    def now(self):
        """See `IClock`."""
        process = self._baton.current.process
        offset = 0 if process is None else process.offset
        return _EPOCH + datetime.timedelta(seconds=self._baton.now + offset)

    def monotonic(self):
        """See `IClock`."""
        return self._baton.now


class _Listener(logging.Handler):
    """Makes problems of logged errors that nothing in a simulation explains."""

    def __init__(self, model, profile):
        super().__init__(logging.ERROR)
        self._model = model
        # a pack takes away what others still look at, and what conflicts are
        # resolved with
        self._expected = (Died, POSKeyError) if 'pack' in profile.troubles else Died

    def emit(self, record):
        """Look at one message."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or isinstance(error, self._expected):
            return
        if not (outage.is_outage(error) or outage.is_conflict(error)):
            self._model.problem(f'{record.getMessage()}\n{told(error)}')


@contextlib.contextmanager
def installed(simulation):
    """Let the product run by the clock, the baton and the chance of *simulation*."""
    baton = simulation.baton
    threading = Threading(baton)
    monotonic = types.SimpleNamespace(monotonic=lambda: baton.now)
    with contextlib.ExitStack() as stack:
        for module, name, instead in (
                (turns, 'threading', threading), (dispatchers, 'threading', threading),
                (threads, 'time', monotonic), (threads, 'threading', threading),
                (timekeys, '_last', 0), (lines, '_habit', chance.Habit()),
                (workload, 'stage', simulation)):
            stack.enter_context(mock.patch.object(module, name, instead))
        stack.callback(clock.install, clock.install(_Clock(baton)))
        stack.callback(chance.install, chance.install(baton.source))
        stack.enter_context(_listening(simulation))
        stack.enter_context(_without_gc())
        yield


@contextlib.contextmanager
def _listening(simulation):
    """Keep the messages of the product from others, and look at them."""
    listener = _Listener(simulation.model, simulation.profile)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before):
            logger.propagate = propagate
            logger.removeHandler(listener)
