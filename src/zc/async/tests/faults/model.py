"""What a simulation must lead to, in plain Python: nothing here reads a database.

It is told what was put and what the committed states show, and collects, as
sentences, what must not be.
"""
import collections
import dataclasses
import re

from ...interfaces import ACTIVE
from ...interfaces import COMPLETED
from ...interfaces import PARKED
from ...interfaces import PENDING
from ...model.status import ARROWS

#: Failures by which a job may end though its call does not fail by itself: it
#: met too many conflicts, or too many deaths of its process.
CONFLICTS = {'ConflictError', 'ReadConflictError', 'TransientError'}
ABORTED = {'AbortedError'}
#: How often the default policy lets a job be interrupted.
INTERRUPTIONS = 9
#: Seconds within which a job begins that is due, where nothing is in its way.
PROMPT = 1
#: Deaths of its process after which a job is parked.
DEATHS = 3
#: What calls fail with by themselves.
ERRORS = {'fail': 'ValueError', 'defer failure': 'ValueError',
          'unstorable': 'NotStorableError', 'poison': 'AbortedError'}


def _reachable():
    """Return the pairs of statuses between which arrows lead, however many."""
    found = {(source, arrow.target) for arrow in ARROWS.values()
             for source in arrow.sources}
    while True:
        more = {(first, last) for first, middle in found
                for other, last in found if other == middle} - found
        if not more:
            return found
        found |= more


#: Several arrows may be followed in one transaction.
REACHABLE = _reachable()


@dataclasses.dataclass(frozen=True)
class Seen:
    """A job as a committed state shows it."""

    status: str
    attempt: int = 0
    error: str = None         # the class of its failure, if that is its result
    waits: bool = False       # for another job, or a deferred
    interruptions: int = 0    # as its policy counts them
    result: str = None        # anything that changes when the result does
    ended: bool = False       # it has its result


#: A job of which nothing is stored yet.
UNSEEN = Seen('new-status')


