"""Documented names that clients use; their homes are elsewhere."""
import persistent

from .describe import callable_name
from .describe import persistent_repr
from .describe import safe_repr
from .log import events as log  # noqa: F401 documented name
from .log import trace as tracelog  # noqa: F401 documented name


def custom_repr(obj):
    """Return a short text about *obj*, as it is shown in the repr of a job."""
    if isinstance(obj, persistent.Persistent):
        return persistent_repr(obj)
    return callable_name(obj) if callable(obj) else safe_repr(obj)
