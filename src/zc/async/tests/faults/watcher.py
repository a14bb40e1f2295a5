"""Looks at each committed state: what is where, and what has become of it."""
import collections

import transaction
import ZODB
from ZODB.utils import u64

from ... import failures
from ...agent import AHEAD
from ...audit import check
from ...interfaces import ACTIVE
from ...interfaces import ASSIGNED
from ...interfaces import CALLBACKS
from ...interfaces import COMPLETED
from ...interfaces import KEY
from ...interfaces import NEW
from ...interfaces import PARKED
from ...interfaces import PENDING
from ...job import Job
from ...model import callbacks
from ...model.workflow import Course
from .model import Seen
from .workload import Entry

#: The statuses of a job that an agent holds.
HELD = (ASSIGNED, ACTIVE, CALLBACKS)


class Watcher:
    """Tells *model* of what each commit to *cluster* shows."""

    def __init__(self, cluster, model):
        self.cluster, self.model = cluster, model
        self.db = ZODB.DB(cluster.server)
        self.manager = transaction.TransactionManager(explicit=True)
        self.connection = self.db.open(transaction_manager=self.manager)
        self.names = {}         # oid of a job -> the name of its spec, or None
        self.oids = {}          # the other way round
        self.unfinished = {}    # oid -> name of what was in a line or an agent
        self.sizes = collections.Counter()  # what has a size -> its members
        self.holdings = collections.defaultdict(_Holding)  # of agents
        self.drained = False
        cluster.watchers.append(self)

    def __call__(self, process, tid, oids):
        self.db._mvcc_storage.invalidate(tid, oids)
        self.manager.begin()
        try:
            touched = self._look_at(oids, process.name)
            for name in touched:
                self.model.coherent(name)
            queue = (self.connection.root().get(KEY) or {}).get('')
            if queue is not None:
                self.look_at_queue(queue)
        finally:
            self.manager.abort()

    # Objects that were changed

    def _look_at(self, oids, by):
        """Tell of jobs and effects among *oids*; return their names."""
        names = []
        for oid in oids:
            found = self.connection.get(oid)
            if isinstance(found, Job):
                name = self._name(found)
                if name is not None:
                    self.model.changed(
                        name, see(found), by, self.cluster.baton.now)
                    names.append(name)
            elif isinstance(found, Entry):
                self.model.effect(found.name, found.count)
                names.append(found.name)
        return names

    def _name(self, job):
        """Return the name of *job*'s spec, or None."""
        oid = job._p_oid
        if oid not in self.names:
            name = self.names[oid] = name_of(job)
            self.oids[name] = oid
        return self.names[oid]

    # Where everything is

    def look_at_queue(self, queue):
        """Check that each job is in one place, and counted there."""
        places = collections.defaultdict(list)
        for shard in queue._lines.shards:
            self._look_at_shard(shard, places)
        for UUID, agents in queue.dispatchers.items():
            for agent in (*agents.values(), *agents.retired):
                self._look_at_agent(UUID, agent, places)
        for entry in queue.parked:
            places[entry.job].append('parked')
        for job, where in places.items():
            if len(where) > 1:
                self._problem(job, f'is in {where}')
        for quota in queue.quotas.values():
            self._look_at_quota(quota, places)
        self._look_for_lost({job._p_oid for job in places})
        self._look_for_dead(queue.dispatchers)

    def _look_at_shard(self, shard, places):
        count = 0
        for line in shard.lines.values():
            for key, job in line.items():
                if job is None:
                    continue
                count += 1
                places[job].append('line')
                if job._order != key or job.status not in (PENDING, CALLBACKS):
                    self._problem(job, f'is {job.status} in a line')
        if shard.count != count:
            self.model.problem(f'a shard of {count} jobs counts {shard.count}')

    def _look_at_agent(self, UUID, agent, places):
        for job in agent:
            places[job].append(f'agent of {UUID.int}')
            # one that its worker has completed leaves with the next turn
            leaves = job.status is COMPLETED and not job.quota_names
            if not (leaves or job.status in HELD) or job.parent is not agent:
                self._problem(job, f'is {job.status} in an agent')
        holding, now = self.holdings[agent], self.cluster.baton.now
        problem = holding.change(set(agent), agent.size, now)
        if len(agent) and agent.queue.dispatchers[UUID].activated is None:
            problem = 'holds jobs, and its dispatcher is not activated'
        if problem:
            self.model.problem(f'agent {u64(agent._p_oid)} of {UUID.int} {problem}')

    def _look_at_quota(self, quota, places):
        self._check_size(quota.name, len(quota), quota.size)
        held = {job for job, (where, *_more) in places.items()
                if where not in ('line', 'parked') and quota.name in job.quota_names
                and job.status in (ASSIGNED, ACTIVE)}
        for job in held - set(quota):
            self._problem(job, f'is claimed and not counted in quota {quota.name}')
        if len(set(quota)) != len(quota):
            self.model.problem(f'quota {quota.name} counts a job twice')

    def _check_size(self, what, members, size):
        """Let *what* have more members than its size only after it was shrunk."""
        if members > size and members > self.sizes[what]:
            self.model.problem(f'{what} has {members} members and a size of {size}')
        self.sizes[what] = members

    def _look_for_dead(self, dispatchers):
        """Tell whose dispatchers count as dead, and perhaps let them go on just now."""
        dead = [process for process in self.cluster.processes
                if process.UUID is not None and process.UUID in dispatchers
                and dispatchers[process.UUID].activated is None]
        for process in dead:
            if process.thaws and process.name not in self.model.dead:
                process.frozen_until = 0
        self.model.dead = {process.name for process in dead}

    def _look_for_lost(self, placed):
        """Check that what is not done is somewhere, or waits for what is."""
        for oid in placed:
            if oid not in self.unfinished:
                self.unfinished[oid] = self.names.get(oid)
        for oid in [oid for oid in self.unfinished if oid not in placed]:
            job = self.connection.get(oid)
            if job.status is COMPLETED or self._was_taken(job):
                del self.unfinished[oid]
            elif not self._follows(job, placed):
                self._problem(job, f'is {job.status}, and nowhere')
        self.drained = not self.unfinished

    def _follows(self, job, placed):
        """Return whether somebody who is in a place will come to *job*.

        It waits for another job, or has its result and callbacks left to do that
        others do who have brought it; or a call of its ``fail`` stands in for it.
        """
        if job._begin_by is not None and job.status in (PENDING, NEW):
            return True
        if job.status not in (ACTIVE, CALLBACKS):
            return False
        todo, seen = list(placed), set(placed)
        while todo:
            for child in _following(self.connection.get(todo.pop())):
                if child is job:
                    return True
                if child._p_oid not in seen:
                    seen.add(child._p_oid)
                    todo.append(child._p_oid)
        return False

    def _was_taken(self, job):
        """Return whether somebody outside has taken *job* for good."""
        return job.status is NEW and self.names.get(job._p_oid) in self.model.pulled

    def _problem(self, job, text):
        name = self._name(job) or f'{job.kind} {int.from_bytes(job._p_oid, "big")}'
        self.model.problem(f'{name} {text}')

    def tell(self, oid):
        """Return for people what the job *oid* is, and where."""
        self.manager.begin()
        try:
            job = self.connection.get(oid)
            return f'{self.names.get(oid)}: {see(job)}, in {type(job.parent).__name__}'
        finally:
            self.manager.abort()

    def finish(self):
        """Look at all of it in the end; return what is wrong."""
        self.manager.begin()
        try:
            self.look_at_queue(self.connection.root()[KEY][''])
            found = check.problems(self.connection)
        finally:
            self.manager.abort()
        return found + list(self.cluster.server.dangling())

    def close(self):
        """Close its connection."""
        self.connection.close()


