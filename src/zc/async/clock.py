"""The one clock of the package.

Everything asks this module for the time; tests install a clock of their own
with `install`.  Times are stored as integers, microseconds since 1970 in UTC:
a third of the bytes of a pickled datetime, and ordered.
"""
import datetime
import time

import zope.interface

from .interfaces import IClock

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_TICK = datetime.timedelta(microseconds=1)


@zope.interface.implementer(IClock)
class SystemClock:
    """The clock on the wall and the machine's steady one."""

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc)

    monotonic = staticmethod(time.monotonic)

    def micros(self):
        # what `now` says, without a datetime: a job asks for it several times
        return time.time_ns() // 1000


_clock = SystemClock()


def install(clock):
    """Make *clock* the clock of the process and return the one before."""
    global _clock, monotonic
    before, _clock = _clock, clock
    monotonic = clock.monotonic
    return before


def now():
    """Return the time as an aware datetime in UTC.  Any thread."""
    return _clock.now()


#: Return steadily growing seconds.  Any thread.  The clock's own: a job asks often.
monotonic = _clock.monotonic


def micros():
    """Return the time in microseconds since 1970.  Any thread."""
    if type(_clock) is SystemClock:
        return _clock.micros()
    return to_micros(_clock.now())


def to_micros(moment):
    """Return the aware datetime *moment* in microseconds; None for None."""
    return None if moment is None else (moment - _EPOCH) // _TICK


def from_micros(count):
    """Return the aware UTC datetime of *count* microseconds; None for None."""
    return None if count is None else _EPOCH + count * _TICK


def utc(moment):
    """Return *moment* in UTC; one without a time zone is in UTC already."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc)
