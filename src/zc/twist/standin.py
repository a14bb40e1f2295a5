"""Exception classes by name, and stand-ins for those that are not at hand.

A class is named ``module:qualname``, so that the module can be told from the
rest.  `names_of` writes down a class and its bases; `find` gives the class
back where its module is already imported, and never imports one; `class_for`
and `stand_in` make a class and an instance that look like the original to
whoever prints, raises or catches them.
"""
import builtins
import functools
import sys
import types

from zc.twist.text import clean, is_a

MAX_NAMES = 40
MAX_NAME = 300


def is_class(thing):
    """Whether *thing* is really a class."""
    return is_a(thing, type)


def _slot(cls, name):
    # Past any metaclass, which may redefine these.
    value = type.__getattribute__(cls, name)
    return clean(value, MAX_NAME) if is_a(value, str) else '?'


def name_of(cls):
    """Return ``module:qualname`` of the class *cls*."""
    return '%s:%s' % (_slot(cls, '__module__'), _slot(cls, '__qualname__'))


def names_of(cls):
    """Return the names of *cls* and of its bases but `object`, in order."""
    mro = [base for base in type.__getattribute__(cls, '__mro__')
           if base is not object]
    if len(mro) > MAX_NAMES:
        # The built-in bases at the end say what may catch it.
        mro = mro[:MAX_NAMES - 8] + mro[-8:]
    return tuple(map(name_of, mro)) or ('builtins:object',)


def dotted(name):
    """Return ``module.qualname`` for ``module:qualname``."""
    return name.replace(':', '.', 1)


def spellings(name):
    """Return what `twisted` may call the class *name*: with qualname or name."""
    module, _, qualname = name.partition(':')
    return ('%s.%s' % (module, qualname),
            '%s.%s' % (module, qualname.rpartition('.')[2]))


def parents(names):
    """Return the spellings of *names* and of `object`, in order, each once."""
    return list(dict.fromkeys(
        spelling for name in (*names, 'builtins:object')
        for spelling in spellings(name)))


def find(name):
    """Return the class named *name* if its module is imported, or None.

    Nothing is imported and no code of the module runs: neither a module-level
    ``__getattr__`` nor a descriptor is asked.
    """
    module, _, qualname = name.partition(':')
    holder = sys.modules.get(module)
    if not is_a(holder, types.ModuleType):
        return None
    names = types.ModuleType.__getattribute__(holder, '__dict__')
    found = None
    for part in qualname.split('.'):
        found = names.get(part)
        if not is_class(found):
            return None
        names = type.__getattribute__(found, '__dict__')
    return found if name_of(found) == name else None


class StandIn(Exception):
    """What all stand-ins share; found by ``except`` only by their builtin base.

    Not a base class of theirs: the layouts of built-in exceptions exclude
    each other, so its methods are copied.
    """

    def __str__(self):
        return self.args[0]

    def __reduce__(self):
        return stand_in, (self.stands_for, self.args[0])


def _builtin_base(names):
    """Return the first built-in exception among *names*.

    It lets ``except KeyError`` catch the stand-in of an application's subclass
    of KeyError.  A group is left out: it cannot be made without its members.
    """
    for name in names:
        module, _, qualname = name.partition(':')
        found = vars(builtins).get(qualname) if module == 'builtins' else None
        if is_class(found) and issubclass(found, BaseException) \
                and not issubclass(found, BaseExceptionGroup):
            return found
    return Exception


@functools.lru_cache(maxsize=256)
def class_for(names):
    """Return a stand-in for the class whose own and bases' names are *names*."""
    module, _, qualname = names[0].partition(':')
    namespace = {key: vars(StandIn)[key]
                 for key in ('__str__', '__reduce__')}
    namespace.update(
        __module__=module, __qualname__=qualname, stands_for=names,
        __doc__='Stands for an exception class that was known by name only.')
    return type(qualname.rpartition('.')[2], (_builtin_base(names),), namespace)


def is_stand_in(cls):
    """Whether *cls* was made by `class_for`."""
    return 'stands_for' in type.__getattribute__(cls, '__dict__')


def stand_in(names, message):
    """Return a stand-in exception for the class *names*, saying *message*.

    Stored by name in the pickle of a stand-in: this function stays here.
    """
    cls = class_for(tuple(names))
    made = cls.__new__(cls)         # not its __init__: signatures differ
    made.args = (message,)
    return made
