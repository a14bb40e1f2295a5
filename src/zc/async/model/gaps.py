"""Jobs are taken out of a line's tree so that many processes do so at once.

Whoever writes a leaf of a tree guards the nodes above it, and leaves alone are merged
where two write the same.  So who takes a job writes its leaf only: no leaf is
emptied, and the first key of none is removed.  What stays is a gap, a key without a
job.  Leaves that have nothing else are swept out, many at a time, since that writes
the nodes above.
"""
import bisect
import itertools

from BTrees.OOBTree import OOBTree

from .walk import items

#: Leaves in a row with nothing but a gap that are left before they are swept out.
GAPS = 4
#: How many times as many are left where others take jobs just now: their commits fail.
SHARED = 8


def live(line, limit=None, start=None):
    """Iterate over keys and jobs of *line*, those from *start* up to the key *limit*."""
    for key, job in items(line, start, limit):
        if job is not None:
            yield key, job


def first_key(line, start=None):
    """Return the key of the first job in *line*, from *start* on, or None."""
    for key, _job in live(line, start=start):
        return key
    return None


def ending(line):
    """Return the key and job of the last in *line*, in a list; empty if none."""
    key = line.maxKey() if line else None
    while key is not None:
        if line[key] is not None:
            return [(key, line[key])]
        key = _before(line, key)
    return []


def _before(line, key):
    """Return the key before *key* in *line*, or None."""
    lower = (int.from_bytes(key, 'big') - 1).to_bytes(len(key), 'big')
    try:
        return line.maxKey(lower)
    except ValueError:
        return None


def take(line, key, shared=False):
    """Take the job at *key*, which is there, out of *line*.

    *shared*: whether others take jobs out of it, too.
    """
    leaf = _leaf(line, key)
    if leaf.minKey() == key:
        line[key] = None
        # another one may follow, after a job that was put in front of it
        for other, job in itertools.islice(list(leaf.items()), 1, None):
            if job is None:
                del line[other]
    else:
        del line[key]
    if _is_gap(leaf):
        run = _row(*_leaves(line, key))
        if len(run) > GAPS * (SHARED if shared else 1):
            _sweep(line, run)


def _leaf(line, key):
    """Return the leaf of *line* that has *key*: mostly one of the first."""
    leaf = line._firstbucket
    for _number in range(GAPS + 2):
        if leaf.maxKey() >= key:
            return leaf
        leaf = leaf._next
        if leaf is None:
            break
    leaves, place = _leaves(line, key)
    return leaves[place]


def _leaves(line, key):
    """Return the leaves below the node that is above *key*, and the place of its own."""
    node = line
    while True:
        state = node.__getstate__()
        if len(state) == 1:  # the only leaf is a part of the record of its node
            return (node._firstbucket,), 0
        children = state[0]
        place = bisect.bisect_right(children[1::2], key)
        if not isinstance(children[0], OOBTree):
            return children[::2], place
        node = children[2 * place]


def _is_gap(leaf):
    return len(leaf) == 1 and leaf[leaf.minKey()] is None


def _row(leaves, place):
    """Return those of *leaves* around *place* that are gaps in a row."""
    before = itertools.takewhile(_is_gap, reversed(leaves[:place]))
    return [*reversed([*before]), *itertools.takewhile(_is_gap, leaves[place:])]


def _sweep(line, run):
    """Take the leaves of *run* out of *line*."""
    if run[-1]._next is None:
        del run[-1]  # who puts the next job writes it
    for leaf in run:
        del line[leaf.minKey()]
