"""A job without effects and its callbacks without effects: stored with others."""
import unittest
import uuid
from unittest import mock

import transaction
import zope.component
import zope.interface
from ZODB.POSException import ConflictError

from .. import clock
from .. import failures
from .. import testing
from ..agent import Agent
from ..interfaces import ACTIVE
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import IJob
from ..interfaces import IRetryPolicy
from ..interfaces import KEY
from ..interfaces import NotStorableError
from ..interfaces import PENDING
from ..job import Job
from ..job import NeverRetry
from ..job import RetryCommonForever
from ..job import RetryCommonFourTimes
from ..job import SuccessFailureCallbackProxy
from ..model import ends
from ..model import execution
from ..model import outcomes
from ..model import retry
from ..model import status
from ..runtime import unstored
from ..runtime.turns import Turns
from ..threadlocal import local
from .test_dispatcher import multiply
from .test_dispatcher import nothing
from .test_worker import Case
from .test_worker import commits_itself
from .test_worker import count
from .test_worker import counts
from .test_worker import note
from .test_worker import return_lock
from .test_worker import story


def elsewhere(look, oid=None):
    """Return ``look(job)`` of this thread's job, as another connection finds it now."""
    oid = local.getJob()._p_oid if oid is None else oid
    with local.getJob()._p_jar.db().transaction() as connection:
        return look(connection.get(oid))


def look(*args):
    """Note what this callback finds, and what others do; nothing is changed."""
    job = local.getJob()
    note(job.status, job.parent.status, job.parent.result,
         elsewhere(lambda job: (job.parent.status, job.status)))
    return args[0]


def see(*args):
    """As `look`, by another name."""
    return look(*args)


def change(*args):
    """Have an effect."""
    count('begun')
    root = local.getJob()._p_jar.root()
    root['changed'] = root.get('changed', 0) + 1
    return 'changed'


def conflict_at_first(*args):
    """Have an effect, which conflicts when it is committed for the first time."""
    look(*args)
    if count('tries') == 1:
        transaction.get().addBeforeCommitHook(conflict)
    return change()


def conflict():
    raise ConflictError


def take_long(*args):
    """Take a second, the second time; change nothing."""
    if count('long') == 2:
        testing.set_now(clock.now() + testing.datetime.timedelta(seconds=1))


def start_anew(*args):
    """Take away what the transaction has, the second time."""
    if count('anew') == 2:
        transaction.abort()


def answer():
    count('answered')
    return 42


def commit_itself(*args):
    """Commit what the transaction has, the second time."""
    if count('committed') == 2:
        transaction.commit()


def resume_elsewhere(*args):
    """Have another one go on with the callbacks, the second time."""
    if count('resumed') == 2:
        with local.getJob()._p_jar.db().transaction() as connection:
            connection.get(local.getJob().parent._p_oid).resumeCallbacks()


def change_elsewhere(*args):
    """Change something in another connection."""
    with local.getJob()._p_jar.db().transaction() as connection:
        connection.root()['changed'] = count('elsewhere')


def read(*args):
    """Note what is changed."""
    note(local.getJob()._p_jar.root().get('changed'))


def touch_parent(*args):
    """Change the job that this follows from."""
    local.getJob().parent.failure_log_level = 7


def hook(*args):
    """Want to be told of the commit."""
    transaction.get().addAfterCommitHook(note)


def save(*args):
    """Change something, and store it halfway."""
    change()
    transaction.savepoint()


def add(*args):
    """Add an object to which nothing refers yet."""
    local.getJob()._p_jar.add(Job(nothing))


def guard(*args):
    """Rely on something that was read."""
    connection = local.getJob()._p_jar
    connection.root()._p_activate()
    connection.readCurrent(connection.root())


def return_failure():
    try:
        raise LookupError('as a value')
    except LookupError:
        return failures.Failure()


def return_failure_too(*args):
    return return_failure()


def return_list(*args):
    return [1]


def extend(result):
    """Change the result, but not in the database."""
    result.append(2)
    return result


def extend_and_change(result):
    """Change the result, and something in the database."""
    result.append(2)
    return change()


