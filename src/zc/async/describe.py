"""Short, safe texts about objects: for reprs, logs and what is remembered.

Nothing here raises, whatever the objects do, and nothing returns a text that
is long or that breaks a line.
"""
import re
import types
import uuid

import persistent
from ZODB.utils import u64

#: Characters of one described object at most.
LIMIT = 1000

# Control characters, surrogates that no encoding takes, what else breaks lines,
# and the marks that turn the direction of writing.
_UNSAFE = re.compile(
    '[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]')
#: Types whose values can be cut before they are shown, and those that are only
#: counted where they are large: the text of the whole would be, too.  By their id: a
#: class may say that it is equal to another one.
_CUT = frozenset(map(id, (str, bytes, bytearray)))
_COUNTED = frozenset(map(id, (list, tuple, dict, set, frozenset)))
#: Types whose values never change.
_STEADY = frozenset(map(id, (type(None), bool, int, float, str, bytes)))


def _escaped(match):
    code = ord(match.group())
    return f'\\x{code:02x}' if code < 256 else f'\\u{code:04x}'


def printable(text, limit=LIMIT):
    """Return *text* on one line, without control characters, not over *limit*."""
    if type(text) is str and len(text) <= limit and text.isprintable():
        return text
    # through str's own methods: a subclass may redefine them
    size = str.__len__(text)
    found = str.__getitem__(text, slice(0, limit))
    if not found.isprintable():
        found = _UNSAFE.sub(_escaped, found)
    if size > limit or len(found) > limit:
        found = found[:limit] + '...'
    return found


def safe_repr(obj, limit=LIMIT):
    """Return ``repr(obj)`` made printable, or a stand-in where it fails."""
    try:
        return printable(_repr(obj, limit), limit)
    except BaseException:
        # not Exception: a ``__repr__`` that calls sys.exit() would otherwise
        # end the thread that only wanted to tell of an object
        return f'<unprintable {type_name(type(obj))}>'


def _repr(obj, limit):
    cls = type(obj)
    if id(cls) in _CUT and len(obj) > limit:
        return repr(obj[:limit])
    if id(cls) in _COUNTED and len(obj) > limit:
        return f'<{cls.__name__} of {len(obj)}>'
    return repr(obj)


def safe_text(obj, limit=LIMIT):
    """Return ``str(obj)`` made printable, or a stand-in where it fails."""
    try:
        return printable(str(obj), limit)
    except BaseException:
        return f'<unprintable {type_name(type(obj))}>'


def error(found):
    """Return the name of the class of the exception *found*, and what it says."""
    name = _slot(type(found), '__name__')
    try:
        text = str(found)
    except BaseException:
        return f'{name}: <unprintable>'
    return printable(f'{name}: {safe_repr(text, 200)}')


def type_name(cls):
    """Return the dotted name of a class."""
    return printable(f'{_slot(cls, "__module__")}.{_slot(cls, "__qualname__")}', 200)


def _slot(cls, name):
    # past any metaclass, which may redefine these
    value = type.__getattribute__(cls, name)
    return value if type(value) is str else '?'


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
    return _persistent_text(type(obj), *address(obj))


def _persistent_text(cls, oid, database_name):
    return f'{type_name(cls)} (oid {oid}, db {database_name!r})'


class Shown:
    """A text, made when `str` asks for it.

    What it is made of keeps nothing of a database, and does not change.
    """

    __slots__ = ('_make', '_parts')

    def __init__(self, make, *parts):
        self._make, self._parts = make, parts

    def __str__(self):
        return printable(self._make(*self._parts))


def shown(obj):
    """Return what becomes `safe_repr` of *obj* with `str`, at once or later.

    Later where *obj* has a method ``show``, which returns a `Shown`.
    """
    try:
        return obj.show()
    except BaseException:
        return safe_repr(obj)


def held(obj):
    """Return what `argument` can show of *obj* later, too, as it is now."""
    cls = type(obj)
    if id(cls) in _STEADY and (id(cls) not in _CUT or len(obj) <= 200):
        return obj
    if issubclass(cls, persistent.Persistent):
        return Shown(_persistent_text, cls, *address(obj))
    return Shown(str, argument(obj))


def held_argument(found):
    """Return how what `held` has returned is shown."""
    return str(found) if type(found) is Shown else argument(found)


def argument(obj):
    """Return how an argument is shown: a persistent object by its address."""
    if issubclass(type(obj), persistent.Persistent):
        return persistent_repr(obj)
    return safe_repr(obj, 200)


def callable_name(target):
    """Return the name that a function, method or other callable goes by."""
    try:
        return printable(_callable_name(target))
    except BaseException:
        return f'<unprintable {type_name(type(target))}>'


def _callable_name(target):
    owner = getattr(target, '__self__', None)
    if owner is None or isinstance(owner, types.ModuleType):
        name = getattr(target, '__qualname__', None)
        if name is None:
            return argument(target)
        return f'{getattr(target, "__module__", None) or "?"}.{name}'
    return method_name(owner, target.__name__)


def method_name(owner, name):
    """Return how the method *name* of *owner* is shown."""
    if issubclass(type(owner), type):
        return f'{type_name(owner)}.{name}'
    return f'{argument(owner)} :{name}'


def kind(target):
    """Return the stable dotted name of what *target* does."""
    try:
        return printable(_kind(target))
    except BaseException:
        return type_name(type(target))


def _kind(target):
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
