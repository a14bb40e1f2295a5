"""The files of a FileStorage, as a pack that was broken off leaves them.

At its end a pack renames ``Data.fs`` to ``Data.fs.old`` and ``Data.fs.pack`` to
``Data.fs``.  A process that is killed in between leaves no ``Data.fs``, and whoever
opens the database next gets a new one, which is empty.
"""
import os

#: How the transactions' ids begin, after the file's magic number.
_FIRST = 4
_ID = _SIZE = 8


def leftovers(path):
    """Return the files that a pack of *path* may have left, the whole one first."""
    return [found for found in (f'{path}.old', f'{path}.pack') if os.path.exists(found)]


def older(path):
    """Return the `leftovers` of *path* that were ended before it was begun.

    Where there are some, *path* is not what became of them.  After a pack that
    was not broken off, it begins before the ``.old`` file ends.
    """
    first = _first_id(path)
    ends = {'.old': _last_id, '.pack': _first_id}
    found = []
    for other in leftovers(path):
        end = ends[os.path.splitext(other)[1]](other)
        if end is not None and (first is None or end < first):
            found.append(other)
    return found


def _first_id(path):
    """Return the id of the first transaction, None if there is none."""
    with open(path, 'rb') as file:
        file.seek(_FIRST)
        found = file.read(_ID)
    return found if len(found) == _ID else None


def _last_id(path):
    """Return the id of the last transaction; of the first if that is not whole."""
    with open(path, 'rb') as file:
        end = file.seek(0, os.SEEK_END) - _SIZE
        if end > _FIRST:
            file.seek(end)
            size = file.read(_SIZE)
            begin = end - int.from_bytes(size, 'big')
            if begin >= _FIRST:
                file.seek(begin)
                found, again = file.read(_ID), file.read(_SIZE)
                if again == size:
                    return found
    return _first_id(path)
