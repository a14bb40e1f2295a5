"""Jobs that meet other jobs whose code their process lacks.

The two processes of `test_rolling`: the old one lacks a module.
"""
import transaction

from . import test_rolling
from .. import job as jobs
from ..interfaces import BrokenCallError
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import PARKED
from ..job import Job
from ..job import NeverRetry
from ..threadlocal import local
from .test_dispatcher import multiply
from .test_rolling import MODULE
from .test_rolling import NEW
from .test_rolling import OLD

KEPT = 'test_parts_missing'


def returns_kept(*args):
    """Return the job that is kept in the root."""
    ran.append(local.getDispatcher().UUID)
    return local.getJob()._p_jar.root()[KEPT]


def tells_another(*args):
    """Add a callback to the job that is kept in the root."""
    local.getJob()._p_jar.root()[KEPT].addCallback(nothing)


def adds_kept(name):
    """Add the job that is kept in the root to the parts of the workflow *name*."""
    root = local.getJob()._p_jar.root()
    root[name].args.append(root[KEPT])


def nothing(*args):
    """A job, or a callback."""


ran = []


class Parts(test_rolling.RollingCase):

    def setUp(self):
        super().setUp()
        ran.clear()
        self.both()

    def only(self, UUID):
        """Let only the dispatcher *UUID* claim."""
        for one in (OLD, NEW):
            self.agents(one).chooser = (
                None if one == UUID else test_rolling.choose_nothing)
        transaction.commit()

    def done_by_the_new_one(self, job):
        """The old one sees *job* first, leaves it, and the other does it."""
        self.only(OLD)
        self.poll(2)
        self.assertIs(job.parent, self.queue, job.status)
        self.assertEqual(len(self.queue.parked), 0)
        self.only(NEW)
        self.poll(6)
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(len(self.queue.parked), 0)

    def keep(self, job):
        """Keep *job* in the root, and in line far away."""
        root = self.connection.root()
        root[KEPT] = job
        transaction.commit()
        return job

    def test_the_parts_of_a_serial_job(self):
        job = self.put(jobs.serial(Job(self.module.run, 1), Job(multiply, 2, 3)))
        self.done_by_the_new_one(job)
        self.assertEqual([one.result for one in job.result], [1, 6])

    def test_a_later_part_of_a_serial_job(self):
        job = self.put(jobs.serial(Job(multiply, 2, 3), Job(self.module.run, 1)))
        self.only(OLD)
        self.poll(4)
        self.assertEqual(len(self.queue.parked), 0)
        self.only(NEW)
        self.poll(6)
        self.assertEqual([one.result for one in job.result], [6, 1])

    def test_the_parts_of_a_parallel_job(self):
        job = self.put(jobs.parallel(Job(multiply, 2, 3), Job(self.module.run, 1)))
        self.done_by_the_new_one(job)
        self.assertEqual([one.result for one in job.result], [6, 1])

    def test_a_part_whose_own_class_is_missing(self):
        job = self.put(jobs.parallel(self.module.Rolling(multiply, 2, 3)))
        self.done_by_the_new_one(job)
        self.assertEqual([one.result for one in job.result], [6])

    def test_one_that_is_added_later(self):
        self.keep(self.module.Rolling(multiply, 2, 3))
        root = self.connection.root()
        root['workflow'] = job = jobs.serial(Job(adds_kept, 'workflow'))
        self.put(job)
        self.only(OLD)
        self.poll(4)
        self.assertEqual(len(self.queue.parked), 0)
        self.only(NEW)
        self.poll(6)
        self.assertEqual([one.result for one in job.result], [None, 6])

    def test_the_last_step(self):
        job = self.put(jobs.parallel(
            Job(multiply, 2, 3), postprocess=self.module.collect))
        self.only(OLD)
        self.poll(4)
        self.assertEqual(len(self.queue.parked), 0)
        self.only(NEW)
        self.poll(6)
        self.assertEqual(job.result, 1)

    def test_a_workflow_that_is_never_tried_again_has_done_nothing(self):
        job = jobs.serial(Job(self.module.run, 1))
        job.retry_policy_factory = NeverRetry
        self.done_by_the_new_one(self.put(job))
        self.assertEqual([one.result for one in job.result], [1])

    def test_a_job_that_is_returned(self):
        kept = self.keep(Job(self.module.run, 5))
        self.queue.put(kept, begin_after=test_rolling.testing.clock.now() + (
            test_rolling.datetime.timedelta(seconds=20)))
        job = self.put(returns_kept)
        self.done_by_the_new_one(job)
        self.assertEqual(job.result, 5)
        self.assertEqual(set(ran), {OLD, NEW})

    def test_one_that_is_returned_by_a_callback(self):
        kept = self.keep(Job(self.module.run, 5))
        self.queue.put(kept, begin_after=test_rolling.testing.clock.now() + (
            test_rolling.datetime.timedelta(seconds=20)))
        job = Job(nothing)
        callback = job.addCallback(returns_kept)
        self.done_by_the_new_one(self.put(job))
        self.assertEqual(callback.result, 5)

    def test_one_that_is_given_a_callback(self):
        kept = self.keep(Job(self.module.run, 5))
        self.done_by_the_new_one(self.put(tells_another))
        self.assertEqual(len(kept.callbacks), 1)

    def test_a_call_that_must_not_be_made_twice_is_parked(self):
        self.keep(Job(self.module.run, 5))
        job = self.put(returns_kept, retry_policy_factory=NeverRetry)
        self.only(OLD)
        self.poll(2)
        self.assertIs(job.status, PARKED)
        self.assertEqual(ran, [OLD])
        self.assertIn('run cannot be loaded', self.queue.parked.entry(job).reason)

    def test_alone_it_is_parked(self):
        self.new.deactivate()
        transaction.begin()
        job = self.put(jobs.serial(Job(self.module.run, 1)))
        self.poll(2)
        self.assertIs(job.status, PARKED)

    def test_nothing_is_changed_where_it_is_refused(self):
        kept = self.keep(Job(self.module.run, 5))
        with self.old.db.transaction() as connection:
            found = connection.root()[KEPT]
            with self.assertRaisesRegex(BrokenCallError, f'{MODULE}_is_missing.run'):
                found.addCallback(nothing)
        self.assertEqual(kept.callbacks, ())
        self.assertIn('', self.connection.root()[KEY])
