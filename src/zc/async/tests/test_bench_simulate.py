"""The simulation of many workers, and the page that tells what it says.

Real servers are not started here: ``bench/simulate.py --calibrate`` and ``--measure``
do that, by hand.
"""
import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import unittest

from . import test_usage
from .checkout import needs_checkout
from .checkout import ROOT

#: Costs with which results can be reckoned by hand.
ROUND = {
    'commit_cpu': .001, 'record_cpu': 0, 'finish_cpu': 0, 'server_commit_cpu': .001,
    'server_record_cpu': 0, 'server_load_cpu': 0, 'server_invalidation_cpu': 0,
    'sync': .002, 'wire': 0, 'load_cpu': 0, 'invalidation_cpu': 0, 'turn_cpu': .001,
    'turn_job_cpu': 0, 'job_cpu': .001, 'effect_cpu': 0}


def simulation(name):
    """Return the module *name* of the simulation, which stands in the checkout only."""
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(f'bench.{name}')
    finally:
        sys.path.remove(str(ROOT))


def costs(kind='zeo', **changed):
    return simulation('simulation.costs').Costs(kind=kind, **{**ROUND, **changed})


@needs_checkout
class Engine(unittest.TestCase):

    def setUp(self):
        self.module = simulation('simulation.engine')
        self.engine = self.module.Engine()
        self.ends = []

    def work(self, cores, seconds):
        yield cores.work(seconds)
        self.ends.append(round(self.engine.now, 6))

    def test_processors_are_shared_evenly(self):
        cores = self.module.Cores(self.engine, 2)
        for seconds in (1, 1, 2, 4):
            self.engine.start(self.work(cores, seconds))
        self.engine.run(100)
        # four at half speed up to 2; two at full speed up to 3, one to 5
        self.assertEqual(self.ends, [2, 2, 3, 5])
        self.assertEqual(cores.used, 8)

    def test_a_lock_is_given_to_who_has_waited_longest(self):
        lock = self.module.Lock(self.engine)

        def hold(name):
            yield lock.take
            yield self.engine.sleep(1)
            self.ends.append((name, self.engine.now))
            lock.free()

        for name in 'abc':
            self.engine.start(hold(name))
        self.engine.run(10)
        self.assertEqual(self.ends, [('a', 1), ('b', 2), ('c', 3)])
        self.assertEqual(lock.held_for, 3)

    def test_a_signal_ends_a_wait_once_before_its_limit_or_after(self):
        signal = self.module.Signal(self.engine)

        def wait(limit):
            yield signal.wait(limit)
            self.ends.append((limit, self.engine.now))

        for limit in (1, 5, None):
            self.engine.start(wait(limit))
        self.engine.plan(3, signal.fire)
        self.engine.plan(4, signal.fire)
        self.engine.run(10)
        self.assertEqual(self.ends, [(1, 1), (5, 3), (None, 3)])


