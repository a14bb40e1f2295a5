"""What a job calls: a record of its own, written at put and seldom again.

The status lives apart from the call: a record that refers to a function which
a deploy has removed can be loaded but never stored again, and the job could
then not even be marked as failed.  What other connections write while the job
runs (annotations, callbacks) is reached from here too, so that it does not
conflict with the commit of the result.
"""
import collections
import collections.abc
import datetime
import decimal
import io
import pickle
import sys
import types
import uuid

import persistent
from BTrees.OOBTree import OOBTree
from persistent.wref import WeakRef
from ZODB.broken import Broken

from .. import describe
from .. import failures
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
        return str(self.shown_name())

    def shown_name(self):
        """Return what becomes the callable's name with `str`, perhaps later."""
        if self.method is not None:
            return describe.method_name(self.target, self.method)
        if type(self.target) is types.FunctionType:
            return describe.Shown(describe.callable_name, self.target)
        return describe.callable_name(self.target)


class CodeMissing(BrokenCallError):
    """What a call needs is missing in this process: *name*, a dotted name."""

    def __init__(self, text, name):
        super().__init__(text)
        self.name = name


class PartMissing(CodeMissing):
    """What another job calls is missing: one that a call has met while it ran."""


def is_broken(value):
    """Return whether *value* is what ZODB loads for code that is gone.

    A missing function loads as a *class* derived from Broken, which can even
    be called.
    """
    # not isinstance: that would ask *value* for its ``__class__``
    cls = type(value)
    return issubclass(value if issubclass(cls, type) else cls, Broken)


def why_unreadable(job):
    """Return why the record of *job* cannot be used, or None if it can.

    Raise what says that the storage is away, or that there is a conflict.
    """
    if isinstance(job, Broken):
        return f'its class {describe.type_name(type(job))} is gone'
    try:
        job._p_activate()
    except BaseException as error:
        # also what a ``__setstate__`` raises that should not: this is asked where
        # nobody works for the job
        if outage.is_outage(error) or outage.is_conflict(error):
            raise
        return describe.error(error)
    name = missing_class(job)
    return None if name is None else f'{name}, which it refers to, is gone'


def missing_class(job):
    """Return the dotted name of the class that *job* lacks, or None.

    Its own, or one that its record refers to: that record cannot be written.
    """
    if isinstance(job, Broken):
        return _dotted_name(job)
    for value in vars(job).values():
        if isinstance(value, type) and is_broken(value):
            return _dotted_name(value)
    return None


def resolve(job):
    """Return the callable of *job*.

    Raise `CodeMissing` where it, or an argument, cannot be loaded.
    """
    # the object of a method first: without its class it has no methods
    check_code(job)
    target = _callable(job)
    _check_loaded(job, target, getattr(target, '__self__', None))
    return target


def check_class(node):
    """Raise `CodeMissing` where the class of *node*, a job or a proxy, is gone."""
    if is_broken(node):
        name = _dotted_name(node)
        raise CodeMissing(f'{name} is missing; put its code back in place', name)


def is_back(job):
    """Return whether *job*, loaded without its class, could have it now."""
    if not isinstance(job, Broken):
        return False
    return is_found(job._p_jar, _dotted_name(job))


def is_found(jar, name):
    """Return whether the connection *jar* finds what has the dotted *name* now."""
    module, _dot, last = name.rpartition('.')
    return bool(module) and not is_broken(jar.db().classFactory(jar, module, last))


def check_code(job):
    """Raise `CodeMissing` where what is stored of the call cannot be loaded."""
    if any(map(is_broken, _needed(job))):
        # it may have come back since the call was read in this connection
        job._call._p_deactivate()
        _check_loaded(job, *_needed(job))


def check_writable(record, error=PartMissing):
    """Raise *error* where *record*, of a call, refers to code that is gone.

    It can be read, and not written: nothing can be added to what follows from it.
    """
    if _missing_in(record) and not record._p_changed:
        # it may have come back since the record was read in this connection
        record._p_deactivate()
    for value in _missing_in(record):
        name = _dotted_name(value)
        raise error(
            f'{name} of another job is missing; put its code back in place', name)


def _missing_in(record):
    if not isinstance(record, Call):
        return ()
    values = record.target, *record.args, *(record.kwargs or {}).values()
    return [one for one in values if issubclass(type(one), type) and is_broken(one)]


def _needed(job):
    call = job._call
    return (call.target, *call.args, *(call.kwargs or {}).values(), job._retry_policy)


