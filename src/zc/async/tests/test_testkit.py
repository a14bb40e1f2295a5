"""Work by hand, what was put, virtual time as a context, and worlds for tests."""
import datetime
import logging
import os
import threading
import unittest
import unittest.mock
import uuid

import transaction
import ZODB
import zope.component
from persistent.list import PersistentList
from twisted.internet.defer import Deferred
from twisted.internet.defer import succeed
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from zope.processlifetime import DatabaseOpened
from zope.testing import cleanup

from .. import byhand
from .. import clock
from .. import dispatcher as dispatchers
from .. import subscribers
from .. import testing
from ..interfaces import AbortedError
from ..interfaces import ACTIVE
from ..interfaces import COMPLETED
from ..interfaces import IUUID
from ..interfaces import PENDING
from ..interfaces import TimeoutError
from ..job import Job
from ..job import NeverRetry
from ..job import parallel
from ..job import serial
from ..testkit import World
from ..threadlocal import local

REAL = datetime.datetime
UTC = datetime.timezone.utc
LATE = REAL(2100, 1, 1, tzinfo=UTC)
SECOND = datetime.timedelta(seconds=1)

log = []  # what jobs have done, in order


def note(*words):
    log.append(' '.join(map(str, words)))
    return words[0] if words else None


def fails():
    raise LookupError('no luck')


def put_another(name):
    note(name)
    local.getQueue().put(Job(note, f'{name} put'))


def put_itself():
    local.getQueue().put(Job(put_itself))


def return_a_job():
    job = Job(note, 'inner')
    local.getQueue().put(job)
    return job


def return_a_late_job():
    job = Job(note, 'late inner')
    local.getQueue().put(job, begin_after=LATE)
    return job


def conflict_once():
    note('try')
    if len(log) < 2:
        raise ConflictError()
    return 'done'


def never():
    return Deferred()


def at_once():
    return succeed(42)


def where():
    note(threading.get_ident() == threading.main_thread().ident, local.getAgentName())


def annotate():
    local.setLiveAnnotation('name', 42)
    return local.getLiveAnnotation('name')


def drain_inside():
    testing.drain(local.getQueue())


def break_off():
    raise KeyboardInterrupt


class RetryLater(NeverRetry):

    def jobError(self, failure, data_cache):
        return datetime.timedelta(hours=1)


class Case(unittest.TestCase):

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.addCleanup(log.clear)
        logger, handler = logging.getLogger('zc.async'), logging.NullHandler()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.world = self.enterContext(World())
        self.queue = self.world.queue

    def put(self, *args, **options):
        return self.world.put(Job(*args), **options)

    def drain(self, **options):
        return testing.drain(self.queue, **options)


