"""Workers and the server are killed while jobs are done: ``bin/py bench/faults/kill.py``.

The long form of ``zc.async.tests.faults.test_killloop``: round after round, each
with a fresh database and a seed of its own, until there were as many kills and
jobs as wanted.  After each round clean workers finish what is left, and a checker
compares the database with what all processes have noted.  The criterion: no job
is lost or left unfinished, none is there that nobody put, and each effect and each
callback happened once.

A round with problems keeps its folder, with the database, the histories and the
logs; its seed makes the same plan again.
"""
import argparse
import collections
import json
import os
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from zc.async_.tests import servers  # noqa: E402
from zc.async_.tests.faults import killloop  # noqa: E402
from zc.async_.tests.faults import mutants  # noqa: E402

#: Kills of workers in a round: a database of some thousand jobs.
ROUND = 100
#: What is added up over the rounds.
FIGURES = ('jobs', 'acknowledged', 'recovered', 'starts', 'reruns', 'retries',
           'interrupted', 'rerun from the parked', 'lost answers')


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--storage', choices=('zeo', 'postgresql'), default='zeo')
    parser.add_argument('--kills', type=int, default=100, metavar='N',
                        help='SIGKILLs of workers, at least (100)')
    parser.add_argument('--server-kills', type=int, default=10, metavar='N',
                        help='of the ZEO server, or connections that PostgreSQL ends (10)')
    parser.add_argument('--jobs', type=int, default=10_000, metavar='N',
                        help='that were put, at least (10000)')
    parser.add_argument('--seed', default='1', help='of the first round (1)')
    parser.add_argument('--workers', type=int, default=3, metavar='N')
    parser.add_argument('--producers', type=int, default=2, metavar='N')
    parser.add_argument('--batch', type=int, default=50, metavar='N',
                        help='jobs in a commit of the first producer, at most (50)')
    parser.add_argument('--backlog', type=int, default=150, metavar='N',
                        help='jobs in line, about (150)')
    parser.add_argument('--mutant', choices=sorted(mutants.TABLE), metavar='NAME',
                        help='break the product like this: there must be problems')
    parser.add_argument('--round', type=int, default=ROUND, metavar='N',
                        help=f'kills in a round ({ROUND})')
    parser.add_argument('--gap', type=float, default=0.25, metavar='SECONDS',
                        help='between two strikes, on average (0.25)')
    parser.add_argument('--time-limit', type=float, default=3600, metavar='SECONDS',
                        help='after which no round is begun (3600)')
    parser.add_argument('--json', metavar='FILE',
                        help='append the report of each round and of all to it')
    return parser.parse_args(argv)


class Campaign:
    """Rounds, and what came of them together."""

    def __init__(self, options):
        self._options = options
        self._count = max(1, -(-options.kills // options.round))
        self.strikes = collections.Counter()
        self.figures = collections.Counter()
        self.problems = collections.Counter()

    def run(self):
        """Play all rounds; return whether there were no problems."""
        began = time.monotonic()
        number = 0
        while number < self._count:
            if time.monotonic() - began > self._options.time_limit:
                self.problems['out of time'] += 1
                break
            number += 1
            self._add(number, killloop.play(self._settings(number)))
        self._tell({
            'kind': 'summary', 'options': vars(self._options), 'rounds': number,
            'strikes': dict(self.strikes), 'figures': dict(self.figures),
            'problems': dict(self.problems),
            'minutes': round((time.monotonic() - began) / 60, 1)})
        return not self.problems

    def _settings(self, number):
        options = self._options
        settings = killloop.Settings(
            storage=options.storage, kills=self._share(options.kills),
            server_kills=self._share(options.server_kills),
            jobs=self._share(options.jobs), seed=f'{options.seed}.{number}',
            workers=options.workers, producers=options.producers,
            batch=options.batch, backlog=options.backlog,
            mutant=options.mutant, mean=options.gap, time_limit=1200)
        if options.storage == 'postgresql':
            name = f'kill_{os.getpid()}_{number}'
            settings.uri = servers.PostgreSQL.database(name)
            settings.dsn = servers.PostgreSQL.dsn(name)
        return settings

    def _share(self, whole):
        return -(-whole // self._count)

    def _add(self, number, report):
        self.strikes.update(report['strikes'])
        self.figures.update({name: report['figures'].get(name, 0) for name in FIGURES})
        self.problems.update({name: len(those)
                              for name, those in report['problems'].items()})
        self._tell({'kind': 'round', **report})
        print(f'round {number} of {self._count}: {report["figures"].get("jobs")} jobs, '
              f'{report["strikes"].get("kill", 0)} kills in {report["seconds"]} s; '
              f'problems: {report["problems"] or "none"}'
              + (f'; see {report["folder"]}' if 'folder' in report else ''), flush=True)

    def _tell(self, report):
        if report['kind'] == 'summary':
            print(json.dumps(report, indent=1))
        if self._options.json:
            with open(self._options.json, 'a', encoding='utf-8') as file:
                file.write(f'{json.dumps(report)}\n')


def main(argv=None):
    """Play a campaign.  0: there were no problems."""
    options = arguments(argv)
    if options.storage == 'zeo':
        return 0 if Campaign(options).run() else 1
    servers.PostgreSQL.setUp()
    try:
        if servers.PostgreSQL.missing:
            raise SystemExit(servers.PostgreSQL.missing)
        return 0 if Campaign(options).run() else 1
    finally:
        servers.PostgreSQL.tearDown()


if __name__ == '__main__':
    sys.exit(main())
