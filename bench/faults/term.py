"""Workers are stopped with SIGTERM, hung jobs and all: ``bin/py bench/faults/term.py``.

Each trial lets a worker do many jobs, of which two never end, and sends it SIGTERM.
The criterion: it has exited with 0 within the grace and five seconds; each job is
done once, or waits in line as if it had not been begun; and nobody has to be declared
dead for that.
"""
import contextlib
import os
import random
import signal
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from bench.faults import common  # noqa: E402
from bench.faults import jobs  # noqa: E402
from zc.async_.interfaces import COMPLETED  # noqa: E402
from zc.async_.interfaces import KEY  # noqa: E402
from zc.async_.interfaces import PENDING  # noqa: E402
from zc.async_.tests import servers  # noqa: E402

#: What the two do that never end.
HUNG = (jobs.hang, jobs.spin)
#: Jobs besides, and the seconds that they take at most.
OTHERS, LONGEST = 40, 0.5
#: Seconds after the signal in which a job that was claimed before may begin.
LATE = 1


def arguments(argv=None):
    """Return what the command line says."""
    parser = common.parser(__doc__)
    parser.add_argument('--grace', type=float, default=2,
                        help='of the workers, in seconds (2; by default they have 20)')
    parser.add_argument('--processes', type=int, default=0, metavar='N',
                        help='of each worker, under its supervisor')
    options = parser.parse_args(argv)
    options.limit = options.grace + 5
    return options


class Trials:
    """Trials with a worker of its own each."""

    def __init__(self, options, server, db):
        self._options = options
        self._server = server
        self._db = db

    def __call__(self, lane, number):
        """Stop one worker."""
        queue = f'q{lane}'
        calls = [(call, f'{number}.hung', {}) for call in HUNG]
        calls += [(jobs.count, f'{number}.other', {'seconds': random.uniform(0, LONGEST)})
                  for _number in range(OTHERS)]
        oids = common.put(self._db, queue, *calls)
        worker = common.Worker(
            self._server, f'worker-{lane}', '--queue', queue, '--agent', 'main:4',
            '--grace', self._options.grace, '--processes', self._options.processes,
            part='victim')
        said = len(worker.process.said())
        try:
            common.wait_until(
                lambda: len(common.events(self._server, f'{number}.hung', 'start')) == 2,
                'the jobs run')
            time.sleep(random.uniform(0, 1))
            signalled = worker.send(signal.SIGTERM)
            status = worker.process.wait()
            took = time.monotonic() - signalled
        finally:
            worker.end()
        late = [one['at'] - signalled
                for one in common.events(self._server, f'{number}.other', 'start')]
        found = {'seconds': took, 'status': status, 'last_start': max(late, default=0),
                 'complaints': worker.complaints(said), **servers.look(
                     self._db, lambda root: _left(root, queue, oids, worker.UUIDs))}
        found['wrong'] = self._wrong(found)
        self._tidy(queue)
        return found

    def _wrong(self, found):
        if found['status'] or found['seconds'] > self._options.limit:
            return f'exit with {found["status"]} after {found["seconds"]:.2f} s'
        for name in ('wrong_jobs', 'held', 'active', 'complaints'):
            if found[name]:
                return f'{name}: {found[name]}'
        if found['waiting'] < len(HUNG) or found['counted']:
            return (f'{found["waiting"]} jobs wait, {found["counted"]} interruptions '
                    f'were counted')
        if found['last_start'] > LATE:
            return f'a job began {found["last_start"]:.2f} s after the signal'
        return None

    def _tidy(self, queue):
        """Take what is left out of line: the next trial has jobs of its own."""
        def attempt():
            with self._db.transaction() as connection:
                line = connection.root()[KEY][queue]
                while len(line):
                    line.pull()
            return True

        common.wait_until(attempt, 'an empty line')


def _left(root, queue, oids, UUIDs):
    """Return what there is in the database after the worker with *UUIDs* has stopped."""
    all_jobs = [root._p_jar.get(oid) for oid in oids]
    line = root[KEY][queue]
    wrong, done, waiting, counted = [], 0, 0, 0
    for job in all_jobs:
        effects = job.args[0].count
        if job.status is COMPLETED and effects == 1 and isinstance(job.result, int):
            done += 1
        elif job.status is PENDING and effects == 0 and job in line:
            waiting += 1
            counted += _interruptions(job)
        else:
            wrong.append(f'{job!r}: {job.status}, {effects} effects, {job.result}')
    return {'done': done, 'waiting': waiting, 'counted': counted, 'wrong_jobs': wrong,
            'held': sum(len(agent) for agents in line.dispatchers.values()
                        for agent in agents.values()),
            'active': [agents.activated for agents in line.dispatchers.values()
                       if str(agents.UUID) in UUIDs and agents.activated is not None]}


def _interruptions(job):
    """Return how many interruptions the policy of *job* has counted."""
    policy = job._retry_policy
    return 0 if policy is None else policy.data.get('interruptions', 0)


def main(argv=None):
    """Run the trials; return the exit status."""
    options = arguments(argv)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(common.served(
            options.storage, [f'q{lane}' for lane in range(options.parallel)]))
        stack.enter_context(common.kept_logs(options, server.folder))
        db = stack.enter_context(servers.opened(server.uri))
        db.setPoolSize(options.parallel + 2)
        found = common.run(options.trials, options.parallel,
                           Trials(options, server, db))
    seconds = common.spread([one['seconds'] for one in found if 'seconds' in one])
    done = sum(one.get('done', 0) for one in found)
    back = sum(one.get('waiting', 0) for one in found)
    return common.conclude(
        f'SIGTERM, exit within {options.limit:g} s', options, found,
        {'seconds': seconds, 'done': done, 'waiting': back},
        [common.shown('exit after', seconds), f'{done} jobs done, {back} back in line'])


if __name__ == '__main__':
    common.main(main)
