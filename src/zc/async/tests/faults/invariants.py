"""What must hold when a story is over, whatever has failed in it."""
import io
import itertools
import pickle

from ZODB.serialize import referencesf
from ZODB.utils import z64

from ... import failures
from ...audit import check as audit
from ...interfaces import COMPLETED
from ...interfaces import IJob
from ...interfaces import KEY
from ...model import status
from ...model import stored
from ...model.callbacks import children
from ...model.callbacks import is_node
from .scenarios import stage
from .scenarios import TooEarly
from .storage import HARD
from .storage import LASTING

#: Methods of an account that have their effect if, and only if, the job succeeds.
_EFFECTS = ('change', 'put', 'change_not_before', 'change_at_second',
            'change_and_stop', 'change_unless_first', 'change_when_well', 'change_late')


def problems(world, root):
    """Return what is not as it must be in *world*, as sentences."""
    queue = root[KEY]['']
    jobs = all_jobs(root, queue)
    found = [*left(queue), *_parked(world), *statuses(jobs),
             *_effects(world, root['account'], jobs), *_starts(world),
             *_attempts(jobs), *_too_early(jobs)]
    found += audit.problems(root._p_jar)
    for process in world.processes:
        found += _open_connections(process, _strikes(world))
    for server in world.servers:
        found += history(server.records)
        found += dangling(server.records, server.copied)
    return found


def may_fail(world):
    """Return whether a job of *world* may end in a Failure, or be parked."""
    return world.scenario.may_fail or not HARD.isdisjoint(world.faults.kinds)


# Where the jobs are

def left(queue):
    """Nothing is left anywhere, and what is counted is what is there."""
    if len(queue) != len(list(queue)):
        yield f'{len(queue)} jobs counted, {len(list(queue))} in line'
    if len(queue):
        yield f'left in line: {list(queue)}'
    for agent in _agents(queue):
        if len(agent):
            yield f'left in an agent: {list(agent)}'
    for quota in queue.quotas.values():
        if len(quota):
            yield f'left in a quota: {list(quota)}'
    if len(queue.parked):
        yield f'left parked: {[entry.reason for entry in queue.parked]}'


def _parked(world):
    """A job was parked where it had to be, and only where it could be."""
    if world.scenario.parks:
        if not (world.parked or may_fail(world)):
            yield 'no job was parked'
    elif world.parked and not may_fail(world):
        yield f'{world.parked} jobs were parked'


def _agents(queue):
    return [agent for agents in queue.dispatchers.values()
            for agent in (*agents.values(), *agents.retired)]


def all_jobs(root, queue):
    """Return all jobs that were put or follow from one, by object id."""
    completed = (agent.completed for agent in _agents(queue))
    todo = list(itertools.chain(root['jobs'], *completed))
    found = {}
    while todo:
        node = todo.pop()
        if node._p_oid not in found:
            found[node._p_oid] = node
            todo += children(node)
            if IJob.providedBy(node) and not failures.is_failure(node.result):
                # the parts of a workflow; one that failed may not have put them
                todo += [one for one in node.args if is_node(one)]
    return [node for node in found.values() if IJob.providedBy(node)]


def statuses(jobs):
    """All jobs are completed."""
    return [f'{job!r} is {job.status}' for job in jobs if job.status is not COMPLETED]


# What they changed

def _effects(world, account, jobs):
    """Effects are there as often as they must be."""
    changes = account.changes
    failed = any(failures.is_failure(job.result) for job in jobs)
    less = failed and may_fail(world)
    for name in sorted({*changes, *world.expected}):
        expected = world.expected.get(name, 0)
        if not isinstance(expected, range):
            expected = range(expected, expected + 1)
        count = changes.get(name, 0)
        if count not in expected and not (less and count < expected.stop):
            yield (f'{name!r} was changed {count} times, '
                   f'not {world.expected.get(name, 0)}')
    if len(world.servers) > 1:
        return  # of two commits one may be made, and the job fail in the other
    for job in jobs:
        if job._call.method in _EFFECTS:
            is_there = changes.get(job.args[0], 0) > 0
            if is_there == failures.is_failure(job.result):
                yield f'{job!r} has the result {job.result!r}, and {changes}'


