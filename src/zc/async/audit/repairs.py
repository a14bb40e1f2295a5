"""Repairs: for each kind of finding, what puts it right.

A repair acts in the transaction of a `.check.Check` that has found the thing again,
and commits nothing.  It returns what it has done, in words.
"""
from .. import timekeys
from ..current import read_current
from ..interfaces import ICallbackProxy
from ..model import parking
from ..model import recovery
from ..model import status
from ..model.callbacks import is_node
from ..model.callbacks import SETTLED
from ..model.lines import _take
from .done import pages
from .places import in_line
from .rebuild import find_day
from .rebuild import rebuild
from .rebuild import recount
from .rebuild import refill
from .rebuild import replace_part
from .rebuild import set_links
from .records import provides
from .records import unreadable
from .rescue import anew_in_line
from .rescue import bring_result
from .rescue import can_ask
from .rescue import CannotRepair
from .rescue import give_up_waiting
from .rescue import has_place
from .rescue import rescue
from .rescue import resume


def repair(check, finding):
    """Put right what *finding*, just found by *check*, tells; return what was done.

    Commits nothing.  Raise `CannotRepair`.
    """
    if not finding.repairable:
        raise CannotRepair('there is no repair for this')
    return _REPAIRS[finding.code](check, finding)


# Entries of lines and agents

class _Entry:
    """A job in a line or in an agent, as a finding names it."""

    def __init__(self, check, finding):
        self._scope, name, *args = finding.scope
        self.name = name
        self.queue = check.queues[name]
        self.key = args[-1]
        self.in_line = self._scope == 'waiting.entry'
        if self.in_line:
            number, self.line_name, _key = args
            self.shard = self.queue._lines.shards[number]
            self.job = self.shard.lines[self.line_name][self.key]
        else:
            self.agent = check.holding.find(name, *args[:2])
            self.job = self.agent._jobs[self.key]

    def take_out(self):
        """Take the entry out; the job is not read."""
        if self.in_line:
            _take(self.shard, self.line_name, self.key)
        else:
            del self.agent._jobs[self.key]


def _park_unread(check, finding):
    entry = _Entry(check, finding)
    entry.take_out()
    parking.park_unread(entry.queue, entry.job, finding.text)
    return 'parked'


def _put_in_order(check, finding):
    entry = _Entry(check, finding)
    queue, job, key = entry.queue, entry.job, entry.key
    entry.take_out()
    if not entry.in_line:
        job._order = key if has_place(queue, key) else None
        entry.agent.hold(job)
        return 'its key set'
    if not has_place(queue, key) or _at_wrong_time(job, key):
        return anew_in_line(queue, job)
    job._order = key
    queue._lines.restore(job)
    return 'put where it belongs' if in_line(queue, job) else anew_in_line(queue, job)


def _at_wrong_time(job, key):
    due, rank, _stamp, _number = timekeys.split(key)
    after = job._begin_after
    return not job._code and (
        rank == timekeys.SCHEDULED and after != due
        or rank == timekeys.READY and after is not None and after > due)


def _let_be_here(check, finding):
    entry = _Entry(check, finding)
    entry.job.parent = entry.queue if entry.in_line else entry.agent
    if has_place(entry.queue, entry.key):
        entry.job._order = entry.key
    return 'now it says that it is there'


def _leave_in_one_place(check, finding):
    if finding.scope[0] != 'keeping.entry':
        _Entry(check, finding).take_out()
        return 'taken out here'
    _scope, name, database, number = finding.scope
    job, queue = check.get(database, number), check.queues[name]
    if job._code != status.KEPT:
        queue._parked._remove(job)
        return 'taken out of the parked jobs'
    queue._lines.discard(job)
    for agents in queue.dispatchers.values():
        for agent in agents.values():
            agent.drop(job)
    return 'left among the parked jobs only'


def _move_by_status(check, finding):
    if finding.scope[0] == 'done.day':
        return _take_out_of_day(check, finding)
    entry = _Entry(check, finding)
    job, queue = entry.job, entry.queue
    if job._code == status.FINISHED:
        if entry.in_line:
            entry.take_out()
            job._order = None
        else:
            job.parent, job._order = entry.agent, entry.key
            entry.agent.jobCompleted(job)
        return 'taken out, since it is done'
    entry.take_out()
    if job._code == status.KEPT:
        job.parent, job._order = queue, None
        queue.parked.add(job, 'it was found elsewhere', job._deaths)
        return 'left among the parked jobs'
    return resume(queue, job)


