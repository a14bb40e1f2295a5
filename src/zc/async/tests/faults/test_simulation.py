"""200 seeds, each a run of several processes with faults; and what they must find."""
import ast
import os
import random
import subprocess
import sys
import unittest

from . import mutants
from . import simulation
from .baton import Baton
from .baton import Condition
from .baton import Event
from .baton import Lock
from .model import Model
from .model import Seen
from .storage import Died
from .workload import Spec
from ... import clock
from ...interfaces import ACTIVE
from ...interfaces import CALLBACKS
from ...interfaces import COMPLETED
from ...interfaces import PENDING

#: How many seeds are run, and from which on.  A seed that is chosen anew each night
#: finds more than the same ones again; it is told where it fails.
SEEDS = int(os.environ.get('ZC_ASYNC_SIMULATION_SEEDS', 200))
FIRST = int(os.environ.get('ZC_ASYNC_SIMULATION_FIRST', 0))
#: Runs the seed that is its argument, and prints what tells runs apart.
_PROGRAM = '''
import sys
from zc.async_.tests.faults import simulation
found = simulation.run(int(sys.argv[1]))
print((found.baton.steps, found.baton.sum))
'''


def told(run):
    """Return what tells the trace of *run* from others."""
    return run.baton.steps, run.baton.sum


