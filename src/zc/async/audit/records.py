"""Looking at what is stored without relying on it.

For those who look for damage: whether a record exists and what it refers to is
read from its bytes, so that no code of the application runs; trees are read from
above, leaf by leaf, so that one leaf that is gone hides no other.
"""
import contextlib
import io

import transaction
from BTrees.OOBTree import OOBucket
from persistent import Persistent
from ZODB.broken import Broken
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadConflictError
from ZODB.serialize import PersistentUnpickler
from ZODB.utils import get_pickle_metadata

from .. import describe
from .. import outage
from ..runtime.attempt import abort

#: Existing records that are remembered, so that what many jobs refer to is
#: looked up once.
_REMEMBERED = 50_000
#: Records whose bytes are kept for a moment, since they are asked for again.
_KEPT = 16
#: Looks at jobs between two times that what was loaded is forgotten.
_BREATH = 500


class Records:
    """The records that *connection*, and those beside it, see in one transaction."""

    def __init__(self, connection):
        self._connection = connection
        self._present = set()
        self._recent = {}  # the bytes of records that were just found
        self._looks = 0

    def exists(self, obj):
        """Return whether the record of the persistent *obj* is in its database.

        What is in no database yet counts as present.  Raise ReadConflictError
        where it went while this transaction ran, by a pack; then begin again.
        """
        jar, oid = obj._p_jar, obj._p_oid
        return jar is None or oid is None or self._exists(jar, oid)

    def _exists(self, jar, oid):
        key = jar.db().database_name, oid
        if key in self._present:
            return True
        data = _stored(jar, oid)
        if data is None:
            return False
        if len(self._present) >= _REMEMBERED:
            self._present.clear()
        if len(self._recent) >= _KEPT:
            self._recent.clear()
        self._present.add(key)
        self._recent[key] = data
        return True

    def missing(self, obj):
        """Return the addresses, ``(jar, oid)``, to which *obj* refers in vain."""
        jar = obj._p_jar
        if jar is None:
            return []
        return [(one, oid) for one, oid in self._references(jar, obj._p_oid)
                if one is not None and not self._exists(one, oid)]

    def _references(self, jar, oid):
        found = []
        data = self._recent.get((jar.db().database_name, oid)) or _stored(jar, oid)
        unpickler = PersistentUnpickler(None, found.append, io.BytesIO(data))
        unpickler.noload()
        unpickler.noload()
        for reference in found:
            yield _address(jar, reference)

    def look(self):
        """Forget what was loaded if it has become much; call it for each job."""
        self._looks += 1
        if self._looks % _BREATH == 0:
            for connection in list(self._connection.connections.values()):
                connection.cacheMinimize()


def _stored(jar, oid):
    """Return the bytes of a record as *jar*'s transaction sees it, or None."""
    try:
        return jar._storage.load(oid)[0]
    except POSKeyError:
        return None
    except ReadConflictError:
        # a pack has taken away what this transaction should see, or a collector
        # of garbage has taken away the object
        if _is_gone(jar, oid):
            return None
        raise


def _is_gone(jar, oid):
    """Return whether the record is not there for somebody who comes now either."""
    manager = transaction.TransactionManager(explicit=True)
    connection = jar.db().open(manager)
    try:
        manager.begin()
        connection._storage.load(oid)
    except (POSKeyError, ReadConflictError):
        return True
    finally:
        abort(manager)
        connection.close()
    return False


def _address(jar, reference):
    """Return the connection and object id of a *reference* found in a record.

    The connection is None for a weak reference, which may well lead nowhere, and
    for one to a database that is not here.
    """
    if isinstance(reference, list):
        if len(reference) < 2 or reference[0] not in ('m', 'n'):
            return None, None
        name, oid = reference[1][:2]
        known = name in jar.db().databases
        return (jar.get_connection(name) if known else None), _as_bytes(oid)
    oid = reference[0] if isinstance(reference, tuple) else reference
    return jar, _as_bytes(oid)


def _as_bytes(oid):
    return oid.encode('ascii') if isinstance(oid, str) else oid


def provides(interface, value):
    """Return whether *value* provides *interface*, without loading it.

    False for what is not persistent.
    """
    return isinstance(value, Persistent) and interface.implementedBy(type(value))


def unreadable(obj):
    """Return why the persistent *obj* cannot be read, or None if it can.

    Raise what says that the storage is away, or that there is a conflict.
    """
    if isinstance(obj, Broken):
        name = describe.type_name(type(obj))
        return f'its class {describe.printable(name, 200)} is gone'
    try:
        obj._p_activate()
    except BaseException as error:
        # also what a ``__setstate__`` raises that should not
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        return describe.error(error)
    return None


# All records

class NoIteration(Exception):
    """The storage cannot tell what records it has."""


def stored(jar, interface):
    """Iterate over the objects of the database of *jar* that provide *interface*.

    In the order of the storage; what is there now, if *jar*'s transaction sees it.
    Raise `NoIteration`.
    """
    known = {}
    for oid, data in _all(jar.db().storage):
        name = get_pickle_metadata(data) if data else None
        if name not in known:
            found = name and jar.db().classFactory(jar, *name)
            known[name] = isinstance(found, type) and interface.implementedBy(found)
        if known[name]:
            with contextlib.suppress(POSKeyError, ReadConflictError):
                yield jar.get(oid)


def _all(storage):
    """Iterate over the object ids and bytes of all records, some more than once."""
    if hasattr(storage, 'record_iternext'):
        following = None
        while True:
            oid, _tid, data, following = storage.record_iternext(following)
            yield oid, data
            if following is None:
                return
    elif not hasattr(storage, 'iterator'):
        raise NoIteration(f'{type(storage).__name__} cannot tell what records it has; '
                          f'leave --records out')
    for transaction_record in storage.iterator():
        for record in transaction_record:
            yield record.oid, record.data


# Trees

def entries(tree, damage):
    """Iterate over the keys and values of the OOBTree *tree*, as far as readable.

    What is wrong with the tree is appended to the list *damage*, in words.
    """
    before, following = None, None
    for leaf, problem in leaves(tree):
        if problem is not None:
            damage.append(f'a part of it cannot be read: {problem}')
            following = None
            continue
        if following is not None and following is not leaf:
            damage.append('a leaf of it leads to a wrong one')
        following = _next(leaf)
        for key, value in list(leaf.items()):
            if before is not None and not before < key:
                damage.append('its keys are not in order')
            before = key
            yield key, value
    if following is not None and not damage:
        damage.append('its last leaf leads to another one')


def leaves(tree):
    """Iterate over the leaves, with why one cannot be read, or None."""
    todo = [tree]
    while todo:
        node = todo.pop()
        problem = unreadable(node)
        if problem is not None:
            yield node, problem
            continue
        state = node.__getstate__()
        if isinstance(node, OOBucket) or (state is not None and len(state) == 1):
            yield node, None  # a small tree has its only leaf in its own record
        elif state is not None:
            todo.extend(reversed(state[0][::2]))


def _next(leaf):
    """Return the leaf after *leaf*, by its link; None if there is none."""
    if not isinstance(leaf, OOBucket):
        return None
    state = leaf.__getstate__()
    return state[1] if len(state) > 1 else None