@needs_checkout
class Rates(unittest.TestCase):
    """What the simulation says, where it can be reckoned by hand."""

    def setUp(self):
        self.world = simulation('simulation.world')
        self.workers = simulation('simulation.workers')

    def simulate(self, costs, policy=None, **plan):
        policy = self.workers.Policy(neighbour_loads=0, **(policy or {}))
        return self.world.simulate(
            costs, self.world.Plan(policy=policy, **{'seconds': 4.0, **plan}))

    def test_raw_commits_are_limited_by_the_lock(self):
        # 1 ms here, 3 ms with the lock
        self.assertAlmostEqual(self.world.raw(costs(), 1, 9), 250, delta=2)
        self.assertAlmostEqual(self.world.raw(costs(), 2, 9), 333, delta=3)
        self.assertAlmostEqual(self.world.raw(costs(), 8, 9), 333, delta=3)

    def test_jobs_with_an_effect_do_not_exceed_the_commits_of_the_storage(self):
        found = self.simulate(costs(), {'size': 10}, workers=4, cores=9,
                              work=self.workers.Work(effect=True))
        self.assertGreaterEqual(found['commits_per_job'], 1)
        self.assertLess(found['rate'], 333)
        self.assertGreater(found['locked'], 0.9)

    def test_what_an_effect_costs_the_server_counts_for_jobs_that_have_one(self):
        dear, plan = costs(server_effect_cpu=.002), {'workers': 4, 'cores': 9}
        effect = self.simulate(dear, work=self.workers.Work(effect=True), **plan)
        # 5 ms with the lock
        self.assertLess(effect['rate'], 200)
        self.assertEqual(self.simulate(dear, **plan), self.simulate(costs(), **plan))

    def test_what_a_job_costs_the_server_is_no_commit_s(self):
        dear, plan = costs(server_job_cpu=.01), {'workers': 4, 'cores': 9}
        # its one thread does no more than a hundred a second
        self.assertLess(self.simulate(dear, **plan)['rate'], 100)
        self.assertGreater(self.simulate(costs(), **plan)['rate'], 200)

    def test_what_is_done_while_the_server_works_takes_no_time_of_a_commit(self):
        for beside, rate in ((0, 250), (.001, 333)):
            self.assertAlmostEqual(
                self.world.raw(costs(beside_cpu=beside), 1, 9), rate, delta=3)
        # but it is work
        self.assertAlmostEqual(self.world.raw(costs(beside_cpu=.001, sync=0), 1, 1),
                               500, delta=5)

    def test_who_does_not_always_take_the_same_time_waits_for_others_more_often(self):
        even = costs(commit_cpu=.003, sync=0)  # the lock is free two thirds of the time
        self.assertAlmostEqual(self.world.raw(even, 3, 9), 750, delta=5)
        uneven = costs(commit_cpu=.003, sync=0, jitter=1.0)
        self.assertAlmostEqual(self.world.raw(uneven, 1, 9), 250, delta=25)
        self.assertLess(self.world.raw(uneven, 3, 9), 680)

    def test_groups_let_jobs_without_effects_exceed_the_commits(self):
        found = self.simulate(costs(), {'size': 20}, cores=9)
        self.assertLess(found['commits_per_job'], 0.2)
        self.assertGreater(found['rate'], 333)

    def test_claims_of_the_oldest_jobs_conflict_and_those_of_own_shards_do_not(self):
        plan = {'workers': 8, 'cores': 20}
        oldest = self.simulate(costs(), {'size': 5, 'oldest': True}, **plan)
        own = self.simulate(costs(), {'size': 5, 'oldest': False}, **plan)
        self.assertGreater(oldest['conflicts_per_turn'], 0.3)
        self.assertLess(own['conflicts_per_turn'], 0.01)
        self.assertGreater(own['rate'], oldest['rate'])

    def test_each_commit_is_told_to_all_clients_where_the_server_tells_of_them(self):
        telling = costs(server_invalidation_cpu=.0001)
        alone = self.simulate(telling, workers=1, cores=9)
        among = self.simulate(telling, workers=1, cores=9, idle_clients=500)
        self.assertGreater(alone['rate'], 2 * among['rate'])
        asked = self.simulate(costs('postgresql', server_invalidation_cpu=.0001),
                              workers=1, cores=9, idle_clients=500)
        self.assertGreater(asked['rate'], 0.8 * alone['rate'])

    def test_a_backlog_is_done_once_and_a_quota_bounds_what_runs(self):
        work = self.workers.Work(outside=0.1, quota=2)
        found = self.simulate(costs(), {'size': 10, 'oldest': False}, workers=3,
                              cores=9, backlog=40, seconds=60.0, work=work)
        self.assertEqual(found['jobs'], 40)
        # two at a time, a tenth of a second each
        self.assertLess(found['rate'], 20)

    def test_jobs_that_are_put_meanwhile_are_done(self):
        found = self.simulate(costs(), workers=2, cores=9, rate=20.0, seconds=20.0)
        self.assertAlmostEqual(found['rate'], 20, delta=4)

    def test_the_same_seed_gives_the_same(self):
        runs = [self.simulate(costs(), workers=3, seed=7) for _number in range(2)]
        self.assertEqual(*runs)

    def test_a_file_storage_is_not_shared(self):
        with self.assertRaisesRegex(ValueError, 'opened by one process, not by 2'):
            self.simulate(costs('filestorage'), workers=2)

    def test_claims_ahead_let_small_agents_group_as_well(self):
        found = self.simulate(costs(), {'size': 1}, cores=9)
        # a turn takes about as long as five jobs
        self.assertLess(found['commits_per_job'], 0.2)
        none = self.simulate(costs(), {'size': 1, 'ahead': 0}, cores=9)
        self.assertGreater(none['commits_per_job'], 0.9)

    def test_long_jobs_have_all_threads_and_each_its_own(self):
        found = self.simulate(costs(), {'size': 10}, cores=9, seconds=20.0,
                              work=self.workers.Work(outside=0.5))
        self.assertAlmostEqual(found['rate'], 20, delta=2)

    def test_one_thread_does_short_jobs_and_more_where_their_commits_take_long(self):
        alone = self.simulate(costs(sync=.05), {'size': 10, 'quick': 1.0}, cores=9,
                              work=self.workers.Work(effect=True))
        more = self.simulate(costs(sync=.05), {'size': 10}, cores=9,
                             work=self.workers.Work(effect=True))
        # they wait for the lock of the storage, but not for a turn
        self.assertGreater(more['rate'], 1.05 * alone['rate'])

    def test_processes_without_a_processor_of_their_own_take_longer(self):
        plan = {'workers': 3, 'cores': 3}
        found = self.simulate(costs(), **plan)
        crowded = self.simulate(costs(worker_crowd=0.4), **plan)
        # the server is one too many
        self.assertAlmostEqual(
            crowded['cpu_ms_per_job'] / found['cpu_ms_per_job'], 1.4, delta=0.15)
        # four of seven have none: 2.3 doublings, and not four times 0.4 more
        many = {'workers': 6, 'cores': 3}
        slower = (self.simulate(costs(worker_crowd=0.4), **many)['cpu_ms_per_job']
                  / self.simulate(costs(), **many)['cpu_ms_per_job'])
        self.assertTrue(1.7 < slower < 2.4, slower)
        apart = self.simulate(costs(worker_crowd=0.4), workers=3, cores=9)
        self.assertAlmostEqual(apart['cpu_ms_per_job'], found['cpu_ms_per_job'], delta=0.2)

    def test_a_rate_is_that_of_the_time_in_which_all_are_at_work(self):
        quick = [number / 10 for number in range(10, 30)]
        late = [2.0, 2.5]
        # 2.1 to 2.6, and 2.5; the last tenth does not count
        self.assertEqual(self.world.window([quick, late]), (2.0, 2.6))
        self.assertAlmostEqual(self.world.steady([quick, late]), 7 / 0.6)
        self.assertEqual(self.world.window([quick, [5.0]])[0], 1.0)
        self.assertEqual(self.world.steady([[], []]), 0.0)

    def test_work_before_the_lock_lets_many_committers_exceed_one(self):
        early = costs('postgresql', early=1.0)
        # 1 ms here and 1 ms there, 2 ms with the lock
        self.assertAlmostEqual(self.world.raw(early, 1, 9), 250, delta=2)
        self.assertAlmostEqual(self.world.raw(early, 8, 9), 500, delta=5)