class Seeds(unittest.TestCase):
    """Whatever happens, nothing is lost, nothing done twice, and all is done."""

    def test_seeds(self):
        for seed in range(FIRST, FIRST + SEEDS):
            run = simulation.run(seed)
            if run.problems:
                self.fail(run.report())

    def test_the_same_seed_gives_the_same_run(self):
        first, other = simulation.run(4), simulation.run(5)
        self.assertEqual(told(simulation.run(4)), told(first))
        self.assertNotEqual(told(other), told(first))
        self.assertGreater(first.baton.steps, 100)

    def test_and_in_another_process_too(self):
        env = {**os.environ, 'PYTHONHASHSEED': '17',
               'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
        printed = subprocess.run(
            [sys.executable, '-c', _PROGRAM, '5'], env=env, check=True, text=True,
            capture_output=True).stdout
        self.assertEqual(ast.literal_eval(printed), told(simulation.run(5)))

    def test_they_meet_what_they_are_for(self):
        faults, calls, statuses = set(), set(), set()
        for seed in range(60):
            run = simulation.run(seed)
            faults |= run.model.unquiet
            calls |= {spec.call for spec in run.model.specs.values()}
            statuses |= {seen.status for seen in run.model.seen.values()}
        self.assertLessEqual(
            {'death', 'death after', 'lost answer', 'conflict', 'disconnected', 'pause',
             'kill', 'stop', 'freeze', 'cut off', 'clock', 'pack', 'late', 'new',
             'pull', 'cancel', 'add callback', 'resize quota'}, faults)
        self.assertLessEqual(
            {'effect', 'hot', 'fail', 'defer', 'serial', 'hand on', 'poison'}, calls)
        self.assertIn(COMPLETED, statuses)

    def test_nothing_of_it_is_left(self):
        before = clock.now()
        simulation.run(6)
        self.assertLess((clock.now() - before).total_seconds(), 60)
        self.assertLess(abs(clock.now().timestamp() - before.timestamp()), 60)


class Mutants(unittest.TestCase):
    """A run finds what is taken out of the product: the first of 200 that does."""

    def check(self, name, seed):
        """Find *name*, at *seed* if the product has not changed much since."""
        for one in (seed, *range(200)):
            with mutants.applied(name):
                problems = simulation.run(one).problems
            if problems:
                self.assertEqual(simulation.run(one).problems, [])
                return
        self.fail(f'{name} is not found')


#: Mutant -> a seed that fails.
FOUND = {
    'begins-unseen': 9, 'callbacks-again': 0, 'forgets-due': 66,
    'forgets-outcomes': 177, 'forgets-strays': 5, 'hand-over-loses': 0,
    'hand-over-restarts': 0, 'keeps-effects-of-failures': 6, 'no-fence': 617,
    'no-token': 27, 'quota-unchecked': 0, 'quota-unreleased': 0,
    'runs-again-what-landed': 21, 'takes-over-the-living': 0, 'two-commits': 0,
}


def _add(name, seed):
    def test(self):
        self.check(name, seed)

    setattr(Mutants, f'test_{name.replace("-", "_")}', test)


for _name, _seed in FOUND.items():
    _add(_name, _seed)


class OneAtATime(unittest.TestCase):
    """The baton: threads, of which one runs."""

    def setUp(self):
        self.baton = Baton(random.Random(1), 1000)
        self.seen = []

    def run_all(self, *targets):
        """Run *targets* as tasks until all have ended."""
        tasks = [self.baton.start(target, f't{number}')
                 for number, target in enumerate(targets)]
        self.baton.wait(lambda: all(task.done for task in tasks), 10_000)
        self.assertTrue(all(task.done for task in tasks))
        self.assertEqual(self.baton.errors, [])

    def test_time_jumps_to_the_next_moment(self):
        def sleep(seconds):
            self.baton.sleep(seconds)
            self.seen.append((seconds, round(self.baton.now - 1000)))

        self.run_all(lambda: sleep(3000), lambda: sleep(5))
        self.assertEqual(self.seen, [(5, 5), (3000, 3000)])

    def test_tasks_interleave_at_their_steps(self):
        def count(name):
            for number in range(20):
                self.seen.append(name)
                self.baton.step()

        self.run_all(lambda: count('a'), lambda: count('b'))
        self.assertNotEqual(self.seen, sorted(self.seen))

    def test_a_lock_is_held_over_steps(self):
        lock = Lock(self.baton)

        def work(name):
            with lock:
                self.seen.append(name)
                self.baton.sleep(1)
                self.seen.append(name)

        self.run_all(*(lambda name=name: work(name) for name in 'abc'))
        self.assertEqual(self.seen[::2], self.seen[1::2])

    def test_who_waits_is_woken_or_gives_up(self):
        lock, event = Lock(self.baton), Event(self.baton)
        told = Condition(self.baton, Lock(self.baton))

        def wait():
            with lock:
                self.seen.append(Condition(self.baton, lock).wait_for(event.is_set, 5))
                self.seen.append(Condition(self.baton, lock).wait_for(event.is_set, 50))
            with told:
                told.wait()
                self.seen.append('told')

        def wake():
            self.baton.sleep(20)
            event.set()
            while self.seen[-1] != 'told':
                with told:
                    told.notify()
                self.baton.step()

        self.run_all(wait, wake)
        self.assertEqual(self.seen, [False, True, 'told'])

    def test_the_dead_go_no_further(self):
        class Process:
            dead, frozen_until = False, 0

        process = Process()

        def live():
            try:
                self.baton.sleep(100)
            except Died:
                self.seen.append('died')
                raise
            self.seen.append('lived')

        task = self.baton.start(live, 'victim', process)
        self.baton.sleep(1)
        process.dead = True
        self.baton.wait(lambda: task.done, 10)
        self.assertEqual((self.seen, self.baton.errors), (['died'], []))

    def test_an_error_is_remembered(self):
        def fail():
            raise ValueError('as told')

        task = self.baton.start(fail, 'one')
        self.baton.wait(lambda: task.done, 10)
        [(name, error)] = self.baton.errors
        self.assertEqual((name, str(error)), ('one', 'as told'))

    def test_all_that_wait_for_ever_are_found(self):
        lock = Lock(self.baton)

        def hold():
            lock.acquire()
            self.baton.wait(lambda: False)

        self.baton.start(hold, 'one')
        self.baton.start(hold, 'other')
        self.baton.wait(lambda: False)
        [(name, error)] = self.baton.errors
        self.assertIn('all wait for ever', str(error))
        self.baton.run_out()


class _Judged(unittest.TestCase):

    def setUp(self):
        self.model = Model()
        self.spec = Spec('p0-0', 'effect')
        self.model.know(self.spec)
        self.model.roots['p0-0'] = 'ok'

    def see(self, status, attempt=1, process='d1', **more):
        """Show the job."""
        more.setdefault('ended', status in (CALLBACKS, COMPLETED))
        self.model.changed('p0-0', Seen(status, attempt, **more), process)

    def story(self, *statuses):
        """Show the job in one status after the other, and its effect."""
        for status in statuses:
            self.see(status, attempt=int(status is not PENDING))
        self.model.effect('p0-0', 1)

    def assert_found(self, text):
        self.model.finish()
        self.assertTrue(any(text in one for one in self.model.problems),
                        self.model.problems)

    def overtake(self, **options):
        """Let a job that was put later begin before."""
        other = Spec('p0-1', 'effect', **options)
        self.model.know(other)
        self.model.roots['p0-1'] = 'ok'
        self.model.changed('p0-1', Seen(ACTIVE, 1), 'd1')
        self.story(PENDING, ACTIVE, COMPLETED)


class Acquittal(_Judged):
    """The model leaves be what may be."""

    def test_all_is_well(self):
        self.story(PENDING, ACTIVE, CALLBACKS, COMPLETED)
        self.model.finish()
        self.assertEqual(self.model.problems, [])

    def test_several_dispatchers_may_let_jobs_overtake(self):
        self.model.alone = False
        self.overtake()
        self.model.finish()
        self.assertFalse(any('began after' in one for one in self.model.problems))


class Judgement(_Judged):
    """The model tells what must not be."""

    def test_a_put_that_is_lost(self):
        self.assert_found('was put and is not there')

    def test_a_put_that_was_refused_and_is_there(self):
        self.model.roots['p0-0'] = 'fail'
        self.story(PENDING, ACTIVE, COMPLETED)
        self.assert_found('was not put and is there')

    def test_a_job_that_is_never_done(self):
        self.story(PENDING, ACTIVE)
        self.assert_found('in the end')

    def test_an_effect_that_is_missing(self):
        self.story(PENDING, ACTIVE, COMPLETED)
        self.model.effect('p0-0', 0)
        self.assert_found('had 0 effects')

    def test_an_effect_without_an_end(self):
        self.story(PENDING, ACTIVE)
        self.model.coherent('p0-0')
        self.assert_found('has 1 effects')

    def test_an_effect_that_was_had_twice(self):
        self.model.effect('p0-0', 2)
        self.assert_found('2 times')

    def test_a_way_that_is_none(self):
        self.story(PENDING, ACTIVE, COMPLETED, ACTIVE)
        self.assert_found(f'from {COMPLETED} to {ACTIVE}')

    def test_a_result_that_is_another_later(self):
        self.see(CALLBACKS, result='a')
        self.see(COMPLETED, result='b')
        self.assert_found('changed its result')

    def test_an_end_by_who_has_not_begun_it(self):
        self.see(ACTIVE, process='d1')
        self.see(COMPLETED, process='d2')
        self.assert_found('was begun by d1 and ended by d2')

    def test_an_end_by_who_counts_as_dead(self):
        self.see(ACTIVE)
        self.model.dead = {'d1'}
        self.see(COMPLETED)
        self.assert_found('counts as dead')

    def test_a_failure_that_nothing_explains(self):
        self.see(ACTIVE)
        self.see(COMPLETED, error='AbortedError')
        self.assert_found('failed with AbortedError')

    def test_an_interruption_that_was_not_counted(self):
        self.see(ACTIVE, 1)
        self.model.started('p0-0', 'd1')
        self.see(PENDING, 1)
        self.see(ACTIVE, 2)
        self.see(COMPLETED, 2)
        self.assert_found('was interrupted 1 to 1 times')

    def test_a_second_start_of_what_may_start_once(self):
        self.spec.once = True
        self.model.started('p0-0', 'd1')
        self.model.started('p0-0', 'd2')
        self.assert_found('may start once')

    def test_a_start_after_the_end(self):
        self.see(ACTIVE)
        self.see(COMPLETED)
        self.model.started('p0-0', 'd1')
        self.assert_found('had stored its end')

    def test_jobs_that_overtake_each_other(self):
        self.overtake()
        self.assert_found('p0-0 began after p0-1')

    def test_jobs_that_overtake_each_other_under_a_quota(self):
        self.spec.quota = 'one'
        self.model.alone = False
        self.overtake(quota='one')
        self.assert_found('p0-0 began after p0-1')

    def test_a_job_that_waits_without_a_reason(self):
        self.model.prompt = True
        self.model.changed('p0-0', Seen(PENDING), 'p0', 10)
        self.model.changed('p0-0', Seen(ACTIVE, 1), 'd1', 13)
        self.assert_found('was due at 10.000 and began at 13.000')
