"""Each kind of damage: made by hand, found, repaired, and the jobs done afterwards."""
import dataclasses
import io
import sys
import types
import unittest
import uuid

import ZODB
from persistent.mapping import PersistentMapping

from .. import testing
from .. import timekeys
from ..agent import AHEAD
from ..audit import check as audit
from ..audit.findings import KINDS
from ..interfaces import AbortedError
from ..interfaces import COMPLETED
from ..interfaces import PARKED
from ..interfaces import PENDING
from ..job import Job
from ..job import NeverRetry
from ..model import execution
from ..model import lines
from ..model import parking
from ..model import status
from ..model.callbacks import try_finish
from ..ops import fsck
from ..queue import Queue
from . import checkout
from . import contracts
from .contracts import echo
from .contracts import HOUR
from .contracts import MINUTE
from .contracts import nothing
from .contracts import START

#: As those of dispatchers by hand: others would not be in order with them.
FIRST, SECOND_ONE = uuid.UUID(int=1), uuid.UUID(int=2)
SETTINGS = fsck.Settings('memory', None, True, False, False, frozenset())


class Damaged(contracts.InWorld, unittest.TestCase):
    """A world whose database can be damaged."""

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(FIRST, size=100)
        self.agents = self.agent.parent

    def claimed(self, job, UUID=FIRST):
        """See `InWorld.claimed`."""
        return super().claimed(job, UUID)

    def parked(self, job):
        """Park *job*, commit and return it."""
        parking.park(job, 'for the test')
        self.client.commit()
        return job

    # Damaging

    def lose(self, obj):
        """Take the record of *obj* out of the storage."""
        self.client.commit()
        oid = obj._p_oid
        for part in (self.world.storage.base, self.world.storage.changes):
            part._data.pop(oid, None)
        self.forget()

    def spoil(self, obj):
        """Let the record of *obj* be nonsense."""
        self.client.commit()
        for part in (self.world.storage.base, self.world.storage.changes):
            for tid in part._data.get(obj._p_oid, ()):
                part._data[obj._p_oid][tid] = b'cnowhere\nnothing\nq.'
        self.forget()

    def forget(self):
        """Let no connection know what was loaded."""
        self.client.begin()
        self.client.connection.cacheMinimize()
        self.world.db.cacheMinimize()

    def line_of(self, job):
        """Return the shard and the tree in which *job* waits."""
        _due, rank, _stamp, number = timekeys.split(job._order)
        shard = self.queue._lines.shards[number]
        return shard, shard.lines[lines._line_name(rank, job)]

    # Looking

    def findings(self, records=False):
        """Return the findings in what is committed."""
        self.client.commit()
        self.forget()
        other = contracts.Client(self.world.db)
        try:
            return list(audit.Check(other.connection).run(records))
        finally:
            other.transactions.abort()
            other.connection.close()

    def codes(self):
        return [finding.code for finding in self.findings()]

    def fsck(self, **changes):
        """Run the command; return its exit status and what it wrote."""
        settings = dataclasses.replace(SETTINGS, **changes)
        output = io.StringIO()
        status = fsck.Fsck(self.world.db, settings, output, io.StringIO()).run()
        self.client.begin()
        return status, output.getvalue()

    def assert_repaired(self, *codes, done=None, records=False):
        """The damage is of these *codes*, and can be repaired.

        The jobs *done*, if any are given, can be brought to their end afterwards.
        """
        self.assertEqual({finding.code for finding in self.findings(records)}, set(codes))
        self.assertEqual(self.fsck(repair=False, records=records)[0], 1)
        status, output = self.fsck(records=records)
        self.assertEqual(status, 0, output)
        self.assertIn('repaired: ', output)
        self.assert_sound(records)
        if done is not None:
            self.assert_done(*done)

    def assert_sound(self, records=False):
        self.assertEqual([finding.text for finding in self.findings(records)], [])

    def assert_done(self, *jobs):
        """Whoever works by hand brings *jobs* to their end, and leaves all sound."""
        self.client.commit()
        if self.agents.activated is not None:
            self.agents.deactivate()
            self.client.commit()
        testing.drain(self.queue)
        self.client.begin()
        for job in jobs:
            self.assertIs(job.status, COMPLETED, job)
        self.assertEqual(len(self.queue), len(list(self.queue)))
        self.assert_sound()

    def assert_left(self, code):
        """The damage is of this *code* and cannot be repaired."""
        self.assertEqual(self.codes(), [code])
        status, output = self.fsck()
        self.assertEqual(status, 1)
        self.assertIn(f'{code}: ', output)
        self.assertIn('left: ', output)


