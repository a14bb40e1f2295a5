"""The waiting jobs in shards and lines."""
import unittest
from unittest import mock

from . import contracts
from .. import clock
from .. import timekeys
from ..model import gaps
from ..model import lines
from ..model.lines import Lines
from .contracts import MINUTE
from .contracts import START


class Item:
    """What a line needs to know of a job."""

    _code = 0
    _order = _lacks = None
    _uncounted = False

    def __init__(self, name, quota_names=()):
        self.name, self._quota_names = name, quota_names

    def __repr__(self):
        return self.name


def opened(names):
    """Say that there is room for all."""
    return True


class TheLines(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.shard = mock.Mock()
        self.shard.below.return_value = 0
        patch = mock.patch.object(lines, '_habit', self.shard)
        patch.start()
        self.addCleanup(patch.stop)
        self.client.root['lines'] = self.lines = Lines()
        self.client.root['other'] = Lines(3)
        self.client.commit()

    def add(self, name, due=None, rank=timekeys.READY, quotas=()):
        item = Item(name, quotas)
        now = clock.to_micros(START)
        self.lines.add(item, now if due is None else due, rank)
        return item

    def names(self):
        return [item.name for item in self.lines]

    def due(self, is_open=opened):
        return [item.name for _key, item in self.lines.due(clock.micros(), is_open)]

    def test_a_transaction_keeps_to_one_shard(self):
        self.shard.below.side_effect = [4, 5]
        items = [self.add(name) for name in 'abc']
        self.assertEqual({timekeys.split(item._order)[3] for item in items}, {4})
        self.client.begin()
        self.assertEqual(timekeys.split(self.add('d')._order)[3], 5)

    def test_the_order_is_kept_across_shards(self):
        for number, name in enumerate('abcdefgh'):
            self.shard.below.return_value = (7 * number) % 16
            self.add(name)
            self.client.transactions.get().set_data(self.lines, (7 * number + 7) % 16)
        self.assertEqual(''.join(self.names()), 'abcdefgh')
        self.assertEqual(self.lines.last().name, 'h')

    def test_a_key_that_is_taken_is_not_taken_again(self):
        with mock.patch.object(timekeys, 'stamp', side_effect=[7, 7, 8]):
            first, second = self.add('a'), self.add('b')
        self.assertNotEqual(first._order, second._order)
        self.assertEqual(self.names(), ['a', 'b'])

    def test_len_counts_all_shards(self):
        for name in 'abc':
            self.add(name)
        self.assertEqual(len(self.lines), 3)
        self.lines.discard(self.lines.last())
        self.assertEqual(len(self.lines), 2)

    def test_discard_tells_whether_the_job_was_there(self):
        item = self.add('a')
        self.assertIn(item, self.lines)
        self.assertTrue(self.lines.discard(item))
        self.assertNotIn(item, self.lines)
        self.assertFalse(self.lines.discard(item))
        self.assertFalse(self.lines.discard(Item('b')))
        self.assertEqual(len(self.lines), 0)

    def test_a_job_is_restored_to_where_it_stood(self):
        a, b, c = (self.add(name) for name in 'abc')
        for item in (a, b):
            self.lines.discard(item)
            self.lines.restore(item)
            self.assertEqual(self.names(), ['a', 'b', 'c'])
        self.assertEqual(len(self.lines), 3)

    def test_restoring_twice_counts_once(self):
        item = self.add('a')
        self.lines.restore(item)
        self.assertEqual(len(self.lines), 1)

    def test_jobs_put_in_front_stand_before_all_others_in_their_order(self):
        self.add('late', clock.to_micros(START + MINUTE), timekeys.SCHEDULED)
        self.add('ready')
        self.add('first', 0, timekeys.FRONT)
        self.add('second', 0, timekeys.FRONT)
        self.assertEqual(self.names(), ['first', 'second', 'ready', 'late'])
        self.assertEqual(self.due(), ['first', 'second', 'ready'])

    def test_what_is_not_due_is_not_given(self):
        due = clock.to_micros(START + MINUTE)
        self.add('scheduled', due, timekeys.SCHEDULED)
        self.assertEqual(self.due(), [])
        self.world.clock.advance(MINUTE)
        self.assertEqual(self.due(), ['scheduled'])

    def test_a_line_that_is_not_open_is_left_alone(self):
        self.add('a', quotas=('q',))
        self.add('b')
        self.add('c', quotas=('r', 'q'))
        self.assertEqual(self.due(lambda names: 'q' not in names), ['b'])
        self.assertEqual(self.due(), ['a', 'b', 'c'])

    def test_jobs_of_the_same_quotas_stand_in_one_line(self):
        self.add('a', quotas=('q', 'r'))
        self.add('b', quotas=('r', 'q'))
        asked = []
        self.due(asked.append)
        self.assertEqual(asked.count(('q', 'r')), 1)
        self.assertEqual({names for names in asked if names}, {('q', 'r')})

    def test_jobs_behind_a_full_quota_cost_a_claim_nothing(self):
        looked_at = []

        class Watched(Item):
            @property
            def name(self):
                looked_at.append(self)
                return 'watched'

            @name.setter
            def name(self, value):
                pass

        for _number in range(1000):
            item = Watched('x', ('q',))
            self.lines.add(item, 0, timekeys.READY)
        self.assertEqual(self.due(lambda names: 'q' not in names), [])
        self.assertEqual(looked_at, [])

    def test_a_job_that_has_only_callbacks_left_waits_for_no_room(self):
        item = Item('a', ('q',))
        item._code = 2
        self.lines.add(item, 0, timekeys.FRONT)
        self.assertEqual(self.due(lambda names: 'q' not in names), ['a'])

    def test_all_are_seen_by_who_takes_them_out_meanwhile(self):
        for number in range(100):
            self.add(str(number))
        self.client.commit()
        found = []
        for item in self.lines:
            self.assertTrue(self.lines.discard(item))
            found.append(item.name)
        self.assertEqual(found, [str(number) for number in range(100)])

    def test_the_next_due_time_is_that_of_scheduled_jobs(self):
        self.assertIsNone(self.lines.next_due())
        self.add('ready')
        self.assertIsNone(self.lines.next_due())
        dues = [clock.to_micros(START + number * MINUTE) for number in (2, 1)]
        for due in dues:
            self.add('scheduled', due, timekeys.SCHEDULED)
        self.assertEqual(self.lines.next_due(), dues[1])

    def test_there_is_no_last_where_there_is_none(self):
        with self.assertRaises(IndexError):
            self.lines.last()
        self.lines.discard(self.add('a'))
        with self.assertRaises(IndexError):
            self.lines.last()

    def test_the_last_is_found_among_gaps(self):
        first = self.add('a')
        self.lines.discard(first)
        second = self.add('b')
        self.assertIs(self.lines.last(), second)
        self.lines.restore(first)
        self.lines.discard(second)
        self.assertIs(self.lines.last(), first)

    def test_gaps_are_swept_out(self):
        items = [self.add(str(number)) for number in range(3 * gaps.GAPS)]
        for item in items:
            self.lines.discard(item)
        line = self.lines.shards[0].lines[False, ()]
        self.assertLessEqual(len(line), gaps.GAPS + 1)
        self.assertEqual(self.names(), [])
        self.assertEqual(len(self.lines), 0)


class WhatIsWatched(contracts.InWorld, unittest.TestCase):
    """Who waits for jobs is woken by puts, not by claims."""

    def changed(self):
        """Commit; return how many of what is watched that changes."""
        shards = self.queue._lines.shards
        found = sum(bool(shard.length._p_changed) for shard in shards)
        self.assertEqual(self.queue.signs(), [shard.length._p_oid for shard in shards])
        self.client.commit()
        return found

    def test_a_put_changes_it(self):
        self.put()
        self.assertEqual(self.changed(), 1)

    def test_a_job_that_is_put_back_does(self):
        self.put()
        job = self.queue.claim()
        self.client.commit()
        self.queue.restore(job)
        self.assertEqual(self.changed(), 1)

    def test_a_claim_does_not(self):
        self.put()
        self.client.commit()
        self.assertIsNotNone(self.queue.claim())
        self.assertEqual(self.changed(), 0)

    def test_a_put_and_a_claim_do_not_meet_in_a_counter(self):
        for _number in range(3):
            self.put()
        self.client.commit()
        self.queue.claim()
        shard, = [one for one in self.queue._lines.shards if one.taken()]
        self.assertTrue(shard.taken._p_changed)
        self.assertFalse(shard.length._p_changed)
        self.assertEqual((len(self.queue), shard.length(), shard.taken()), (2, 3, 1))

    def test_jobs_of_a_queue_that_was_made_before_are_counted(self):
        for _number in range(3):
            self.put()
        self.client.commit()
        for shard in self.queue._lines.shards:
            del shard.taken
        self.client.commit()
        self.client.connection.cacheMinimize()
        self.assertEqual(len(self.queue), 3)
        self.queue.claim()
        self.client.commit()
        self.assertEqual(len(self.queue), 2)
        self.queue.claim(), self.queue.claim()
        self.assertEqual(len(self.queue), 0)
        self.assertIsNone(self.queue.claim())


class Shared(contracts.InWorld, unittest.TestCase):
    """A shard knows whether another process takes jobs out of it, too."""

    def take(self, client):
        client.begin()
        shard = client.queue._lines.shards[0]
        shared = shard.is_shared()
        self.assertIsNotNone(client.queue.claim())
        client.commit()
        return shared

    def test_while_another_does(self):
        with mock.patch.object(lines, '_habit', mock.Mock(below=lambda limit: 0)):
            for _number in range(9):
                self.put()
            self.client.commit()
        other = self.world.open()
        self.assertEqual([self.take(self.client) for _number in range(3)], [False] * 3)
        self.take(other)
        self.assertEqual([self.take(self.client) for _number in range(2)], [True] * 2)
        self.world.clock.advance(2 * lines.BUSY / 1e6 * contracts.SECOND)
        self.assertFalse(self.take(self.client))


class OldClients(contracts.InWorld, unittest.TestCase):
    """``queue._queue._data``: buckets whose ``_data`` can be assigned."""

    def test_all_jobs_are_in_the_buckets(self):
        jobs = [self.put(), self.put(begin_after=START + MINUTE)]
        found = [job for bucket in self.queue._queue._data for job in bucket._data]
        self.assertCountEqual(found, jobs)

    def test_jobs_are_taken_out_by_assigning_the_others(self):
        first, second = self.put(), self.put()
        for bucket in self.queue._queue._data:
            bucket._data = tuple(job for job in bucket._data if job is not first)
        self.assertEqual(list(self.queue), [second])
        self.assertEqual(len(self.queue), 1)
