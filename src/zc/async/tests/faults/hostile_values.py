"""Hostile values: arguments and results that no store or log can trust."""
import threading

import persistent

from ...interfaces import NotStorableError
from ...job import Job
from ...threadlocal import local
from .hostile import completed
from .hostile import ended
from .hostile import fails
from .hostile import kind
from .hostile import refused

#: What would forge a line of a log, end a C string, or play with a terminal.
FORGED = ('\r\n2030-01-01 00:00:00 CRITICAL zc.async.events: all is lost\x1b[2J\x00'
          '\x85\u2028\u2029\u202e\x9b31m\ud800 end')
LONG = 1_000_000


def give(value=None, *ignored, **more):
    """Return *value*."""
    return value


def make(name, *args):
    """Return what the class or function *name* of this module makes."""
    return globals()[name](*args)


def deep(depth=100_000):
    """Return lists in lists."""
    found = []
    for _number in range(depth):
        found = [found]
    return found


# Arguments that cannot be stored

@refused(NotStorableError)
def argument_lock():
    return Job(give, threading.Lock())


@refused(NotStorableError)
def argument_lambda():
    return Job(give, lambda: None)


@refused(NotStorableError)
def argument_generator():
    return Job(give, (number for number in ()))


@refused(NotStorableError)
def argument_coroutine():
    found = give_later()
    found.close()
    return Job(give, found)


@refused(NotStorableError)
def argument_open_file():
    with open(__file__, encoding='utf-8') as found:
        return Job(give, found)


@refused(NotStorableError)
def argument_deep():
    return Job(give, deep())


@refused(NotStorableError)
def argument_exits_when_stored():
    return Job(give, value=ExitsWhenStored())


@refused(NotStorableError)
def callable_lambda():
    return Job(lambda: None)


@refused(NotStorableError)
def callable_hostile():
    return Job(BadCallable())


class BadCallable:
    """Can be called; tells nothing and cannot be stored."""

    def __call__(self):
        """Do nothing."""

    def __repr__(self):
        raise SystemExit('no repr')

    def __reduce_ex__(self, protocol):
        raise TypeError(FORGED)

    def __init__(self):
        self.__qualname__ = FORGED


# Results that cannot be stored

async def give_later():
    return 42


async def yield_later():
    yield 42


def yield_now():
    yield 42


class Awaitable:
    """Can be awaited, and is not."""

    def __await__(self):
        yield

    def __reduce__(self):
        raise TypeError('not while awaited')


class Unstorable:

    def __reduce__(self):
        raise TypeError(FORGED)

    def __repr__(self):
        raise RuntimeError('no repr')


class ExitsWhenStored:

    def __reduce__(self):
        raise SystemExit('stored')


class InterruptsWhenStored:

    def __reduce__(self):
        raise KeyboardInterrupt


class StateFails:
    """Can be stored; its state cannot be set."""

    def __init__(self):
        self.something = 1

    def __setstate__(self, state):
        raise LookupError(FORGED)


class StateExits(StateFails):

    def __setstate__(self, state):
        raise SystemExit(3)


def cannot_be_made(*args):
    """Raise: what is stored by this name can be stored and never loaded."""
    raise LookupError('never again')


def refuse(*args):
    """Raise, whatever it is asked."""
    raise LookupError(FORGED)


class LoadFails:

    def __reduce__(self):
        return cannot_be_made, ()


class StoredOnce:
    """Can be stored once and not twice."""

    stored = 0

    def __reduce__(self):
        StoredOnce.stored += 1
        if StoredOnce.stored % 2 == 0:
            raise SystemExit('stored twice')
        return give, (42,)


_lock = threading.Lock()
_files = []


def open_file():
    _files.append(open(__file__, encoding='utf-8'))
    if len(_files) > 20:
        _files.pop(0).close()
    return _files[-1]


def local_object():
    class Local:
        pass
    return Local()


def lambda_result():
    return lambda: None


def lock_within():
    return {'a': [1, (threading.Lock(),)]}


def ring():
    """Return a list that holds itself, and a lock."""
    found = [threading.Lock()]
    found.append(found)
    return found


def foreign():
    """Return an object of another connection, which is closed."""
    connection = local.getDispatcher().db.open()
    try:
        found = connection.root()
        found._p_activate()
        return found
    finally:
        connection.close()


def _unstorable_results():
    for call in (lambda_result, local_object, lock_within, ring, open_file, deep,
                 yield_now, yield_later, give_later):
        yield call.__name__, lambda call=call: Job(call)
    for cls in (Awaitable, Unstorable, ExitsWhenStored, InterruptsWhenStored,
                StateFails, StateExits, LoadFails):
        yield cls.__name__, lambda cls=cls: Job(make, cls.__name__)


for _name, _make in _unstorable_results():
    _make.__name__ = f'result_{_name}'
    kind(fails('NotStorableError'))(_make)


