"""Short stories, each told again for every storage call and kind of fault.

A job's effects are changes of the `Account`, by name.  What a story says of them
holds whatever kind of fault strikes at whichever call, as `.invariants` has it.
"""
import dataclasses
import datetime

import persistent
from twisted.internet.defer import Deferred

from ... import clock
from ... import testing
from ...interfaces import IJob
from ...job import Job
from ...job import NeverRetry
from ...job import parallel
from ...job import RetryCommonFourTimes
from ...job import serial
from ...model.callbacks import SETTLED
from ...threadlocal import local


class Stage:
    """What the jobs of the story that is being told may ask of their world."""

    world = None

    def begin(self, world):
        """Let *world* be the one whose story is told now; None: no more."""
        self.world = world
        self.well = False   # whether what hurts without any fault is over
        self.claims = True  # whether those who leave the claims to others claim, too
        self.ahead = 0      # jobs that are claimed ahead
        self.looks = 0      # of `Account.look_late`
        self.starts = {}    # by the name of an effect, how often its body began


stage = Stage()


class Account(persistent.Persistent):
    """What jobs change.  By the job's name, how often it was changed."""

    def __init__(self):
        self.changes = {}

    def change(self, name, *ignored):
        """An effect."""
        stage.starts[name] = stage.starts.get(name, 0) + 1
        self.changes = {**self.changes, name: self.changes.get(name, 0) + 1}
        return name

    def change_not_before(self, name, moment):
        """An effect, not to be begun before *moment*."""
        if clock.micros() < moment:
            raise AssertionError('begun too early')
        return self.change(name)

    def change_slowly(self, name):
        """An effect, after a second."""
        testing.set_now(clock.now() + datetime.timedelta(seconds=1))
        return self.change(name)

    def change_at_second(self, name):
        """An effect, where the first attempt did not succeed."""
        if local.getJob()._attempt == 1:
            raise Unlucky
        return self.change(name)

    def look(self, *ignored):
        """No effect, of a callback: what it follows from must have ended."""
        before = local.getJob().parent
        if not IJob.providedBy(before):
            before = before.parent  # a proxy has its result from whom it chose
        if before.status not in SETTLED:
            raise TooEarly(before.status)

    def change_after(self, name, *ignored):
        """An effect of a callback."""
        self.look()
        return self.change(name)

    def fail_after(self, *ignored):
        """No effect, of a callback."""
        self.look()
        self.fail()

    def fail(self):
        """No effect."""
        self.changes = {**self.changes, 'never': 1}
        raise ValueError('as told')

    def put(self, name):
        """An effect, and a job with another."""
        self.change(name)
        local.getQueue().put(Job(self.change, name + ' inner'))

    def hand_on(self, name):
        """An effect, and the result of a job with another."""
        self.change(name)
        return local.getQueue().put(Job(self.change, name + ' inner'))

    def change_and_stop(self, name):
        """An effect, unless its process is told to stop meanwhile: the first is."""
        self.change(name)
        if not stage.well:
            stage.well = True
            local.getDispatcher().deactivate()

    def change_unless_first(self, name):
        """An effect; but the process with the number 1 dies of it."""
        self.change(name)
        if local.getDispatcher().number == 1:
            local.getDispatcher().die()

    def change_when_well(self, name):
        """An effect; but processes die of it until all is well."""
        self.change(name)
        if not stage.well:
            local.getDispatcher().die()

    def change_late(self, name):
        """An effect; but the process with the number 1 stands still meanwhile."""
        self.change(name)
        if local.getDispatcher().number == 1 and not stage.well:
            stage.well = True
            stage.world.stand_still(local.getDispatcher())


    def tell_attempt(self):
        """No effect, but the number of the attempt as the result."""
        return local.getJob()._attempt

    def look_late(self, *ignored):
        """As `look`; but the second time the process with the number 1 stands still.

        Others claim meanwhile what it has in hand.
        """
        self.look()
        stage.looks += 1
        if local.getDispatcher().number == 1 and stage.looks == 2 and not stage.well:
            stage.well = True
            stage.world.stand_still(local.getDispatcher(), work=False)

    def tell_attempt_late(self):
        """No effect, but the number of the attempt as the result.

        The process with the number 1 stands still meanwhile, and others claim it.
        """
        attempt = local.getJob()._attempt
        if local.getDispatcher().number == 1 and not stage.well:
            stage.well = True
            stage.world.stand_still(local.getDispatcher(), work=False)
        return attempt


class TooEarly(Exception):
    """A callback was called while what it follows from had not ended."""


class Unlucky(Exception):
    """What an attempt did not succeed for."""


