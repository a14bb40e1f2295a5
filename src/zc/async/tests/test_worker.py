"""Jobs in the hands of real workers: what becomes of them, whatever they do."""
import collections
import datetime
import logging
import threading
import unittest
from unittest import mock

import persistent
import transaction
import zc.twist
from transaction.interfaces import DoomedTransaction
from twisted.internet.defer import Deferred
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

from .. import clock
from .. import testing
from ..interfaces import ACTIVE
from ..interfaces import AbortedError
from ..interfaces import COMPLETED
from ..interfaces import JobCycleError
from ..interfaces import NotStorableError
from ..interfaces import PENDING
from ..interfaces import TimeoutError
from ..job import Job
from ..job import NeverRetry
from ..job import RetryCommonFourTimes
from ..runtime.attempt import Attempts
from ..threadlocal import local
from .test_dispatcher import block
from .test_dispatcher import event
from .test_dispatcher import fails
from .test_dispatcher import multiply
from .test_dispatcher import nothing
from .test_dispatcher import VirtualCase

#: What happened, in order; and how often, by name.
story, counts = [], collections.Counter()
#: Deferreds that jobs returned.
deferreds = []


class Case(VirtualCase):

    def setUp(self):
        super().setUp()
        story.clear(), counts.clear(), deferreds.clear()

    def assertFailed(self, job, *classes):
        self.assertIsInstance(job.result, zc.twist.Failure)
        self.assertTrue(job.result.check(*classes), job.result)

    def assertWorkersAreWell(self, threads):
        """The same threads are there, and free."""
        self.assertEqual([thread.is_alive() for thread in threads], [True] * 3)
        self.assertEqual(self.dispatcher.queues['']['main'].threads, threads)
        self.assertEqual(len(self.agents['main']), 0)
        self.assertEqual(self.finish(self.put(multiply, 6, 7)), 42)

    def threads(self):
        return list(self.dispatcher.queues['']['main'].threads)


# What jobs call

def note(*args):
    story.append(args)
    return len(story)


def count(name):
    counts[name] += 1
    return counts[name]


def dooms():
    count('doomed')
    transaction.doom()


def commits_itself():
    transaction.begin()
    root = local.getJob()._p_jar.root()
    root['count'] = root.get('count', 0) + 1
    transaction.commit()
    return root['count']


def exits():
    count('exits')
    raise SystemExit(3)


def is_interrupted():
    count('interrupted')
    raise KeyboardInterrupt


def conflicts(times):
    if count('conflicts') <= times:
        raise ConflictError('as it happens')
    return 'at last'


def return_lock():
    return threading.Lock()


class Hostile:
    """Its repr raises."""

    def __repr__(self):
        raise RuntimeError('no repr')


def return_argument(argument):
    return argument


class Document(persistent.Persistent):

    text = ''

    def write(self, text, result=None):
        self.text += text
        return self.text


def return_job():
    return local.getQueue().put(Job(multiply, 6, 7))


def return_failing_job():
    return local.getQueue().put(Job(fails))


def return_itself():
    return local.getJob()


def put_another(*args):
    local.getQueue().put(Job(note, *args))


def return_deferred():
    deferreds.append(Deferred())
    return deferreds[-1]


def local_functions():
    return (local.getJob() is not None, local.getQueue().name,
            local.getAgentName(), str(local.getDispatcher().UUID))


class Policy(RetryCommonFourTimes):
    """Answers what the test says."""

    answer = None

    def jobError(self, failure, data_cache):
        if isinstance(Policy.answer, Exception):
            raise Policy.answer
        return Policy.answer


class Staged(Job):
    """Tells what is done with it."""

    setup_error = None

    def setUp(self):
        note('setUp')
        transaction.get().addAfterCommitHook(note_end)
        if self.setup_error is not None:
            raise self.setup_error
        return 'info'

    def tearDown(self, setup_info):
        note('tearDown', setup_info)


def note_end(success):
    note('committed' if success else 'not committed')


