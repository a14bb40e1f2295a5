"""A rolling deploy: two dispatchers serve a queue, and one lacks new code.

Both are real, in virtual time and in this process; the old one's database finds
no class or function of the module that the new one has.
"""
import datetime
import logging
import sys
import types
import uuid
from unittest import mock

import transaction
import ZODB
import zope.component
from ZODB import mvccadapter
from ZODB.broken import find_global
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import u64

from .. import dispatcher as dispatchers
from .. import queue as queue_module
from .. import subscribers
from .. import testing
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import PARKED
from ..job import Job
from ..job import NeverRetry
from ..runtime import lacking
from ..threadlocal import local
from .test_dispatcher import Case
from .test_dispatcher import multiply
from .test_dispatcher import VirtualCase

OLD, NEW = uuid.UUID(int=1), uuid.UUID(int=2)
MODULE = 'zc_async_rolling'
SOURCE = """
def run(number=None):
    runs.append((local.getDispatcher().UUID, number))
    return number

def collect(*jobs):
    return len(jobs)

class Rolling(Job):
    pass
"""


def old_classes(connection, module, name):
    """Find what the old process has."""
    if module == MODULE:
        module += '_is_missing'
    return find_global(module, name)


class RollingCase(Case):

    interval = 5  # seconds between polls

    settle = VirtualCase.settle
    stop = VirtualCase.stop
    put = VirtualCase.put

    def setUp(self):
        super().setUp()
        log = logging.getLogger('zc.async')
        log.propagate = False
        self.addCleanup(setattr, log, 'propagate', True)
        self.module = sys.modules[MODULE] = types.ModuleType(MODULE)
        self.addCleanup(sys.modules.pop, MODULE)
        self.module.Job, self.runs = Job, []
        self.module.runs, self.module.local = self.runs, local
        exec(SOURCE, self.module.__dict__)
        self.db = self.open(MappingStorage())
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        self.reactor = testing.Reactor()
        self.reactor.start()
        self.connection = self.db.open()
        self.queue = self.connection.root()[KEY]['']
        self.addCleanup(self.stop)

    def start(self, UUID):
        """Start a dispatcher and return it; the old one lacks the module."""
        db = self.db
        if UUID == OLD:
            # on the same adapter, so that commits of each are seen by the other
            with mock.patch.object(mvccadapter, 'MVCCAdapter',
                                   lambda storage: self.db._mvcc_storage):
                db = ZODB.DB(self.db.storage, class_factory=old_classes)
        found = dispatchers.Dispatcher(db, self.reactor, self.interval, UUID)
        found.activate()
        self.reactor.time_flies(0)
        return found

    def both(self):
        """Start both, the old one first: it polls first, too."""
        self.old, self.new = self.start(OLD), self.start(NEW)
        self.poll()

    def poll(self, times=1):
        for _number in range(times):
            self.reactor.time_flies(self.interval)
            self.settle()
        transaction.begin()

    def silence(self, dispatcher):
        """Let *dispatcher* live and claim nothing."""
        for agent in self.queue.dispatchers[dispatcher.UUID].values():
            agent.chooser = choose_nothing
        transaction.commit()

    def agents(self, UUID):
        return self.queue.dispatchers[UUID]['main']


def choose_nothing(agent):
    """A chooser."""


class RollingDeploy(RollingCase):

    def test_the_one_that_has_the_code_does_all_of_it(self):
        self.both()
        jobs = [self.put(self.module.run, number) for number in range(20)]
        for job in jobs[::2]:
            job.addCallback(multiply_nothing)
        transaction.commit()
        self.poll(12)
        self.assertEqual([job.status for job in jobs], 20 * [COMPLETED])
        self.assertEqual([job.result for job in jobs], list(range(20)))
        self.assertEqual({UUID for UUID, _number in self.runs}, {NEW})
        self.assertEqual(len(self.runs), 20)
        self.assertEqual(len(self.queue.parked), 0)
        self.assertTrue(self.old.lacking.lacks(f'{MODULE}_is_missing.run'))

    def test_the_other_goes_on_with_other_jobs(self):
        self.both()
        self.silence(self.new)
        for number in range(20):
            self.put(self.module.run, number)
        others = [self.put(multiply, 6, 7) for _number in range(9)]
        self.poll(12)
        self.assertEqual([job.result for job in others], 9 * [42])
        self.assertEqual((self.runs, len(self.queue)), ([], 20))

    def test_no_retry_is_burnt(self):
        self.both()
        self.silence(self.new)
        job = self.put(self.module.run)
        self.poll(2)
        self.assertIsNone(job._retry_policy)
        self.assertIsNone(job.result)
        self.assertEqual(len(self.agents(OLD)), 0)

    def test_quotas_are_given_back_and_kept(self):
        self.both()
        self.queue.quotas.create('q')
        transaction.commit()
        jobs = []
        for number in range(4):
            jobs.append(Job(self.module.run, number))
            jobs[-1].quota_names = ('q',)
            self.put(jobs[-1])
        self.poll(15)
        self.assertEqual([job.result for job in jobs], [0, 1, 2, 3])
        self.assertEqual([number for _UUID, number in self.runs], [0, 1, 2, 3])

    def test_a_job_that_may_run_only_once(self):
        self.both()
        jobs = [self.put(self.module.run, number, retry_policy_factory=NeverRetry)
                for number in range(6)]
        self.poll(6)
        self.assertEqual([job.result for job in jobs], list(range(6)))

    def test_a_callback(self):
        self.both()
        jobs = [Job(multiply, 2, number) for number in range(6)]
        callbacks = [job.addCallback(self.module.run) for job in jobs]
        for job in jobs:
            self.put(job)
        self.poll(8)
        self.assertEqual([one.result for one in callbacks], [0, 2, 4, 6, 8, 10])
        self.assertEqual([job.status for job in jobs], 6 * [COMPLETED])

    def test_the_class_of_a_job(self):
        self.both()
        jobs = [self.put(self.module.Rolling(multiply, 2, number)) for number in range(6)]
        others = [self.put(multiply, 6, 7) for _number in range(6)]
        self.poll(8)
        self.assertEqual([job.result for job in jobs], [0, 2, 4, 6, 8, 10])
        self.assertEqual([job.result for job in others], 6 * [42])
        self.assertEqual(len(self.queue.parked), 0)