class TryLater(RetryCommonFourTimes):
    """Tries again seven seconds after bad luck."""

    internal_exceptions = (
        ((Unlucky,), 'unlucky', 3, 7, 0, 7),
        *RetryCommonFourTimes.internal_exceptions)


def nothing():
    """A job without effects."""


def take_late(job):
    """Take *job*; but the process with the number 1, whose it is, stands still first."""
    if not stage.well:
        stage.well = True
        stage.claims = False
        stage.world.stand_still(stage.world.process(1))
        stage.claims = True
    return True


def leave(job):
    """Take *job*, unless somebody else is just taking it."""
    return stage.claims


def change_by_function(account, name):
    """An effect, by code that may be missing."""
    return account.change(name)


def later():
    """A job that has its result three seconds later."""
    deferred = Deferred()
    local.getReactor().callLater(3, deferred.callback, 'done')
    return deferred


# Stories

@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """A story.

    *put* is called with the queue and the account; what it returns is, by the
    names of the effects, how often each must be there in the end: a number, or a
    range of them.
    """

    put: object
    enrolled: tuple = (1,)          # the dispatchers that the queue knows
    living: tuple = (1,)            # those that start with the story
    databases: tuple = ('main',)    # the last one has the queue
    produce: object = None          # like *put*, but in a process whose calls may fail
    missing: str = None             # the function that is missing until all is well
    may_fail: bool = False          # whether a job may fail, whatever the fault
    parks: bool = False             # whether a job is parked without any fault
    starts: int = 1                 # how often a body begins without any fault
    long: bool = False              # whether to tell all of it is left to the long form

    @property
    def name(self):
        """The name of the story."""
        return (self.produce or self.put).__name__


#: All stories, by name.
SCENARIOS = {}


def scenario(**kwargs):
    """Let a function be the `Scenario.put` of a story."""
    def add(put):
        SCENARIOS[put.__name__] = Scenario(put, **kwargs)
        return put

    return add


@scenario()
def no_effect(queue, account):
    queue.put(nothing)
    return {}


@scenario()
def one_effect(queue, account):
    queue.put(Job(account.change, 'a'))
    return {'a': 1}


@scenario()
def scheduled(queue, account):
    due = clock.now() + datetime.timedelta(seconds=12)
    queue.put(Job(account.change_not_before, 'a', clock.to_micros(due)),
              begin_after=due)
    return {'a': 1}


@scenario(may_fail=True)
def at_most_once(queue, account):
    queue.put(Job(account.change, 'a'), retry_policy_factory=NeverRetry)
    return {'a': range(2)}


@scenario(long=True)
def put_off(queue, account):
    queue.put(Job(account.change_at_second, 'a'), retry_policy_factory=TryLater)
    return {'a': 1}


@scenario(long=True)
def too_late(queue, account):
    job = queue.put(Job(account.change, 'a'), begin_by=datetime.timedelta(seconds=1))
    job.addCallbacks(failure=Job(account.change, 'f'))
    return {'f': 1}


@scenario()
def two_effects(queue, account):
    queue.put(Job(account.change, 'a'))
    queue.put(Job(account.change, 'b'))
    return {'a': 1, 'b': 1}


@scenario()
def quota(queue, account):
    _put_with_quota(queue, Job(account.change, 'a'), Job(account.change, 'b'))
    return {'a': 1, 'b': 1}


def _put_with_quota(queue, *jobs):
    queue.quotas.create('one')
    for job in jobs:
        job.quota_names = ('one',)
        queue.put(job)


@scenario()
def callbacks(queue, account):
    job = queue.put(Job(account.change, 'a'))
    job.addCallback(Job(account.change, 'b')).addCallback(Job(account.change, 'c'))
    return {'a': 1, 'b': 1, 'c': 1}


def _put_with_callbacks(queue, *calls):
    """Put two jobs without effects that have these callbacks.

    Only for those of the second one may its end wait: the kinds are known by then.
    """
    for number in range(2):
        job = queue.put(nothing)
        for make in calls:
            job.addCallback(make(number))


@scenario()
def callbacks_without_effects(queue, account):
    def both(number):
        first = Job(account.look)
        first.addCallbacks(Job(account.look), Job(account.fail))
        return first

    _put_with_callbacks(queue, both, lambda number: Job(account.look))
    return {}


@scenario()
def effect_of_second_callback(queue, account):
    _put_with_callbacks(queue, lambda number: Job(account.look),
                        lambda number: Job(account.change_after, f'b{number}'),
                        lambda number: Job(account.look))
    return {'b0': 1, 'b1': 1}


@scenario()
def failing_second_callback(queue, account):
    def failing(number):
        job = Job(account.fail_after)
        job.addCallbacks(failure=Job(account.change_after, f'f{number}'))
        return job

    _put_with_callbacks(queue, lambda number: Job(account.look), failing)
    return {'f0': 1, 'f1': 1}