class Draining(Case):

    def test_nothing(self):
        self.assertEqual(self.drain(), [])

    def test_in_order_in_this_thread(self):
        jobs = [self.put(note, name) for name in 'abc']
        self.assertEqual(self.drain(), jobs)
        self.assertEqual(log, ['a', 'b', 'c'])
        self.assertEqual([job.status for job in jobs], [COMPLETED] * 3)
        self.put(where)
        self.drain()
        self.assertEqual(log[3:], ['True by hand'])

    def test_what_is_due_first_is_done_first(self):
        with testing.virtual_time() as time:
            later = self.put(note, 'a', begin_after=time.now + 2 * SECOND)
            sooner = self.put(note, 'b', begin_after=time.now + SECOND)
            time.advance(3)
            self.assertEqual(self.drain(), [sooner, later])

    def test_the_future_stays(self):
        late, now = self.put(note, 'a', begin_after=LATE), self.put(note, 'b')
        self.assertEqual(self.drain(), [now])
        self.assertEqual((late.status, list(self.queue)), (PENDING, [late]))

    def test_what_jobs_put(self):
        self.put(put_another, 'a')
        self.put(note, 'b')
        self.assertEqual(len(self.drain()), 3)
        self.assertEqual(log, ['a', 'b', 'a put'])

    def test_a_limit(self):
        jobs = [self.put(note, name) for name in 'abc']
        self.assertEqual(self.drain(limit=2), jobs[:2])
        self.assertEqual(self.drain(limit=0), [])
        self.assertEqual(self.drain(limit=2), jobs[2:])

    def test_no_end(self):
        self.put(put_itself)
        self.enterContext(unittest.mock.patch.object(testing, '_ENOUGH', 5))
        with self.assertRaisesRegex(RuntimeError, '5 jobs.*no end'):
            self.drain()
        self.assertEqual(len(self.drain(limit=7)), 7)

    def test_effects_are_committed_with_the_result(self):
        items = self.world.root['items'] = PersistentList()
        transaction.commit()
        self.put(items.append, 1)
        self.drain()
        transaction.abort()
        self.assertEqual(list(items), [1])

    def test_failures_and_callbacks(self):
        job = self.put(fails)
        first = job.addCallbacks(Job(note, 'no'), Job(note, 'failed'))
        second = first.addCallback(Job(note, 'then'))
        transaction.commit()
        self.assertEqual(self.drain(), [job])
        self.assertEqual(job.result.type, LookupError)
        self.assertEqual((job.status, second.status), (COMPLETED, COMPLETED))
        self.assertEqual([line.split()[0] for line in log], ['failed', 'then'])

    def test_returned_jobs(self):
        job = self.put(return_a_job)
        self.drain()
        self.assertEqual((job.result, job.status), ('inner', COMPLETED))

    def test_one_that_is_returned_ends_though_others_do_what_follows(self):
        job = Job(return_a_job)
        callback = job.addCallback(note)
        self.queue.put(job)
        transaction.commit()
        self.drain()
        self.assertEqual((job.status, callback.status), (COMPLETED, COMPLETED))
        # it has delivered its result, and holds no place for the callbacks of another
        agent = self.queue.dispatchers[byhand.UUID]['by hand']
        self.assertEqual((len(agent), len(agent.completed)), (0, 2))
        self.assertEqual(list(self.queue), [])

    def test_a_returned_job_that_is_late(self):
        job = self.put(return_a_late_job)
        self.drain()
        self.assertIs(job.status, ACTIVE)
        self.assertEqual((job.queue, job.agent), (self.queue, None), 'nobody holds it')
        self.world.virtual_time(LATE)
        self.drain()
        self.assertEqual((job.result, job.status), ('late inner', COMPLETED))

    def test_serial_and_parallel(self):
        for make in serial, parallel:
            with self.subTest(make.__name__):
                log.clear()
                job = self.world.put(make(Job(note, 'a'), Job(note, 'b')))
                self.assertEqual(len(self.drain()), 4)
                self.assertEqual(log, ['a', 'b'])
                self.assertEqual([one.result for one in job.result], ['a', 'b'])
                self.assertIs(job.status, COMPLETED)

    def test_a_conflict_is_tried_again_without_a_pause(self):
        job = self.put(conflict_once)
        self.drain()
        self.assertEqual((job.result, log), ('done', ['try', 'try']))

    def test_a_retry_that_must_wait_waits(self):
        job = self.put(fails, retry_policy_factory=RetryLater)
        with testing.virtual_time() as time:
            self.assertEqual(self.drain(), [job])
            self.assertEqual((job.status, self.drain()), (PENDING, []))
            time.advance(3601)
            self.assertEqual(self.drain(), [job])

    def test_once_only(self):
        job = self.put(note, 'a', retry_policy_factory=NeverRetry)
        self.drain()
        self.assertEqual(job.result, 'a')

    def test_quotas(self):
        self.queue.quotas.create('one')
        for name in 'ab':
            job = Job(note, name)
            job.quota_names = ('one',)
            self.queue.put(job)
        transaction.commit()
        self.assertEqual(len(self.drain()), 2)

    def test_a_job_that_is_too_late(self):
        with testing.virtual_time() as time:
            job = self.put(note, 'a', begin_by=SECOND)
            time.advance(2)
            self.assertEqual(self.drain(), [job])
        self.assertTrue(job.result.check(TimeoutError))
        self.assertEqual(log, [])

    def test_deferreds(self):
        waits, fired = self.put(never), self.put(at_once)
        waits.addCallback(Job(note, 'told'))
        transaction.commit()
        self.drain()
        self.assertEqual(fired.result, 42)
        self.assertTrue(waits.result.check(AbortedError))
        self.assertIn('no reactor', waits.result.getErrorMessage())
        self.assertIs(waits.status, COMPLETED)
        self.assertEqual(len(log), 1)

    def test_live_annotations(self):
        job = self.put(annotate)
        self.drain()
        self.assertEqual((job.result, job.annotations['name']), (42, 42))

    def test_an_interrupted_job_ends(self):
        job = self.put(break_off, retry_policy_factory=NeverRetry)
        self.drain()
        self.assertTrue(job.result.check(AbortedError))

    def test_not_with_changes(self):
        job = self.queue.put(Job(note, 'a'))
        with self.assertRaisesRegex(ValueError, 'commit or abort'):
            self.drain()
        transaction.commit()
        self.assertEqual(self.drain(), [job])

    def test_not_with_changes_of_another_manager(self):
        manager = transaction.TransactionManager()
        connection = self.world.db.open(manager)
        self.addCleanup(connection.close)
        self.addCleanup(manager.abort)
        queue = connection.root()['zc.async']['']
        job = queue.put(Job(note, 'a'))
        with self.assertRaisesRegex(ValueError, 'commit or abort'):
            testing.drain(queue)
        manager.commit()
        self.assertEqual(testing.drain(queue), [job])
        self.assertEqual(job.result, 'a')

    def test_the_test_s_transaction_is_none_of_the_jobs_business(self):
        items = self.world.root['items'] = PersistentList()
        transaction.commit()
        job = self.put(items.append, 1)
        transaction.get().addAfterCommitHook(lambda done: note('hook'))
        self.assertEqual(self.drain(), [job])
        self.assertEqual((list(items), log), ([1], []))

    def test_an_explicit_manager_is_left_alone(self):
        manager = transaction.TransactionManager(explicit=True)
        connection = self.world.db.open(manager)
        self.addCleanup(connection.close)
        manager.begin()
        queue = connection.root()['zc.async']['']
        queue.put(Job(note, 'a'))
        manager.commit()
        with self.assertRaises(transaction.interfaces.NoTransaction):
            manager.get()
        self.assertEqual(len(testing.drain(queue)), 1)
        manager.begin()
        manager.abort()

    def test_a_queue_without_a_database(self):
        with self.assertRaisesRegex(ValueError, 'in no database'):
            testing.drain(type(self.queue)())
        with self.assertRaisesRegex(ValueError, 'in no database'):
            testing.inline(type(self.queue)()).__enter__()

    def test_not_in_a_job(self):
        job = self.put(drain_inside)
        self.drain()
        self.assertIn('by hand', job.result.getErrorMessage())
        self.assertFalse(byhand.busy())

    def test_nobody_is_left_at_work(self):
        self.put(note, 'a')
        self.drain()
        agents = self.queue.dispatchers[byhand.UUID]
        self.assertIsNone(agents.activated)
        self.assertEqual(list(agents), ['by hand'], 'events would have brought others')
        self.assertIsNone(dispatchers.get())
        self.assertIsNone(byhand.choose(agents['by hand']))
        opened = [one for one in self.world.db.connectionDebugInfo() if one['opened']]
        self.assertEqual(len(opened), 1)

    def test_an_error_of_a_commit_ends_the_drain(self):
        self.put(note, 'a')
        with unittest.mock.patch.object(
                type(self.queue), 'claim', side_effect=RuntimeError('broken')):
            with self.assertRaisesRegex(RuntimeError, 'broken'):
                self.drain()
        self.assertFalse(byhand.busy())
        self.assertEqual(len(self.drain()), 1)

    def break_off(self):
        with unittest.mock.patch.object(
                byhand.Hands, '_perform', side_effect=RuntimeError('broken')):
            with self.assertRaisesRegex(RuntimeError, 'broken'):
                self.drain()
        transaction.begin()

    def test_what_was_broken_off_is_in_the_queue_again(self):
        job = self.put(note, 'a')
        self.break_off()
        self.assertEqual((job.status, list(self.queue)), (PENDING, [job]))
        self.assertEqual(self.drain(), [job])

    def test_the_next_drain_takes_over_from_one_that_was_killed(self):
        job = self.put(note, 'a')
        with unittest.mock.patch.object(byhand, '_leave'):
            self.break_off()
        self.assertIs(job.status, ACTIVE)
        self.assertEqual(self.drain(), [job])
        self.assertEqual(job.result, 'a')

    def test_a_job_that_pauses_for_ever(self):
        hands = byhand.Hands(self.world.db, '')
        for _number in range(1000):
            self.assertFalse(hands.pause(1))
        with self.assertRaisesRegex(RuntimeError, 'paused 1000 times'):
            hands.pause(1)


