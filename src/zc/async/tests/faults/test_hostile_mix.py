"""Short forms of ``bench/faults/hostile.py``."""
import unittest
from unittest import mock

from zope.testing import cleanup

from . import hostile_mix
from ... import dispatcher as dispatchers
from ...model import execution
from ...runtime.worker import Worker

#: Jobs in the short form; a bit more than one of each kind.
COUNT = 300


class Alone(unittest.TestCase):
    """A test that leaves no dispatcher and no component behind."""

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.addCleanup(dispatchers.clear)


class Mixed(Alone):
    """One real dispatcher with threads, on a FileStorage."""

    def test_all_end_as_they_have_to_and_harm_nobody(self):
        mix = hostile_mix.Mix(COUNT, seed=1).run()
        self.assertEqual(mix.problems, [])
        self.assertEqual(sum(mix.figures['ends'].values()) + mix.figures['refused'], COUNT)


class Notices(Alone):
    """It is found out where something does not hold."""

    def test_a_result_that_cannot_be_loaded(self):
        # as it would be without the check that a result can be loaded again
        with mock.patch.object(execution, 'probe_both_ways', probe_one_way):
            mix = hostile_mix.Mix(5, names=['result_StateFails'])
            with mock.patch.object(hostile_mix, 'PATIENCE', 2):
                mix.run()
        self.assertTrue(mix.problems)

    def test_a_slot_that_leaks(self):
        with mock.patch.object(Worker, 'work', lose), \
                mock.patch.object(hostile_mix, 'PATIENCE', 2):
            mix = hostile_mix.Mix(5, names=['transaction_commits']).run()
        self.assertTrue(any('nothing moves' in text for text in mix.problems), mix.problems)


def probe_one_way(value):
    from ...model.call import Probe
    probe = Probe()
    probe.dump(value)
    return probe


def lose(worker, ticket):
    """Forget the ticket."""


class Processes(unittest.TestCase):
    """Jobs that end their process."""

    def test_each_is_parked_after_three_deaths_and_the_others_are_done(self):
        # no more of them: a process that dies again and again is replaced ever later
        ends = hostile_mix.Ends(3, processes=2).run()
        self.assertEqual(ends.problems, [])
        self.assertEqual(ends.figures['deaths'], {3: 3})


if __name__ == '__main__':
    unittest.main()
