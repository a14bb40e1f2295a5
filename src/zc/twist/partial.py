"""A call that the reactor makes in a transaction of its own.

A persistent object belongs to the connection that loaded it, and a connection
to one transaction at a time.  A callback of the reactor has neither.  A
`Partial` remembers which objects the call is about, and when it is called
loads them in a connection of its own, makes the call and commits.
"""
import logging
import random

from transaction.interfaces import TransactionError, TransientError
from twisted.internet import defer
from twisted.python import failure as twisted_failure
from ZODB.POSException import POSError

from zc.twist import connect
from zc.twist.failure import Failure, sanitize
from zc.twist.reference import Reference, refer, resolve
from zc.twist.text import is_a

try:
    from ZEO.Exceptions import ClientDisconnected
except ImportError:     # without ZEO, nothing is disconnected in its way
    DISCONNECTS = ()
else:
    DISCONNECTS = (ClientDisconnected,)

log = logging.getLogger('zc.twist')

#: Raised again after the Deferred was told: not for a callback to decide on.
EXPLOSIVE_ERRORS = (SystemExit, KeyboardInterrupt, POSError)

# What becomes of a call whose attempt failed.
WAIT, AGAIN, EXPLODE, GIVE_UP = 'wait', 'again', 'explode', 'give up'


class Partial:
    """Carries a call, and the persistent objects in it, into a transaction.

    ``Partial(call, *args, **kw)`` remembers a call; calling it appends
    positional and updates named arguments, so it serves as a callback.  The
    call itself and each direct argument may be a persistent object that a
    database knows, or a method of one; containers are not searched.

    Without any such object, the call is just made.  Otherwise the result is a
    Deferred.  A connection is opened in the database of the first persistent
    object (call, arguments, named arguments in order), with a transaction
    manager of its own, sibling databases included; the objects are loaded in
    it; the call is made and committed; the connection goes back to the pool;
    then the Deferred fires with what was returned.  That must be no
    persistent object.  A Failure goes to the errbacks, a Deferred is chained.

    All of it happens in the reactor's thread, so the call must not block.

    Where an attempt fails, in the call or in the commit:

    * the server is away (one of `disconnects`): tried again for ever, after
      `initial_backoff` seconds, then `backoff_increment` more each time, up to
      `max_backoff`;
    * a conflict or another transaction error: tried again at once, until
      `max_transaction_errors` attempts have failed so (None: for ever);
    * SystemExit, KeyboardInterrupt, POSError: to the errbacks, and raised;
    * any other exception: to the errbacks.

    A commit may be interrupted when it is already durable, and the call is
    then made a second time: let it be one that does no harm twice.
    """

    max_transaction_errors = 5
    initial_backoff = 5
    backoff_increment = 5
    max_backoff = 60

    #: Exceptions that mean "the server is away".  A storage that says it with
    #: exceptions of its own, as a relational one does, needs them added here.
    disconnects = DISCONNECTS

    #: Returns a number from 0 to 1, to spread the waits for a connection.
    chance = staticmethod(random.random)

    # Of the latest call.
    attempt_count = 0
    transaction_error_count = 0
    backoff = None

    _reactor = None

    def __init__(self, call, *args, **kwargs):
        self.call = refer(call)
        self.args = [refer(arg) for arg in args]
        self.kwargs = {name: refer(arg) for name, arg in kwargs.items()}

    def setReactor(self, reactor):
        """Use *reactor* instead of the process' own; return self."""
        self._reactor = reactor
        return self

    def getReactor(self):
        """Return the reactor that waits are scheduled with."""
        if self._reactor is None:
            self._reactor = connect.default_reactor()
        return self._reactor

    def __call__(self, *args, **kwargs):
        all_args = self.args + [refer(arg) for arg in args]
        all_kwargs = dict(self.kwargs)
        all_kwargs.update((name, refer(arg)) for name, arg in kwargs.items())
        for thing in (self.call, *all_args, *all_kwargs.values()):
            if is_a(thing, Reference):
                run = _Run(self, thing.db, all_args, all_kwargs)
                run.go()
                return run.deferred
        return self.call(*all_args, **all_kwargs)


