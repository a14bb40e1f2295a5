"""The checker of the kill loop finds what is wrong, tried with what is wrong on purpose."""
import copy
import json
import os
import tempfile
import unittest
from unittest import mock

from . import checker
from . import history
from . import work

PENDING, CALLBACKS = 'pending-status', 'callback-status'


def sound():
    """Return the events and the census of a loop in which all went well.

    There is a task of each kind, an interruption, a retry, an answer that was lost,
    a put of which nobody knew whether it was made, and one that was refused.
    """
    ids = [f'p1-1.{number}.{kind}' for number, kind in enumerate(work.KINDS)]
    story = _Story()
    story.put('invoke', ids)
    story.put('ok', ids)
    for id in ids:
        story.do(id)
    story.put('invoke', ['p2-1.0.effect'])
    story.put('info', ['p2-1.0.effect'])
    story.do('p2-1.0.effect')
    story.put('invoke', ['p2-1.1.effect', 'p2-1.2.one'])
    story.put('fail', ['p2-1.1.effect', 'p2-1.2.one'])
    story.put('invoke', ['p2-1.3.effect', 'p2-1.4.one', 'p2-1.5.one'])
    story.put('ok', ['p2-1.3.effect', 'p2-1.4.one', 'p2-1.5.one'])
    story.start('p2-1.3.effect', 'main', 1, 'w1-1')
    story.note('loop', 'ended', actor='w1-1', status=-9)
    story.start('p2-1.3.effect', 'main', 2, 'w2-1')
    story.note('w2-1', 'retry', id='p2-1.3.effect', part='main', attempt=2, error='X')
    story.do('p2-1.3.effect', attempt=2)
    story.note('server-1', 'landed', marks={'p2-1.3.effect': ['main']})
    story.do('p2-1.4.one')
    story.do('p2-1.5.one')
    return story.events, story.census


class _Story:

    def __init__(self):
        self.events = []
        self.turns = 0
        self.census = {'jobs': {}, 'left': {'in line': 0, 'in agents': 0}, 'hot': 0,
                       'parked': [], 'quotas': {'one': 1, 'five': 5}, 'damage': []}

    def note(self, who, what, **facts):
        self.events.append({'t': len(self.events), 'who': who, 'f': what, **facts})

    def put(self, type, ids):
        self.note(ids[0].partition('.')[0], 'put', type=type, ids=ids)

    def start(self, id, part, attempt, who='w2-1'):
        self.note(who, 'start', id=id, part=part, attempt=attempt)

    def do(self, id, attempt=1):
        """Let the task *id* be done as it should be."""
        kind = work.kind_of(id)
        for part in dict.fromkeys(('main', *kind.marks)):
            self.start(id, part, attempt)
        self.census['jobs'][id] = {
            'status': checker.COMPLETED, 'failure': 'Told' if kind.fails else None,
            'result': None if kind.fails else attempt, 'attempt': attempt,
            'marks': dict.fromkeys(kind.marks, 1), 'turn': None}
        if id.endswith('.one'):
            self.turns += 1
            self.census['jobs'][id]['turn'] = self.turns
        if id.endswith('.hot'):
            self.census['hot'] += 1
        if id.endswith('.poison'):
            for number in (2, 3):
                self.start(id, 'main', number, f'w2-{number}')
            self.census['jobs'][id].update(status='parked-status', marks={}, attempt=3)
            self.census['parked'].append(id)


# What can be wrong: each is given the events, the census and its jobs

EFFECT, LATE = 'p2-1.3.effect', 'p2-1.4.one'


def _start(events, id, part='main', attempt=1, who='w9-1'):
    events.append({'t': len(events), 'who': who, 'f': 'start', 'id': id, 'part': part,
                   'attempt': attempt})


def _id(jobs, kind):
    return next(id for id in jobs if id.endswith(f'.{kind}'))


def _is_lost(events, census, jobs):
    del jobs[EFFECT]


def _is_left(events, census, jobs):
    jobs[EFFECT]['status'] = PENDING


def _never_ends(events, census, jobs):
    jobs[_id(jobs, 'callback')]['status'] = CALLBACKS


