"""Many processes at once: those that put, and those that work."""
import contextlib
import itertools
import time

from bench import children
from bench import jobs
from bench.measures.base import install
from bench.measures.base import Measure
from bench.measures.base import per_job
from bench.measures.base import put
from bench.measures.base import seen
from bench.measures.base import SEVERAL
from bench.tasks import common
from bench.tasks import limiting

#: Seconds between two looks at a backlog that several work off.
LOOK = 0.02
#: The part of a backlog that is done while not all work yet, and when some have
#: nothing left: it does not count for the rate.
BEGINNING, END = 0.1, 0.05


@contextlib.contextmanager
def _several(number, role, store, each=lambda which: {}, **task):
    """Have *number* processes with the task *role*, ready, within the block.

    *each* returns what the process of a number, from 0, is told besides.
    """
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(children.Child(
            role, store.folder, store=store.describe(), **task, **each(which)))
            for which in range(number)]
        for child in found:
            child.hear()
        yield found


class Producers(Measure):
    """*number* processes that put jobs one by one."""

    kinds = SEVERAL

    def __init__(self, number):
        super().__init__(f'producers-{number}', f'put one by one by {number}')
        self.about = (('producers', number), ('job', 'no-op'))
        self._number = number
        if number > 1:
            self.reference = 'producers-1'

    def take(self, store, plan, prepared):
        each = max(1, plan.jobs_of(store) // self._number)
        count, mark = each * self._number, store.mark()
        with _several(self._number, 'produce', store, count=each) as producers:
            for one in producers:
                one.tell()
            answers = [one.hear() for one in producers]
        seconds = max(one['end'] for one in answers) - min(
            one['start'] for one in answers)
        with contextlib.closing(store.open()) as db:
            with common.connected(db) as connection:
                if common.left(connection)[0] != count:
                    raise ValueError(f'not all of {count} jobs are in line')
        return {'value': count / seconds, 'jobs': count, 'puts': count,
                'conflicts': sum(one['conflicts'] for one in answers) / count,
                'cost': per_job(store.cost(mark), count)}


class Workers(Measure):
    """*number* processes that work a backlog off."""

    kinds = SEVERAL

    def __init__(self, kind, number, share, size):
        super().__init__(f'workers-{kind}-{number}', f'{kind}, done by {number}')
        self.about = (('workers', number), ('job', kind), ('size', size))
        self._kind, self._number, self._share, self._size = kind, number, share, size
        if number > 1:
            self.reference = f'workers-{kind}-1'
        if kind != 'effect' or number > 2:
            self.kinds = ('zeo',) if number not in (1, 4) else SEVERAL

    def _count(self, store, plan):
        return max(20, int(plan.jobs_of(store) * self._share))

    def prepare(self, store, plan):
        count = self._count(store, plan)
        install(store, self._kind, count=count)
        put(store, self._kind, count)

    def take(self, store, plan, prepared):
        count, mark = self._count(store, plan), store.mark()
        with _several(self._number, 'work_with_others', store, size=self._size,
                      poll_interval=plan.poll_interval, count=count) as workers:
            for one in workers:
                one.tell()
            for one in workers:
                one.hear()
            for one in workers:
                one.tell()
            answers = [one.hear() for one in workers]
        # not before: a client takes a part of the server's time
        with contextlib.closing(store.open()) as db:
            with common.connected(db) as connection:
                jobs.check(connection, self._kind, count)
                ends = jobs.ends(connection)
        found = seen(answers, count)
        found['extra']['claims_of'] = [one['claims'] for one in answers]
        return {'value': rate(ends, *middle(ends)), 'jobs': count, 'cost': per_job(store.cost(mark), count),
                **found}


def middle(ends):
    """Return from when to when *ends* count, in seconds."""
    ends = sorted(ends)
    return ends[int(BEGINNING * len(ends))], ends[int((1 - END) * len(ends)) - 1]


def rate(ends, first, last):
    """Return how many of *ends* a second came in between."""
    if last <= first:
        raise ValueError(f'of {len(ends)} jobs too few ended while all processes were at '
                         f'it; measure more of them, with --jobs')
    return sum(first < end <= last for end in ends) / (last - first)


class Limit(Measure):
    """*number* bare processes that ask of the storage what jobs with one effect do."""

    kinds = SEVERAL

    def __init__(self, number):
        super().__init__(f'limit-{number}', f'the least of an effect, {number} bare')
        self.about = (('workers', number), ('job', 'bare'))
        self._number = number
        if number > 1:
            self.reference = 'limit-1'

    def prepare(self, store, plan):
        with contextlib.closing(store.open()) as db:
            limiting.fill(db, self._number, self._each(store, plan))

    def _each(self, store, plan):
        return max(20, plan.jobs_of(store) // self._number)

    def take(self, store, plan, prepared):
        count, mark = self._number * self._each(store, plan), store.mark()
        with _several(self._number, 'commit_bare', store,
                      each=lambda which: {'which': which}) as bare:
            for one in bare:
                one.tell()
            times = [one.hear()['times'] for one in bare]
        with contextlib.closing(store.open()) as db:
            wrong = sum(value != 1 for value in limiting.changed(db))
        if wrong:
            raise ValueError(f'{wrong} objects were not changed exactly once')
        return {'value': rate_of(times), 'jobs': count,
                'cost': per_job(store.cost(mark), count)}


def rate_of(times):
    """Return the rate while all were at it whose *times* these are, as of workers."""
    ends = list(itertools.chain.from_iterable(times))
    first, last = middle(ends)
    return rate(ends, max(first, *(one[0] for one in times)),
                min(last, *(one[-1] for one in times)))


NUMBERS = (1, 2, 4, 8)
MEASURES = (
    *map(Producers, NUMBERS),
    *(Workers(kind, number, share, size)
      for kind, share, size in (('no-op', 2, 10), ('effect', 1, 10), ('cpu', 0.3, 3),
                                ('io', 0.6, 10))
      for number in NUMBERS),
    *map(Limit, (1, 2, 8)))
