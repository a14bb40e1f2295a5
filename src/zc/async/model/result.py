"""Where a result is kept: in the record of its job, or in a record of its own.

The job's record is loaded and written also after the call, by whoever finishes the job
for others.  A result that is large, or that an application's code stores and loads,
must not cost them time, or do to them what it likes.
"""
import io

import persistent

from .. import failures
from .call import Probe

#: Bytes of a stored result that is kept in the record of its job.
LARGEST = 4096
_SMALL = (type(None), bool, int, float, complex, failures.Failure)
_SIZED = (str, bytes)


class Held(persistent.Persistent):
    """A result in a record of its own."""

    def __init__(self, value):
        self.value = value


def kept(value):
    """Return what is to be kept of *value*, which can be stored: itself or a `Held`."""
    cls = type(value)
    if value is None or any(cls is one for one in _SMALL):
        return value
    if any(cls is one for one in _SIZED):
        return value if len(value) <= LARGEST else Held(value)
    file = io.BytesIO()
    probe = Probe(file)
    probe.dump(value)
    return Held(value) if probe.met_code or file.tell() > LARGEST else value


def value_of(found):
    """Return the value of what `kept` has returned."""
    return found.value if type(found) is Held else found