@scenario(may_fail=True)
def second_callback_at_most_once(queue, account):
    def once(number):
        job = Job(account.change_after, f'o{number}')
        job.retry_policy_factory = NeverRetry
        return job

    _put_with_callbacks(queue, lambda number: Job(account.look), once)
    return {'o0': range(2), 'o1': range(2)}


@scenario()
def failure(queue, account):
    queue.put(account.fail).addCallbacks(failure=Job(account.change, 'f'))
    return {'f': 1}


@scenario()
def puts(queue, account):
    queue.put(Job(account.put, 'a'))
    return {'a': 1, 'a inner': 1}


@scenario(long=True)
def returned_job(queue, account):
    queue.put(Job(account.hand_on, 'a')).addCallback(Job(account.change, 'b'))
    return {'a': 1, 'a inner': 1, 'b': 1}


@scenario()
def returned_deferred(queue, account):
    queue.put(later).addCallback(Job(account.change, 'b'))
    return {'b': 1}


@scenario(long=True)
def in_series(queue, account):
    queue.put(serial(Job(account.change, 'a'), Job(account.change, 'b'),
                     postprocess=Job(account.change, 'c')))
    return {'a': 1, 'b': 1, 'c': 1}


@scenario(long=True)
def in_parallel(queue, account):
    queue.put(parallel(Job(account.change, 'a'), Job(account.change, 'b'),
                       postprocess=Job(account.change, 'c')))
    return {'a': 1, 'b': 1, 'c': 1}


@scenario(starts=2, long=True)
def handed_over(queue, account):
    queue.put(Job(account.change_and_stop, 'a'))
    queue.put(Job(account.change, 'b'))
    return {'a': 1, 'b': 1}


@scenario(enrolled=(1, 2), living=(1, 2), starts=2)
def taken_over(queue, account):
    queue.put(Job(account.change_unless_first, 'a'))
    queue.put(Job(account.change, 'b')).addCallback(Job(account.change, 'c'))
    return {'a': 1, 'b': 1, 'c': 1}


@scenario(enrolled=(1, 2), living=(1, 2), starts=2, long=True)
def taken_for_dead(queue, account):
    _put_with_quota(queue, Job(account.change_late, 'a'), Job(account.change, 'b'))
    return {'a': 1, 'b': 1}


@scenario(enrolled=(1, 2), living=(1, 2), long=True)
def claimed_late(queue, account):
    # who takes it is taken for dead meanwhile, and nobody else has touched the job
    for agents, filter in zip(queue.dispatchers.values(), (take_late, leave)):
        agents['main'].filter = filter
    queue.put(Job(account.change, 'a'))
    return {'a': 1}


@scenario()
def claimed_ahead(queue, account):
    # while the first is worked on, the others wait for too long: they are given back
    stage.ahead = 2
    for agents in queue.dispatchers.values():
        agents['main'].size = 1
    queue.put(Job(account.change_slowly, 'a'))
    queue.put(Job(account.change, 'b'))
    queue.put(Job(account.change, 'c'))
    return {'a': 1, 'b': 1, 'c': 1}


@scenario(enrolled=(1, 2), living=(1, 2), long=True)
def told_late(queue, account):
    # who does it is taken for dead, and brings its result while another one has it
    queue.put(account.tell_attempt_late)
    return {}


@scenario(enrolled=(1, 2), living=(1, 2), long=True)
def ends_told_late(queue, account):
    # as above; what it brings late is the end of a job, and of a callback
    for _number in range(2):
        queue.put(account.tell_attempt).addCallback(Job(account.look_late))
    return {}


@scenario(parks=True, starts=3, long=True)
def poisonous(queue, account):
    # it is parked when two processes have died of it, and then all is well
    queue.deaths_before_parking = 2
    queue.put(Job(account.change_when_well, 'a'))
    return {'a': 1}


@scenario(parks=True, missing='change_by_function')
def without_code(queue, account):
    # it is parked, since nobody else is there who could have the code
    queue.put(Job(change_by_function, account, 'a'))
    return {'a': 1}


@scenario(databases=('main', 'queues'))
def two_databases(queue, account):
    # Of two commits the second may be lost: the effect is there, and the job runs
    # again.  The main database is the first, so that no effect is lost.
    queue.put(Job(account.change, 'a'))
    return {'a': range(1, 4)}


@scenario(enrolled=())
def first_start(queue, account):
    queue.put(Job(account.change, 'a'))
    return {'a': 1}


def produced(queue, account):
    queue.put(Job(account.change, 'a'))
    account.change('put')
    return {'a': 1, 'put': 1}


SCENARIOS['produced'] = Scenario(lambda queue, account: {}, produce=produced)
