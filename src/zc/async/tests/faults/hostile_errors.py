"""Hostile errors: raised by calls, and brought by Deferreds."""
import builtins
import threading
from asyncio import CancelledError  # noqa: F401 thrown by name

from twisted.internet.defer import AlreadyCalledError
from twisted.internet.defer import Deferred

from ...job import Job
from ...threadlocal import local
from .hostile import completed
from .hostile import done
from .hostile import fails
from .hostile import kind
from .hostile_values import BadRepr
from .hostile_values import cannot_be_made
from .hostile_values import FORGED
from .hostile_values import LONG
from .hostile_values import make
from .hostile_values import Meta


def make_error(name, *args):
    """Return what the class or function *name* of this module makes."""
    return globals()[name](*args)


def throw(name, *args):
    """Raise what the class or function *name* makes, of this module or a built-in."""
    raise globals().get(name, getattr(builtins, name, None))(*args)


@kind(completed)
def result_is_an_error():
    return Job(make_error, 'ForgedError', FORGED)


# Errors

class Unpicklable(Exception):

    def __init__(self, *args):
        super().__init__(*args)
        self.lock = threading.Lock()


class LoadsNoMore(Exception):

    def __reduce__(self):
        return cannot_be_made, ()


class ForgedError(Exception):
    pass


class BadStr(Exception):

    def __str__(self):
        raise RuntimeError('no text')

    __repr__ = __str__


class StrExits(Exception):

    def __str__(self):
        raise SystemExit('no text')

    __repr__ = __str__


class StrIsNone(Exception):

    def __str__(self):
        return None


class LongStr(Exception):

    def __str__(self):
        return 'x' * LONG

    __repr__ = __str__


class ClassFails(Exception):

    @property
    def __class__(self):
        raise RuntimeError('no class')


class AttributesFail(Exception):

    def __getattribute__(self, name):
        raise RuntimeError('no attributes')


class Demanding(Exception):
    """Cannot be made from its arguments."""

    def __init__(self, one, *, two):
        super().__init__(one)


class OddError(Exception, metaclass=Meta):
    pass


def in_a_ring():
    first, second = ValueError('first'), ValueError('second')
    first.__cause__, second.__cause__ = second, first
    return first


def long_chain():
    found = ValueError('first')
    for _number in range(2000):
        found, found.__context__ = ValueError(FORGED), found
    return found


def group():
    found = ValueError(FORGED)
    for _number in range(300):
        found = ExceptionGroup('group', [found, TypeError('x')])
    return found


def noted():
    found = ValueError('noted')
    found.add_note(FORGED)
    found.__notes__.append(BadRepr())
    return found


def demanding():
    return Demanding('one', two='two')


def too_deep(number=0):
    """Raise RecursionError."""
    return too_deep(number + 1) + 1


def too_much():
    """Raise MemoryError."""
    return bytearray(1 << 60)


def bare():
    raise MemoryError


def raises_no_error():
    raise 'nothing that can be raised'


for _cls in (Unpicklable, LoadsNoMore, ForgedError, BadStr, StrExits, StrIsNone,
             LongStr, ClassFails, AttributesFail):
    def _make(name=_cls.__name__):
        return Job(throw, name, FORGED)
    _make.__name__ = f'error_{_cls.__name__}'
    kind(fails(_cls.__name__))(_make)


@kind(completed)
def error_of_odd_class():
    return Job(throw, 'OddError')


@kind(fails('Demanding'))
def error_that_cannot_be_made_again():
    return Job(throw, 'demanding')


@kind(fails('ValueError'))
def error_in_a_ring():
    return Job(throw, 'in_a_ring')


@kind(fails('ValueError'))
def error_after_many():
    return Job(throw, 'long_chain')


@kind(fails('ExceptionGroup'))
def error_in_groups():
    return Job(throw, 'group')


@kind(fails('ValueError'))
def error_with_notes():
    return Job(throw, 'noted')


@kind(fails('RecursionError'))
def error_too_deep():
    return Job(too_deep)


@kind(fails('MemoryError'))
def error_too_much():
    return Job(too_much)


@kind(fails('MemoryError'))
def error_bare():
    return Job(bare)


@kind(fails('TypeError'))
def error_that_is_none():
    return Job(raises_no_error)


# Ends of the thread

class OwnEnd(BaseException):
    pass


def _end(name):
    def make_one():
        return Job(throw, name, FORGED)
    make_one.__name__ = f'end_{name}'
    kind(fails('AbortedError'))(make_one)


for _name in ('SystemExit', 'KeyboardInterrupt', 'GeneratorExit', 'OwnEnd',
              'CancelledError'):
    _end(_name)


# Deferreds



def fired(name, *args):
    """Return a Deferred that has what *name* makes already."""
    found = Deferred()
    found.callback(make(name, *args))
    return found


def fires_soon(name, *args):
    """Return a Deferred that the reactor fires with what *name* makes."""
    found = Deferred()
    local.getReactor().callFromThread(lambda: found.callback(make(name, *args)))
    return found


def fails_soon(name, *args):
    """Return a Deferred that the reactor fires with the error that *name* makes."""
    found = Deferred()
    local.getReactor().callFromThread(lambda: found.errback(make_error(name, *args)))
    return found


def fires_twice():
    """Return a Deferred that somebody tries to fire twice."""
    found = Deferred()

    def fire():
        found.callback(42)
        try:
            found.callback(43)
        except AlreadyCalledError:
            pass

    local.getReactor().callFromThread(fire)
    return found


def cancelled():
    """Return a Deferred that was given up."""
    found = Deferred()
    found.cancel()
    return found


for _name in ('lambda_result', 'Unstorable', 'ExitsWhenStored', 'StateFails',
              'LoadFails', 'give_later'):
    for _call in (fired, fires_soon):
        def _make(call=_call, name=_name):
            return Job(call, name)
        _make.__name__ = f'deferred_{_call.__name__}_{_name}'
        kind(fails('NotStorableError'))(_make)


@kind(completed)
def deferred_stored_once():
    return Job(fires_soon, 'StoredOnce')


@kind(fails('BadStr'))
def deferred_fails():
    return Job(fails_soon, 'BadStr')


@kind(fails('StrExits'))
def deferred_fails_without_text():
    return Job(fails_soon, 'StrExits')


@kind(done(42))
def deferred_fires_twice():
    return Job(fires_twice)


@kind(fails('CancelledError'))
def deferred_cancelled():
    return Job(cancelled)
