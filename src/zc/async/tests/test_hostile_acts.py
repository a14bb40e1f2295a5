"""Hostile chains, transactions and ends: what exactly becomes of such jobs."""
import asyncio
import os
import sys
import threading
import unittest
import warnings
from unittest import mock

import transaction

from .. import testing
from ..interfaces import AbortedError
from ..interfaces import COMPLETED
from ..interfaces import JobCycleError
from ..interfaces import KEY
from ..job import Job
from ..job import RetryCommonFourTimes
from ..model import execution
from ..runtime import surroundings
from ..runtime import unstored
from ..threadlocal import local
from .faults import hostile_acts
from .faults import hostile_transactions
from .test_dispatcher import block
from .test_dispatcher import event
from .test_dispatcher import multiply
from .test_hostile_limits import InMemory
from .test_worker import count
from .test_worker import counts
from .test_worker import story


# Chains

def remember_depth(number):
    """Return the next number, and remember how deep the stack is."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    story.append((threading.get_ident(), depth))
    return (number or 0) + 1


def add_one_more(result=None):
    count('called')
    local.getJob().addCallback(add_one_more)


def return_one_more(number):
    count('called')
    if number:
        return local.getQueue().put(Job(return_one_more, number - 1))
    return 'the last'


class Chains(InMemory):

    def test_a_long_one_needs_a_commit_for_many_links_and_no_stack(self):
        job = one = Job(multiply, 0, 0)
        for _number in range(1500):
            one = one.addCallback(Job(remember_depth))
        self.put(job)
        commits = self.commits(lambda: self.finish(job))
        self.assertEqual(one.result, 1500)
        self.assertEqual(len(set(story)), 1)
        self.assertLess(abs(commits - 1500 / unstored.MOST), 20)

    def commits(self, act):
        before = len(list(self.db.storage.iterator()))
        act()
        return len(list(self.db.storage.iterator())) - before

    def test_callbacks_that_add_callbacks_come_to_an_end(self):
        job = self.put(add_one_more)
        with mock.patch.object(execution, 'MAX_CHAIN', 30):
            self.finish(job)
        self.assertEqual(counts['called'], 31)
        while job.callbacks:
            job, = job.callbacks
        self.assertFailed(job, JobCycleError)
        self.assertIn('30 jobs have returned', job.result.getErrorMessage())

    def test_what_was_added_before_does_not_count(self):
        job = one = Job(multiply, 0, 0)
        for _number in range(50):
            one = one.addCallback(Job(remember_depth))
        with mock.patch.object(execution, 'MAX_CHAIN', 10):
            self.finish(self.put(job))
        self.assertEqual(one.result, 50)

    def test_nor_do_jobs_that_put_jobs(self):
        with mock.patch.object(execution, 'MAX_CHAIN', 5):
            self.put(put_again, 20)
            for _number in range(25):
                self.poll()
        self.assertEqual(counts['put'], 21)

    def test_jobs_that_return_jobs_fill_no_agent(self):
        # size three: nothing would move if each kept its place for ever
        job = self.put(return_one_more, 20)
        self.assertEqual(self.finish(job, polls=60), 'the last')
        self.assertEqual(len(self.agents['main']), 0)
        self.assertEqual(len(list(self.agents['main'].completed)), 21)

    def test_those_that_do_so_without_end_fail(self):
        with mock.patch.object(execution, 'MAX_CHAIN', 20):
            job = self.put(hostile_acts.returns_for_ever)
            self.finish(job, polls=60)
        self.assertFailed(job, JobCycleError)
        # each step was committed, and failed with the last one
        jobs = list(self.agents['main'].completed)
        self.assertEqual(len(jobs), 21)
        for one in jobs:
            self.assertFailed(one, JobCycleError)

    def test_an_agent_takes_no_more_than_its_size_while_one_works(self):
        self.put(block)
        self.reactor.time_flies(5)
        self.wait('begun')
        self.put(return_one_more, 20)
        for _number in range(6):
            self.reactor.time_flies(5)
            self.assertTrue(testing.wait_for(self.only_one_works))
        self.assertEqual(counts['called'], 2)
        self.assertEqual(len(self.agents['main']), 3)
        event('go').set()

    def only_one_works(self):
        turns = self.dispatcher._turns
        return len(turns._hands) == 1 and not (turns._waiting or turns._leading)

    def test_a_job_that_is_waited_for_by_a_callback_of_its_own(self):
        job = self.put(hostile_acts.returns_own_callback)
        self.finish(job)
        self.assertFailed(job, JobCycleError)

    def test_callbacks_of_a_job_that_waited_are_called_once(self):
        # the inner job's worker brings the result; who holds the outer one goes on
        job = Job(return_one_more, 1)
        job.addCallback(hang_on)
        self.put(job)
        for _number in range(4):
            self.reactor.time_flies(5)
            if event('begun').wait(.5):
                break
        for _number in range(3):
            self.reactor.time_flies(5)
            self.assertTrue(testing.wait_for(self.only_one_works))
        event('go').set()
        self.finish(job)
        self.assertEqual(counts['hung'], 1)


def put_again(number):
    count('put')
    if number:
        local.getQueue().put(Job(put_again, number - 1)).addCallback(Job(remember_depth))


def hang_on(result):
    count('hung')
    event('begun').set()
    event('go').wait(10)


# Transactions

def write_and_commit(document, times=1):
    for _number in range(times):
        document.write('x')
        transaction.commit()
    document.write('y')


def write_commit_and_raise(document, result=None):
    count('called')
    document.write('x')
    transaction.commit()
    raise LookupError('after the commit')


def commit_in_vain(document, then=None):
    """Have a commit fail, and say nothing of it."""
    count('called')
    document.text = lambda: 'not storable'
    try:
        transaction.commit()
    except Exception:
        story.append('failed')
    if then == 'abort':
        transaction.abort()


def write_and_abort(document, result=None):
    count('called')
    document.write('x')
    transaction.abort()
    document.write('y')


def write_and_join(document):
    count('called')
    document.write('x')
    transaction.get().join(hostile_transactions.DataManager('tpc_vote'))


def write_and_swap(document):
    document.write('x')
    transaction.manager.manager = transaction.TransactionManager()
    document.write('y')


class Asked(RetryCommonFourTimes):
    """Remembers what it was asked."""

    def jobError(self, failure, data_cache):
        story.append('jobError')
        return False

    def commitError(self, failure, data_cache):
        story.append('commitError')
        return False


class Transactions(InMemory):

    def run_one(self, call, *args, **options):
        """Run it; return the job and the warnings."""
        job = self.put(call, *args, **options)
        with self.assertLogs('zc.async', 'WARNING') as logs:
            self.finish(job)
        return job, self.messages(logs, 'WARNING')

    def test_a_commit_of_its_own_is_warned_of_once(self):
        document = self.document()
        _job, warned = self.run_one(write_and_commit, document, 3)
        self.assertEqual(document.text, 'xxxy')
        self.assertEqual(len(warned), 1)
        self.assertIn('ended its transaction by itself', warned[0])

    def test_one_that_fails_and_is_kept_quiet_is_told_too(self):
        for then in (None, 'abort'):
            with self.subTest(then=then):
                counts.clear()
                story.clear()
                _job, warned = self.run_one(commit_in_vain, self.document(), then)
                self.assertEqual(story[0], 'failed')
                self.assertIn('ended its transaction by itself', warned[0])

    def test_what_it_committed_before_it_failed_is_there(self):
        document = self.document()
        job, warned = self.run_one(write_commit_and_raise, document)
        self.assertFailed(job, LookupError)
        self.assertEqual((document.text, counts['called'], len(warned)), ('x', 1, 1))

    def test_a_callback_s_too(self):
        for call, text in ((write_commit_and_raise, 'x'), (write_and_abort, 'y')):
            with self.subTest(call.__name__):
                counts.clear()
                document = self.document()
                job = Job(multiply, 6, 7)
                callback = job.addCallback(Job(call, document))
                self.run_one(job)
                self.assertIs(callback.status, COMPLETED)
                self.assertEqual((document.text, counts['called']), (text, 1))

    def test_a_data_manager_that_refuses_takes_the_whole_attempt_with_it(self):
        document = self.document()
        job = self.put(write_and_join, document, retry_policy_factory=Asked)
        self.finish(job)
        self.assertFailed(job, hostile_transactions.Refused)
        self.assertEqual(story, ['commitError'])
        self.assertEqual((document.text, counts['called']), ('', 1))

    def test_nothing_is_stored_of_one_that_replaces_the_manager(self):
        document = self.document()
        job = self.put(write_and_swap, document)
        self.finish(job)
        self.assertFailed(job, AbortedError)
        self.assertIn('replaced the transaction manager', job.result.getErrorMessage())
        self.assertEqual(document.text, '')

    def test_a_closed_connection_is_given_to_nobody_twice(self):
        for _number in range(5):
            job = self.put(hostile_transactions.closes)
            self.finish(job)
            self.assertFailed(job, AbortedError)
            self.assertIn('closed the connection', job.result.getErrorMessage())
        pool = self.db.pool
        available = [id(one) for _when, one in pool.available]
        self.assertEqual(len(available), len(set(available)))

    def test_one_job_s_listener_does_not_reach_the_next_job(self):
        for when in ('before', 'after', 'new'):
            with self.subTest(when):
                hostile = [self.put(hostile_transactions.listens, when)
                           for _number in range(4)]
                self.finish(*hostile, polls=30)
                document = self.document()
                jobs = [self.put(document.write, 'x') for _number in range(6)]
                self.finish(*jobs)
                self.assertEqual(document.text, 'xxxxxx')

    @unittest.skipUnless(hasattr(os, 'fork'), 'nothing can be forked off here')
    def test_a_process_that_is_forked_off_does_not_go_on(self):
        document = self.document()
        job = self.put(write_and_fork, document)
        self.assertEqual(self.finish(job), surroundings.FORKED)
        self.assertEqual(document.text, 'x')


def write_and_fork(document):
    document.write('x')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pid = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 'child'


# Ends of the thread

class Ends(InMemory):

    def test_are_interruptions_of_this_job_only(self):
        for error in (SystemExit, KeyboardInterrupt, GeneratorExit,
                      asyncio.CancelledError):
            with self.subTest(error.__name__):
                counts.clear()
                threads = self.threads()
                job = self.put(end, error)
                other = self.put(multiply, 6, 7)
                self.finish(job, other, polls=30)
                self.assertFailed(job, AbortedError)
                self.assertEqual((counts['called'], other.result), (9, 42))
                self.assertWorkersAreWell(threads)


def end(error):
    count('called')
    raise error


class Places(InMemory):

    def test_a_job_that_hides_from_its_agent_is_found_again(self):
        job = self.put(hostile_acts.has_no_parent_and_commits)
        for _number in range(3):
            self.poll()
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(len(self.agents['main']), 0)
        self.assertIn(job, list(self.agents['main'].completed))

    def test_a_queue_that_is_deleted_harms_no_other(self):
        queues = self.connection.root()[KEY]
        queues['other'] = type(self.queue)()
        transaction.commit()
        self.poll()
        job = Job(delete_queue, 'other')
        queues['other'].put(job)
        transaction.commit()
        self.poll()
        self.poll()
        self.assertNotIn('other', queues)
        self.assertEqual(self.finish(self.put(multiply, 6, 7)), 42)
        self.assertEqual(list(self.dispatcher.queues), [''])

    def test_an_agent_that_is_deleted_by_its_job(self):
        job = self.put(delete_agent)
        self.poll()
        self.poll()
        self.assertNotIn('main', self.agents)
        self.assertIs(job.status, COMPLETED)


def delete_queue(name):
    del local.getJob()._p_jar.root()[KEY][name]


def delete_agent():
    agent = local.getJob().agent
    del agent.parent[agent.name]


if __name__ == '__main__':
    unittest.main()