def _was_put_by_nobody(events, census, jobs):
    jobs['p9-1.0.effect'] = dict(jobs[EFFECT])


def _starts_though_nobody_put_it(events, census, jobs):
    _start(events, 'p9-1.0.effect')


def _was_refused_and_is_there(events, census, jobs):
    jobs['p2-1.1.effect'] = dict(jobs[EFFECT])


def _has_no_effect(events, census, jobs):
    jobs[EFFECT]['marks'] = {}


def _has_two_effects(events, census, jobs):
    jobs[EFFECT]['marks'] = {'main': 2}


def _lost_its_callback(events, census, jobs):
    del jobs[_id(jobs, 'callback')]['marks']['cb']


def _has_its_callback_twice(events, census, jobs):
    jobs[_id(jobs, 'callback')]['marks']['cb'] = 2


def _lost_the_end_of_its_workflow(events, census, jobs):
    del jobs[_id(jobs, 'serial')]['marks']['end']


def _lost_the_job_that_it_put(events, census, jobs):
    del jobs[_id(jobs, 'putting')]['marks']['inner']


def _failed_and_kept_its_effect(events, census, jobs):
    jobs[_id(jobs, 'failing')]['marks']['main'] = 1


def _ran_the_wrong_callback(events, census, jobs):
    jobs[_id(jobs, 'failing')]['marks']['wrong'] = 1


def _failed_for_no_reason(events, census, jobs):
    jobs[EFFECT].update(failure='ClientDisconnected', marks={}, result=None)


def _did_not_fail(events, census, jobs):
    jobs[_id(jobs, 'failing')].update(failure=None, result=1)


def _has_the_result_of_an_earlier_attempt(events, census, jobs):
    jobs[EFFECT]['result'] = 1


def _starts_again_for_no_reason(events, census, jobs):
    _start(events, LATE, who='w2-1')


def _starts_beyond_its_last_attempt(events, census, jobs):
    _start(events, LATE, attempt=2)


def _starts_twice_though_once_is_the_most(events, census, jobs):
    id = _id(jobs, 'once')
    jobs[id].update(attempt=2, result=2)
    _start(events, id, attempt=2)


def _is_run_by_two(events, census, jobs):
    _start(events, LATE, who='w9-1')


def _starts_after_its_commit_had_landed(events, census, jobs):
    jobs[EFFECT].update(attempt=3, result=3)
    _start(events, EFFECT, attempt=3)


def _starts_again_the_attempt_that_had_landed(events, census, jobs):
    _start(events, EFFECT, attempt=2)


def _exceeds_its_quota(events, census, jobs):
    census['quotas']['five'] = 6


def _exceeds_its_quota_as_somebody_saw(events, census, jobs):
    events.append({'t': 99, 'who': 'w1-1', 'f': 'quota', 'name': 'one', 'held': 2})


def _had_its_turn_too_early(events, census, jobs):
    jobs[LATE]['turn'], jobs['p2-1.5.one']['turn'] = (
        jobs['p2-1.5.one']['turn'], jobs[LATE]['turn'])


def _shares_its_turn(events, census, jobs):
    jobs[LATE]['turn'] = jobs['p2-1.5.one']['turn']


def _was_not_counted(events, census, jobs):
    census['hot'] = 0


def _still_holds_a_slot(events, census, jobs):
    census['left']['in agents'] = 1


def _is_damaged(events, census, jobs):
    census['damage'].append('in-two-places: job 7')


def _was_damaged_on_the_way(events, census, jobs):
    events.append({'t': 99, 'who': 'audit-1', 'f': 'damage', 'problem': 'x'})


def _is_poison_and_goes_on(events, census, jobs):
    _start(events, _id(jobs, 'poison'), attempt=4)
    jobs[_id(jobs, 'poison')]['attempt'] = 4


def _is_poison_and_not_parked(events, census, jobs):
    census['parked'].clear()


