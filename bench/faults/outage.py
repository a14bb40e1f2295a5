"""The database is away for a while: ``bin/py bench/faults/outage.py``.

Workers with jobs in all phases lose the server, which is killed, and have it back
after ten minutes, at the same port.  The criterion: no job failed for that, each effect
happened once, nobody was taken for dead, every worker works again within ten seconds of
the server's return and has done what it had in hand, and no thread was lost.
"""
import argparse
import contextlib
import os
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from bench.faults import common  # noqa: E402
from bench.faults import jobs  # noqa: E402
from zc.async_.tests import servers  # noqa: E402

#: What the jobs of the busy worker are in when the server goes: the job, its callback,
#: and until what it takes.
BUSY = {
    'body': (jobs.body_late, None, 'away'),
    'long body': (jobs.body_late, None, 'back'),
    'reading': (jobs.read_late, None, 'away'),
    'no effects': (jobs.quiet_late, None, 'away'),
    'commit': (jobs.commit_late, None, 'away'),
    'callback': (jobs.first, jobs.callback_late, 'away'),
    'long callback': (jobs.first, jobs.callback_late, 'back'),
    # last, since it keeps the others from committing
    'vote': (jobs.vote_late, None, 'away')}
#: The workers, each with a queue of that name and an agent of that size.
WORKERS = {'idle': 3, 'claim': 3, 'busy': len(BUSY)}
#: Seconds after the return of the server in which all is to be done.
LIMIT = 10


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--storage', choices=('zeo', 'postgresql'), default='zeo')
    parser.add_argument('--wait-timeout', type=float, default=30,
                        help='of the ZEO clients, in seconds (30)')
    parser.add_argument('--json', metavar='FILE', help='also write all that was found')
    parser.add_argument('--keep-logs', metavar='FOLDER',
                        help='copy the logs of all processes there')
    return parser.parse_args(argv)


class Outage:
    """One outage.  ``found`` is what became of each job."""

    def __init__(self, server, workers):
        self._server = server
        self._workers = workers
        self._oids = {}
        self.found = []

    def prepare(self):
        """Have jobs in all phases."""
        with servers.opened(self._server.uri) as db:
            for name, worker in self._workers.items():
                worker.wait_until_it_works(db, name)
            for phase, (call, callback, until) in BUSY.items():
                if phase == 'vote':
                    self._put(db, 'claim', 'claim', jobs.claimed_late, None, 'away')
                self._put(db, 'busy', phase, call, callback, until)

    def _put(self, db, queue, phase, call, callback, until):
        """Put a job and wait until it is where it is to be."""
        keywords = {'until': self._path(until)}
        if callback is not None:
            keywords['callback'] = callback
        if call is jobs.read_late:
            keywords['other'] = jobs.Cell()
        [self._oids[phase]] = common.put(db, queue, (call, phase, keywords))
        common.wait_until(lambda: common.events(self._server, phase), f'it is in {phase}')

    def _path(self, name):
        return os.path.join(self._server.folder, name)

    def happen(self, seconds):
        """Let the server be away for so long; return when it was back."""
        self._server.kill()
        self._say('away')
        time.sleep(seconds)
        for worker in self._workers.values():
            if not worker.process.running:
                raise AssertionError(f'{worker.name} ended:\n{worker.process.said()}')
        self._server.start()
        back = time.monotonic()
        self._say('back')
        return back

    def _say(self, name):
        with open(self._path(name), 'w', encoding='ascii'):
            pass

    def recover(self, back):
        """Wait until all is done; return the seconds until each worker worked."""
        with servers.opened(self._server.uri) as db:
            working = {}
            for name in ('idle', 'claim'):
                common.put(db, name, (jobs.count, f'after {name}', {}))
            left = dict(self._oids)
            common.wait_until(lambda: self._settle(db, left, back), 'all jobs are done',
                              seconds=120)
            for name in ('idle', 'claim'):
                [begun] = common.wait_until(
                    lambda: common.events(self._server, f'after {name}', 'start'),
                    f'{name} works')
                working[name] = begun['at'] - back
            self._meet(db)
        working['busy'] = min(one['seconds'] for one in self.found
                              if one['phase'] != 'claim')
        return working

    def _settle(self, db, left, back):
        """Take those that are done out of *left*; return whether all are."""
        for phase, oid in list(left.items()):
            one = common.describe(db, oid)
            if one['done']:
                del left[phase]
                seconds = time.monotonic() - back
                self.found.append({'phase': phase, 'seconds': seconds, 'job': one,
                                   'wrong': _wrong(phase, one, seconds)})
        return not left

    def _meet(self, db):
        """See that each worker does as many jobs at a time as it should."""
        for name, size in WORKERS.items():
            oids = common.put(db, name, *(
                (jobs.meet, f'meeting of {name}', {'count': size}) for _n in range(size)))
            common.wait_until(lambda: all(
                common.describe(db, oid)['done'] for oid in oids),
                f'{size} jobs run at a time in {name}')


def _wrong(phase, job, seconds):
    effects = 0 if phase == 'no effects' else 1
    if job['failed'] or job['effects'] != effects:
        return f'in {phase}: {job}'
    if seconds > LIMIT:
        return f'in {phase}: done {seconds:.2f} s after the return'
    return None


def _all(options, server, stack):
    """Return what was found of the jobs, of the workers, and what these said."""
    workers = {}
    for name, size in WORKERS.items():
        workers[name] = common.Worker(
            server, name, '--queue', name, '--agent',
            f'main:{size}:bench.faults.jobs.late_claims')
        stack.callback(workers[name].end)
    one = Outage(server, workers)
    one.prepare()
    working = one.recover(one.happen(60 * options.minutes))
    said = {name: worker.process.said() for name, worker in workers.items()}
    found = one.found
    for name, seconds in working.items():
        found.append({'worker': name, 'seconds': seconds, 'wrong': seconds > LIMIT and (
            f'{name} worked again after {seconds:.2f} s')})
    for name, text in said.items():
        dead = [line for line in text.splitlines()
                if 'takes over its jobs' in line or 'taken for dead' in line]
        found.append({'worker': name, 'said': len(text), 'wrong': dead})
    complaints = {name: worker.complaints() for name, worker in workers.items()}
    return found, working, complaints


def main(argv=None):
    """Have an outage; return the exit status."""
    options = arguments(argv)
    common.Zeo.wait_timeout = options.wait_timeout
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(common.served(options.storage, list(WORKERS)))
        stack.enter_context(common.kept_logs(options, server.folder))
        found, working, complaints = _all(options, server, stack)
    seconds = common.spread([one['seconds'] for one in found if 'phase' in one])
    return common.conclude(
        f'{options.minutes:g} minutes without the database', options, found,
        {'seconds': seconds, 'working': working, 'complaints': complaints},
        [common.shown('jobs done after its return', seconds),
         'workers work after ' + ', '.join(
             f'{name} {value:.2f} s' for name, value in working.items()),
         f'{sum(map(len, complaints.values()))} errors logged'])


if __name__ == '__main__':
    common.main(main)
