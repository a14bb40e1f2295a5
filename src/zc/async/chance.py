"""The one source of randomness of the package; tests install a seeded one."""
import random

_source = random.Random()


def install(source):
    """Make *source*, a `random.Random`, the source; return the one before."""
    global _source
    before, _source = _source, source
    return before


def below(limit):
    """Return an int from 0 up to, not including, *limit*.  Any thread."""
    return _source.randrange(limit)


def jitter(seconds):
    """Return seconds between half of *seconds* and all of it.  Any thread."""
    return seconds * (0.5 + _source.random() / 2)
