"""The dispatcher: its registry, its polls, what it shows, whom it takes over."""
import datetime
import logging
import os
import signal
import tempfile
import threading
import unittest
import uuid

import transaction
import ZODB
import ZODB.FileStorage
import zope.component
from ZODB.MappingStorage import MappingStorage
from zope.interface.verify import verifyObject
from zope.testing import cleanup

from .. import clock
from .. import configure
from .. import dispatcher as dispatchers
from .. import interfaces
from .. import subscribers
from .. import testing
from ..agent import Agent
from ..interfaces import ASSIGNED
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from ..model import execution
from ..queue import getDefaultQueue
from ..queue import Queue

SECOND = datetime.timedelta(seconds=1)
EARLIER, NEIGHBOUR = (uuid.UUID(int=number) for number in (7, 8))

#: Lets jobs wait for the test, and the test for jobs.  By name.
events = {}


def event(name):
    return events.setdefault(name, threading.Event())


class Case(unittest.TestCase):
    """A configured package, a database file, and order afterwards."""

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        before = os.environ.get('ZC_ASYNC_UUID')
        self.addCleanup(self.restore_environment, before)
        os.environ['ZC_ASYNC_UUID'] = os.path.join(self.folder, 'uuid.txt')
        self.addCleanup(dispatchers.clear)
        self.addCleanup(events.clear)
        self.quiet()
        configure.base()
        zope.component.provideAdapter(getDefaultQueue)

    def restore_environment(self, before):
        if before is None:
            os.environ.pop('ZC_ASYNC_UUID', None)
        else:
            os.environ['ZC_ASYNC_UUID'] = before

    def quiet(self):
        """Print nothing of what is logged."""
        logger, handler = logging.getLogger('zc.async'), logging.NullHandler()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)

    def open(self, storage=None):
        """Return a new database with a queue."""
        if storage is None:
            storage = ZODB.FileStorage.FileStorage(
                os.path.join(self.folder, 'Data.fs'))
        db = ZODB.DB(storage)
        self.addCleanup(db.close)
        self.addCleanup(transaction.abort)
        subscribers.queue_installer(interfaces.DatabaseOpened(db))
        return db


class VirtualCase(Case):
    """A dispatcher with an agent of size three, in virtual time."""

    def storage(self):
        """Return the storage; None: a file."""

    def setUp(self):
        super().setUp()
        self.db = self.open(self.storage())
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        self.reactor = testing.Reactor()
        self.reactor.start()
        self.addCleanup(self.stop)
        self.dispatcher = dispatchers.Dispatcher(self.db, self.reactor)
        self.dispatcher.activate()
        self.connection = self.db.open()
        self.queue = self.connection.root()[KEY]['']
        self.reactor.time_flies(1)

    def stop(self):
        transaction.abort()
        for one in list(events.values()):
            one.set()
        self.reactor.stop()
        for thread in threading.enumerate():
            if thread.name.startswith('zc.async '):
                thread.join(10)
        self.connection.close()

    @property
    def agents(self):
        return self.queue.dispatchers[self.dispatcher.UUID]

    def put(self, item, *args, **options):
        """Put a call into the queue, commit, and return the job."""
        job = item if isinstance(item, Job) else Job(item, *args)
        self.queue.put(job, **options)
        transaction.commit()
        return job

    def poll(self):
        """Let one poll happen and the jobs it starts end."""
        self.reactor.time_flies(self.dispatcher.poll_interval)
        self.settle()

    def settle(self):
        """Wait until no worker has anything in hand."""
        def idle():
            while self.reactor.time_passes():
                pass
            return testing.all_idle()

        self.assertTrue(testing.wait_for(idle), 'the workers do not end')
        transaction.begin()

    def finish(self, *jobs, polls=10):
        """Let polls happen until *jobs* are completed; return the last's result."""
        for _number in range(polls):
            self.poll()
            if all(job.status is COMPLETED for job in jobs):
                return jobs[-1].result
        self.fail(f'not completed: {[str(job.status) for job in jobs]}')

    def wait(self, name):
        self.assertTrue(event(name).wait(10), f'{name} did not happen')

    def newest(self):
        return self.dispatcher.getPollInfo()['results']