class Holders(Damaged):
    """Damage of what holds the jobs."""

    def test_part_missing_a_counter(self):
        job = self.put()
        self.lose(self.line_of(job)[0].length)
        self.assert_repaired('part-missing', done=[job])

    def test_part_missing_a_shard(self):
        job = self.put()
        self.lose(self.line_of(job)[0])
        self.assert_repaired('part-missing')
        self.assertEqual(len(self.queue), 0)
        self.assert_repaired('orphan', done=[job], records=True)

    def test_part_missing_an_agent(self):
        job = self.begun(self.put())
        self.lose(self.agent)
        self.assert_repaired('part-missing')
        self.assert_repaired('orphan', records=True)
        self.assertEqual(list(self.agents), [])
        self.assert_done(job)

    def test_part_missing_an_agent_that_was_removed(self):
        self.claimed(self.put())
        del self.agents['main']
        self.lose(self.agent)
        self.assert_repaired('part-missing')
        self.assertEqual(self.agents.retired, ())

    def test_part_missing_a_quota(self):
        self.queue.quotas.create('q', 5)
        job = self.put(quotas=('q',))
        self.lose(self.queue.quotas['q'])
        self.assert_repaired('part-missing', done=[job])
        self.assertEqual(self.queue.quotas['q'].size, 1)

    def test_part_missing_whole_containers(self):
        for name in ('quotas', 'dispatchers', '_lines', '_parked'):
            with self.subTest(name):
                self.lose(getattr(self.queue, name))
                self.assertIn('part-missing', self.codes())
                self.assertEqual(self.fsck()[0], 0)
                self.assert_sound()
        job = self.put()
        self.client.commit()
        testing.drain(self.queue)
        self.client.begin()
        self.assertIs(job.status, COMPLETED)

    def test_part_missing_a_dispatcher(self):
        self.lose(self.agents)
        self.assert_repaired('part-missing')
        self.assertEqual((len(self.queue.dispatchers), list(self.queue.dispatchers)),
                         (0, []))

    def test_part_missing_the_signs_of_life(self):
        for name in ('activation', 'last_ping'):
            self.lose(getattr(self.agents, name))
        self.assert_repaired('part-missing')
        self.assertIsNone(self.agents.activated)

    def test_part_missing_the_completed_jobs(self):
        self.lose(self.agent.completed)
        self.assert_repaired('part-missing')
        self.assertEqual(len(self.agent.completed), 0)

    def test_part_missing_the_queue_itself(self):
        self.client.root['zc.async']['other'] = other = Queue()
        self.lose(other)
        self.assert_left('part-missing')

    def test_link_wrong(self):
        self.queue.quotas.create('q')
        job = self.put(quotas=('q',))
        self.queue.quotas['q'].name = 'p'
        self.queue.quotas.parent = None
        self.agents.parent = self.agents
        self.agent.parent = self.agent.name = None
        self.queue.name = 'elsewhere'
        self.queue._parked.parent = None
        self.assert_repaired('link-wrong', done=[job])
        self.assertIs(self.agent.queue, self.queue)
        self.assertEqual((self.queue.name, self.agent.name), ('', 'main'))

    def test_tree_broken_a_leaf_of_a_line_is_missing(self):
        jobs = [self.put() for _number in range(100)]
        self.client.commit()
        shard, line = self.line_of(jobs[0])
        leaf = line.__getstate__()[0][2]
        lost = [job for job in jobs if job._order in leaf]
        self.lose(leaf)
        self.assertLess(0, len(lost))
        self.assert_repaired('tree-broken')
        self.assertEqual(len(self.queue), 100 - len(lost))
        self.assertEqual(len(self.queue), len(list(self.queue)))
        self.assert_repaired('orphan', done=jobs, records=True)

    def test_tree_broken_the_order_of_a_line(self):
        jobs = [self.put() for _number in range(100)]
        self.client.commit()
        shard, line = self.line_of(jobs[0])
        children, first = line.__getstate__()
        line.__setstate__((
            (children[0], children[1], children[4], children[3], children[2],
             *children[5:]), first))
        line._p_changed = True
        self.assert_repaired('tree-broken', done=jobs)

    def test_tree_broken_a_whole_line(self):
        job = self.put()
        self.lose(self.line_of(job)[1])
        self.assert_repaired('tree-broken')
        self.assert_repaired('orphan', done=[job], records=True)

    def test_tree_broken_an_agents_jobs(self):
        job = self.claimed(self.put())
        self.lose(self.agent._jobs)
        self.assert_repaired('tree-broken')
        self.assert_repaired('orphan', done=[job], records=True)

    def test_tree_broken_quotas_and_dispatchers(self):
        self.queue.quotas.create('q')
        job = self.put(quotas=('q',))
        self.lose(self.queue.quotas._data)
        self.lose(self.queue.dispatchers._data)
        codes = self.codes()
        self.assertEqual((codes.count('tree-broken'), codes.count('quota-missing')), (2, 1))
        self.assertEqual(self.fsck()[0], 0)
        self.assert_sound()
        self.assertEqual((list(self.queue.quotas), len(self.queue.dispatchers)), (['q'], 0))
        testing.drain(self.queue)
        self.client.begin()
        self.assertIs(job.status, COMPLETED)

    def test_tree_broken_completed_jobs(self):
        jobs = [self.claimed(self.put()) for _number in range(40)]
        for job in jobs:
            job()
        day, = self.agent.completed._days
        self.client.commit()
        self.lose(jobs[3])
        self.lose(jobs[35])
        self.assert_repaired('tree-broken')
        self.assertEqual(list(self.agent.completed),
                         [job for job in reversed(jobs) if job not in (jobs[3], jobs[35])])
        self.lose(self.agent.completed._days[0].before.before)
        self.assert_repaired('tree-broken')
        self.assertEqual(len(self.agent.completed), len(list(self.agent.completed)))

    def test_tree_broken_parked_jobs(self):
        first, second = self.parked(self.put()), self.parked(self.put())
        parked = self.queue.parked
        del parked._keys[parked._address(first)]
        self.assert_repaired('tree-broken')
        self.assertIn(first, parked)
        del parked._data[parked._keys[parked._address(second)]]
        self.assert_repaired('tree-broken')
        self.assertEqual([entry.job for entry in parked], [first, second])
        self.assertEqual(parked.entry(second).reason, 'its reason is lost')
        for job in (first, second):
            parked.rerun(job)
        self.assert_done(first, second)

    def test_count_wrong_of_a_shard(self):
        job = self.put()
        shard, _line = self.line_of(job)
        shard.length.change(-1)  # claims pass over a shard without jobs
        self.assertIsNone(self.queue.claim())
        self.assert_repaired('count-wrong', done=[job])

    def test_count_wrong_of_others(self):
        job = self.claimed(self.put())
        job()
        self.parked(self.put())
        self.queue.dispatchers._len.change(3)
        self.agent.completed._days[0].count = 7
        self.queue.parked._len.change(-1)
        self.assertEqual(self.codes(), ['count-wrong'] * 3)
        self.assert_repaired('count-wrong')
        self.assertEqual([len(self.queue.dispatchers), len(self.agent.completed),
                          len(self.queue.parked)], [1, 1, 1])


