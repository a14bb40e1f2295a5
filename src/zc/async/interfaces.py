"""The words of zc.async: interfaces, status constants, errors and events.

Everything that a caller needs to know is said here; the other modules keep
the promises.  This module imports nothing of the package.
"""
import zope.interface
import zope.interface.interfaces
from zope.i18nmessageid import MessageFactory
from zope.interface import Attribute
from zope.interface import Interface
from zope.interface import implementer
from zope.processlifetime import DatabaseOpened  # noqa: F401 documented here
from zope.processlifetime import IDatabaseOpened as IDatabaseOpenedEvent  # noqa: F401

_ = MessageFactory('zc.async')

#: Where the queues are kept in a database's root.
KEY = 'zc.async'

# The documented statuses.  They are message ids, so that a page can show them
# translated; `IJob.status` returns these very objects.
NEW = _('new-status', 'New')
PENDING = _('pending-status', 'Pending')
ASSIGNED = _('assigned-status', 'Assigned')
ACTIVE = _('active-status', 'Active')
CALLBACKS = _('callback-status', 'Performing Callbacks')
COMPLETED = _('completed-status', 'Completed')
#: Kept out of the way, with its reason, until somebody decides; see `IParked`.
PARKED = _('parked-status', 'Parked')


# Errors

class AsyncError(Exception):
    """Base of the errors that zc.async defines."""


class BadStatusError(AsyncError):
    """The job is not in a status in which what was asked for is possible."""


class TimeoutError(AsyncError):
    """The job was not begun within the time that its ``begin_by`` allows."""


class AbortedError(AsyncError):
    """The job was aborted, or interrupted more often than its policy allows."""


class ReassignedError(AsyncError):
    """The job is no longer in the hands of the one who works on it."""


class FullError(AsyncError):
    """The container holds as many jobs as its size allows."""


class NotStorableError(AsyncError, TypeError):
    """A call or a result cannot be stored in the database."""


class BrokenCallError(AsyncError):
    """What the job should call, or one of its arguments, cannot be loaded."""


class NotParkedError(AsyncError, LookupError):
    """The job is not among the parked jobs that were asked for it."""


class JobCycleError(AsyncError):
    """A job waits, directly or through others, for its own result."""


class NoQueuesError(AsyncError, LookupError):
    """The database has no queues under `KEY`."""


# The outside world

class IReactor(Interface):
    """What a dispatcher needs of a reactor: the documented small contract.

    Every Twisted reactor meets it, and so does ``zc.async.testing.Reactor``.
    A dispatcher works between its polls only on a reactor that also provides
    Twisted's ``IReactorTime``: there, time is the clock on the wall.
    """

    def callFromThread(callable, *args, **kw):
        """Have *callable* called in the reactor's thread, soon.  Any thread."""

    def callInThread(callable, *args, **kw):
        """Have *callable* called in another thread."""

    def callLater(seconds, callable, *args, **kw):
        """Have *callable* called in the reactor's thread after *seconds*.

        Return a call with a ``cancel`` method.  Reactor's thread only.
        """

    def addSystemEventTrigger(phase, event, callable, *args, **kw):
        """Have *callable* called ``'before'`` the event ``'shutdown'``."""

    def callWhenRunning(callable, *args, **kw):
        """Call *callable* now if the reactor runs, or as soon as it does."""


class IUUID(Interface):
    """The identity of this instance: a `uuid.UUID`, kept in a file."""


class IClock(Interface):
    """Where the package takes the time from."""

    def now():
        """Return the time as an aware datetime in UTC."""

    def monotonic():
        """Return seconds that only ever grow, from an unknown start."""


# Jobs

