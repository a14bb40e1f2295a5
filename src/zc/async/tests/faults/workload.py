"""What the jobs of a simulation do, and what is to become of them.

A `Spec` is a plain description; `build` makes the job of it.  Each call has an
`Entry` of its own in the database: its effect, counted.
"""
import dataclasses
import datetime

import persistent
from transaction.interfaces import TransientError
from twisted.internet.defer import Deferred

from ...failures import Failure
from ...job import Job
from ...job import parallel
from ...job import serial
from ...model.retry import NeverRetry
from ...model.retry import RetryCommonFourTimes
from ...threadlocal import local

#: The `Simulation` that runs in this process; set by it.
stage = None


class Entry(persistent.Persistent):
    """How often a call had its effect."""

    count = 0

    def __init__(self, name):
        self.name = name


class Hot(persistent.Persistent):
    """What many jobs change, so that they conflict."""

    count = 0


def _begin(entry):
    stage.started(entry.name)
    stage.step()


def _note(entry):
    entry.count += 1
    stage.step()


def effect(entry, *ignored):
    """An effect."""
    _begin(entry)
    _note(entry)
    return entry.name


def nothing(entry, *ignored):
    """No effect."""
    _begin(entry)
    return entry.name


def hot(entry, shared, *ignored):
    """An effect, and another on what others change too."""
    _begin(entry)
    _note(entry)
    shared.count += 1
    return entry.name


def fail(entry, *ignored):
    """An effect that is taken back."""
    _begin(entry)
    _note(entry)
    raise ValueError('as told')


def leave(entry, *ignored):
    """An interruption of its own making, twice."""
    _begin(entry)
    _note(entry)
    if stage.times(entry.name) < 3:
        raise SystemExit
    return entry.name


def stumble(entry, *ignored):
    """An error of the transaction, once."""
    _begin(entry)
    _note(entry)
    if stage.times(entry.name) == 1:
        raise TransientError('as told')
    return entry.name


def wait(entry, *ignored):
    """A failure after which its policy puts it off, twice."""
    _begin(entry)
    _note(entry)
    if stage.times(entry.name) < 3:
        raise KeyError('not yet')
    return entry.name


def unstorable(entry, *ignored):
    """An effect, and a result that cannot be stored."""
    _begin(entry)
    _note(entry)
    return lambda: None


def die(entry, *ignored):
    """The end of the process, twice."""
    _begin(entry)
    _note(entry)
    if stage.times(entry.name) < 3:
        stage.die()
    return entry.name


def poison(entry, *ignored):
    """The end of the process, whenever it is called."""
    _begin(entry)
    stage.die()


def rare(entry, *ignored):
    """An effect; the code of it is not everywhere."""
    return effect(entry)


def put(entry, job, *ignored):
    """An effect, and a job in the queue."""
    _begin(entry)
    _note(entry)
    local.getQueue().put(job)
    return entry.name


def hand_on(entry, job, *ignored):
    """An effect, and the result of another job."""
    _begin(entry)
    _note(entry)
    return local.getQueue().put(job)


def defer(entry, seconds, *ignored):
    """No effect, and a result that comes later."""
    _begin(entry)
    return _fired_later(seconds, entry.name)


def defer_failure(entry, seconds, *ignored):
    """No effect, and a failure that comes later."""
    _begin(entry)
    return _fired_later(seconds, Failure(ValueError('late')))


def _fired_later(seconds, result):
    deferred, reactor = Deferred(), local.getReactor()
    stage.deferreds.append(deferred)
    reactor.callFromThread(reactor.callLater, seconds, deferred.callback, result)
    return deferred


class Patient(RetryCommonFourTimes):
    """Puts a job off for some seconds after an error."""

    def jobError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        if failure.check(KeyError):
            return datetime.timedelta(seconds=3)
        return super().jobError(failure, data_cache)


#: What a call may be: the function, whether it has an effect when it does not
#: fail, and whether it fails by itself.
CALLS = {
    'effect': (effect, True, False),
    'nothing': (nothing, False, False),
    'hot': (hot, True, False),
    'fail': (fail, False, True),
    'leave': (leave, True, False),
    'stumble': (stumble, True, False),
    'wait': (wait, True, False),
    'die': (die, True, False),
    'poison': (poison, False, True),
    'rare': (rare, True, False),
    'unstorable': (unstorable, False, True),
    'put': (put, True, False),
    'hand on': (hand_on, True, False),
    'defer': (defer, False, False),
    'defer failure': (defer_failure, False, True),
}
#: Courses of several jobs: they have no call of their own.
COURSES = {'serial': serial, 'parallel': parallel}
#: Calls that have others in their hands.
OUTER = ('put', 'hand on')


@dataclasses.dataclass
class Spec:
    """A job to be put, or a callback."""

    name: str
    call: str
    seconds: float = 0          # of a deferred
    after: float = None         # seconds from its put, scheduled
    by: float = None            # seconds it may wait
    quota: str = None
    once: bool = False          # at most one attempt
    inner: list = ()            # the specs of what it puts, or of its parts
    callbacks: list = ()        # (branch, spec); branch '', 'success', 'failure'

    def walk(self):
        """Iterate over this and what belongs to it."""
        yield self
        for inner in self.inner:
            yield from inner.walk()
        for _branch, callback in self.callbacks:
            yield from callback.walk()

    @property
    def fails(self):
        """Whether it fails by itself."""
        return self.call in CALLS and CALLS[self.call][2]

    @property
    def has_effect(self):
        """Whether it leaves an effect when it does not fail."""
        return self.call in CALLS and CALLS[self.call][1]


def build(spec, ledger, shared):
    """Return the job of *spec* with its callbacks; enter it into *ledger*."""
    job = _course(spec, ledger, shared) if spec.call in COURSES else _call(
        spec, ledger, shared)
    if spec.once:
        job.retry_policy_factory = NeverRetry
    elif spec.call == 'wait':
        job.retry_policy_factory = Patient
    if spec.quota is not None:
        job.quota_names = (spec.quota,)
    for branch, callback in spec.callbacks:
        following = build(callback, ledger, shared)
        if branch:
            job.addCallbacks(**{branch: following})
        else:
            job.addCallback(following)
    return job


def _call(spec, ledger, shared):
    entry = ledger[spec.name] = Entry(spec.name)
    more = []
    if spec.call == 'hot':
        more = [shared]
    elif spec.call in OUTER:
        more = [build(inner, ledger, shared) for inner in spec.inner]
    elif spec.call.startswith('defer'):
        more = [spec.seconds]
    return Job(CALLS[spec.call][0], entry, *more)


def _course(spec, ledger, shared):
    *parts, last = [build(inner, ledger, shared) for inner in spec.inner]
    return COURSES[spec.call](*parts, postprocess=last)


class Cancelled(Exception):
    """An administrator has let a job fail."""
