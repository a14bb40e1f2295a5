"""Workers are stopped past their death: ``bin/py bench/faults/stopped.py``.

In each trial a worker is stopped with SIGSTOP in the middle of something, long
enough that another one takes its job over and does it; then it goes on.  The
criterion: the effect of the job happened once, the late one logs no more than one
error about the job, and does its next job at once.

One that is stopped between the vote and the end of its commit keeps all others from
committing, on every storage.  So nobody can take over from it, and what it does then
is to be done when it goes on; these trials (``--phase vote``) are apart.
"""
import contextlib
import itertools
import os
import signal
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from bench.faults import common  # noqa: E402
from bench.faults import jobs  # noqa: E402
from zc.async_.tests import servers  # noqa: E402

#: Where a worker can be stopped: the job, and its callback.
PHASES = {
    'claim': (jobs.claimed, None),
    'body': (jobs.in_body, None),
    'commit': (jobs.in_commit, None),
    'callback': (jobs.in_callback, jobs.called_back),
    'vote': (jobs.in_vote, None)}
#: Those where others can commit meanwhile.
FREE = tuple(PHASES)[:-1]
#: Errors that the late one is to log, in each phase.
ERRORS = {'claim': 0, 'body': 1, 'commit': 1, 'callback': 1, 'vote': 0}
#: Seconds for which one is stopped from whom nobody can take over.
PAST = 4
PACE = common.pace(1, 0.5, 2)
#: Seconds within which the late one has to do its next job.
LIMIT = 5


def arguments(argv=None):
    """Return what the command line says."""
    parser = common.parser(__doc__)
    parser.add_argument('--phase', choices=(*PHASES, 'all'), default='all',
                        help=f'by default {", ".join(FREE)} in turn')
    options = parser.parse_args(argv)
    if options.phase == 'vote':
        options.parallel = 1
    return options


class Trials:
    """Trials with one victim in each lane, which lives through all of its trials."""

    def __init__(self, options, server, db, victims):
        self._server = server
        self._db = db
        self._victims = victims
        self._phases = itertools.cycle(FREE if options.phase == 'all' else [options.phase])

    def __call__(self, lane, number):
        """Stop the victim of the lane once."""
        phase, victim, queue = next(self._phases), self._victims[lane], f'q{lane}'
        victim.wait_until_it_works(self._db, queue)
        said = len(victim.process.said())
        call, callback = PHASES[phase]
        keywords = {'owner': victim.UUID}
        if callback is not None:
            keywords['callback'] = callback
        [oid] = common.put(self._db, queue, (call, str(number), keywords))
        try:
            common.wait_until(lambda: victim.stopped, f'stopped in its {phase}')
            if phase == 'vote':
                time.sleep(PAST)
            else:
                common.wait_until(lambda: self._other(number, victim), 'another begins it')
                common.wait_until(lambda: self._done(oid), 'another does it')
        finally:
            went_on = victim.send(signal.SIGCONT)
        next_after = self._next_job(lane, number, victim, went_on)
        job = common.describe(self._db, oid)
        errors = [line for line in victim.complaints(said) if ' CRITICAL ' not in line]
        return {'phase': phase, 'next_after': next_after, 'job': job,
                'errors': errors, 'said': victim.complaints(said),
                'wrong': _wrong(phase, next_after, job, errors)}

    def _other(self, number, victim):
        return [one for one in common.events(self._server, str(number), 'start')
                if one['pid'] != victim.pid]

    def _done(self, oid):
        return common.describe(self._db, oid)['done']

    def _next_job(self, lane, number, victim, went_on):
        """Let the victim do another job; return the seconds until it began."""
        trial = f'{number}.next'
        [oid] = common.put(self._db, f'q{lane}', (
            jobs.probe, trial, {'owner': victim.UUID}))
        common.wait_until(lambda: self._done(oid), 'the late one does its next job')
        [begun] = common.events(self._server, trial, 'start')
        if begun['pid'] != victim.pid:
            raise AssertionError('the next job was done by another')
        return begun['at'] - went_on


def _wrong(phase, next_after, job, errors):
    if job['failed'] or not job['done'] or job['effects'] != 1:
        return f'stopped in its {phase}: the job is {job}'
    if len(errors) != ERRORS[phase]:
        return f'stopped in its {phase}: {len(errors)} errors were logged: {errors}'
    if next_after > LIMIT:
        return f'stopped in its {phase}: the next job began after {next_after:.2f} s'
    return None


def main(argv=None):
    """Run the trials; return the exit status."""
    options = arguments(argv)
    lanes = range(options.parallel)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            common.served(options.storage, [f'q{lane}' for lane in lanes]))
        stack.enter_context(common.kept_logs(options, server.folder))
        db = stack.enter_context(servers.opened(server.uri))
        db.setPoolSize(options.parallel + 2)

        def worker(name, *words, part):
            made = common.Worker(server, name, *words, part=part, pace=PACE)
            stack.callback(made.end)
            return made

        victims = [worker(f'victim-{lane}', '--queue', f'q{lane}', '--agent',
                          'main:1:bench.faults.jobs.mine', part='victim')
                   for lane in lanes]
        heir = worker('heir', '--agent', 'main:20:bench.faults.jobs.left_over',
                      part='heir')
        heir.wait_until_it_works(db, 'q0')
        start = time.monotonic()
        found = common.run(options.trials, options.parallel,
                           Trials(options, server, db, victims))
        took = time.monotonic() - start
    after = common.spread([one['next_after'] for one in found if 'next_after' in one])
    return common.conclude(
        f'SIGSTOP past the death interval ({options.phase})', options, found,
        {'next_after': after, 'seconds': took},
        [common.shown('next job after SIGCONT', after)])


if __name__ == '__main__':
    common.main(main)
