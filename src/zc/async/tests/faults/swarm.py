"""What one seed's run is like: many short runs that differ find more than a long one.

Each run leaves out most kinds of jobs and faults, so that those which are left meet
each other in ways in which they never would among all the others.
"""
import dataclasses

from .workload import CALLS
from .workload import COURSES
from .workload import OUTER
from .workload import Spec

#: Virtual seconds from the first commit to the end of the faults, at most.
LONGEST = 90
#: Quotas of the queue, and their first sizes.
QUOTAS = {'one': 1, 'two': 2}
#: Calls of which processes die.
DEADLY = ('die', 'poison')
#: Calls that have no place in a run where nothing is to go wrong.
HARMFUL = (*DEADLY, 'rare')
#: What is done to processes, and by an administrator.
TROUBLES = ('kill', 'freeze', 'cut off', 'cut off all', 'late', 'clock', 'pack', 'stop',
            'new')
DEEDS = ('resize agent', 'resize quota', 'pull', 'cancel', 'add callback', 'annotate',
         'replace agent', 'new quotas', 'settle parked')


@dataclasses.dataclass
class Profile:
    """Counts, rates between 0 and 1, and what happens at all."""

    dispatchers: int = 1
    producers: int = 1
    jobs: int = 4                # of each producer
    sizes: tuple = (2,)          # of the agents, in turn
    timed: tuple = (True,)       # whether dispatchers are woken between polls
    lacking: tuple = (False,)    # whether their processes lack the code of some jobs
    calls: tuple = ('effect',)
    depth: int = 1               # of callbacks, and of jobs in jobs
    seconds: float = 30          # of trouble
    gap: float = 2               # between two puts, on average
    commit_faults: float = 0
    commit_kinds: tuple = ()
    load_faults: float = 0
    load_kinds: tuple = ()
    after_faults: float = 0
    after_kinds: tuple = ()
    troubles: tuple = ()
    deeds: tuple = ()

    @property
    def quiet(self):
        """Whether nothing at all is to go wrong."""
        return not (self.commit_faults or self.load_faults or self.after_faults
                    or self.troubles or self.deeds)


def draw(source):
    """Return a `Profile` that the random *source* chooses."""
    profile = Profile(
        dispatchers=source.choice((1, 1, 2, 2, 3, 4, 5)),
        producers=source.choice((1, 1, 2, 3)),
        jobs=source.randint(2, 6),
        sizes=tuple(source.randint(1, 4) for _one in range(5)),
        timed=tuple(source.random() < 0.7 for _one in range(5)),
        lacking=tuple(source.random() < 0.5 for _one in range(5)),
        calls=_some(source, (*CALLS, *COURSES), 5),
        depth=source.choice((0, 1, 1, 2)),
        seconds=source.uniform(5, LONGEST),
        gap=source.choice((0.1, 1, 4)))
    if source.random() < 0.1:
        profile.sizes, profile.timed = (30,) * 5, (True,) * 5
        profile.calls = tuple(
            call for call in profile.calls if call not in HARMFUL) or ('effect',)
        return profile
    if source.random() < 0.15:
        return _pausing(profile)
    profile.troubles = _some(source, TROUBLES, 3)
    profile.deeds = _some(source, DEEDS, 3) if source.random() < 0.4 else ()
    _draw_faults(source, profile)
    return profile


def _pausing(profile):
    """Let processes stand still before their commits, and nothing else happen."""
    profile.dispatchers = max(2, profile.dispatchers)
    profile.depth, profile.seconds = 2, 60
    profile.calls = tuple(
        call for call in profile.calls if call not in HARMFUL) or ('effect', 'hand on')
    profile.commit_faults, profile.commit_kinds = 0.15, ('pause',)
    return profile


def _draw_faults(source, profile):
    profile.commit_faults = source.choice((0, 0.02, 0.1))
    profile.commit_kinds = _some(
        source, ('conflict', 'disconnected', 'driver error', 'death', 'pause', 'pause'),
        2)
    profile.load_faults = source.choice((0, 0, 0.001, 0.005))
    profile.load_kinds = _some(
        source, ('read conflict', 'disconnected', 'driver error', 'death'), 2)
    profile.after_faults = source.choice((0, 0.02, 0.1))
    profile.after_kinds = _some(source, ('lost answer', 'death after'), 2)


def _some(source, things, most):
    """Return from one to *most* of *things*."""
    return tuple(source.sample(things, source.randint(1, most)))


def invent(source, name, profile, depth=None, waited_for=False):
    """Return a `Spec` called *name* that the random *source* chooses.

    What is *waited_for* has code that is everywhere: who waits writes into its call.
    """
    inside = depth is not None
    depth = profile.depth if depth is None else depth
    calls = [call for call in profile.calls
             if (depth > 0 or call not in (*COURSES, *OUTER))
             and not (waited_for and call == 'rare')] or ['effect']
    call = source.choice(calls)
    if call in DEADLY and source.random() < 0.6:
        call = 'effect'  # or nothing but deaths would be seen
    spec = Spec(name, call)
    if spec.call in COURSES:
        spec.inner = [invent(source, f'{name}.{number}', profile, depth - 1, True)
                      for number in range(source.randint(2, 4))]
        # what comes last, and tells the parts' order
        spec.inner[-1].call, spec.inner[-1].inner = 'effect', ()
        _name_first(spec)
    elif spec.call in OUTER:
        spec.inner = [invent(source, f'{name}.0', profile, depth - 1, True)]
    elif spec.call.startswith('defer'):
        spec.seconds = source.choice((0, 0.5, 6, 20))
    if not inside:
        _add_details(source, spec, profile)
    if depth > 0:
        spec.callbacks = [_callback(source, f'{name}:{number}', profile, depth - 1)
                          for number in range(source.choice((0, 0, 1, 2)))]
    return spec


def _name_first(spec):
    """Let the course's first part be a call: it gives the course its name."""
    first = spec.inner[0]
    if first.call in COURSES:
        first.call, first.inner = 'effect', ()


def _add_details(source, spec, profile):
    if source.random() < 0.3:
        spec.quota = source.choice(list(QUOTAS))
    if source.random() < 0.2:
        spec.after = source.uniform(0.5, 20)
    if source.random() < 0.05:
        spec.by = source.uniform(1, 20)
    if spec.call in ('effect', 'nothing', 'fail') and source.random() < 0.2:
        spec.once = True


def _callback(source, name, profile, depth):
    return (source.choice(('', 'success', 'failure')),
            invent(source, name, profile, depth))
