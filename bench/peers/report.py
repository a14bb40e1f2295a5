"""From samples to medians, and to a table that people read."""
import statistics

from bench.report import percentile

_SAME = ('system', 'title', 'storage', 'settings', 'together', 'measure', 'label',
         'unit', 'jobs')


def summary(samples):
    """Return what the *samples* of one measure of one system say together.

    Those that were not steady count only where no other is left.
    """
    steady = [one for one in samples if one['steady']]
    counted = steady or samples
    found = {name: samples[0][name] for name in _SAME if name in samples[0]}
    found.update(runs=len(samples), steady=len(steady))
    for name in ('value', 'ratio', 'raw'):
        values = [one[name] for one in counted]
        found[name] = {'median': statistics.median(values), 'min': min(values),
                       'max': max(values)}
    for name, prefix in (('latencies', ''), ('since_call', 'call_')):
        if name in samples[0]:
            pooled = [each for one in counted for each in one[name]]
            found[name] = len(pooled)
            found.update((f'{prefix}p{percent}', percentile(pooled, percent))
                         for percent in (50, 95, 99))
    return found


def table(summaries, plan):
    """Yield the lines of a table with a row for each system."""
    yield (f'{plan.jobs} jobs, concurrency {plan.concurrency}, median of {plan.runs}; '
           'jobs/s (beside raw commits of a FileStorage); latency in ms')
    rows = {}
    for found in summaries:
        key = found['title'], found['storage'], found['settings']
        rows.setdefault(key, {})[found['measure']] = _cell(found)
    yield _line('', ('put', 'bulk', 'no-op', 'effect', 'p50 / p95'))
    for (title, storage, settings), cells in rows.items():
        yield _line(f'{title} ({storage}, {settings})', [
            cells.get(name, '-') for name in (
                'put', 'bulk', 'no-op', 'effect', 'latency')])


def _cell(found):
    if found['unit'] == 'ms':
        return f'{found["p50"]:.1f} / {found["p95"]:.1f}'
    return f'{found["value"]["median"]:,.0f} ({found["ratio"]["median"]:.2f})'


def _line(first, cells):
    return first.ljust(44) + ''.join(cell.rjust(16) for cell in cells)
