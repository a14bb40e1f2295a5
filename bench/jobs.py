"""The kinds of jobs of the bench: how each is made, and how it is seen to be done."""
from persistent.list import PersistentList

from bench import work
from zc.async_ import job as jobs
from zc.async_.interfaces import COMPLETED
from zc.async_.job import Job
from zc.async_.queue import get_queues

#: Where the objects that the jobs change are kept.
CELLS = 'bench.cells'
#: The parts of a workflow.
PARTS = 10


class Kind:
    """Jobs that call *call*, each with *cells* objects of its own to change."""

    quotas = ()

    def __init__(self, name, call, cells=0):
        self.name, self.call, self.cells = name, call, cells

    def make(self, cells):
        """Return a job, or what consists of `per` jobs."""
        return Job(self.call, *cells)

    #: Jobs that what `make` returns consists of; and those it leaves completed.
    per = leaves = 1

    def wrong(self, job):
        """Return what is wrong with the completed *job*, or None."""
        if job.result is not None:
            return f'{job!r} has the result {job.result!r}'
        return None


class Quota(Kind):
    """Jobs of one quota."""

    def __init__(self, name, call, quota, size):
        super().__init__(name, call)
        self.quotas = ((quota, size),)

    def make(self, cells):
        made = super().make(cells)
        made.quota_names = tuple(name for name, _size in self.quotas)
        return made


class Callback(Kind):
    """Jobs with a callback each."""

    def make(self, cells):
        made = super().make(cells)
        made.addCallback(work.called)
        return made

    def wrong(self, job):
        if [one.status for one in job.callbacks] != [COMPLETED]:
            return f'the callback of {job!r} was not called'
        return super().wrong(job)


class Workflow(Kind):
    """Workflows of `PARTS` jobs, made by the function *combine*."""

    per = PARTS
    #: The parts, the workflow, and what makes its result.
    leaves = PARTS + 2

    def __init__(self, name, combine):
        super().__init__(name, work.part)
        self._combine = combine

    def make(self, cells):
        return self._combine(*(Job(work.part, number) for number in range(PARTS)),
                             postprocess=work.results)

    def wrong(self, job):
        if job.result not in (*range(PARTS), list(range(PARTS))):
            return f'{job!r} has the result {job.result!r}'
        return None


KINDS = {kind.name: kind for kind in (
    Kind('no-op', work.nothing), Kind('effect', work.increment, 1),
    Kind('ten-effects', work.increment, 10),
    Callback('callback', work.nothing), Quota('quota-1', work.nothing, 'one', 1),
    Workflow('serial', jobs.serial), Workflow('parallel', jobs.parallel),
    Kind('cpu', work.compute), Kind('io', work.linger),
    Quota('blocked', work.blocked, 'full', 0), Kind('unwanted', work.unwanted))}


def prepare(connection, kind, count):
    """Make what *count* jobs of *kind* need.  Commits nothing."""
    connection.root()[CELLS] = PersistentList(
        work.Cell() for _number in range(count * KINDS[kind].cells))
    quotas = get_queues(connection)[''].quotas
    for name, size in KINDS[kind].quotas:
        if name not in quotas:
            quotas.create(name, size)


def made(connection, kind, count):
    """Iterate over jobs of *kind*, *count* in all."""
    kind = KINDS[kind]
    cells = iter(connection.root()[CELLS] if kind.cells else ())
    for _number in range(count // kind.per):
        yield kind.make([next(cells) for _cell in range(kind.cells)])


def check(connection, kind, count):
    """Raise ValueError unless *count* jobs of *kind* were done, each effect once."""
    wanted, found = count // KINDS[kind].per * KINDS[kind].leaves, 0
    for job in _completed(connection):
        found += 1
        problem = KINDS[kind].wrong(job)
        if problem:
            raise ValueError(problem)
    if found != wanted:
        raise ValueError(f'{found} jobs were completed instead of {wanted}')
    changed = [cell.value for cell in connection.root()[CELLS] if cell.value != 1]
    if changed:
        raise ValueError(f'{len(changed)} objects were not changed exactly once')


def ends(connection):
    """Return when the calls of all completed jobs ended, in seconds since 1970."""
    return [job.active_end.timestamp() for job in _completed(connection)]


def _completed(connection):
    for agents in get_queues(connection)[''].dispatchers.values():
        for agent in agents.values():
            yield from agent.completed
