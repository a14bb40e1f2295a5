"""The state of a job as it is stored: without the names of its attributes.

A job's record is written three times and read twice, and of each thing in it ZODB asks
whether it is a persistent object: that takes longer than to store it.  So numbers, the
key of its place and the assigner are one string of bytes, and what every job refers to
has its place in a tuple.  Only what few jobs have goes by its name.
"""
import struct

#: The status, the number of the attempt, when it may begin and has begun, the key of its
#: place (`..timekeys`), and a UUID; and once it has ended, when it and its callbacks have.
_LAYOUT = struct.Struct('>BHqq18s16s')
_ENDED = struct.Struct('>BHqq18s16sqq')
#: What stands for a time, a key and a UUID that are not there.
_NEVER, _NOWHERE, _NOBODY = -1 << 63, bytes(18), bytes(16)
#: Where in the tuple is what the job calls.
CALL = 1


def pack(state):
    """Return the attributes *state*, a dict without None, as a tuple.

    Return None where they do not fit.  *state* is used up.
    """
    take = state.pop
    order, assigner = take('_order', _NOWHERE), take('_assigner', _NOBODY)
    values = (take('_code', 0), take('_attempt', 0), take('_begin_after', _NEVER),
              take('_active_start', _NEVER), order, assigner)
    ends = take('_active_end', _NEVER), take('_callbacks_end', _NEVER)
    try:
        packed = (_LAYOUT.pack(*values) if ends == (_NEVER, _NEVER)
                  else _ENDED.pack(*values, *ends))
    except struct.error:
        return None
    if len(order) != len(_NOWHERE) or len(assigner) != len(_NOBODY):
        return None  # it was cut, or filled
    needed = packed, take('_call', None), take('parent', None)
    return (*needed, state) if state else needed


def unpack(stored):
    """Return the attributes of which `pack` made *stored*."""
    packed, end, callbacks_end = stored[0], _NEVER, _NEVER
    if len(packed) == _LAYOUT.size:
        code, attempt, begin_after, start, order, assigner = _LAYOUT.unpack(packed)
    else:
        (code, attempt, begin_after, start, order, assigner, end,
         callbacks_end) = _ENDED.unpack(packed)
    state = {'_call': stored[1], 'parent': stored[2]}
    if code:
        state['_code'] = code
    if attempt:
        state['_attempt'] = attempt
    if order != _NOWHERE:
        state['_order'] = order
    if assigner != _NOBODY:
        state['_assigner'] = assigner
    for name, moment in (('_begin_after', begin_after), ('_active_start', start),
                         ('_active_end', end), ('_callbacks_end', callbacks_end)):
        if moment != _NEVER:
            state[name] = moment
    if len(stored) > 3:
        state.update(stored[3])
    return state
