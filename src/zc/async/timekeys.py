"""Keys that put waiting jobs in order.

A key is 18 bytes that compare as what they say: when the job falls due, its
rank among those due at the same time, when it was put, and the shard it is in.
Stamps never repeat within a process, so jobs put in the same microsecond, or
under a clock that stands still, keep the order in which they were put.
"""
import struct
import threading

from . import clock

#: Ranks, first to last among jobs of the same due time.
FRONT, SCHEDULED, READY = range(3)

_LAYOUT = struct.Struct('>QBQB')
_lock = threading.Lock()
_last = 0


def stamp():
    """Return microseconds that are unique and growing in this process."""
    global _last
    with _lock:
        _last = max(clock.micros(), _last + 1)
        return _last


def make(due, rank, put, shard):
    """Return the key for *due* and *put* in microseconds."""
    return _LAYOUT.pack(due, rank, put, shard)


def split(key):
    """Return ``(due, rank, put, shard)`` of *key*."""
    return _LAYOUT.unpack(key)


def until(due):
    """Return a key after all keys that are due at *due* or before."""
    return _LAYOUT.pack(due + 1, FRONT, 0, 0)