# What jobs call

def nothing():
    pass


def multiply(first, second):
    return first * second


def block(name='go'):
    event('begun').set()
    event(name).wait(30)
    return 'unblocked'


def fails():
    raise LookupError('no luck')


def choose_badly(agent):
    raise RuntimeError('I cannot choose')


def choose_nothing(agent):
    return None


class Registry(Case):

    def setUp(self):
        super().setUp()
        self.db = self.open()

    def make(self, number=None):
        return dispatchers.Dispatcher(
            self.db, testing.Reactor(),
            uuid=None if number is None else uuid.UUID(int=number))

    def test_it_provides_its_interface(self):
        verifyObject(interfaces.IDispatcher, self.make())

    def test_its_uuid_is_the_instance_s(self):
        made = self.make()
        self.assertEqual(
            made.UUID, zope.component.getUtility(interfaces.IUUID))

    def test_the_only_one_is_found_without_uuid(self):
        self.assertIsNone(dispatchers.get())
        self.assertEqual(dispatchers.get(default='none'), 'none')
        made = self.make()
        self.assertIs(dispatchers.get(), made)

    def test_one_of_two_is_found_by_uuid_only(self):
        first, second = self.make(1), self.make(2)
        self.assertIs(dispatchers.get(first.UUID), first)
        self.assertIs(dispatchers.get(second.UUID), second)
        self.assertIsNone(dispatchers.get())
        self.assertEqual(dispatchers.get(uuid.UUID(int=3), 'none'), 'none')

    def test_pop_forgets(self):
        first, second = self.make(1), self.make(2)
        self.assertIs(dispatchers.pop(first.UUID), first)
        self.assertIsNone(dispatchers.pop(first.UUID))
        self.assertEqual(dispatchers.pop(first.UUID, 'none'), 'none')
        self.assertIs(dispatchers.pop(), second)
        self.assertIsNone(dispatchers.get())

    def test_clear_forgets_all(self):
        self.make(1), self.make(2)
        dispatchers.clear()
        self.assertIsNone(dispatchers.pop())
        self.make(1)

    def test_a_second_one_with_the_same_uuid_is_refused(self):
        made = self.make(1)
        with self.assertRaisesRegex(ValueError, str(made.UUID)):
            self.make(1)
        self.assertIs(dispatchers.get(), made)


