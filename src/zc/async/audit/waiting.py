"""What has to hold of the lines of a queue and of the jobs in them."""
import struct

from .. import clock
from .. import describe
from .. import timekeys
from ..model import status
from ..model.lines import _line_name
from ..model.lines import Lines
from .findings import Place
from .places import in_line
from .places import oid_of
from .records import entries
from .records import unreadable


class Waiting:
    """Looks at lines, for *check*."""

    title = 'lines'

    def __init__(self, check):
        self._check = check

    def all(self, name):
        """Yield what is wrong with the lines of the queue *name*."""
        for number in range(len(shards(self._check.queues[name]))):
            yield from self._shard(name, number, True)

    def shard(self, name, number):
        """Scope: the trees of one shard and its counter."""
        return self._shard(name, number, False)

    def _shard(self, name, number, look):
        """Yield what is wrong with a shard, with *look* also with its jobs."""
        shard = self._check.queues[name]._lines.shards[number]
        if unreadable(shard) is not None:
            return
        place = Place(name, f'shard {number}', ('waiting.shard', name, number))
        count, whole = 0, True
        for line_name, tree in shard.lines.items():
            damage = []
            for key, job in entries(tree, damage):
                if job is None:
                    continue  # a gap
                count += 1
                if look:
                    yield from self._entry(name, number, line_name, key, job)
            if damage:
                whole = False
                yield place.finding(
                    'tree-broken', f'line {line_name!r} of {place.name}: {damage[0]}',
                    tree)
        readable = all(unreadable(one) is None for one in shard.counters)
        if whole and readable and shard.count != count:
            yield place.finding(
                'count-wrong', f'{place.name} counts {shard.count} jobs and has '
                f'{count}', shard.length)

    def entry(self, name, number, line_name, key):
        """Scope: one job in line."""
        shard = self._check.queues[name]._lines.shards[number]
        job = shard.lines.get(line_name, {}).get(key)
        return () if job is None else self._entry(name, number, line_name, key, job)

    def _entry(self, name, number, line_name, key, job):
        self._check.look()
        place = Place(name, f'line {line_name!r} of shard {number}',
                      ('waiting.entry', name, number, line_name, key))
        readable, finding = self._check.jobs.read(job, place)
        if readable:
            finding = self._misplaced(job, place)
            yield from self._check.jobs.tree(job, name, place.name, idle=True)
        if finding is not None:
            yield finding

    def _misplaced(self, job, place):
        """Return what is wrong with where *job* stands, or None."""
        queue, key = self._check.queues[place.queue], place.scope[-1]
        if job.parent is not queue:
            return self._check.jobs.places.elsewhere(job, place)
        if job._code not in (status.UNSET, status.SETTLED):
            return place.finding(
                'status-wrong', f'job {oid_of(job)} is {status.of(job)} and stands in '
                f'line', job)
        if job._order == key:
            return _misfiled(job, place)
        if in_line(queue, job):
            return place.finding(
                'job-twice', f'job {oid_of(job)} stands in line in two places', job)
        return place.finding(
            'order-wrong', f'job {oid_of(job)} says that it stands elsewhere in line',
            job)


def _misfiled(job, place):
    _scope, _name, number, line_name, key = place.scope
    try:
        due, rank, _stamp, own_number = timekeys.split(key)
    except (struct.error, TypeError):
        return place.finding(
            'order-wrong', f'the key of job {oid_of(job)} is none: '
            f'{describe.safe_repr(key, 200)}', job)
    wanted = _line_name(rank, job)
    if own_number != number or wanted != line_name:
        return place.finding(
            'order-wrong', f'job {oid_of(job)} belongs in line {wanted!r} of shard '
            f'{own_number}', job)
    after = job._begin_after
    late = rank == timekeys.SCHEDULED and after != due
    soon = rank == timekeys.READY and after is not None and after > due
    if not job._code and (late or soon):
        return place.finding(
            'order-wrong', f'job {oid_of(job)} stands in line for '
            f'{clock.from_micros(due)} and is to begin after {job.begin_after}', job)
    return None


def shards(queue):
    """Return the shards of *queue*; none of a queue of an application's own kind."""
    lines = getattr(queue, '_lines', None)
    if not isinstance(lines, Lines) or unreadable(lines) is not None:
        return ()
    return lines.shards