@needs_checkout
class Calibration(unittest.TestCase):

    def setUp(self):
        self.module = simulation('simulation.calibrate')

    def test_how_many_committers_gain_tells_of_the_lock(self):
        world = simulation('simulation.world')
        known = costs('postgresql')
        cores = os.cpu_count()
        for gain, name in ((1.0, 'handover'), (1.5, 'early')):
            found = self.module._with_handover(known, gain)
            self.assertGreater(getattr(found, name), 0)
            self.assertAlmostEqual(
                world.raw(found, 4, cores) / world.raw(known, 1, cores), gain, delta=0.1)

    def test_what_is_left_of_the_server_s_time_is_an_effect_s(self):
        ten = {'turns': [(jobs, 0.002 + 0.0001 * jobs) for jobs in (0, 0, 0, 1, 20, 42)],
               'loads_per_job': 0, 'commits_per_job': 0.1, 'cpu_per_job': 0.001,
               'server_cpu_per_job': 0.0001}
        effect = {**ten, 'commits_per_job': 1.1, 'cpu_per_job': 0.003,
                  'server_cpu_per_job': 0.0041}
        found = self.module._worker({'one': ten, 'ten': ten, 'effect': effect},
                                    {**ROUND, 'server_record_cpu': .0005})
        # 4 ms more, for one commit more of 1 ms, and one record more
        self.assertAlmostEqual(found['server_effect_cpu'], 0.0025)

    def test_what_else_of_the_server_s_time_is_left_is_any_job_s(self):
        ten = {'turns': [(jobs, 0.002 + 0.0001 * jobs) for jobs in (1, 20, 42)],
               'loads_per_job': 0.5, 'commits_per_job': 0.1, 'cpu_per_job': 0.001,
               'server_cpu_per_job': 0.004}
        found = self.module._worker({'one': ten, 'ten': ten, 'effect': ten}, {
            **ROUND, 'server_record_cpu': .0001, 'server_load_cpu': .001})
        # 0.1 commits of 1 ms and three records, two records of its own, half a load
        self.assertAlmostEqual(found['server_job_cpu'], 0.004 - .00013 - .0002 - .0005)

    def test_many_workers_tell_how_much_they_are_in_each_other_s_way(self):
        one = {'cpu_per_job': .001, 'server_cpu_per_job': .001, 'commits_per_job': 1}
        many = {'cpu_per_job': .003, 'server_cpu_per_job': .0013, 'commits_per_job': 1}
        found = self.module._crowd_of_workers(
            {'ten': one, 'effect': one, 'many ten': one, 'many effect': many},
            {'invalidation_cpu': .0001}, 2)
        # twice as much for two doublings, and nothing more; beside telling
        self.assertAlmostEqual(found['worker_crowd'], 1 / 2 / 2)

    def test_what_is_done_beside_the_server_is_what_the_disk_needs_in_any_case(self):
        small = {'rate': 500, 'cpu': .0005, 'server_cpu': .001, 'finish_cpu': .0001}
        loads = {'seconds': .001, 'cpu': .0005, 'server_cpu': .0005}
        for disk, sync, beside in ((.0003, .0005, 0), (.0006, .0006, .0001)):
            found = self.module._storage(small, small, loads, disk)
            self.assertAlmostEqual(found['sync'], sync, delta=1e-5)
            self.assertAlmostEqual(found['beside_cpu'], beside, delta=1e-5)

    def test_what_was_found_in_a_slow_minute_counts_as_if_it_was_none(self):
        found = self.module._at_pace(
            {'raw_cpu': .002, 'raw_server_cpu': .004, 'cpu_per_job': .006,
             'server_cpu_per_job': .004, 'rate': 7,
             'turns': [(9, 1.0)] * self.module.WARM + [(2, .004)]},
            {'cpu': .001, 'server_cpu': .001})
        self.assertEqual(
            (found['cpu_per_job'], found['server_cpu_per_job'], found['rate'],
             found['turns']), (.003, .001, 7, [(2, .002)]))

    def test_turns_tell_what_they_cost_and_each_job_in_them(self):
        turns = [(jobs, 0.002 + 0.0001 * jobs) for jobs in (1, 20, 42, 84)]
        turn, job = self.module._line([*turns, (0, 5.0)])
        self.assertAlmostEqual(turn, 0.002)
        self.assertAlmostEqual(job, 0.0001)


