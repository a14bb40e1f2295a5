"""Retry policies, and the decisions that they come down to.

A policy answers the documented questions of `..interfaces.IRetryPolicy`;
`decide` turns its answer, of whatever documented form, into a decision.  The
worker acts on decisions and nothing else does.
"""
import dataclasses
import datetime

import persistent
import zope.component
import zope.interface
from persistent.mapping import PersistentMapping
from transaction.interfaces import TransactionError
from ZODB.POSException import ConflictError

from .. import clock
from .. import describe
from .. import log
from .. import outage
from ..interfaces import IRetryPolicy
from .call import is_broken

_ZERO = datetime.timedelta()


@dataclasses.dataclass(frozen=True, slots=True)
class GiveUp:
    """The failure is the job's result."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunAgain:
    """Run the call again: at once, or *after* a delay."""

    after: datetime.timedelta = _ZERO


def decide(answer):
    """Return the decision that a policy's documented *answer* means.

    Raise TypeError for an answer that is none of the documented forms.
    """
    if isinstance(answer, datetime.timedelta):
        return RunAgain(max(answer, _ZERO))
    if isinstance(answer, datetime.datetime):
        return RunAgain(max(clock.utc(answer) - clock.now(), _ZERO))
    if answer is None or isinstance(answer, (bool, int)):
        return RunAgain() if answer else GiveUp()
    raise TypeError(
        f'a retry policy answered {describe.safe_repr(answer)}; '
        f'return a bool, a timedelta or a datetime')


def decide_interrupted(job, stopped=False):
    """Return the decision of *job*'s policy about a broken-off attempt.

    With *stopped*, its process was stopped in order.  A policy that fails itself
    gives up: it must not hold up its heir.
    """
    if is_broken(job._retry_policy):
        return RunAgain()  # whoever has its code decides
    try:
        policy = job.getRetryPolicy()
        ask = getattr(policy, 'stopped', None) if stopped else None
        return decide((ask or policy.interrupted)())
    except BaseException as error:
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        log.events.exception('the retry policy of %s failed', describe.safe_repr(job))
        return GiveUp()


@zope.interface.implementer(IRetryPolicy)
class RetryCommonFourTimes(persistent.Persistent):
    """The default: errors of the transaction are retried, the call's are not.

    A transaction error is retried four times at once, an absent storage as
    long as it is absent, an interruption eight times.
    """

    #: ``((exception, ...), key, attempts or None, first delay, its increment,
    #: its limit)``; delays in seconds.  Subclasses may replace it.
    internal_exceptions = (
        ((outage.ClientDisconnected,), 'zeo_disconnected', None, 5, 5, 60),
        ((TransactionError, ConflictError), 'transaction_errors', 5, 0, 0, 0),
    )
    #: Interruptions after which the job is aborted.
    max_interruptions = 9

    def __init__(self, job):
        self.parent = job
        self.data = PersistentMapping()

    def jobError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return self._process(failure, data_cache, self.internal_exceptions)

    def commitError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return self._process(failure, data_cache, self.internal_exceptions)

    def interrupted(self):
        """See `IRetryPolicy`."""
        count = self.data.get('interruptions', 0) + 1
        self.data['interruptions'] = count
        return self.max_interruptions is None or count < self.max_interruptions

    def stopped(self):
        """Decide, if its process was stopped in order, as about a first interruption.

        It is not counted: restarts, however many, say nothing about a job.
        """
        counted = self.data.pop('interruptions', None)
        try:
            return self.interrupted()
        finally:
            self.data.pop('interruptions', None)
            if counted is not None:
                self.data['interruptions'] = counted

    def updateData(self, data_cache):
        """See `IRetryPolicy`."""
        if 'first_active' not in self.data:
            self.data['first_active'] = self.parent.active_start
        self.data.update(data_cache)

    def _process(self, failure, data_cache, exceptions):
        """Answer by the first of *exceptions* that *failure* belongs to."""
        for rule in exceptions:
            classes, key, attempts, first, increment, limit = rule
            if not self._belongs(failure, classes):
                continue
            count = data_cache.get(key, self.data.get(key, 0)) + 1
            data_cache[key] = count
            data_cache['last_' + key] = failure
            if attempts is not None and count >= attempts:
                return False
            delay = min(limit, first + increment * (count - 1))
            return datetime.timedelta(seconds=delay) if delay else True
        return False

    @staticmethod
    def _belongs(failure, classes):
        # Databases other than ZEO say in their own words that they are gone.
        if outage.is_outage(failure.value):
            return outage.ClientDisconnected in classes
        if outage.is_stale_id(failure.value):
            return ConflictError in classes
        return failure.check(*classes) is not None


class RetryCommonForever(RetryCommonFourTimes):
    """The default of callbacks: whatever the commit says, try again.

    A callback that is lost leaves its job's outcome half told.
    """

    internal_exceptions = (
        ((outage.ClientDisconnected,), 'zeo_disconnected', None, 5, 5, 60),
        ((TransactionError, ConflictError), 'transaction_errors', None, 0, 0, 0),
    )
    other_commit_exceptions = (
        ((Exception,), 'other_commit_error', None, 1, 1, 60),
    )
    max_interruptions = None

    def commitError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return self._process(
            failure, data_cache,
            self.internal_exceptions + self.other_commit_exceptions)


class RetryErrorsToo(RetryCommonForever):
    """For calls of this package, which others wait for: errors may pass as well."""

    other_errors = (((Exception,), 'other_error', 20, 1, 1, 60),)

    def jobError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return self._process(
            failure, data_cache, self.internal_exceptions + self.other_errors)


@zope.interface.implementer(IRetryPolicy)
class NeverRetry(persistent.Persistent):
    """For calls with effects outside the database: at most one attempt."""

    #: The worker commits the beginning of an attempt by itself, so that an
    #: attempt which has not begun is not taken for one that has.
    at_most_once = True

    def __init__(self, job):
        self.parent = job
        self.data = PersistentMapping()

    def jobError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return False

    def commitError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        return False

    def interrupted(self):
        """See `IRetryPolicy`."""
        return False

    def updateData(self, data_cache):
        """See `IRetryPolicy`."""


#: Policies after which an interrupted call is made again.
_AGAIN = (RetryCommonFourTimes, RetryCommonForever, RetryErrorsToo)


def runs_again(job, default_name):
    """Return whether the policy of *job* is one of those that let it be run again.

    Nothing is stored.  Where it has no factory, and no adapter is registered as
    *default_name*, its policy is the default, which does.  False for a policy that is
    not known here, or fails.
    """
    policy, factory = job._retry_policy, job.retry_policy_factory
    if policy is None and (factory is None or isinstance(factory, str)):
        try:
            policy = zope.component.queryAdapter(
                job, IRetryPolicy, name=default_name if factory is None else factory)
        except Exception as error:
            if outage.is_outage(error) or outage.is_conflict(error):
                raise
            return False
        if policy is None:
            return factory is None
    return (factory if policy is None else type(policy)) in _AGAIN


def make_policy(job, factory, default_name, default):
    """Return the policy for *job* by its *factory*.

    *factory* is None, the name of an adapter, or a callable; without one, the
    adapter registered as *default_name* or else *default* is used.
    """
    if factory is None:
        found = zope.component.queryAdapter(job, IRetryPolicy, name=default_name)
        return default(job) if found is None else found
    if isinstance(factory, str):
        return zope.component.getAdapter(job, IRetryPolicy, name=factory)
    return factory(job)
