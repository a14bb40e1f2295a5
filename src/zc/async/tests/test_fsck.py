"""``zc-async fsck``: what it says and returns, and that nothing sound is found wrong.

`.test_fsck_findings` has the kinds of damage.
"""
import contextlib
import io
import json
import os
import random
import unittest
from unittest import mock

import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

from .. import byhand
from .. import cli
from .. import testing
from .. import testkit
from ..agent import Agent
from ..audit import check as audit
from ..audit import repairs
from ..interfaces import ACTIVE
from ..interfaces import ASSIGNED
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import PENDING
from ..job import Job
from ..job import parallel
from ..job import serial
from ..model import callbacks
from ..model import execution
from ..model import lines
from ..model import parking
from ..ops import fsck
from ..queue import Queue
from ..queue import Queues
from ..threadlocal import local
from . import contracts
from . import servers
from .contracts import echo
from .contracts import HOUR
from .contracts import MINUTE
from .contracts import nothing
from .contracts import spoil
from .test_fsck_findings import FIRST
from .test_fsck_findings import SECOND_ONE
from .test_fsck_findings import SETTINGS


def put_another(*ignored):
    """Return a job that is put by this call."""
    return local.getQueue().put(nothing)


def look(db, records=False):
    """Return the texts of what is found in *db*, in its present state."""
    client = contracts.Client(db)
    try:
        return [found.text for found in audit.Check(client.connection).run(records)]
    finally:
        client.transactions.abort()
        client.connection.close()


# The command