class _Run:
    """One call of a Partial: its attempts, its counters and its Deferred."""

    def __init__(self, partial, db, args, kwargs):
        self.partial, self.db = partial, db
        self.args, self.kwargs = args, kwargs
        self.deferred = defer.Deferred(self._cancel)
        self.attempts = self.transaction_errors = 0
        self.backoff = None
        self.delayed = None     # the call that the reactor is to make next
        self.inner = None       # the Deferred that the call returned
        self._show()

    def _show(self):
        self.partial.attempt_count = self.attempts
        self.partial.transaction_error_count = self.transaction_errors
        self.partial.backoff = self.backoff

    def _cancel(self, deferred):
        if self.delayed is not None:
            self.delayed.cancel()
        elif self.inner is not None:
            self.inner.cancel()

    def _later(self, seconds, call, *args):
        self.delayed = self.partial.getReactor().callLater(
            seconds, self._resume, call, *args)

    def _resume(self, call, *args):
        self.delayed = None
        call(*args)

    # The life of a call

    def go(self, waiting=None):
        """Make attempts until one ends the call or the reactor has to wait."""
        again = True
        while again:
            if waiting is None:
                waiting = connect.Waiting(self.db, chance=self.partial.chance)
            seconds = waiting.wait()
            if seconds:
                self._later(seconds, self.go, waiting)
                return
            waiting = None
            again = self._attempt()
            if again and self.partial.max_transaction_errors is None:
                # It may go on for ever: let the reactor breathe.
                self._later(0, self.go)
                return

    def _attempt(self):
        """Make one attempt; return whether to make another one at once."""
        self.attempts += 1
        self._show()
        opened = []
        try:
            value = self._perform(opened)
        except BaseException as error:
            # Written down while the connection is open: the message may be
            # that of a persistent object.
            failure = Failure(skip=2)
            fate = self._fate(error)
            _give_back(opened, aborting=True)
            self._show()
            if fate is EXPLODE:
                self._end(failure)
                raise
            failure.cleanFailure()  # it must not keep the connection alive
        else:
            _give_back(opened)
            self._end(value)
            return False
        return self._follow(fate, failure)

    def _perform(self, opened):
        connection = connect.open_connection(self.db)
        opened.append(connection)
        manager = connection.transaction_manager
        manager.begin()
        call = resolve(self.partial.call, connection)
        args = [resolve(arg, connection) for arg in self.args]
        kwargs = {name: resolve(arg, connection)
                  for name, arg in self.kwargs.items()}
        value = call(*args, **kwargs)
        if is_a(value, twisted_failure.Failure):
            value = sanitize(value)
        manager.commit()
        return value

    def _fate(self, error):
        """Decide what becomes of the call; count.

        The order matters: a disconnect is a transient error too, and both are
        POSErrors.
        """
        partial = self.partial
        if is_a(error, *partial.disconnects):
            self.backoff = partial.initial_backoff if self.backoff is None \
                else min(self.backoff + partial.backoff_increment,
                         partial.max_backoff)
            return WAIT
        if is_a(error, TransientError, TransactionError):
            self.transaction_errors += 1
            limit = partial.max_transaction_errors
            if limit is None or self.transaction_errors < limit:
                return AGAIN
            return GIVE_UP
        return EXPLODE if is_a(error, *EXPLOSIVE_ERRORS) else GIVE_UP

    def _follow(self, fate, failure):
        if self.deferred.called:    # cancelled by the very call
            return False
        if fate is AGAIN:
            return True
        if fate is WAIT:
            log.warning('The server is away; trying again in %s seconds: %r',
                        self.backoff, failure)
            self._later(self.backoff, self.go)
        else:
            self._end(failure)
        return False

    def _end(self, value):
        if is_a(value, defer.Deferred):
            self.inner = value
            value.addCallbacks(self.deferred.callback, self._end)
        elif is_a(value, twisted_failure.Failure):
            self.deferred.errback(sanitize(value))
        else:
            self.deferred.callback(value)


def _give_back(opened, aborting=False):
    """Return the connection in *opened*, if any, to its pool; raise nothing.

    An error here must neither hide the one that led here nor keep the
    connection out of the pool.
    """
    for connection in opened:
        manager = connection.transaction_manager
        if aborting:
            _quietly(manager.abort)
        if _quietly(connection.close):
            continue
        # The abort stopped half-way and a connection is still joined to the
        # transaction: make each forget its changes by itself.
        for member in list(connection.connections.values()):
            _quietly(member.abort, None)
        _quietly(connection.close)


def _quietly(call, *args):
    try:
        call(*args)
    except Exception:
        log.exception('%s failed while a connection was given back',
                      getattr(call, '__qualname__', call))
        return False
    return True