class Plain:
    """Stored by an application's code."""


def return_plain(*args):
    return Plain()


class Choosing(SuccessFailureCallbackProxy):
    """One of an application's own."""


class SetsUp(Job):
    """Changes something before it is called, or after it."""

    def setUp(self):
        if self.failure_log_level == 1:
            change()

    def tearDown(self, info):
        note('tearDown')
        if self.failure_log_level == 2:
            change()


class Mine(RetryCommonFourTimes):
    """A policy of an application's own."""


class Waiting(Case):

    def setUp(self):
        super().setUp()
        self.kept = kept = []
        self.submit = Turns.submit

        def submit(turns, ticket, outcome, goes_on):
            kept.append((turns, ticket, outcome))

        self.patch = mock.patch.object(Turns, 'submit', submit)

    def warm(self, *calls):
        """Let callbacks of these kinds be known as short ones."""
        job = Job(nothing)
        for call in calls:
            job.addCallback(call if isinstance(call, Job) else Job(call))
        self.finish(self.put(job))
        story.clear()

    def commits(self):
        return len(list(self.db.storage.iterator()))

    def in_hand(self, job):
        """Have *job* done, and its outcome kept; return the number of commits so far."""
        self.put(job)
        before = self.commits()
        with self.patch:
            self.reactor.time_flies(self.dispatcher.poll_interval)
            self.assertTrue(testing.wait_for(lambda: self.kept))
        transaction.begin()
        return self.commits() - before

    def go_on(self):
        """Let the outcome be stored."""
        for turns, ticket, outcome in self.kept:
            self.submit(turns, ticket, outcome)
        self.kept.clear()
        transaction.begin()

    def job(self, *calls, main=None):
        """Return a job with these callbacks, and the callbacks."""
        job = Job(multiply, 6, 7) if main is None else main
        return job, [job.addCallback(one if isinstance(one, Job) else Job(one))
                     for one in calls]

    @property
    def changed(self):
        transaction.begin()
        return self.connection.root().get('changed', 0)

    def assertDone(self, job, *nodes):
        transaction.begin()
        self.assertEqual([one.status for one in (job, *nodes)],
                         [COMPLETED] * (1 + len(nodes)))
        self.assertEqual(len(self.agents['main']), 0)
        self.assertEqual(list(self.agents['main'].completed)[0], job)