class IJob(Interface):
    """One call, with its arguments, its result and what follows from it.

    A job goes through these statuses::

                    put             claim            begin
          NEW ------------> PENDING ------> ASSIGNED ------> ACTIVE ----.
           |  <------------    |  <----------    |            |  ^       |
           |   pull, remove    |    hand back    |            |  '-------'
           |                   |                 |            | wait for a job
           |  <------------------------------------ reschedule| or a Deferred
           |                                                  |
           |  fail             | fail            | fail       | settle
           v                   v                 v            v
          CALLBACKS <-----------------------------------------'
           |
           | finish (every callback is completed)
           v
          COMPLETED

                     park                    rerun or resume
          PENDING, ASSIGNED, -------> PARKED ---------------> PENDING or
          ACTIVE, CALLBACKS             |                     CALLBACKS
                                        | discard
                                        v
                                    CALLBACKS

    A job is PARKED where it cannot go on and nobody but a person can tell what
    to do about it: `IQueue.parked` says why.

    NEW, PENDING and ASSIGNED are not stored: a job without a stored status is
    PENDING in a queue, ASSIGNED in an agent and NEW elsewhere, so moving it
    writes no status.  ``zc.async.model.status`` holds the arrows as a table,
    with who may fire each and what is committed with it.
    """

    parent = Attribute("The queue, agent, job or callback proxy it belongs to.")
    key = Attribute("``(database name, object id)``, or None before it is stored.")
    callable = Attribute(
        "What is called.  Settable while the job is NEW, PENDING or ASSIGNED.")
    args = Attribute("The positional arguments: a mutable sequence.")
    kwargs = Attribute("The keyword arguments: a mutable mapping.")
    status = Attribute("One of the seven status constants, the very object.")
    result = Attribute(
        "What the call returned, or a ``zc.twist.Failure``; None until then.")
    callbacks = Attribute("The jobs and proxies to call with the result.")
    annotations = Attribute(
        "A mutable mapping for the application's notes.  Other connections "
        "may write it while the job runs, without disturbing its result.")
    begin_after = Attribute("Not to begin before: aware UTC datetime, or None.")
    begin_by = Attribute(
        "A timedelta after ``begin_after``; a job that was not begun by then "
        "fails with `TimeoutError`.  None: never.")
    active_start = Attribute("When the latest attempt began: aware UTC or None.")
    active_end = Attribute("When the call ended: aware UTC or None.")
    initial_callbacks_end = Attribute(
        "When the callbacks that it had then had ended: aware UTC or None.")
    assignerUUID = Attribute("The UUID of the process that put it, or None.")
    quota_names = Attribute("The names of quotas it counts against: a tuple.")
    kind = Attribute(
        "The stable name of what it does, by default the callable's dotted "
        "name: readable even where the callable no longer exists.")
    queue = Attribute("The queue it was put into, or None.")
    agent = Attribute("The agent that claimed it, or None.")
    failure_log_level = Attribute(
        "The `logging` level of a failure; None: ERROR, for callbacks CRITICAL.")
    retry_policy_factory = Attribute(
        "None, the name of an `IRetryPolicy` adapter, or a callable that "
        "returns an `IRetryPolicy` for a job.")

    def bind(callable, *args, **kwargs):
        """Return a new job that gets itself as its first argument.

        A class method, like the class itself in all but that.
        """

    def addCallbacks(success=None, failure=None, failure_log_level=None,
                     retry_policy_factory=None):
        """Have *success* called with the result, or *failure* with the Failure.

        Return the `ISuccessFailureCallbackProxy`.  On a COMPLETED job the
        chosen one is called at once, in the caller's transaction.
        """

    def addCallback(callback, failure_log_level=None, retry_policy_factory=None):
        """Have *callback* called with the result, whatever it is.

        Return the callback's job.  On a COMPLETED job it is called at once,
        in the caller's transaction.
        """

    def getRetryPolicy():
        """Return the job's `IRetryPolicy`, made when first asked for."""

    def __call__(*args, **kwargs):
        """Run the job here and now, in the caller's transaction.

        Return the result.  Nothing is committed: the effects, the result and
        the status are the caller's to commit.  Raise `BadStatusError` for a
        job that is not NEW or ASSIGNED.
        """

    def setUp():
        """Prepare the thread for the call; return what `tearDown` needs.

        A hook for subclasses.  Called in the worker's thread before
        ``callable`` is read.
        """

    def tearDown(setup_info):
        """Undo `setUp`, after the attempt was committed or aborted."""

    def fail(e=None):
        """Make `TimeoutError`, or *e*, the result of a job that has not begun."""

    def handleInterrupt():
        """Let the policy decide about a job whose process is gone."""

    def resumeCallbacks():
        """Have the rest of the callbacks of an interrupted job performed."""


class ICallbackProxy(Interface):
    """Stands for a callback that is chosen when the result is known.

    It has the status, result and callbacks of the job it chose; where it
    chose none, its result is the result it was called with.
    """

    job = Attribute("The job that was chosen, or None.")

    def getJob(result):
        """Return the job to call with *result*, or None."""


class ISuccessFailureCallbackProxy(ICallbackProxy):
    """Chooses by whether the result is a Failure."""

    success = Attribute("The job for a result, or None.")
    failure = Attribute("The job for a Failure, or None.")