def _take_out_of_day(check, finding):
    _scope, name, *where = finding.scope
    day, job = find_day(check, name, *where), check.get(finding.database, finding.oid)
    refill(day, [one for one in pages(day, []) if one is not job])
    if check.jobs.places.lost(job):
        return f'taken out there; {rescue(check.queues[name], job)}'
    return 'taken out there'


def _hand_back(check, finding):
    entry = _Entry(check, finding)
    agent, job = entry.agent, entry.job
    read_current(entry.queue.dispatchers[finding.scope[2]].activation)
    if job._code == status.BEGUN and not can_ask(job):
        entry.take_out()
        return resume(entry.queue, job)
    recovery.hand_back(agent, job, entry.queue)
    return f'handed back; now it is {job.status}'


def _rescue(check, finding):
    return rescue(check.queues[finding.queue], _about(check, finding))


# Quotas

def _create_quota(check, finding):
    _scope, name, quota_name = finding.scope
    check.queues[name].quotas.create(quota_name)
    return 'created with size 1'


def _count_no_more(check, finding):
    _scope, name, quota_name = finding.scope
    quota = check.queues[name].quotas[quota_name]
    seen = set()
    quota._data = tuple(job for job in quota._data
                        if check.counting.stale(job, quota, name, seen) is None)
    return 'counted no more'


def _count(check, finding):
    job, queue = _about(check, finding), check.queues[finding.queue]
    for name in job.quota_names:
        quota = queue.quotas.get(name)
        if quota is not None and quota._p_oid == _oid(finding.other):
            # over the size as well: this is how many run
            quota._data = (*quota._data, job)
    return 'counted'


# Jobs and what follows from them

def _about(check, finding):
    job = check.get(finding.database, finding.oid)
    if job is None:
        raise CannotRepair('it cannot be read any more')
    return job


def _oid(number):
    return number.to_bytes(8, 'big')


def _park(check, finding):
    job = _about(check, finding)
    parking.park(job, finding.text)
    return 'parked'


def _drop_callback(check, finding):
    node = _about(check, finding)
    record = node.callback_record()
    record.callbacks = tuple(
        one for one in record.callbacks if check.records.exists(one))
    if provides(ICallbackProxy, node):
        for name in ('success', 'failure', 'job'):
            held = getattr(node, name, None)
            if held is not None and not check.records.exists(held):
                setattr(node, name, None)
    return 'taken out'


def _set_parent(check, finding):
    node = check.get(finding.database, finding.other)
    _about(check, finding).parent = node
    return 'its parent set'


def _do_callback(check, finding):
    """Let the completed job, and what it follows from, go on as if it were not."""
    queue = check.queues[finding.queue]
    node = top = _about(check, finding)
    while node is not None and node.status in SETTLED:
        node._code, top = status.SETTLED, node
        node = node.parent if is_node(node.parent) else None
    if is_node(top.parent):
        return 'left to what it follows from'  # which is not completed
    if not any(top in agent for agents in queue.dispatchers.values()
               for agent in agents.values()):
        top.parent = queue
        queue.putBack(top)
    return 'put in line'


def _unstick(check, finding):
    _about(check, finding)._awaits = None
    return 'left to its policy'


def _end_waiting(check, finding):
    job, queue = _about(check, finding), check.queues[finding.queue]
    inner = job._awaits
    if not check.records.exists(inner):
        return give_up_waiting(queue, job)
    if inner.status in SETTLED:
        return bring_result(queue, job, inner)
    inner.append_callback(job)
    return 'the other job knows of it again'


def _forget(check, finding):
    job = _about(check, finding)
    gone = _oid(finding.other)
    if getattr(job._retry_policy, '_p_oid', None) == gone:
        job._retry_policy = None
        return 'it gets a new retry policy'
    if unreadable(job._call) is None and getattr(
            job._call.annotations, '_p_oid', None) == gone:
        job._call.annotations = None
        return 'its annotations are empty'
    raise CannotRepair('there is no repair for this')


_REPAIRS = {
    'part-missing': replace_part,
    'link-wrong': set_links,
    'tree-broken': rebuild,
    'count-wrong': recount,
    'job-missing': _park_unread,
    'job-unreadable': _park_unread,
    'order-wrong': _put_in_order,
    'place-wrong': _let_be_here,
    'job-twice': _leave_in_one_place,
    'status-wrong': _move_by_status,
    'held-by-nobody': _hand_back,
    'orphan': _rescue,
    'quota-missing': _create_quota,
    'quota-stale': _count_no_more,
    'quota-uncounted': _count,
    'call-missing': _park,
    'callback-missing': _drop_callback,
    'callback-parent': _set_parent,
    'callback-undone': _do_callback,
    'callback-stuck': _unstick,
    'waits-in-vain': _end_waiting,
    'reference-missing': _forget,
}