class Together(Waiting):

    def test_neither_the_job_nor_its_callbacks_are_committed_by_the_worker(self):
        self.warm(look)
        job, (first, second) = self.job(look, look)
        inner = first.addCallback(Job(look))
        # the claim alone
        self.assertEqual(self.in_hand(job), 1)
        self.assertEqual((job.status, job.result), (ACTIVE, None))
        self.go_on()
        self.assertDone(job, first, inner, second)
        self.assertEqual([one.result for one in (job, first, inner, second)], [42] * 4)
        self.assertEqual((first._attempt, job._attempt), (1, 1))
        self.assertLessEqual(job.active_end, first.active_start)
        self.assertLessEqual(inner.active_end, second.active_start)

    def test_a_callback_finds_the_result_which_others_do_not_yet(self):
        self.warm(look)
        self.finish(self.put(self.job(look)[0]))
        self.assertEqual(story, [(ACTIVE, CALLBACKS, 42, (ACTIVE, status.NEW))])

    def test_a_choice_by_the_result_waits_as_well(self):
        self.warm(look)
        job = Job(multiply, 6, 7)
        chosen, other = Job(look), Job(look)
        proxy = job.addCallbacks(success=chosen, failure=other)
        empty = job.addCallbacks(failure=Job(look))
        self.assertEqual(self.in_hand(job), 1)
        self.go_on()
        self.assertDone(job, chosen, proxy, empty)
        self.assertEqual((chosen.result, proxy.result, empty.result), (42, 42, 42))
        self.assertIs(other.status, status.NEW)

    def test_one_by_an_application_s_code_does_not(self):
        self.warm(look)
        job = Job(multiply, 6, 7)
        proxy = job.addCallback(Choosing(Job(look)))
        self.assertEqual(self.in_hand(job), 2)
        self.assertIs(job.status, CALLBACKS)
        self.go_on()
        self.assertDone(job, proxy, proxy.success)

    def test_an_effect_is_one_commit_with_what_waited_for_it(self):
        self.warm(look, change)
        job, (first, second, third) = self.job(look, change, look)
        self.assertEqual(self.in_hand(job), 2)
        self.assertEqual((job.status, job.result), (CALLBACKS, 42))
        self.assertEqual((first.status, second.status), (CALLBACKS, CALLBACKS))
        self.assertEqual((second.result, self.changed), ('changed', 2))
        self.assertIs(third.status, status.NEW)
        self.go_on()
        self.assertDone(job, first, second, third)

    def test_the_callbacks_of_a_job_with_effects_wait(self):
        self.warm(look)
        job, (first, second) = self.job(look, look, main=Job(change))
        self.assertEqual(self.in_hand(job), 2)
        self.assertEqual((job.status, first.status), (CALLBACKS, status.NEW))
        self.go_on()
        self.assertDone(job, first, second)

    def test_one_that_fails_is_stored_with_what_waited(self):
        self.warm(look, fails_with_result)
        job, (first, bad) = self.job(look, Job(fails_with_result))
        last = bad.addCallback(Job(note, 'last'))
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.in_hand(job)
        self.assertEqual((job.status, first.status), (CALLBACKS, CALLBACKS))
        self.assertFailed(bad, LookupError)
        self.assertEqual(len(logs.output), 1, logs.output)
        self.go_on()
        self.assertDone(job, first, bad, last)

    def test_a_failure_as_a_value_is_told_once(self):
        self.warm(return_failure_too)
        job, (callback,) = self.job(return_failure_too, main=Job(return_failure))
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.assertEqual(self.in_hand(job), 1)
            self.go_on()
        self.assertDone(job, callback)
        self.assertFailed(job, LookupError)
        self.assertFailed(callback, LookupError)
        self.assertEqual(len(logs.output), 2, logs.output)


class Values(Waiting):
    """A result is what the job returned, whatever a callback does with it."""

    def test_one_that_a_callback_changes_is_stored_as_it_was(self):
        self.warm(look)
        self.finish(self.put(self.job(extend, main=Job(return_list))[0]))
        job, (callback, after) = self.job(extend, look, main=Job(return_list))
        proxy = job.addCallbacks(failure=Job(look))
        self.assertEqual(self.in_hand(job), 1)
        self.go_on()
        self.assertDone(job, callback, after, proxy)
        self.assertEqual([one.result for one in (job, callback, after, proxy)],
                         [[1], [1, 2], [1, 2], [1]])

    def test_also_with_the_effect_of_a_callback(self):
        self.warm(return_list)
        extending, changing = extend, extend_and_change
        self.finish(self.put(self.job(extending, changing, main=Job(return_list))[0]))
        job, (first, second) = self.job(extending, changing, main=Job(return_list))
        proxy = first.addCallbacks(Job(return_list))
        self.assertEqual(self.in_hand(job), 2)
        self.assertEqual((job.result, first.result, proxy.result), ([1], [1, 2], [1]))
        self.go_on()
        self.assertDone(job, first, second, proxy)

    def test_one_that_an_application_s_code_stores_does_not_wait(self):
        self.warm(note)
        job, (callback,) = self.job(note, main=Job(return_plain))
        self.assertEqual(self.in_hand(job), 2)
        self.assertIsInstance(job.result, Plain)

    def test_nor_one_that_refers_to_the_database(self):
        self.warm(return_parent)
        job, (callback,) = self.job(return_parent)
        self.assertEqual(self.in_hand(job), 2)
        self.assertEqual(callback.result, [job])

    def test_one_that_cannot_be_stored_is_a_failure(self):
        self.warm(return_lock_too)
        job, (callback,) = self.job(return_lock_too)
        self.in_hand(job)
        self.assertFailed(callback, NotStorableError)


def return_parent(*args):
    return [local.getJob().parent]


def return_lock_too(*args):
    return return_lock()


