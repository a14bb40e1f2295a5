"""From samples to medians, and to a table that people read."""
import os
import shlex
import statistics

from bench.storages import KINDS

_HEAD = ('', 'median', 'min - max', 'beside raw', 'steady',
         'commits', 'records', 'bytes', 'CPU ms')
_WIDTHS = (33, 10, 17, 20, 6, 8, 8, 8, 7)


def command(script, argv):
    """Return the command line of a bench; of the file of results only the name."""
    words = [os.path.basename(word) if before == '--json' else word
             for before, word in zip(('', *argv), argv)]
    return shlex.join(['bin/py', script, *words])


def percentile(values, percent):
    """Return the smallest value that *percent* of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


#: What is the same in all samples of a measure.
_SAME = ('job', 'jobs', 'size', 'workers', 'producers', 'backlog', 'reference')
#: What is counted, which is the same on a busy machine; and what is timed.
_COUNTED = ('cost', 'cost_with_put', 'loads', 'fetched', 'conflicts', 'claims', 'puts')
_TIMED = ('cpu_ms', 'claim_ms', 'choose_ms')


def summary(samples):
    """Return what the *samples* of one measure on one storage say together.

    Those that were not steady count only where no other is left.
    """
    first = samples[0]
    steady = [one for one in samples if one['steady']]
    counted = steady or samples
    found = {name: first[name] for name in ('storage', 'measure', 'label', 'unit')}
    found.update((name, first[name]) for name in _SAME if name in first)
    found.update(runs=len(samples), steady=len(steady))
    for name in ('value', 'ratio', 'raw', 'relative'):
        values = [one[name] for one in counted if one.get(name) is not None]
        if values or name == 'ratio':
            found[name] = _spread(values) if values else None
    for name in _COUNTED:
        if name in first:
            found[name] = _median([one[name] for one in samples])
    for name in (*_TIMED, 'extra'):
        if name in first:
            found[name] = _median([one[name] for one in counted])
    if 'latencies' in first:
        pooled = [each for one in counted for each in one['latencies']]
        found['latencies'] = len(pooled)
        found.update((f'p{percent}', percentile(pooled, percent))
                     for percent in (50, 95, 99))
    return found


def _median(values):
    """Return the median of *values*, or of each number in these mappings."""
    if not isinstance(values[0], dict):
        return statistics.median(values)
    return {name: statistics.median(one[name] for one in values)
            for name, value in values[0].items() if isinstance(value, (int, float))}


def relate(sample, reference, samples):
    """Set *sample* beside that of the measure *reference* among the run's *samples*."""
    if reference in samples:
        sample['reference'] = reference
        sample['relative'] = sample['value'] / samples[reference]['value']


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
    value, ratio = found['value'], found['ratio']
    yield _line((
        found['label'], f'{_number(value["median"])} {found["unit"]}'.replace(' /', '/'),
        _range(value), '' if ratio is None else f'{ratio["median"]:.2f} ({_range(ratio)})',
        f'{found["steady"]}/{found["runs"]}',
        *_cost(found.get('cost')),
        f'{found["cpu_ms"]:.2f}' if 'cpu_ms' in found else ''))
    if 'cost_with_put' in found:
        yield _line(('  and its put, a thousand in a commit', '', '', '', '',
                     *_cost(found['cost_with_put'])))
    more = ', '.join(_more(found))
    if more:
        yield f'  {more}'


def _more(found):
    """Yield what else there is to say, in words."""
    if 'latencies' in found:
        for percent in (50, 95, 99):
            yield f'p{percent} {_number(found[f"p{percent}"])} ms'
        yield f'{found["latencies"]} samples'
    if 'backlog' in found:
        yield f'{found["backlog"]:,} in line'
    if 'relative' in found:
        yield f'{found["relative"]["median"]:.2f} of {found["reference"]}'
    if 'claim_ms' in found:
        turn = found['claim_ms']
        yield f'claim p50 {_number(turn["p50"])}, p99 {_number(turn["p99"])} ms'
    if 'loads' in found:
        yield f'{found["loads"]:.2f} loads a job'
    if 'fetched' in found:
        yield f'{found["fetched"]:.2f} fetched'
    if 'conflicts' in found:
        what = 'puts' if 'puts' in found else 'claims'
        yield f'{100 * found["conflicts"]:.2f} conflicts per 100 {what}'
    for name, number in found.get('extra', {}).items():
        yield f'{name.replace("_", " ")} {_number(number)}'


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