class Late(Job):
    """Knows what to call only in `setUp`."""

    @property
    def callable(self):
        return super().callable if self.ready else None

    @callable.setter
    def callable(self, value):
        Job.callable.fset(self, value)

    _v_ready = False

    @property
    def ready(self):
        return self._v_ready or self._p_jar is None

    def setUp(self):
        self._v_ready = True

    def tearDown(self, setup_info):
        self._v_ready = False


class Failures(Case):

    def logged(self, job):
        """Return the levels of the messages about failures, as *job* is done."""
        with self.assertLogs('zc.async.events', 'WARNING') as logs:
            self.finish(job)
        return [record.levelname for record in logs.records]

    def test_the_failure_is_the_result(self):
        job = self.put(fails)
        self.finish(job)
        self.assertFailed(job, LookupError)
        self.assertIn('no luck', job.result.getErrorMessage())

    def test_it_is_logged_once_as_an_error(self):
        self.assertEqual(self.logged(self.put(fails)), ['ERROR'])

    def test_one_that_is_returned_is_logged_too(self):
        self.assertEqual(self.logged(self.put(returns_failure)), ['ERROR'])

    def test_a_callback_s_is_critical(self):
        job = Job(nothing)
        job.addCallback(Job(fails_with))
        self.assertEqual(self.logged(self.put(job)), ['CRITICAL'])

    def test_at_the_level_that_the_job_asks_for(self):
        job = self.put(fails, failure_log_level=logging.WARNING)
        self.assertEqual(self.logged(job), ['WARNING'])

    def test_what_it_changed_is_not_stored(self):
        document = self.connection.root()['document'] = Document()
        job = self.put(write_and_fail, document)
        self.finish(job)
        self.assertEqual(document.text, '')

    def test_a_job_that_was_put_too_late_fails(self):
        job = Job(note)
        self.queue.put(job, begin_after=clock.now() - 2 * HOUR, begin_by=HOUR)
        transaction.commit()
        self.finish(job)
        self.assertFailed(job, TimeoutError)
        self.assertEqual(story, [])


HOUR = datetime.timedelta(hours=1)


def returns_failure():
    """Return a Failure instead of raising it."""
    return zc.twist.Failure(LookupError('no luck'))


def fails_with(result):
    raise LookupError(result)


def write_and_fail(document):
    document.write('never')
    raise LookupError


class Nasty(Case):
    """Jobs that would harm a careless worker."""

    def test_a_doomed_transaction_is_tried_five_times(self):
        threads, job = self.threads(), self.put(dooms)
        self.finish(job)
        self.assertEqual(counts['doomed'], 5)
        self.assertFailed(job, DoomedTransaction)
        self.assertWorkersAreWell(threads)

    def test_a_job_may_commit_itself(self):
        threads, job = self.threads(), self.put(commits_itself)
        self.assertEqual(self.finish(job), 1)
        self.assertEqual(self.connection.root()['count'], 1)
        self.assertWorkersAreWell(threads)

    def test_an_exit_ends_neither_the_thread_nor_the_slot(self):
        for call in exits, is_interrupted:
            with self.subTest(call.__name__):
                threads, jobs = self.threads(), [self.put(call) for _n in range(4)]
                self.finish(*jobs, polls=30)
                for job in jobs:
                    self.assertFailed(job, AbortedError)
                self.assertWorkersAreWell(threads)
        self.assertEqual(counts['exits'], 4 * 9)

    def test_an_exit_of_a_callback(self):
        threads, job = self.threads(), Job(nothing)
        callback = job.addCallback(Job(exits_with))
        self.finish(self.put(job))
        self.assertFailed(callback, AbortedError)
        self.assertWorkersAreWell(threads)

    def test_a_repr_that_raises(self):
        threads, job = self.threads(), self.put(return_argument, Hostile())
        self.assertIsInstance(self.finish(job), Hostile)
        info = self.dispatcher.getJobInfo(int.from_bytes(job._p_oid, 'big'))
        self.assertIn('unprintable', info['call'])
        self.assertIn('unprintable', info['result'])
        self.assertWorkersAreWell(threads)

    def test_a_result_that_cannot_be_stored(self):
        threads, job = self.threads(), self.put(return_lock)
        self.finish(job)
        self.assertFailed(job, NotStorableError)
        self.assertWorkersAreWell(threads)

    def test_a_result_that_cannot_be_stored_after_effects(self):
        document = self.connection.root()['document'] = Document()
        job = self.put(write_and_return_lock, document)
        self.finish(job)
        self.assertFailed(job, NotStorableError)
        self.assertEqual(document.text, '')

    def test_a_callable_that_is_gone(self):
        threads, job = self.threads(), self.put(passing)
        globals()['passing'] = None
        try:
            self.connection.cacheMinimize()
            self.finish(job)
        finally:
            globals()['passing'] = _passing
        self.assertIsInstance(job.result, zc.twist.Failure)
        self.assertWorkersAreWell(threads)

    def test_a_failing_teardown_is_logged_and_harms_nobody(self):
        threads, job = self.threads(), self.put(BadTearDown(multiply, 2, 3))
        with self.assertLogs('zc.async.events', 'ERROR'):
            self.assertEqual(self.finish(job), 6)
        self.assertWorkersAreWell(threads)