MUTATIONS = {
    _is_lost: 'lost', _is_left: 'unfinished', _never_ends: 'unfinished',
    _was_put_by_nobody: 'phantom', _starts_though_nobody_put_it: 'phantom',
    _was_refused_and_is_there: 'resurrected', _has_no_effect: 'missing_fx',
    _has_two_effects: 'dup_fx', _lost_its_callback: 'missing_fx',
    _has_its_callback_twice: 'dup_fx', _lost_the_end_of_its_workflow: 'missing_fx',
    _lost_the_job_that_it_put: 'missing_fx', _failed_and_kept_its_effect: 'ghost_fx',
    _ran_the_wrong_callback: 'ghost_fx', _failed_for_no_reason: 'wrong_result',
    _did_not_fail: 'wrong_result', _has_the_result_of_an_earlier_attempt: 'stale_result',
    _starts_again_for_no_reason: 'overstart',
    _starts_beyond_its_last_attempt: 'overstart',
    _starts_twice_though_once_is_the_most: 'overstart', _is_run_by_two: 'two_at_once',
    _starts_after_its_commit_had_landed: 'rerun_after_landed',
    _starts_again_the_attempt_that_had_landed: 'rerun_after_landed',
    _exceeds_its_quota: 'over_quota', _exceeds_its_quota_as_somebody_saw: 'over_quota',
    _had_its_turn_too_early: 'out_of_turn', _shares_its_turn: 'out_of_turn',
    _was_not_counted: 'miscounted', _still_holds_a_slot: 'left',
    _is_damaged: 'damage', _was_damaged_on_the_way: 'damage',
    _is_poison_and_goes_on: 'poison', _is_poison_and_not_parked: 'poison'}


class Checker(unittest.TestCase):

    def problems(self, mutation=None):
        events, census = copy.deepcopy(sound())
        if mutation is not None:
            mutation(events, census, census['jobs'])
        return checker.Checker(events, census).problems()

    def test_nothing_is_wrong_where_all_went_well(self):
        self.assertEqual(self.problems(), {})

    def test_one_taken_for_dead_may_begin_what_it_had_claimed_before(self):
        def change(events, census, jobs):
            events[:] = [event for event in events if event['who'] != 'w1-1']
            _start(events, EFFECT, attempt=1, who='w1-1')

        self.assertEqual(self.problems(change), {})

    def test_whatever_is_wrong_is_found_under_its_name(self):
        for mutation, rule in MUTATIONS.items():
            with self.subTest(mutation.__name__.strip('_').replace('_', ' ')):
                self.assertIn(rule, self.problems(mutation))

    def test_each_rule_is_tried(self):
        events, census = sound()
        found = set()
        for mutation in MUTATIONS:
            found.update(self.problems(mutation))
        self.assertEqual(found, set(MUTATIONS.values()))
        rules = {rule.__name__ for rule in checker.RULES}
        self.assertEqual(found, rules)

    def test_what_is_only_reported(self):
        figures = checker.Checker(*sound()).figures()
        self.assertEqual(
            (figures['jobs'], figures['acknowledged'], figures['recovered'],
             figures['refused'], figures['retries'], figures['lost answers']),
            (len(work.KINDS) + 4, len(work.KINDS) + 3, 1, 2, 1, 1))
        self.assertEqual(figures['failed'], {})


class History(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_events_of_all_are_read_in_their_order(self):
        one, two = (history.History(self.folder, who) for who in ('one', 'two'))
        for number in range(3):
            one.note('count', number=number)
            two.note('count', number=number)
        found = history.read(self.folder)
        self.assertEqual([event['who'] for event in found], ['one', 'two'] * 4)
        self.assertEqual([event['number'] for event in found if 'number' in event],
                         [0, 0, 1, 1, 2, 2])

    def test_a_line_that_was_torn_is_no_event(self):
        history.History(self.folder, 'one').note('count')
        with open(history.path(self.folder, 'one'), 'a') as file:
            file.write(json.dumps({'t': 5, 'who': 'one', 'f': 'start'})[:-3])
        self.assertEqual([event['f'] for event in history.read(self.folder)],
                         ['born', 'count'])

    def test_each_line_is_one_write(self):
        one = history.History(self.folder, 'one')
        sizes = []
        whole = os.write
        with mock.patch('os.write', lambda file, data: sizes.append(
                data.count(b'\n')) or whole(file, data)):
            one.note('text', text='two\nlines')
        self.assertEqual(sizes, [1])
