"""What the jobs of the bench do.  Workers find these by module and name."""
import queue
import time

import persistent

#: When the bodies of `stamp` began, as ``(number, seconds)``; in one process.
stamps = queue.SimpleQueue()


class Cell(persistent.Persistent):
    """A small object that somebody changes."""

    value = 0


def nothing():
    """Do nothing."""


def increment(cell):
    """Change one object."""
    cell.value += 1


def stamp(number):
    """Say when this body began."""
    stamps.put((number, time.perf_counter()))
