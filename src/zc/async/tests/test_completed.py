"""The completed jobs of an agent."""
import unittest

from . import contracts
from ..model import completed
from ..model.completed import Completed
from .contracts import HOUR

DAY = 24 * HOUR


class CompletedJobs(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.client.root['completed'] = self.completed = Completed()
        self.client.commit()

    def add(self, *jobs):
        for job in jobs:
            self.completed.add(job)

    def test_it_is_empty_at_first(self):
        self.assertEqual(list(self.completed), [])
        self.assertEqual(len(self.completed), 0)
        self.assertIsNone(self.completed.first())
        self.assertEqual(self.completed.first('none'), 'none')

    def test_the_newest_is_the_first(self):
        self.add(*range(100))
        self.assertEqual(list(self.completed), list(range(99, -1, -1)))
        self.assertEqual(self.completed.first(), 99)

    def test_len_counts_all(self):
        self.add(*range(completed.PAGE + 1))
        self.world.clock.advance(2 * DAY)
        self.add(*range(3))
        self.assertEqual(len(self.completed), completed.PAGE + 4)

    def test_it_can_be_cleared(self):
        self.add(1, 2)
        self.completed.clear()
        self.assertEqual(list(self.completed), [])
        self.add(3)
        self.assertEqual(list(self.completed), [3])

    def test_days_follow_each_other(self):
        for number in range(5):
            self.add(number)
            self.world.clock.advance(DAY)
        self.assertEqual(list(self.completed), [4, 3, 2, 1, 0])

    def test_jobs_are_kept_for_a_week(self):
        self.add('old')
        self.world.clock.advance(7 * DAY)
        self.add('new')
        self.assertEqual(list(self.completed), ['new', 'old'])

    def test_jobs_are_forgotten_after_eight_days(self):
        self.add('old')
        self.world.clock.advance(8 * DAY)
        self.add('new')
        self.assertEqual(list(self.completed), ['new'])

    def test_a_clock_that_goes_back_forgets_nothing(self):
        self.add('first')
        self.world.clock.advance(-2 * DAY)
        self.add('second')
        self.assertEqual(list(self.completed), ['second', 'first'])

    def test_a_full_page_is_never_written_again(self):
        self.add(*range(completed.PAGE))
        self.client.commit()
        page = self.completed._days[0].before
        serial = page._p_serial
        self.add(*range(completed.PAGE))
        self.client.commit()
        self.assertEqual(page._p_serial, serial)

    def test_it_is_true_even_when_it_is_empty(self):
        self.assertTrue(self.completed)
