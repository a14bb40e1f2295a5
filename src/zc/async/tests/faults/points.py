"""The points: each storage call of each story, and each kind of fault at it.

One point is one run of a story, with one fault or with two.  Runs are independent
of each other, and the same wherever they are made, so several processes share them.
"""
import concurrent.futures
import contextlib
import dataclasses
import gc
import logging
import multiprocessing
import os

from zope.testing import cleanup

from ... import dispatcher as dispatchers
from .scenarios import SCENARIOS
from .storage import KINDS
from .world import World

#: Kinds that pairs are made of, where all of them would be too many: a commit is
#: made and nobody knows it, a process dies, the storage is away, others were quicker.
PAIRED = ('lost answer', 'death', 'disconnected', 'conflict')
#: The stories of which pairs are made: the shortest.
SHORTEST = ('no_effect', 'one_effect', 'at_most_once')
#: Runs that one process is given at a time.
_SHARE = 50


@dataclasses.dataclass(frozen=True)
class Point:
    """A story, and the faults that are planned for it: pairs of call and kind."""

    story: str
    planned: tuple = ()


@dataclasses.dataclass(frozen=True)
class Told:
    """How a story went: what it met, how many calls it made, what is wrong."""

    point: Point
    met: tuple
    calls: int
    problems: tuple


def tell(point):
    """Tell the story of *point*, and return how it went."""
    gc.collect(0)
    with World(SCENARIOS[point.story], *point.planned) as world:
        world.tell()
        problems = world.problems()
        if world.faults.count and len(world.faults.met) < len(point.planned):
            problems.append(f'{point} was not met in {world.faults.count} calls')
        return Told(point, tuple(world.faults.met), world.faults.count, tuple(problems))


def calls(story):
    """Return how many storage calls *story* makes without a fault."""
    with _alone():
        told = tell(Point(story))
    if told.problems:
        raise AssertionError(f'{story} goes wrong without any fault: {told.problems}')
    return told.calls


def singles(story, stride=1, kinds=KINDS):
    """Return the points of *story* with one fault, every *stride*-th of them."""
    count = calls(story)
    found = [Point(story, ((at, kind),))
             for at in range(1, count + 1) for kind in kinds]
    return found[::stride]


def seconds(first, kinds):
    """Return the points with the one fault of *first*, and another after it."""
    [(at, _kind)] = first.planned
    return [Point(first.story, (*first.planned, (later, kind)))
            for later in range(at + 1, tell(first).calls + 1) for kind in kinds]


# Many

@dataclasses.dataclass
class Sum:
    """What became of many points."""

    runs: int = 0
    wrong: list = dataclasses.field(default_factory=list)

    def add(self, told):
        """Count *told*."""
        self.runs += 1
        if told.problems:
            self.wrong.append(told)

    def update(self, other):
        """Add all of *other*."""
        self.runs += other.runs
        self.wrong += other.wrong


def run(points):
    """Tell all *points*, in this process; return the `Sum`."""
    found = Sum()
    with _alone():
        for point in points:
            found.add(tell(point))
    return found


def run_pairs(firsts, kinds, stride=1):
    """Tell of each fault in *firsts*, with another after it; return the `Sum`."""
    found = Sum()
    with _alone():
        for number, first in enumerate(firsts):
            # another part of them each time
            for point in seconds(first, kinds)[number % stride::stride]:
                found.add(tell(point))
    return found


@contextlib.contextmanager
def _alone():
    """Have nobody told of thousands of faults, and leave nothing behind."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    cleanup.cleanUp()
    # A connection that could not be opened makes calls until it is collected, and
    # the same story must always make the same.
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        cleanup.cleanUp()
        dispatchers.clear()
        logging.disable(before)


class Processes:
    """As many processes as there are processors share the runs.  A context manager.

    With one, everything is done right here.
    """

    def __init__(self, count=None):
        self.count = len(os.sched_getaffinity(0)) if count is None else count
        self._pool = None

    def __enter__(self):
        if self.count > 1:
            # not forked: the process of the tests may have threads
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self.count, multiprocessing.get_context('spawn'))
            self._pool.submit(run, ()).result()  # it has its threads now
        return self

    def __exit__(self, *exc_info):
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, points, function=run, *args):
        """Let *function*, `run` or `run_pairs`, be called; return the `Sum`."""
        share = _SHARE if function is run else 5
        shares = [points[start:start + share] for start in range(0, len(points), share)]
        found = Sum()
        if self._pool is None:
            parts = (function(share, *args) for share in shares)
        else:
            parts = [self._pool.submit(function, share, *args) for share in shares]
            parts = (one.result() for one in concurrent.futures.as_completed(parts))
        for part in parts:
            found.update(part)
        return found
