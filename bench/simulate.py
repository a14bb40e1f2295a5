"""Simulate many workers on one database: ``bin/py bench/simulate.py``.

What things cost is in ``bench/simulation/costs.json``; ``--calibrate`` measures it
here, and ``--check FILE`` holds the simulation against real runs on this machine,
which ``--measure FILE`` makes.  ``--all FILE`` does all three, and writes the tables of
docs/scaling.rst.  These take minutes; predicting does not.
"""
import argparse
import json
import os
import signal
import sys

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.simulation import costs as known  # noqa: E402
from bench.simulation import world  # noqa: E402
from bench.simulation.tables import placed  # noqa: E402
from bench.simulation.tables import tables as tables_of  # noqa: E402
from bench.simulation.workers import Policy  # noqa: E402
from bench.simulation.workers import Work  # noqa: E402

KINDS = ('zeo', 'postgresql')
#: Jobs that a calibration has done at least: with fewer, most is done for the first time.
CALIBRATED = 1500
#: The page that has tables of what is found.
PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                    'docs', 'scaling.rst')
COLUMNS = (('jobs/s', 'rate', '.0f'), ('commits/s', 'commits_per_s', '.0f'),
           ('commits/job', 'commits_per_job', '.2f'),
           ('loads/s', 'loads_per_s', '.0f'),
           ('conflicts/turn', 'conflicts_per_turn', '.1%'),
           ('CPU ms/job', 'cpu_ms_per_job', '.1f'),
           ('server cores', 'server_cores', '.1f'), ('lock held', 'locked', '.0%'))


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--storage', type=_names, default=KINDS, help='zeo,postgresql')
    add('--costs', metavar='FILE', default=known.PATH, help='another file of costs')
    add('--calibrate', action='store_true', help='measure the costs; minutes')
    add('--measure', metavar='FILE', help='make real runs, add them to FILE; minutes')
    add('--check', metavar='FILE', help='predict what FILE has, and print both')
    add('--all', metavar='FILE', help='calibrate, measure anew, check, and write the '
        'tables of the page; half an hour or more')
    add('--tables', metavar='FILE', help='write the tables of the page, of the costs and '
        'of what FILE has')
    add('--page', metavar='FILE', default=PAGE, help='another page for the tables')
    add('--processes', type=_numbers, default=(1, 2, 4, 8), help='of real runs')
    add('--runs', type=int, default=3, help='of each, of which the medians count (3)')
    add('--jobs', type=int, default=1500, help='of real runs and of a calibration')
    add('--workers', type=_numbers, default=(1, 10, 100, 1000), help='to simulate')
    add('--size', type=int, default=10, help='of the agents (10)')
    add('--cores', type=float, help='of the workers together; one each by default')
    add('--server-cores', type=float, default=16.0, help='of the server (16)')
    add('--idle-clients', type=int, default=0)
    add('--effect', action='store_true', help='each job changes one object')
    add('--job-seconds', type=float, default=0.0, help='that a job waits outside')
    add('--job-cpu', type=float, default=0.0, help='seconds that a job computes')
    add('--rate', type=float, default=0.0,
        help='jobs put a second, instead of a backlog without end')
    add('--quota', type=int, help='size of a quota that all jobs share')
    add('--oldest', action='store_true', help='what if: no process has own shards')
    add('--one-by-one', action='store_true', help='what if: a claim loads in many trips')
    add('--neighbour-loads', type=float, default=Policy.neighbour_loads,
        help='what if: loads of a poll for each other process')
    add('--poll', type=float, default=Policy.poll, help='seconds between polls')
    add('--speed', type=float, default=1.0, help='of machines and disks, beside here')
    add('--seconds', type=float, default=20.0, help='to simulate')
    options = parser.parse_args(argv)
    if options.all:
        options.calibrate = True
        options.measure = options.check = options.tables = options.all
    return options


def _names(text):
    names = tuple(text.split(','))
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f'{name!r} is not one of {", ".join(KINDS)}')
    return names


def _numbers(text):
    return tuple(int(word) for word in text.split(','))


def planned(options, workers):
    """Return the `world.Plan` of *workers* processes that the command line asks for."""
    policy = Policy(size=options.size, oldest=options.oldest,
                    prefetch=not options.one_by_one,
                    neighbour_loads=options.neighbour_loads, poll=options.poll)
    work = Work(cpu=options.job_cpu, outside=options.job_seconds,
                effect=options.effect, quota=options.quota)
    return world.Plan(
        workers=workers, cores=options.cores or float(workers + 1),
        server_cores=options.server_cores, idle_clients=options.idle_clients,
        rate=options.rate, seconds=options.seconds, work=work, policy=policy,
        # not all in step: processes are started one after the other
        spread=min(Policy.poll, 0.05 * workers))


def predict(options, costs):
    """Print what so many workers would do."""
    for kind in options.storage:
        found = costs[kind].scaled(1 / options.speed)
        print(kind)
        print(f'{"workers":>9}' + ''.join(f'{title:>16}' for title, *_rest in COLUMNS))
        for workers in options.workers:
            result = world.simulate(found, planned(options, workers))
            print(f'{workers:>9}' + ''.join(
                f'{format(result[name], spec):>16}' for _title, name, spec in COLUMNS),
                flush=True)


def measure(options):
    """Make real runs and add them to a file."""
    from bench.simulation import check
    with open(options.measure, 'w' if options.all else 'a', encoding='utf-8') as file:
        def write(result):
            print(json.dumps(result), file=file, flush=True)
            print(f'{result["storage"]} {result["subject"]} {result["processes"]}: '
                  f'{result["rate"]:.0f}/s', flush=True)

        for _number in range(options.runs):
            for kind in options.storage:
                check.measure(
                    kind, options.processes, options.jobs, options.size, 1.0, write)


def main(argv=None):
    """Do what the command line *argv* says."""
    options = arguments(argv)
    if options.calibrate or options.measure:
        # as Ctrl-C does: the blocks end, and with them servers and folders
        signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    if options.calibrate:
        from bench.simulation.calibrate import calibrate
        for kind in options.storage:
            found, conditions = calibrate(kind, jobs=max(options.jobs, CALIBRATED))
            known.save(conditions, {kind: found}, options.costs)
    if options.measure:
        measure(options)
    _tell(options)


def _tell(options):
    """Print or write what is known."""
    from bench.simulation import check
    conditions, costs = known.load(options.costs)
    if options.check:
        print('\n'.join(check.table(costs, check.read(options.check))))
    if options.tables:
        write_tables(options, tables_of(conditions, costs, check.read(options.tables)))
    if not (options.calibrate or options.measure or options.check or options.tables):
        predict(options, costs)


def write_tables(options, made):
    """Put the tables *made* into the page."""
    with open(options.page, encoding='utf-8') as file:
        text = placed(file.read(), made)
    with open(options.page, 'w', encoding='utf-8') as file:
        file.write(text)


if __name__ == '__main__':
    main()
