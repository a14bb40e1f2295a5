"""Repairing what holds jobs: parts, names, trees and counters."""
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping

from ..current import read_current
from ..model.completed import Completed
from ..model.lines import Lines
from ..model.lines import Shard
from ..model.liveness import Activation
from ..model.liveness import Ping
from ..model.parking import Parked
from ..model.quota import Quotas
from ..queue import Dispatchers
from .done import pages
from .places import oid_of
from .records import entries
from .records import leaves
from .records import unreadable
from .rescue import CannotRepair
from .structure import follow
from .structure import is_linked
from .structure import links

#: What is put in the place of a part that is gone.
_EMPTY = {
    '_lines': Lines, 'quotas': Quotas, 'dispatchers': Dispatchers, 'length': Length,
    'returned': Length, 'taken': Length, '_len': Length, 'completed': Completed,
    'activation': Activation, 'last_ping': Ping}


# Parts

def replace_part(check, finding):
    """Put an empty part in the place of one that is gone, or take it out."""
    _scope, name, path = finding.scope
    queue = check.queues[name]
    owner, (kind, value) = follow(queue, path[:-1]), path[-1]
    if kind == 'attribute':
        part = Parked(queue) if value == '_parked' else _EMPTY[value]()
        if value in ('quotas', 'dispatchers'):
            part.parent = queue
        setattr(owner, value, part)
        return 'replaced by an empty one'
    if kind == 'item':
        return _replace_item(follow(queue, path[:-2]), path[-2][1], value)
    if isinstance(owner, PersistentMapping):
        PersistentMapping.__delitem__(owner, value)  # ours would read what is gone
        return 'taken out'
    del owner[value]
    if path[0][1] == 'quotas':
        queue.quotas.create(value)
        return 'created again with size 1'
    queue.dispatchers._len.change(-1)
    return 'taken out'


def _replace_item(owner, attribute, number):
    items = list(getattr(owner, attribute))
    if attribute == 'shards':
        items[number] = Shard(number)
    else:
        del items[number]
    setattr(owner, attribute, tuple(items))
    return 'replaced by an empty one' if attribute == 'shards' else 'taken out'


def set_links(check, finding):
    """Set the names and parents of a part."""
    done = []
    for part, attribute, value in links(finding.queue, check.queues):
        if oid_of(part) == finding.oid and not is_linked(part, attribute, value):
            setattr(part, attribute, value)
            done.append(attribute)
    return f'{" and ".join(done)} set'


# Trees

def rebuild(check, finding):
    """Make a new tree of what can be read."""
    return _TREES[finding.scope[0]](check, *finding.scope[1:])


def _rebuilt(tree, keep=lambda key, value: True):
    """Return a new tree with what can be read of *tree*, and empty that one.

    Whoever adds to a leaf of the old tree meanwhile must not be able to commit: so
    each of its records is written or guarded.
    """
    new = OOBTree()
    for key, value in list(entries(tree, [])):
        if keep(key, value):
            new[key] = value
    for leaf, problem in list(leaves(tree)):
        if problem is None:
            leaf.clear()
            leaf._p_changed = True
    if unreadable(tree) is None:
        read_current(tree)
    return new


def _shard(check, name, number):
    shard = check.queues[name]._lines.shards[number]
    new, count = {}, 0
    for line_name, tree in shard.lines.items():
        damage = []
        jobs = sum(1 for _key, job in entries(tree, damage) if job is not None)
        new[line_name] = _rebuilt(tree, lambda key, job: job is not None) \
            if damage else tree
        count += jobs
    shard.lines = new
    _recount_shard(shard, count)
    return f'made again, with {count} jobs in the shard'


def _known(check, name):
    dispatchers = check.queues[name].dispatchers
    dispatchers._data = _rebuilt(dispatchers._data)
    _recount(dispatchers._len, len(dispatchers._data))
    return f'made again, with {len(dispatchers._data)} dispatchers'


def _agent(check, name, UUID, number):
    agent = check.holding.find(name, UUID, number)
    agent._jobs = _rebuilt(agent._jobs)
    return f'made again, with {len(agent._jobs)} jobs'


def _quotas(check, name):
    quotas = check.queues[name].quotas
    quotas._data = _rebuilt(quotas._data)
    return f'made again, with {len(quotas._data)} quotas'


def _parked(check, name):
    """Let both trees of the parked jobs tell the same."""
    parked = check.queues[name]._parked
    addresses = [address for address, _key in entries(parked._keys, [])]
    parked._data, parked._keys = _rebuilt(parked._data), _rebuilt(
        parked._keys, lambda address, key: False)
    for key, (job, *_told) in parked._data.items():
        parked._keys[parked._address(job)] = key
    parked._len.change(len(parked._data) - parked._len())
    for address in addresses:
        if address not in parked._keys:
            database = address[:-8].decode() or parked._p_jar.db().database_name
            job = check.get(database, int.from_bytes(address[-8:], 'big'))
            if job is not None:
                parked.add(job, 'its reason is lost')
    return f'made again, with {len(parked)} jobs'


def _day(check, name, UUID, number, day_number):
    day = find_day(check, name, UUID, number, day_number)
    jobs = [job for job in pages(day, []) if check.records.exists(job)]
    refill(day, jobs)
    return f'made again, with {len(jobs)} jobs'


def find_day(check, name, UUID, number, day_number):
    """Return the day of completed jobs with the object id *day_number*."""
    for day in check.holding.find(name, UUID, number).completed._days:
        if oid_of(day) == day_number:
            return day


def refill(day, jobs):
    """Let *day* have *jobs*, the newest first, and no others."""
    day.jobs, day.before, day.count = (), None, 0
    for job in reversed(jobs):
        day.add(job)


_TREES = {
    'waiting.shard': _shard, 'holding.known': _known, 'holding.agent': _agent,
    'counting.tree': _quotas, 'keeping.parked': _parked, 'done.day': _day}


# Counters

def recount(check, finding):
    """Let a counter say what is there."""
    scope, name, *args = finding.scope
    queue = check.queues[name]
    if scope == 'done.day':
        day = find_day(check, name, *args)
        day.count = sum(1 for _job in pages(day, []))
        return f'set to {day.count}'
    if scope == 'waiting.shard':
        shard = queue._lines.shards[args[0]]
        return _recount_shard(shard, sum(
            1 for tree in shard.lines.values()
            for _key, job in entries(tree, []) if job is not None))
    counted = queue.dispatchers if scope == 'holding.known' else queue._parked
    return _recount(counted._len, sum(1 for _entry in entries(counted._data, [])))


def _recount(length, count):
    return _change([length], lambda: count - length(), count)


def _recount_shard(shard, count):
    return _change(shard.counters, lambda: count - shard.count, count)


def _change(counters, difference, count):
    # by a difference, which is right also if others change what is counted now
    if any(unreadable(one) is not None for one in counters):
        raise CannotRepair('the counter is missing, and has to be replaced first')
    counters[0].change(difference())
    return f'set to {count}'
