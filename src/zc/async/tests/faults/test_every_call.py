"""Each scenario, each storage call in it, each kind of fault: one right outcome."""
import logging
import os
import unittest
from unittest import mock

from zope.testing import cleanup

from ... import dispatcher as dispatchers
from ...runtime.attempt import Attempts
from .scenarios import one_effect
from .scenarios import SCENARIOS
from .storage import KINDS
from .world import World

#: Every how many calls are tried: 1 for all of them.
STRIDE = int(os.environ.get('ZC_ASYNC_FAULT_STRIDE', 13))
#: Faults after which a job may rightly end in a Failure: the storage does not
#: say that it will pass.
HARD = {'no such object', 'storage error', 'disk full'}


class _Telling:

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        # thousands of faults are told of: nobody wants to read it
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.addCleanup(dispatchers.clear)

    def tell(self, scenario, at=None, kind=None):
        world = World(scenario)
        try:
            storage = world.tell(at, kind)
            return storage, world.problems(kind in HARD)
        finally:
            world.close()


class EveryCall(_Telling, unittest.TestCase):
    """Whatever fails, in the end every job is done, and its effects are there once."""

    def check(self, scenario, stride):
        storage, problems = self.tell(scenario)
        self.assertEqual(problems, [])
        for kind in KINDS:
            for at in range(1, storage.count + 1, stride):
                failing, problems = self.tell(scenario, at, kind)
                with self.subTest(call=at, name=failing.failed_at, kind=kind):
                    self.assertEqual(problems, [])


def _add(scenario):
    def test(self):
        self.check(scenario, STRIDE)

    setattr(EveryCall, f'test_{scenario.__name__}', test)


for _scenario in SCENARIOS:
    _add(_scenario)


class Mutants(_Telling, unittest.TestCase):
    """The harness notices when what it guards is taken out of the product."""

    def outcomes(self, kind):
        """Return what is wrong after a fault of *kind* at each call."""
        storage, _problems = self.tell(one_effect)
        return [problem for at in range(1, storage.count + 1)
                for problem in self.tell(one_effect, at, kind)[1]]

    def test_a_commit_that_was_made_is_taken_for_failed(self):
        with mock.patch.object(Attempts, '_landed', lambda self: False), \
                mock.patch.object(Attempts, '_check_ours', _take_back):
            problems = self.outcomes('lost answer')
        self.assertTrue(any("{'a': 2}" in problem for problem in problems), problems)

    def test_nobody_takes_over_from_the_dead(self):
        with mock.patch('zc.async.runtime.sightings.Sightings.is_dead',
                        lambda self, agents: False):
            problems = self.outcomes('death')
        self.assertTrue(any('left in' in problem for problem in problems), problems)


def _take_back(attempts):
    """Run the call again although it has a result: what the token prevents."""
    job = attempts._job
    job._code, job._attempt = attempts._before

