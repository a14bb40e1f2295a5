"""Keys that put waiting jobs in order."""
import itertools
import threading
import unittest

from .. import clock
from .. import timekeys
from .contracts import SECOND
from .contracts import StoppedClock


class Keys(unittest.TestCase):

    def test_a_key_can_be_taken_apart(self):
        for parts in ((0, 0, 0, 0), (1, 2, 3, 4), (2**64 - 1, 2, 2**64 - 1, 255)):
            self.assertEqual(timekeys.split(timekeys.make(*parts)), parts)

    def test_all_keys_have_the_same_length(self):
        self.assertEqual(
            {len(timekeys.make(*parts)) for parts in ((0, 0, 0, 0), (2**63, 2, 9, 9))},
            {18})

    def test_keys_compare_as_what_they_say(self):
        parts = sorted(itertools.product(
            (0, 255, 256, 2**40), range(3), (1, 2**33), (0, 15)))
        keys = [timekeys.make(*one) for one in parts]
        self.assertEqual(keys, sorted(keys))

    def test_ranks_order_what_is_due_at_the_same_time(self):
        self.assertLess(timekeys.FRONT, timekeys.SCHEDULED)
        self.assertLess(timekeys.SCHEDULED, timekeys.READY)

    def test_until_is_after_all_that_is_due_and_before_what_is_not(self):
        limit = timekeys.until(100)
        self.assertLess(timekeys.make(100, timekeys.READY, 2**64 - 1, 255), limit)
        self.assertLess(limit, timekeys.make(101, timekeys.FRONT, 1, 0))


class Stamps(unittest.TestCase):
    """Stamps grow, whatever the clock does."""

    def setUp(self):
        self.clock = StoppedClock()
        self.addCleanup(clock.install, clock.install(self.clock))

    def test_they_grow_while_the_clock_stands_still(self):
        stamps = [timekeys.stamp() for _number in range(100)]
        self.assertEqual(stamps, sorted(set(stamps)))

    def test_they_grow_while_the_clock_goes_back(self):
        before = timekeys.stamp()
        self.clock.advance(-60 * SECOND)
        self.assertGreater(timekeys.stamp(), before)

    def test_they_follow_a_clock_that_goes_on(self):
        self.clock.moment = clock.from_micros(timekeys.stamp()) + 60 * SECOND
        self.assertEqual(timekeys.stamp(), clock.micros())

    def test_no_two_threads_get_the_same(self):
        found = []
        threads = [threading.Thread(
            target=lambda: found.extend([timekeys.stamp() for _n in range(200)]))
            for _number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(found)), 800)