def exits_with(result):
    raise SystemExit


def write_and_return_lock(document):
    document.write('never')
    return threading.Lock()


def passing():
    pass


_passing = passing


class BadTearDown(Job):

    def tearDown(self, setup_info):
        raise LookupError('tearDown')


def cannot_commit_at_first(result):
    """Return *result*; the first time, its commit fails."""
    def refuse():
        raise LookupError('not yet')

    if 'refused' not in story:
        story.append('refused')
        transaction.get().addBeforeCommitHook(refuse)
    return result


class Callbacks(Case):

    def test_in_order_with_the_same_result(self):
        job = Job(multiply, 6, 7)
        for name in 'abc':
            job.addCallback(Job(note, name))
        self.finish(self.put(job))
        self.assertEqual(story, [('a', 42), ('b', 42), ('c', 42)])

    def test_success_or_failure(self):
        for call, told in ((nothing, 'success'), (fails, 'failure')):
            with self.subTest(told):
                story.clear()
                job = Job(call)
                job.addCallbacks(Job(note, 'success'), Job(note, 'failure'))
                self.finish(self.put(job))
                self.assertEqual([name for name, _result in story], [told])

    def test_one_that_fails_hinders_no_other(self):
        job = Job(multiply, 6, 7)
        bad = job.addCallback(Job(fails_with))
        good = bad.addCallback(Job(note, 'after'))
        last = job.addCallback(Job(note, 'last'))
        self.assertEqual(self.finish(self.put(job)), 42)
        self.assertFailed(bad, LookupError)
        self.assertIs(good.status, COMPLETED)
        self.assertIs(last.status, COMPLETED)
        self.assertEqual([name for name, _result in story], ['after', 'last'])

    def test_one_whose_commit_fails_is_told_of_and_tried_again(self):
        job = Job(multiply, 6, 7)
        callback = job.addCallback(cannot_commit_at_first)
        with self.assertLogs('zc.async.events', logging.CRITICAL) as logs:
            self.finish(self.put(job))
        self.assertEqual(callback.result, 42)
        self.assertEqual(len(logs.output), 1)
        self.assertIn('is tried again after 1 errors', logs.output[0])
        self.assertIn('LookupError: not yet', logs.output[0])

    def test_what_it_knows_of_itself(self):
        job = Job(multiply, 6, 7)
        proxy = job.addCallbacks(Job(ancestors))
        self.finish(self.put(job))
        self.assertEqual(proxy.result, (True, True))

    def test_a_conflict_in_one(self):
        job = Job(multiply, 6, 7)
        callback = job.addCallback(Job(conflicts_with, 7))
        self.finish(self.put(job))
        self.assertEqual(callback.result, 'at last')
        self.assertEqual(counts['conflicts'], 8)

    def test_one_that_is_added_while_the_job_runs(self):
        job = self.put(block)
        self.reactor.time_flies(5)
        self.wait('begun')
        transaction.begin()
        callback = job.addCallback(Job(note, 'added'))
        transaction.commit()
        event('go').set()
        self.finish(job, callback)
        self.assertEqual(story, [('added', 'unblocked')])


