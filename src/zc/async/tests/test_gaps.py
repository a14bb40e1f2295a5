"""Jobs are taken out of lines so that claims write leaves only."""
import random
import unittest

from BTrees.OOBTree import OOBTree
from persistent import Persistent

from . import contracts
from .. import timekeys
from ..model import gaps


class Item(Persistent):
    """What stands in line."""


def key(number):
    return timekeys.make(1, timekeys.READY, number + 1, 0)


class InTwo(contracts.InWorld):
    """A line of 300 jobs, in two connections."""

    def setUp(self):
        super().setUp()
        self.client.root['line'] = line = OOBTree()
        for number in range(300):
            line[key(number)] = Item()
        self.client.commit()
        self.other = self.world.open()
        self.line, self.others = line, self.other.root['line']

    def take(self, *numbers, line=None, shared=False):
        line = self.line if line is None else line
        for number in numbers:
            gaps.take(line, key(number), shared)

    def left(self):
        """Return the numbers of the jobs in line."""
        return [timekeys.split(one)[2] - 1 for one, _job in gaps.live(self.line)]

    def leaves(self):
        leaf, found = self.line._firstbucket, []
        while leaf is not None:
            found.append(leaf)
            leaf = leaf._next
        return found


class WhatTwoTake(InTwo, unittest.TestCase):

    def test_two_that_take_different_jobs_do_not_conflict(self):
        for seed in range(60):
            chance = random.Random(seed)
            left = self.left()
            if len(left) < 60:
                break
            start = chance.randrange(len(left) - 50)
            near = left[start:start + 50]
            chance.shuffle(near)
            count = chance.randrange(1, 20)
            mine, theirs = near[:count], near[count:2 * count]
            with self.subTest(seed=seed):
                self.other.begin()
                self.take(*mine, shared=True)
                self.take(*theirs, line=self.others, shared=True)
                self.client.commit()
                self.other.commit()
                self.client.begin()
                self.assertEqual(self.left(), [one for one in left
                                               if one not in {*mine, *theirs}])

    def test_nothing_but_leaves_is_written_where_others_take_too(self):
        self.take(*range(300), shared=True)
        self.assertGreater(len(self.leaves()), gaps.GAPS)
        self.assertFalse(self.line._p_changed)

    def test_a_put_and_what_is_taken_do_not_conflict(self):
        self.line[key(300)] = Item()  # which splits a leaf
        self.client.commit()
        self.other.begin()
        self.others[key(1000)] = Item()
        self.take(*range(20), 150, *range(280, 299), shared=True)
        self.client.commit()
        self.other.commit()
        self.client.begin()
        self.assertEqual(self.left()[-1], 1000)


class Sweeping(InTwo, unittest.TestCase):
    """Leaves that have nothing but gaps are not many."""

    def rows(self):
        """Return how many leaves of gaps alone there are in each row."""
        rows = ['']
        for leaf in self.leaves():
            if gaps._is_gap(leaf):
                rows[-1] += '.'
            else:
                rows.append('')
        return [len(row) for row in rows]

    def test_in_whatever_order_jobs_are_taken(self):
        for seed in range(10):
            for shared in (False, True):
                with self.subTest(seed=seed, shared=shared):
                    self.act(random.Random(seed), shared)

    def act(self, chance, shared):
        self.client.root['line'] = self.line = OOBTree()
        wanted = set(range(600))
        for number in range(600):
            self.line[key(number)] = Item()
        order = list(range(600))
        for first in range(0, 600, chance.choice([1, 50, 600])):
            chance.shuffle(part := order[first:first + 50])
            order[first:first + 50] = part
        limit = gaps.GAPS * (gaps.SHARED if shared else 1)
        for number in order:
            self.take(number, shared=shared)
            wanted.discard(number)
            if chance.random() < 0.05:
                self.assertEqual(self.left(), sorted(wanted))
                self.assertLessEqual(max(self.rows()), limit + 1)
                self.assertEqual([one for one, _job in gaps.ending(self.line)],
                                 [key(one) for one in sorted(wanted)[-1:]])
                self.line._check()
        self.assertEqual(gaps.ending(self.line), [])
        self.assertIsNone(gaps.first_key(self.line))

    def test_all_are_swept_out_once_nobody_else_takes_any(self):
        self.take(*range(200), shared=True)
        before = len(self.leaves())
        self.take(*range(200, 260))
        self.assertLess(len(self.leaves()), before - 60 // 15)
        self.assertLessEqual(max(self.rows()), gaps.GAPS + 1)

    def test_of_a_line_under_several_nodes(self):
        self.client.root['line'] = self.line = OOBTree()
        for number in range(6000):
            self.line[key(number)] = Item()
        self.client.commit()
        self.take(*range(5990))
        self.assertEqual(self.left(), list(range(5990, 6000)))
        self.assertLess(len(self.leaves()), 10)
        self.line._check()
        self.client.commit()

    def test_a_job_in_front_of_a_gap_leaves_one_gap(self):
        self.take(*range(290))
        front = timekeys.make(0, timekeys.FRONT, 1, 0)
        self.line[front] = Item()
        before = len(self.line)
        gaps.take(self.line, front)
        self.assertEqual(self.left(), list(range(290, 300)))
        self.assertLess(len(self.line), before)

    def test_the_last_leaf_stays(self):
        for count in range(60, 180, 7):
            self.client.root['line'] = self.line = OOBTree(
                {key(number): Item() for number in range(count)})
            self.client.commit()
            last = self.leaves()[-1]
            self.take(*range(count))
            self.assertIs(self.leaves()[-1], last)
            self.assertLessEqual(len(self.leaves()), gaps.GAPS + 1)
