"""Failures as the package stores and tells them: one formatter for all."""
from twisted.python.failure import Failure as _AnyFailure
from zc.twist import Failure  # noqa: F401 the one class that is stored
from zc.twist import sanitize  # noqa: F401 makes any failure one of it


def is_failure(value):
    """Return whether *value* is a failure, ours or one that Twisted made."""
    return isinstance(value, _AnyFailure)


def brief(failure):
    """Return the short traceback of *failure*, for a log."""
    return failure.getTraceback(detail='brief').strip()