class _Holding:
    """What an agent holds, and what its size was of late.

    Who claims may not have heard yet that it was changed.
    """

    def __init__(self):
        self._jobs = set()
        self._sizes = {}  # size -> when it was seen last

    def change(self, jobs, size, now):
        """Take note; return what is wrong with it, or None."""
        kept, new = self._jobs & jobs, jobs - self._jobs
        self._jobs = jobs
        # … within the time that a transaction may last, whatever happens to it
        self._sizes[size] = now
        recent = [one for one, last in self._sizes.items() if now - last < 100]
        # others may be claimed ahead of the threads that could begin them
        room = max(recent) - len(kept)
        if len(jobs) <= max(recent) + AHEAD:
            new = {job for job in new if job.quota_names}
        if len(new) > max(room, 0) and any(
                job._attempt or job.status is CALLBACKS for job in kept):
            # it was full of jobs that wait for others, or became so by such a one
            room = max(room, 1)
            new = {job for job in new if job.status is not CALLBACKS}
        if len(new) > max(room, 0):
            return f'claimed {len(new)} jobs with room for {room}'
        return None


def _following(node):
    """Yield what is come to from *node*: its callbacks, and the end of a course."""
    yield from callbacks.children(node)
    course = getattr(getattr(node, '_call', None), 'target', None)
    if isinstance(course, Course):
        yield course.last


def see(job):
    """Return what is to be seen of *job*."""
    error = result = None
    ended = job.status in (CALLBACKS, COMPLETED) or (
        job.status is PARKED and job._active_end is not None)
    if ended:
        if failures.is_failure(job.result):
            error = job.result.type.__name__ if isinstance(
                job.result.type, type) else str(job.result.type).rpartition('.')[2]
        result = f'{job.result}'
    policy = job._retry_policy
    return Seen(
        job.status, job._attempt, error, job._awaits is not None,
        0 if policy is None else policy.data.get('interruptions', 0), result,
        ended)


def name_of(job):
    """Return the name of the spec of *job*, or None if it has none."""
    first = next(iter(job._call.args), None)
    if isinstance(first, Entry):
        return first.name
    if isinstance(first, Job) and job._call.kwargs:
        return (name_of(first) or '').rpartition('.')[0] or None
    return None