def _callable(job):
    try:
        return job.callable
    except AttributeError:
        call = job._call
        if call.method is None or hasattr(call.target, call.method):
            raise
    name = f'{describe.type_name(type(call.target))}.{call.method}'
    raise CodeMissing(f'{name} is missing; put its code back in place', name)


def _check_loaded(job, *values):
    for value in values:
        if is_broken(value):
            raise CodeMissing(
                f'{describe.safe_repr(value, 200)} of {job.kind} cannot be loaded; '
                f'put its code back in place and run the job again',
                _dotted_name(value))


def _dotted_name(value):
    cls = value if isinstance(value, type) else type(value)
    return describe.printable(describe.type_name(cls), 200)


class Args(collections.abc.MutableSequence):
    """The positional arguments as a list; changes are stored in the call."""

    __slots__ = ('_call',)

    def __init__(self, call):
        self._call = call

    def plain(self):
        """Return the arguments as a tuple."""
        return self._call.args

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

    def plain(self):
        """Return the arguments as a dict, which is not to be changed."""
        return self._read()

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


#: Types with no code of an application's when they are stored or loaded.
_TAME = frozenset(map(id, (
    bytearray, collections.Counter, collections.deque, collections.OrderedDict,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    datetime.timezone, decimal.Decimal, failures.Failure, range, uuid.UUID,
    type, types.FunctionType, types.BuiltinFunctionType)))


class Probe(pickle.Pickler):
    """Pickles for nothing, stopping at persistent objects as ZODB does."""

    def __init__(self, file=None):
        super().__init__(io.BytesIO() if file is None else file, 3)
        self.met_persistent = False  # whether it refers to persistent objects
        self.met_code = False        # whether an application's code stores or loads it
        self._kept = []              # the persistent objects

    def persistent_id(self, obj):
        # as ZODB asks, which an object's ``__class__`` may refuse to answer
        if isinstance(obj, (persistent.Persistent, WeakRef)):
            self.met_persistent = True
            self._kept.append(obj)
            return len(self._kept) - 1
        return None

    def reducer_override(self, obj):
        self.met_code = self.met_code or id(type(obj)) not in _TAME
        return NotImplemented

    def check_loading(self, file):
        """Load what was written to *file*.  Raise what that raises."""
        file.seek(0)
        _Loader(file, self._kept).load()


class _Loader(pickle.Unpickler):
    """Loads what a `Probe` has pickled, with the persistent objects *kept* by it."""

    def __init__(self, file, kept):
        super().__init__(file)
        self._kept = kept

    def persistent_load(self, number):
        # a method: Python 3.13.0 does not let the attribute be set
        return self._kept[number]


_NOTHING_MET = Probe()


def probe(value):
    """Return whether *value* refers to persistent objects.

    Raise what pickling raises where it cannot be stored.
    """
    if any(type(value) is cls for cls in _ATOMS):
        return False
    pickler = Probe()
    pickler.dump(value)
    return pickler.met_persistent


def probe_both_ways(value):
    """Return the `Probe` that has met *value*, stored and loaded for nothing.

    Raise what that raises: what is stored and cannot be loaded would make the
    record that holds it unreadable.
    """
    if value is None or any(type(value) is cls for cls in _ATOMS):
        return _NOTHING_MET
    file = io.BytesIO()
    pickler = Probe(file)
    pickler.dump(value)
    if pickler.met_code:
        pickler.check_loading(file)
    return pickler


def _storable_problem(value):
    """Return why *value* cannot be stored, or None."""
    try:
        probe(value)
    except BaseException as error:
        # RecursionError, TypeError, ValueError and more besides PicklingError, and
        # what a ``__reduce__`` raises that should not
        return describe.error(error)
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
    elif not issubclass(type(target), persistent.Persistent):
        problem = _storable_problem(target)
        if problem:
            raise NotStorableError(
                f'{describe.callable_name(target)} cannot be stored ({problem}); '
                f'use a function that can be imported or a method of a '
                f'persistent object')
    named = [(f'argument {n}', value) for n, value in enumerate(call.args)]
    named += [(f'argument {name!r}', value) for name, value in (call.kwargs or {}).items()]
    for name, value in named:
        if issubclass(type(value), (*_ATOMS, persistent.Persistent)):
            continue
        problem = _storable_problem(value)
        if problem:
            raise NotStorableError(
                f'{name} of {call.name()}, {describe.safe_repr(value, 200)}, cannot be '
                f'stored ({problem}); pass something that can be pickled')