class TwoDatabases(unittest.TestCase):

    def test_a_queue_in_another_database_than_what_its_jobs_change(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        databases = {}
        main, _async = (ZODB.DB(MappingStorage(), databases=databases, database_name=name)
                        for name in ('main', 'async'))
        self.addCleanup(main.close)
        self.addCleanup(_async.close)
        self.addCleanup(transaction.abort)
        subscribers.multidb_queue_installer(DatabaseOpened(main))
        connection = main.open()
        self.addCleanup(connection.close)
        items = connection.root()['items'] = PersistentList()
        transaction.commit()
        queue = connection.root()['zc.async']['']
        job = queue.put(Job(items.append, 1))
        transaction.commit()
        self.assertEqual(testing.drain(queue), [job])
        self.assertEqual((list(items), job.status), ([1], COMPLETED))
        with testing.inline(queue) as done:
            queue.put(Job(items.append, 2))
            transaction.commit()
        self.assertEqual((list(items), len(done)), ([1, 2], 1))


class Inline(Case):

    def test_jobs_are_done_by_the_commit(self):
        with testing.inline(self.queue) as done:
            job = self.queue.put(Job(note, 'a'))
            self.assertEqual((log, done), ([], []))
            transaction.commit()
            self.assertEqual((job.result, done), ('a', [job]))
            other = self.put(put_another, 'b')
            self.assertEqual(len(done), 3)
            self.assertIs(done[1], other)
        self.put(note, 'c')
        self.assertNotIn('c', log)

    def test_not_by_an_abort_nor_by_a_commit_that_fails(self):
        with testing.inline(self.queue):
            self.queue.put(Job(note, 'a'))
            transaction.abort()
            self.queue.put(Job(note, 'b'))
            self.world.root['bad'] = lambda: None
            with self.assertRaises(Exception):
                transaction.commit()
            transaction.abort()
        self.assertEqual(log, [])

    def test_not_by_other_threads(self):
        def put():
            connection = self.world.db.open()
            connection.root()['zc.async'][''].put(Job(note, 'a'))
            transaction.commit()
            connection.close()

        with testing.inline(self.queue) as done:
            thread = threading.Thread(target=put)
            thread.start()
            thread.join()
            self.assertEqual(done, [])
            transaction.commit()
            self.assertEqual(len(done), 1)

    def test_what_goes_wrong_comes_out_of_the_commit(self):
        self.enterContext(unittest.mock.patch.object(testing, '_ENOUGH', 5))
        with testing.inline(self.queue):
            with self.assertRaisesRegex(RuntimeError, 'no end'):
                self.put(put_itself)

    def test_commits_are_as_before_in_the_end(self):
        commit = transaction.Transaction.commit
        with self.assertRaises(LookupError), testing.inline(self.queue):
            raise LookupError
        self.assertIs(transaction.Transaction.commit, commit)


class WhatWasPut(Case):

    def test_descriptions(self):
        plain = self.queue.put(Job(note, 'a', 1))
        late = self.queue.put(Job(note, 'b'), begin_after=LATE)
        other = self.queue.put(Job(dict, x=1))
        for found, description in (
                ([plain, other, late], {}), ([plain, late], {'call': note}),
                ([plain, late], {'call': f'{__name__}.note'}),
                ([late], {'args': ['b']}), ([], {'args': ('a',)}),
                ([plain], {'args': (unittest.mock.ANY, 1)}),
                ([other], {'kwargs': {'x': 1}}), ([late], {'begin_after': LATE}),
                ([late], {'begin_after': LATE.replace(tzinfo=None)}),
                ([plain, other], {'begin_after': None}),
                ([], {'quota_names': ('one',)}), ([plain, other, late], {'quota_names': ()})):
            with self.subTest(description):
                self.assertCountEqual(testing.put_jobs(self.queue, **description), found)

    def test_methods_of_persistent_objects(self):
        job = self.queue.put(Job(self.world.root.get, 'x'))
        self.assertIs(testing.assert_put(self.queue, self.world.root.get), job)
        testing.assert_not_put(self.queue, self.world.root.keys)

    def test_jobs_that_were_done(self):
        self.put(note, 'a')
        testing.assert_put(self.drain(), note, count=1)
        testing.assert_not_put(self.queue)

    def test_a_method_that_is_gone(self):
        job = self.queue.put(Job(self.world.root.get, 'x'))
        job._call.method = 'gone'
        testing.assert_not_put(self.queue, note)

    def assertSays(self, text, check, *args, **description):
        with self.assertRaises(AssertionError) as caught:
            check(self.queue, *args, **description)
        self.assertIn(text, str(caught.exception))
        self.assertNotIn('\n', str(caught.exception))

    def test_what_is_said(self):
        self.assertSays(f'no job of {__name__}.note was put; there is none',
                        testing.assert_put, note)
        job = self.queue.put(Job(note, 'a'))
        self.queue.put(Job(note, 'b'), begin_after=LATE)
        self.assertSays(f"no job of len, args (1,) was put; there is {job!r}, <",
                        testing.assert_put, 'len', args=(1,))
        self.assertSays('for 2100-01-01', testing.assert_put, 'len')
        self.assertSays(f'2 jobs of {__name__}.note were put instead of 1; there is <',
                        testing.assert_put, note, count=1)
        self.assertSays(f"a job of args ('a',) was put: {job!r}",
                        testing.assert_not_put, args=('a',))
        for number in range(12):
            self.queue.put(Job(note, number))
        self.assertSays(f'a job was put: {job!r}, ', testing.assert_not_put)
        self.assertSays('4 more', testing.assert_put, 'len')

    def test_counts(self):
        self.assertIsNone(testing.assert_put(self.queue, note, count=0))
        job = self.queue.put(Job(note, 'a'))
        self.assertIs(testing.assert_put(self.queue, note, count=1), job)
        with self.assertRaises(AssertionError):
            testing.assert_put(self.queue, note, count=0)


class VirtualTime(unittest.TestCase):

    def tearDown(self):
        testing.tearDownDatetime()

    def test_it_stands_still_and_can_be_moved(self):
        with testing.virtual_time(REAL(2030, 1, 1)) as time:
            self.assertEqual(clock.now(), REAL(2030, 1, 1, tzinfo=UTC))
            self.assertEqual(time.advance(60), REAL(2030, 1, 1, 0, 1, tzinfo=UTC))
            time.advance(datetime.timedelta(days=1))
            self.assertEqual(datetime.datetime.now(UTC), time.now)
            time.set(REAL(2000, 1, 1))
            self.assertEqual(time.now.year, 2000)
            with self.assertRaisesRegex(ValueError, 'cannot advance by -1 day'):
                time.advance(-86400)

    def test_by_default_it_is_now(self):
        before = clock.now()
        with testing.virtual_time() as time:
            self.assertLessEqual(before, time.now)
            self.assertEqual(time.now, clock.now())

    def test_everything_is_as_before_also_after_an_error(self):
        mine = testing.VirtualClock(LATE)
        self.addCleanup(clock.install, clock.install(mine))
        with self.assertRaises(LookupError), testing.virtual_time(REAL(2030, 1, 1)):
            raise LookupError
        self.assertIs(datetime.datetime, REAL)
        self.assertIs(clock._clock, mine)

    def test_nested(self):
        with testing.virtual_time(REAL(2030, 1, 1)) as outer:
            with testing.virtual_time(REAL(2040, 1, 1)) as inner:
                inner.advance(1)
            self.assertEqual(outer.now, REAL(2030, 1, 1, tzinfo=UTC))
        self.assertIs(datetime.datetime, REAL)

    def test_around_a_reactor_and_within_one(self):
        reactor = testing.Reactor()
        with testing.virtual_time():
            reactor.start()
            reactor.stop()
        self.assertIs(datetime.datetime, REAL)
        reactor.start()
        with testing.virtual_time():
            reactor.stop()
        self.assertIs(datetime.datetime, REAL)


class WaitingUntil(unittest.TestCase):

    def test_it_returns_what_the_condition_returned(self):
        self.assertEqual(testing.wait_until(lambda: 42), 42)

    def test_it_fails_in_one_sentence(self):
        with self.assertRaisesRegex(AssertionError, '^no luck within 0 seconds$'):
            testing.wait_until(lambda: 0, 'no luck', seconds=0)


class Worlds(unittest.TestCase):

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.addCleanup(log.clear)

    def registered(self):
        registry = zope.component.globalSiteManager
        return [set(map(repr, found())) for found in (
            registry.registeredAdapters, registry.registeredUtilities,
            registry.registeredHandlers, registry.registeredSubscriptionAdapters)]

    def test_nothing_is_left(self):
        mine = uuid.UUID(int=7)
        zope.component.provideUtility(mine, IUUID)
        before, environment = self.registered(), dict(os.environ)
        with World() as world:
            self.assertTrue(os.path.exists(os.path.join(world.folder, 'Data.fs')))
            self.assertIsNot(zope.component.getUtility(IUUID), mine)
            zope.component.provideHandler(subscribers.AgentInstaller('mine'))
            zope.component.provideSubscriptionAdapter(note, (IUUID,), IUUID)
        self.assertEqual(self.registered(), before)
        self.assertIs(zope.component.getUtility(IUUID), mine)
        self.assertEqual(dict(os.environ), environment)
        self.assertFalse(os.path.exists(world.folder))

    def test_what_was_taken_away_is_there_again(self):
        handler = subscribers.AgentInstaller('mine')
        zope.component.provideHandler(handler)
        with World():
            zope.component.globalSiteManager.unregisterHandler(handler)
        self.assertEqual(len(self.registered()[2]), 1)

    def test_one_that_cannot_begin_leaves_nothing_either(self):
        before = self.registered()
        with self.assertRaises(OSError):
            World(os.path.join(os.devnull, 'nowhere')).__enter__()
        self.assertEqual(self.registered(), before)

    def test_its_methods(self):
        with World() as world:
            job = world.put(note, begin_after=LATE)
            self.assertEqual(world.put_jobs(note), [job])
            self.assertIs(world.assert_put(note, begin_after=LATE), job)
            world.assert_not_put(len)
            self.assertEqual(world.drain(), [])
            with world.inline() as done:
                world.virtual_time(LATE)
                transaction.commit()
                self.assertEqual(done, [job])
        self.assertIs(datetime.datetime, REAL)

    def test_a_dispatcher_in_a_thread_ends_with_it(self):
        with World() as world:
            dispatcher = world.start(size=1)
            self.assertEqual(world.wait_for_result(world.put(Job(note, 'a'))), 'a')
        self.assertIsNone(dispatchers.get())
        self.assertFalse(dispatcher.thread.is_alive())

    def test_a_virtual_one_too(self):
        with World() as world:
            reactor = world.start_virtual()
            job = world.put(Job(note, 'a'))
            reactor.wait_for(job)
            self.assertIs(job.status, COMPLETED)
        self.assertIsNone(dispatchers.get())
        self.assertIs(datetime.datetime, REAL)