def fails_with_result(result):
    raise LookupError(result)


class NotForLong(Waiting):
    """A result waits for nothing that takes long."""

    def told(self, *nodes):
        """Return what the first callback found others to see of its job."""
        self.finish(self.put(self.job(*nodes)[0]))
        return story[0][3][0]

    def test_it_does_not_wait_for_a_kind_of_callback_never_seen(self):
        self.assertEqual(self.told(look), CALLBACKS)
        story.clear()
        self.assertEqual(self.told(look), ACTIVE)

    def test_nor_for_one_that_was_long_the_last_time(self):
        self.warm(take_long, look)
        self.finish(self.put(self.job(take_long)[0]))
        habits = self.dispatcher._worker._habits
        self.assertEqual([habits.expects(one) for one in (
            'zc.async.tests.test_callback_groups.take_long',
            'zc.async.tests.test_callback_groups.look')], [False, True])

    def test_nor_for_one_that_ended_its_transaction_by_itself(self):
        self.warm(start_anew)
        self.assertTrue(self.expects(start_anew))
        self.finish(self.put(self.job(start_anew)[0]))
        self.assertFalse(self.expects(start_anew))

    def expects(self, call):
        return self.dispatcher._worker._habits.expects(
            f'{call.__module__}.{call.__name__}')

    def test_what_waited_is_stored_after_that(self):
        for call in start_anew, commit_itself:
            with self.subTest(call.__name__):
                self.warm(call)
                counts['answered'] = 0
                job, nodes = self.job(call, main=Job(answer))
                self.finish(self.put(job), polls=1)
                self.assertDone(job, *nodes)
                self.assertEqual((job.result, nodes[0]._attempt), (42, 1))
                self.assertEqual(counts['answered'], 1)

    def test_nor_for_more_where_one_took_long(self):
        self.warm(take_long, look)
        self.finish(self.put(self.job(take_long, look)[0]))
        self.assertEqual(story[0][3][0], CALLBACKS)

    def test_a_long_job_s_is_stored_at_once(self):
        self.warm(look)
        counts['long'] = 1
        self.finish(self.put(self.job(look, main=Job(take_long))[0]))
        self.assertEqual(story[0][3][0], CALLBACKS)

    def test_nor_does_that_of_one_that_has_committed_by_itself(self):
        self.warm(look)
        job, nodes = self.job(look, main=Job(commits_itself))
        self.assertEqual(self.in_hand(job), 3)  # the claim, its own, its end
        self.assertIs(job.status, CALLBACKS)

    def test_not_for_many(self):
        self.warm(look)
        self.finish(self.put(self.job(*[look] * (unstored.MOST + 1))[0]))
        self.assertEqual(story[0][3][0], CALLBACKS)
        job = one = Job(nothing)
        for _number in range(unstored.MOST + 1):
            one = one.addCallback(Job(look))
        story.clear()
        self.finish(self.put(job))
        found = [entry[3][0] for entry in story]
        self.assertEqual((found[0], found[unstored.MOST - 1]), (ACTIVE, CALLBACKS))

    def test_a_few_kinds_are_remembered(self):
        habits = unstored.Habits()
        for number in range(unstored.KINDS + 1):
            habits.note(number, True)
        self.assertTrue(habits.expects(unstored.KINDS))
        self.assertFalse(habits.expects(0))