class OnAndOff(VirtualCase):

    def test_it_knows_since_when_it_works(self):
        self.assertEqual(self.dispatcher.activated, datetime.datetime(
            2006, 8, 10, 15, 44, 22, 211, datetime.timezone.utc))

    def test_it_registers_and_activates_in_the_queue(self):
        self.assertIsNotNone(self.agents.activated)
        self.assertEqual(list(self.agents), ['main'])

    def test_it_cannot_be_activated_twice(self):
        with self.assertRaisesRegex(ValueError, 'is activated since'):
            self.dispatcher.activate()

    def test_the_end_of_the_reactor_is_its_end(self):
        self.reactor.stop()
        testing.wait_for_deactivation(self.dispatcher)
        transaction.begin()
        self.assertIsNone(self.agents.activated)
        self.assertEqual(self.dispatcher.getStatusInfo()['status'], 'STOPPED')
        self.dispatcher.deactivate()

    def test_its_threads_end(self):
        threads = self.dispatcher.queues['']['main'].threads
        self.assertEqual(len(threads), 3)
        self.reactor.stop()
        for thread in threads:
            thread.join(10)
            self.assertFalse(thread.is_alive())

    def test_what_does_not_end_in_time_is_handed_back(self):
        self.dispatcher.shutdown_grace = 0.01
        running, waiting = self.put(block), self.put(nothing)
        self.reactor.time_flies(5)
        self.wait('begun')
        self.reactor.stop()
        transaction.begin()
        self.assertIs(running.status, PENDING)
        self.assertEqual(len(self.agents['main']), 0)
        self.assertIn(waiting.status, (COMPLETED, PENDING))

    def test_what_ends_in_time_is_stored(self):
        job = self.put(block)
        self.reactor.time_flies(5)
        self.wait('begun')
        event('go').set()
        self.reactor.stop()
        transaction.begin()
        self.assertEqual(job.result, 'unblocked')

    def test_status_info(self):
        info = self.dispatcher.getStatusInfo()
        self.assertEqual(info, {
            'poll interval': 5 * SECOND, 'status': 'RUNNING',
            'time since last poll': SECOND, 'uptime': SECOND,
            'uuid': self.dispatcher.UUID})

    def test_a_dispatcher_that_did_not_poll_for_long_is_stuck(self):
        testing.set_now(clock.now() + 61 * SECOND)
        self.assertEqual(self.dispatcher.getStatusInfo()['status'], 'STUCK')

    def test_one_that_has_not_polled_is_starting(self):
        reactor = testing.Reactor()
        one = dispatchers.Dispatcher(self.db, reactor, uuid=EARLIER)
        self.assertEqual(one.getStatusInfo(), {
            'poll interval': 5 * SECOND, 'status': 'STOPPED',
            'time since last poll': None, 'uptime': None, 'uuid': EARLIER})
        one.activate()
        self.assertEqual(one.getStatusInfo()['status'], 'STARTING')


class Polls(VirtualCase):

    def setUp(self):
        super().setUp()
        self.reactor.time_flies(24)  # polls at 0, 5, 10, 15, 20 and 25 seconds

    def times(self, **limits):
        start = self.dispatcher.activated.replace(tzinfo=None)
        return [(poll['time'] - start).total_seconds()
                for poll in self.dispatcher.iterPolls(**limits)]

    def moment(self, seconds):
        return self.dispatcher.activated + seconds * SECOND

    def test_they_are_shown_the_newest_first(self):
        self.assertEqual(self.times(), [25, 20, 15, 10, 5, 0])

    def test_a_period_of_them(self):
        self.assertEqual(self.times(at=self.moment(15)), [15, 10, 5, 0])
        self.assertEqual(self.times(before=self.moment(15)), [10, 5, 0])
        self.assertEqual(self.times(since=self.moment(15)), [25, 20, 15])
        self.assertEqual(
            self.times(at=self.moment(17), since=self.moment(8)), [15, 10])
        self.assertEqual(self.times(count=2), [25, 20])
        self.assertEqual(
            self.times(before=self.moment(20), count=1), [15])

    def test_a_naive_limit_is_utc(self):
        naive = self.moment(15).replace(tzinfo=None)
        self.assertEqual(self.times(since=naive), [25, 20, 15])

    def test_a_limit_may_be_the_key_of_a_poll(self):
        key = self.dispatcher.getPollInfo(at=self.moment(15))['key']
        self.assertEqual(self.times(since=key), [25, 20, 15])
        self.assertEqual(self.times(before=key), [10, 5, 0])

    def test_two_upper_limits_are_refused(self):
        with self.assertRaisesRegex(ValueError, 'at or before'):
            self.dispatcher.getPollInfo(at=1, before=1)

    def test_one_of_them(self):
        info = self.dispatcher.getPollInfo()
        self.assertEqual(sorted(info), ['key', 'results', 'time'])
        self.assertEqual(
            self.dispatcher.getPollInfo(at=self.moment(12))['time'],
            self.moment(10).replace(tzinfo=None))
        self.assertEqual(
            self.dispatcher.getPollInfo(before=self.moment(10))['time'],
            self.moment(5).replace(tzinfo=None))
        self.assertIsNone(self.dispatcher.getPollInfo(before=self.moment(0)))

    def test_what_one_found(self):
        self.assertEqual(self.newest(), {'': {'main': {
            'active jobs': [], 'error': None, 'len': 0, 'new jobs': [],
            'size': 3}}})

    def test_a_claimed_job_is_new_in_one_poll_and_active_in_the_next(self):
        job = self.put(block)
        self.reactor.time_flies(5)
        self.wait('begun')
        key = (int.from_bytes(job._p_oid, 'big'), 'unnamed')
        found = self.newest()['']['main']
        self.assertEqual((found['new jobs'], found['active jobs'], found['len']),
                         ([key], [], 1))
        self.reactor.time_flies(5)
        found = self.newest()['']['main']
        self.assertEqual((found['new jobs'], found['active jobs'], found['len']),
                         ([], [key], 1))

    def test_only_the_latest_are_remembered(self):
        one = dispatchers.Dispatcher(
            self.db, self.reactor, uuid=EARLIER, polls_size=3)
        one.activate()
        self.addCleanup(one.deactivate)
        self.reactor.time_flies(50)
        self.assertEqual(len(list(one.iterPolls())), 3)

    def test_an_error_of_a_poll_does_not_end_polling(self):
        look, self.dispatcher._survey.look = self.dispatcher._survey.look, None
        with self.assertLogs('zc.async.events', 'ERROR'):
            self.reactor.time_flies(5)
        self.dispatcher._survey.look = look
        job = self.put(multiply, 6, 7)
        self.assertEqual(self.finish(job), 42)


