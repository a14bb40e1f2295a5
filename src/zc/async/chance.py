"""The one source of randomness of the package; tests install a seeded one."""
import os
import random
import threading

_source = random.Random()
if hasattr(os, 'register_at_fork'):
    # or all children of one process would have the same tokens: one that replaces
    # another could take what that had begun for its own
    os.register_at_fork(after_in_child=_source.seed)


def install(source):
    """Make *source*, a `random.Random`, the source; return the one before."""
    global _source
    before, _source = _source, source
    return before


def below(limit):
    """Return an int from 0 up to, not including, *limit*.  Any thread."""
    return _source.randrange(limit)


def token():
    """Return 8 bytes that nobody else is likely to have.  Any thread."""
    return _source.randbytes(8)


class Habit(threading.local):
    """A number below *limit* that a thread keeps for a while; then it is the next.

    Where it begins is random, and where it goes on when ``left`` was set to 0.
    """

    number, left = 0, 0

    def __init__(self, uses=64):
        self._uses = uses

    def below(self, limit):
        """Return the thread's present number."""
        if not self.left or self.number >= limit:
            self.number, self.left = below(limit), self._uses
        number = self.number
        self.left -= 1
        if not self.left:
            self.go_on(limit)
        return number

    def go_on(self, limit):
        """Let the number be the next one."""
        # each as often as the others: none is to be full when those are empty
        self.number, self.left = (self.number + 1) % limit, self._uses


def jitter(seconds):
    """Return seconds between half of *seconds* and all of it.  Any thread."""
    return seconds * (0.5 + _source.random() / 2)
