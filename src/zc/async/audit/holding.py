"""What has to hold of dispatchers, their agents, and the jobs that these hold."""
from ..agent import AHEAD
from ..model import status
from .findings import Place
from .places import oid_of
from .records import entries
from .records import unreadable
from .structure import agents_of

#: What is stored of the status of a job that an agent may hold.
HELD = (status.UNSET, status.BEGUN, status.SETTLED)


class Holding:
    """Looks at dispatchers and agents, for *check*."""

    title = 'dispatchers'

    def __init__(self, check):
        self._check = check

    def all(self, name):
        """Yield what is wrong with the dispatchers of the queue *name*."""
        dispatchers = self._check.queues[name].dispatchers
        if unreadable(dispatchers) is not None:
            return
        yield from self.known(name)
        for UUID, agents in entries(dispatchers._data, []):
            for agent in agents_of(agents) if unreadable(agents) is None else ():
                if unreadable(agent) is None:
                    yield from self._agent(name, UUID, agent, True)
                    yield from self._check.done.all(name, UUID, agent)

    def known(self, name):
        """Scope: the tree of dispatchers and their number."""
        dispatchers, damage = self._check.queues[name].dispatchers, []
        place = Place(name, 'dispatchers', ('holding.known', name))
        count = sum(1 for _entry in entries(dispatchers._data, damage))
        counter = dispatchers._len
        if damage:
            yield place.finding(
                'tree-broken', f'the dispatchers: {damage[0]}', dispatchers._data)
        elif unreadable(counter) is None and counter() != count:
            yield place.finding(
                'count-wrong', f'{counter()} dispatchers are counted, and there are '
                f'{count}', counter)

    def agent(self, name, UUID, number):
        """Scope: the tree of one agent, and how much it holds."""
        agent = self.find(name, UUID, number)
        return () if agent is None else self._agent(name, UUID, agent, False)

    def _agent(self, name, UUID, agent, look):
        place = Place(name, f'agent {agent.name!r} of {UUID}',
                      ('holding.agent', name, UUID, oid_of(agent)))
        count, damage = 0, []
        for key, job in entries(agent._jobs, damage):
            count += 1
            if look:
                yield from self._entry(name, UUID, agent, key, job)
        if damage:
            yield place.finding('tree-broken', f'{place.name}: {damage[0]}', agent._jobs)
        elif count > agent.size + AHEAD:
            yield place.finding(
                'agent-exceeded', f'{place.name} holds {count} jobs, and its size is '
                f'{agent.size}; {AHEAD} more may be claimed ahead', agent)

    def find(self, name, UUID, number):
        """Return the readable agent with the object id *number*, or None."""
        agents = self._check.queues[name].dispatchers._data.get(UUID)
        for agent in () if agents is None else agents_of(agents):
            if oid_of(agent) == number and unreadable(agent) is None:
                return agent
        return None

    def entry(self, name, UUID, number, key):
        """Scope: one job that an agent holds."""
        agent = self.find(name, UUID, number)
        job = None if agent is None else agent._jobs.get(key)
        return () if job is None else self._entry(name, UUID, agent, key, job)

    def _entry(self, name, UUID, agent, key, job):
        self._check.look()
        place = Place(name, f'agent {agent.name!r} of {UUID}',
                      ('holding.entry', name, UUID, oid_of(agent), key))
        readable, finding = self._check.jobs.read(job, place)
        if readable:
            finding = self._misplaced(job, agent, place)
            yield from self._check.jobs.tree(job, name, place.name)
        activation = self._check.queues[name].dispatchers._data[UUID].activation
        if finding is None and unreadable(activation) is None and (
                activation.micros is None):
            finding = place.finding(
                'held-by-nobody', f'job {oid_of(job)} is held by {place.name}, a '
                f'dispatcher that is not activated', job)
        if finding is not None:
            yield finding
        elif readable:
            yield from self._uncounted(job, name, place)

    def _misplaced(self, job, agent, place):
        key = place.scope[-1]
        if job.parent is not agent:
            return self._check.jobs.places.elsewhere(job, place)
        # completed by its worker, it leaves with the dispatcher's next turn
        leaves = job._code == status.FINISHED and not job._quota_names
        if job._code not in HELD and not leaves:
            return place.finding(
                'status-wrong', f'job {oid_of(job)} is {status.of(job)} and held by '
                f'{place.name}', job)
        if job._order == key:
            return None
        if job._order is not None and agent._jobs.get(job._order) is job:
            return place.finding(
                'job-twice', f'{place.name} holds job {oid_of(job)} twice', job)
        return place.finding(
            'order-wrong', f'{place.name} holds job {oid_of(job)} under another key', job)

    def _uncounted(self, job, name, place):
        """Yield the quotas that should count the claimed *job* and do not."""
        quotas = self._check.queues[name].quotas
        if job._code == status.SETTLED or unreadable(quotas) is not None:
            return  # such a job may have come to its result without being claimed
        for quota_name in job.quota_names:
            quota = quotas.get(quota_name)
            if quota is not None and unreadable(quota) is None and job not in quota:
                yield place.finding(
                    'quota-uncounted', f'quota {quota_name!r} does not count job '
                    f'{oid_of(job)}, which is {status.of(job)}', job, quota._p_oid)