class ManyCallbacks(Case):
    """Each is a commit, so this is for a storage in memory."""

    def storage(self):
        return MappingStorage()

    def test_a_chain_longer_than_the_stack_is_deep(self):
        job = one = Job(nothing)
        for _number in range(1000):
            one = one.addCallback(Job(add_one))
        self.finish(self.put(job))
        self.assertEqual(one.result, 1000)
        self.assertIs(one.status, COMPLETED)

    def test_a_thousand_side_by_side(self):
        job = Job(nothing)
        for number in range(1000):
            job.addCallback(Job(note, number))
        self.finish(self.put(job))
        self.assertEqual([number for number, _result in story], list(range(1000)))


def add_one(number):
    return (number or 0) + 1


def ancestors(result):
    job = local.getJob()
    return (job.parent.success is job, job.parent.parent.result == result)


def conflicts_with(times, result):
    return conflicts(times)


class Policies(Case):

    def put_with(self, answer, call=fails):
        Policy.answer = answer
        self.addCleanup(setattr, Policy, 'answer', None)
        return self.put(call, retry_policy_factory=Policy)

    def test_a_conflict_is_retried(self):
        job = self.put(conflicts, 4)
        self.assertEqual(self.finish(job), 'at last')
        self.assertEqual(counts['conflicts'], 5)

    def test_but_not_for_ever(self):
        job = self.put(conflicts, 5)
        self.finish(job)
        self.assertFailed(job, ConflictError)
        self.assertEqual(counts['conflicts'], 5)

    def test_a_timedelta_says_after_how_long(self):
        job = self.put_with(HOUR)
        self.poll()
        self.assertIs(job.status, PENDING)
        self.assertLess(HOUR - (job.begin_after - clock.now()),
                        datetime.timedelta(seconds=10))
        self.assertEqual(len(self.agents['main']), 0)
        self.poll()
        self.assertIs(job.status, PENDING)
        Policy.answer = False
        self.reactor.time_flies(3600)
        self.finish(job)
        self.assertFailed(job, LookupError)

    def test_a_datetime_says_when(self):
        when = clock.now().replace(tzinfo=None) + HOUR  # naive: UTC
        job = self.put_with(when)
        self.poll()
        self.assertIs(job.status, PENDING)
        self.assertEqual(job.begin_after.replace(tzinfo=None), when)

    def test_true_says_at_once(self):
        job = self.put_with(True, fail_twice)
        self.assertEqual(self.finish(job, polls=1), 'at last')
        self.assertEqual(counts['tries'], 3)

    def test_one_that_raises_gives_up_and_is_logged(self):
        threads = self.threads()
        job = self.put_with(RuntimeError('a bad policy'))
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.finish(job)
        self.assertFailed(job, LookupError)
        self.assertIn('a bad policy', '\n'.join(logs.output))
        self.assertWorkersAreWell(threads)

    def test_one_that_answers_nonsense_gives_up(self):
        threads, job = self.threads(), self.put_with('tomorrow')
        self.finish(job)
        self.assertFailed(job, LookupError)
        self.assertWorkersAreWell(threads)

    def test_never_is_never(self):
        job = self.put(conflicts, 1, retry_policy_factory=NeverRetry)
        self.finish(job)
        self.assertFailed(job, ConflictError)
        self.assertEqual(counts['conflicts'], 1)

    def test_never_at_a_commit_either(self):
        job = self.put(dooms, retry_policy_factory=NeverRetry)
        self.finish(job)
        self.assertFailed(job, DoomedTransaction)
        self.assertEqual(counts['doomed'], 1)

    def test_never_where_not_even_the_failure_could_be_stored(self):
        with mock.patch.object(Attempts, '_store_failure', side_effect=OSError):
            job = self.put(dooms, retry_policy_factory=NeverRetry)
            self.poll()
        self.assertIs(job.status, ACTIVE)
        self.finish(job)
        self.assertFailed(job, AbortedError)
        self.assertEqual(counts['doomed'], 1)


def fail_twice():
    if count('tries') < 3:
        raise LookupError
    return 'at last'