class Statistics(VirtualCase):

    def setUp(self):
        super().setUp()
        self.connection.root()[KEY]['other'] = Queue()
        transaction.commit()
        self.poll()
        other = self.connection.root()[KEY]['other']
        self.put(multiply, 2, 2), self.put(fails)
        job = other.put(nothing)
        transaction.commit()
        self.finish(job)

    def counts(self, **limits):
        found = self.dispatcher.getStatistics(**limits)
        return found['started'], found['successful'], found['failed'], found['unknown']

    def test_its_keys(self):
        self.assertEqual(sorted(self.dispatcher.getStatistics()), [
            'failed', 'longest active', 'longest failed', 'longest successful',
            'shortest active', 'shortest failed', 'shortest successful',
            'started', 'statistics end', 'statistics start', 'successful',
            'unknown'])

    def test_all(self):
        self.assertEqual(self.counts(), (3, 2, 1, 0))

    def test_of_a_queue(self):
        self.assertEqual(self.counts(queue=''), (2, 1, 1, 0))
        self.assertEqual(self.counts(queue='other'), (1, 1, 0, 0))
        self.assertEqual(self.counts(queue='none'), (0, 0, 0, 0))

    def test_of_an_agent(self):
        self.assertEqual(self.counts(agent='main'), (3, 2, 1, 0))
        self.assertEqual(self.counts(agent='none'), (0, 0, 0, 0))
        self.assertEqual(self.counts(queue='other', agent='main'), (1, 1, 0, 0))

    def test_of_a_period(self):
        now = clock.now()
        self.poll()
        self.assertEqual(self.counts(since=now + SECOND), (0, 0, 0, 0))
        self.assertEqual(self.counts(at=now), (3, 2, 1, 0))

    def test_it_starts_with_the_newest_poll(self):
        found = self.dispatcher.getStatistics()
        self.assertEqual(found['statistics start'],
                         self.dispatcher.getPollInfo()['time'])
        self.assertEqual(found['statistics end'],
                         list(self.dispatcher.iterPolls())[-1]['time'])

    def test_of_no_poll(self):
        found = self.dispatcher.getStatistics(before=1)
        self.assertIsNone(found['statistics start'])
        self.assertIsNone(found['longest successful'])

    def test_active_jobs(self):
        job = self.put(block)
        self.reactor.time_flies(5)
        self.wait('begun')
        key = (int.from_bytes(job._p_oid, 'big'), 'unnamed')
        self.assertEqual(self.dispatcher.getActiveJobIds(), [key])
        self.assertEqual(self.dispatcher.getActiveJobIds(queue=''), [key])
        self.assertEqual(self.dispatcher.getActiveJobIds(queue='other'), [])
        self.assertEqual(self.dispatcher.getActiveJobIds(agent='none'), [])
        self.assertEqual(
            self.dispatcher.getStatistics()['longest active'], key)
        info = self.dispatcher.getJobInfo(*key)
        self.assertEqual(
            (info['queue'], info['agent'], info['failed'], info['completed'],
             info['result'], info['reassigned'], info['quota names']),
            ('', 'main', False, None, None, False, ()))
        self.assertIn('test_dispatcher.block()', info['call'])
        self.assertEqual(self.dispatcher.getJobInfo(key[0]), info)

    def test_an_unknown_job(self):
        with self.assertRaises(KeyError):
            self.dispatcher.getJobInfo(12345)


