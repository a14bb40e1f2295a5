"""What happens when two processes do something at the same time.

Two real connections on one storage, stepped by hand: each does its part in a
transaction that began before the other's was committed.  No thread, no sleep.
Where a rule hangs on a guard, a second test takes the guard away and shows that
the rule is broken then, so that the first one can fail.
"""
import collections
import contextlib
import unittest
from unittest import mock

import ZODB.ConflictResolution
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadConflictError

from . import contracts
from .. import job as job_module
from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import NEW
from ..interfaces import PENDING
from ..job import Job
from ..job import parallel
from ..model import callbacks
from ..model import execution
from ..model import lines
from ..model import liveness
from ..model import workflow
from ..model.quota import Quota
from .contracts import FIRST
from .contracts import MINUTE
from .contracts import SECOND_ONE
from .contracts import nothing


class Chosen:
    """Says which shard each transaction that puts shall use."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def below(self, limit):
        """Return the next number; the last one for ever."""
        return self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]


class Race(contracts.InWorld):
    """Two processes with a dispatcher each: ``self.a`` and ``self.b``."""

    def setUp(self):
        super().setUp()
        self.shards(0)
        self.world.add_dispatcher(FIRST)
        self.world.add_dispatcher(SECOND_ONE)
        self.a, self.b = self.world.open(), self.world.open()

    def shards(self, *numbers):
        """Let the next transactions that put use these shards."""
        patch = mock.patch.object(lines, '_habit', Chosen(*numbers))
        patch.start()
        self.addCleanup(patch.stop)

    def stored(self, *jobs):
        """Commit *jobs*, and let both processes see them."""
        self.client.commit()
        self.a.begin()
        self.b.begin()
        return jobs

    def both_commit(self):
        """Commit in both; none may conflict."""
        self.a.commit()
        self.b.commit()
        self.client.begin()

    def second_conflicts(self, error=ConflictError):
        """Commit in both; the second has to conflict."""
        self.a.commit()
        with self.assertRaises(error):
            self.b.commit()
        self.client.begin()

    def places(self, job):
        """Return where *job* is: each container that has it."""
        job = self.client.mine(job)
        found = ['queue' for one in self.queue if one is job]
        for UUID in (FIRST, SECOND_ONE):
            found += [UUID for one in self.client.agent(UUID) if one is job]
        return found

    def assert_counted(self):
        """The length of the queue is the number of jobs in it."""
        self.assertEqual(len(self.queue), len(list(self.queue)))

    @contextlib.contextmanager
    def without_guards(self, *modules):
        """Take ``readCurrent`` away from *modules*."""
        with contextlib.ExitStack() as stack:
            for module in modules:
                stack.enter_context(
                    mock.patch.object(module, 'read_current', lambda obj: None))
            yield


    @contextlib.contextmanager
    def resolving(self, cls, merge):
        """Let conflicts of *cls* be resolved by *merge* of two states."""
        def resolve(obj, old, saved, new):
            return merge(saved, new)

        with mock.patch.object(cls, '_p_resolveConflict', resolve, create=True), \
                mock.patch.dict(ZODB.ConflictResolution._unresolvable, clear=True):
            yield


class ClaimAndClaim(Race, unittest.TestCase):
    """Two dispatchers, one job: exactly one claim commits."""

    def test_one_job_is_claimed_once(self):
        job, = self.stored(self.put())
        self.assertIsNotNone(self.a.agent(FIRST).claimJob())
        self.assertIsNotNone(self.b.agent(SECOND_ONE).claimJob())
        self.second_conflicts()
        self.assertEqual(self.places(job), [FIRST])
        self.assert_counted()

    def test_the_one_that_lost_claims_the_next(self):
        first, second = self.stored(self.put(), self.put())
        self.a.agent(FIRST).claimJob()
        self.b.agent(SECOND_ONE).claimJob()
        self.second_conflicts()
        self.b.agent(SECOND_ONE).claimJob()
        self.b.commit()
        self.client.begin()
        self.assertEqual(self.places(first) + self.places(second),
                         [FIRST, SECOND_ONE])
        self.assert_counted()

    def test_different_jobs_can_be_claimed_at_once(self):
        jobs = self.stored(*(self.put(nothing, number) for number in range(3)))
        self.a.agent(FIRST).claimJob()
        b = self.b.agent(SECOND_ONE)
        b.hold(self.b.queue.claim(lambda job: job.args[0] == 1))
        self.both_commit()
        self.assertEqual([self.places(job) for job in jobs],
                         [[FIRST], [SECOND_ONE], ['queue']])
        self.assert_counted()


class PutAndPut(Race, unittest.TestCase):
    """Processes that put at the same time do not conflict."""

    def test_in_different_shards(self):
        self.shards(1, 2)
        self.a.put()
        self.b.put()
        self.both_commit()
        self.assertEqual(len(self.queue), 2)
        self.assert_counted()

    def test_in_one_shard(self):
        self.stored(self.put())
        self.a.put()
        self.b.put()
        self.both_commit()
        self.assertEqual(len(self.queue), 3)
        self.assert_counted()

    def test_the_order_is_that_of_the_puts(self):
        self.shards(0, 5, 3)
        self.stored(self.put(nothing, 0))
        self.b.put(nothing, 1)
        self.a.put(nothing, 2)
        self.both_commit()
        self.assertEqual([job.args[0] for job in self.queue], [0, 1, 2])


class PutAndClaim(Race, unittest.TestCase):
    """Who puts does not conflict with who claims."""

    def test_in_one_shard(self):
        first, _second = self.stored(self.put(), self.put())
        self.a.agent(FIRST).claimJob()
        self.b.put()
        self.both_commit()
        self.assertEqual(self.places(first), [FIRST])
        self.assertEqual(len(self.queue), 2)
        self.assert_counted()

    def test_where_the_last_job_is_claimed(self):
        job, = self.stored(self.put())
        self.a.agent(FIRST).claimJob()
        self.b.put()
        self.both_commit()
        self.assertEqual(self.places(job), [FIRST])
        self.assertEqual(len(self.queue), 1)
        self.assert_counted()


    def test_in_one_shard_round_after_round_they_seldom_do(self):
        self.stored(*(self.put() for _number in range(40)))
        self.client.agent(FIRST).size = 1000
        self.stored()
        failed = collections.Counter()
        for _number in range(200):
            self.a.agent(FIRST).claimJob()
            self.b.put()
            for client in (self.a, self.b):
                try:
                    client.commit()
                except ConflictError:
                    failed[client] += 1
        self.client.begin()
        self.assert_counted()
        # buckets are split, and gaps swept out, now and then
        self.assertLess(failed[self.b], 10)
        self.assertLess(failed[self.a], 40)


class TakeAndClaim(Race, unittest.TestCase):
    """A job is taken out or claimed, never both."""

    def test_a_job_that_is_claimed_cannot_be_pulled(self):
        job, = self.stored(self.put())
        self.a.agent(FIRST).claimJob()
        self.b.queue.pull()
        self.second_conflicts()
        self.assertEqual(self.places(job), [FIRST])
        self.assert_counted()

    def test_a_job_that_is_pulled_cannot_be_claimed(self):
        job, = self.stored(self.put())
        self.a.queue.pull()
        self.b.agent(FIRST).claimJob()
        self.second_conflicts()
        self.assertEqual(self.places(job), [])
        self.assertIs(self.client.mine(job).status, NEW)
        self.assert_counted()

    def test_a_job_that_is_claimed_cannot_be_removed(self):
        job, other = self.stored(self.put(), self.put())
        self.a.agent(FIRST).claimJob()
        self.b.queue.remove(self.b.mine(job))
        self.second_conflicts()
        self.assertEqual(self.places(job), [FIRST])
        self.assertEqual(self.places(other), ['queue'])
        self.assert_counted()

    def test_a_job_that_is_removed_cannot_be_claimed(self):
        job, _other = self.stored(self.put(), self.put())
        self.a.queue.remove(self.a.mine(job))
        self.b.agent(FIRST).claimJob()
        self.second_conflicts()
        self.assertEqual(self.places(job), [])
        self.assert_counted()


class ClaimsOfAQuota(Race, unittest.TestCase):
    """No committed state has more jobs claimed than the quota's size."""

    def setUp(self):
        super().setUp()
        self.queue.quotas.create('q')
        self.stored(*(self.put(nothing, number, quotas=('q',)) for number in (0, 1)))

    def claim(self, client, UUID, number):
        found = client.queue.claim(lambda job: job.args[0] == number)
        client.agent(UUID).hold(found)

    def claimed(self):
        return [job.args[0] for UUID in (FIRST, SECOND_ONE)
                for job in self.client.agent(UUID)]

    def test_two_claims_do_not_exceed_it(self):
        self.claim(self.a, FIRST, 0)
        self.claim(self.b, SECOND_ONE, 1)
        self.second_conflicts()
        self.assertEqual(self.claimed(), [0])
        self.assertEqual(len(self.queue.quotas['q']), 1)
        self.assertIsNone(self.b.agent(SECOND_ONE).claimJob())

    def test_without_the_conflict_they_would(self):
        def merge(saved, new):
            return {**new, '_data': (*saved['_data'], *new['_data'])}

        with self.resolving(Quota, merge):
            self.claim(self.a, FIRST, 0)
            self.claim(self.b, SECOND_ONE, 1)
            self.both_commit()
        self.assertEqual(self.claimed(), [0, 1])

    def test_shrinking_it_during_a_claim_conflicts(self):
        self.a.queue.quotas['q'].size = 0
        self.claim(self.b, SECOND_ONE, 1)
        self.second_conflicts()
        self.assertEqual(self.claimed(), [])

    def test_a_job_that_ends_lets_another_process_claim(self):
        self.claim(self.a, FIRST, 0)
        self.a.commit()
        next(iter(self.a.agent(FIRST)))()
        self.a.commit()
        self.b.begin()
        self.claim(self.b, SECOND_ONE, 1)
        self.b.commit()
        self.client.begin()
        self.assertEqual(self.claimed(), [1])


