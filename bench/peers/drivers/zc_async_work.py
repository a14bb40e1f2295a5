"""What the jobs of zc.async do here.  Workers find these by module and name."""
import persistent
from common import mark


class Cell(persistent.Persistent):
    """What a job changes."""

    value = 0


def nothing(number):
    mark(number)


def effect(cell, number):
    mark(number)
    cell.value += 1
