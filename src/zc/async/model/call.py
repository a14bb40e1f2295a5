"""What a job calls: a record of its own, written at put and seldom again.

The status lives apart from the call: a record that refers to a function which
a deploy has removed can be loaded but never stored again, and the job could
then not even be marked as failed.  What other connections write while the job
runs (annotations, callbacks) is reached from here too, so that it does not
conflict with the commit of the result.
"""
import collections.abc
import io
import pickle
import sys
import types

import persistent
from BTrees.OOBTree import OOBTree
from ZODB.broken import Broken

from .. import describe
from .. import outage
from ..interfaces import BrokenCallError
from ..interfaces import NotStorableError

#: Types whose values can always be pickled and hold nothing else.
_ATOMS = (type(None), bool, int, float, complex, str, bytes)


class Call(persistent.Persistent):
    """The callable and its arguments, and what is added around them."""

    kind = ''
    target = None       # the callable, or the object whose method it is
    method = None       # the name of the method
    args = ()
    kwargs = None       # None or a dict
    annotations = None  # None or an OOBTree
    callbacks = ()      # jobs and callback proxies

    def set_callable(self, value):
        """Store the callable *value*; a method as its object and its name.

        A pickled method would load its object while this record is loaded,
        and one that is gone would make the record unreadable.
        """
        owner = getattr(value, '__self__', None)
        bound = isinstance(value, (
            types.MethodType, types.MethodWrapperType, types.BuiltinMethodType))
        if bound and owner is not None and not isinstance(owner, types.ModuleType):
            self.target, self.method = owner, value.__name__
        else:
            self.target, self.method = value, None
        self.kind = describe.kind(value)

    def get_callable(self):
        """Return the callable.  Raise AttributeError for a method that is gone."""
        if self.method is None:
            return self.target
        return getattr(self.target, self.method)

    def name(self):
        """Return the callable's name, for texts."""
        if self.method is None:
            return describe.callable_name(self.target)
        return describe.method_name(self.target, self.method)


def is_broken(value):
    """Return whether *value* is what ZODB loads for code that is gone.

    A missing function loads as a *class* derived from Broken, which can even
    be called.
    """
    if isinstance(value, type):
        return issubclass(value, Broken)
    return isinstance(value, Broken)


def why_unreadable(job):
    """Return why the record of *job* cannot be used, or None if it can.

    Raise what says that the storage is away, or that there is a conflict.
    """
    if isinstance(job, Broken):
        return f'its class {describe.type_name(type(job))} is gone'
    try:
        job._p_activate()
    except Exception as error:
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        return f'{type(error).__name__}: {describe.safe_repr(str(error), 200)}'
    return None


def resolve(job):
    """Return the callable of *job*.

    Raise `BrokenCallError` where it, or an argument, cannot be loaded.
    """
    # the object of a method first: without its class it has no methods
    _check_loaded(job, job._call.target, *job.args, *job.kwargs.values())
    target = job.callable
    _check_loaded(job, target, getattr(target, '__self__', None))
    return target


def _check_loaded(job, *values):
    for value in values:
        if is_broken(value):
            raise BrokenCallError(
                f'{describe.safe_repr(value, 200)} of {job.kind} cannot be loaded; '
                f'put its code back in place and run the job again')


class Args(collections.abc.MutableSequence):
    """The positional arguments as a list; changes are stored in the call."""

    __slots__ = ('_call',)

    def __init__(self, call):
        self._call = call

    def __getitem__(self, index):
        found = self._call.args[index]
        return list(found) if isinstance(index, slice) else found

    def __setitem__(self, index, value):
        self._change(lambda items: items.__setitem__(index, value))

    def __delitem__(self, index):
        self._change(lambda items: items.__delitem__(index))

    def insert(self, index, value):
        self._change(lambda items: items.insert(index, value))

    def extend(self, values):
        # in one step: one new tuple, not one for each value
        self._call.args = (*self._call.args, *values)

    def _change(self, change):
        items = list(self._call.args)
        change(items)
        self._call.args = tuple(items)

    def __len__(self):
        return len(self._call.args)

    def __eq__(self, other):
        if isinstance(other, collections.abc.Sequence):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        return repr(list(self))

    def __reduce__(self):
        return list, (list(self),)