class Entries(Damaged):
    """Damage of jobs in lines and agents."""

    def test_job_missing_in_line(self):
        job, other = self.put(), self.put()
        self.lose(job)
        self.assert_repaired('job-missing', done=[other])
        entry, = self.queue.parked
        self.assertIn('has no record', entry.reason)
        self.queue.parked.discard(entry.job)
        self.assert_done()

    def test_job_missing_in_an_agent(self):
        self.queue.quotas.create('q')
        job, other = self.claimed(self.put(quotas=('q',))), self.put(quotas=('q',))
        self.lose(job)
        self.assert_repaired('job-missing', 'quota-stale', done=[other])
        self.assertEqual(len(self.queue.parked), 1)

    def test_job_unreadable(self):
        waiting, held, other = self.put(), self.claimed(self.put()), self.put()
        for job in (waiting, held):
            self.spoil(job)
        self.assert_repaired('job-unreadable', done=[other])
        self.assertEqual(len(self.queue.parked), 2)

    def test_order_wrong_the_key_that_a_job_says(self):
        job, other = self.put(), self.put()
        job._order = timekeys.make(0, timekeys.READY, 5, 3)
        self.assert_repaired('order-wrong', done=[job, other])

    def test_order_wrong_a_key_that_is_none(self):
        job = self.put()
        _shard, line = self.line_of(job)
        del line[job._order]
        line[b'nonsense'] = job
        self.assert_repaired('order-wrong', done=[job])

    def test_order_wrong_another_line(self):
        self.queue.quotas.create('q')
        job, other = self.put(quotas=('q',)), self.put()
        job._quota_names = ()
        self.assert_repaired('order-wrong', done=[job, other])
        job = self.put(quotas=('q',))
        shard, line = self.line_of(job)
        self.queue._lines.shards[(shard.number + 1) % 16].lines[False, ()][job._order] = job
        del line[job._order]
        self.assertEqual(set(self.codes()), {'order-wrong', 'count-wrong'})
        self.assertEqual(self.fsck()[0], 0)
        self.assert_done(job)

    def test_order_wrong_the_time(self):
        late = self.put(begin_after=START + HOUR)
        soon = self.put()
        late._begin_after = soon._begin_after
        soon._begin_after += 60_000_000
        self.assert_repaired('order-wrong')
        self.assertEqual(list(self.queue), [late, soon])
        testing.drain(self.queue)
        self.client.begin()
        self.assertIs(late.status, COMPLETED)
        self.assertIs(soon.status, PENDING)
        self.world.clock.advance(MINUTE)
        self.assert_done(soon)

    def test_order_wrong_in_an_agent(self):
        job = self.claimed(self.put())
        job._order = timekeys.make(0, timekeys.READY, 5, 3)
        self.assert_repaired('order-wrong', done=[job])

    def test_place_wrong(self):
        waiting, held = self.put(), self.begun(self.put())
        waiting.parent = None
        held.parent = PersistentMapping()
        self.client.connection.add(held.parent)
        self.lose(held.parent)
        self.assert_repaired('place-wrong', done=[waiting, held])

    def test_job_twice_in_line(self):
        job = self.put()
        shard, line = self.line_of(job)
        line[timekeys.make(7, timekeys.READY, 5, shard.number)] = job
        shard.length.change(1)
        self.assert_repaired('job-twice', done=[job])
        self.assertEqual(job._attempt, 1)

    def test_job_twice_in_line_and_in_an_agent(self):
        job = self.put()
        self.client.commit()
        shard, line = self.line_of(job)
        key = job._order
        self.agent.claimJob()
        line[key] = job
        shard.length.change(1)
        self.assert_repaired('job-twice')
        self.assertEqual((list(self.agent), list(self.queue)), ([job], []))
        self.assert_done(job)

    def test_job_twice_in_two_agents(self):
        job = self.begun(self.put())
        other = self.world.add_dispatcher(SECOND_ONE)
        other._jobs[job._order] = job
        self.assert_repaired('job-twice', done=[job])
        self.assertEqual(len(other), 0)

    def test_job_twice_parked_and_waiting(self):
        for code in (status.KEPT, status.UNSET):
            job = self.put()
            self.client.commit()
            self.queue.parked.add(job, 'for the test')
            job._code = code
            self.assertEqual(set(self.codes()) - {'status-wrong'}, {'job-twice'})
            self.assertEqual(self.fsck()[0], 0)
            self.assertEqual(job in self.queue.parked, code == status.KEPT)
            self.assertEqual(job in self.queue, code == status.UNSET)
        self.assert_done(job)

    def test_status_wrong_completed_in_line(self):
        job, other = self.put(), self.put()
        job._code = status.FINISHED
        self.assert_repaired('status-wrong', done=[job, other])

    def test_status_wrong_completed_in_an_agent(self):
        self.queue.quotas.create('q')
        job = self.claimed(self.put(quotas=('q',)))
        job._code = status.FINISHED
        self.assert_repaired('quota-stale', 'status-wrong', done=[job])
        self.assertEqual(list(self.agent.completed), [job])

    def test_completed_it_is_on_its_way_from_an_agent_that_works(self):
        job = self.claimed(self.put())
        job._code = status.FINISHED
        self.assertEqual(self.codes(), [])
        self.agents.activation.end()
        self.assert_repaired('held-by-nobody', done=[job])
        self.assertEqual(list(self.agent.completed), [job])

    def test_status_wrong_active_in_line(self):
        job = self.put()
        job._code, job._attempt = status.BEGUN, 1
        self.assert_repaired('status-wrong', done=[job])
        self.assertEqual(job.getRetryPolicy().data['interruptions'], 1)

    def test_status_wrong_parked_in_line(self):
        job = self.put()
        job._code = status.KEPT
        self.assert_repaired('status-wrong')
        self.assertIs(job.status, PARKED)
        self.queue.parked.rerun(job)
        self.assert_done(job)

    def test_status_wrong_waiting_among_the_completed(self):
        job, lost = self.claimed(self.put()), self.claimed(self.put())
        job(), lost()
        job._code = lost._code = status.UNSET
        self.queue.putBack(job)
        self.assert_repaired('status-wrong', done=[job, lost])

    def test_held_by_nobody(self):
        assigned, begun = self.claimed(self.put()), self.begun(self.put())
        settled = self.begun(self.put())
        callback = settled.addCallback(nothing)
        execution.settle(settled, 42)
        self.agents.activation.end()
        self.assert_repaired(
            'held-by-nobody', done=[assigned, begun, settled, callback])
        self.assertEqual(begun.getRetryPolicy().data['interruptions'], 1)

    def test_held_by_nobody_in_an_agent_that_was_removed(self):
        job = self.claimed(self.put())
        del self.agents['main']
        self.agents.activation.end()
        self.assert_repaired('held-by-nobody', done=[job])

    def test_held_by_nobody_with_a_policy_of_the_site(self):
        job = self.begun(self.put(retry_policy_factory='of the site'))
        self.agents.activation.end()
        self.assert_repaired('held-by-nobody')
        self.assertIs(job.status, PARKED)
        self.assertIn('policy', self.queue.parked.entry(job).reason)

    def test_held_by_nobody_with_a_policy_that_forbids_another_attempt(self):
        job = self.begun(self.put(retry_policy_factory=NeverRetry))
        self.agents.activation.end()
        self.assert_repaired('held-by-nobody', done=[job])
        self.assertTrue(job.result.check(AbortedError))