class AgentsAndQueues(VirtualCase):
    """What changes in the database is seen at the next poll."""

    def sizes(self):
        return {(queue, agent): pool.getSize()
                for queue, pools in self.dispatcher.queues.items()
                for agent, pool in pools.items()}

    def living(self, queue, agent):
        pool = self.dispatcher.queues[queue][agent]
        return [thread for thread in pool.threads if thread.is_alive()]

    def add(self, name, *args, **options):
        self.agents[name] = Agent(*args, **options)
        transaction.commit()
        self.poll()

    def add_queue(self, name):
        self.connection.root()[KEY][name] = Queue()
        transaction.commit()
        self.poll()
        return self.connection.root()[KEY][name]

    def test_several_agents_work(self):
        self.add('second', size=1)
        self.assertEqual(self.sizes(), {('', 'main'): 3, ('', 'second'): 1})
        jobs = [self.put(multiply, number, 2) for number in range(10)]
        self.finish(*jobs)
        self.assertEqual([job.result for job in jobs], list(range(0, 20, 2)))

    def test_a_filter_says_who_works(self):
        self.agents['main'].filter = is_short
        transaction.commit()
        self.add('rest', size=1)
        job = self.put(multiply, 1, 1)
        self.finish(job)
        self.assertEqual(job.agent.name, 'rest')
        job = self.put(nothing)
        self.finish(job)
        self.assertEqual(job.agent.name, 'main')

    def test_several_queues_are_served(self):
        other = self.add_queue('other')
        self.assertEqual(self.sizes(), {('', 'main'): 3, ('other', 'main'): 3})
        job = other.put(Job(multiply, 3, 3))
        transaction.commit()
        self.assertEqual(self.finish(job), 9)
        # one ping for all queues of a database
        self.assertIs(self.agents.last_ping,
                      other.dispatchers[self.dispatcher.UUID].last_ping)

    def test_an_agent_grows(self):
        self.agents['main'].size = 5
        transaction.commit()
        self.poll()
        self.assertEqual(self.sizes(), {('', 'main'): 5})
        self.assertEqual(len(self.living('', 'main')), 5)
        for _number in range(5):
            self.put(block)
        self.reactor.time_flies(5)
        self.assertTrue(testing.wait_for(
            lambda: len(self.dispatcher.getActiveJobIds()) == 5))

    def test_an_agent_shrinks_and_spares_what_runs(self):
        jobs = [self.put(block) for _number in range(3)]
        self.reactor.time_flies(5)
        self.assertTrue(testing.wait_for(
            lambda: len(self.dispatcher.getActiveJobIds()) == 3))
        self.agents['main'].size = 1
        transaction.commit()
        self.reactor.time_flies(5)
        event('go').set()
        self.finish(*jobs)
        self.assertTrue(testing.wait_for(
            lambda: len(self.living('', 'main')) == 1))
        self.assertEqual(self.finish(self.put(multiply, 4, 4)), 16)

    def test_an_agent_that_goes_takes_only_its_own_threads(self):
        self.add('second')
        pool = self.dispatcher.queues['']['second']
        kept = self.living('', 'main')
        del self.agents['second']
        transaction.commit()
        self.poll()
        self.assertEqual(self.sizes(), {('', 'main'): 3})
        self.assertTrue(testing.wait_for(
            lambda: not any(thread.is_alive() for thread in pool.threads)))
        self.assertEqual(self.living('', 'main'), kept)
        self.assertEqual(self.finish(self.put(multiply, 4, 4)), 16)

    def test_a_queue_that_goes_takes_only_its_own_threads(self):
        self.add_queue('other')
        pool = self.dispatcher.queues['other']['main']
        kept = self.living('', 'main')
        del self.connection.root()[KEY]['other']
        transaction.commit()
        self.poll()
        self.assertEqual(self.sizes(), {('', 'main'): 3})
        self.assertTrue(testing.wait_for(
            lambda: not any(thread.is_alive() for thread in pool.threads)))
        self.assertEqual(self.living('', 'main'), kept)
        self.assertEqual(self.finish(self.put(multiply, 4, 4)), 16)

    def test_what_an_agent_that_goes_works_on_is_finished(self):
        self.queue.quotas.create('one')
        job = Job(block)
        job.quota_names = ('one',)
        self.put(job)
        self.reactor.time_flies(5)
        self.wait('begun')
        transaction.begin()
        del self.agents['main']
        transaction.commit()
        self.reactor.time_flies(5)
        self.assertEqual(self.sizes(), {})
        event('go').set()
        self.finish(job)
        self.assertEqual(job.result, 'unblocked')
        self.add('main')
        following = Job(multiply, 4, 4)
        following.quota_names = ('one',)
        self.assertEqual(self.finish(self.put(following)), 16)

    def test_an_agent_named_like_a_queue(self):
        """Agents' names and queues' names are not mixed up."""
        self.add_queue('main')
        self.add('other')
        del self.agents['other']
        transaction.commit()
        self.poll()
        self.assertEqual(self.sizes(), {('', 'main'): 3, ('main', 'main'): 3})

    def test_a_chooser_that_raises_is_shown_and_harms_nobody(self):
        self.add('bad', chooser=choose_badly)
        job = self.put(multiply, 2, 3)
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.finish(job)
        self.assertIn("'bad'", logs.output[0])
        found = self.newest()['']
        self.assertIsInstance(found['bad']['error'], RuntimeError)
        self.assertIsNone(found['main']['error'])
        self.agents['bad'].chooser = choose_nothing
        transaction.commit()
        self.poll()
        self.assertIsNone(self.newest()['']['bad']['error'])


