"""What the jobs said when they began; the other side of ``drivers/common.py``."""
import contextlib
import os
import struct

_RECORD = struct.Struct('<qd')
#: The mark of a worker that has settled all it was given.
SETTLED = -2


class Marks:
    """The file *path*, to which the jobs append."""

    def __init__(self, path):
        self.path = path
        self.clear()

    def clear(self):
        # those that have it open append at its new end
        open(self.path, 'wb').close()

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def count(self):
        """Return how many marks there are."""
        return os.path.getsize(self.path) // _RECORD.size

    def jobs(self):
        """Return how many of them are those of jobs."""
        return sum(number != SETTLED for number, _seconds in self.read())

    def read(self):
        """Return ``(number, seconds)`` for each mark, in their order."""
        with open(self.path, 'rb') as file:
            data = file.read()
        return sorted(_RECORD.iter_unpack(data[:len(data) // 16 * 16]),
                      key=lambda mark: mark[1])
