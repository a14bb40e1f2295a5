"""The table of floors and goals: what must hold, and what is held against it."""
import dataclasses
import textwrap

from bench.chart import number
from bench.publishing.facts import spread

GOAL, FLOOR, MISSED = 'goal', 'floor', '**missed**'
UNKNOWN = 'not measured in this run'
LIMITED = "floor, by the server's limit only"
#: From the worst to the best.
_ORDER = (MISSED, UNKNOWN, FLOOR, GOAL)


@dataclasses.dataclass(frozen=True)
class Limit:
    """One figure: where it is found, and its floor and goal.

    *path* are the keys in a summary; a mapping with a median stands for it.
    """

    storage: str
    measure: str
    path: tuple
    floor: float
    goal: float
    most: bool = False      # the figure may not exceed them, else it must reach them
    scale: float = 1
    unit: str = ''
    #: How much the row speaks of: keys in a summary, the number, and of what.
    much: tuple = None

    def value(self, facts):
        found = self._found(facts, self.path)
        return None if found is None else found * self.scale

    def _found(self, facts, path):
        found = facts.get(self.storage, self.measure)
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return spread({'it': found}, 'it')

    def instead(self, facts):
        """Return in words how much was measured, where that is not what the row says."""
        if self.much is None:
            return ''
        path, wanted, words = self.much
        found = self._found(facts, path)
        # the seconds of an idle process are a little more than were asked for
        if found is None or abs(found - wanted) <= 0.02 * wanted:
            return ''
        return f' (with {number(round(found))} {words} instead of {number(wanted)})'

    def _range(self, facts):
        found = facts.get(self.storage, self.measure).get(self.path[0])
        if not isinstance(found, dict) or found.get('min') == found.get('max'):
            return ''
        if 'min' not in found:
            return ''
        return f' ({number(found["min"])} to {number(found["max"])})'

    def verdict(self, facts):
        value = self.value(facts)
        if value is None:
            return UNKNOWN
        for bound, name in ((self.goal, GOAL), (self.floor, FLOOR)):
            if value <= bound if self.most else value >= bound:
                return name
        return MISSED

    def shown(self, facts):
        value = self.value(facts)
        if value is None:
            return UNKNOWN
        return (number(value) + self.unit + self._range(facts)
                + self.instead(facts))


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    limits: tuple

    def cells(self, facts):
        """Return what, floor, goal, measured and the verdict, as text."""
        found = [limit.verdict(facts) for limit in self.limits]
        return (self.what,
                '; '.join(number(one.floor) + one.unit for one in self.limits),
                '; '.join(number(one.goal) + one.unit for one in self.limits),
                '; '.join(one.shown(facts) for one in self.limits),
                min(found, key=_ORDER.index)
                + (', at that size' if any(one.instead(facts) for one in self.limits)
                   else ''))


@dataclasses.dataclass(frozen=True)
class Served:
    """The line about several workers, who reach a floor or what the server permits.

    What it permits is the rate of as many bare processes in the same run: those ask of
    the storage what a job costs it at the least, and do nothing else.
    """

    what: str
    storage: str
    workers: str
    bare: str
    floor: float
    goal: float
    #: How much of the rate of the bare processes counts as all that is permitted.
    share: float = 0.9

    def _bare(self, facts):
        """Return the summary of the bare processes of the run of the workers, or None."""
        workers = facts.get(self.storage, self.workers)
        found = facts.get(self.storage, self.bare)
        if None in (workers, found) or found['file'] != workers['file']:
            return None
        return found if spread(found, 'relative') else None

    def _ratio(self, facts):
        return spread(facts.get(self.storage, self.workers), 'relative')

    def _permitted(self, facts):
        bare = self._bare(facts)
        return None if bare is None else self.share * spread(bare, 'value')

    def verdict(self, facts):
        """Return what holds; `LIMITED` where it is the server's limit that does."""
        ratio, permitted = self._ratio(facts), self._permitted(facts)
        if ratio is None:
            return UNKNOWN
        if ratio >= self.goal:
            return GOAL
        if ratio >= self.floor:
            return FLOOR
        if permitted is None:
            return MISSED
        rate = spread(facts.get(self.storage, self.workers), 'value')
        return LIMITED if rate >= permitted else MISSED

    def cells(self, facts):
        """Return what, floor, goal, measured and the verdict, as text."""
        return (self.what, f'{number(self.floor)}, or {number(self.share)} of the rate of '
                'bare processes', number(self.goal), self._shown(facts),
                self.verdict(facts))

    def _shown(self, facts):
        ratio = self._ratio(facts)
        if ratio is None:
            return UNKNOWN
        bare = self._bare(facts)
        return (f'{_beside(facts.get(self.storage, self.workers))}; bare processes: '
                + (UNKNOWN if bare is None else _beside(bare)))

    def note(self, facts):
        """Return in plain words what the server's limit has to do with it, or ''."""
        verdict, bare = self.verdict(facts), self._bare(facts)
        if verdict == UNKNOWN:
            return ''
        if bare is None:
            return _NO_LIMIT.format(ratio=number(self._ratio(facts)))
        workers = facts.get(self.storage, self.workers)
        return textwrap.fill(_LIMIT.format(
            bare=number(spread(bare, 'relative')),
            bare_rate=number(spread(bare, 'value')), ratio=number(self._ratio(facts)),
            rate=number(spread(workers, 'value')),
            part=number(spread(workers, 'value') / spread(bare, 'value')), floor=number(self.floor),
            share=number(self.share), permitted=number(self._permitted(facts)),
            so=_SO[verdict].format(floor=number(self.floor))), 88) + '\n'