class Lost(Damaged):
    """Jobs that no container has, found by what refers to them."""

    def lost(self, job):
        """Refer to *job* from one that waits for ever; return it."""
        self.keeper = self.put(echo, job, begin_after=START + HOUR)
        self.client.commit()
        return job

    def take_out(self, job):
        shard, line = self.line_of(job)
        del line[job._order]
        shard.length.change(-1)

    def test_orphan_that_waited(self):
        job, other = self.lost(self.put()), self.put()
        self.take_out(job)
        self.assert_repaired('orphan')
        self.assertEqual(list(self.queue), [job, other, self.keeper])
        self.assert_done(job, other)

    def test_orphan_that_was_scheduled(self):
        job = self.lost(self.put(begin_after=START + MINUTE))
        self.take_out(job)
        job._order = None
        self.assert_repaired('orphan')
        self.assertEqual(list(self.queue), [job, self.keeper])
        self.world.clock.advance(MINUTE)
        self.assert_done(job)

    def test_orphan_whose_place_was_taken(self):
        job, other = self.lost(self.put()), self.put()
        _shard, line = self.line_of(job)
        self.take_out(job)
        self.take_out(other)
        line[job._order], other._order = other, job._order
        self.line_of(other)[0].length.change(1)
        self.assert_repaired('orphan', done=[job, other])

    def test_orphan_of_an_agent(self):
        for begin in (False, True):
            job = self.lost(self.claimed(self.put()))
            if begin:
                execution.begin(job)
            del self.agent._jobs[job._order]
            self.assert_repaired('orphan')
            self.assertIs(job.status, PENDING)
            self.queue.remove(job)

    def test_orphan_with_callbacks_to_do(self):
        job = self.lost(self.begun(self.put()))
        callback = job.addCallback(nothing)
        execution.settle(job, 42)
        del self.agent._jobs[job._order]
        job.parent = self.queue
        self.assert_repaired('orphan', done=[job, callback])

    def test_orphan_that_was_parked(self):
        job = self.lost(self.put())
        self.take_out(job)
        job._code = status.KEPT
        self.assert_repaired('orphan')
        self.assertIn(job, self.queue.parked)
        self.queue.parked.rerun(job)
        self.assert_done(job)

    def test_orphan_of_a_job_that_has_it_not_as_callback(self):
        job = self.put()
        callback = self.lost(Job(nothing))
        callback.parent = job
        self.assert_repaired('orphan', done=[job, callback])

    def test_a_late_job_that_another_lets_fail_is_not_lost(self):
        job = self.lost(self.put(begin_by=MINUTE))
        self.world.clock.advance(2 * MINUTE)
        self.agent.claimJob()
        self.assert_sound()
        self.assertNotIn(job, self.queue)
        self.agents.deactivate()
        self.assert_sound()
        self.assert_done(job)

    def test_a_late_job_is_not_lost_while_the_one_that_lets_it_fail_is_parked(self):
        job = self.lost(self.put(begin_by=MINUTE))
        self.world.clock.advance(2 * MINUTE)
        instead = self.agent.claimJob()
        self.client.commit()
        self.assertIs(self.parked(instead), instead)
        self.assert_sound()
        self.queue.parked.rerun(instead)
        self.assert_done(job)

    def test_a_job_that_waits_and_is_in_no_container_is_not_lost(self):
        self.queue.quotas.create('q')
        inner = self.put()
        outer = self.lost(self.begun(self.put(quotas=('q',))))
        outer.addCallback(nothing)
        execution.await_job(outer, inner)
        self.agents.deactivate()
        self.assert_sound()
        inner.parent.remove(inner)
        inner = self.begun(self.put(inner))
        self.agents.activation.begin()
        execution.settle(inner, 42)
        self.assert_sound()
        execution.settle(outer, 42)
        self.assert_sound()
        self.assert_done(outer, inner)