class IRetryPolicy(Interface):
    """Decides what becomes of an attempt that did not succeed.

    Every method returns a decision: False, to give up; True, to try again at
    once; a timedelta, to try again after it; or a datetime, to try again then
    (naive: UTC).  A policy does not sleep, commit or log.  *data_cache* is a
    dictionary that lives as long as the attempts in one worker's hands.
    """

    parent = Attribute("The job.")
    data = Attribute("What is remembered between attempts: a mapping.")

    def jobError(failure, data_cache):
        """Decide about an exception of the callable, given as *failure*."""

    def commitError(failure, data_cache):
        """Decide about an error of the commit, given as *failure*."""

    def interrupted():
        """Decide about an attempt whose process or thread is gone.

        Where the process was stopped in order, a policy that has a method
        ``stopped``, with no parameters, is asked that instead: ours decide the same
        and count nothing.
        """

    def updateData(data_cache):
        """Store what *data_cache* gathered.  Called before a commit."""


# Queues

class IQueues(Interface):
    """The mapping of queues by name, kept in the root under `KEY`."""


class IQueue(Interface):
    """The jobs that wait, in the order in which they fall due."""

    name = Attribute("Its key in the `IQueues`.")
    parent = Attribute("The `IQueues`.")
    quotas = Attribute("The `IQuotas`.")
    dispatchers = Attribute("The `IDispatchers`.")
    parked = Attribute("The `IParked`.")
    deaths_before_parking = Attribute(
        "In how many deaths of its process a job may have been ACTIVE before it "
        "is parked: an int, by default 3; None: in any number.")

    def put(item, begin_after=None, begin_by=None, failure_log_level=None,
            retry_policy_factory=None):
        """Put *item*, a job or what adapts to `IJob`, and return the job.

        It is durable, and seen by dispatchers, when the caller commits.
        *begin_after* is a datetime (naive: UTC), *begin_by* a timedelta after
        it.  A *begin_after* that has passed counts as none, except that
        *begin_by* is reckoned from it.

        Raise `BadStatusError` for a job that is not NEW, `NotStorableError`
        for a call that cannot be pickled, ``ValueError('unknown quota name',
        name)``, and TypeError or ValueError for a malformed time; nothing is
        stored then.
        """

    def putBack(job):
        """Return a claimed job to the front of the line, uncounted."""

    def pull(index=0):
        """Take the job at *index* out and return it, NEW again.

        Raise IndexError where there is none.
        """

    def remove(job):
        """Take *job* out.  Raise LookupError if it is not in the queue."""

    def index(job):
        """Return the position of *job*.  Raise ValueError if it is not here."""

    def claim(filter=None, default=None):
        """Take out the next job that may run now and return it, or *default*.

        Jobs that are not due, whose quotas are full, or that *filter* (called
        with the job) refuses stay.  A job past its ``begin_by`` is replaced
        by a job that calls its `IJob.fail`.

        Jobs come in the order of their due times.  Where several dispatchers
        claim at the same time, each begins with a part of the jobs, so that
        they seldom meet: one may then be overtaken by those that fell due up
        to five seconds after it.
        """

    def __iter__():
        """Iterate over the waiting jobs in order of their due times."""

    def __len__():
        """Return the number of waiting jobs, without counting them."""

    def __getitem__(index):
        """Return the job at *index*.  Raise IndexError where there is none."""


class IParked(Interface):
    """The jobs of a queue that are kept out of the way until somebody decides.

    A job comes here when its code or its record is missing and no living
    dispatcher could have it, or when processes died again and again while it
    was running.  It holds no place and counts in no quota, and nothing that
    follows from it happens meanwhile.

    `rerun`, `discard` and `move` commit nothing.  They raise `NotParkedError`
    for a job that is not here, and `BrokenCallError`, with nothing changed, for
    one whose record cannot be read in this process but would have to be.
    """

    parent = Attribute("The queue.")

    def __iter__():
        """Iterate over the `IParkedJob` entries, the oldest first."""

    def __len__():
        """Return how many there are, without counting them."""

    def __contains__(job):
        """Return whether *job* is here."""

    def entry(job):
        """Return the `IParkedJob` of *job*.  Raise `NotParkedError`."""

    def find(oid, database_name=None):
        """Return the entry of the job with the object id *oid*, an int.

        *database_name* is by default that of the queue's database.  Raise
        `NotParkedError`.
        """

    def rerun(job):
        """Put *job* at the end of its queue's line; its deaths count no more.

        One that has its result goes on with its callbacks.
        """

    def discard(job):
        """Let *job* fail with `AbortedError`; its callbacks are told.

        One that has its result keeps it, and what cannot be loaded of what
        follows from it fails; so does the callback that was run when its process
        died, where that is why it is here.  One whose record cannot be read is forgotten, and
        nobody is told.
        """

    def move(job, queue):
        """As `rerun`, but in another *queue* of the same database.

        Raise ValueError where *queue* is in another one or has not the quotas.
        """

    def raw(job):
        """Return the stored bytes of *job*: its own record and its call's.

        Two attributes, ``job`` and ``call``; None for a record that is missing.
        Nothing is loaded: these are the pickles that the storage holds.
        """