def is_short(job):
    return not job.args


class Gone:
    """What a process that was killed left in the database."""

    def __init__(self, queue, UUID, *jobs):
        self.agents = queue.dispatchers[UUID] if UUID in queue.dispatchers else None
        if self.agents is None:
            queue.dispatchers.register(UUID)
            self.agents = queue.dispatchers[UUID]
        self.agents.activate()
        if 'main' not in self.agents:
            self.agents['main'] = Agent()
        for job in jobs:
            queue.put(job)
        claimed = [self.agents['main'].claimJob() for _job in jobs]
        transaction.commit()
        assert claimed == list(jobs)


class AfterADeath(Case):
    """A process ended without a word."""

    def begin(self, storage=None):
        self.db = self.open(storage)
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        self.reactor = testing.Reactor()
        self.reactor.start()  # virtual time
        self.connection = self.db.open()
        self.queue = self.connection.root()[KEY]['']
        self.addCleanup(self.stop)

    stop = VirtualCase.stop
    settle = VirtualCase.settle

    def start(self, UUID=EARLIER):
        self.dispatcher = dispatchers.Dispatcher(self.db, self.reactor, uuid=UUID)
        self.dispatcher.activate()
        self.reactor.time_flies(1)
        self.settle()

    def pass_time(self, seconds):
        for _number in range(0, seconds, 5):
            self.reactor.time_flies(5)
            self.settle()