class _LazyMapping(collections.abc.MutableMapping):
    """A mapping that is stored in an attribute of the call when first written."""

    __slots__ = ('_call',)

    def __init__(self, call):
        self._call = call

    def __getitem__(self, key):
        return self._read()[key]

    def __contains__(self, key):
        return key in self._read()

    def __iter__(self):
        return iter(self._read())

    def __len__(self):
        return len(self._read())

    def __repr__(self):
        return repr(dict(self))

    def __reduce__(self):
        return dict, (dict(self),)


class Kwargs(_LazyMapping):
    """The keyword arguments."""

    __slots__ = ()

    def _read(self):
        return self._call.kwargs or {}

    def __setitem__(self, key, value):
        self._call.kwargs = {**self._read(), key: value}

    def __delitem__(self, key):
        rest = dict(self._read())
        del rest[key]
        self._call.kwargs = rest or None


class Annotations(_LazyMapping):
    """The annotations: a tree of their own, since others write them meanwhile."""

    __slots__ = ()

    def _read(self):
        tree = self._call.annotations
        return {} if tree is None else tree

    def __setitem__(self, key, value):
        if self._call.annotations is None:
            self._call.annotations = OOBTree()
        self._call.annotations[key] = value

    def __delitem__(self, key):
        del self._read()[key]


class _Probe(pickle.Pickler):
    """Pickles for nothing, stopping at persistent objects as ZODB does."""

    def __init__(self, file):
        super().__init__(file, 3)
        self.met_persistent = False

    def persistent_id(self, obj):
        if isinstance(obj, persistent.Persistent):
            self.met_persistent = True
            return 'persistent'
        return None


def probe(value):
    """Return whether *value* refers to persistent objects.

    Raise what pickling raises where it cannot be stored.
    """
    if type(value) in _ATOMS:
        return False
    pickler = _Probe(io.BytesIO())
    pickler.dump(value)
    return pickler.met_persistent


def _storable_problem(value):
    """Return why *value* cannot be stored, or None."""
    try:
        probe(value)
    except Exception as error:
        # RecursionError, TypeError, ValueError and more besides PicklingError
        return f'{type(error).__name__}: {describe.safe_repr(str(error), 200)}'
    return None


def _importable(function):
    """Return whether pickling finds *function* again by its name."""
    found = sys.modules.get(function.__module__)
    for part in function.__qualname__.split('.'):
        found = getattr(found, part, None)
    return found is function


def check_storable(call):
    """Raise `NotStorableError` for what of *call* cannot be pickled."""
    target = call.target
    if isinstance(target, types.FunctionType):
        if not _importable(target):
            raise NotStorableError(
                f'{describe.callable_name(target)} cannot be stored: a job calls '
                f'functions that its process can import by name, no lambdas '
                f'and no local functions')
    elif not isinstance(target, persistent.Persistent):
        problem = _storable_problem(target)
        if problem:
            raise NotStorableError(
                f'{describe.callable_name(target)} cannot be stored ({problem}); '
                f'use a function that can be imported or a method of a '
                f'persistent object')
    named = [(f'argument {n}', value) for n, value in enumerate(call.args)]
    named += [(f'argument {name!r}', value) for name, value in (call.kwargs or {}).items()]
    for name, value in named:
        if isinstance(value, (*_ATOMS, persistent.Persistent)):
            continue
        problem = _storable_problem(value)
        if problem:
            raise NotStorableError(
                f'{name} of {call.name()}, {describe.safe_repr(value, 200)}, cannot be '
                f'stored ({problem}); pass something that can be pickled')