class AnnotationAndResult(Race, unittest.TestCase):
    """An annotation, written while a job runs, leaves its result alone."""

    def annotate_while_settling(self, job):
        execution.settle(self.a.mine(job), 42)
        self.b.mine(job).annotations['note'] = 'seen'
        return self.client.mine(job)

    def assert_both(self, job):
        self.assertEqual((job.result, job.annotations['note']), (42, 'seen'))

    def test_the_first_annotation_before_the_result(self):
        job, = self.stored(self.begun(self.put()))
        job = self.annotate_while_settling(job)
        self.b.commit()
        self.a.commit()
        self.client.begin()
        self.assert_both(job)

    def test_the_first_annotation_after_the_result(self):
        job, = self.stored(self.begun(self.put()))
        job = self.annotate_while_settling(job)
        self.both_commit()
        self.assert_both(job)

    def test_a_later_annotation(self):
        job = self.begun(self.put())
        job.annotations['first'] = 1
        self.stored(job)
        self.annotate_while_settling(job)
        self.both_commit()
        self.assert_both(job)

    def test_annotations_of_different_names(self):
        job = self.begun(self.put())
        job.annotations['first'] = 1
        self.stored(job)
        self.a.mine(job).annotations['a'] = 2
        self.b.mine(job).annotations['b'] = 3
        self.both_commit()
        self.assertEqual(dict(job.annotations), {'first': 1, 'a': 2, 'b': 3})

    def test_a_later_annotation_does_not_disturb_the_finish(self):
        job = self.begun(self.put())
        job.annotations['first'] = 1
        execution.settle(job, 42)
        self.stored(job)
        self.a.mine(job).annotations['note'] = 'seen'
        callbacks.try_finish(self.b.mine(job))
        self.both_commit()
        self.assertIs(job.status, COMPLETED)
        self.assert_both(job)


