"""Failures as the package stores and tells them: one formatter for all."""
from twisted.python.failure import Failure as _AnyFailure
from zc.twist import Failure  # the one class that is stored
from zc.twist import sanitize

from . import describe

#: Exceptions that are told of besides one that they led to.
_CHAIN = 5


def is_failure(value):
    """Return whether *value* is a failure, ours or one that Twisted made."""
    # not isinstance: that would ask *value* for its ``__class__``
    return issubclass(type(value), _AnyFailure)


def brief(failure):
    """Return what happened, on a line, and where, on the lines after it."""
    return '\n'.join(_parts(failure))


def line(failure):
    """Return what happened, and where, on one line."""
    return ' | '.join(_parts(failure))


def story(error):
    """Return what happened with the exception *error*, after what led to it.

    Of each one, a line says what it was, and the lines after it where.
    """
    told, seen = [], set()
    while error is not None and id(error) not in seen and len(told) <= _CHAIN:
        seen.add(id(error))
        told.append(brief(Failure(error)))
        error = _led_to(error)
    return '\nwhich led to\n'.join(reversed(told))


def _parts(failure):
    failure = sanitize(failure)
    message = failure.getErrorMessage()
    text = failure.getTraceback(detail='brief')
    where = text.partition(f': {failure.typeName}: {message}\n')[2]
    head = 'Traceback: ' if where else 'Traceback (failure with no frames): '
    what = f'{describe.printable(failure.typeName)}: {describe.printable(message)}'
    return [head + what, *map(describe.printable, where.splitlines())]


# Through BaseException's own descriptors: a subclass may redefine these names.
_cause = vars(BaseException)['__cause__'].__get__
_context = vars(BaseException)['__context__'].__get__
_suppressed = vars(BaseException)['__suppress_context__'].__get__


def _led_to(error):
    cause = _cause(error)
    return cause if cause is not None or _suppressed(error) else _context(error)
