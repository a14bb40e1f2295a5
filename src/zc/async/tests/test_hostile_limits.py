"""Hostile jobs that hang, wait for nothing, or bring what cannot be stored: limits."""
import asyncio
import datetime
import gc
import unittest
import warnings
from unittest import mock

import transaction
from twisted.internet.defer import Deferred
from ZODB.MappingStorage import MappingStorage

from .. import testing
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import NotStorableError
from ..interfaces import PENDING
from ..job import Job
from ..model import execution
from .faults import hostile_errors
from .faults import hostile_surroundings
from .faults import hostile_values
from .test_dispatcher import event
from .test_dispatcher import multiply
from .test_worker import Case
from .test_worker import count
from .test_worker import counts
from .test_worker import Document


class InMemory(Case):

    def storage(self):
        return MappingStorage()

    def document(self):
        """Return a persistent object that jobs change."""
        found = self.connection.root()['document'] = Document()
        transaction.commit()
        return found

    def messages(self, logs, level):
        return [record.getMessage() for record in logs.records
                if record.levelname == level]


# Jobs that do not end

def wait_for(name):
    event(f'{name} begun').set()
    event(f'{name} go').wait(30)


class Hung(InMemory):
    """A job that hangs keeps its place, and this is told."""

    def setUp(self):
        super().setUp()
        self.dispatcher.warn_after = 60

    def hang(self, *names):
        jobs = [self.put(wait_for, name) for name in names]
        self.reactor.time_flies(5)
        for name in names:
            self.wait(f'{name} begun')
        return jobs

    def told(self, seconds):
        """Let *seconds* pass; return the records of what is said."""
        with self.assertLogs('zc.async.events', 'INFO') as logs:
            self.reactor.time_flies(seconds)
        return logs

    def test_it_is_told_after_the_limit_and_when_that_has_doubled(self):
        job, = self.hang('one')
        with self.assertNoLogs('zc.async.events', 'WARNING'):
            self.reactor.time_flies(60)
        [warning] = self.messages(self.told(5), 'WARNING')
        self.assertIn('wait_for', warning)
        self.assertRegex(warning, r'worked on since 6\d s.*threading.py:\d+:wait')
        with self.assertNoLogs('zc.async.events', 'WARNING'):
            self.reactor.time_flies(55)
        [warning] = self.messages(self.told(10), 'WARNING')
        self.assertRegex(warning, r'worked on since 1[23]\d s')
        self.assertEqual(list(self.agents['main']), [job])

    def test_its_age_can_be_seen(self):
        job, = self.hang('one')
        key = int.from_bytes(job._p_oid, 'big'), 'unnamed'
        self.assertEqual(self.dispatcher.getOverdueJobIds(), [])
        self.reactor.time_flies(120)
        self.assertEqual(self.dispatcher.getActiveJobIds(), [key])
        self.assertEqual(self.dispatcher.getOverdueJobIds(), [key])
        self.assertEqual(self.dispatcher.getOverdueJobIds('', 'main'), [key])
        self.assertEqual(self.dispatcher.getOverdueJobIds('', 'other'), [])
        started = self.dispatcher.getJobInfo(*key)['started']
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.assertGreaterEqual(now - started, datetime.timedelta(seconds=115))

    def test_a_limit_of_none_is_no_limit(self):
        self.dispatcher.warn_after = None
        self.hang('one')
        with self.assertNoLogs('zc.async.events', 'WARNING'):
            self.reactor.time_flies(100_000)
        self.assertEqual(self.dispatcher.getOverdueJobIds(), [])

    def test_a_dispatcher_with_no_place_left_is_not_ready(self):
        self.hang('one', 'two')
        self.reactor.time_flies(200)
        self.assertTrue(self.dispatcher.ready)
        job = self.put(multiply, 6, 7)
        self.reactor.time_flies(5)
        self.assertTrue(testing.wait_for(lambda: job.result == 42))
        self.hang('three')
        logs = self.told(100)
        [error] = self.messages(logs, 'ERROR')
        self.assertIn("agent 'main' of queue '' can do nothing more", error)
        self.assertFalse(self.dispatcher.ready)
        self.assertEqual(self.dispatcher.getStatusInfo()['status'], 'RUNNING')
        event('one go').set()
        self.assertTrue(testing.wait_for(lambda: len(self.agents['main']) == 2))
        self.reactor.time_flies(5)
        self.assertTrue(self.dispatcher.ready)

    def test_without_a_word_when_it_ends_in_time(self):
        job, = self.hang('one')
        self.reactor.time_flies(50)
        event('one go').set()
        self.finish(job)
        with self.assertNoLogs('zc.async.events', 'WARNING'):
            self.reactor.time_flies(1000)