class Command(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.path = os.path.join(self.folder, 'Data.fs')
        self.enterContext(mock.patch.dict(os.environ, {
            'ZC_ASYNC_UUID': os.path.join(self.folder, 'uuid.txt')}))
        for name in ('ZC_ASYNC_URI', 'ZC_ASYNC_CONFIG'):
            os.environ.pop(name, None)
        with self.changing() as queue:
            queue.put(nothing)

    @contextlib.contextmanager
    def changing(self):
        """Give the queue, and commit what is done to it."""
        db = ZODB.DB(FileStorage(self.path))
        try:
            with db.transaction() as connection:
                root = connection.root()
                if KEY not in root:
                    root[KEY] = Queues()
                    root[KEY][''] = Queue()
                yield root[KEY]['']
        finally:
            db.close()

    def damage(self):
        with self.changing() as queue:
            queue._lines.shards[0].length.change(2)

    def run_it(self, *words):
        """Return the exit status, the output and the errors."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = cli.main(['fsck', *words])
        return status, output.getvalue(), errors.getvalue()

    @property
    def uri(self):
        return f'file://{self.path}'

    def test_nothing_wrong(self):
        self.assertEqual(self.run_it(self.uri),
                         (0, '1 jobs looked at, 0 things wrong\n', ''))

    def test_damage_is_told_and_changes_nothing(self):
        self.damage()
        with open(self.path, 'rb') as file:
            before = file.read()
        status, output, errors = self.run_it(self.uri)
        self.assertEqual((status, errors), (1, ''))
        self.assertRegex(output, r"count-wrong: queue '': shard 0 counts \d jobs and has \d\n"
                                 r'1 jobs looked at, 1 things wrong\n$')
        with open(self.path, 'rb') as file:
            self.assertEqual(file.read(), before)

    def test_damage_is_repaired_and_that_is_told(self):
        self.damage()
        status, output, _errors = self.run_it('--repair', self.uri)
        self.assertEqual(status, 0)
        self.assertRegex(output, r'count-wrong: .* -- repaired: set to \d\n'
                                 r'1 jobs looked at, 1 things wrong, 1 repaired, 0 left\n$')
        self.assertEqual(self.run_it(self.uri)[0], 0)

    def test_what_is_left_is_told_and_counted(self):
        self.damage()
        with mock.patch.dict(repairs._REPAIRS, {'count-wrong': mock.Mock(
                side_effect=repairs.CannotRepair('not today'))}):
            status, output, _errors = self.run_it('--repair', self.uri)
        self.assertEqual(status, 1)
        self.assertIn(' -- left: not today\n', output)
        self.assertIn('0 repaired, 1 left', output)

    def test_a_repair_that_fails_is_left_and_changes_nothing(self):
        def fail(check, finding):
            check.queues[''].quotas.create('half done')
            raise RuntimeError('of the test')

        self.damage()
        with mock.patch.dict(repairs._REPAIRS, {'count-wrong': fail}):
            status, output, _errors = self.run_it('--repair', self.uri)
        self.assertEqual(status, 1)
        self.assertIn(' -- left: RuntimeError: ', output)
        with self.changing() as queue:
            self.assertEqual(list(queue.quotas), [])

    def test_json_is_a_line_for_each_finding_and_one_at_the_end(self):
        self.damage()
        status, output, _errors = self.run_it('--json', self.uri)
        self.assertEqual(status, 1)
        finding, end = map(json.loads, output.splitlines())
        self.assertEqual({name: finding[name] for name in (
            'code', 'damage', 'queue', 'place', 'repairable', 'repaired', 'left')}, {
                'code': 'count-wrong', 'damage': True, 'queue': '', 'place': 'shard 0',
                'repairable': True, 'repaired': None, 'left': None})
        self.assertIsInstance(finding['oid'], int)
        self.assertEqual(end, {
            'looked_at': 1, 'found': 1, 'repaired': 0, 'left': 1, 'noticed': 0})
        status, output, _errors = self.run_it('--json', '--repair', self.uri)
        self.assertEqual(status, 0)
        self.assertIn('set to', json.loads(output.splitlines()[0])['repaired'])

    def test_a_kind_can_be_ignored(self):
        self.damage()
        self.assertEqual(self.run_it(self.uri, '--ignore', 'count-wrong')[0], 0)
        status, _output, errors = self.run_it(self.uri, '--ignore', 'nonsense')
        self.assertEqual(status, 2)
        self.assertIn("--ignore is 'nonsense'; say one of agent-exceeded, ", errors)

    def test_the_database_may_be_named_in_the_environment(self):
        with mock.patch.dict(os.environ, {'ZC_ASYNC_URI': self.uri}):
            self.assertEqual(self.run_it()[0], 0)

    def test_the_database_may_be_named_in_a_file(self):
        config = os.path.join(self.folder, 'site.conf')
        with open(config, 'w') as file:
            file.write(f'<zodb>\n<filestorage>\npath {self.path}\n</filestorage>\n</zodb>\n')
        self.assertEqual(self.run_it('--config', config)[0], 0)
        self.damage()
        self.assertEqual(self.run_it('--config', config)[0], 1)
        self.assertEqual(self.run_it('--config', config, '--repair')[0], 0)

    def test_it_looks_while_another_process_works(self):
        self.damage()
        db = ZODB.DB(FileStorage(self.path))
        self.addCleanup(db.close)
        self.assertEqual(self.run_it(self.uri)[0], 1)
        status, _output, errors = self.run_it('--repair', self.uri)
        self.assertEqual(status, 2)
        self.assertIn('another process uses it', errors)

    def refused(self, *words):
        status, output, errors = self.run_it(*words)
        self.assertEqual((status, output), (2, ''))
        self.assertTrue(errors.startswith('zc-async fsck: '), errors)
        self.assertEqual(errors.count('\n'), 1)
        return errors

    def test_a_database_that_is_not_there_is_not_made(self):
        for options in ((), ('--repair',)):
            path = os.path.join(self.folder, 'other.fs')
            self.assertIn(f'there is no database {path}; correct the name\n',
                          self.refused(f'file://{path}', *options))
            self.assertEqual(sorted(os.listdir(self.folder)),
                             sorted({*os.listdir(self.folder)} - {'other.fs'}))

    def test_a_database_without_queues_gets_none(self):
        path = os.path.join(self.folder, 'other.fs')
        ZODB.DB(FileStorage(path)).close()
        for options in ((), ('--repair',)):
            self.assertIn('has no queues', self.refused(f'file://{path}', *options))

    def test_queues_of_a_later_version_are_not_looked_at(self):
        with self.changing() as queue:
            queue.parent.generation = 99
        self.assertIn('the stored form of the queues is 99', self.refused(self.uri))

    def test_exactly_one_database_is_named(self):
        self.assertIn('no database was named', self.refused())
        self.assertIn('give one of them', self.refused(self.uri, '--config', 'x'))

    def test_a_database_that_goes_away_is_no_clean_one(self):
        def away(*args):
            raise fsck.outage.ClientDisconnected('gone')

        with mock.patch.object(audit.Check, 'queue', away):
            status, _output, errors = self.run_it(self.uri)
        self.assertEqual(status, 2)
        self.assertIn('broken off: ClientDisconnected: gone', errors)

    def test_an_error_of_its_own_is_no_result(self):
        with mock.patch.object(audit.Check, 'queue', side_effect=RuntimeError('bug')):
            status, _output, errors = self.run_it(self.uri)
        self.assertEqual(status, 2)
        self.assertIn('Traceback', errors)

    def test_the_progress_is_told(self):
        with mock.patch.object(fsck, '_INTERVAL', 0):
            self.assertEqual(self.run_it(self.uri)[2], '1 jobs looked at\n')

    def test_all_records(self):
        with self.changing() as queue:
            lost = queue.put(nothing)
            for shard in queue._lines.shards:
                for line in shard.lines.values():
                    line.clear()
                shard.length.set(0)
            queue._p_jar.root()['kept'] = lost
        self.assertEqual(self.run_it(self.uri)[0], 0)
        status, output, _errors = self.run_it('--records', self.uri)
        self.assertEqual((status, output.count('orphan: ')), (1, 2))
        self.assertEqual(self.run_it('--records', '--repair', self.uri)[0], 0)
        with self.changing() as queue:
            self.assertEqual(len(queue), 2)


class Served:
    """What others serve can be looked at and repaired while it is used."""

    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(servers.folder())

    def statuses(self, uri):
        """Damage a new database, and return the exit statuses, one after the other."""
        db = self.enterContext(servers.opened(uri))
        with db.transaction() as connection:
            connection.root()[KEY] = queues = Queues()
            queues[''] = Queue()
            jobs = [queues[''].put(nothing) for _number in range(3)]
            connection.root()['kept'] = jobs[0]
        with db.transaction() as connection:
            queue = connection.root()[KEY]['']
            first = queue[0]
            for shard in queue._lines.shards:
                if first._order in shard.lines[False, ()]:
                    del shard.lines[False, ()][first._order]
        with contextlib.redirect_stdout(io.StringIO()):
            return [cli.main(['fsck', uri, *words]) for words in (
                (), ('--repair',), (), ('--records',), ('--records', '--repair'),
                ('--records',))]


class Storages(Served, unittest.TestCase):

    def test_zeo(self):
        port = self.enterContext(servers.zeo(self.folder))
        self.assertEqual(self.statuses(f'zeo://127.0.0.1:{port}'), [1, 0, 0, 1, 0, 0])

    def test_sqlite(self):
        path = os.path.join(self.folder, 'there')
        os.mkdir(path)
        self.assertEqual(self.statuses(f'sqlite://{path}'), [1, 0, 0, 1, 0, 0])

    def test_no_database_of_sqlite_is_made(self):
        uri = f'sqlite://{self.folder}/none'
        for options in ((), ('--repair',)):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                self.assertEqual(cli.main(['fsck', uri, *options]), 2)
            self.assertIn('there is no database', errors.getvalue())
        self.assertEqual(os.listdir(self.folder), [])


class OnPostgreSQL(Served, unittest.TestCase):

    layer = servers.PostgreSQL

    def test_postgresql(self):
        if self.layer.missing:
            self.skipTest(self.layer.missing)
        self.layer.database('fsck')
        self.assertEqual(self.statuses(self.layer.uri('fsck')), [1, 0, 0, 1, 0, 0])


# While others work

class Meanwhile(contracts.InWorld, unittest.TestCase):
    """What others do while it looks or repairs."""

    def setUp(self):
        super().setUp()
        # all puts into one shard
        self.enterContext(mock.patch.object(
            lines, '_habit', mock.Mock(below=lambda limit: 5)))

    def run_it(self, **changes):
        output, progress = io.StringIO(), io.StringIO()
        settings = fsck.dataclasses.replace(SETTINGS, **changes)
        status = fsck.Fsck(self.world.db, settings, output, progress).run()
        self.client.begin()
        return status, output.getvalue(), progress.getvalue()

    def test_a_repair_that_meets_a_conflict_is_tried_again(self):
        self.queue.quotas.create('q')
        job = self.put()
        self.queue.quotas['q']._data = (job,)
        self.client.commit()
        real, calls = repairs._REPAIRS['quota-stale'], []

        def disturbed(check, finding):
            calls.append(finding)
            if len(calls) == 1:
                self.client.begin()
                self.queue.quotas['q'].size = 5
                self.client.commit()
            return real(check, finding)

        with mock.patch.dict(repairs._REPAIRS, {'quota-stale': disturbed}):
            status, _output, _progress = self.run_it()
        self.assertEqual((status, len(calls)), (0, 2))
        self.assertEqual((len(self.queue.quotas['q']), self.queue.quotas['q'].size), (0, 5))

    def test_a_repair_that_meets_conflicts_for_ever_is_left(self):
        self.queue._lines.shards[0].length.change(1)
        self.client.commit()
        with mock.patch.dict(repairs._REPAIRS, {
                'count-wrong': mock.Mock(side_effect=ConflictError)}):
            status, output, _progress = self.run_it()
        self.assertEqual(status, 1)
        self.assertIn('left: others changed it again and again', output)

    def test_what_others_have_put_right_is_left_alone(self):
        self.queue._lines.shards[0].length.change(1)
        self.client.commit()
        real = fsck.Fsck._repair_once

        def late(self_, finding):
            self.client.begin()
            self.queue._lines.shards[0].length.set(0)
            self.client.commit()
            return real(self_, finding)

        with mock.patch.object(fsck.Fsck, '_repair_once', late):
            status, output, _progress = self.run_it()
        self.assertEqual(status, 0)
        self.assertNotIn('repaired: ', output)

    def test_a_counter_is_right_after_a_put_meanwhile(self):
        self.put()
        for shard in self.queue._lines.shards:
            shard.length.change(3)
        self.client.commit()
        real = repairs._REPAIRS['count-wrong']

        def disturbed(check, finding):
            done = real(check, finding)
            self.client.begin()
            self.put()
            self.client.commit()
            return done

        with mock.patch.dict(repairs._REPAIRS, {'count-wrong': disturbed}):
            self.assertEqual(self.run_it()[0], 0)
        self.assertEqual(len(self.queue), 17)
        self.assertEqual(len(list(self.queue)), 17)

    def break_a_line(self):
        """Let two leaves of a line be in each other's place."""
        for _number in range(60):
            self.put()
        self.client.commit()
        line = self.queue._lines.shards[5].lines[False, ()]
        (first, key, second, *rest), leaf = line.__getstate__()
        line.__setstate__(((first, key, rest[1], rest[0], second, *rest[2:]), leaf))
        line._p_changed = True
        self.client.commit()
        self.assertEqual(len(look(self.world.db)), 1)

    def test_a_put_just_before_a_line_is_made_again_is_in_it(self):
        self.break_a_line()
        real, added = repairs._REPAIRS['tree-broken'], []

        def disturbed(check, finding):
            done = real(check, finding)
            if not added:
                self.client.begin()
                added.append(self.put())
                self.client.commit()
            return done

        with mock.patch.dict(repairs._REPAIRS, {'tree-broken': disturbed}):
            self.assertEqual(self.run_it()[0], 0)
        self.assertEqual(len(self.queue), 61)
        self.assertIn(added[0], list(self.queue))
        self.assertEqual(look(self.world.db), [])

    def test_a_put_into_the_old_line_is_refused(self):
        self.break_a_line()
        late = self.world.open()
        late.put()
        self.assertEqual(self.run_it()[0], 0)
        with self.assertRaises(ConflictError):
            late.commit()
        self.assertEqual(len(self.queue), 60)
        self.assertEqual(look(self.world.db, records=True), [])

    def test_a_pack_that_takes_the_state_away_lets_it_begin_again(self):
        folder = self.enterContext(servers.folder())
        db = ZODB.DB(FileStorage(os.path.join(folder, 'Data.fs')))
        self.addCleanup(db.close)
        client = contracts.Client(db)
        client.root[KEY] = queues = Queues()
        queues[''] = Queue()
        agent = Agent(size=1000)
        for _number in range(50):
            client.put()
        client.commit()
        client.queue.dispatchers.register(FIRST)
        client.queue.dispatchers[FIRST]['main'] = agent
        client.queue.dispatchers[FIRST].activate()
        client.commit()
        packed = []

        def pack_once(self_):
            if not packed:
                while agent.claimJob() is not None:
                    pass
                client.commit()
                packed.append(db.pack(days=-1))

        output, progress = io.StringIO(), io.StringIO()
        command = fsck.Fsck(db, fsck.dataclasses.replace(SETTINGS, repair=False),
                            output, progress)
        with mock.patch.object(fsck.Fsck, '_look', pack_once):
            self.assertEqual(command.run(), 0, output.getvalue())
        self.assertIn('packed meanwhile; once more', progress.getvalue())
        client.transactions.abort()
        client.connection.close()

    def test_memory_does_not_grow_with_the_queue(self):
        for _number in range(2000):
            self.put()
        self.client.commit()
        most = []
        client = contracts.Client(self.world.db)
        cache = client.connection._cache

        def told():
            most.append(cache.cache_non_ghost_count)

        self.assertEqual(list(audit.Check(client.connection, told).run()), [])
        self.assertEqual(len(most), 2000)
        self.assertLess(max(most), 1800)
        client.transactions.abort()
        client.connection.close()


class Live(unittest.TestCase):
    """Each committed state is sound, while a dispatcher works and while one repairs."""

    def setUp(self):
        self.world = self.enterContext(testkit.World())
        self.queue = self.world.queue
        self.queue.quotas.create('q', 2)

    def put_some(self, count):
        jobs = []
        for number in range(count):
            job = Job(spoil) if number % 7 == 3 else Job(echo, number)
            if number % 3 == 0:
                job.quota_names = ('q',)
            if number % 4 == 0:
                job.addCallbacks(Job(nothing), Job(nothing)).addCallback(nothing)
            jobs.append(self.queue.put(job))
        jobs.append(self.queue.put(serial(nothing, nothing, postprocess=Job(echo))))
        jobs.append(self.queue.put(parallel(nothing, nothing)))
        transaction.commit()
        return jobs

    def done(self, jobs):
        transaction.begin()
        return all(job.status is COMPLETED for job in jobs)

    def test_while_a_dispatcher_works(self):
        self.world.start()
        looks = 0
        for _round in range(6):
            jobs = self.put_some(25)
            while not self.done(jobs):
                self.assertEqual(look(self.world.db), [])
                looks += 1
        self.assertGreater(looks, 6)
        self.assertEqual(look(self.world.db), [])

    def test_repairs_while_a_dispatcher_works(self):
        jobs = self.put_some(60)
        late = self.queue.put(Job(echo, jobs[0]))
        lost = jobs[40]
        for shard in self.queue._lines.shards:
            shard.length.change(2)
            for line in shard.lines.values():
                if lost._order in line:
                    del line[lost._order]
        late.args.append(lost)
        self.queue.quotas['q']._data = (jobs[3], jobs[6])
        transaction.commit()
        self.world.start()
        output = io.StringIO()
        command = fsck.Fsck(self.world.db, fsck.dataclasses.replace(SETTINGS, records=True),
                            output, io.StringIO())
        self.assertEqual(command.run(), 0, output.getvalue())
        testing.wait_until(lambda: self.done([*jobs, late]), seconds=30)
        self.assertEqual(look(self.world.db), [])
        self.assertEqual(lost._attempt, 1)


# What is sound

class History(contracts.InWorld, unittest.TestCase):
    """Whatever happens, in whatever order, nothing is found wrong."""

    STEPS, SEEDS = 60, 10

    def test_histories(self):
        for seed in range(self.SEEDS):
            with self.subTest(seed=seed):
                self.tearDown()
                self.doCleanups()
                super().setUp()
                self.history(random.Random(seed))

    def history(self, chance):
        self.chance = chance
        self.queue.quotas.create('q', 2)
        self.agents = [self.world.add_dispatcher(UUID, size=6)
                       for UUID in (FIRST, SECOND_ONE)]
        steps = [getattr(self, name) for name in dir(self) if name.startswith('step_')]
        for _number in range(self.STEPS):
            step = chance.choice(steps)
            step()
            self.client.commit()
            self.assert_sound(step.__name__)
        self.end()

    def end(self):
        """Stop all, and let what can be done be done."""
        for agent in self.agents:
            agent.parent.deactivate()
        self.client.commit()
        self.assert_sound()
        for _round in range(2):
            self.work()
            self.world.clock.advance(2 * HOUR)
            self.assert_sound()

    def assert_sound(self, after=''):
        # all records: what is lost is lost to those who only follow references
        self.assertEqual(look(self.world.db, records=True), [], after)

    def work(self, limit=500):
        """Do up to so many jobs by hand."""
        self.client.commit()
        with byhand.Hands(self.world.db, '') as hands:
            for _number in range(limit):
                if hands.work() is None:
                    break
        self.client.begin()
        self.assert_sound()

    def some_job(self, *statuses):
        """Return a job in one of these statuses from an agent, or None."""
        found = [job for agent in self.agents for job in agent
                 if job.status in statuses and job._awaits is None]
        return self.chance.choice(found) if found else None

    # Putting

    def step_put(self):
        self.put(self.chance.choice((nothing, spoil)))

    def step_put_with_a_quota(self):
        self.put(quotas=('q',))

    def step_put_for_later(self):
        self.put(begin_after=self.world.clock.now() + MINUTE)

    def step_put_until(self):
        self.put(begin_by=MINUTE, quotas=self.chance.choice(((), ('q',))))

    def step_put_with_callbacks(self):
        job = self.put(quotas=self.chance.choice(((), ('q',))))
        job.addCallback(nothing).addCallbacks(nothing, spoil)
        job.addCallbacks(success=nothing).addCallback(nothing)

    def step_put_with_a_callback_that_returns_a_job(self):
        self.put().addCallback(put_another).addCallback(nothing)

    def step_put_a_workflow(self):
        self.put(self.chance.choice((serial, parallel))(nothing, spoil, nothing))

    def step_remove(self):
        waiting = [job for job in self.queue if job.status is PENDING
                   and job.kind.endswith(('nothing', 'spoil')) and not job.callbacks]
        if waiting:
            self.queue.remove(self.chance.choice(waiting))

    def step_time_passes(self):
        self.world.clock.advance(MINUTE)

    # Working

    def step_claim(self):
        self.chance.choice(self.agents).claimJob()

    step_claim_more = step_claim

    def step_begin(self):
        job = self.some_job(ASSIGNED)
        if job is not None:
            execution.begin(job)

    step_begin_more = step_begin

    def step_run(self):
        job = self.some_job(ASSIGNED)
        if job is not None:
            job()

    def step_settle(self):
        job = self.some_job(ACTIVE)
        if job is not None and not job.kind.endswith('.fail'):
            execution.settle(job, self.chance.choice((42, contracts.Failure(ValueError()))))

    def step_perform_what_follows(self):
        job = self.some_job(CALLBACKS)
        if job is not None:
            for node in callbacks.walk(job, execution._Here()):
                callbacks.try_finish(node)

    step_perform_more = step_perform_what_follows

    def step_wait_for_a_job(self):
        job = self.some_job(ACTIVE)
        if job is not None and not job.kind.endswith('.fail'):
            execution.await_job(job, self.put())

    def step_wait_for_a_deferred(self):
        job = self.some_job(ACTIVE)
        if job is not None:
            execution.await_deferred(job)

    def step_reschedule(self):
        job = self.some_job(ACTIVE)
        if job is not None:
            job.handleInterrupt()

    def step_work_by_hand(self):
        self.work(3)

    # Ending

    def step_die(self):
        agents = self.chance.choice(self.agents).parent
        agents.deactivate(died=True)
        self.client.commit()
        self.assert_sound()
        agents.activate()

    def step_stop(self):
        agents = self.chance.choice(self.agents).parent
        agents.deactivate()
        agents.activate()

    def step_prune(self):
        agents = self.agents[1].parent
        agents.deactivate()
        self.queue.dispatchers.unregister(SECOND_ONE)
        self.client.commit()
        self.assert_sound()
        self.agents[1] = self.world.add_dispatcher(SECOND_ONE, size=6)

    def step_replace_an_agent(self):
        agents = self.agents[0].parent
        if not any(job.quota_names for job in self.agents[0]):
            del agents['main']
            self.agents[0] = agents['main'] = Agent(size=6)

    # Parking

    def step_park(self):
        job = self.some_job(ASSIGNED, ACTIVE, CALLBACKS)
        if job is not None:
            parking.park(job, 'for the test')

    def step_decide(self):
        # one that lets a late job fail is never discarded: nobody else would do that
        parked = [entry.job for entry in self.queue.parked
                  if not entry.kind.endswith('.fail')]
        if parked:
            decide = self.chance.choice((self.queue.parked.rerun, self.queue.parked.discard))
            decide(self.chance.choice(parked))
