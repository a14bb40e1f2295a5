"""From samples to medians, and to a table that people read."""
import statistics

from bench.measures import MEASURES
from bench.storages import KINDS

_HEAD = ('', 'median', 'min - max', 'beside raw', 'steady',
         'commits', 'records', 'bytes', 'CPU ms')
_WIDTHS = (33, 10, 17, 20, 6, 8, 8, 8, 7)


def percentile(values, percent):
    """Return the smallest value that *percent* of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def summary(samples):
    """Return what the *samples* of one measure on one storage say together.

    Those that were not steady count only where no other is left.
    """
    steady = [one for one in samples if one['steady']]
    counted = steady or samples
    found = {'storage': samples[0]['storage'], 'measure': samples[0]['measure'],
             'unit': samples[0]['unit'], 'runs': len(samples), 'steady': len(steady)}
    for name in ('value', 'ratio', 'raw'):
        found[name] = _spread([one[name] for one in counted])
    for name in ('cost', 'cost_with_put'):
        if name in samples[0]:
            # what a storage counts is the same on a busy machine
            found[name] = {what: statistics.median(one[name][what] for one in samples)
                           for what in samples[0][name]}
    if 'cpu_ms' in samples[0]:
        found['cpu_ms'] = statistics.median(one['cpu_ms'] for one in counted)
    if 'latencies' in samples[0]:
        pooled = [each for one in counted for each in one['latencies']]
        found['latencies'] = len(pooled)
        found.update((f'p{percent}', percentile(pooled, percent))
                     for percent in (50, 95, 99))
    return found


def _spread(values):
    return {'median': statistics.median(values), 'min': min(values),
            'max': max(values)}


# The table

def table(kind, summaries):
    """Yield the lines of the table of one storage."""
    raw = _spread([found['raw']['median'] for found in summaries])
    yield (f'{KINDS[kind].title}: {_number(raw["median"])} raw commits/s '
           f'({_number(raw["min"])} - {_number(raw["max"])} beside the measures)')
    yield _line(_HEAD)
    for found in summaries:
        yield from _rows(found)


def _rows(found):
    label, unit = MEASURES[found['measure']].label, found['unit']
    value, ratio = found['value'], found['ratio']
    yield _line((
        label, _number(value['median']) + unit, _range(value),
        f'{ratio["median"]:.2f} ({_range(ratio)})',
        f'{found["steady"]}/{found["runs"]}',
        *_cost(found.get('cost')),
        f'{found["cpu_ms"]:.2f}' if 'cpu_ms' in found else ''))
    if 'cost_with_put' in found:
        yield _line(('  and its put, a thousand in a commit', '', '', '', '',
                     *_cost(found['cost_with_put'])))
    if 'latencies' in found:
        yield '  ' + ', '.join(
            [f'p{percent} {_number(found[f"p{percent}"])} ms' for percent in (50, 95, 99)]
            + [f'{found["latencies"]} samples'])


def _cost(cost):
    if cost is None:
        return '', '', ''
    return (f'{cost["commits"]:.3f}', f'{cost["records"]:.2f}',
            f'{cost["bytes"]:,.0f}')


def _range(spread):
    return f'{_number(spread["min"])} - {_number(spread["max"])}'


def _number(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _line(cells):
    first, *others = cells
    return ' '.join([first.ljust(_WIDTHS[0]), *(
        cell.rjust(width) for cell, width in zip(others, _WIDTHS[1:]))]).rstrip()
