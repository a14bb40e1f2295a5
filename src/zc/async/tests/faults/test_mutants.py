"""Each mutant is caught by the tests that the table names for it."""
import json
import unittest

from . import catalogue
from . import mutants
from . import test_every_call
from . import test_simulation
from .test_killloop import play
from ..checkout import needs_checkout

#: What a round of the kill loop is like in which only a few things happen.
_SMALL = ('--workers', 1, '--backlog', 60, '--jobs', 50, '--poison', 0, '--mean', 0.2,
          '--drain-limit', 8)


def _of(kind):
    return '--kinds', json.dumps({kind: 1})


#: How a mutant is played with real processes, and a problem that there must be, or
#: a figure that must be 0 otherwise.
PLAYS = {
    'no-fence': (('--scene', 'StoppedInClaim'), 'unfinished'),
    'no-token': (('--scene', 'StoppedInBody'), 'stale_result'),
    'forgets-outcomes': (
        (*_of('plain'), '--hit', '', '--strikes', 'before,wait,before,wait'),
        'overstart'),
    'hasty': (
        (*_of('effect'), '--hit', 'puts', '--strikes', 'before,wait,before'), 'lost'),
    'takes-over-the-living': (
        (*_of('effect'), '--strikes', 'wait', '--workers', 2, '--death', 10),
        'taken for dead'),
    'runs-again-what-landed': (
        (*_of('effect'), '--hit', 'effects', '--strikes', 'after,wait,after,wait'),
        'dup_fx'),
    'two-commits': ((*_of('effect'), '--strikes', 'kill,kill,kill,kill'), 'dup_fx'),
    'begins-unseen': ((*_of('once'), '--strikes', 'kill,kill,kill,kill'), 'overstart'),
    'hand-over-loses': ((*_of('effect'), '--strikes', 'kill,kill'), 'unfinished'),
    'nobody-takes-over': ((*_of('effect'), '--strikes', 'kill,kill'), 'unfinished'),
    'hand-over-restarts': (
        (*_of('callback'), '--strikes', 'kill,kill,kill,kill'), 'dup_fx'),
    'callbacks-again': (
        (*_of('callback'), '--strikes', 'kill,kill,kill,kill'), 'dup_fx'),
    'keeps-effects-of-failures': ((*_of('failing'), '--strikes', 'wait'), 'ghost_fx'),
    'quota-unchecked': ((*_of('one'), '--strikes', 'wait'), 'over_quota'),
    'quota-unreleased': ((*_of('one'), '--strikes', 'wait'), 'unfinished'),
}
#: Those that no other test catches.
ONLY_PLAYED = ('no-token', 'forgets-outcomes', 'hasty')


class Table(unittest.TestCase):

    def suite(self, name):
        """Return the suite of the test *name*, which there is."""
        found = unittest.defaultTestLoader.loadTestsFromName(f'zc.async.tests.{name}')
        self.assertEqual([type(one).__name__ for one in found if isinstance(
            one, unittest.loader._FailedTest)], [], 'no such test')
        return found

    def test_a_test_catches_each(self):
        for name, mutant in list(mutants.TABLE.items()):
            with self.subTest(name):
                self.assertTrue(mutant.caught_by)
                self.assertTrue(mutant.breaks)
            for test in mutant.caught_by:
                with self.subTest(test):
                    self.assertEqual(self.suite(test).countTestCases(), 1)

    def test_the_tests_fail_for_it(self):
        for name, mutant in list(mutants.TABLE.items()):
            for test in mutant.caught_by:
                if '.Played' in test or '.Mutants.' in test:
                    continue  # they apply it themselves
                with self.subTest(name, test=test):
                    self.assertEqual(self.failures(test), 0, 'it fails anyway')
                    with mutants.applied(name):
                        self.assertGreater(self.failures(test), 0)

    def failures(self, test):
        result = unittest.TestResult()
        self.suite(test).run(result)
        self.assertEqual(result.testsRun, 1)
        return len(result.failures) + len(result.errors)

    def test_nothing_is_left_of_one(self):
        for name in list(mutants.TABLE):
            before = [getattr(*place[:2]) for place in mutants.TABLE[name].patches()]
            with mutants.applied(name):
                inside = [getattr(*place[:2])
                          for place in mutants.TABLE[name].patches()]
            after = [getattr(*place[:2]) for place in mutants.TABLE[name].patches()]
            with self.subTest(name):
                self.assertNotEqual(inside, before)
                self.assertEqual(after, before)

    def test_one_that_there_is_not(self):
        with self.assertRaisesRegex(KeyError, 'no-such'):
            with mutants.applied('no-such'):
                pass


class Listed(unittest.TestCase):
    """Whoever reads docs/reliability.rst learns what catches which mutant."""

    maxDiff = None

    @needs_checkout
    def test_the_page_lists_all_that_have_to_be_found(self):
        page = catalogue.PAGE.read_text(encoding='utf-8')
        self.assertEqual(catalogue.listed(page), catalogue.text().strip(),
                         'bin/py -m zc.async.tests.faults.catalogue writes the list')

    def test_each_is_caught_by_a_harness_and_not_by_unit_tests_alone(self):
        for name, mutant in mutants.TABLE.items():
            harnesses = [test for test in mutant.caught_by if test.startswith('faults.')]
            with self.subTest(name):
                self.assertTrue(harnesses)

    def test_all_that_catch_it_are_named(self):
        for module, case, names in (
                ('test_every_call', 'Mutants', test_every_call.FOUND),
                ('test_simulation', 'Mutants', test_simulation.FOUND),
                ('test_mutants', 'Played', set(ONLY_PLAYED)),
                ('test_mutants', 'PlayedToo', set(PLAYS) - set(ONLY_PLAYED))):
            for name in names:
                test = f'faults.{module}.{case}.test_{name.replace("-", "_")}'
                self.assertIn(test, mutants.TABLE[name].caught_by)


class _Played:

    def check(self, name):
        words, expected = PLAYS[name]
        report = play(*_SMALL, *words)
        shown = json.dumps(report, indent=1)
        self.assertEqual(report['problems'], {}, shown)
        self.assertFalse(report['figures'].get(expected), shown)
        # what strikes does so by chance, and may miss it where little time was given
        for _try in range(3):
            report = play(*_SMALL, *words, '--mutant', name)
            if {**report['figures'], **report['problems']}.get(expected):
                return
        self.fail(json.dumps(report, indent=1))


class Played(_Played, unittest.TestCase):
    """With real processes: the product as it is has no problems, the mutant has."""


class PlayedToo(_Played, unittest.TestCase):
    """Those that other tests catch as well, for who has more time."""

    level = 2


def _add(name):
    def test(self):
        self.check(name)

    case = Played if name in ONLY_PLAYED else PlayedToo
    setattr(case, f'test_{name.replace("-", "_")}', test)


for _name in PLAYS:
    _add(_name)
