"""Numbered steps from one stored form to the next.

The queues of a database carry the number of their stored form, ``generation``.
A step is a function, in a module ``step_N`` of its own, that brings queues of
form N to form N + 1; it commits nothing.  Steps are never changed once they
were released.  The first form is 1.
"""
from ..interfaces import AsyncError
from ..queue import GENERATION
from . import step_1

#: Form -> the function that leads from it to the next one.
STEPS = {1: step_1.step}
#: Forms from which dispatchers go on by themselves, while others may run: all that the
#: step has to do is to keep older ones off.
AT_ONCE = frozenset((1,))


class GenerationError(AsyncError):
    """The stored form is one that this code does not know."""


def check(queues):
    """Raise `GenerationError` unless this code may work with *queues*."""
    if queues.generation > GENERATION:
        raise GenerationError(
            f'the stored form of the queues is {queues.generation}, and this '
            f'version of zc.async knows forms up to {GENERATION}; install the '
            f'version that wrote it, or a newer one')
    if queues.generation < GENERATION:
        remedy = ('start a dispatcher of this version, which brings them to that'
                  if AT_ONCE.issuperset(range(queues.generation, GENERATION)) else
                  'call zc.async_.evolve.evolve(queues) and commit, with no dispatcher '
                  'running')
        raise GenerationError(
            f'the stored form of the queues is {queues.generation}, and this '
            f'version of zc.async works with form {GENERATION}; {remedy}')


def keep_up(queues):
    """Bring *queues* to the newest form, if that may be done while others run.

    Commits nothing.  Raise `GenerationError` unless this code may work with them then.
    """
    if queues.generation < GENERATION and AT_ONCE.issuperset(
            range(queues.generation, GENERATION)):
        evolve(queues)
    check(queues)


def evolve(queues, steps=STEPS, to=GENERATION):
    """Bring *queues* to the form *to*; return how many steps it took.

    Commits nothing.  Raise `GenerationError` where a step is missing or the
    form is newer than *to*.
    """
    count = 0
    while queues.generation < to:
        step = steps.get(queues.generation)
        if step is None:
            raise GenerationError(
                f'no step leads from stored form {queues.generation} to {to}; '
                f'use a version of zc.async that has one')
        step(queues)
        queues.generation += 1
        count += 1
    if queues.generation > to:
        check(queues)
    return count