class NotAllowed(Waiting):
    """What may not be run again is stored at once."""

    def found(self, job, *more):
        """Return what others see of *job*, and of its callback, while that is called."""
        self.warm(look)
        for one in more or (look,):
            job.addCallback(one)
        self.finish(self.put(job))
        return story[-1][3]

    def job_with(self, policy):
        job = Job(multiply, 6, 7)
        job.retry_policy_factory = policy
        return job

    def test_a_job_that_runs_at_most_once(self):
        self.assertEqual(self.found(self.job_with(NeverRetry)), (CALLBACKS, status.NEW))

    def test_also_where_nothing_follows_from_it(self):
        job = self.job_with(NeverRetry)
        self.assertEqual(self.in_hand(job), 3)  # the claim, its begin, its end
        self.assertEqual((job.status, job.result), (COMPLETED, 42))

    def test_nor_one_with_a_policy_that_is_not_known_here(self):
        self.assertEqual(self.found(self.job_with(Mine)), (CALLBACKS, status.NEW))

    def test_one_whose_policy_is_known_may(self):
        self.assertEqual(self.found(self.job_with(RetryCommonForever)),
                         (ACTIVE, status.NEW))

    def test_the_default_may_be_an_application_s(self):
        zope.component.provideAdapter(Mine, (IJob,), IRetryPolicy, 'callback')
        self.warm(look)
        job, (first, second) = self.job(look, look)
        self.finish(self.put(job))
        self.assertEqual([entry[3][0] for entry in story], [ACTIVE, CALLBACKS])

    def test_a_callback_that_runs_at_most_once_begins_with_what_waits_stored(self):
        self.warm(look)
        job, (first, once) = self.job(look, look)
        once.retry_policy_factory = NeverRetry
        self.assertEqual(self.in_hand(job), 3)  # the claim, its begin, its end
        self.assertEqual(story[-1][3], (CALLBACKS, ACTIVE))
        self.assertEqual((first.status, once.status), (CALLBACKS, CALLBACKS))
        self.go_on()
        self.assertDone(job, first, once)

    def test_a_job_that_was_interrupted_before(self):
        job = Job(multiply, 6, 7)
        job._attempt = 1
        self.assertEqual(self.found(job)[0], CALLBACKS)

    def test_which_policies_are_known(self):
        job = Job(nothing)
        for policy, known in ((None, True), ('none such', False), (NeverRetry, False),
                              (Mine, False), (RetryCommonFourTimes, True)):
            job.retry_policy_factory = policy
            with self.subTest(policy):
                self.assertIs(retry.runs_again(job, ''), known)
        job._retry_policy = Mine(job)
        self.assertFalse(retry.runs_again(job, ''))

    def test_one_that_fails_is_not(self):
        @zope.component.adapter(IJob)
        @zope.interface.implementer(IRetryPolicy)
        def failing(job):
            raise LookupError

        zope.component.provideAdapter(failing, name='failing')
        job = Job(nothing)
        job.retry_policy_factory = 'failing'
        self.assertFalse(retry.runs_again(job, ''))


class Effects(Waiting):
    """What a callback changes is told from what makes its job look as it does."""

    def commits_of(self, callback):
        self.warm(callback)
        job, (found,) = self.job(Job(callback) if not isinstance(callback, Job)
                                 else type(callback)(look))
        found.failure_log_level = getattr(callback, 'failure_log_level', None)
        commits = self.in_hand(job)
        self.go_on()
        self.assertDone(job, found)
        self.job_done = job
        return commits

    def test_an_effect(self):
        self.assertEqual(self.commits_of(change), 2)
        self.assertEqual(self.changed, 2)

    def test_a_change_of_the_job_that_it_follows_from(self):
        self.assertEqual(self.commits_of(touch_parent), 2)
        self.assertEqual(self.job_done.failure_log_level, 7)

    def test_a_hook(self):
        self.assertEqual(self.commits_of(hook), 2)
        self.assertEqual(story, [(True,)])

    def test_what_was_stored_halfway(self):
        self.assertEqual(self.commits_of(save), 2)
        self.assertEqual(self.changed, 2)

    def test_a_guard(self):
        self.assertEqual(self.commits_of(guard), 2)

    def test_none(self):
        self.assertEqual(self.commits_of(look), 1)

    def test_one_before_the_call(self):
        callback = SetsUp(look)
        callback.failure_log_level = 1
        self.assertEqual(self.commits_of(callback), 2)
        self.assertEqual(self.changed, 2)

    def test_what_is_done_after_the_call_is_not_stored(self):
        callback = SetsUp(look)
        callback.failure_log_level = 2
        self.assertEqual(self.commits_of(callback), 1)
        self.assertEqual(self.changed, 0)

    def test_nor_with_what_a_later_callback_does(self):
        self.warm(look, change)
        callback = SetsUp(look)
        callback.failure_log_level = 2
        job, nodes = self.job(callback, change)
        self.finish(self.put(job))
        self.assertDone(job, *nodes)
        self.assertEqual(self.changed, 2)

    def test_an_object_that_is_added(self):
        self.assertEqual(self.commits_of(add), 2)

    def test_nor_what_is_done_after_the_job_s(self):
        self.warm(look)
        main = SetsUp(multiply, 6, 7)
        main.failure_log_level = 2
        job, (first, second) = self.job(look, look, main=main)
        self.assertEqual(self.in_hand(job), 1)
        self.go_on()
        self.assertDone(job, first, second)
        self.assertEqual((job.result, self.changed), (42, 0))

    def test_a_callback_sees_what_was_committed_before_it(self):
        self.warm(change_elsewhere, read)
        job, _callbacks = self.job(change_elsewhere, read)
        self.assertEqual(self.in_hand(job), 2)
        self.assertEqual(story, [(2,)])
        self.go_on()
        self.assertDone(job)


