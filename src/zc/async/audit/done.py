"""What has to hold of the completed jobs that agents keep."""
from ..model import status
from .findings import Place
from .places import oid_of
from .records import unreadable


class Done:
    """Looks at completed jobs, for *check*."""

    def __init__(self, check):
        self._check = check

    def all(self, name, UUID, agent):
        """Yield what is wrong with the completed jobs of *agent*."""
        if unreadable(agent.completed) is None:
            for day in agent.completed._days:
                yield from self._day(name, UUID, agent, day, True)

    def day(self, name, UUID, number, day_number):
        """Scope: the completed jobs of one agent and day."""
        agent = self._check.holding.find(name, UUID, number)
        for day in () if agent is None else agent.completed._days:
            if oid_of(day) == day_number:
                yield from self._day(name, UUID, agent, day, False)

    def _day(self, name, UUID, agent, day, look):
        """Yield what is wrong with a day, with *look* also with its jobs."""
        place = Place(name, f'completed jobs of agent {agent.name!r} of {UUID}',
                      ('done.day', name, UUID, oid_of(agent), oid_of(day)))
        count, gone, problems = 0, 0, []
        for job in pages(day, problems):
            count += 1
            self._check.look()
            readable, finding = self._check.jobs.read(job, place)
            gone += finding is not None
            if readable and job._code != status.FINISHED:
                yield place.finding(
                    'status-wrong', f'job {oid_of(job)} is {status.of(job)} and among '
                    f'the {place.name}', job)
            elif readable and look:
                yield from self._check.jobs.tree(job, name, place.name)
        if gone:
            problems.append(f'{gone} of them cannot be read')
        if problems:
            yield place.finding('tree-broken', f'{place.name}: {problems[0]}', day)
        elif day.count != count:
            yield place.finding(
                'count-wrong', f'{place.name}: {day.count} are counted, and there are '
                f'{count}', day)


def pages(day, problems):
    """Iterate over the jobs of *day*, the newest first, as far as pages are readable.

    What cannot be read is appended to *problems*, in words.
    """
    page = day
    while page is not None:
        problem = unreadable(page)
        if problem is not None:
            problems.append(f'those of a page cannot be read: {problem}')
            return
        before = page.before
        yield from reversed(page.jobs)
        page = before