class TakingOver(AfterADeath):
    """What it had in hand is done by others, or by the next of its kind."""

    def test_on_a_file_its_work_is_taken_over_at_once(self):
        self.begin()
        assigned, waiting = Job(multiply, 6, 7), Job(multiply, 2, 2)
        gone = Gone(self.queue, EARLIER, assigned)
        self.queue.put(waiting)
        transaction.commit()
        self.assertFalse(gone.agents.dead)
        self.start()
        self.pass_time(5)
        self.assertEqual((assigned.result, waiting.result), (42, 4))

    def test_a_job_that_it_ran_is_interrupted_and_runs_again(self):
        self.begin()
        job = Job(multiply, 6, 7)
        Gone(self.queue, EARLIER, job)
        execution.begin(job)
        transaction.commit()
        self.start()
        self.pass_time(5)
        self.assertEqual(job.result, 42)
        self.assertEqual(job.getRetryPolicy().data['interruptions'], 1)

    def test_elsewhere_it_must_have_been_silent_first(self):
        self.begin(MappingStorage())
        job = Job(multiply, 6, 7)
        gone = Gone(self.queue, EARLIER, job)
        ping = gone.agents.last_ping.value
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.start()
            self.pass_time(10)
        self.assertEqual(len(logs.output), 1, 'it is said once')
        self.assertIn(str(EARLIER), logs.output[0])
        self.assertIs(job.status, ASSIGNED)
        self.assertEqual(gone.agents.last_ping.value, ping, 'not in its name')
        self.pass_time(20)
        self.assertEqual(job.result, 42)

    def test_it_claims_nothing_in_the_name_of_another_process(self):
        self.begin(MappingStorage())
        Gone(self.queue, EARLIER)
        job = self.queue.put(Job(multiply, 6, 7))
        transaction.commit()
        self.start()
        self.pass_time(20)
        self.assertIs(job.status, PENDING)

    def test_a_sibling_takes_over_from_one_that_is_dead(self):
        self.begin()
        job = Job(multiply, 6, 7)
        gone = Gone(self.queue, EARLIER, job)
        self.start(NEIGHBOUR)
        self.pass_time(15)
        self.assertIs(job.status, ASSIGNED)
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.pass_time(10)
        self.assertIn(str(EARLIER), logs.output[0])
        self.assertIsNone(gone.agents.activated)
        self.assertEqual(job.result, 42)

    def test_one_that_pings_is_never_dead_however_long_its_job_takes(self):
        self.begin()
        job = Job(multiply, 6, 7)
        gone = Gone(self.queue, EARLIER, job)
        self.start(NEIGHBOUR)
        for _number in range(10):
            self.pass_time(10)
            gone.agents.last_ping.beat()
            transaction.commit()
        self.assertIs(job.status, ASSIGNED)

    def test_a_clock_that_jumps_makes_nobody_dead(self):
        self.begin()
        job = Job(multiply, 6, 7)
        gone = Gone(self.queue, EARLIER, job)
        self.start(NEIGHBOUR)
        gone.agents.last_ping.micros -= 3600 * 1_000_000
        gone.agents.last_ping.count += 1
        transaction.commit()
        self.pass_time(10)
        self.assertTrue(gone.agents.dead, 'by its own clock')
        self.assertIs(job.status, ASSIGNED)

    def test_one_that_holds_nothing_may_be_silent_longer(self):
        self.begin()
        gone = Gone(self.queue, EARLIER)
        self.start(NEIGHBOUR)
        self.pass_time(40)
        self.assertIsNotNone(gone.agents.activated)
        self.pass_time(15)
        self.assertIsNone(gone.agents.activated)

    def test_one_that_was_taken_for_dead_and_is_not_comes_back(self):
        self.begin()
        self.start()
        self.queue.dispatchers[EARLIER].deactivate()
        transaction.commit()
        with self.assertLogs('zc.async.events', 'CRITICAL'):
            self.pass_time(5)
        self.assertIsNotNone(self.queue.dispatchers[EARLIER].activated)

    def test_it_pings_when_the_interval_is_over(self):
        self.begin()
        self.start()
        ping = self.queue.dispatchers[EARLIER].last_ping
        count = ping.count
        self.pass_time(20)
        self.assertEqual(ping.count, count, 'it is idle')
        self.pass_time(45)
        self.assertEqual(ping.count, count + 2)