class CallbackAndFinish(Race, unittest.TestCase):
    """A callback that is added while its job ends is not lost.

    Either who adds it conflicts, and adds it to a completed job next time, or
    who completes the job conflicts, and performs it next time.
    """

    def setUp(self):
        super().setUp()
        self.job = self.begun(self.put())
        execution.settle(self.job, 42)
        self.stored()

    def finish(self, client):
        callbacks.try_finish(client.mine(self.job))

    def add(self, client):
        return client.mine(self.job).addCallback(contracts.echo)

    def test_one_added_too_late_conflicts(self):
        self.finish(self.a)
        self.add(self.b)
        self.second_conflicts(ReadConflictError)
        callback = self.add(self.b)
        self.assertEqual((callback.status, callback.result), (COMPLETED, 42))

    def test_one_added_in_time_keeps_the_job_from_being_completed(self):
        self.add(self.a)
        self.finish(self.b)
        self.second_conflicts(ReadConflictError)
        self.assertEqual(self.b.mine(self.job).status, CALLBACKS)
        self.finish(self.b)
        self.assertEqual(self.b.mine(self.job).status, CALLBACKS)

    def test_without_the_guard_of_the_adder_it_is_lost(self):
        with self.without_guards(job_module):
            self.finish(self.a)
            self.add(self.b)
            self.both_commit()
        self.assert_lost()

    def test_without_the_guard_of_the_finisher_it_is_lost(self):
        with self.without_guards(callbacks, job_module):
            self.add(self.a)
            self.finish(self.b)
            self.both_commit()
        self.assert_lost()

    def assert_lost(self):
        self.assertIs(self.job.status, COMPLETED)
        self.assertIs(self.job.callbacks[0].status, NEW)

    def test_one_added_while_the_result_is_stored_is_performed(self):
        job, = self.stored(self.begun(self.put()))
        execution.settle(self.a.mine(job), 42)
        self.b.mine(job).addCallback(contracts.echo)
        self.b.commit()
        self.a.commit()
        self.client.begin()
        callback, = job.callbacks
        self.assertEqual((job.status, callback.status), (CALLBACKS, NEW))
        self.assertTrue(callbacks.needs_worker(job))


