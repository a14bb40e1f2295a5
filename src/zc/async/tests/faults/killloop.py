"""The kill loop: real processes, killed and stopped while jobs are put and done.

``python -m zc.async.tests.faults.killloop --help`` runs one round of it.  Two
producers put tasks, three workers do them, and a nemesis kills them and the
server; in the end clean workers finish what is left, and the checker compares the
database with the history.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from . import actors
from . import checker
from . import history
from .cast import Cast
from .cast import GaveUp
from .nemesis import Nemesis
from .nemesis import plan
from .session import LOOK


@dataclasses.dataclass
class Settings:
    """What one round is to be."""

    storage: str = 'zeo'
    kills: int = 15           # of workers
    server_kills: int = 4     # or, on PostgreSQL, connections that it ends
    jobs: int = 300           # at least
    seed: str = '1'
    workers: int = 3
    producers: int = 2
    mutant: str = None        # of `mutants`, in every process
    time_limit: float = 300   # seconds for all of it
    drain_limit: float = 90   # and for what is left in the end
    mean: float = 0.4         # seconds between two strikes
    size: int = 10            # of an agent
    death: float = actors.DEATH  # seconds of silence that mean death
    hit: str = None           # one of `nemesis.HITS`: in which commits the server ends
    strikes: str = None       # kinds, with commas, instead of a plan by the seed
    batch: int = 50           # tasks in a commit, at most
    backlog: int = 150        # jobs in line, about
    poison: int = 1           # tasks that kill whoever runs them
    kinds: dict = None        # shares of the kinds of tasks; None: as `work` says
    uri: str = None           # of the PostgreSQL database
    dsn: str = None           # of it, as libpq says


class KillLoop:
    """One round in *folder*; `run` returns the report.  Forks: no thread may run."""

    def __init__(self, settings, folder):
        self.settings = settings
        self.folder = folder
        self.cast = Cast(settings, folder)

    def run(self):
        """Play the round; return what came of it, as plain data."""
        began = struck = time.monotonic()
        with self.cast.stage:
            try:
                self._begin()
                self._strike()
                struck = time.monotonic()
                self._calm_down()
                self._drain()
                self._count()
            except GaveUp as error:
                self.cast.problems['gave up'].append(str(error))
        return self._report(struck - began, time.monotonic() - began)

    def _begin(self):
        self.cast.serve()
        self.cast.do('prepare', uri=self.cast.uri)
        for number in range(self.settings.producers):
            self.cast.produce(f'p{number + 1}')
        for number in range(self.settings.workers):
            self.cast.work(f'w{number + 1}')

    def _strike(self):
        nemesis = Nemesis(self.cast)
        self.cast.until(lambda: any(map(self.cast.at_work, self.cast.workers)))
        for strike in plan(self.settings):
            nemesis.strike(strike)
        while self.cast.acknowledged() < self.settings.jobs:
            self.cast.pass_time(5 * LOOK)

    def _calm_down(self):
        """Let nobody put any more, and the workers end in order."""
        self.cast.settle()
        self.cast.stopping = True
        self.cast.raise_flag(actors.STOP)
        self.cast.wait_for(self.cast.producers)
        self._end_workers()

    def _drain(self):
        self.cast.stopping = False
        for name in ('clean1', 'clean2'):
            self.cast.work(name, size=self._drain_size())
        if self.cast.do('drain', uri=self.cast.uri, seconds=self.settings.drain_limit):
            self.cast.problems['not drained'].append('see the logs of clean1 and clean2')
            for worker in self.cast.workers:
                self.cast.stage.send(worker, signal.SIGUSR1)  # it tells what it does
        self._end_workers()

    def _drain_size(self):
        """Return a size with which jobs that wait for others leave room for these.

        PostgreSQL has but so many connections.
        """
        return self.settings.size * (5 if self.settings.storage == 'zeo' else 2)

    def _end_workers(self):
        self.cast.stopping = True
        workers = self.cast.workers
        for worker in workers:
            self.cast.stage.send(worker, signal.SIGTERM)
        self.cast.wait_for(workers)

    def _count(self):
        server = self.cast.server
        if server is None:
            self.cast.do('census', uri=self.cast.uri)
            return
        self.cast.stage.send(server, signal.SIGTERM)
        self.cast.wait_for([server])
        self.cast.do('census', path=self.cast.data)

    def _report(self, struck, whole):
        problems, figures = dict(self.cast.problems), {}
        try:
            with open(os.path.join(self.folder, 'census')) as file:
                found = checker.Checker(history.read(self.folder), json.load(file))
        except FileNotFoundError:
            problems['no census'] = ['see the logs of the actors']
        else:
            problems.update(found.problems())
            figures = {**found.figures(), **self._told()}
        return {'settings': dataclasses.asdict(self.settings), 'problems': problems,
                'strikes': dict(self.cast.counts), 'figures': figures,
                'last words': self.cast.last_words,
                'seconds': round(whole, 1), 'seconds of strikes': round(struck, 1),
                'processor seconds': {role: round(cost, 1) for role, cost
                                      in sorted(self.cast.stage.cost.items())}}

    def _told(self):
        """Return how often what workers have told of."""
        logs = [file.read_text(errors='replace')
                for file in pathlib.Path(self.folder).glob('*.log')]
        return {name: sum(log.count(text) for log in logs) for name, text in (
            ('taken for dead', 'was taken for dead'), ('reassigned', ' was reassigned'))}


def play(settings, folder=None, keep=False, round=KillLoop):
    """Play one *round* in a *folder*, made if need be; return the report.

    The folder is removed unless there were problems or *keep*.
    """
    folder = folder or tempfile.mkdtemp(prefix='zc.async-kill-')
    report = round(settings, folder).run()
    if keep or report['problems']:
        report['folder'] = folder
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def add_arguments(parser):
    """Let *parser* know the settings."""
    for field in dataclasses.fields(Settings):
        kind = {str: str, int: int, float: float, dict: json.loads}[field.type]
        parser.add_argument(f'--{field.name.replace("_", "-")}', type=kind,
                            default=field.default, metavar=field.type.__name__.upper())


def _round(scene):
    if scene is None:
        return KillLoop
    from .scenes import SCENES
    return SCENES[scene]


def main(argv=None):
    """Play one round; print the report as JSON.  0: there are no problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument('--folder')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('--scene', help='one of `scenes`, instead of a plan')
    said = vars(parser.parse_args(argv))
    folder, keep, scene = said.pop('folder'), said.pop('keep'), said.pop('scene')
    report = play(Settings(**said), folder, keep, _round(scene))
    print(json.dumps(report, indent=1))
    return 1 if report['problems'] else 0


if __name__ == '__main__':
    sys.exit(main())