def _attempts(jobs):
    """A result is that of the last attempt."""
    for job in jobs:
        if (job._call.method in ('tell_attempt', 'tell_attempt_late')
                and job.result != job._attempt and not failures.is_failure(job.result)):
            yield f'{job!r} has the result of attempt {job.result} of {job._attempt}'


def _too_early(jobs):
    """A callback finds what it follows from with its result, in each attempt."""
    for job in jobs:
        if failures.is_failure(job.result) and job.result.check(TooEarly):
            yield f'{job!r}: {job.result.getErrorMessage()}'


def _starts(world):
    """A body begins again for a reason only."""
    most = world.scenario.starts + _strikes(world)
    if world.scenario.may_fail:
        most = 1
    for name, count in stage.starts.items():
        if count > most:
            yield f'{name!r} was begun {count} times, {most} at most are explained'


def _strikes(world):
    """Return how many calls have failed."""
    return sum(LASTING[kind][1] if kind in LASTING else 1
               for _number, kind, _name in world.faults.met)


def _open_connections(process, strikes):
    """A process that has nothing to do has no connection but that of its turns."""
    # ZODB drops one that it cannot open.  To databases beside it, a connection of
    # the main one keeps its own.
    count = len(process.db.pool.all) - len(process.db.pool.available)
    most = int(process._turns._connection is not None) + strikes
    if count > most:
        yield f'{count} connections are open, {most} at most in use'


# What was committed on the way

#: From one committed state of a job to the next; its end is for good.  To be begun
#: again is one commit where an heir claims what it has handed back just now.
_NEXT = {
    status.UNSET: {status.UNSET, status.BEGUN, status.SETTLED, status.FINISHED,
                   status.KEPT},
    status.BEGUN: {status.UNSET, status.BEGUN, status.SETTLED, status.FINISHED,
                   status.KEPT},
    status.SETTLED: {status.SETTLED, status.FINISHED, status.KEPT},
    status.KEPT: {status.KEPT, status.UNSET, status.BEGUN, status.SETTLED},
    status.FINISHED: {status.FINISHED},
}


def history(records):
    """In no committed state was a quota exceeded or a status wrong.

    *records* are ``{object id: [(transaction id, data), …]}``, the oldest first.
    """
    for revisions in records.values():
        first = revisions[0][1]
        if first.find(b'zc.async.model.quota\nQuota\n', 0, 40) >= 0:
            for _tid, data in revisions:
                state = _state(data)
                if len(state['_data']) > state['_size']:
                    yield f'a quota of {state["_size"]} held {len(state["_data"])} jobs'
        elif first.find(b'zc.async.job\nJob\n', 0, 40) >= 0:
            yield from _course([_state(data) for _tid, data in revisions])


def _course(states):
    """One job's committed states follow the arrows."""
    numbers = [(state.get('_code', 0), state.get('_attempt', 0))
               for state in map(stored.unpack, states)]
    for (code, attempt), (next_code, next_attempt) in zip(numbers, numbers[1:]):
        if next_code not in _NEXT[code]:
            yield f'a job went from {code} to {next_code}: {numbers}'
        if next_attempt < attempt:
            yield f'attempts were forgotten: {numbers}'


class _Unpickler(pickle.Unpickler):

    def persistent_load(self, reference):
        return reference


def _state(data):
    unpickler = _Unpickler(io.BytesIO(data))
    unpickler.load()
    return unpickler.load()


def dangling(records, since=z64):
    """What is referred to is there; looks at what is younger than *since*."""
    for oid, revisions in records.items():
        tid, data = revisions[-1]
        for other in referencesf(data) if tid > since else ():
            if other not in records:
                yield f'{oid!r} refers to {other!r}, which is not there'