class Quotas(Damaged):

    def setUp(self):
        super().setUp()
        self.queue.quotas.create('q', 2)
        self.quota = self.queue.quotas['q']

    def test_quota_missing(self):
        waiting, held = self.put(quotas=('q',)), self.claimed(self.put(quotas=('q',)))
        self.queue.quotas.remove('q')
        self.assert_repaired('quota-missing', 'quota-missing', done=[waiting, held])
        self.assertEqual(self.queue.quotas['q'].size, 1)

    def test_quota_missing_is_no_matter_of_jobs_that_are_done(self):
        self.claimed(self.put(quotas=('q',)))()
        self.queue.quotas.remove('q')
        self.assert_sound()

    def test_quota_stale(self):
        waiting, held = self.put(quotas=('q',)), self.claimed(self.put(quotas=('q',)))
        done = self.claimed(self.put(quotas=('q',)))
        done()
        self.assert_sound()
        new, unnamed = Job(nothing), self.claimed(self.put())
        self.client.connection.add(new)
        self.quota._data = (held, waiting, new, done, held, held, unnamed)
        self.assertEqual(
            [code for code in self.codes() if code != 'quota-exceeded'],
            ['quota-stale'] * 6)
        self.assertEqual(self.fsck()[0], 0)
        self.assertEqual(list(self.quota), [held])
        self.assert_done(waiting, held)

    def test_quota_stale_of_another_queue(self):
        self.client.root['zc.async']['other'] = other = Queue()
        other.quotas.create('q')
        job = self.claimed(self.put(quotas=('q',)))
        other.quotas['q']._data = (job,)
        self.assert_repaired('quota-stale')
        self.assertEqual(list(self.quota), [job])

    def test_quota_stale_is_an_entry_without_a_record(self):
        job = self.put()
        self.quota._data = (job,)
        self.client.commit()
        self.queue.remove(job)
        self.lose(job)
        self.assert_repaired('quota-stale')

    def test_quota_uncounted(self):
        jobs = [self.begun(self.put(quotas=('q',))) for _number in range(2)]
        self.quota._data = ()
        self.assert_repaired('quota-uncounted', done=jobs)

    def test_quota_uncounted_is_counted_over_the_size_too(self):
        jobs = [self.begun(self.put(quotas=('q',))) for _number in range(2)]
        self.quota._data = ()
        self.quota.size = 1
        self.assertEqual(set(self.codes()), {'quota-uncounted'})
        self.assertEqual(self.fsck()[0], 0)
        self.assertEqual(set(self.quota), set(jobs))
        self.assertEqual(self.codes(), ['quota-exceeded'])

    def test_quota_exceeded_is_no_damage(self):
        for _number in range(2):
            self.claimed(self.put(quotas=('q',)))
        self.quota.size = 1
        self.assertEqual(self.codes(), ['quota-exceeded'])
        self.assertEqual(self.fsck()[0], 0)
        self.assertEqual(self.fsck(repair=False)[0], 0)

    def test_agent_exceeded_is_no_damage(self):
        self.agent.size = 1
        for _number in range(1 + AHEAD):
            self.claimed(self.put())
        self.assertEqual(self.codes(), [])
        self.claimed(self.put())
        self.assertEqual(self.codes(), ['agent-exceeded'])
        self.assertEqual(self.fsck()[0], 0)


