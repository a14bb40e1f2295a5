"""Jobs and callback proxies, and the documented names around them."""
import datetime
import logging

import persistent
import zope.interface

from . import clock
from . import describe
from . import failures
from .current import read_current
from .interfaces import BadStatusError
from .interfaces import COMPLETED
from .interfaces import IAgent
from .interfaces import ICallbackProxy
from .interfaces import IJob
from .interfaces import IQueue
from .interfaces import ISuccessFailureCallbackProxy
from .interfaces import NEW
from .interfaces import PENDING
from .interfaces import TimeoutError
from .model import callbacks
from .model import execution
from .model import recovery
from .model import retry
from .model import status
from .model import stored
from .model import workflow
from .model.call import Annotations
from .model.call import Args
from .model.call import Call
from .model.call import check_writable
from .model.call import Kwargs
from .model.result import kept
from .model.result import value_of
from .model.retry import NeverRetry  # noqa: F401 documented here
from .model.retry import RetryCommonForever  # noqa: F401 documented here
from .model.retry import RetryCommonFourTimes  # noqa: F401 documented here


def as_job(item):
    """Return *item* as a job: itself, its adapter to `IJob`, or a new `Job`.

    Raise TypeError for something that cannot be called.
    """
    job = IJob(item, None)
    if job is not None:
        return job
    if callable(item):
        return Job(item)
    raise TypeError(
        f'{describe.safe_repr(item, 200)} is no job and cannot be called; '
        f'give a job, a function or a method')


#: Arguments of which a text can be made later: many would take more than the text.
_FEW = 8
#: The numbers of a job in the order in which they were stored in the first form.
_NUMBERS = ('_code', '_attempt', '_begin_after', '_begin_by', '_active_start',
            '_active_end', '_callbacks_end')


class Node(persistent.Persistent):
    """What jobs and callback proxies share: a result, and what follows it."""

    parent = None
    _code = status.UNSET
    _attempt = 0
    _result = None
    _awaits = None
    _chain = 0      # how many jobs before it have led to it, one from another

    @property
    def status(self):
        """See `IJob`."""
        return status.of(self)

    @property
    def result(self):
        """See `IJob`."""
        return value_of(self._result)

    @property
    def callbacks(self):
        """See `IJob`."""
        return self.callback_record().callbacks

    def callback_record(self):
        """Return the persistent object in whose record the callbacks are."""
        return self

    def append_callback(self, node):
        """Append *node* to what follows from the result.

        Guarded, so that none is added to a node that is completed meanwhile.  Raise
        `.model.call.PartMissing`, a BrokenCallError, where what this one calls is gone.
        """
        record = self.callback_record()
        check_writable(record)
        record.callbacks = (*record.callbacks, node)
        if self.status is not COMPLETED:
            read_current(self)

    def addCallback(self, callback, failure_log_level=None,
                    retry_policy_factory=None):
        """See `IJob`."""
        job = _new_callback(callback, failure_log_level, retry_policy_factory)
        return self._add(job)

    def addCallbacks(self, success=None, failure=None, failure_log_level=None,
                     retry_policy_factory=None):
        """See `IJob`."""
        jobs = [_new_callback(one, failure_log_level, retry_policy_factory)
                for one in (success, failure)]
        return self._add(SuccessFailureCallbackProxy(*jobs))

    def _add(self, node):
        execution.lengthen_by_callback(self, node)
        node.parent = self
        self.append_callback(node)
        if self.status is COMPLETED:
            for visited in callbacks.walk(self, execution._Here()):
                callbacks.try_finish(visited)
        return node


def _new_callback(item, failure_log_level, retry_policy_factory):
    if item is None:
        return None
    job = item if ICallbackProxy.providedBy(item) else as_job(item)
    if job.status is not NEW or job.parent is not None:
        raise BadStatusError(
            f'{job!r} cannot become a callback: its status is {job.status} and '
            f'its parent {describe.safe_repr(job.parent, 200)}; give a new job')
    if ICallbackProxy.providedBy(job):
        return job
    if failure_log_level is not None:
        job.failure_log_level = failure_log_level
    elif job.failure_log_level is None:
        job.failure_log_level = logging.CRITICAL
    if retry_policy_factory is not None:
        job.retry_policy_factory = retry_policy_factory
    return job