class LastTwoCallbacks(Race, unittest.TestCase):
    """Of two callbacks that end at the same time, one completes the job."""

    def setUp(self):
        super().setUp()
        self.job = self.begun(self.put())
        self.nodes = [self.job.addCallback(nothing) for _number in range(2)]
        execution.settle(self.job, 42)
        for node in self.nodes:
            execution.begin(node)
        self.stored()

    def end(self, client, number):
        node = client.mine(self.nodes[number])
        execution.settle(node, None)
        callbacks.try_finish(node)

    def test_the_one_that_comes_second_sees_the_first(self):
        self.end(self.a, 0)
        self.end(self.b, 1)
        self.second_conflicts(ReadConflictError)
        self.assertIs(self.job.status, CALLBACKS)
        self.end(self.b, 1)
        self.b.commit()
        self.client.begin()
        self.assertIs(self.job.status, COMPLETED)
        self.assertEqual(self.places(self.job), [])

    def test_without_the_guard_nobody_completes_it(self):
        with self.without_guards(callbacks):
            self.end(self.a, 0)
            self.end(self.b, 1)
            self.both_commit()
        self.assertEqual([node.status for node in self.nodes], [COMPLETED] * 2)
        self.assertIs(self.job.status, CALLBACKS)


class LastTwoParts(Race, unittest.TestCase):
    """Of two parts of a parallel job that end at the same time, one goes on."""

    def setUp(self):
        super().setUp()
        self.parts = [Job(contracts.echo, number) for number in range(2)]
        self.main = self.put(parallel(*self.parts, postprocess=contracts.nothing))
        self.last = self.main.kwargs['postprocess']
        self.claimed(self.main)()
        for part, UUID in zip(self.parts, (FIRST, SECOND_ONE)):
            self.claimed(part, UUID)
        self.stored()

    def run_part(self, client, number):
        client.mine(self.parts[number])()

    def test_the_last_step_is_put_exactly_once(self):
        self.assertIs(self.main.status, ACTIVE)
        self.run_part(self.a, 0)
        self.run_part(self.b, 1)
        self.second_conflicts()
        self.assertEqual(list(self.queue), [])
        self.run_part(self.b, 1)
        self.b.commit()
        self.client.begin()
        self.assertEqual(list(self.queue), [self.last])
        self.assertEqual(self.last.args, self.parts)

    def test_without_the_conflict_it_is_never_put(self):
        with self.resolving(workflow.Course, lambda saved, new: new):
            self.run_part(self.a, 0)
            self.run_part(self.b, 1)
            self.both_commit()
        self.assertEqual([part.status for part in self.parts], [COMPLETED] * 2)
        self.assertEqual(list(self.queue), [])
        self.assertIs(self.last.status, NEW)


