"""The text of docs/performance.rst."""
import collections
import os

from bench.chart import number
from bench.publishing import floors
from bench.publishing.charts import all_charts
from bench.publishing.charts import STORAGES

HERE = os.path.dirname(os.path.abspath(__file__))

_HEAD = '''\
.. made by bench/publish.py from bench/results; what is written by hand is in
   bench/publishing.  Do not edit.

===========
Performance
===========

After reading this page you know how fast zc.async is beside the storage it works on
and beside other queues, what a job costs, and what limits it.  How to choose the
settings is told in :doc:`deployment`; how far one database goes, in :doc:`scaling`.

Absolute figures are those of one machine.  The ratios are what to rely on: each
sample lies between two looks at the raw rate, one small object changed in each
commit, of the same database.  Figures are medians of the runs, without those within
which the raw rate moved by more than 30 %, unless no others are left.  In brackets is
the span from the least to the most.  How many runs there were, and how many were
steady, is in the tables of all measures.
'''
_MIXED = '''\
**The figures are of more than one revision**; the table of conditions at the end says what
is of which.
'''
_SEVERAL = '''\
Where several files told the same, the last of them counted, and the others are not named.
'''
_PEERS = '''\
The same work in one run: {jobs} jobs that do nothing, or store one thing each; one
worker with ten threads, tasks or processes, as the system has it.  A rate of jobs runs
from the start of the first to the start of the last, and for zc.async to the commit
of the last.  That all jobs and all effects were done is checked.  *Durable* is what
survives a power cut: PostgreSQL with fsync, Redis with ``appendfsync always``, SQLite
with ``synchronous=full``.  The raw rate is that of a FileStorage, for all of them, so
that a column can be compared; for zc.async on PostgreSQL that is a harder measure than
its own storage.  Latencies run from the moment when the put was acknowledged, which can
be later than the start of the job, or from the call that puts it; on a FileStorage,
which has one process, zc.async puts and works in the same one.
'''
_WORKERS = '''\
Each job does nothing, changes one object, keeps a processor busy for some 5 ms, or sleeps
for 20 ms.  The agents have size 10, for jobs that compute 3.  The machine had {processors}
processors, which the server and the bench used as well.  Both axes are logarithmic, so
what doubles with the processes rises alike everywhere.
'''
_COMMANDS = '''\
These commands measured what is shown; the last makes this page::

{commands}
    bin/py bench/publish.py --keep {files}

What is smaller there than a row of the first table says is named in that row.
``bin/py bench/run.py --all`` takes everything, in full.
``bench/README.rst`` says what each measure is, and ``bin/py bench/compare.py OLD NEW``
tells what changed between two revisions.
'''


def page(facts):
    """Return the page, and the charts by the name of their file."""
    charts = all_charts(facts)
    parts = [_HEAD, *([_MIXED] if len(facts.revisions()) > 1 else ()), *_floors(facts), *_peers(facts, charts),
             *_section('Latency', _image('latency', charts)),
             *_section('Large backlogs', _image('backlog', charts)),
             *_section('Worker processes', _workers(facts, charts),
                       _image('workers', charts), _fragment('workers')),
             *_rates(facts), *_costs(facts),
             *_section('What stands in the way', _fragment('in_the_way')),
             *_section('To measure it again', _commands(facts)), *_conditions(facts)]
    return '\n'.join(parts), {name: svg for name, (_title, svg) in charts.items() if svg}


def _section(title, *parts):
    return [title, '=' * len(title) + '\n', *(part for part in parts if part)]


def _fragment(name):
    """Return what is written by hand."""
    path = os.path.join(HERE, f'{name}.rst')
    with open(path, encoding='utf-8') as file:
        return file.read()


def _commands(facts):
    commands = [one['command'] for _name, one in facts.conditions if 'command' in one]
    files = sorted({name for name, _one in facts.conditions})
    return _COMMANDS.format(commands='\n'.join(f'    {one}' for one in commands),
                            files=' '.join(files))


def _image(name, charts):
    title, svg = charts[name]
    if not svg:
        return f'{title}: not measured in this run.\n'
    return (f'.. image:: performance/{name}.svg\n   :alt: {title}\n   :width: 100%\n')


def _workers(facts, charts):
    """Return on what the workers of the chart were measured, if they were."""
    _title, svg = charts['workers']
    files = {one['file'] for one in facts.measures('zeo')
             if one['measure'].startswith('workers-')}
    processors = {f'{one["processors"]}' for name, one in facts.conditions
                  if name in files and 'processors' in one}
    if not svg or not processors:
        return ''
    return _WORKERS.format(processors=' or '.join(sorted(processors)))