def _beside(found):
    ratio, rate = found['relative'], spread(found, 'value')
    return (f'{number(ratio["median"])} ({number(ratio["min"])} to '
            f'{number(ratio["max"])}), {number(rate)}/s')


_LIMIT = '''\
**Two workers over ZEO, and the limit of its server.**  A bare process does what one job
with one effect costs the storage at the least, and nothing else: it loads the records of
a job, of a call and of what is changed, and commits two of them, with one more object
guarded.  In the same run, with the server on the same processors, two bare processes
reached {bare} of one, {bare_rate} commits a second.  Two workers reached {ratio} of one,
{rate} jobs a second, {part} of the rate of the bare two.  The floor is {floor}, or
{share} of the rate of the bare two, which is {permitted}: {so}
'''
_SO = {
    GOAL: 'the goal is reached, whatever the server permits.',
    FLOOR: 'the floor of {floor} is reached, whatever the server permits.',
    LIMITED: '**{floor} is not reached**; the floor holds only because bare processes, '
             'which do nothing else, are hardly faster.',
    MISSED: '**the floor is missed**, and it is not the server that forbids more.'}
_NO_LIMIT = '''\
**Two workers over ZEO, and the limit of its server.**  What bare processes reach was not
measured in the run of the workers, so the {ratio} of these stands beside the floor alone.
'''


def notes(facts):
    """Return what is to be said below the table."""
    return [text for row in ROWS if isinstance(row, Served)
            if (text := row.note(facts))]


def _ratio(measure, floor, goal, storage='filestorage', name='ratio', much=None):
    return Limit(storage, measure, (name,), floor, goal, much=much)


def _latency(storage, measure, floors, goals):
    return tuple(Limit(storage, measure, (name,), floor, goal, most=True, unit=' ms')
                 for name, floor, goal in zip(('p50', 'p95'), floors, goals))


def _conflicts(measure):
    return Limit('zeo', measure, ('conflicts',), 1, 0.1, most=True, scale=100, unit=' %')


def _most(storage, measure, path, floor, goal, unit='', much=None):
    return Limit(storage, measure, path, floor, goal, most=True, unit=unit, much=much)


_MILLION = ('backlog',), 1_000_000, 'jobs that wait'
_IN_FRONT = ('backlog',), 100_000, 'jobs in front'
_MANY = ('extra', 'jobs'), 1_000_000, 'jobs'
_TEN_MINUTES = ('extra', 'seconds'), 600, 'seconds'