class Threaded(Case):
    """With a real reactor in a thread of its own."""

    def counts(self):
        found = None
        if os.path.isdir('/proc/self/fd'):
            found = len(os.listdir('/proc/self/fd'))
        return threading.active_count(), found

    def test_twenty_times_on_and_off_leaves_nothing(self):
        db = self.open()
        signals = [signal.getsignal(number) for number in subscribers.SIGNALS]
        event = interfaces.DatabaseOpened(db)
        agents = subscribers.AgentInstaller('main')
        zope.component.provideHandler(agents)
        install = subscribers.ThreadedDispatcherInstaller(0.05)
        before = None
        for _number in range(20):
            found = install(event)
            testing.get_poll(found, 1)
            testing.tear_down_dispatcher(found)
            subscribers.restore_signal_handlers(found)
            self.assertIsNone(found.activated)
            before = before or self.counts()
        self.assertEqual(self.counts(), before)
        self.assertEqual(
            [signal.getsignal(number) for number in subscribers.SIGNALS], signals)
        self.assertEqual(subscribers.signal_handlers, {})
        self.assertEqual(
            [info['opened'] for info in db.connectionDebugInfo() if info['opened']],
            [])

    def test_it_works_as_soon_as_there_is_work(self):
        db = self.open()
        zope.component.provideHandler(subscribers.AgentInstaller('main', size=1))
        found = subscribers.ThreadedDispatcherInstaller(600)(
            interfaces.DatabaseOpened(db))
        self.addCleanup(subscribers.restore_signal_handlers, found)
        self.addCleanup(testing.tear_down_dispatcher, found)
        connection = db.open()
        self.addCleanup(connection.close)
        testing.wait_for(lambda: found.queues.get('', {}).get('main'))
        queue = connection.root()[KEY]['']
        jobs = [queue.put(Job(multiply, 2, number)) for number in range(20)]
        transaction.commit()
        for job in jobs:
            testing.wait_for_result(job)
        self.assertEqual([job.result for job in jobs], list(range(0, 40, 2)))


class Connections(VirtualCase):
    """The pools of the database have room for a connection of each worker."""

    def setUp(self):
        super().setUp()
        self.without = self.db.getPoolSize() - 4  # three workers, and the turns

    def test_there_is_room_for_each_worker(self):
        self.assertEqual(self.without, ZODB.DB(MappingStorage()).getPoolSize())

    def test_room_follows_the_sizes_of_agents(self):
        self.agents['main'].size = 9
        transaction.commit()
        self.poll()
        self.assertEqual(self.db.getPoolSize(), self.without + 10)

    def test_what_others_set_meanwhile_is_kept(self):
        self.db.setPoolSize(self.db.getPoolSize() + 20)
        self.agents['main'].size = 1
        transaction.commit()
        self.poll()
        self.assertEqual(self.db.getPoolSize(), self.without + 20 + 2)

    def test_it_is_given_back(self):
        self.dispatcher.deactivate()
        self.assertEqual(self.db.getPoolSize(), self.without)


if __name__ == '__main__':
    unittest.main()
