"""The tables of docs/scaling.rst, made of what was calibrated and measured."""
import re
import statistics

from bench.chart import number
from bench.publishing.page import table
from bench.simulation import check
from bench.simulation import world
from bench.simulation.workers import Policy
from bench.simulation.workers import Work

TITLES = {'zeo': 'ZEO', 'postgresql': 'PostgreSQL'}
#: What the page tells of a thousand workers, each on a processor of its own.
PROCESSES, SERVER_CORES, OUTSIDE, SIZE = (1, 10, 50, 100, 1000), 16.0, 5.0, 10
#: Where a table stands in the page.
_PLACE = '.. {name}: made by bench/simulate.py\n\n{text}\n.. end of {name}\n'


def limits(conditions):
    """Return the table of what one database does, from the *conditions* of the costs."""
    rows = [(TITLES[kind], *(number(round(found[name])) for name in (
        'raw_before', 'raw_many', 'no_op', 'effect')))
        for kind, found in conditions.items()]
    return table(('storage', 'commits a second, one process', 'four processes',
                  'jobs a second, one process, agent of size 10',
                  '… that change one object'), rows)


def clients(conditions):
    """Return the table of commits beside idle clients."""
    rows = [(number(count), number(rate), f'{number(1000 * seconds)} ms')
            for count, rate, seconds in conditions['zeo']['clients']]
    return table(('idle clients', 'commits a second',
                  "server's processor time for each"), rows)


def processes(costs, results):
    """Return the table of real runs, with what is predicted, and how far that is off."""
    told, factors, counts = {}, {}, sorted({one['processes'] for one in results})
    for one in check.compared(costs, results):
        if not one.measured:
            continue
        mark = '' if one.steady else ' *'
        told[one.storage, one.subject, one.processes] = (
            f'{number(one.measured)} ({number(one.predicted)}){mark}')
        factors.setdefault(one.steady, []).append(one.factor)
    rows = [(f'{TITLES[kind]}, {words}',
             *(told.get((kind, subject, count), 'not measured') for count in counts))
            for kind in costs for subject, words in (
                ('raw', 'commits of bare processes'), ('no-op', 'that do nothing'),
                ('effect', 'with one change'))]
    return (table(('storage, jobs', *(f'{count} process{"es" * (count > 1)}'
                                      for count in counts)), rows)
            + f'\n{_off(factors)}')


def _off(factors):
    """Return in words how far predictions are off."""
    every = [one for found in factors.values() for one in found]
    text = (f'**The simulation was off by a factor of up to {number(max(every))}**, and of '
            f'{number(statistics.median(every))} in the middle.')
    if factors.get(True) and factors.get(False):
        text += (f'  Without those with a star, in which the raw rate moved by over 30 %, '
                 f'it was up to {number(max(factors[True]))}.')
    return text + '\n'


def thousand(costs):
    """Return the table of what very many workers would do."""
    rows = []
    for count in PROCESSES:
        found = world.simulate(costs['postgresql'], world.Plan(
            workers=count, cores=float(count + 1), server_cores=SERVER_CORES,
            seconds=20.0, work=Work(outside=OUTSIDE, effect=True),
            policy=Policy(size=SIZE), spread=min(Policy.poll, 0.05 * count)))
        rows.append((number(count), number(found['rate']), number(found['commits_per_s']),
                     f'{100 * found["conflicts_per_turn"]:.0f} %',
                     number(found['loads_per_s']), f'{100 * found["locked"]:.0f} %'))
    return table(('processes', 'jobs a second', 'commits a second', 'turns in conflict',
                  'loads a second', 'time that the lock is held'), rows)


def tables(conditions, costs, results):
    """Return all of them by their names in the page."""
    return {'limits': limits(conditions), 'clients': clients(conditions),
            'processes': processes(costs, results), 'thousand': thousand(costs)}


def placed(page, made):
    """Return the text *page* with the tables *made* in their places.

    Raise ValueError where it has no place for one.
    """
    for name, text in made.items():
        place = re.compile(
            rf'^\.\. {name}: made by .*?^\.\. end of {name}\n', re.DOTALL | re.MULTILINE)
        new = _PLACE.format(name=name, text=text)
        page, count = place.subn(lambda _found, new=new: new, page)
        if count != 1:
            raise ValueError(f'the page has {count} places for the table {name!r}; '
                             f'it needs one, between ".. {name}: made by" and '
                             f'".. end of {name}"')
    return page