class Stages(Case):

    def test_teardown_comes_after_the_commit(self):
        document = self.connection.root()['document'] = Document()
        self.finish(self.put(Staged(document.write, 'x')))
        self.assertEqual(
            story, [('setUp',), ('committed',), ('tearDown', 'info')])

    def test_and_after_the_abort(self):
        self.finish(self.put(Staged(note_and_fail)))
        self.assertEqual(
            story, [('setUp',), ('called',), ('tearDown', 'info')])

    def test_a_setup_that_raises_fails_the_job(self):
        threads, job = self.threads(), Staged(note)
        job.setup_error = LookupError('no setUp')
        self.finish(self.put(job))
        self.assertFailed(job, LookupError)
        self.assertEqual(story, [('setUp',)])
        self.assertWorkersAreWell(threads)

    def test_each_attempt_has_its_own(self):
        self.finish(self.put(Staged(conflicts, 2)))
        names = [name for name, *_info in story]
        self.assertEqual([name for name in names if name != 'committed'],
                         3 * ['setUp', 'tearDown'])

    def test_what_to_call_is_read_after_setup(self):
        self.assertEqual(self.finish(self.put(Late(multiply, 6, 7))), 42)


def note_and_fail():
    note('called')
    raise LookupError


class ReturnedJobs(Case):

    def test_its_result_is_the_job_s(self):
        job = self.put(return_job)
        self.assertEqual(self.finish(job), 42)

    def test_its_failure_too(self):
        job = self.put(return_failing_job)
        self.finish(job)
        self.assertFailed(job, LookupError)

    def test_the_slot_is_kept_meanwhile(self):
        job = self.put(return_job)
        self.poll()
        self.assertIs(job.status, ACTIVE)
        self.assertEqual(list(self.agents['main']), [job])

    def test_a_job_that_waits_for_itself_fails(self):
        threads, job = self.threads(), self.put(return_itself)
        self.finish(job)
        self.assertFailed(job, JobCycleError)
        self.assertWorkersAreWell(threads)

    def test_a_job_may_put_others(self):
        job = self.put(put_another, 1, 2)
        self.finish(job)
        self.poll()
        self.assertEqual(story, [(1, 2)])

    def test_what_it_may_ask(self):
        self.assertEqual(self.finish(self.put(local_functions)), (
            True, '', 'main', str(self.dispatcher.UUID)))


class Deferreds(Case):

    def begun(self):
        job = self.put(return_deferred)
        self.poll()
        self.assertIs(job.status, ACTIVE)
        return job, deferreds[-1]

    def stored(self, job):
        """Wait, without another poll, until *job* is completed."""
        def done():
            self.reactor.time_passes()
            return job.status is COMPLETED

        self.assertTrue(testing.wait_for(done))

    def test_its_result_is_the_deferred_s(self):
        job, deferred = self.begun()
        deferred.callback(42)
        self.stored(job)
        self.assertEqual(job.result, 42)
        self.assertEqual(len(self.agents['main']), 0)

    def test_its_failure_too(self):
        job, deferred = self.begun()
        deferred.errback(LookupError('no luck'))
        self.stored(job)
        self.assertFailed(job, LookupError)

    def test_one_that_is_fired_already(self):
        job = self.put(return_fired, 42)
        self.assertEqual(self.finish(job), 42)

    def test_one_that_cannot_be_fired_twice(self):
        job, deferred = self.begun()
        deferred.callback(42)
        self.stored(job)
        with self.assertRaises(Exception):
            deferred.callback(43)
        self.poll()
        self.assertEqual(job.result, 42)

    def test_a_result_that_cannot_be_stored(self):
        job, deferred = self.begun()
        deferred.callback(threading.Lock())
        self.stored(job)
        self.assertFailed(job, NotStorableError)

    def test_callbacks_follow(self):
        job = Job(return_deferred)
        job.addCallback(Job(note, 'then'))
        self.put(job)
        self.poll()
        deferreds[-1].callback(42)
        self.stored(job)
        self.assertEqual(story, [('then', 42)])


def return_fired(value):
    deferred = Deferred()
    deferred.callback(value)
    return deferred


if __name__ == '__main__':
    unittest.main()