class IParkedJob(Interface):
    """One entry of `IParked`.  Reading it does not load the job."""

    job = Attribute("The job; whether it can be read is another question.")
    reason = Attribute("Why it was parked: a str of one line.")
    at = Attribute("When it was parked: aware UTC datetime.")
    deaths = Attribute("In how many deaths of its process it was ACTIVE.")
    kind = Attribute("Its `IJob.kind`, or None where that could not be read.")


class IQuotas(Interface):
    """The quotas of a queue by name."""

    def create(name, size=1):
        """Create a quota.  Raise KeyError if *name* exists."""

    def remove(name):
        """Remove a quota; jobs that name it are no longer held by it."""


class IQuota(Interface):
    """At most ``size`` of the jobs that name it are claimed at any time.

    Those whose callbacks are done, too; but one for whose result others wait is
    claimed with that result in any case: it may be they who fill the quota.
    """

    name = Attribute("Its name.")
    size = Attribute("How many: an int, settable; shrinking spares running jobs.")
    parent = Attribute("The queue.")
    filled = Attribute("True if no more jobs may be claimed.")

    def add(job):
        """Count *job*.  Raise `FullError` if the quota is filled."""

    def discard(job):
        """No longer count *job*; nothing happens if it was not counted."""

    def clean():
        """Stop counting jobs that no agent holds any more."""


class IDispatchers(Interface):
    """What a queue knows of the dispatchers that work for it, by UUID."""

    def register(UUID):
        """Make the `IDispatcherAgents` for *UUID*.  Raise ValueError if known."""

    def unregister(UUID):
        """Forget *UUID* and return what was known.

        Raise ValueError while it is activated.
        """

    def ping(UUID):
        """Say that *UUID* lives, and take over from a dead neighbour.

        Writes only when the ping interval is over.
        """


class IDispatcherAgents(Interface):
    """The agents of one dispatcher in one queue by name, and its liveness."""

    UUID = Attribute("The dispatcher's UUID.")
    parent = Attribute("The queue.")
    activated = Attribute("When it was activated: aware UTC, or None.")
    dead = Attribute("True if activated and silent for ``ping_death_interval``.")
    last_ping = Attribute("The `zc.async.model.liveness.Ping`.")
    ping_interval = Attribute("A timedelta: how often to ping at most.")
    ping_death_interval = Attribute("A timedelta: silence that means death.")

    def activate(ping=None, owner=None, process=None):
        """Record that the dispatcher works now; notify `IDispatcherActivated`.

        *ping* is a `Ping` to share with other queues, *owner* the token of the
        process, *process* a tuple by which the next one with this UUID, on the same
        machine, knows that it is gone.  Raise ValueError while it is activated.
        """

    def deactivate(died=False):
        """Record that it no longer works, and hand its jobs back.

        *died*: its process is gone and was not stopped in order, which counts
        for the jobs that were ACTIVE; see `IQueue.deaths_before_parking`.
        """
    def reactivate(owner=None, process=None):
        """Take back a death notice that was wrong; hands no job back."""


class IAgent(Interface):
    """Chooses and holds the jobs that a dispatcher works on."""

    name = Attribute("Its key in the `IDispatcherAgents`, None before.")
    size = Attribute(
        "How many jobs it may hold: an int, settable.  While jobs are short, a "
        "dispatcher may claim a few more for a plain agent, so that its workers need "
        "not wait for commits.")
    parent = Attribute("The `IDispatcherAgents`, None before.")
    queue = Attribute("The queue, None before.")
    completed = Attribute(
        "The completed jobs of the last week, iterable, the newest first.")

    def claimJob():
        """Claim a job, hold it and return it; None if none is wanted.

        Returns None when the agent is full.
        """

    def jobCompleted(job):
        """Move *job* from what is held to what is completed."""