@needs_checkout
class Samples(unittest.TestCase):

    def test_how_much_commits_vary_is_told_beside_what_they_take(self):
        jitter = simulation('simulation.parts')._jitter
        self.assertEqual(jitter([5.0, 6.0, 7.0, 8.0]), 0)
        self.assertEqual(jitter([5.0, 6.0, 9.0]), 0.5)

    def test_what_is_used_is_that_of_the_steady_time_if_that_is_long_enough(self):
        used = simulation('simulation.real')._used
        # moment, processor seconds, jobs
        samples = [[0, 0.0, 0], [1, 5.0, 10], [2, 6.0, 60], [3, 7.0, 100]]
        self.assertEqual(used(samples, 1, 2.5, 100), [1, 1.0, 50])
        self.assertEqual(used(samples, 1.5, 2.5, 100), [3, 7.0, 100])


@needs_checkout
class Shards(unittest.TestCase):
    """Which jobs a process takes."""

    def setUp(self):
        lines = simulation('simulation.lines')
        self.policy = simulation('simulation.workers').Policy()
        self.line = lines.Line(self.policy.shards)
        self.places = lines.Places(self.line, self.policy, 0, 2)

    def test_own_shards_come_first(self):
        self.line.put(1, 5)
        self.line.put(2, 5)
        self.assertEqual(self.places.own(3), [(2, 0, 3)])
        self.assertEqual(self.places.own(9), [(2, 0, 5)])
        self.line.take([(2, 0, 5)], 1.0)
        self.assertEqual(self.places.own(9), [])
        self.assertEqual((self.line.waiting[2], self.line.taken), (0, 5))

    def test_those_of_others_are_left_to_them_for_a_moment(self):
        self.line.put(1, 5)
        still = self.policy.still
        self.assertEqual(self.places.others(9, 0.0, 10.0), ([], still))
        self.line.take([(1, 0, 1)], 10.0 + still / 2)
        taken, again = self.places.others(9, 0.0, 10.0 + still)
        self.assertEqual(taken, [])
        self.assertAlmostEqual(again, still / 2)
        self.assertEqual(self.places.others(9, 0.0, 20.0), ([(1, 0, 4)], None))

    def test_but_not_those_that_stand_far_back(self):
        self.line.put(1, self.policy.lane + 3)
        taken, _again = self.places.others(9, 0.0, 10.0)
        self.assertEqual(taken, [(1, 1, 3)])