@kind(completed)
def result_stored_once():
    return Job(make, 'StoredOnce')


@kind(fails('InvalidObjectReference', 'NotStorableError'))
def result_of_another_connection():
    return Job(foreign)


# Results that can be stored and do harm otherwise

class BadAnswers:
    """Raises whatever it is asked."""

    def _refuse(self, *ignored):
        raise RuntimeError('asked')

    __eq__ = __ne__ = __lt__ = __bool__ = __len__ = __iter__ = __contains__ = _refuse
    __hash__ = __str__ = __repr__ = __format__ = __call__ = __index__ = _refuse


class BadRepr:

    def __init__(self, text=None):
        self.text = text

    def __repr__(self):
        if self.text is None:
            raise SystemExit('no repr')
        return self.text if isinstance(self.text, str) else 'x' * self.text

    __str__ = __repr__


class BadClass:
    """Raises when it is asked for its class."""

    @property
    def __class__(self):
        raise RuntimeError('no class')

    def __reduce_ex__(self, protocol):
        return _bad_class, ()


def _bad_class():
    return object.__new__(BadClass)


class BadAttributes:
    """Raises when it is asked for any attribute."""

    def __getattribute__(self, name):
        raise SystemExit(name)

    @staticmethod
    def __reduce_ex__(protocol):
        return _bad_attributes, ()


def _bad_attributes():
    return object.__new__(BadAttributes)


class Meta(type):
    """A class of classes that tell nothing of themselves."""

    def __getattribute__(cls, name):
        if name in ('__module__', '__qualname__', '__name__'):
            raise RuntimeError(name)
        return super().__getattribute__(name)

    def __eq__(cls, other):
        raise RuntimeError('compared')

    __hash__ = type.__hash__

    def __instancecheck__(cls, instance):
        raise RuntimeError('checked')


class OfMeta(metaclass=Meta):

    def __reduce__(self):
        raise TypeError('no')


class Text(str):
    """A text that cannot be cut."""

    def __getitem__(self, index):
        raise RuntimeError('cut')

    __len__ = translate = encode = splitlines = replace = __getitem__


def result_text():
    return BadRepr(Text('text'))


@kind(completed)
def result_bad_answers():
    return Job(make, 'BadAnswers')


@kind(fails('NotStorableError'))
def result_bad_class():
    return Job(make, '_bad_class')


@kind(fails('NotStorableError'))
def result_bad_attributes():
    return Job(make, '_bad_attributes')


@kind(completed)
def result_of_meta():
    return Job(make, 'OfMeta')


@kind(completed)
def result_class_of_meta():
    return Job(eval, '__import__("zc.async", fromlist="tests")'
               '.tests.faults.hostile_values.OfMeta')


@kind(completed)
def result_repr_exits():
    return Job(make, 'BadRepr')


@kind(completed)
def result_repr_is_long():
    return Job(make, 'BadRepr', LONG)


@kind(completed)
def result_repr_is_forged():
    return Job(make, 'BadRepr', FORGED.replace('\ud800', ''))


@kind(completed)
def result_repr_cannot_be_cut():
    return Job(result_text)


@kind(completed)
def result_text_is_forged():
    return Job(give, FORGED)


@kind(completed)
def result_text_is_long():
    return Job(give, LONG * 'x')


@kind(completed)
def result_is_a_job_within():
    return Job(make, 'job_within')


def job_within():
    return [local.getJob(), local.getQueue()]


@kind(completed)
def argument_bad_answers():
    return Job(give, None, BadAnswers(), more=BadAnswers())


@refused(NotStorableError)
def argument_bad_class():
    return Job(give, None, _bad_class())


class LoadedSometimes:
    """Can be loaded every other time only."""

    loaded = 0

    def __init__(self):
        self.something = 1

    def __setstate__(self, state):
        LoadedSometimes.loaded += 1
        if LoadedSometimes.loaded % 2 == 0:
            raise SystemExit('loaded too often')


@kind(ended)
def argument_loaded_sometimes():
    return Job(give, None, LoadedSometimes())


@kind(ended)
def result_loaded_sometimes():
    job = Job(make, 'LoadedSometimes')
    job.addCallback(give)
    return job


@kind(completed)
def argument_repr_exits():
    return Job(give, None, BadRepr())


@kind(completed)
def argument_repr_is_long():
    return Job(give, None, BadRepr(LONG))


@kind(completed)
def argument_text_is_forged():
    return Job(give, None, FORGED, BadRepr(FORGED), **{FORGED: 1})


@kind(completed)
def argument_text_is_long():
    return Job(give, None, LONG * 'x', LONG * b'x', [1] * LONG)


class Silent(persistent.Persistent):
    """A persistent result whose state cannot be had."""

    def __getstate__(self):
        raise LookupError('no state')


@kind(fails('LookupError'))
def result_without_state():
    return Job(make, 'Silent')
