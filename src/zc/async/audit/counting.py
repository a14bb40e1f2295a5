"""What has to hold of quotas."""
from ..interfaces import IQueue
from ..model import status
from .findings import Place
from .holding import HELD
from .places import oid_of
from .records import entries
from .records import provides
from .records import unreadable
from .structure import agents_of
from .waiting import shards


class Counting:
    """Looks at quotas, for *check*."""

    title = 'quotas'

    def __init__(self, check):
        self._check = check

    def all(self, name):
        """Yield what is wrong with the quotas of the queue *name*."""
        quotas = self._check.queues[name].quotas
        if unreadable(quotas) is not None:
            return
        yield from self.tree(name)
        names = {quota_name for quota_name, _quota in entries(quotas._data, [])}
        for quota_name in sorted(names):
            yield from self.quota(name, quota_name)
        for quota_name in sorted(self._named(name) - names):
            yield self._no_quota(name, quota_name)

    def tree(self, name):
        """Scope: the tree of the quotas."""
        tree, damage = self._check.queues[name].quotas._data, []
        for _entry in entries(tree, damage):
            pass
        if damage:
            yield Place(name, 'quotas', ('counting.tree', name)).finding(
                'tree-broken', f'the quotas: {damage[0]}', tree)

    def quota(self, name, quota_name):
        """Scope: one quota and what it counts."""
        quota = self._check.queues[name].quotas.get(quota_name)
        if quota is None or unreadable(quota) is not None:
            return
        place = Place(
            name, f'quota {quota_name!r}', ('counting.quota', name, quota_name))
        seen = set()
        for job in quota:
            text = self.stale(job, quota, name, seen)
            if text is not None:
                yield place.finding(
                    'quota-stale', f'{place.name} counts job {oid_of(job)}, {text}', job)
            elif unreadable(job) is None:
                yield from self._check.jobs.mention(job, name)
        if len(quota) > quota.size:
            yield place.finding(
                'quota-exceeded', f'{place.name} counts {len(quota)} jobs, and its size '
                f'is {quota.size}', quota)

    def stale(self, job, quota, name, seen):
        """Return why *quota* should not count *job*, or None.

        *seen* are the object ids of those that it counts before.
        """
        if not self._check.records.exists(job):
            return 'which is missing'
        if unreadable(job) is not None:
            return None
        if oid_of(job) in seen:
            return 'twice'
        seen.add(oid_of(job))
        unclaimed = job.parent is None or provides(IQueue, job.parent)
        if job._code not in HELD or job._code == status.UNSET and unclaimed:
            return f'which is {status.of(job)}'
        if job.queue is not None and job.queue is not self._check.queues[name]:
            return f'which is in queue {job.queue.name!r}'
        if quota.name not in job.quota_names:
            return 'which does not name it'
        return None

    def missing(self, name, quota_name):
        """Scope: whether a quota that jobs name exists."""
        if (quota_name not in self._check.queues[name].quotas
                and quota_name in self._named(name)):
            yield self._no_quota(name, quota_name)

    def _no_quota(self, name, quota_name):
        place = Place(name, f'quota {quota_name!r}',
                      ('counting.missing', name, quota_name))
        return place.finding(
            'quota-missing', f'jobs of queue {name!r} name the {place.name}, which does '
            f'not exist')

    def _named(self, name):
        """Return the names of quotas that waiting and held jobs of a queue name."""
        queue, found = self._check.queues[name], set()
        for shard in shards(queue):
            found.update(*self._named_by(shard) if unreadable(shard) is None else ())
        for job in self._held(queue):
            found.update(job.quota_names)
        return found

    def _named_by(self, shard):
        """Iterate over the quota names of the lines of *shard* that are not empty."""
        for line_name, tree in shard.lines.items():
            if line_name[1] and any(job is not None for _key, job in entries(tree, [])):
                yield line_name[1]

    def _held(self, queue):
        """Iterate over the jobs that agents hold and that have no result yet."""
        if unreadable(queue.dispatchers) is not None:
            return
        for _UUID, agents in entries(queue.dispatchers._data, []):
            for agent in agents_of(agents) if unreadable(agents) is None else ():
                if unreadable(agent) is not None:
                    continue
                for _key, job in entries(agent._jobs, []):
                    if unreadable(job) is None and job._code != status.SETTLED:
                        yield job