ROWS = (
    Row('no-op jobs, agent of size 10: drain ÷ raw rate',
        (_ratio('no-op-10', 0.7, 1),)),
    Row('… commits; bytes, per job',
        (_most('filestorage', 'no-op-10', ('cost', 'commits'), 0.15, 0.05),
         _most('filestorage', 'no-op-10', ('cost', 'bytes'), 900, 600))),
    Row('… out of the box, size 3', (_ratio('no-op', 0.4, 0.6),)),
    Row('jobs with one effect, size 10: drain ÷ raw rate; commits per job',
        (_ratio('effect-10', 0.4, 0.6),
         _most('filestorage', 'effect-10', ('cost', 'commits'), 1.3, 1.1))),
    Row('put one by one ÷ raw rate; a thousand in one commit ÷ raw rate',
        (_ratio('put', 0.5, 0.7), _ratio('bulk', 4, 8))),
    Row('commit to start, same process, p50; p95',
        _latency('filestorage', 'latency', (3, 10), (1.5, 5))),
    Row('… over ZEO', _latency('zeo', 'remote latency', (8, 25), (4, 12))),
    Row('… on PostgreSQL', _latency('postgresql', 'remote latency', (20, 80), (6, 25))),
    Row('drain at a backlog of 1,000,000 ÷ at 1,000; claim p99',
        (_ratio('backlog-1m', 0.8, 0.95, name='relative', much=_MILLION),
         _most('filestorage', 'backlog-1m', ('claim_ms', 'p99'), 50, 10, ' ms',
               _MILLION))),
    Row('… behind 100,000 that a full quota blocks; that no agent wants',
        (_ratio('blocked-100k', 0.7, 0.9, name='relative', much=_IN_FRONT),
         _ratio('unwanted-100k', 0.7, 0.9, name='relative', much=_IN_FRONT))),
    Served('two workers over ZEO, one effect ÷ one worker', 'zeo', 'workers-effect-2',
           'limit-2', 1.5, 1.8),
    Row('conflicts of 8 workers, with effects; without; of 8 producers',
        tuple(map(_conflicts, ('workers-effect-8', 'workers-no-op-8', 'producers-8')))),
    Row('a million jobs put, run and pruned: growth of memory; packed database',
        (_most('filestorage', 'memory', ('extra', 'growth_mb'), 20, 5, ' MB', _MANY),
         _most('filestorage', 'memory', ('extra', 'packed_mb'), 5, 1, ' MB', _MANY))),
    *(Row(f'idle process, {title}: share of a core; commits in 10 minutes',
          (_most(storage, 'idle', ('value',), 0.5, 0.1, ' %', _TEN_MINUTES),
           _most(storage, 'idle', ('extra', 'commits_in_10_minutes'), 21, 0, '',
                 _TEN_MINUTES)))
      for storage, title in (('filestorage', 'FileStorage'), ('zeo', 'ZEO'))))

#: Those that must be beaten, and those we want to beat, in their durable settings.
RIVALS = {'floor': ('procrastinate', 'oban', 'celery', 'rq'),
          'goal': ('dramatiq', 'huey', 'taskiq', 'pgqueuer', 'skiplocked')}


def rivals(facts):
    """Return the cells of the row about peers."""
    found, verdicts = [], []
    for measure in ('no-op', 'effect'):
        ours = spread(facts.peer('zc.async', 'filestorage', 'durable', measure), 'value')
        rates = {system: spread(one.get(measure), 'value') for (system, _s, settings), one
                 in facts.peers().items() if settings == 'durable'}
        beaten = [name for names in RIVALS.values() for name in names
                  if ours and rates.get(name) and ours > rates[name]]
        unbeaten = [name for names in RIVALS.values() for name in names
                    if ours and rates.get(name) and name not in beaten]
        verdicts.append(_rank(beaten, unbeaten))
        found.append(f'{measure}: {_listed(beaten, unbeaten)}')
    return ('one worker each, no-op and one effect, durable: faster than',
            ', '.join(RIVALS['floor']), 'also ' + ', '.join(RIVALS['goal']),
            '; '.join(found), min(verdicts, key=_ORDER.index))


def _rank(beaten, unbeaten):
    if any(name in unbeaten for name in RIVALS['floor']):
        return MISSED
    if any(name not in beaten for name in RIVALS['floor']):
        return UNKNOWN
    return GOAL if all(name in beaten for name in RIVALS['goal']) else FLOOR


def _listed(beaten, unbeaten):
    if not beaten and not unbeaten:
        return UNKNOWN
    return ('faster than ' + (', '.join(beaten) or 'none')
            + (f'; not than {", ".join(unbeaten)}' if unbeaten else ''))
