"""What a process takes that stays: memory, and processor when it has nothing to do."""
import contextlib

from ZODB.utils import p64

from bench import children
from bench.measures.base import Measure


class Memory(Measure):
    """The growth of a process that puts, does and prunes many jobs."""

    unit = 'MB'
    kinds = ('filestorage',)
    once = True

    def take(self, store, plan, prepared):
        answer = children.done(
            'remember', store.folder, store=store.describe(), count=plan.memory_jobs,
            slices=plan.memory_slices, poll_interval=plan.poll_interval, size=plan.size)
        found = answer['resident']
        packed = store.mark()[1] / 2 ** 20
        return {'value': found[-1] - found[0], 'jobs': answer['jobs'], 'size': plan.size,
                'extra': {'jobs': answer['jobs'], 'growth_mb': found[-1] - found[0],
                          'resident_mb': found, 'packed_mb': packed}}


class Idle(Measure):
    """The share of a core that a dispatcher takes which has nothing to do."""

    unit = '%'
    kinds = ('filestorage', 'zeo', 'postgresql')
    once = True

    def take(self, store, plan, prepared):
        answer = children.done(
            'idle', store.folder, store=store.describe(), seconds=plan.idle_seconds,
            warm_up=min(plan.idle_seconds, 2 * plan.poll_interval + 1),
            poll_interval=plan.poll_interval, size=plan.size)
        seconds = answer['seconds']
        with contextlib.closing(store.open()) as db:
            commits = sum(1 for _one in db.storage.iterator(
                p64(answer['first'] + 1), p64(answer['last'])))
        return {'value': 100 * answer['cpu'] / seconds, 'size': plan.size,
                'extra': {'seconds': seconds, 'commits': commits,
                          'commits_in_10_minutes': commits * 600 / seconds}}


MEASURES = (Memory('memory', 'growth of memory, put, done, pruned'),
            Idle('idle', 'share of a core, nothing to do'))