class Trees(Damaged):
    """Damage of what belongs to a job."""

    def test_call_missing(self):
        jobs = [self.put(), self.claimed(self.put())]
        for job in jobs:
            self.lose(job._call)
        self.assert_repaired('call-missing')
        for job in jobs:
            self.assertIs(job.status, PARKED)
            self.queue.parked.discard(job)
        self.assert_done(*jobs)

    def test_call_missing_an_argument_or_what_has_the_method(self):
        mapping, other = PersistentMapping(), PersistentMapping()
        jobs = [self.put(nothing, mapping), self.put(Job(other.get, 'x'))]
        self.client.connection.add(mapping)
        self.client.connection.add(other)
        self.client.commit()
        self.lose(mapping)
        self.lose(other)
        self.assert_repaired('call-missing')
        for job in jobs:
            self.assertIs(job.status, PARKED)

    def test_call_missing_of_a_job_that_runs_is_left(self):
        mapping = PersistentMapping()
        job = self.begun(self.put(nothing, mapping))
        self.lose(mapping)
        self.assert_left('call-missing')
        self.assertIn(job, self.agent)

    def test_callback_missing(self):
        job = self.put()
        first, second = job.addCallback(nothing), job.addCallback(nothing)
        proxy = job.addCallbacks(nothing, nothing)
        self.client.commit()
        self.lose(first)
        self.lose(proxy.failure)
        self.assert_repaired('callback-missing', done=[job, second, proxy])
        self.assertEqual(job.callbacks, (second, proxy))

    def test_callback_parent(self):
        job, other = self.put(), self.put()
        callback, second = job.addCallback(nothing), job.addCallback(nothing)
        callback.parent, second.parent = None, other
        proxy = job.addCallbacks(nothing)
        proxy.success.parent = None
        self.assert_repaired('callback-parent', done=[job, callback, second, proxy])
        self.assertIs(callback.parent, job)

    def test_callback_undone(self):
        job = self.claimed(self.put())
        callback = job.addCallback(nothing)
        job()
        self.client.commit()
        callback._code, callback._result = status.UNSET, None
        self.assert_repaired('callback-undone', done=[job, callback])

    def test_callback_undone_deep_in_the_tree(self):
        job = self.claimed(self.put())
        proxy = job.addCallbacks(nothing, nothing)
        callback = proxy.addCallback(nothing)
        job()
        callback._code = status.UNSET
        self.assertEqual(self.codes(), ['callback-undone'])
        self.assertEqual(self.fsck()[0], 0)
        self.assert_done(job, callback, proxy)

    def test_callback_stuck(self):
        job = self.begun(self.put())
        callback = job.addCallback(nothing)
        execution.settle(job, 42)
        execution.begin(callback)
        execution.await_deferred(callback)
        self.assert_sound()  # the process may still bring the result
        self.agents.deactivate()
        self.assert_sound()
        callback._awaits = execution.DEFERRED
        self.assert_repaired('callback-stuck', done=[job, callback])

    def waiting(self):
        """Return a job that waits, and the one whose result it waits for."""
        inner = self.begun(self.put())
        outer = self.begun(self.put())
        execution.await_job(outer, inner)
        self.client.commit()
        return outer, inner

    def test_waits_in_vain_for_one_that_is_missing(self):
        outer, inner = self.waiting()
        del self.agent._jobs[inner._order]
        self.lose(inner)
        self.assert_repaired('waits-in-vain')
        self.assertIs(outer.status, PARKED)
        self.queue.parked.discard(outer)
        self.assert_done(outer)

    def test_waits_in_vain_as_a_callback_for_one_that_is_missing(self):
        job = self.begun(self.put())
        callback = job.addCallback(nothing)
        after = callback.addCallback(echo)
        execution.settle(job, 42)
        execution.begin(callback)
        inner = self.put()
        execution.await_job(callback, inner)
        self.client.commit()
        self.queue.remove(inner)
        self.lose(inner)
        self.assert_repaired('waits-in-vain', done=[job, callback, after])
        self.assertTrue(callback.result.check(AbortedError))
        self.assertTrue(after.result.check(AbortedError))

    def test_waits_in_vain_for_one_that_does_not_know(self):
        outer, inner = self.waiting()
        inner._call.callbacks = ()
        self.assert_repaired('waits-in-vain')
        self.assertEqual(inner.callbacks, (outer,))
        self.assert_done(outer, inner)

    def test_waits_in_vain_for_one_that_is_completed(self):
        outer, inner = self.waiting()
        callback = outer.addCallback(echo)
        inner._call.callbacks = ()
        execution.settle(inner, 42)
        try_finish(inner)
        self.assertIs(inner.status, COMPLETED)
        self.assert_repaired('waits-in-vain', done=[outer, callback])
        self.assertEqual(callback.result, 42)

    def test_reference_missing(self):
        job, other = self.put(), self.put()
        job.getRetryPolicy()
        other.annotations['note'] = 1
        self.client.commit()
        self.lose(job._retry_policy)
        self.lose(other._call.annotations)
        self.assert_repaired('reference-missing', done=[job, other])
        self.assertEqual(dict(other.annotations), {})

    def test_reference_missing_a_result_is_left(self):
        job = self.claimed(self.put())
        job()
        job._result = PersistentMapping()
        self.lose(job._result)
        self.assert_left('reference-missing')

    def test_reference_missing_an_argument_of_one_that_is_done(self):
        mapping = PersistentMapping()
        self.claimed(self.put(nothing, mapping))()
        self.lose(mapping)
        self.assert_left('reference-missing')


