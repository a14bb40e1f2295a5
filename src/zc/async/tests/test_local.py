"""What a job may ask about itself, and live annotations."""
import unittest

import transaction

from .. import testing
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import NotStorableError
from ..job import Job
from ..threadlocal import local
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import event
from .test_dispatcher import VirtualCase

from zc.async_ import local as documented

#: What jobs saw.
seen = {}


def look():
    seen['job'] = local.getJob()._p_oid
    seen['attribute'] = local.job is local.getJob()
    seen['queue'] = local.getQueue()._p_oid
    seen['agent'] = local.getAgentName()
    seen['dispatcher'] = local.getDispatcher()
    seen['reactor'] = local.getReactor()


def look_as_callback(result):
    look()


def annotate(value):
    local.setLiveAnnotation('name', value)
    event('annotated').set()
    event('go').wait(30)
    return 'done'


def annotate_and_fail():
    local.setLiveAnnotation('name', 'kept')
    raise LookupError


def wait_for_annotation(timeout, poll):
    event('begun').set()
    return local.getLiveAnnotation('answer', 'none', timeout, poll)


def annotate_another(job):
    local.setLiveAnnotation('name', 'from afar', job)
    return local.getLiveAnnotation('name', job=job)


def annotate_root():
    local.setLiveAnnotation('name', local.getJob()._p_jar.root())


class OutsideOfAJob(PlainCase):

    def test_the_package_has_it_under_its_documented_name(self):
        self.assertIs(documented, local)

    def test_there_is_nothing_to_ask(self):
        for ask in (local.getJob, local.getQueue, local.getAgentName,
                    local.getDispatcher, local.getReactor):
            with self.subTest(ask.__name__):
                self.assertIsNone(ask())
        self.assertIsNone(local.job)

    def test_there_is_nothing_to_annotate(self):
        with self.assertRaises(ValueError) as caught:
            local.setLiveAnnotation('name', 'value')
        self.assertEqual(caught.exception.args, ('not initialized',))
        with self.assertRaises(ValueError) as caught:
            local.getLiveAnnotation('name')
        self.assertEqual(caught.exception.args, ('not initialized',))

    def test_a_job_that_is_called_here_is_a_job(self):
        db = self.open()
        connection = db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        job = connection.root()[KEY][''].put(Job(names_job))
        transaction.commit()
        connection.root()[KEY][''].pull()
        self.assertIs(job(), True)
        self.assertIsNone(local.getJob())


def names_job():
    return local.getJob().callable is names_job


class InAJob(VirtualCase):

    def setUp(self):
        super().setUp()
        seen.clear()

    def check(self, job):
        self.assertEqual(seen, {
            'job': job._p_oid, 'attribute': True, 'queue': self.queue._p_oid,
            'agent': 'main', 'dispatcher': self.dispatcher, 'reactor': self.reactor})

    def test_the_functions(self):
        job = self.put(look)
        self.finish(job)
        self.check(job)

    def test_the_functions_in_a_callback(self):
        job = Job(testing.time_sleep, 0)
        callback = job.addCallback(Job(look_as_callback))
        self.finish(self.put(job))
        self.check(callback)

    def test_nothing_is_left_in_the_thread(self):
        pool = self.dispatcher.queues['']['main']
        self.agents['main'].size = 1
        transaction.commit()
        self.poll()
        self.finish(self.put(look))
        found = []
        work, pool._work = pool._work, lambda ticket: found.append(
            (local.getJob(), local.getDispatcher()))
        pool.put(None)
        self.assertTrue(testing.wait_for(lambda: found))
        pool._work = work
        self.assertEqual(found, [(None, None)])


class LiveAnnotations(VirtualCase):

    def test_one_is_seen_while_the_job_runs(self):
        job = self.put(annotate, 42)
        self.reactor.time_flies(5)
        self.wait('annotated')
        transaction.begin()
        self.assertEqual(job.annotations['name'], 42)
        event('go').set()
        self.assertEqual(self.finish(job), 'done')
        self.assertEqual(job.annotations['name'], 42)

    def test_it_outlives_a_failure(self):
        job = self.put(annotate_and_fail)
        self.finish(job)
        self.assertTrue(job.result.check(LookupError))
        self.assertEqual(job.annotations['name'], 'kept')

    def test_one_that_another_connection_sets_is_found(self):
        job = self.put(wait_for_annotation, 30, 0)
        self.reactor.time_flies(5)
        self.wait('begun')
        transaction.begin()
        job.annotations['answer'] = 42
        transaction.commit()
        self.assertEqual(self.finish(job), 42)

    def test_the_default_after_the_timeout(self):
        job = self.put(wait_for_annotation, 0.05, 0.01)
        self.assertEqual(self.finish(job), 'none')

    def test_no_waiting_without_timeout(self):
        job = self.put(wait_for_annotation, 0, 1)
        self.assertEqual(self.finish(job), 'none')

    def test_a_stop_ends_the_waiting(self):
        self.put(wait_for_annotation, 600, 600)
        self.reactor.time_flies(5)
        self.wait('begun')
        pool = self.dispatcher.queues['']['main']
        self.reactor.stop()
        for thread in pool.threads:
            thread.join(10)
            self.assertFalse(thread.is_alive())

    def test_another_job_can_be_annotated(self):
        other = self.put(Job(names_job), begin_after=testing._now.replace(year=2036))
        self.assertEqual(self.finish(self.put(annotate_another, other)), 'from afar')
        self.assertEqual(other.annotations['name'], 'from afar')

    def test_a_persistent_value_is_refused(self):
        job = self.put(annotate_root)
        self.finish(job)
        self.assertTrue(job.result.check(NotStorableError), job.result)

    def test_a_message_id_stays_one(self):
        job = self.put(annotate, COMPLETED)
        self.reactor.time_flies(5)
        self.wait('annotated')
        event('go').set()
        self.finish(job)
        self.assertEqual(job.annotations['name'], COMPLETED)


if __name__ == '__main__':
    unittest.main()
