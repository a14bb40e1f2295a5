"""The charts of the page: name of the file -> (title for readers, SVG or None)."""
from bench import chart
from bench.publishing.facts import spread

BACKLOGS = (('backlog-1k', 1000), ('backlog-10k', 10_000), ('backlog-100k', 100_000),
            ('backlog-1m', 1_000_000))
STORAGES = (('filestorage', 'FileStorage'), ('zeo', 'ZEO'),
            ('relstorage', 'RelStorage/SQLite'), ('postgresql', 'RelStorage/PostgreSQL'))
KINDS = (('no-op', 'no-op'), ('effect', 'one effect'), ('cpu', 'CPU-bound'),
         ('io', 'I/O-bound'))
WORKERS = (1, 2, 4, 8)


def all_charts(facts):
    """Return the charts that *facts* tell; None for one that they do not."""
    return {'latency': ('From a commit to the start of the job, idle system',
                        latency(facts)),
            'peers': ('Jobs a second beside peers, durable settings', peers(facts)),
            'backlog': ('Jobs a second by the number that wait', backlog(facts)),
            'workers': ('Jobs a second by worker processes, over ZEO', workers(facts))}


def latency(facts):
    rows = [(f'{title}, {where}', [('p50', found['p50']), ('p95', found['p95'])])
            for storage, title in STORAGES
            for measure, where in (('latency', 'same process'),
                                   ('remote latency', 'another'))
            if (found := facts.get(storage, measure)) and 'p50' in found]
    return rows and chart.bars('Commit to start', 'ms (logarithmic)', rows, log_x=True)


def peers(facts):
    rows = []
    for (_system, _storage, settings), found in facts.peers().items():
        values = [(label, spread(found.get(measure), 'value')) for measure, label
                  in (('no-op', 'no-op'), ('effect', 'one effect'))]
        if settings == 'durable' and any(value for _label, value in values):
            rows.append((next(iter(found.values()))['title'], values))
    return rows and chart.bars('One worker process each', 'jobs/s', rows)


def backlog(facts):
    series = [(title, points) for storage, title in STORAGES if (points := [
        (found.get('backlog', size), spread(found, 'value')) for measure, size in BACKLOGS
        if (found := facts.get(storage, measure))])]
    return series and chart.lines('The first of a backlog', 'jobs that wait (logarithmic)',
                                  'jobs/s', series, log_x=True)


def workers(facts):
    series = [(title, points) for kind, title in KINDS if (points := [
        (number, value) for number in WORKERS
        if (value := spread(facts.get('zeo', f'workers-{kind}-{number}'), 'value'))])]
    return series and chart.lines(
        'Several processes, over ZEO', 'worker processes (logarithmic)',
        'jobs/s (logarithmic)', series, log_x=True, log_y=True)
