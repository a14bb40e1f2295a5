"""The ends of calls, in one worker's hands, that no commit has stored yet.

A job without effects, and callbacks without effects, need no commit of their own.  Their
ends are kept here in order, and are in each transaction of the worker, so that a callback
finds the result that it follows from.  The first commit that the worker has to make
stores them too; what is left is handed to the dispatcher, which stores many at once.
Until then the job counts as ACTIVE, and is run again if its process dies: nothing that
it did is stored.
"""
from .. import clock
from ..interfaces import ReassignedError
from ..job import Job
from ..job import SuccessFailureCallbackProxy
from ..model import callbacks
from ..model import ends
from ..model import execution
from ..model import retry
from ..model import status
from ..model.liveness import fence
from .. import failures
from . import storing
from .attempt import abort
from .attempt import begin
from .attempt import is_storages
from .attempt import passes
from .attempt import SHORT
from .effects import has_effects
from .effects import is_current
from .effects import LastOf
from .effects import Mark
from .pauses import AWAY
from .pauses import Pauses
from .pauses import SOON
from .surroundings import Lost
from .troubles import met

#: Seconds that an end waits at most for callbacks that are not begun.
WAIT = 0.02
#: Ends that wait at most, and callbacks of a job whose end may wait.
MOST = 16
#: Kinds of callbacks that are remembered.
KINDS = 1000


class Habits:
    """Which kinds of callbacks were short, and let their worker's transaction be.

    A result is kept waiting for those only: how long a callback takes is known when it
    has ended.  Kept by a process; any thread.
    """

    def __init__(self):
        self._good = {}

    def note(self, kind, good):
        """Remember whether the latest callback of this *kind* was a *good* one."""
        if len(self._good) >= KINDS and kind not in self._good:
            self._good.clear()
        self._good[kind] = good

    def expects(self, kind):
        """Return whether one of this *kind* can be expected to be a good one."""
        return self._good.get(kind, False)