@zope.interface.implementer(IJob)
class Job(Node):
    """See `IJob`.

    What is stored of it is small: only what differs from these defaults.
    """

    _call = None
    _order = None            # the key of its place in line; kept while claimed
    _attempt = 0             # how often it was begun: the token of an attempt
    _begin_after = None      # microseconds since 1970, like the other times
    _begin_by = None         # microseconds
    _active_start = None
    _active_end = None
    _callbacks_end = None
    _assigner = None         # the 16 bytes of a UUID
    _quota_names = ()
    _deaths = 0              # of processes, while it was active; stored if any
    _lacks = None            # (what was missing, since when), of one set aside
    _uncounted = False       # whether it is in line, with its result, for room in quotas
    _retry_policy = None
    retry_policy_factory = None
    failure_log_level = None

    def __getstate__(self):
        """Return what is stored: a tuple as `.model.stored.pack` makes it.

        To a subclass with methods of its own for that: the attributes, a dict, which is
        also stored where something does not fit.
        """
        state = self._attributes()
        cls = type(self)
        if cls is Job or (cls.__getstate__ is Job.__getstate__
                          and cls.__setstate__ is Job.__setstate__):
            return stored.pack(state) or self._attributes()
        return state

    def _attributes(self):
        """Return what differs from the defaults."""
        state = super().__getstate__()
        for name in [name for name, value in state.items() if value is None]:
            if getattr(type(self), name, state) is None:
                del state[name]
        return state

    def __setstate__(self, state):
        if type(state) is tuple:
            state = stored.unpack(state)
        elif '_n' in state:  # the first form
            state = dict(state)
            state.update(
                (name, number) for name, number in zip(_NUMBERS, state.pop('_n'))
                if number is not getattr(Job, name))
        super().__setstate__(state)

    def __init__(self, /, *args, **kwargs):
        if not args or not callable(args[0]):
            shown = describe.safe_repr(args[0], 200) if args else 'nothing'
            raise TypeError(
                f'a job needs something to call first, not {shown}; '
                f'give a function or a method')
        self._call = Call()
        # through the property: subclasses override it
        self.callable = args[0]
        if len(args) > 1:
            self._call.args = args[1:]
        if kwargs:
            self._call.kwargs = kwargs

    @classmethod
    def bind(cls, /, *args, **kwargs):
        """See `IJob`."""
        job = cls(*args, **kwargs)
        job.args.insert(0, job)
        return job

    # What is called

    @property
    def callable(self):
        """See `IJob`."""
        return self._call.get_callable()

    @callable.setter
    def callable(self, value):
        if self._code:
            raise BadStatusError(
                f'cannot change what {self!r} calls: its status is '
                f'{self.status}; put a new job instead')
        self._call.set_callable(value)

    @property
    def kind(self):
        """See `IJob`."""
        return self._call.kind

    @property
    def args(self):
        """See `IJob`."""
        return Args(self._call)

    @args.setter
    def args(self, value):
        self._call.args = tuple(value)

    @property
    def kwargs(self):
        """See `IJob`."""
        return Kwargs(self._call)

    @kwargs.setter
    def kwargs(self, value):
        self._call.kwargs = dict(value) or None

    @property
    def annotations(self):
        """See `IJob`."""
        return Annotations(self._call)

    def callback_record(self):
        """See `Node`."""
        return self._call

    # Where it is

    @property
    def key(self):
        """See `IJob`."""
        oid, database_name = describe.address(self)
        return None if oid is None else (database_name, oid)

    @property
    def queue(self):
        """See `IJob`."""
        return self._above(IQueue)

    @property
    def agent(self):
        """See `IJob`."""
        return self._above(IAgent)

    def _above(self, interface):
        found = self.parent
        while found is not None and not interface.providedBy(found):
            found = getattr(found, 'parent', None)
        return found

    @property
    def quota_names(self):
        """See `IJob`."""
        return self._quota_names

    @quota_names.setter
    def quota_names(self, names):
        if isinstance(names, str):
            raise TypeError(
                f'quota_names is a sequence of names, not the string {names!r}; '
                f'write ({names!r},)')
        names = tuple(dict.fromkeys(names))
        if self.status is PENDING:
            self.parent.change_quotas(self, names)
        elif self.queue is not None:
            self.queue.check_quotas(names)
        self._quota_names = names

    # When

    @property
    def begin_after(self):
        """See `IJob`."""
        return clock.from_micros(self._begin_after)

    @begin_after.setter
    def begin_after(self, moment):
        if self.status is not NEW:
            raise BadStatusError(
                f'cannot reschedule {self!r}: its status is {self.status}; '
                f'pull it from its queue and put it again')
        self._begin_after = check_moment('begin_after', moment)

    @property
    def begin_by(self):
        """See `IJob`."""
        if self._begin_by is None:
            return None
        return datetime.timedelta(microseconds=self._begin_by)

    @begin_by.setter
    def begin_by(self, delta):
        self._begin_by = check_delta('begin_by', delta)

    @property
    def active_start(self):
        """See `IJob`."""
        return clock.from_micros(self._active_start)

    @property
    def active_end(self):
        """See `IJob`."""
        return clock.from_micros(self._active_end)

    @property
    def initial_callbacks_end(self):
        """See `IJob`."""
        return clock.from_micros(self._callbacks_end)

    @property
    def assignerUUID(self):
        """See `IJob`."""
        return describe.uuid_of(self._assigner)

    def expired(self, now):
        """Return whether it is too late to begin it at *now*, in microseconds."""
        if self._begin_by is None or self._code or self._begin_after is None:
            return False
        if self._attempt:
            # it was begun in time, and interrupted or put off since
            return False
        return self._begin_after + self._begin_by < now

    # What is done

    def __call__(self, /, *args, **kwargs):
        """See `IJob`."""
        return execution.run_here(self, args, kwargs)

    def setUp(self):
        """See `IJob`."""

    def tearDown(self, setup_info):
        """See `IJob`."""

    def getRetryPolicy(self):
        """See `IJob`."""
        if self._retry_policy is None:
            defaults = ('', RetryCommonFourTimes)
            if execution.is_callback(self):
                defaults = ('callback', RetryCommonForever)
            policy = retry.make_policy(self, self.retry_policy_factory, *defaults)
            policy.parent = self
            self._retry_policy = policy
        return self._retry_policy

    def fail(self, e=None):
        """See `IJob`."""
        status.check(self, 'fail')
        queue, agent = self.queue, self.agent
        if self.status is PENDING and self._order is not None:
            queue.discard(self)
        execution.fail(self, TimeoutError() if e is None else e)
        execution.log_failure(self)
        if not callbacks.children(self):
            callbacks.try_finish(self)
        elif queue is None:
            for node in callbacks.walk(self, execution._Here()):
                callbacks.try_finish(node)
        else:
            if agent is not None:
                agent.discard(self)
            queue.putBack(self)

    def handleInterrupt(self):
        """See `IJob`."""
        status.check(self, 'reschedule')
        queue, agent = self.queue, self.agent
        if agent is not None:
            agent.discard(self)
            self.parent = queue
        recovery.interrupt(self)

    def resumeCallbacks(self):
        """See `IJob`."""
        status.check(self, 'finish')
        queue, agent = self.queue, self.agent
        if agent is not None:
            agent.discard(self)
        queue.putBack(self)

    def __repr__(self):
        try:
            return _text(*self._described())
        except BaseException as error:
            return (f'<{describe.type_name(type(self))} '
                    f'(unreadable: {describe.type_name(type(error))})>')

    def show(self):
        """Return what becomes the text of this job, as it is now, with `str`."""
        call = self._call
        if (type(self).__repr__ is not Job.__repr__
                or len(call.args) + len(call.kwargs or ()) > _FEW):
            return describe.safe_repr(self)
        return describe.Shown(_text, *self._described())

    def _described(self):
        """Return what `_text` makes a text of; it does not change any more."""
        call = self._call
        kwargs = call.kwargs and [
            (name, describe.held(one)) for name, one in sorted(call.kwargs.items())]
        return (type(self), *describe.address(self), call.shown_name(),
                [describe.held(one) for one in call.args], kwargs or ())


