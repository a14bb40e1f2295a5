"""Workers are killed in the middle of jobs: ``bin/py bench/faults/death.py``.

Each trial puts jobs for a worker, kills it with SIGKILL when they run, and sees
them run again elsewhere.  The criterion: each job has begun again within the death
interval, one poll and five seconds, and its effect happened once.  With
``--restart`` nobody else is there, and the killed one is started again at once;
the criterion grows by the time that the start of a worker takes.
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
from zc.async_.tests import servers  # noqa: E402

#: Jobs in each trial: in the slots of the victim, and one that waits behind them.
CALLS = (jobs.hang, jobs.spin, jobs.hang)
SLOTS = 2
#: Seconds that a restarted worker may take to start.
START = 5


def arguments(argv=None):
    """Return what the command line says."""
    parser = common.parser(
        __doc__, storages=('zeo', 'postgresql', 'sqlite', 'file'))
    parser.add_argument('--death-interval', type=float, default=2)
    parser.add_argument('--ping-interval', type=float, default=0.5)
    parser.add_argument('--poll-interval', type=float, default=1)
    parser.add_argument('--one-queue', action='store_true',
                        help='all victims are in one queue, and killed together')
    parser.add_argument('--restart', action='store_true',
                        help='no heir: the killed one is started again at once')
    options = parser.parse_args(argv)
    options.limit = options.death_interval + options.poll_interval + 5
    options.pace = common.pace(
        options.poll_interval, options.ping_interval, options.death_interval)
    if options.storage == 'file':
        options.parallel = 1
        if not options.restart:
            parser.error('a FileStorage has no second process; add --restart')
    return options


class Trials:
    """Trials with one heir for the victims of all lanes."""

    def __init__(self, options, server, db):
        self._options = options
        self._server = server
        self._db = db

    def queue(self, lane):
        """Return the name of the lane's queue."""
        return '' if self._options.one_queue else f'q{lane}'

    def victim(self, lane, part='victim'):
        """Return a worker of the lane; it has the same identity each time."""
        return common.Worker(
            self._server, f'victim-{lane}', '--queue', self.queue(lane),
            '--agent', f'main:{SLOTS}', part=part, pace=self._options.pace)

    def put(self, lane, number, victim):
        """Put the jobs of a trial and wait until the slots are full."""
        victim.wait_until_it_works(self._db, self.queue(lane))
        oids = common.put(self._db, self.queue(lane), *(
            (call, f'{number}.{place}', {'owner': victim.UUID})
            for place, call in enumerate(CALLS)))
        common.wait_until(lambda: self.begun(number, victim.pid) >= SLOTS,
                          'the jobs run', look=0.02)
        return oids

    def begun(self, number, pid=None, other=None):
        """Return how many jobs of a trial began in the process *pid*, not in *other*."""
        return len([one for one in self._starts(number)
                    if pid in (None, one['pid']) and one['pid'] != other])

    def _starts(self, number):
        return [one for place in range(len(CALLS))
                for one in common.events(self._server, f'{number}.{place}', 'start')]

    def __call__(self, lane, number):
        """Kill one victim."""
        victim = self.victim(lane)
        try:
            oids = self.put(lane, number, victim)
            time.sleep(random.uniform(0, self._options.poll_interval))
            early = self.begun(number, other=victim.pid)
            killed = victim.send(signal.SIGKILL)
            victim.process.wait()
            return self.outcome(number, victim, oids, killed, early)
        finally:
            victim.end()

    def outcome(self, number, victim, oids, killed, early=0, limit=None):
        """Wait until all is done elsewhere; return what was found."""
        limit = limit or self._options.limit
        common.wait_until(
            lambda: self.begun(number, other=victim.pid) >= len(CALLS),
            'all jobs began again', limit + common.PATIENCE)
        jobs_found = common.wait_until(lambda: self._done(oids), 'all jobs are done')
        seconds = [one['at'] - killed for one in self._starts(number)
                   if one['pid'] != victim.pid]
        return {'seconds': max(seconds), 'jobs': jobs_found,
                'wrong': _wrong(max(seconds), limit, jobs_found, early)}

    def _done(self, oids):
        found = [common.describe(self._db, oid) for oid in oids]
        return found if all(one['done'] for one in found) else None