class Silent(InMemory):
    """A Deferred that nobody fires, or that is fired when it is too late."""

    def setUp(self):
        super().setUp()
        self.cancelled = []
        self.deferred = hostile_surroundings.pending = Deferred(self.cancelled.append)
        self.job = self.put(hostile_surroundings.waits)
        self.poll()
        self.assertIs(self.job.status, ACTIVE)

    def test_it_is_told_like_a_job_that_hangs(self):
        self.dispatcher.warn_after = 60
        with self.assertLogs('zc.async.events', 'WARNING') as logs:
            self.reactor.time_flies(70)
        [warning] = self.messages(logs, 'WARNING')
        self.assertIn('waits for its Deferred since', warning)
        oid = int.from_bytes(self.job._p_oid, 'big')
        self.assertEqual(self.dispatcher.getOverdueJobIds(), [(oid, 'unnamed')])
        self.deferred.callback(42)
        self.finish(self.job)
        self.assertEqual(self.dispatcher.getOverdueJobIds(), [])

    def test_a_stop_cancels_it_and_the_job_is_handed_back(self):
        with self.assertNoLogs('zc.async.events', 'WARNING'):
            self.reactor.stop()
        self.assertEqual(self.cancelled, [self.deferred])
        transaction.begin()
        self.assertIs(self.job.status, PENDING)

    def test_a_stop_lives_through_a_canceller_that_raises(self):
        self.deferred._canceller = no_canceller
        with self.assertLogs('zc.async.events', 'WARNING') as logs:
            self.reactor.stop()
        self.assertIn('cannot be cancelled', logs.output[0])
        transaction.begin()
        self.assertIs(self.job.status, PENDING)

    def test_what_it_brings_after_a_reassignment_is_dropped(self):
        self.agents.deactivate()
        transaction.commit()
        self.assertIs(self.job.status, PENDING)
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.deferred.callback(42)
            self.settle()
        self.assertEqual(len(logs.records), 1)
        self.assertIn('was reassigned', logs.output[0])
        self.assertIs(self.job.status, PENDING)
        self.assertIsNone(self.job.result)


def no_canceller(deferred):
    raise LookupError('not now')


# What is not stored

def write_and_give(document, name):
    count('called')
    document.write('never')
    return hostile_values.make(name)


def write_and_throw(document, name):
    count('called')
    document.write('never')
    hostile_errors.throw(name, hostile_values.FORGED)


class Unstorable(InMemory):
    """Nothing of such an attempt is stored, and there is no other."""

    def test_a_result_that_cannot_be_stored_or_loaded(self):
        document = self.document()
        for name in ('lambda_result', 'Unstorable', 'StateFails', 'LoadFails', 'deep',
                     'ExitsWhenStored', 'yield_now', 'give_later', 'Awaitable'):
            with self.subTest(name):
                counts.clear()
                job = self.put(write_and_give, document, name)
                self.finish(job)
                self.assertFailed(job, NotStorableError)
                self.assertLess(len(job.result.getErrorMessage()), 1000)
                self.assertEqual((document.text, counts['called']), ('', 1))

    def test_what_an_error_was_is_text(self):
        document = self.document()
        for name in ('Unpicklable', 'LoadsNoMore', 'BadStr', 'StrExits', 'LongStr'):
            with self.subTest(name):
                counts.clear()
                job = self.put(write_and_throw, document, name)
                self.finish(job)
                self.connection.cacheMinimize()
                self.assertEqual(job.result.typeName, f'{hostile_errors.__name__}.{name}')
                self.assertLess(len(job.result.getTraceback()), 20_000)
                self.assertEqual((document.text, counts['called']), ('', 1))

    def test_a_coroutine_is_not_warned_of(self):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter('always')
            job = self.put(hostile_values.give_later)
            self.finish(job)
            gc.collect()
        self.assertEqual([str(one.message) for one in found], [])
        self.assertIn('is a coroutine', job.result.getErrorMessage())

    def test_a_coroutine_that_is_awaited_in_the_call(self):
        self.assertEqual(self.finish(self.put(await_it)), 42)

    def test_the_code_of_a_result_is_not_run_by_who_stores_for_others(self):
        Watched.turn, Watched.seen = self.dispatcher._turns.turn, []
        job, other = Job(make_watched, 'value'), Job(make_watched, 'other')
        other.addCallback(make_watched)
        self.finish(self.put(job), self.put(other))
        self.connection.cacheMinimize()
        self.assertEqual(job.result.args, ('value',))
        self.assertEqual(set(Watched.seen), {False})
        self.assertGreater(len(Watched.seen), 3)

    def test_a_result_that_cannot_be_loaded_any_more_harms_nobody_else(self):
        job = self.put(hostile_values.make, 'BadRepr', 'x')
        self.finish(job)
        self.connection.cacheMinimize()
        with mock.patch.object(hostile_values.BadRepr, '__setstate__', hostile_values.refuse,
                               create=True):
            self.assertIs(job.status, COMPLETED)
            self.assertIn(job, list(self.agents['main'].completed))
            with self.assertRaises(Exception):
                job.result
        self.assertIsInstance(job.result, hostile_values.BadRepr)

    def test_what_is_a_result_s_own_code(self):
        for value, with_code in ((hostile_values.BadRepr('x'), True), (dict, False),
                                 ([{'a': (1, b'')}], False), (None, False),
                                 (datetime.timedelta(1), False)):
            self.assertEqual(execution.check_result(value).met_code, with_code, value)

    def test_texts_that_are_remembered_are_short_and_on_one_line(self):
        for name in ('BadRepr', 'LongStr', 'ForgedError'):
            call, args = (hostile_values.make, (hostile_values.LONG,))
            if name != 'BadRepr':
                call, args = hostile_errors.throw, (hostile_values.FORGED,)
            job = self.put(call, name, *args)
            self.finish(job)
            info = self.dispatcher.getJobInfo(int.from_bytes(job._p_oid, 'big'))
            self.assertLess(len(info['call']), 2000)
            self.assertLess(len(info['result']), 5000)
            self.assertTrue(info['call'].isprintable())
            self.assertTrue(info['result'].replace('\n', '').isprintable())
            self.assertNotIn('\n2030', info['result'])


class Watched:
    """Remembers whether it was stored, or loaded, while a turn was taken."""

    turn, seen = None, []

    def __init__(self, *args):
        self.args = args

    def _look(self):
        self.seen.append(self.turn._is_owned())

    def __getstate__(self):
        self._look()
        return self.args

    def __setstate__(self, state):
        self._look()
        self.args = state


def make_watched(*args):
    return Watched(*args)


def await_it():
    return asyncio.run(hostile_values.give_later())


if __name__ == '__main__':
    unittest.main()
