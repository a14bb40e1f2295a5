"""What is found in the database of a kill loop, on the way and in the end."""
import json
import os
import re
import time

from ZODB.FileStorage import FileStorage

from . import work
from ... import configure
from ... import failures
from ...audit.check import problems
from ...interfaces import KEY
from .session import LOOK
from .session import opened


def audit(who, folder, uri):
    """Look whether what has to hold in each committed state holds now."""
    with opened(uri) as (_db, session):
        for problem in session.ask(problems):
            work.history.note('damage', problem=problem)
    return 0


def drain(who, folder, uri, seconds):
    """Wait until nothing is left, and run what is parked; fail after *seconds*."""
    end = time.monotonic() + seconds
    configure.base()
    with opened(uri) as (_db, session):
        while time.monotonic() < end:
            if session.ask(_rerun_parked):
                continue
            if not any(session.ask(_left).values()):
                return 0
            time.sleep(5 * LOOK)
    return 1


def _agents(queue):
    for agents in queue.dispatchers.values():
        yield from (*agents.values(), *agents.retired)


def _left(connection):
    """Return what is not empty: how many, by its name."""
    queue = connection.root()[KEY]['']
    return {
        'in line': len(queue),
        'counted, and not in line': len(queue) - len(list(queue)),
        'in agents': sum(len(agent) for agent in _agents(queue)),
        'in quotas': sum(len(quota) for quota in queue.quotas.values())}


def _parked(queue):
    """Return the parked jobs by their task; none where nothing can be parked."""
    found = {}
    for entry in getattr(queue, 'parked', ()):
        id, _part = work.whose(entry.job)
        found[id or f'job {entry.job._p_oid!r}'] = entry.job
    return found


def _rerun_parked(connection):
    """Let innocent jobs run again that were there when too many processes died."""
    queue = connection.root()[KEY]['']
    innocent = {id: job for id, job in _parked(queue).items()
                if not id.endswith('.poison')}
    for id, job in innocent.items():
        work.history.note('rerun', id=id)
        queue.parked.rerun(job)
    return len(innocent)


def census(who, folder, uri=None, path=None):
    """Write all that the checker wants to know of the database to a file."""
    with opened(uri or f'file://{path}') as (db, session):
        db.setCacheSize(20_000)
        found = session.do(_census)
    with open(os.path.join(folder, 'census'), 'w') as file:
        json.dump(found, file)
    return 0


def _census(connection):
    room, queue = connection.root()[work.ROOM], connection.root()[KEY]['']
    return {
        'jobs': {id: _facts(job, cell) for tasks in room.index.values()
                 for id, (job, cell) in tasks.items()},
        'left': _left(connection),
        'damage': problems(connection),
        'hot': room.hot.count,
        'parked': sorted(_parked(queue)),
        'quotas': {name: _most(connection, quota) for name, quota
                   in queue.quotas.items()}}


def _facts(job, cell):
    result, failure = job.result, None
    if failures.is_failure(result):
        result, failure = None, _name(result)
    elif not isinstance(result, int):
        result = None
    return {'status': job.status, 'failure': failure, 'result': result,
            'attempt': job._attempt, 'marks': cell.marks, 'turn': cell.turn}


def _name(failure):
    """Return the name of the error of *failure*; of the one that a server had met."""
    kind = getattr(failure.type, '__name__', failure.type).rpartition('.')[2]
    if kind == 'ServerException':
        met = re.search(r"'builtins\.(\w+)'", failure.getErrorMessage())
        kind = met[1] if met else kind
    return kind


def _most(connection, quota):
    """Return how many jobs *quota* held at most, in its history as far as it is kept."""
    storage = connection.db().storage
    if not isinstance(storage, FileStorage):
        return len(quota)
    most = 0
    for entry in storage.history(quota._p_oid, size=1_000_000):
        data = storage.loadSerial(quota._p_oid, entry['tid'])
        most = max(most, len(connection._reader.getState(data)['_data']))
    return most
