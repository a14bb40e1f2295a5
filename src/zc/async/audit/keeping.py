"""What has to hold of parked jobs."""
from .. import describe
from .findings import Place
from .places import in_line
from .places import oid_of
from .records import entries
from .records import unreadable
from .structure import agents_of


class Keeping:
    """Looks at parked jobs, for *check*."""

    title = 'parked jobs'

    def __init__(self, check):
        self._check = check

    def all(self, name):
        """Yield what is wrong with the parked jobs of the queue *name*."""
        return self._parked(name, True)

    def parked(self, name):
        """Scope: the trees of the parked jobs and their number."""
        return self._parked(name, False)

    def _parked(self, name, look):
        parked = getattr(self._check.queues[name], '_parked', None)
        if parked is None or unreadable(parked) is not None:
            return
        place = Place(name, 'parked', ('keeping.parked', name))
        damage, count = [], 0
        for key, (job, *_told) in entries(parked._data, damage):
            count += 1
            if look:
                yield from self._entry(name, job)
            if not damage and parked._keys.get(parked._address(job)) != key:
                damage.append(f'job {oid_of(job)} is not found by its object id')
        for address, key in entries(parked._keys, damage):
            if not damage and key not in parked._data:
                damage.append(f'the object id {address.hex()} leads to no job')
        if damage:
            yield place.finding('tree-broken', f'parked jobs: {damage[0]}', parked)
        elif unreadable(parked._len) is None and parked._len() != count:
            yield place.finding(
                'count-wrong', f'{parked._len()} parked jobs are counted, and there are '
                f'{count}', parked._len)

    def _entry(self, name, job):
        self._check.look()
        # that it cannot be read may be why it is parked
        if self._check.records.exists(job) and unreadable(job) is None:
            number, database = describe.address(job)
            yield from self.entry(name, database, number)
            for finding in self._check.jobs.tree(job, name, 'parked', idle=True):
                if (finding.code, finding.oid) != ('call-missing', number):
                    yield finding

    def entry(self, name, database, number):
        """Scope: whether one parked job is elsewhere too."""
        job, queue = self._check.get(database, number), self._check.queues[name]
        if job is None or job not in queue._parked:
            return
        held = any(one is job for agents in queue.dispatchers.values()
                   for agent in agents_of(agents) for one in agent._jobs.values())
        if held or in_line(queue, job):
            place = Place(name, 'parked', ('keeping.entry', name, database, number))
            yield place.finding(
                'job-twice', f'job {number} is parked and elsewhere as well', job)
