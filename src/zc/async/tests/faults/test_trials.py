"""The short forms of the trials with real processes, which are in bench/faults.

Each is run as by hand, with few trials.  What the figures of the long forms are is not
held here, but that each criterion holds, and can fail.
"""
import json
import os
import sys
import textwrap
import unittest

from .. import servers
from ..checkout import needs_checkout
from ..checkout import ROOT
from ..checkout import run
from ..checkout import run_python


@needs_checkout
class Trials(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(servers.folder())

    def trial(self, name, *words):
        """Run a trial; return what it has written, and what it says of each."""
        path = os.path.join(self.folder, 'found.json')
        environ = dict(os.environ, TMPDIR=self.folder,
                       PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        printed = run(sys.executable, ROOT / 'bench' / 'faults' / f'{name}.py',
                      '--json', path, *words, cwd=self.folder, env=environ)
        self.assertRegex(printed, r"\bholds\b")
        with open(path, encoding='utf-8') as found:
            data = json.load(found)
        os.remove(path)
        self.assertEqual(os.listdir(self.folder), [], 'nothing is left')
        return data, data['found']

    def test_jobs_of_a_killed_process_are_done_by_another(self):
        _data, found = self.trial('death', '--trials', 3, '--parallel', 3)
        self.assertEqual(len(found), 3)
        for one in found:
            self.assertEqual([job['attempts'] for job in one['jobs']], [2, 2, 1])

    def test_on_a_file_the_same_process_does_them_at_its_next_start(self):
        _data, [one] = self.trial(
            'death', '--trials', 1, '--storage', 'file', '--restart',
            '--death-interval', 1000)
        self.assertLess(one['seconds'], servers.PATIENCE)

    def test_one_that_was_stopped_and_taken_for_dead_commits_nothing(self):
        _data, found = self.trial('stopped', '--trials', 4, '--parallel', 4)
        self.assertEqual({one['phase'] for one in found},
                         {'claim', 'body', 'commit', 'callback'})

    def test_a_signal_ends_a_worker_with_hung_jobs_in_time(self):
        _data, found = self.trial(
            'term', '--trials', 2, '--parallel', 2, '--grace', 1)
        for one in found:
            self.assertGreaterEqual(one['seconds'], 1)
            self.assertGreaterEqual(one['waiting'], 2)

    def test_jobs_survive_an_outage(self):
        data, found = self.trial('outage', '--minutes', 1 / 6)
        self.assertEqual(len([one for one in found if 'phase' in one]), 9)
        self.assertEqual(len(data['figures']['working']), 3)

    def test_done_jobs_leave_nothing_in_memory(self):
        _data, found = self.trial('memory', '--jobs', 1500, '--warm-up', 2500)
        # caches are still being filled; one object for each job would be 1500
        self.assertLess(found[-1]['objects'] - found[0]['objects'], 750)
        self.assertGreaterEqual(found[-1]['stored'] - found[0]['stored'], 1500)


@needs_checkout
class Verdicts(unittest.TestCase):
    """What is not as it should be is told, and is the exit status."""

    def test_each_criterion_can_fail(self):
        run_python('-c', textwrap.dedent(f'''
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            from bench.faults import common, death, outage, stopped, term
            fine = dict(failed=None, effects=1, done=True, attempts=2)
            for changed in {{'failed': 'why'}}, {{'effects': 0}}, {{'effects': 2}}:
                bad = dict(fine, **changed)
                assert death._wrong(1, 8, [fine, bad, dict(fine, attempts=1)], 0)
                assert stopped._wrong('body', 1, bad, ['reassigned'])
                assert outage._wrong('body', bad, 1)
            jobs = [fine, fine, dict(fine, attempts=1)]
            assert not death._wrong(1, 8, jobs, 0)
            assert death._wrong(9, 8, jobs, 0) and death._wrong(1, 8, jobs, 1)
            assert death._wrong(1, 8, [fine, fine, fine], 0)
            assert not stopped._wrong('body', 1, fine, ['reassigned'])
            assert stopped._wrong('body', 1, fine, [])
            assert stopped._wrong('claim', 1, fine, ['reassigned'])
            assert stopped._wrong('body', 9, fine, ['reassigned'])
            assert not outage._wrong('body', fine, 1) and outage._wrong('body', fine, 11)
            trials = term.Trials(term.arguments([]), None, None)
            good = dict(status=0, seconds=2, waiting=2, counted=0, last_start=0,
                        wrong_jobs=[], held=0, active=[], complaints=[])
            assert not trials._wrong(good)
            for changed in (dict(status=1), dict(seconds=8), dict(waiting=1),
                            dict(counted=1), dict(last_start=2), dict(wrong_jobs=['it']),
                            dict(held=1), dict(active=['it']), dict(complaints=['it'])):
                assert trials._wrong(dict(good, **changed)), changed
            options = common.parser('A trial.').parse_args([])
            assert common.conclude('it', options, [dict(wrong=None)], {{}}) == 0
            assert common.conclude('it', options, [dict(wrong='it')], {{}}) == 1
            assert common.conclude('it', options, [], {{}}) == 1
            assert common.spread([3, 1, 2]) == dict(n=3, p50=2, p99=3, max=3)
            '''))
