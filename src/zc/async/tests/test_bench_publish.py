"""The page about performance says what the results say, and what is missing."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from .checkout import needs_checkout
from .checkout import ROOT
from .checkout import run_python


def spread(value):
    return {'median': value, 'min': value * 0.9, 'max': value * 1.1}


def summary(storage, measure, value, ratio=None, unit='/s', **more):
    return {'kind': 'summary', 'storage': storage, 'measure': measure, 'label': measure,
            'unit': unit, 'runs': 5, 'steady': 4, 'value': spread(value),
            'ratio': ratio and spread(ratio), 'raw': spread(1000), **more}


def peer(system, measure, value, storage='redis', settings='durable'):
    return {'system': system, 'title': system.title(), 'settings': settings, 'jobs': 3000,
            'together': False, **summary(storage, measure, value, value / 1000)}


CONDITIONS = {'kind': 'conditions', 'runs': 5, 'python': '3.11.7', 'system': 'Linux',
              'processors': 2, 'versions': {'ZODB': '6.4'}, 'revision': 'abc123'}
COST = {'commits': 0.061, 'records': 2.5, 'bytes': 812.4, 'pickled': 700}
RESULTS = [
    CONDITIONS,
    summary('filestorage', 'no-op', 350, 0.35),
    summary('filestorage', 'no-op-10', 1234, 0.83, cost=COST, cost_with_put=COST,
            cpu_ms=0.7, loads=4.2),
    summary('filestorage', 'backlog-1k', 900, 0.9),
    summary('filestorage', 'backlog-1m', 880, 0.88, relative=spread(0.978),
            reference='backlog-1k', claim_ms={'p50': 3, 'p99': 8.5}),
    summary('filestorage', 'latency', 1.2, 1.1, 'ms', latencies=250, p50=1.2, p95=30,
            p99=40),
    summary('zeo', 'workers-cpu-1', 40, 0.04), summary('zeo', 'workers-cpu-2', 78, 0.08),
    *(peer(system, measure, value) for system, value in (
        ('celery', 600), ('procrastinate', 500), ('oban', 700), ('rq', 400),
        ('dramatiq', 5000)) for measure in ('no-op', 'effect')),
    *(peer('zc.async', measure, 2000, 'filestorage') for measure in ('no-op', 'effect'))]


@needs_checkout
class Published(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def publish(self, *lines):
        """Make the page of these *lines* of results; return its text."""
        path = self.folder / 'some.jsonl'
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
        run_python(ROOT / 'bench' / 'publish.py', path, '--docs', self.folder)
        return (self.folder / 'performance.rst').read_text()

    def rows(self, text):
        """Return the rows of all tables, each as a list of cells."""
        found = []
        for line in text.splitlines():
            if line.startswith('   * -'):
                found.append([])
            if line.startswith(('   * -', '     -')):
                found[-1].append(line[7:].strip())
        return found

    def row(self, text, start):
        [found] = [row for row in self.rows(text) if row[0].startswith(start)]
        return found

    def test_each_figure_stands_beside_its_floor_and_its_goal(self):
        text = self.publish(*RESULTS)
        self.assertEqual(self.row(text, 'no-op jobs, agent of size 10')[1:],
                         ['0.7', '1', '0.83 (0.747 to 0.913)', 'floor'])
        self.assertEqual(self.row(text, '… out of the box')[1:],
                         ['0.4', '0.6', '0.35 (0.315 to 0.385)', '**missed**'])
        self.assertEqual(self.row(text, 'drain at a backlog of 1,000,000')[3:],
                         ['0.978 (0.88 to 1.08); 8.5 ms', 'goal'])

    def test_the_worst_figure_of_a_row_decides(self):
        text = self.publish(*RESULTS)
        # the median reaches its goal, p95 not even its floor
        self.assertEqual(self.row(text, 'commit to start, same process')[3:],
                         ['1.2 ms; 30 ms', '**missed**'])

    def test_rivals_are_named_with_those_that_were_not_beaten(self):
        text = self.publish(*RESULTS)
        found = self.row(text, 'one worker each')
        self.assertIn('not than dramatiq', found[3])
        self.assertEqual(found[4], 'floor')
        lost = [peer('celery', 'effect', 9000)]
        self.assertEqual(self.row(self.publish(*RESULTS, *lost), 'one worker each')[4],
                         '**missed**')

    def two_workers(self, ratio, bare, rate=640):
        """Return the row about two workers, and the text, of such results.

        The workers do 446 jobs a second, and two bare processes *rate* commits.
        """
        text = self.publish(CONDITIONS, *(
            summary('zeo', measure, value, 0.5, relative=spread(relative),
                    reference='one of them')
            for measure, value, relative in (
                ('workers-effect-2', 446, ratio), ('limit-2', rate, bare)) if relative))
        return self.row(text, 'two workers over ZEO'), ' '.join(text.split())

    def test_what_bare_processes_reach_stands_beside_two_workers(self):
        row, _text = self.two_workers(1.6, 1.25)
        self.assertEqual(row[3], '1.6 (1.44 to 1.76), 446/s; '
                         'bare processes: 1.25 (1.12 to 1.38), 640/s')

    def test_two_workers_miss_the_floor_where_the_server_permits_more(self):
        for ratio, bare, rate in ((1.1, 1.1, 500), (1.49, 1.9, 900), (0.5, 0.5, 640)):
            row, text = self.two_workers(ratio, bare, rate)
            self.assertEqual(row[4], '**missed**', (ratio, bare, rate))
            self.assertIn('it is not the server that forbids more', text)

    def test_two_workers_that_do_what_the_server_permits_hold_the_floor_by_name(self):
        for ratio, bare, rate in ((1.1, 1.9, 490), (1.36, 1.0, 446), (1.0, 0.9, 300)):
            row, text = self.two_workers(ratio, bare, rate)
            self.assertEqual(row[4], "floor, by the server's limit only",
                             (ratio, bare, rate))
            self.assertIn('**1.5 is not reached**; the floor holds only because', text)

    def test_two_workers_that_reach_the_floor_or_the_goal_need_no_limit(self):
        for ratio, verdict in ((1.5, 'floor'), (1.79, 'floor'), (1.8, 'goal')):
            for bare in (1.1, 2.0):
                row, text = self.two_workers(ratio, bare)
                self.assertEqual(row[4], verdict, (ratio, bare))
                self.assertIn(f'the {verdict}', text)
                self.assertIn('is reached, whatever the server permits', text)

    def test_a_limit_that_is_not_of_the_run_of_the_workers_excuses_nothing(self):
        row, text = self.two_workers(1.1, None)
        self.assertEqual(row[3:], ['1.1 (0.99 to 1.21), 446/s; bare processes: '
                                   'not measured in this run', '**missed**'])
        self.assertIn('the 1.1 of these stands beside the floor alone', text)
        other = self.folder / 'other.jsonl'
        other.write_text(json.dumps(summary('zeo', 'limit-2', 640, 0.5, relative=spread(1.1),
                                            reference='limit-1')) + '\n')
        run_python(ROOT / 'bench' / 'publish.py', other, self.folder / 'some.jsonl',
                   '--docs', self.folder)
        text = (self.folder / 'performance.rst').read_text()
        self.assertEqual(self.row(text, 'two workers over ZEO')[4], '**missed**')

    def test_what_was_not_measured_is_said(self):
        text = self.publish(CONDITIONS)
        self.assertEqual(self.row(text, 'two workers over ZEO')[3:],
                         ['not measured in this run'] * 2)
        self.assertEqual(self.row(text, 'one worker each')[4],
                         'not measured in this run')
        self.assertNotIn('.. image::', text)
        self.assertEqual(os.listdir(self.folder / 'performance'), [])

    def test_each_chart_of_the_page_is_there_and_is_svg(self):
        text = self.publish(*RESULTS)
        shown = [line.split()[-1] for line in text.splitlines()
                 if line.startswith('.. image::')]
        self.assertEqual(shown, [f'performance/{name}.svg' for name in (
            'peers', 'latency', 'backlog', 'workers')])
        for name in shown:
            root = xml.etree.ElementTree.parse(self.folder / name).getroot()
            self.assertTrue(root.tag.endswith('svg'))
            self.assertNotIn('nan', (self.folder / name).read_text())

    def test_a_backlog_is_drawn_where_as_many_waited_as_it_had(self):
        self.publish(CONDITIONS, summary('zeo', 'backlog-1k', 200, 0.1, backlog=50),
                     summary('zeo', 'backlog-1m', 100, 0.1, backlog=50_000))
        svg = (self.folder / 'performance' / 'backlog.svg').read_text()
        self.assertIn('>50,000</text>', svg)
        self.assertNotIn('>1,000,000</text>', svg)

    def test_the_chart_of_workers_has_a_line_for_each_kind_of_job(self):
        text = self.publish(CONDITIONS, *(
            summary('zeo', f'workers-{kind}-{number}', base * number ** slope, 0.1)
            for kind, base, slope in (('no-op', 1570, -0.3), ('effect', 415, 0.1),
                                      ('cpu', 160, 0.4), ('io', 390, 0.5))
            for number in (1, 2, 4, 8)))
        self.assertIn('The machine had 2\nprocessors', text)
        svg = (self.folder / 'performance' / 'workers.svg').read_text()
        told = [one.text for one in xml.etree.ElementTree.fromstring(svg).iter(
            '{http://www.w3.org/2000/svg}text')]
        self.assertLessEqual({
            'no-op', 'one effect', 'CPU-bound', 'I/O-bound', 'jobs/s (logarithmic)',
            'worker processes (logarithmic)', '1', '2', '4', '8'}, set(told))
        # all lines are between what the axis says
        self.assertLessEqual({'100', '200', '500', '1,000', '2,000'}, set(told))
        self.assertEqual(svg.count('<circle'), 16)

    def test_every_row_of_a_table_has_the_cells_of_its_head(self):
        width = None
        for line in self.publish(*RESULTS).split('.. list-table::')[1:]:
            found = self.rows(line)
            width = len(found[0])
            self.assertEqual({len(row) for row in found}, {width})
        self.assertIsNotNone(width)

    def test_a_run_that_was_broken_off_counts_with_its_samples(self):
        sample = {'kind': 'sample', 'storage': 'filestorage', 'measure': 'no-op-10',
                  'label': 'x', 'unit': '/s', 'run': 0, 'value': 900, 'ratio': 0.9,
                  'raw': 1000, 'steady': True, 'cost': COST}
        text = self.publish(CONDITIONS, sample, {**sample, 'ratio': 0.7})
        self.assertEqual(self.row(text, 'no-op jobs, agent of size 10')[3],
                         '0.8 (0.7 to 0.9)')

    def test_of_files_that_were_joined_all_samples_count(self):
        sample = {'kind': 'sample', 'storage': 'filestorage', 'measure': 'no-op-10',
                  'label': 'x', 'unit': '/s', 'run': 0, 'raw': 1000, 'steady': True,
                  'cost': COST}
        conditions, lines = {**CONDITIONS, 'command': 'bin/py bench/run.py --all'}, []
        for ratio in (0.9, 0.7, 0.75):
            lines += [conditions, {**sample, 'value': 1000 * ratio, 'ratio': ratio},
                      {**summary('filestorage', 'no-op-10', 1000 * ratio, ratio), 'runs': 1}]
        text = self.publish(*lines)
        self.assertEqual(self.row(text, 'no-op jobs, agent of size 10')[3],
                         '0.75 (0.7 to 0.9)')
        # what was given three times is to be given again, and said once
        self.assertEqual(text.count('    bin/py bench/run.py --all'), 1)

    def files(self, **lines):
        """Write files of such names and lines; return their paths."""
        for name, told in lines.items():
            (self.folder / f'{name}.jsonl').write_text(
                ''.join(json.dumps(line) + '\n' for line in told))
        return [self.folder / f'{name}.jsonl' for name in lines]

    def several(self, **lines):
        """Return the page of files of such names and lines."""
        run_python(ROOT / 'bench' / 'publish.py', *self.files(**lines),
                   '--docs', self.folder)
        return (self.folder / 'performance.rst').read_text()

    def test_of_files_that_tell_the_same_the_later_counts_and_the_rest_stays(self):
        old = [CONDITIONS, summary('zeo', 'no-op-10', 100, 0.1),
               summary('zeo', 'put', 55, 0.1), summary('relstorage', 'bulk', 77, 0.1)]
        new = [{**CONDITIONS, 'revision': 'def456'}, summary('zeo', 'no-op-10', 200, 0.2)]
        text = self.several(b=old, a=new)
        told = [row[1:3] for row in self.rows(text) if len(row) == 6]
        self.assertIn(['``no-op-10``', '200/s (0.2)'], told)
        self.assertNotIn('100/s', text)
        self.assertIn('55/s', text)
        self.assertIn('77/s', text)
        # what is left of each is told, with its revision
        self.assertEqual(self.row(text, 'b.jsonl')[1:3],
                         ['zeo: put; relstorage: bulk', 'abc123'])
        self.assertEqual(self.row(text, 'a.jsonl')[1:3], ['zeo: no-op-10', 'def456'])
        self.assertIn('**The figures are of more than one revision**', text)

    def test_a_file_of_which_nothing_is_left_is_not_named(self):
        text = self.several(
            old=[{**CONDITIONS, 'command': 'bin/py old'}, summary('zeo', 'put', 55, 0.1)],
            new=[{**CONDITIONS, 'revision': 'def456'}, summary('zeo', 'put', 66, 0.1)])
        self.assertIn('new.jsonl', text)
        self.assertNotIn('old.jsonl', text)
        self.assertNotIn('bin/py old', text)
        self.assertNotIn('more than one revision', text)

    def test_a_measure_that_failed_is_named_unless_a_later_file_has_it(self):
        failure = {'kind': 'failure', 'storage': 'zeo', 'measure': 'callback', 'run': 2,
                   'error': 'ended'}
        self.assertIn('- ``callback``: failed in 1 run.',
                      self.several(a=[CONDITIONS, summary('zeo', 'put', 1), failure]))
        lost = {'kind': 'failure', 'system': 'rq', 'storage': 'redis',
                'settings': 'durable', 'message': 'x'}
        text = self.several(a=[CONDITIONS, failure, lost, lost])
        self.assertIn('- rq on redis, durable: failed in 2 runs.', text)
        text = self.several(a=[CONDITIONS, failure, lost], b=[
            CONDITIONS, summary('zeo', 'callback', 5), peer('rq', 'no-op', 7)])
        self.assertNotIn('failed', text)

    def test_results_that_are_kept_take_the_place_of_those_that_told_the_same(self):
        kept = self.folder / 'kept'
        kept.mkdir()
        for name, measures in (('1', ('put', 'bulk')), ('2', ('bulk',))):
            (kept / f'{name}.jsonl').write_text(''.join(
                json.dumps(line) + '\n' for line in (CONDITIONS, *(
                    summary('zeo', measure, 1) for measure in measures))))
        [new] = self.files(new=[CONDITIONS, summary('zeo', 'bulk', 2)])
        run_python('-c', 'import sys; sys.path.insert(0, sys.argv[1]); '
                   'from bench import publish; publish.keep(sys.argv[2:3], sys.argv[3])',
                   ROOT, new, kept)
        told = {path.name: [json.loads(line).get('measure')
                            for line in path.read_text().splitlines()]
                for path in kept.iterdir()}
        self.assertEqual(told, {'1.jsonl': [None, 'put'], 'new.jsonl': [None, 'bulk']})

    def test_the_runs_are_those_that_were_made(self):
        def runs(*counts):
            text = self.publish(CONDITIONS, *(
                {**summary('filestorage', f'some-{count}', 1), 'runs': count}
                for count in counts))
            return self.row(text, 'some.jsonl')[3]

        self.assertEqual(runs(5), '5')
        self.assertEqual(runs(4), '4')
        self.assertEqual(runs(5, 1, 4), '1 to 5')
        self.assertEqual(runs(), 'none')

    def test_a_smaller_backlog_than_the_row_speaks_of_is_named(self):
        small = summary('filestorage', 'backlog-1m', 880, 0.88, relative=spread(0.978),
                        backlog=200_000, reference='backlog-1k',
                        claim_ms={'p50': 3, 'p99': 8.5})
        found = self.row(self.publish(CONDITIONS, small), 'drain at a backlog')
        self.assertIn('with 200,000 jobs that wait instead of 1,000,000', found[3])
        self.assertEqual(found[4], 'goal, at that size')
        whole = {**small, 'backlog': 1_000_000}
        found = self.row(self.publish(CONDITIONS, whole), 'drain at a backlog')
        self.assertNotIn('instead', found[3])
        self.assertEqual(found[4], 'goal')

    def test_the_commands_are_those_that_were_given(self):
        command = 'bin/py bench/run.py --runs 5 --json some.jsonl'
        text = self.publish({**CONDITIONS, 'command': command})
        self.assertIn(f'    {command}\n', text)
        self.assertIn('bench/publish.py --keep some.jsonl', text)

    def test_a_file_that_is_not_there_is_refused_by_its_name(self):
        with self.assertRaisesRegex(AssertionError, "'missing.jsonl' is no file"):
            run_python(ROOT / 'bench' / 'publish.py', 'missing.jsonl')

    def test_what_is_committed_is_made_of_the_results_that_are_kept(self):
        kept = sorted((ROOT / 'bench' / 'results').glob('*.jsonl'))
        if not kept:
            self.skipTest('no results are kept')
        run_python(ROOT / 'bench' / 'publish.py', '--docs', self.folder)
        self.assertEqual((self.folder / 'performance.rst').read_text(),
                         (ROOT / 'docs' / 'performance.rst').read_text())


@needs_checkout
class Compared(unittest.TestCase):
    """What bench/compare.py makes of pairs."""

    def lines(self, ratios, unit='/s', cost=None):
        pairs = {('filestorage', 'no-op'): [
            ({'ratio': 1, 'value': 9, 'unit': unit, 'steady': True,
              **({'cost': COST} if cost else {})},
             {'ratio': ratio, 'value': 9, 'unit': unit, 'steady': ratio > 1,
              **({'cost': cost} if cost else {})}) for ratio in ratios]}
        program = ('import json, sys; sys.path.insert(0, sys.argv[1]); '
                   'from bench import compare; pairs = eval(sys.argv[2]); '
                   'print(json.dumps(list(compare.report(pairs))))')
        return json.loads(subprocess.run(
            [sys.executable, '-c', program, str(ROOT), repr(pairs)],
            stdout=subprocess.PIPE, text=True, check=True).stdout)

    def test_a_change_that_all_pairs_show_is_told_in_a_word(self):
        more = [1.30, 1.32, 1.28, 1.31, 1.29]
        less = [1 / ratio for ratio in more]
        for ratios, unit, word in (
                (more, '/s', 'faster'), (less, '/s', 'slower'), (more, 'ms', 'slower'),
                (less, 'ms', 'faster'), (more, 'MB', 'more'), (less, 'MB', 'less')):
            self.assertEqual(self.lines(ratios, unit)[0], f'filestorage, no-op: {word}')

    def test_pairs_that_disagree_are_no_difference(self):
        found = self.lines([1.4, 0.8, 1.1, 0.7, 1.2])
        self.assertEqual(found[0], 'filestorage, no-op: no difference that can be told')

    def test_the_median_of_the_pairs_is_told_with_their_spread(self):
        found = self.lines([1.5, 0.9, 1.1])
        self.assertIn('new/old 1.100, the median of 3 pairs, 2 of them steady '
                      '(0.900 to 1.500; 95 %', found[1])
        self.assertIn('9/s -> 9/s; beside raw 1.000 -> 1.100', found[2])

    def test_counts_are_told_from_and_to(self):
        found = self.lines([1, 1, 1], cost={**COST, 'commits': 0.122})
        self.assertIn('commits a job: 0.061 -> 0.122 (+100.0 %)', found[3])