@needs_checkout
class Command(unittest.TestCase):

    def setUp(self):
        self.simulate = simulation('simulate')
        self.costs = simulation('simulation.costs')
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_command(self, *arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.simulate.main(arguments)
        return out.getvalue()

    def test_a_prediction_has_a_row_for_each_number_of_workers(self):
        printed = self.run_command(
            '--storage', 'zeo', '--workers', '1,3', '--seconds', '1')
        rows = [line.split() for line in printed.splitlines()[2:]]
        self.assertEqual([row[0] for row in rows], ['1', '3'])
        self.assertGreater(float(rows[0][1]), 10)

    def test_costs_are_kept_and_those_of_other_storages_stay(self):
        path = os.path.join(self.folder, 'costs.json')
        self.costs.save({'raw': 1}, {'zeo': costs()}, path)
        self.costs.save({'raw': 2}, {'postgresql': costs('postgresql', wire=.5)}, path)
        conditions, found = self.costs.load(path)
        self.assertEqual(conditions, {'zeo': {'raw': 1}, 'postgresql': {'raw': 2}})
        self.assertEqual(found['zeo'], costs())
        self.assertEqual(found['postgresql'].wire, .5)

    def test_a_check_scales_by_the_processor_time_of_a_raw_commit_of_its_minute(self):
        check = simulation('simulation.check')
        result = {'storage': 'zeo', 'subject': 'raw', 'processes': 1, 'raw': 125.0,
                  'raw_before': 100.0, 'raw_after': 150.0, 'rate': 125.0, 'processors': 2,
                  'raw_cpu': .003, 'raw_server_cpu': .003}
        # three times as much as the costs say: it was a slow minute; not for the disk
        [found] = check.compared({'zeo': costs()}, [result])
        self.assertAlmostEqual(found.predicted, 125, delta=2)
        path = os.path.join(self.folder, 'results.jsonl')
        with open(path, 'w', encoding='utf-8') as file:
            print(json.dumps(result), file=file)
        printed = self.run_command('--check', path)
        self.assertIn('125/s', printed)
        self.assertIn('not steady', printed)


    def test_of_several_runs_the_medians_are_compared(self):
        check = simulation('simulation.check')
        results = [{'storage': 'zeo', 'subject': 'raw', 'processes': 1, 'raw': raw,
                    'raw_before': before, 'raw_after': raw, 'rate': rate, 'processors': 2,
                    'raw_cpu': cpu, 'raw_server_cpu': .001}
                   for raw, before, rate, cpu in (
                       (125, 125, 500, .002), (250, 250, 120, .001), (60, 10, 60, .007))]
        [found] = check.compared({'zeo': costs()}, results)
        self.assertEqual((found.runs, found.raw, found.measured), (3, 125, 120))
        # 2 ms here and 3 ms there
        self.assertAlmostEqual(found.predicted, 200, delta=2)
        self.assertAlmostEqual(found.factor, 200 / 120, delta=.02)
        self.assertTrue(found.steady)


CONDITIONS = {kind: {'raw_before': 1004, 'raw_many': 931.2, 'no_op': 601.4, 'effect': 297,
                     'clients': [[1, 838, .00048], [200, 337, .00199]]}
              for kind in ('zeo', 'postgresql')}


@needs_checkout
class Tables(unittest.TestCase):
    """What of all this stands in the page."""

    def setUp(self):
        self.tables = simulation('simulation.tables')
        self.costs = {kind: costs(kind) for kind in ('zeo', 'postgresql')}
        self.world = simulation('simulation.world')

    def result(self, rate, processes=1, moved=0):
        raw = self.world.raw(costs(), 1, 2)
        return {'storage': 'zeo', 'subject': 'raw', 'processes': processes, 'raw': raw,
                'raw_before': raw * (1 - moved), 'raw_after': raw, 'rate': rate,
                'processors': 2, 'raw_cpu': .001, 'raw_server_cpu': .001}

    def test_the_page_has_a_place_for_each_of_them_and_keeps_the_rest(self):
        page = (ROOT / 'docs' / 'scaling.rst').read_text()
        made = self.tables.tables(CONDITIONS, self.costs, [self.result(250)])
        text = self.tables.placed(page, made)
        self.assertEqual(self.tables.placed(text, made), text)
        for table in made.values():
            self.assertIn(table, text)
        self.assertIn('**Who hears of a commit.**', text)
        self.assertIn('     - 931\n', text)
        self.assertIn('     - 0.48 ms\n', text)
        with self.assertRaisesRegex(ValueError, "0 places for the table 'limits'"):
            self.tables.placed('Nothing.', made)

    def test_how_far_the_simulation_is_off_is_told_with_and_without_unsteady_ones(self):
        raw = self.world.raw(costs(), 1, 2)
        text = self.tables.processes(self.costs, [
            self.result(raw / 2), self.result(raw * 5, 2, moved=0.5)])
        self.assertIn(f'{raw / 2:.0f} ({raw:.0f})\n', text)
        self.assertRegex(text, r'1,\d+ \(\d+\) \*\n')
        self.assertRegex(text, r'off by a factor of up to [345]\S*\*\*')
        self.assertIn('by over 30 %, it was up to 2.', text)
        self.assertIn('not measured', text)


def test_suite():
    suite = unittest.TestSuite()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    for case in (Engine, Rates, Calibration, Samples, Shards, Command, Tables):
        suite.addTest(load(case))
    path = ROOT / 'docs' / 'scaling.rst'
    if path.exists():
        suite.addTest(test_usage.page(str(path)))
    return suite
