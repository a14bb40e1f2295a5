"""Is what is found in the end what the history allows?

After Jepsen's checker of queues, but stricter: an effect in the database must be
there exactly once.  Plain data in, plain data out, so that it can be tested with
histories that are wrong on purpose.

The *events* are those of `history.read`; the *census*, of `actors.census`, is

``jobs``
    by the id of the task: ``status``, ``failure`` (the name of an error or None),
    ``result``, ``attempt``, ``marks`` and ``turn``;
``left``
    what is not empty though it should be, by its name;
``damage``
    what `zc.async.audit` has found in the end;
``hot``
    how often the hot counter was counted;
``parked``
    the tasks whose jobs are parked;
``quotas``
    how many jobs each quota held at most, as far as its past is kept.
"""
import collections

from . import work

COMPLETED = 'completed-status'
#: Kinds whose result is what their own body has returned.
_OWN_RESULT = ('effect', 'plain', 'callback', 'one', 'five', 'putting', 'later', 'hot',
               'once', 'stopping')


class Checker:
    """Compares *events* with the *census*.

    ``problems()`` returns what must not be, by its name, empty if all is well;
    ``figures()`` what is only reported.
    """

    def __init__(self, events, census):
        self.events = events
        self.census = census
        self.jobs = census['jobs']
        self.rerun = {event['id'] for event in events if event['f'] == 'rerun'}
        puts = collections.defaultdict(set)
        for event in events:
            if event['f'] == 'put':
                puts[event['type']].update(event['ids'])
        self.tried, self.acked, self.refused = (
            puts[name] for name in ('invoke', 'ok', 'fail'))
        self.starts = self._of('start')
        self.retries = self._of('retry')

    def _of(self, what):
        """Return the events of the kind *what* by task and part."""
        found = collections.defaultdict(list)
        for event in self.events:
            if event['f'] == what:
                found[event['id'], event['part']].append(event)
        return found

    def problems(self):
        """Return what is wrong: sorted lists by the name of the rule."""
        found = {rule.__name__: sorted(rule(self)) for rule in RULES}
        return {name: those for name, those in found.items() if those}

    # Every job

    def lost(self):
        """Acknowledged, and not there."""
        return self.acked - self.jobs.keys()

    def unfinished(self):
        """Neither completed nor parked for a reason."""
        return {id for id, job in self.jobs.items() if job['status'] != COMPLETED
                and id not in self._poisoned()}

    def phantom(self):
        """Never put by anybody."""
        started = {id for id, _part in self.starts}
        return (self.jobs.keys() | started) - self.tried

    def resurrected(self):
        """There, though it was said that it was not put."""
        return self.refused & self.jobs.keys()

    # Effects

    def missing_fx(self):
        """An effect, or one of a callback, that is not there."""
        return {f'{id} {mark}' for id, job in self._done()
                for mark in self._expected(id, job) - job['marks'].keys()}

    def dup_fx(self):
        """An effect that is there more than once."""
        return {f'{id} {mark}: {count}' for id, job in self.jobs.items()
                for mark, count in job['marks'].items() if count > 1}

    def ghost_fx(self):
        """An effect of what was undone, or never to be done."""
        return {f'{id} {mark}' for id, job in self.jobs.items()
                for mark in job['marks'].keys() - self._expected(id, job)}

    def _done(self):
        return [(id, job) for id, job in self.jobs.items()
                if job['status'] == COMPLETED]

    def _expected(self, id, job):
        """Return the marks that the task *id* must have; all if it is not done."""
        marks = set(work.kind_of(id).marks)
        if job['failure'] and not work.kind_of(id).fails:
            marks.discard('main')
        return marks

    # Results

    def wrong_result(self):
        """A Failure where there should be none, or none where there should be one."""
        found = set()
        for id, job in self._done():
            kind, failure = work.kind_of(id), job['failure']
            if kind.fails != (failure is not None) and failure not in kind.may_fail:
                found.add(f'{id} {failure}')
        return found

    def stale_result(self):
        """The result of another attempt than the last one."""
        return {f'{id} of attempt {job["result"]}, not {job["attempt"]}'
                for id, job in self._done()
                if id.rpartition('.')[2] in _OWN_RESULT and job['failure'] is None
                and job['result'] != job['attempt']}

    # Starts

    def overstart(self):
        """Starts of an attempt that no error and no interruption account for."""
        found = set()
        for (id, part), starts in self.starts.items():
            reasons = collections.Counter(
                (event['who'], event['attempt'])
                for event in self.retries.get((id, part), ()))
            tries = collections.Counter(
                (event['who'], event['attempt']) for event in starts)
            found |= {f'{id} {part}: attempt {attempt} started {count} times by {who}'
                      for (who, attempt), count in tries.items()
                      if count > 1 + self._reasons(reasons, who, part, attempt)}
            if work.kind_of(id).only_once and len(starts) > 1:
                found.add(f'{id} {part}: started {len(starts)} times')
        return found | self._beyond_the_last()

    @staticmethod
    def _reasons(reasons, who, part, attempt):
        if part == 'cb':
            # begun in the transaction that settles it: numbers go back with it
            return sum(count for (one, _attempt), count in reasons.items() if one == who)
        return reasons[who, attempt]

    def _beyond_the_last(self):
        return {f'{id}: attempt {max(attempts)} of {self.jobs[id]["attempt"]}'
                for (id, part), starts in self.starts.items()
                if part == 'main' and id in self.jobs
                and max(attempts := [event['attempt'] for event in starts])
                > self.jobs[id]['attempt']}

    def two_at_once(self):
        """One attempt, by its number, that two processes have started."""
        found = set()
        for (id, part), starts in self.starts.items():
            if part == 'cb':
                continue
            owners = collections.defaultdict(set)
            for event in starts:
                owners[event['attempt']].add(event['who'])
            found |= {f'{id} {part}: attempt {attempt} by {", ".join(sorted(those))}'
                      for attempt, those in owners.items() if len(those) > 1}
        return found

    def rerun_after_landed(self):
        """A body that started after its commit was made and its answer lost.

        Not of an earlier attempt: a process that was stopped, and taken for dead, may
        still begin what it had claimed before; it cannot commit it.
        """
        found = set()
        for event in (one for one in self.events if one['f'] == 'landed'):
            for id, parts in event['marks'].items():
                for part in parts:
                    starts = self.starts.get((id, part), ())
                    landed = max((start['attempt'] for start in starts
                                  if start['t'] <= event['t']), default=0)
                    if any(start['t'] > event['t'] and start['attempt'] >= landed
                           for start in starts):
                        found.add(f'{id} {part}')
        return found

    # Quotas

    def over_quota(self):
        """A committed state in which a quota held more than its size."""
        seen = {event['name'] for event in self.events if event['f'] == 'quota'}
        return seen | {name for name, held in self.census['quotas'].items()
                       if held > work.QUOTAS[name]}

    def out_of_turn(self):
        """Under the quota of one, done before what the same process had put before."""
        last, found = {}, set()
        turns = sorted((job['turn'], id) for id, job in self.jobs.items()
                       if job['turn'] is not None and id not in self.rerun)
        for _turn, id in turns:
            who, _dot, number = id.rpartition('.')[0].rpartition('.')
            if int(number) < last.get(who, -1):
                found.add(id)
            last[who] = max(int(number), last.get(who, -1))
        counts = collections.Counter(turn for turn, _id in turns)
        return found | {id for turn, id in turns if counts[turn] > 1}

    # Everything else

    def miscounted(self):
        """The hot counter does not say how often it was counted."""
        done = sum(job['marks'].get('main', 0) for id, job in self.jobs.items()
                   if id.endswith('.hot'))
        return [] if self.census['hot'] == done else [
            f'{self.census["hot"]} counted, {done} times by jobs']

    def left(self):
        """Something is not empty."""
        return [f'{name}: {what}' for name, what in self.census['left'].items() if what]

    def damage(self):
        """What `zc.async.audit` has found, in the end or on the way."""
        return {*self.census['damage'], *(
            event['problem'] for event in self.events if event['f'] == 'damage')}

    def _poisoned(self):
        return set(self.census['parked']) & {
            id for id in self.jobs if id.endswith('.poison')}

    def poison(self):
        """A job that kills its process, and is not parked after three deaths."""
        return {f'{id}: started {len(self.starts[id, "main"])} times, '
                f'{self.jobs[id]["status"]}'
                for id in self.jobs if id.endswith('.poison')
                and (id not in self._poisoned() or len(self.starts[id, 'main']) > 3)}

    # Figures

    def recovery(self):
        """Return the seconds from each death to the next start of what died."""
        deaths = {event['actor']: event['t'] for event in self.events
                  if event['f'] == 'ended' and event['status'] == -9}
        return [after['t'] - deaths[before['who']]
                for (id, _part), starts in self.starts.items() if id not in self.rerun
                for before, after in zip(starts, starts[1:])
                if before['who'] != after['who'] and before['who'] in deaths
                and after['t'] > deaths[before['who']] > before['t']]

    def figures(self):
        """Return numbers to be reported."""
        took = sorted(self.recovery()) or [0]
        count = collections.Counter(event['f'] for event in self.events)
        failures = collections.Counter(
            job['failure'] for id, job in self.jobs.items()
            if job['failure'] and not work.kind_of(id).fails)
        return {
            'jobs': len(self.jobs),
            'acknowledged': len(self.acked),
            'recovered': len(self.jobs.keys() - self.acked),
            'refused': len(self.refused),
            'starts': count['start'],
            'reruns': sum(len(starts) - 1 for starts in self.starts.values()),
            'retries': count['retry'],
            'interrupted': sum(job['attempt'] > 1 for job in self.jobs.values()),
            'rerun from the parked': len(self.rerun),
            'lost answers': count['landed'],
            'failed': dict(sorted(failures.items())),
            'recovery': {'p50': round(took[len(took) // 2], 2),
                         'p99': round(took[len(took) * 99 // 100], 2),
                         'most': round(took[-1], 2)},
        }


#: What must not be; the name of each is that of the problem.
RULES = tuple(getattr(Checker, name) for name in (
    'lost', 'unfinished', 'phantom', 'resurrected', 'missing_fx', 'dup_fx', 'ghost_fx',
    'wrong_result', 'stale_result', 'overstart', 'two_at_once', 'rerun_after_landed',
    'over_quota', 'out_of_turn', 'miscounted', 'left', 'damage', 'poison'))