class Code(Damaged):
    """What is missing on this machine only is no damage."""

    def test_code_missing(self):
        module = types.ModuleType('zc_async_passing')
        sys.modules['zc_async_passing'] = module
        self.addCleanup(sys.modules.pop, 'zc_async_passing', None)
        module.Job = Job
        exec('class Passing(Job): pass\n'
             'def policy(job): raise NotImplementedError\n', module.__dict__)
        self.put(module.Passing(nothing))
        self.put(retry_policy_factory=module.policy)
        self.put(module.policy)
        self.claimed(self.put(module.Passing(nothing)))
        self.client.commit()
        del sys.modules['zc_async_passing']
        self.world.db = ZODB.DB(self.world.storage)  # one that knows no classes yet
        found = self.findings()
        self.assertEqual([finding.code for finding in found], ['code-missing'] * 2)
        self.assertIn('Passing cannot be imported here, and 2 objects', found[0].text)
        status, output = self.fsck()
        self.assertEqual(status, 0)
        self.assertNotIn('repaired: ', output)


class Complete(unittest.TestCase):

    @checkout.needs_checkout
    def test_the_kinds_are_documented(self):
        text = (checkout.ROOT / 'docs' / 'deployment.rst').read_text(encoding='utf-8')
        for code, kind in KINDS.items():
            self.assertIn(f'* - ``{code}``\n     - {kind.means}\n     - {kind.repair or ""}',
                          text)

    def test_there_is_a_test_for_each_kind(self):
        names = [name for cls in (Holders, Entries, Lost, Quotas, Trees, Code)
                 for name in vars(cls)]
        for code in KINDS:
            wanted = f'test_{code.replace("-", "_")}'
            self.assertTrue(any(name.startswith(wanted) for name in names), code)

    def test_each_kind_of_damage_can_be_repaired(self):
        for code, kind in KINDS.items():
            self.assertEqual(kind.damage, kind.repair is not None, code)