def _wrong(seconds, limit, found, early):
    if early:
        return f'{early} jobs were taken over while the victim lived'
    for one in found:
        if one['failed'] or one['effects'] != 1:
            return f'a job ended with {one}'
    if [one['attempts'] for one in found] != [2] * SLOTS + [1] * (len(CALLS) - SLOTS):
        return f'attempts at jobs: {[one["attempts"] for one in found]}'
    if seconds > limit:
        return f'the last job began again after {seconds:.2f} s'
    return None


class Together(Trials):
    """Rounds in which the victims of all lanes, in one queue, are killed at once."""

    def round(self, first, lanes):
        """Kill a victim in each lane; return what was found."""
        with contextlib.ExitStack() as stack:
            victims = [self.victim(lane) for lane in range(lanes)]
            for victim in victims:
                stack.callback(victim.end)
            # one after the other, so that each has jobs that are for it
            put = [self.put(lane, first + lane, victim)
                   for lane, victim in enumerate(victims)]
            killed = [victim.send(signal.SIGKILL) for victim in victims]
            return [dict(self.outcome(first + lane, victim, oids, at), number=first + lane)
                    for lane, (victim, oids, at) in enumerate(zip(victims, put, killed))]

    def victim(self, lane, part='victim'):
        return common.Worker(
            self._server, f'victim-{lane}', '--agent',
            f'main:{SLOTS}:bench.faults.jobs.for_me', part=part, pace=self._options.pace)


class Restarts(Trials):
    """Trials in which the killed worker itself is the heir.

    The database is opened only between processes: a FileStorage has one.
    """

    def __call__(self, lane, number):
        queue = self.queue(lane)
        with servers.opened(self._server.uri) as db:
            oids = common.put(db, queue, *(
                (call, f'{number}.{place}', {}) for place, call in enumerate(CALLS)))
        victim = self.victim(lane)
        try:
            common.wait_until(lambda: self.begun(number, victim.pid) >= SLOTS,
                              'the jobs run', look=0.02)
            time.sleep(random.uniform(0, self._options.poll_interval))
            killed = victim.send(signal.SIGKILL)
            victim.process.wait()
        finally:
            victim.end()
        return self._after(lane, number, victim, oids, killed)

    def _after(self, lane, number, victim, oids, killed):
        """Start the victim again; wait until all is done by it."""
        again = self.victim(lane, part='heir')
        try:
            common.wait_until(
                lambda: self.begun(number, again.pid) >= len(CALLS),
                'all jobs began again', self._options.limit + common.PATIENCE)
            again.send(signal.SIGTERM)
            again.process.wait()
        finally:
            again.end()
        with servers.opened(self._server.uri) as self._db:
            return self.outcome(number, victim, oids, killed,
                                limit=self._options.limit + START)


def _all(options, server, db):
    """Return what all trials found."""
    if options.restart:
        return common.run(options.trials, options.parallel,
                          Restarts(options, server, None))
    heir = common.Worker(
        server, 'heir', '--agent', 'main:40:bench.faults.jobs.left_over',
        part='heir', pace=options.pace)
    try:
        if not options.one_queue:
            trials = Trials(options, server, db)
            heir.wait_until_it_works(db, trials.queue(0))
            return common.run(options.trials, options.parallel, trials)
        heir.wait_until_it_works(db, '')
        found, together = [], Together(options, server, db)
        while len(found) < options.trials:
            found += together.round(len(found), options.parallel)
        return found
    finally:
        heir.end()


def main(argv=None):
    """Run the trials; return the exit status."""
    options = arguments(argv)
    queues = [''] if options.one_queue else [f'q{lane}' for lane in range(options.parallel)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(common.served(options.storage, queues))
        stack.enter_context(common.kept_logs(options, server.folder))
        db = None if options.restart else stack.enter_context(servers.opened(server.uri))
        if db is not None:
            db.setPoolSize(options.parallel + 2)
        found = _all(options, server, db)
    seconds = common.spread([one['seconds'] for one in found if 'seconds' in one])
    kind = 'restart after' if options.restart else 'take-over after'
    return common.conclude(
        f'{kind} SIGKILL within {options.limit + START * options.restart:g} s', options,
        found, {'seconds': seconds}, [common.shown('begun again after', seconds)])


if __name__ == '__main__':
    common.main(main)