class Giving(RollingCase):
    """When a job is left to others no more."""

    interval = 20

    def setUp(self):
        super().setUp()
        self.both()
        self.silence(self.new)

    def reason(self, job):
        transaction.begin()
        return self.queue.parked.find(u64(job._p_oid)).reason

    def minutes(self, minutes):
        """Let *minutes* pass."""
        self.poll(3 * minutes)

    def test_after_an_hour_without_anybody(self):
        job = self.put(self.module.run)
        self.poll()
        for _number in range(4):
            self.minutes(14)
            self.assertNotIn(job, self.queue.parked)
        self.minutes(6)
        self.assertIs(job.status, PARKED)
        self.assertIn('run cannot be loaded', self.reason(job))

    def test_each_job_has_its_own_hour(self):
        first = self.put(self.module.run)
        self.poll()
        self.minutes(50)
        second = self.put(self.module.run)
        self.minutes(15)
        self.assertIs(first.status, PARKED)
        self.assertNotIn(second, self.queue.parked)

    def test_a_class_has_its_hour_too(self):
        job = self.put(self.module.Rolling(multiply, 2, 3))
        self.poll()
        self.minutes(55)
        self.assertNotIn(job, self.queue.parked)
        self.minutes(6)
        self.assertIn('its class', self.reason(job))

    def test_at_once_when_it_is_alone(self):
        self.new.deactivate()
        transaction.begin()
        job = self.put(self.module.run)
        self.poll()
        self.assertIs(job.status, PARKED)

    def test_where_the_other_serves_nothing(self):
        self.agents(NEW).size = 0
        job = self.put(self.module.run)
        self.poll()
        self.assertIs(job.status, PARKED)

    def test_soon_after_the_other_is_gone(self):
        jobs = [self.put(self.module.run) for _number in range(7)]
        self.poll(3)
        self.assertEqual(len(self.queue), 7)
        self.new.deactivate()
        self.poll(7)
        self.assertEqual([job.status for job in jobs], 7 * [PARKED])

    def test_it_tries_again_after_a_while(self):
        job = self.put(self.module.run)
        self.poll()
        attempts = job._attempt
        self.poll(2)
        self.assertEqual(job._attempt, attempts, 'it is passed over')
        self.poll(2)
        self.assertGreater(job._attempt, attempts)


class Cost(RollingCase):
    """Thousands of jobs that a process lacks the code of."""

    def test_a_claim_looks_at_none_of_those_set_aside(self):
        self.both()
        self.silence(self.new)
        for _number in range(60):
            self.queue.put(Job(self.module.run))
        transaction.commit()
        self.poll(25)  # all of them are set aside by now
        looked = []
        with mock.patch.object(
                    queue_module, 'why_unreadable', side_effect=looked.append):
            self.poll(2)
        self.assertEqual(looked, [])

    def test_what_is_remembered_is_bounded(self):
        found = lacking.Lacking(OLD)
        with mock.patch.object(lacking, 'LIMIT', 10):
            for number in range(100):
                found.note(f'name{number}')
                left = found.leaves((number, ''), 'name')
                self.assertEqual(left, number < 10)
            self.assertEqual(len(found._until), 10)
            self.assertEqual(len(found._left), 10)
            self.assertTrue(found.lacks('name99'))
            self.assertFalse(found.lacks('name1'))
            testing.set_now(testing.clock.now() + datetime.timedelta(hours=3))
            self.assertTrue(found.leaves((1000, ''), 'name'))

    def test_an_empty_line_of_those_set_aside_is_removed(self):
        self.both()
        job = self.put(self.module.run)
        self.silence(self.new)
        self.poll()
        self.agents(NEW).chooser = None
        transaction.commit()
        self.poll(2)
        self.assertEqual(job.status, COMPLETED)
        names = [name for shard in self.queue._lines.shards for name in shard.lines]
        self.assertEqual({len(name) for name in names}, {2})



def multiply_nothing(result):
    """A callback that both have."""
