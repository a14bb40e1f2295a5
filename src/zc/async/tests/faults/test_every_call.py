"""Each story, each storage call in it, each kind of fault: one right outcome.

How many runs that is, is printed.  ``bench/faults/points.py`` makes all of them, and
those with two faults.
"""
import os
import unittest

from . import mutants
from . import points
from .points import Point
from .scenarios import SCENARIOS
from .storage import KINDS

#: Every how many points are tried: 1 for all of them, of long stories for a quarter.
STRIDE = int(os.environ.get('ZC_ASYNC_FAULT_STRIDE', 13))
#: Every how many pairs, for each of the above: they are more by two digits.
PAIRS = 101 * STRIDE


class Shared:
    """A layer: the processes that make the runs, and the sum of all."""

    @classmethod
    def setUp(cls):
        cls.sum = points.Sum()
        # to share a few is not worth the start of processes
        cls.processes = points.Processes(1 if STRIDE > 5 else None)
        cls.processes.__enter__()

    @classmethod
    def tearDown(cls):
        cls.processes.__exit__(None, None, None)
        print(f'  {cls.sum.runs} runs with faults, {len(cls.sum.wrong)} of them wrong')


class EveryCall(unittest.TestCase):
    """Whatever fails, in the end every job is done, and its effects are there once."""

    layer = Shared
    maxDiff = None

    def check(self, found):
        Shared.sum.update(found)
        self.assertGreater(found.runs, 0)
        shown = [f'{told.met}: {told.problems}' for told in found.wrong[:5]]
        self.assertEqual(shown, [], f'{len(found.wrong)} of {found.runs} are wrong')

    def test_there_are_twelve_stories_and_nine_kinds_at_least(self):
        whole = [one for one in SCENARIOS.values() if not one.long]
        self.assertGreaterEqual(len(whole), 12)
        self.assertGreaterEqual(len(KINDS), 9)

    def test_two_faults(self):
        for story in points.SHORTEST:
            with self.subTest(story=story):
                firsts = points.singles(story, STRIDE, points.PAIRED)
                self.check(Shared.processes.run(
                    firsts, points.run_pairs, points.PAIRED, PAIRS))


def _add(story):
    stride = 4 * STRIDE if SCENARIOS[story].long else STRIDE

    def test(self):
        self.check(Shared.processes.run(points.singles(story, stride)))

    setattr(EveryCall, f'test_{story}', test)


for _story in SCENARIOS:
    _add(_story)


class Found(unittest.TestCase):
    """What the points have found, at each call."""

    def check(self, story, kind):
        found = points.run(points.singles(story, kinds=(kind,)))
        self.assertEqual([(told.met, told.problems) for told in found.wrong], [])

    def test_a_conflict_while_the_policy_is_read_is_not_its_failure(self):
        self.check('put_off', 'read conflict')

    def test_a_job_that_is_too_late_is_told_so_however_often_that_fails(self):
        self.check('too_late', 'storage error')


#: Mutant -> the story that it breaks, and a kind of fault with which it does at some
#: call; None where it goes wrong without any.
FOUND = {
    'no-fence': ('claimed_late', 'death after'),
    'no-token': ('told_late', None),
    'runs-again-what-landed': ('one_effect', 'lost answer'),
    'two-commits': ('one_effect', 'death'),
    'keeps-effects-of-failures': ('puts', 'conflict'),
    'forgets-outcomes': ('returned_deferred', 'disconnected'),
    'forgets-what-waits': ('effect_of_second_callback', 'conflict'),
    'stores-what-waits-for-others': ('ends_told_late', None),
    'begins-unseen': ('at_most_once', 'death'),
    'nobody-takes-over': ('no_effect', 'death'),
    'hand-over-loses': ('no_effect', 'death after'),
    'hand-over-restarts': ('callbacks', 'death'),
    'callbacks-again': ('callbacks', 'death after'),
    'quota-unchecked': ('quota', None),
    'quota-unreleased': ('quota', None),
}


class Mutants(unittest.TestCase):
    """A product with a hole is found out by a story; see `mutants`."""

    def check(self, mutant, story, kind):
        with mutants.applied(mutant):
            found = points.run([Point(story)])
            if kind is not None:
                # without a fault nobody notices
                self.assertEqual(found.wrong, [])
                found = points.run(points.singles(story, kinds=(kind,)))
        self.assertTrue(found.wrong, f'{found.runs} runs, and nobody noticed')


def _add_mutant(name):
    def test(self):
        self.check(name, *FOUND[name])

    setattr(Mutants, f'test_{name.replace("-", "_")}', test)


for _name in FOUND:
    _add_mutant(_name)
