"""Short, safe texts about objects: for reprs, logs and what is remembered.

Nothing here raises, whatever the objects do, and nothing returns a text that
is long or that breaks a line.
"""
import types
import uuid

import persistent
from ZODB.utils import u64

#: Characters of one described object at most.
LIMIT = 1000

_ESCAPED = {number: f'\\x{number:02x}' for number in (*range(32), *range(127, 160))}
_ESCAPED.update({0x2028: '\\u2028', 0x2029: '\\u2029'})


def printable(text, limit=LIMIT):
    """Return *text* on one line, without control characters, not over *limit*."""
    if len(text) > limit:
        text = text[:limit] + '...'
    return text.translate(_ESCAPED)


def safe_repr(obj, limit=LIMIT):
    """Return ``repr(obj)`` made printable, or a stand-in where it fails."""
    try:
        text = repr(obj)
        return printable(text, limit)
    except Exception:
        return f'<unprintable {type_name(type(obj))}>'


def type_name(cls):
    """Return the dotted name of a class."""
    return f'{cls.__module__}.{cls.__qualname__}'


def address(obj):
    """Return ``(object id, database name)`` of a persistent object.

    Both are None where it is in no database yet.
    """
    jar = obj._p_jar
    if obj._p_oid is None:
        return None, None
    return u64(obj._p_oid), None if jar is None else jar.db().database_name


def key_of(oid, database_name):
    """Return the documented key of a job: ``(object id, database name)``."""
    return u64(oid), database_name


def persistent_repr(obj):
    """Return class, object id and database name of a persistent object."""
    oid, database_name = address(obj)
    return f'{type_name(type(obj))} (oid {oid}, db {database_name!r})'


def argument(obj):
    """Return how an argument is shown: a persistent object by its address."""
    if isinstance(obj, persistent.Persistent):
        return persistent_repr(obj)
    return safe_repr(obj, 200)


def callable_name(target):
    """Return the name that a function, method or other callable goes by."""
    owner = getattr(target, '__self__', None)
    if owner is None or isinstance(owner, types.ModuleType):
        name = getattr(target, '__qualname__', None)
        if name is None:
            return argument(target)
        return f'{getattr(target, "__module__", None) or "?"}.{name}'
    return method_name(owner, target.__name__)


def method_name(owner, name):
    """Return how the method *name* of *owner* is shown."""
    if isinstance(owner, type):
        return f'{type_name(owner)}.{name}'
    return f'{argument(owner)} :{name}'


def kind(target):
    """Return the stable dotted name of what *target* does."""
    owner = getattr(target, '__self__', None)
    if owner is None or isinstance(owner, types.ModuleType):
        if hasattr(target, '__qualname__'):
            return f'{target.__module__}.{target.__qualname__}'
        return type_name(type(target))
    cls = owner if isinstance(owner, type) else type(owner)
    return f'{type_name(cls)}.{target.__name__}'


def uuid_of(data):
    """Return the UUID of 16 bytes; None for None."""
    return None if data is None else uuid.UUID(bytes=data)