class DeadAndAlive(Race, unittest.TestCase):
    """One that a sibling has declared dead can commit neither claim nor result."""

    def declare_dead(self, client):
        """Let the second dispatcher find the first one dead."""
        self.world.clock.advance(2 * MINUTE)
        client.queue.dispatchers.ping(SECOND_ONE)
        self.assertIsNone(client.queue.dispatchers[FIRST].activated)

    def claim(self, client):
        """Claim as a dispatcher does: fenced."""
        agents = client.queue.dispatchers[FIRST]
        agents['main'].claimJob()
        self.assertTrue(liveness.fence_agents(agents))

    def test_it_cannot_claim(self):
        job, = self.stored(self.put())
        self.claim(self.b)
        self.declare_dead(self.a)
        self.second_conflicts(ReadConflictError)
        self.assertEqual(self.places(job), ['queue'])

    def test_without_the_fence_its_claim_would_be_nobodys(self):
        job, = self.stored(self.put())
        with self.without_guards(liveness):
            self.claim(self.b)
            self.declare_dead(self.a)
            self.both_commit()
        self.assertIsNone(self.queue.dispatchers[FIRST].activated)
        self.assertEqual(self.places(job), [FIRST])

    def test_it_cannot_store_a_result(self):
        job, = self.stored(self.begun(self.put()))
        self.assertTrue(liveness.fence(self.b.mine(job)))
        execution.settle(self.b.mine(job), 42)
        self.declare_dead(self.a)
        self.second_conflicts()
        self.assertEqual(self.places(job), ['queue'])
        self.assertIs(job.status, PENDING)
        self.assertIsNone(job.result)

    def test_it_cannot_store_the_result_of_a_job_that_it_holds_without_a_fence(self):
        job, = self.stored(self.begun(self.put()))
        with self.without_guards(liveness):
            self.assertTrue(liveness.may_store(self.b.mine(job)))
            execution.settle(self.b.mine(job), 42)
            self.declare_dead(self.a)
            self.second_conflicts()
        self.assertIs(job.status, PENDING)
        self.b.begin()
        self.assertTrue(liveness.may_store(self.b.mine(job)))  # by nobody, in line

    def test_what_it_holds_still_is_not_held_any_more(self):
        job, = self.stored(self.claimed(self.put()))
        self.assertTrue(liveness.may_store(job))
        self.queue.dispatchers[FIRST].activation.end()
        self.assertFalse(liveness.may_store(job))

    def test_it_sees_that_it_is_dead(self):
        job, = self.stored(self.claimed(self.put()))
        self.declare_dead(self.a)
        self.a.commit()
        self.assertTrue(liveness.fence(self.b.mine(job)))
        self.b.begin()
        self.assertFalse(liveness.fence_agents(self.b.queue.dispatchers[FIRST]))

    def test_its_jobs_are_handed_over_once(self):
        job, = self.stored(self.claimed(self.put()))
        for client in (self.a, self.b):
            client.queue.dispatchers[FIRST].deactivate()
        self.second_conflicts()
        self.assertEqual(self.places(job), ['queue'])
        self.assert_counted()

    def test_a_job_claimed_before_the_death_is_handed_over(self):
        job, = self.stored(self.put())
        self.claim(self.a)
        self.a.commit()
        self.b.begin()
        self.declare_dead(self.b)
        self.b.commit()
        self.client.begin()
        self.assertEqual(self.places(job), ['queue'])

    def test_pings_disturb_no_claim(self):
        job, = self.stored(self.put())
        self.world.clock.advance(MINUTE / 2)
        self.a.queue.dispatchers[SECOND_ONE].last_ping.beat()
        self.a.queue.dispatchers[FIRST].last_ping.beat()
        self.claim(self.b)
        self.both_commit()
        self.assertEqual(self.places(job), [FIRST])


class AppendAndAppend(Race, unittest.TestCase):
    """Of two that append to a job's arguments, the second has to try again."""

    def test_no_argument_is_lost(self):
        job, = self.stored(self.put(contracts.add, 1))
        self.a.mine(job).args.append(2)
        self.b.mine(job).args.append(3)
        self.second_conflicts()
        self.b.mine(job).args.append(3)
        self.b.commit()
        self.client.begin()
        self.assertEqual(list(job.args), [1, 2, 3])

    def test_an_argument_added_during_a_claim_is_kept(self):
        job, = self.stored(self.put(contracts.add, 1))
        self.a.agent(FIRST).claimJob()
        self.b.mine(job).args.append(2)
        self.both_commit()
        self.assertIs(job.status, ASSIGNED)
        self.assertEqual(job(), 3)