class Unstored:
    """Ends that wait, of the job *oid* and its callbacks.  One thread."""

    def __init__(self, oid, manager, pause, habits):
        self._oid = oid
        self._manager = manager
        self._pause = pause
        self._habits = habits
        self._ends = []
        self._since = 0.0        # when the first of them came, by the steady clock
        self._place = None       # where the job is held: the holder's oid, and the key
        self._transaction = None  # the one that has all of them in it
        self._failed = False
        self._mark = None

    def __bool__(self):
        return bool(self._ends)

    # What may wait

    def watch(self, connection, job):
        """Note what the transaction has changed before the callback *job* is called."""
        self._mark = Mark(connection, job)

    def keep(self, job, held, before, entered, value):
        """Keep *value*, with which the call of *job* ended, if it may wait.

        *before* are the code of its status and its number of attempts, as stored; it
        was *entered* then, by the steady clock.  Return whether it is kept.  Commits
        nothing; as far as this transaction goes, the job has its result then.
        """
        if not self._may_keep(job, held, before, entered, value):
            return False
        if not self._ends:
            self._since = clock.monotonic()
            self._place = _place_of(held)
        code, attempt = before
        execution.settle(job, value)
        self._ends.append(ends.End(
            job._p_oid, code, attempt + (code == status.UNSET), ends.kept(value),
            job._active_start, job._active_end))
        self._transaction = self._manager.get()
        if failures.is_failure(value):
            execution.log_failure(job)
        if type(job).tearDown is not Job.tearDown:
            # what it takes away belongs to the transaction
            abort(self._manager)
        return True

    def _may_keep(self, job, held, before, entered, value):
        if type(job).getRetryPolicy is not Job.getRetryPolicy:
            return False
        if held is job:
            if (not _is_for_the_first_time(job) or clock.monotonic() - entered >= SHORT
                    or has_effects(self._manager.get(), job._p_jar)
                    or len(callbacks.children(job)) > MOST):
                return False
        elif before[0] != status.UNSET or self._mark.is_exceeded(
                self._manager.get(), job):
            return False
        return (retry.runs_again(job, '' if held is job else 'callback')
                and ends.can_be_kept(value))

    def choose(self, proxy, result):
        """Let *proxy* choose, if that may wait; return whether it did."""
        if not self._ends or type(proxy) is not SuccessFailureCallbackProxy or (
                proxy._code != status.UNSET):
            return False
        proxy.choose(result)
        self._ends.append(ends.Choice(proxy._p_oid))
        return True

    # Transactions

    def prepare(self, connection, job):
        """Let the transaction be good for calling the callback *job* in it.

        It has all ends in it, or they are stored, and it sees all that was committed.
        """
        if not self._ends:
            return
        if (clock.monotonic() - self._since >= WAIT or len(self._ends) >= MOST
                or not self._habits.expects(job.kind)):
            self.store(connection)
            self.begin(connection)
        elif not self._is_in() or not is_current(connection):
            self.begin(connection)

    def go_on(self, connection):
        """Go on after a callback: in a new transaction, unless this one is as good."""
        if not (self._ends and self._is_in()):
            self.begin(connection)

    def begin(self, connection):
        """Begin a transaction, with all ends in it, however often that takes.

        Raise `ReassignedError` where the job is in other hands.
        """
        pauses = Pauses(self._pause, first=0.1, limit=AWAY)
        while True:
            begin(self._manager, self._pause)
            try:
                self.replay(connection)
                return
            except BaseException as error:
                abort(self._manager)
                if not is_storages(error):
                    raise
                met(error)
            pauses.wait()

    def replay(self, connection):
        """Let the transaction have all ends in it; those that are stored stay as they are.

        Raise `ReassignedError` where the job is in other hands.
        """
        if not self._ends:
            return
        held = connection.get(self._oid)
        nodes = [connection.get(end.oid) for end in self._ends]
        if _place_of(held) != self._place or not ends.apply_all(self._ends, nodes):
            raise ReassignedError(f'{held!r} was reassigned')
        self._transaction = self._manager.get()

    def restore(self, connection):
        """Before the transaction is committed, let the ends in it be what they were.

        A callback may have changed a result in its hands.
        """
        for end in self._ends:
            node = connection.get(end.oid)
            if node._p_changed:
                end.restore(node)

    def store(self, connection):
        """Commit the ends that wait, however often that takes.

        Raise `ReassignedError`, and `Lost` where this connection cannot store them.
        """
        pauses = Pauses(self._pause, first=SOON, limit=AWAY)
        fresh = self._is_in()
        while self._ends:
            if not fresh:
                self.begin(connection)
            fresh = False
            try:
                self.replay(connection)
                self.commit(connection)
                return
            except ReassignedError:
                raise
            except Exception as error:
                abort(self._manager)
                met(error)
                if not passes(error):
                    lost = Lost('left something behind that hinders transactions')
                    lost.attempts = None if self._failed else self
                    raise lost from error
            pauses.wait()

    def commit(self, connection):
        """Commit the transaction, with all ends in it, fenced; they are stored then."""
        if not fence(connection.get(self._oid)):
            raise ReassignedError('its dispatcher was deactivated')
        self.restore(connection)
        storing.commit(self._manager)
        self.forget()

    def forget(self):
        """A commit has stored all of them."""
        self._ends.clear()
        self._transaction = None

    def fail(self, connection, lost):
        """Store the ends in another *connection*.  See `.attempt.Attempts.fail`."""
        self._failed = True
        self.store(connection)

    def leave(self, connection):
        """Return the ends that nobody has stored.  The connection can be closed then."""
        if self._ends:
            with LastOf(connection):
                abort(self._manager)
        return tuple(self._ends)

    def _is_in(self):
        return self._transaction is not None and (
            self._transaction is self._manager.get())


def _place_of(held):
    return held.parent and held.parent._p_oid, held._order


def _is_for_the_first_time(job):
    """Return whether *job* has never been interrupted.

    What may end its process, or takes too long for it, must not have the job itself run
    again and again.
    """
    return job._attempt == 1 and not job._deaths
