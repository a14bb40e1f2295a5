"""The parts of a queue: how to get from one to the next, and what they are called."""
from .records import entries
from .records import unreadable

#: Attributes of a queue in which its parts are.
_OF_QUEUE = ('_lines', 'quotas', 'dispatchers', '_parked')
#: Attributes of parts in which further parts are.
_WITHIN = {
    '_lines': (), 'quotas': ('_data',), 'dispatchers': ('_data', '_len'),
    '_parked': ('_data', '_keys', '_len')}
_OF_DISPATCHER = ('activation', 'last_ping')
_OF_AGENT = ('_jobs', 'completed')
#: Trees: one of them that cannot be read is told of where it is gone through.
TREES = ('_data', '_keys', '_jobs')


def parts(queue):
    """Iterate over the paths and objects of the parts of *queue*, itself first.

    A path is a tuple of steps: ``('attribute', name)``, ``('item', number)`` or
    ``('key', key)``.  Parts below one that cannot be read are left out, and so are
    jobs and trees.
    """
    yield (), queue
    if unreadable(queue) is not None:
        return
    for name in _OF_QUEUE:
        part = getattr(queue, name, None)
        if part is None:
            continue
        path = (('attribute', name),)
        yield path, part
        if unreadable(part) is None:
            yield from _attributes(path, part, _WITHIN[name])
            yield from _BELOW.get(name, _nothing)(path, part)


def _attributes(path, part, names):
    for name in names:
        found = getattr(part, name, None)
        if found is not None and name not in TREES:
            yield (*path, ('attribute', name)), found


def _nothing(path, part):
    return ()


def _shards(path, lines):
    for number, shard in enumerate(getattr(lines, 'shards', ())):
        below = *path, ('attribute', 'shards'), ('item', number)
        yield below, shard
        if unreadable(shard) is None:
            yield from _attributes(below, shard, ('length', 'taken'))


def _quotas(path, quotas):
    for name, quota in entries(quotas._data, []):
        yield (*path, ('attribute', '_data'), ('key', name)), quota


def _dispatchers(path, dispatchers):
    for UUID, agents in entries(dispatchers._data, []):
        below = *path, ('attribute', '_data'), ('key', UUID)
        yield below, agents
        if unreadable(agents) is not None:
            continue
        yield from _attributes(below, agents, _OF_DISPATCHER)
        for name, agent in agents.items():
            yield from _agent((*below, ('key', name)), agent)
        for number, agent in enumerate(agents.retired):
            yield from _agent(
                (*below, ('attribute', 'retired'), ('item', number)), agent)


def _agent(path, agent):
    yield path, agent
    if unreadable(agent) is None:
        yield from _attributes(path, agent, _OF_AGENT)


_BELOW = {'_lines': _shards, 'quotas': _quotas, 'dispatchers': _dispatchers}


def follow(queue, path):
    """Return what *path* leads to from *queue*, or None."""
    found = queue
    for kind, value in path:
        try:
            found = getattr(found, value) if kind == 'attribute' else found[value]
        except (AttributeError, LookupError):
            return None
    return found


def text_of(path):
    """Return *path* as text: ``dispatchers, 'main', completed``."""
    shown = [str(value) if kind == 'attribute' else repr(value) for kind, value in path]
    return ', '.join(name.lstrip('_') for name in shown) or 'the queue'


def agents_of(agents):
    """Return the agents of a dispatcher, those that were removed too, each once."""
    found = {id(agent): agent for agent in (*agents.values(), *agents.retired)}
    return list(found.values())


# Names and parents

def links(queue_name, queues):
    """Iterate over ``(part, attribute, what it must be)`` for a queue's parts.

    Parts that cannot be read are left out.
    """
    queue = queues[queue_name]
    wanted = [(queue, 'parent', queues), (queue, 'name', queue_name)]
    for name in ('quotas', 'dispatchers', '_parked'):
        wanted.append((getattr(queue, name, None), 'parent', queue))
    wanted += _links_of_shards(queue)
    if unreadable(queue.quotas) is None:
        for name, quota in entries(queue.quotas._data, []):
            wanted += [(quota, 'parent', queue), (quota, 'name', name)]
    if unreadable(queue.dispatchers) is None:
        for UUID, agents in entries(queue.dispatchers._data, []):
            wanted += _links_of_dispatcher(queue, UUID, agents)
    for part, attribute, value in wanted:
        if part is not None and unreadable(part) is None:
            yield part, attribute, value


def _links_of_shards(queue):
    lines = getattr(queue, '_lines', None)
    if lines is None or unreadable(lines) is not None:
        return []
    return [(shard, 'number', number)
            for number, shard in enumerate(getattr(lines, 'shards', ()))]


def _links_of_dispatcher(queue, UUID, agents):
    found = [(agents, 'parent', queue), (agents, 'name', UUID), (agents, 'UUID', UUID)]
    if unreadable(agents) is None:
        for name, agent in agents.items():
            found += [(agent, 'parent', agents), (agent, 'name', name)]
    return found


def is_linked(part, attribute, value):
    """Return whether *attribute* of *part* is *value*."""
    found = getattr(part, attribute, None)
    return found is value if attribute == 'parent' else found == value
