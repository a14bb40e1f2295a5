"""What is measured of each system, and checked to have been done."""
import collections
import dataclasses
import statistics

from bench.peers.hosts import PeerFailed
from bench.peers.marks import SETTLED

#: Jobs at once where many are put.
MANY = 1000
#: Jobs that are run, and not counted, before a latency is measured.
WARM_UP = 5
#: Seconds to begin, and jobs a second: what is slower counts as a fault.
LIMIT, SLOWEST = 60, 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to do."""

    jobs: int = 3000
    runs: int = 5
    concurrency: int = 10       # threads, tasks, processes, or the agent's size
    latencies: int = 60         # in a run
    raw_seconds: float = 0.7    # of each look at the raw rate
    repeat: bool = True         # take a sample that is not steady once more


def put(host, system, plan):
    """Jobs put one by one, each acknowledged."""
    return _put(host.ask('put', count=plan.jobs), system, plan.jobs)


def bulk(host, system, plan):
    """A thousand jobs put at once."""
    return _put(host.ask('bulk', count=MANY), system, MANY)


def _put(answer, system, count):
    if answer['waiting'] != count:
        raise PeerFailed(f'{system.key}: {answer["waiting"]} jobs wait of {count}')
    return {'value': count / answer['seconds'], 'jobs': count}


def drain(kind):
    """Return the measure of a backlog of *kind*, put before and then worked off."""

    def take(host, system, plan):
        host.marks.clear()
        waiting = host.ask('preload', kind=kind, count=plan.jobs)['waiting']
        if waiting != plan.jobs:
            raise PeerFailed(f'{system.key}: {waiting} jobs wait of {plan.jobs}')
        with host.working(plan.concurrency) as worker:
            found = _worked_off(host, system, plan, worker, kind)
        _check(host, system, plan, kind)
        return found

    return take


def _worked_off(host, system, plan, worker, kind):
    marks, count = host.marks, plan.jobs
    limit = LIMIT + count / SLOWEST
    host.until(lambda: marks.count() >= count + system.settles, worker, limit,
               f'{count} jobs begin')
    if not system.settles:
        host.until(lambda: _is_done(host, kind, count), worker, limit,
                   f'{count} jobs are settled')
    found = marks.read()
    done = collections.Counter(number for number, _seconds in found)
    settled = done.pop(SETTLED, 0)
    if set(done) != set(range(count)):
        raise PeerFailed(f'{system.key}: {len(done)} jobs began of {count}')
    (_first, start), (_last, end) = found[0], found[-1]
    # ours ends when all is committed; the others' with the start of the last job
    return {'value': (count - 1 + settled) / (end - start), 'jobs': count,
            'again': sum(done.values()) - count}


def _is_done(host, kind, count):
    if host.ask('waiting')['waiting']:
        return False
    return kind != 'effect' or len(host.ask('effects')['effects']) >= count


def _check(host, system, plan, kind):
    """A rate of jobs that were not done is no rate."""
    waiting = host.ask('waiting')['waiting']
    if waiting:
        raise PeerFailed(f'{system.key}: {waiting} jobs are left of {plan.jobs}')
    effects = host.ask('effects')['effects']
    wanted = list(range(plan.jobs)) if kind == 'effect' else []
    if effects != wanted:
        raise PeerFailed(f'{system.key}: {len(effects)} effects are stored of '
                         f'{len(wanted)}, {len(set(effects))} of them different')


def latency(host, system, plan):
    """From the acknowledgement of a put to the start of the job, where all is idle."""
    host.marks.clear()
    count = WARM_UP + plan.latencies
    if system.name == 'zc.async' and system.storage == 'filestorage':
        # the database has one process: the producer works, too
        sent = host.ask('latencies', first=0, count=count,
                        concurrency=plan.concurrency)['sent']
    else:
        with host.working(plan.concurrency) as worker:
            host.ask('preload', kind='nothing', count=1)
            host.until(lambda: host.marks.jobs(), worker, LIMIT, 'the first job begins')
            sent = host.ask('latencies', first=0, count=count,
                            concurrency=plan.concurrency)['sent']
            host.until(lambda: host.marks.jobs() > count, worker, LIMIT,
                       f'{count} jobs begin')
    return _latencies(host, system, sent)


def _latencies(host, system, sent):
    # the last: the number of the job that came first is used again
    began = dict(mark for mark in host.marks.read() if mark[0] != SETTLED)
    if not set(range(len(sent))) <= set(began):
        raise PeerFailed(f'{system.key}: {len(began)} jobs began of {len(sent)}')
    counted = list(enumerate(sent))[WARM_UP:]
    # a job can begin before its producer has heard that it is stored
    found = [max(0, 1000 * (began[number] - acknowledged))
             for number, (_asked, acknowledged) in counted]
    return {'value': statistics.median(found), 'latencies': found,
            'since_call': [1000 * (began[number] - asked)
                           for number, (asked, _acknowledged) in counted]}


#: name -> (label, unit, function)
MEASURES = {
    'put': ('put, one by one', '/s', put),
    'bulk': ('put, a thousand at once', '/s', bulk),
    'no-op': ('drain, jobs that do nothing', '/s', drain('nothing')),
    'effect': ('drain, jobs with one durable effect', '/s', drain('effect')),
    'latency': ('put to start', 'ms', latency)}
