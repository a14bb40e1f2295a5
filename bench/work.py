"""What the jobs of the bench do.  Workers find these by module and name."""
import hashlib
import queue
import time

import persistent

#: When the bodies of `stamp` began, as ``(number, seconds)``; in one process.
stamps = queue.SimpleQueue()
#: Rounds of `compute`: some 5 ms, and always the same work.
ROUNDS = 8000
#: Seconds of `linger`.
PAUSE = 0.02


class Cell(persistent.Persistent):
    """A small object that somebody changes."""

    value = 0


class Record(persistent.Persistent):
    """A record of so many bytes, about, that leads to the object *next*."""

    #: Bytes of the rest of it, with a reference.
    _REST = 90

    def __init__(self, size, next):
        self.next = next
        self.text = 'x' * (size - self._REST)

    def touch(self):
        """Have it stored once more, no smaller."""
        self.text = 'y' * len(self.text)


def nothing():
    """Do nothing."""


def increment(*cells):
    """Change each of the *cells*."""
    for cell in cells:
        cell.value += 1


def called(_result):
    """Do nothing, as a callback."""


def part(number):
    """Do nothing, as a part of a workflow, but return *number*."""
    return number


def results(*jobs):
    """End a workflow: return what its parts returned."""
    return [job.result for job in jobs]


def compute():
    """Keep a processor busy, and hold the interpreter's lock."""
    found = b''
    for _number in range(ROUNDS):
        found = hashlib.sha256(found).digest()


def linger():
    """Wait for something outside."""
    time.sleep(PAUSE)


def blocked():
    """Be never done: its quota is full."""
    raise AssertionError('a job was done whose quota has no room')


def unwanted():
    """Be never done: `is_wanted` refuses it."""
    raise AssertionError('a job was done that the filter refuses')


def is_wanted(job):
    """A filter: whether *job* is not `unwanted`."""
    return job.kind.rpartition('.')[2] != 'unwanted'


def stamp(number):
    """Say when this body began."""
    stamps.put((number, time.perf_counter()))