class IFilterAgent(IAgent):
    """An agent that takes any job which its filter, if any, accepts."""

    filter = Attribute(
        "None, or a callable that tells whether to take a job.  A dispatcher remembers "
        "for a while what it refused, at least until the next poll.")


class IDispatcher(Interface):
    """One process's work for all queues of a database."""

    UUID = Attribute("Its identity.")
    db = Attribute("The database.")
    reactor = Attribute("The `IReactor`.")
    poll_interval = Attribute("Seconds between polls.")
    activated = Attribute("When it was activated: aware UTC, or None.")
    warn_after = Attribute(
        "Seconds, settable: the log tells of a job that is worked on for longer, and "
        "again whenever that has doubled; None: of none.")
    ready = Attribute(
        "True while it polls and not every place is taken by jobs that are overdue.")
    conflicts = Attribute(
        "What was in conflict with other transactions: an object with ``total``, "
        "``worst(count=10)`` and ``as_info(count=10)``.")
    lost = Attribute(
        "Which storage is closed, as text, so that the dispatcher had to stop for "
        "good; or None.")
    on_fatal = Attribute(
        "None, or what is called once with the dispatcher and `lost`, in any thread.")

    def activate(threaded=False):
        """Begin to work; with *threaded*, in a thread of its own."""

    def deactivate():
        """Stop: claim nothing more, let jobs end, hand back the rest."""

    def getStatistics(at=None, before=None, since=None, queue=None, agent=None):
        """Return a dictionary about the jobs of the polls in a period."""

    def getActiveJobIds(queue=None, agent=None):
        """Return ``(object id, database name)`` of the jobs being worked on."""

    def getOverdueJobIds(queue=None, agent=None):
        """Return the ids of those worked on for more than ``warn_after`` seconds.

        Or of those that wait so long for a Deferred.
        """

    def getJobInfo(oid, database_name=None):
        """Return what is remembered of a job.  Raise KeyError if nothing is."""

    def getPollInfo(at=None, before=None):
        """Return the newest poll not after *at*, or before *before*."""

    def iterPolls(at=None, before=None, since=None, count=None):
        """Iterate over polls, the newest first."""

    def getStatusInfo():
        """Return a dictionary about the dispatcher itself."""


# Events

class IObjectEvent(zope.interface.interfaces.IObjectEvent):
    """Something happened to ``object``."""


class IDispatcherRegistered(IObjectEvent):
    """A dispatcher was registered with a queue."""


class IDispatcherUnregistered(IObjectEvent):
    """A dispatcher was unregistered from a queue."""

    parent = Attribute("The queue it was registered with.")


class IDispatcherActivated(IObjectEvent):
    """A dispatcher was activated; ``object`` is its `IDispatcherAgents`."""


class IDispatcherDeactivated(IObjectEvent):
    """A dispatcher was deactivated."""


class IDispatcherReactivated(IObjectEvent):
    """A dispatcher that was taken for dead was found alive."""


class IObjectAdded(IObjectEvent):
    """A queue or the queues were added to their parent."""

    parent = Attribute("The container.")
    name = Attribute("The key in the container.")


class _ObjectEvent(zope.interface.interfaces.ObjectEvent):
    pass


@implementer(IDispatcherRegistered)
class DispatcherRegistered(_ObjectEvent):
    """See `IDispatcherRegistered`."""


@implementer(IDispatcherUnregistered)
class DispatcherUnregistered(_ObjectEvent):
    """See `IDispatcherUnregistered`."""

    def __init__(self, object, parent=None):
        super().__init__(object)
        self.parent = parent


@implementer(IDispatcherActivated)
class DispatcherActivated(_ObjectEvent):
    """See `IDispatcherActivated`."""


@implementer(IDispatcherDeactivated)
class DispatcherDeactivated(_ObjectEvent):
    """See `IDispatcherDeactivated`."""


@implementer(IDispatcherReactivated)
class DispatcherReactivated(_ObjectEvent):
    """See `IDispatcherReactivated`."""


@implementer(IObjectAdded)
class ObjectAdded(_ObjectEvent):
    """See `IObjectAdded`."""

    def __init__(self, object, parent, name):
        super().__init__(object)
        self.parent = parent
        self.name = name