def _text(cls, oid, database_name, name, args, kwargs):
    texts = [describe.held_argument(one) for one in args]
    texts += [f'{word}={describe.held_argument(one)}' for word, one in kwargs]
    called = describe.printable(f'{name}({", ".join(texts)})')
    return (f'<{describe.type_name(cls)} (oid {oid}, '
            f'db {database_name!r}) ``{called}``>')


def check_moment(name, value):
    """Return the datetime *value* in microseconds; None for None.

    Raise TypeError, naming it *name*, for anything else.
    """
    if value is None:
        return None
    if not isinstance(value, datetime.datetime):
        raise TypeError(
            f'{name} is a datetime or None, not {describe.safe_repr(value, 200)}')
    return clock.to_micros(clock.utc(value))


def check_delta(name, value):
    """Return the timedelta *value* in microseconds; None for None.

    Raise TypeError or ValueError, naming it *name*, for anything else.
    """
    if value is None:
        return None
    if not isinstance(value, datetime.timedelta):
        raise TypeError(
            f'{name} is a timedelta or None, not {describe.safe_repr(value, 200)}')
    if value < datetime.timedelta():
        raise ValueError(f'{name} cannot be negative, as {value} is')
    return value // datetime.timedelta(microseconds=1)


@zope.interface.implementer(ICallbackProxy)
class ConditionalCallbackProxy(Node):
    """See `ICallbackProxy`.  Subclasses say what `getJob` returns."""

    callbacks = ()
    job = None

    def getJob(self, result):
        """See `ICallbackProxy`."""
        raise NotImplementedError

    def choose(self, result):
        """Choose the job for *result* and return it, or None.

        Where there is none, *result* becomes the proxy's own.
        """
        self.job = self.getJob(result)
        if self.job is None:
            self._code, self._result = status.SETTLED, kept(result)
        else:
            self.job.parent = self  # or it could not tell its result
            if self._chain:
                self.job._chain = self._chain
            self._code = status.BEGUN
        return self.job

    def job_settled(self, job):
        """Take over the result of *job*, if it is the chosen one."""
        if job is self.job:
            self._code, self._result = status.SETTLED, job._result

    @property
    def queue(self):
        """The queue of the job that this follows from, or None."""
        return None if self.parent is None else self.parent.queue

    @property
    def agent(self):
        """The agent of the job that this follows from, or None."""
        return None if self.parent is None else self.parent.agent


@zope.interface.implementer(ISuccessFailureCallbackProxy)
class SuccessFailureCallbackProxy(ConditionalCallbackProxy):
    """See `ISuccessFailureCallbackProxy`."""

    def __init__(self, success=None, failure=None):
        self.success = success
        self.failure = failure
        for job in (success, failure):
            if job is not None:
                job.parent = self

    def getJob(self, result):
        """See `ICallbackProxy`."""
        return self.failure if failures.is_failure(result) else self.success


def serial(*jobs, postprocess=None):
    """Return a job that runs *jobs* one after the other.

    Its result is what *postprocess*, a callable or a job, returns when called
    with the finished jobs; without one, the list of the jobs.  More jobs may be
    appended to its ``args`` before it starts, by a part while it runs, or by a
    callback that was added to a part before that began.
    """
    return _workflow(workflow.run_serial, jobs, postprocess)


def parallel(*jobs, postprocess=None):
    """Return a job that runs *jobs* at the same time, as agents have room.

    Otherwise as `serial`.
    """
    return _workflow(workflow.run_parallel, jobs, postprocess)


def _workflow(body, jobs, postprocess):
    last = as_job(workflow.list_of if postprocess is None else postprocess)
    return Job(body, *map(as_job, jobs), postprocess=last)
