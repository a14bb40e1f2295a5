"""Guards on what was read: the commit fails if it is no longer current."""
from ZODB.utils import z64


def read_current(obj):
    """Let the commit fail if *obj* was changed by another transaction.

    Nothing happens for an object that is in no database yet, or that this
    transaction changes anyway.
    """
    jar = obj._p_jar
    if jar is None or obj._p_changed:
        return
    # a ghost has no serial yet, and nothing would be guarded
    obj._p_activate()
    if obj._p_serial != z64:
        jar.readCurrent(obj)
