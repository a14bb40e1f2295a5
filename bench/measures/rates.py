"""How many jobs a second one process puts, and one process does."""
from bench import children
from bench import jobs
from bench.measures.base import install
from bench.measures.base import MANY
from bench.measures.base import Measure
from bench.measures.base import per_job
from bench.measures.base import put
from bench.measures.base import seen


class Put(Measure):
    """Jobs that do nothing, put by one process."""

    def __init__(self, name, label, per_commit):
        super().__init__(name, label)
        self._per_commit = per_commit

    def take(self, store, plan, prepared):
        return put(store, 'no-op', plan.jobs_of(store), self._per_commit)


class Drain(Measure):
    """A backlog, put by one process and worked off by a fresh one."""

    def __init__(self, name, label, kind, size=None, share=1):
        super().__init__(name, label)
        self._kind, self._size, self._share = kind, size, share

    def _count(self, store, plan):
        """Return how many jobs; workflows are whole."""
        per = jobs.KINDS[self._kind].per
        return max(1, int(plan.jobs_of(store) * self._share) // per) * per

    def prepare(self, store, plan):
        count = self._count(store, plan)
        install(store, self._kind, count=count)
        return put(store, self._kind, count)

    def take(self, store, plan, prepared):
        count, size = self._count(store, plan), self._size or plan.size
        mark = store.mark()
        answer = children.done(
            'drain', store.folder, store=store.describe(), kind=self._kind, count=count,
            poll_interval=plan.poll_interval, size=size)
        cost = per_job(store.cost(mark), count)
        return {'value': count / answer['seconds'], 'cost': cost,
                'cost_with_put': {what: cost[what] + prepared['cost'][what]
                                  for what in cost},
                'job': self._kind, 'jobs': count, 'size': size, 'workers': 1,
                **seen([answer], count)}


MEASURES = (
    Put('put', 'put and commit, one by one', 1),
    Put('bulk', 'put, a thousand in a commit', MANY),
    Drain('no-op', 'drain, jobs that do nothing', 'no-op'),
    Drain('no-op-10', 'nothing, agent of size 10', 'no-op', 10),
    Drain('effect', 'drain, jobs with one effect', 'effect'),
    Drain('effect-10', 'one effect, agent of size 10', 'effect', 10),
    Drain('ten-effects', 'drain, ten effects each', 'ten-effects', share=0.5),
    Drain('callback', 'drain, a callback each', 'callback', share=0.5),
    Drain('quota-1', 'drain, a quota of one', 'quota-1', share=0.2),
    Drain('serial', 'parts of serial workflows', 'serial', share=0.2),
    Drain('parallel', 'parts of parallel workflows', 'parallel', share=0.2))
