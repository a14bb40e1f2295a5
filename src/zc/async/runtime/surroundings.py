"""What a call must leave as it found it: its process, its transactions, its connection.

A call is anybody's code.  One that commits, aborts or begins a transaction does so at
its own risk, and is told of.  One that takes away what its worker needs to store what
became of it has failed, and must not harm the jobs after it.
"""
import os
import threading

import transaction

from .. import describe
from .. import log
from .effects import is_told
from .effects import is_under_way

#: The exit status of a process that a call has forked off and not ended.
FORKED = 70


class Lost(BaseException):
    """The connection, or the thread's transaction manager, is of no use any more.

    ``attempts`` are the `..attempt.Attempts` that found it out.
    """

    attempts = None


class Surroundings:
    """What is there before a call, in this thread, to be compared afterwards."""

    def __init__(self, connection):
        self._connection = connection
        self._opened = connection.opened  # an object of its own each time
        self._pid = os.getpid()
        self._manager = transaction.manager.manager
        self._explicit = self._manager.explicit
        self._transaction = self._manager.get()
        self.ended = False  # whether that was ended meanwhile, told by `restore`

    def restore(self):
        """Make things as they were; return what the call must not have done, or None.

        Raise `Lost` where the call has closed the connection: somebody else may have
        it by now.  A process that the call has forked off is ended: it must not go on
        with the work of this one.
        """
        if os.getpid() != self._pid:
            os._exit(FORKED)
        problem = self._take_back()
        # not asked of a listener: to have one for each call costs more than this
        self.ended = not is_under_way(self._transaction, self._manager)
        if self._connection.opened is not self._opened:
            raise Lost('closed the connection of its worker')
        if not is_told(self._connection, self._manager):
            raise Lost('cleared the synchronizers of its transaction manager')
        return problem

    def _take_back(self):
        self._manager.explicit = self._explicit
        found = transaction.manager.manager
        if found is self._manager:
            return None
        try:
            found.abort()
        except BaseException as error:
            log.trace.warning('abort failed: %s', describe.error(error))
        transaction.manager.manager = self._manager
        return 'replaced the transaction manager of its thread'


class _Doubts(threading.local):
    """Whether something may hinder the transactions of this thread."""

    any = False


_doubts = _Doubts()


def doubt():
    """Note that a commit or an abort went wrong, for whatever reason.

    A call may have left a listener that raises; the next job must not suffer from it.
    """
    _doubts.any = True


def settle_doubts():
    """Give this thread a new transaction manager, if there is doubt about its own.

    Nobody may have a connection that uses it.
    """
    if _doubts.any:
        _doubts.any = False
        transaction.manager.manager = transaction.TransactionManager()
