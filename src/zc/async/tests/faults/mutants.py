"""What the harnesses guard, taken out of the product by name.

A harness that never fails proves nothing: for each mutant here at least one test,
named in ``caught_by``, fails or must find a problem.  `applied` is for a block of
this process; `install` is for good, in a process that was forked for it.

A new one is a function that is decorated with `mutant` and yields what to replace:
the object, the name of its attribute, and what stands there instead.
"""
import contextlib
import dataclasses
from unittest import mock

from ...interfaces import CALLBACKS
from ...interfaces import IAgent
from ...interfaces import IJob
from ...model import callbacks
from ...model import ends
from ...model import execution
from ...model import outcomes
from ...model import quota
from ...model import recovery
from ...model import status
from ...dispatcher import Dispatcher
from ...queue import Queue
from ...runtime import attempt
from ...runtime import sightings
from ...runtime import survey
from ...runtime import turns
from ...runtime import unstored
from ...runtime import worker
from ...runtime.effects import has_effects

TABLE = {}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A way to break the product: *breaks* says in a sentence what it breaks."""

    name: str
    breaks: str
    patches: object
    #: Tests, as module.Class.test within zc.async.tests.
    caught_by: tuple


def mutant(name, breaks, *caught_by):
    """Enter the decorated function in the table."""
    def enter(patches):
        TABLE[name] = Mutant(name, breaks, patches, caught_by)
        return patches

    return enter


@contextlib.contextmanager
def applied(name):
    """Have the product broken within the block; None breaks nothing.

    Raise KeyError for a mutant that there is not, and AttributeError for one whose
    place in the product is gone.
    """
    with contextlib.ExitStack() as stack:
        for target, attribute, new in TABLE[name].patches() if name else ():
            stack.enter_context(mock.patch.object(target, attribute, new))
        yield


_installed = contextlib.ExitStack()


def install(name):
    """Break the product as the mutant *name* does, for the rest of this process."""
    _installed.enter_context(applied(name))


# Who may commit

@mutant('no-fence', 'who was declared dead may go on claiming and storing results',
        'test_fence.DeclaredDead.test_its_claim_is_not_committed',
        'faults.test_every_call.Mutants.test_no_fence',
        'faults.test_simulation.Mutants.test_no_fence',
        'faults.test_mutants.PlayedToo.test_no_fence')
def _no_fence():
    yield attempt, 'fence', lambda job: True
    yield attempt, 'may_store', lambda job: True
    yield turns, 'fence_agents', lambda agents: True


@mutant('no-token', 'the number of the attempt is not looked at',
        'faults.test_every_call.Mutants.test_no_token',
        'faults.test_simulation.Mutants.test_no_token',
        'faults.test_mutants.Played.test_no_token')
def _no_token():
    def apply(job, outcome, nodes, ended=()):
        for end, node in zip(outcome.ends, ended):
            end.apply(node)
        if outcome.value is not outcomes.NOTHING and job._code == status.BEGUN:
            execution.settle(job, outcome.value)
        for node in nodes:
            callbacks.try_finish(node)
        callbacks.try_finish(job)
        return True

    yield outcomes, 'apply', apply
    yield attempt.Attempts, '_check_ours', lambda self: None


@mutant('takes-over-the-living', 'nobody has to be silent to be taken for dead',
        'test_dispatcher.TakingOver.test_a_clock_that_jumps_makes_nobody_dead',
        'faults.test_simulation.Mutants.test_takes_over_the_living',
        'faults.test_mutants.PlayedToo.test_takes_over_the_living')
def _takes_over_the_living():
    yield sightings.Sightings, 'is_dead', lambda self, agents: True


# What is one commit

@mutant('runs-again-what-landed', 'a commit without an answer is taken for failed',
        'faults.test_every_call.Mutants.test_runs_again_what_landed',
        'faults.test_simulation.Mutants.test_runs_again_what_landed',
        'faults.test_mutants.PlayedToo.test_runs_again_what_landed')
def _runs_again_what_landed():
    def take_back(attempts):
        job = attempts._job
        job._code, job._attempt = attempts._before

    yield attempt.Attempts, '_landed', lambda self: False
    yield attempt.Attempts, '_check_ours', take_back


@mutant('two-commits', 'the effects are committed before the result',
        'test_worker.Nasty.test_a_result_that_cannot_be_stored_after_effects',
        'faults.test_every_call.Mutants.test_two_commits',
        'faults.test_simulation.Mutants.test_two_commits',
        'faults.test_mutants.PlayedToo.test_two_commits',
        'faults.test_powercut.Mutants.'
        'test_a_product_that_commits_effects_by_themselves')
def _two_commits():
    whole = attempt.Attempts._settled_value

    def settled_value(self, value):
        if has_effects(self._manager.get(), self._connection):
            self._manager.commit()
            self._manager.begin()
        return whole(self, value)

    yield attempt.Attempts, '_settled_value', settled_value


@mutant('keeps-effects-of-failures', 'what a failing call has changed is committed',
        'test_worker.Failures.test_what_it_changed_is_not_stored',
        'faults.test_every_call.Mutants.test_keeps_effects_of_failures',
        'faults.test_simulation.Mutants.test_keeps_effects_of_failures',
        'faults.test_mutants.PlayedToo.test_keeps_effects_of_failures')
def _keeps_effects_of_failures():
    from ... import failures

    def invoke(job, args=(), kwargs=None):
        try:
            return whole(job, args, kwargs)
        except Exception as error:
            return failures.sanitize(failures.Failure(error))

    whole = execution.invoke
    yield execution, 'invoke', invoke


@mutant('forgets-outcomes', 'what was not stored while the storage was away is dropped',
        'faults.test_every_call.Mutants.test_forgets_outcomes',
        'faults.test_simulation.Mutants.test_forgets_outcomes',
        'faults.test_mutants.Played.test_forgets_outcomes')
def _forgets_outcomes():
    whole = turns.Turns._commit_batch

    def commit_batch(self, batch, claim, pings):
        try:
            return whole(self, batch, claim, pings)
        except Exception:
            if not batch:
                raise
            return [], {}

    yield turns.Turns, '_commit_batch', commit_batch


@mutant('begins-unseen', 'that an at-most-once job begins is not committed before it does',
        'test_worker.Policies.test_never_is_never',
        'faults.test_every_call.Mutants.test_begins_unseen',
        'faults.test_simulation.Mutants.test_begins_unseen',
        'faults.test_mutants.PlayedToo.test_begins_unseen')
def _begins_unseen():
    def begin_alone(self, job):
        execution.begin(job)
        return job._attempt

    yield worker._Performance, '_begin_alone', begin_alone


@mutant('forgets-what-waits', 'what waits for a commit is not in the one that is tried next',
        'test_callback_groups.Trouble.test_a_second_attempt_finds_the_job_stored',
        'faults.test_every_call.Mutants.test_forgets_what_waits')
def _forgets_what_waits():
    whole = attempt.Attempts._failed

    def failed(self, failure, error):
        if self._unstored is not None:
            self._unstored.forget()
        return whole(self, failure, error)

    yield attempt.Attempts, '_failed', failed


@mutant('stores-what-waits-for-others',
        'what waits is stored whoever has the job by then',
        'test_callback_groups.Trouble.'
        'test_who_was_taken_for_dead_stores_nothing_with_its_next_callback',
        'faults.test_every_call.Mutants.test_stores_what_waits_for_others')
def _stores_what_waits_for_others():
    yield ends.End, 'fits', lambda self, job: True
    yield turns.Turns, '_holds', lambda self, job: True
    yield attempt, 'fence', lambda job: True
    yield attempt, 'may_store', lambda job: True
    yield unstored, 'fence', lambda job: True
    yield unstored, '_place_of', lambda job: None
    yield attempt.Attempts, '_check_place', lambda self: None


# What becomes of the jobs of the dead

@mutant('hand-over-loses', 'a job of the dead leaves the agent, and goes nowhere',
        'test_recovery.HandOver.test_a_job_that_had_begun_goes_to_the_front',
        'faults.test_every_call.Mutants.test_hand_over_loses',
        'faults.test_simulation.Mutants.test_hand_over_loses',
        'faults.test_mutants.PlayedToo.test_hand_over_loses',
        'faults.test_powercut.Mutants.test_a_product_that_loses_jobs_of_the_dead')
def _hand_over_loses():
    def hand_back(agent, job, queue, died=False):
        agent.discard(job)
        job.parent = queue

    yield recovery, 'hand_back', hand_back


@mutant('hand-over-restarts', 'a job that has its result is run again, as if it had not',
        'test_recovery.HandOver.test_a_job_with_callbacks_left_goes_to_the_front',
        'faults.test_every_call.Mutants.test_hand_over_restarts',
        'faults.test_simulation.Mutants.test_hand_over_restarts',
        'faults.test_mutants.PlayedToo.test_hand_over_restarts')
def _hand_over_restarts():
    whole = recovery.hand_back

    def hand_back(agent, job, queue, died=False):
        if job.status is CALLBACKS:
            job._code = status.UNSET
        whole(agent, job, queue, died)

    yield recovery, 'hand_back', hand_back


@mutant('callbacks-again', 'callbacks are run from the first on, done or not',
        'test_callbacks.Going.test_what_is_done_is_not_done_again',
        'faults.test_every_call.Mutants.test_callbacks_again',
        'faults.test_simulation.Mutants.test_callbacks_again',
        'faults.test_mutants.PlayedToo.test_callbacks_again')
def _callbacks_again():
    whole = callbacks._perform

    def perform(child, node, performer):
        if IJob.providedBy(child) and child.status in callbacks.SETTLED:
            child._code = status.UNSET
        whole(child, node, performer)

    yield callbacks, '_perform', perform


# Quotas

@mutant('quota-unchecked', 'a claim does not look whether a quota has room',
        'test_races.ClaimsOfAQuota.test_two_claims_do_not_exceed_it',
        'faults.test_every_call.Mutants.test_quota_unchecked',
        'faults.test_simulation.Mutants.test_quota_unchecked',
        'faults.test_mutants.PlayedToo.test_quota_unchecked')
def _quota_unchecked():
    yield Queue, 'has_room', lambda self, names: True
    yield quota.Quota, 'filled', property(lambda self: False)


@mutant('quota-unreleased', 'who is done with a quota still counts there',
        'test_quota.TheQuotas.'
        'test_a_claimed_job_that_went_astray_does_not_fill_a_quota_for_ever',
        'faults.test_every_call.Mutants.test_quota_unreleased',
        'faults.test_simulation.Mutants.test_quota_unreleased',
        'faults.test_mutants.PlayedToo.test_quota_unreleased')
def _quota_unreleased():
    def release(job):
        if IAgent.providedBy(job.parent):
            job.parent.jobCompleted(job)

    yield callbacks, 'release', release
    yield quota.Quota, 'clean', lambda self: None


# Producers

@mutant('hasty', 'a put is acknowledged before it is committed',
        'faults.test_mutants.Played.test_hasty')
def _hasty():
    from . import actors
    yield actors.Producer, 'hasty', True


# What is found only when it is looked for

@mutant('nobody-takes-over', 'nobody is ever silent for long enough to be dead',
        'faults.test_every_call.Mutants.test_nobody_takes_over',
        'faults.test_mutants.PlayedToo.test_nobody_takes_over')
def _nobody_takes_over():
    yield sightings.Sightings, 'is_dead', lambda self, agents: False


@mutant('forgets-strays', 'jobs in an agent that nobody works on are not looked for',
        'faults.test_simulation.Mutants.test_forgets_strays')
def _forgets_strays():
    yield survey.Survey, '_strays', lambda self, queue, agent: []


@mutant('forgets-due', 'no claim is planned for when a scheduled job falls due',
        'faults.test_simulation.Mutants.test_forgets_due')
def _forgets_due():
    yield Dispatcher, 'due_next', lambda self, moment: None