class Model:
    """Puts and states.  Names are those of `Spec`; processes are named too.

    *note* is told, in words, of what is new.
    """

    def __init__(self, note=lambda text: None):
        self.note = note
        self.specs = {}       # of all calls that may be in the database, by name
        self.roots = {}       # name of what was put -> 'ok', 'info' or 'fail'
        self.added = {}       # name of a callback from outside -> the same
        self.pulled = set()   # names of what was, or may have been, pulled
        self.ended = set()    # … or given a failure, by an administrator
        self.seen = collections.defaultdict(lambda: UNSEEN)
        self.effects = collections.Counter()
        self.starts = collections.Counter()
        self.starts_before = collections.Counter()  # … its latest attempt
        self.waited = set()   # names of what waited for another
        self.interrupted = collections.Counter()  # as the committed states show it
        self.handed_over = collections.Counter()  # … perhaps: in order, or parked
        self.reruns = collections.Counter()  # of parked jobs, by an administrator
        self.dead = set()     # … whose dispatchers count as dead
        self.stopping = set() # the names of these
        self.begun_by = {}    # name -> the process that has begun its latest attempt
        self.settled_by = {}  # name -> the process that stored its result
        self.began = {}       # name -> when it began first, in this order
        self.waiting = {}     # name -> when it was in line first
        self.prompt = False   # whether all that is due must begin at once
        self.alone = True     # whether there is but one dispatcher
        self.problems = []
        self.unquiet = set()  # kinds of faults that there were

    def problem(self, text):
        """Remember what must not be; each sentence once."""
        if text not in self.problems:
            self.problems.append(text)
            self.note(f'problem: {text}')

    def know(self, spec):
        """Add *spec* and what belongs to it."""
        for one in spec.walk():
            self.specs[one.name] = one

    # While it runs

    def started(self, name, process):
        """The body of *name* starts in *process*."""
        self.starts[name] += 1
        if self.specs[name].once and self.starts[name] > 1:
            self.problem(f'{name} may start once and started again in {process}')
        # a callback is counted with the job whose worker has come to it
        if self.specs[name].call == 'poison' and ':' not in name and (
                self.starts[name] > DEATHS * (1 + self.reruns[name])):
            self.problem(f'{name} was started again in {process}, and is deadly')
        if self.settled_by.get(name) == process:
            self.problem(f'{name} started again in {process}, which had stored its end')

    def changed(self, name, seen, process, now=0):
        """A commit of *process* at *now* shows the job *name* as *seen*."""
        old, self.seen[name] = self.seen[name], seen
        if (old.status, old.attempt, old.waits) != (
                seen.status, seen.attempt, seen.waits):
            self.note(f'{name} is {seen.status} in attempt {seen.attempt}'
                      + ' and waits' * seen.waits)
        if old.status != seen.status and (old.status, seen.status) not in REACHABLE:
            self.problem(f'{name} went from {old.status} to {seen.status}')
        if old.ended and (old.error, old.result) != (seen.error, seen.result):
            self.problem(f'{name} changed its result from {old} to {seen}')
        if not old.attempt <= seen.attempt <= old.attempt + 1:
            self.problem(f'{name} went from attempt {old.attempt} to {seen.attempt}')
        if _broken_off(old, seen):
            # what it had claimed ahead, a process gives back by itself
            given_back = (self.begun_by.get(name) == process
                          and self.starts[name] == self.starts_before[name])
            certain = not given_back and (
                process not in self.stopping and seen.status != PARKED)
            (self.interrupted if certain else self.handed_over)[name] += 1
        if seen.status == PENDING:
            self.waiting.setdefault(name, now)
        if seen.attempt:
            self.began.setdefault(name, now)
        if seen.waits:
            self.waited.add(name)
        if seen.attempt > old.attempt and not seen.ended:
            self.begun_by[name] = process
            self.starts_before[name] = self.starts[name]
        if seen.ended and not old.ended:
            self.settled_by[name] = process
            self._check_settler(name, old, seen, process)
            if process in self.dead:
                self.problem(f'{name} was ended by {process}, which counts as dead')

    def _check_settler(self, name, old, seen, process):
        """Check that the process which has begun an attempt is the one that ends it.

        Others only give it up, or bring what it waited for.
        """
        beginner = self.begun_by.get(name, process)
        if old.status == ACTIVE and not old.waits and seen.error not in ABORTED and (
                beginner != process):
            self.problem(
                f'{name} was begun by {beginner} and ended by {process}: {seen}')

    def effect(self, name, count):
        """A commit shows *count* effects of *name*."""
        self.effects[name] = count
        if count > 1:
            self.problem(f'{name} had its effect {count} times')

    def coherent(self, name):
        """Check that the effect of *name* is there if, and only if, its end is."""
        spec, seen = self.specs.get(name), self.seen[name]
        if spec is None or not spec.has_effect:
            return
        ended = seen.ended and seen.error is None or name in self.waited
        if bool(self.effects[name]) != ended:
            self.problem(f'{name} has {self.effects[name]} effects and is {seen}')

    # In the end

    def landed(self, name):
        """Return whether the put *name* was committed."""
        return self.seen[name] is not UNSEEN

    def finish(self):
        """Check what became of everything."""
        for name, state in self.roots.items():
            if state == 'ok' and not self.landed(name):
                self.problem(f'{name} was put and is not there')
            elif state == 'fail' and self.landed(name):
                self.problem(f'{name} was not put and is there')
            if self.landed(name):
                self._ended(self.specs[name])
        for name, state in self.added.items():
            self._added(name, state)
        if not {'clock', 'new quotas'} & self.unquiet:
            self._check_order()
        if self.prompt:
            self._check_promptness()

    def _check_order(self):
        """Check that what one producer has put began in order, within a quota.

        Without one, several dispatchers may take a job that is a little younger first.
        """
        alone = self.alone and 'new' not in self.unquiet
        latest = {}  # (producer, quota) -> number of the job that began last
        for name in self.began:
            spec = self.specs[name]
            if name not in self.roots or spec.after is not None or spec.once:
                continue
            if spec.quota is None and not alone:
                continue
            producer, _minus, number = name.partition('-')
            before = latest.get((producer, spec.quota), -1)
            if int(number) < before:
                self.problem(f'{name} began after {producer}-{before}')
            latest[producer, spec.quota] = int(number)

    def _check_promptness(self):
        for name, now in self.began.items():
            due = self.waiting.get(name, now)
            spec = self.specs[name]
            if spec.after is not None:
                due += spec.after
            if spec.quota is None and not spec.once and now - due > PROMPT:
                self.problem(f'{name} was due at {due:.3f} and began at {now:.3f}')

    def _added(self, name, state):
        if state == 'ok' and not self.landed(name):
            self.problem(f'callback {name} was added and is not there')
        elif self.landed(name) and name.partition('+')[0] not in self.pulled:
            self._ended(self.specs[name])

    def _ended(self, spec):
        """Check that what *spec* describes is done, and what follows from it."""
        seen = self.seen[spec.name]
        if spec.name in self.pulled and not seen.ended:
            self._never(spec)
            return
        if seen.status != COMPLETED:
            self.problem(f'{spec.name} is {seen} in the end')
            return
        self._check_error(spec, seen)
        self._check_interruptions(spec, seen)
        expected = spec.has_effect and (
            seen.error is None or spec.name in self.waited)
        if self.effects[spec.name] != expected:
            self.problem(f'{spec.name} had {self.effects[spec.name]} effects: {seen}')
        self._check_inner(spec, seen)
        for branch, callback in spec.callbacks:
            if branch and self._given_up(spec.name):
                continue  # perhaps before one was chosen
            if branch in ('', 'success' if seen.error is None else 'failure'):
                self._ended(callback)
            else:
                self._never(callback)

    def _check_inner(self, spec, seen):
        """Check what was put by *spec*, or is a part of it."""
        ran = spec.name in self.waited or self.effects[spec.name]
        for inner in spec.inner:
            if ran:
                self._ended(inner)
            else:
                self._never(inner)
        if spec.name in self.waited and spec.inner:
            last = self.seen[spec.inner[-1].name]
            if seen.error != last.error:
                self.problem(f'{spec.name} is {seen}, what it waited for is {last}')

    def _never(self, spec):
        """Check that nothing of *spec* has an effect."""
        for one in spec.walk():
            if self.effects[one.name]:
                self.problem(f'{one.name} had an effect and was not to have any')

    def _check_error(self, spec, seen):
        if spec.name in self.waited and spec.inner:
            return  # it has that of another
        own = ERRORS.get(spec.call)
        if seen.error == own:
            return
        if seen.error is None:
            self.problem(f'{spec.name} did not fail: {seen}')
        elif seen.error not in self._excuses(spec, seen):
            self.problem(f'{spec.name} failed with {seen.error}: {seen}')

    def _given_up(self, name):
        """Return whether something that was put with *name* was given a failure."""
        return _root(name) in map(_root, self.ended)

    def _excuses(self, spec, seen):
        """Return the failures that what happened explains."""
        found = set()
        if spec.once or seen.interruptions >= INTERRUPTIONS:
            found |= ABORTED
        if spec.call == 'leave':
            found |= ABORTED
        if spec.call == 'hot' or 'conflict' in self.unquiet:
            found |= CONFLICTS
        if spec.once and self.unquiet:
            found |= CONFLICTS | {'ClientDisconnected', 'OperationalError'}
        if spec.by is not None:
            found.add('TimeoutError')
        if self._given_up(spec.name):
            found |= {'Cancelled', *ABORTED}
        return found

    def _check_interruptions(self, spec, seen):
        """Check that the policy counted as often as attempts were broken off."""
        if spec.once or spec.call in ('wait', 'rare') or {*':+'} & {*spec.name}:
            return  # a callback begins when it ends, and counts otherwise
        # an order to stop does not count, but a call that ends its thread does
        least = self.interrupted[spec.name]
        most = least + self.handed_over[spec.name] + (seen.error in ABORTED)
        if not least <= seen.interruptions <= most:
            self.problem(f'{spec.name} was interrupted {least} to {most} times: {seen}')


def _root(name):
    """Return the name of what was put, of *name* or what it belongs to."""
    return re.split('[.:+]', name, maxsplit=1)[0]


def _broken_off(old, seen):
    """Return whether the attempt of *old* had no end, by what is *seen* now."""
    return old.status == ACTIVE and not seen.ended and (
        seen.status != ACTIVE or seen.attempt != old.attempt)