class Trouble(Waiting):

    def test_a_second_attempt_finds_the_job_stored(self):
        self.warm(look, conflict_at_first)
        counts['tries'] = 0
        job, nodes = self.job(look, conflict_at_first)
        self.finish(self.put(job))
        self.assertDone(job, *nodes)
        self.assertEqual([entry[:3] for entry in story], [(ACTIVE, CALLBACKS, 42)] * 3)
        self.assertEqual([entry[3][0] for entry in story], [ACTIVE, ACTIVE, CALLBACKS])
        self.assertEqual(self.changed, 2)

    def test_a_callback_that_is_added_meanwhile_is_called(self):
        self.warm(look)
        job, (first,) = self.job(look)
        self.in_hand(job)
        late, later = job.addCallback(Job(note, 'late')), first.addCallback(Job(note, 'x'))
        transaction.commit()
        self.go_on()
        self.finish(job, late, later)
        self.assertDone(job, first, late, later)
        self.assertEqual(sorted(story[1:]), [('late', 42), ('x', 42)])

    def test_who_takes_over_runs_all_again(self):
        self.warm(look)
        job, (first,) = self.job(look)
        self.in_hand(job)
        self.agents.deactivate(died=True)
        transaction.commit()
        self.assertIs(job.status, PENDING)
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.go_on()
        self.assertIn('was reassigned', logs.output[-1])
        self.assertEqual((job.status, first.status), (PENDING, status.NEW))
        self.finish(job)
        self.assertDone(job, first)
        self.assertEqual((job._attempt, len(story)), (2, 2))
        # and this time step by step
        self.assertEqual(story[1][3][0], CALLBACKS)

    def test_who_was_taken_for_dead_stores_nothing_with_its_next_callback(self):
        self.warm(lose)
        job, (first, second) = self.job(lose, change)
        counts['lose'] = 1
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.put(job)
            self.poll()
        self.assertIn('was reassigned', str(logs.output))
        self.assertEqual((first.status, second.status), (status.NEW, status.NEW))
        self.assertEqual(self.changed, 0)

    def test_nor_who_has_lost_the_job_in_another_way(self):
        self.warm(resume_elsewhere)
        job, (first, second) = self.job(SetsUp(resume_elsewhere), see, main=Job(change))
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.in_hand(job)
        self.assertIn('was reassigned', logs.output[-1])
        self.assertEqual((first.status, second.status), (status.NEW, status.NEW))

    def callback_in_hand(self):
        """Return a job whose callback's end alone is to be stored, and the callback."""
        self.warm(look)
        job, (first,) = self.job(look, main=Job(change))
        self.in_hand(job)
        self.assertEqual((job.status, first.status), (CALLBACKS, status.NEW))
        return job, first

    def test_an_end_is_not_stored_where_another_dispatcher_holds_the_job(self):
        job, first = self.callback_in_hand()
        UUID = uuid.UUID(int=7)
        self.agents.deactivate(died=True)
        self.queue.dispatchers.register(UUID)
        other = self.queue.dispatchers[UUID]
        other.activate()
        other['main'] = Agent()
        self.assertIs(other['main'].claimJob(), job)
        transaction.commit()
        with self.assertLogs('zc.async.events', 'ERROR'):
            self.go_on()
        self.assertIs(first.status, status.NEW)

    def applied(self, job, first):
        [(_turns, _ticket, outcome)] = self.kept
        return outcomes.apply(job, outcome, [first, job], [first])

    def test_nor_where_another_has_begun_the_callback(self):
        job, first = self.callback_in_hand()
        execution.begin(first)
        self.assertFalse(self.applied(job, first))
        self.assertIs(first.status, ACTIVE)

    def test_nor_where_the_dispatcher_is_deactivated(self):
        job, first = self.callback_in_hand()
        self.agents.activation.end()
        self.assertFalse(self.applied(job, first))
        self.assertIs(first.status, status.NEW)

    def test_applied_twice_it_does_no_harm(self):
        self.warm(look)
        job, (first,) = self.job(look)
        self.in_hand(job)
        again = list(self.kept)
        self.go_on()
        self.assertDone(job, first)
        serials = job._p_serial, first._p_serial
        outcome = again[0][2]
        nodes = [self.connection.get(oid) for oid in outcome.visited]
        ended = [self.connection.get(end.oid) for end in outcome.ends]
        outcomes.apply(job, outcome, nodes, ended)
        self.assertEqual((job._p_changed, first._p_changed), (False, False))
        self.assertEqual((job._p_serial, first._p_serial), serials)

    def test_an_end_in_the_same_attempt_at_another_time_is_not_this_one(self):
        job = Job(nothing)
        job._code, job._attempt = status.BEGUN, 1
        end = ends.End(None, status.BEGUN, 1, 42, 1, 2)
        self.assertTrue(end.fits(job))
        end.apply(job)
        self.assertEqual((job.result, job._active_start, job._active_end), (42, 1, 2))
        self.assertTrue(end.fits(job))
        self.assertFalse(ends.End(None, status.BEGUN, 1, 42, 1, 3).fits(job))
        self.assertFalse(ends.End(None, status.BEGUN, 2, 42, 1, 2).fits(job))

    def test_where_one_does_not_fit_nothing_is_changed(self):
        jobs = Job(nothing), Job(nothing)
        jobs[0]._code = status.BEGUN
        found = [ends.End(None, status.BEGUN, 0, 1, 1, 2),
                 ends.End(None, status.BEGUN, 1, 1, 1, 2)]
        self.assertFalse(ends.apply_all(found, jobs))
        self.assertEqual(jobs[0]._code, status.BEGUN)

    def test_results_that_cannot_be_stored_become_failures(self):
        self.warm(look)
        job, (first,) = self.job(look)
        self.in_hand(job)
        whole = outcomes.apply

        def apply(job, outcome, nodes, ended=()):
            if outcome.ends and outcome.ends[0].value == 42:
                raise ValueError('cannot be stored')
            return whole(job, outcome, nodes, ended)

        with mock.patch.object(outcomes, 'apply', apply), self.assertLogs(
                'zc.async.events', 'ERROR'):
            self.go_on()
        self.assertDone(job, first)
        self.assertFailed(job, ValueError)
        self.assertFailed(first, ValueError)

    def test_the_result_is_stored_where_the_code_of_a_callback_is_missing(self):
        self.warm(look, see)
        job, (first, second) = self.job(look, see)
        self.put(job)
        del globals()['see']
        try:
            self.connection.cacheMinimize()
            self.poll()
        finally:
            globals()['see'] = _see
        transaction.begin()
        self.assertEqual((job.result, first.status), (42, CALLBACKS))
        self.assertEqual(len(story), 1)


_see = see


def lose(*args):
    """Be taken for dead, the second time."""
    if count('lose') == 2:
        job = local.getJob()
        UUID = local.getDispatcher().UUID
        with job._p_jar.db().transaction() as connection:
            connection.root()[KEY][''].dispatchers[UUID].deactivate(died=True)


if __name__ == '__main__':
    unittest.main()
