"""All that the harnesses have to find, as docs/reliability.rst lists it.

``bin/py -m zc.async.tests.faults.catalogue`` writes the list into the page;
`test_mutants` fails where the page says anything else.
"""
import textwrap
import unittest

from . import mutants
from . import test_checker
from . import test_every_call  # noqa: F401 whoever enters a mutant is to be loaded
from . import test_hostile_mix
from . import test_powercut
from . import test_simulation
from . import test_trials
from ..checkout import ROOT

PAGE = ROOT / 'docs' / 'reliability.rst'
#: The list stands between these lines of the page.
BEGIN, END = '.. What follows is written by catalogue.py.\n', '.. That was it.\n'
#: Tests of which each falsifies something of its own, and what.
OTHERS = (
    (test_powercut.Mutants, 'what is on the disk, or who reads it'),
    (test_simulation.Judgement, 'what the model of the simulation is told'),
    (test_trials.Verdicts, 'what a trial has measured'),
    (test_hostile_mix.Notices, 'what hostile jobs are met with'),
)
_WIDTH = 88


def text():
    """Return the list: reStructuredText."""
    blocks = [_entry(f'``{name}``: {mutant.breaks}', mutant.caught_by)
              for name, mutant in mutants.TABLE.items()]
    return '\n'.join([
        'Mutants of the product:\n', *blocks,
        'Histories of the kill loop that were falsified; all of them are found by\n'
        '``faults.test_checker.Checker.test_whatever_is_wrong_is_found_under_its_name``,'
        '\nunder the name of the rule that they break:\n', *_histories(),
        'And what else is falsified, each by a test of that name:\n',
        *(_others(*other) for other in OTHERS)])


def _entry(head, tests):
    rows = [f'- ``{test}``' for test in tests]
    return '\n'.join([head, *textwrap.indent('\n'.join(rows), '    ').split('\n'), ''])


def _histories():
    by_rule = {}
    for mutation, rule in test_checker.MUTATIONS.items():
        by_rule.setdefault(rule, []).append(_plain(mutation.__name__))
    for rule, names in by_rule.items():
        yield f'``{rule}``\n' + _filled('; '.join(names))


def _others(case, what):
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    module = case.__module__.partition('.tests.')[2]
    return (f'``{module}.{case.__name__}``: {what}\n'
            + _filled('; '.join(_plain(name.removeprefix('test_')) for name in names)))


def _plain(name):
    return name.strip('_').replace('_', ' ')


def _filled(said):
    return textwrap.fill(said, _WIDTH, initial_indent='    ', subsequent_indent='    ',
                         break_on_hyphens=False) + '\n'


def listed(page):
    """Return what the *page* has between `BEGIN` and `END`."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def main():
    """Write the list into the page."""
    page = PAGE.read_text(encoding='utf-8')
    before, _begin, rest = page.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    PAGE.write_text(f'{before}{BEGIN}\n{text()}\n{END}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
