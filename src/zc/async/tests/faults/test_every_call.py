"""Each story, each storage call in it, each kind of fault: one right outcome.

How many runs that is, is printed.  ``bench/faults/points.py`` makes all of them, and
those with two faults.
"""
import os
import unittest

from ...runtime import sightings
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


@mutants.mutant('nobody-takes-over', 'nobody is ever silent for long enough to be dead',
                'faults.test_every_call.Mutants.test_nobody_takes_over')
def _nobody_takes_over():
    yield sightings.Sightings, 'is_dead', lambda self, agents: False


class Mutants(unittest.TestCase):
    """A product with a hole is found out by a story; see `mutants`."""

    def check(self, mutant, story, kind=None):
        """The *story* goes wrong with the *mutant*, at some call or without a fault."""
        whole = points.calls(story)
        told = [Point(story, ((at, kind),)) for at in range(1, whole + 1)]
        with mutants.applied(mutant):
            found = points.run(told if kind else [Point(story)])
        self.assertTrue(found.wrong, f'{found.runs} runs, and nobody noticed')

    def test_a_commit_that_was_made_is_taken_for_failed(self):
        self.check('runs-again-what-landed', 'one_effect', 'lost answer')

    def test_two_commits(self):
        self.check('two-commits', 'one_effect', 'death')

    def test_keeps_effects_of_failures(self):
        self.check('keeps-effects-of-failures', 'puts', 'conflict')

    def test_forgets_outcomes(self):
        self.check('forgets-outcomes', 'returned_deferred', 'disconnected')

    def test_begins_unseen(self):
        self.check('begins-unseen', 'at_most_once', 'death')

    def test_nobody_takes_over(self):
        self.check('nobody-takes-over', 'no_effect', 'death')

    def test_hand_over_loses(self):
        self.check('hand-over-loses', 'no_effect', 'death after')

    def test_hand_over_restarts(self):
        self.check('hand-over-restarts', 'callbacks', 'death')

    def test_callbacks_again(self):
        self.check('callbacks-again', 'callbacks', 'death after')

    def test_quota_unchecked(self):
        self.check('quota-unchecked', 'quota')

    def test_quota_unreleased(self):
        self.check('quota-unreleased', 'quota')