def table(head, rows):
    """Return a table with the cells of *rows*, in reStructuredText."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in [head, *rows]:
        for index, cell in enumerate(row):
            lines.append(f'   {"*" if index == 0 else " "} - {cell}'.rstrip())
    return '\n'.join(lines) + '\n'


# The sections

def _floors(facts):
    rows = [row.cells(facts) for row in floors.ROWS]
    rows.insert(5, floors.rivals(facts))
    return _section(
        'What must hold, and what we are after',
        'FileStorage with fsync unless said.  Commits and bytes are those of the drain; '
        'those\nwith the put are in the table of costs.\n',
        table(('what', 'floor', 'goal', 'measured', 'holds'), rows),
        *floors.notes(facts))


def _peers(facts, charts):
    rows, jobs = [], None
    for (_system, storage, settings), found in facts.peers().items():
        first = next(iter(found.values()))
        jobs = jobs or next((one['jobs'] for one in found.values()
                             if one['measure'] == 'no-op' and 'jobs' in one), None)
        rows.append((first['title'], storage, settings,
                     *(_rate(found.get(name))
                       for name in ('put', 'bulk', 'no-op', 'effect')),
                     _percentiles(found.get('latency')),
                     _percentiles(found.get('latency'), 'call_'),
                     'yes' if first.get('together') else 'no'))
    text = _PEERS.format(jobs=number(jobs)) if jobs else ''
    head = ('system', 'storage', 'settings', 'put, one by one', 'a thousand at once',
            'no-op', 'one effect', 'latency p50, p95, ms', 'the same since the call',
            'effect and completion in one commit')
    shown = table(head, rows) if rows else 'Not measured.\n'
    failed = _failed(f'{one["system"]} on {one["storage"]}, {one["settings"]}'
                     for one in facts.failures if 'system' in one)
    return _section('Beside other queues', text, shown,
                    'Jobs a second; in brackets, as a multiple of the raw rate.\n',
                    failed, _image('peers', charts))


def _failed(what):
    """Return a list of what failed, with how often."""
    return ''.join(f'- {one}: failed in {times} {"run" if times == 1 else "runs"}.\n'
                   for one, times in collections.Counter(what).items())


def _rate(found, unit=None):
    if found is None:
        return 'not measured'
    ratio = found.get('ratio')
    beside = '' if ratio is None else f' ({number(ratio["median"])})'
    unit = unit or ''
    return number(found['value']['median']) + unit + beside


def _percentiles(found, since=''):
    if found is None or f'{since}p50' not in found:
        return 'not measured'
    return f'{number(found[f"{since}p50"])}, {number(found[f"{since}p95"])}'


def _rates(facts):
    parts = []
    for storage, title in STORAGES:
        rows = [(one.get('label', one['measure']), f'``{one["measure"]}``',
                 _rate(one, _unit(one['unit'])), _range(one), _relative(one),
                 f'{one["steady"]} of {one["runs"]}')
                for one in facts.measures(storage)]
        parts.append(f'{title}\n' + '-' * len(title) + '\n')
        parts.append(table(('what', 'measure', 'median (÷ raw)', 'min to max',
                            'beside another', 'steady'), rows)
                     if rows else 'Not measured in this run.\n')
        parts.append(_failed(f'``{one["measure"]}``' for one in facts.failures
                             if 'system' not in one and one['storage'] == storage))
    return _section('All measures', *parts)


def _unit(unit):
    return unit if unit == '/s' else f' {unit}'


def _range(found):
    return f'{number(found["value"]["min"])} to {number(found["value"]["max"])}'


def _relative(found):
    if not found.get('relative'):
        return ''
    return f'{number(found["relative"]["median"])} of ``{found["reference"]}``'


def _costs(facts):
    rows = []
    for storage, title in STORAGES:
        for one in facts.measures(storage):
            if 'cost' in one:
                rows.append((f'{title}, {one.get("label", one["measure"])}',
                             _cost(one['cost']), _cost(one.get('cost_with_put')),
                             number(one['cpu_ms']) if 'cpu_ms' in one else '',
                             number(one['loads']) if 'loads' in one else ''))
    shown = table(('what', 'commits, records, bytes', 'with the put',
                   'CPU ms', 'loads'), rows) if rows else 'Not measured.\n'
    return _section('What a job costs', shown)


def _cost(cost):
    if cost is None:
        return ''
    return ', '.join(number(round(cost[name], 3))
                     for name in ('commits', 'records', 'bytes'))


def _conditions(facts):
    rows = []
    for name, one in facts.conditions:
        versions = ', '.join(f'{what} {version}' for what, version
                             in one.get('versions', {}).items() if version)
        told = '; '.join(f'{what}: {", ".join(measures)}'
                         for what, measures in facts.told_by(name).items())
        rows.append((name, told, one.get('revision') or '', _runs(facts.runs[name]),
                     f'Python {one.get("python")}, {one.get("system")}, '
                     f'{one.get("processors")} processors', versions))
    shown = table(('results', 'of what', 'revision', 'runs', 'machine', 'versions'), rows)
    return _section('Conditions', _SEVERAL if len(facts.revisions()) > 1 else '',
                    shown if rows else 'Not measured.\n')


def _runs(counts):
    """Return how many runs were made: fewer than were planned, if they were broken off."""
    if not counts:
        return 'none'
    least, most = min(counts), max(counts)
    return str(most) if least == most else f'{least} to {most}'
