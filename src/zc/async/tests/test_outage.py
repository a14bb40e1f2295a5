"""Outages: what is one, whose it is, and that work waits for its end."""
import ast
import errno
import itertools
import os
import sqlite3
import types
import unittest
from unittest import mock

import transaction
from ZEO.asyncio.marshal import reduce_exception
from ZEO.Exceptions import ClientDisconnected
from ZEO.Exceptions import ServerException
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadConflictError
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

from .. import outage
from .. import testing
from ..job import Job
from ..job import RetryCommonFourTimes
from ..runtime import absence
from ..runtime import attempt
from ..runtime.pauses import AWAY
from ..runtime.pauses import Pauses
from ..runtime.troubles import Troubles
from .outages import ADMIN_SHUTDOWN
from .outages import DATABASE
from .outages import driver_error
from .outages import Flaky
from .outages import INTEGRITY
from .outages import JOB
from .outages import OPERATIONAL
from .outages import raised
from .outages import STORAGE
from .outages import UNIQUE
from .test_architecture import MODULES
from .test_dispatcher import VirtualCase


class Classes(unittest.TestCase):
    """Which errors say that the storage is away."""

    def assertKind(self, error, kind):
        kinds = {'outage': outage.is_outage(error), 'conflict': outage.is_conflict(error)}
        self.assertEqual([name for name, is_it in kinds.items() if is_it],
                         [] if kind is None else [kind], repr(error))

    def test_zeo(self):
        self.assertKind(ClientDisconnected(), 'outage')

    def test_drivers_when_a_storage_has_called_them(self):
        for cls in (OPERATIONAL, ADMIN_SHUTDOWN, DATABASE):
            self.assertKind(raised(cls(), *STORAGE), 'outage')
            # one that is written in Python has frames too
            self.assertKind(raised(cls(), *STORAGE, 'psycopg2.extras', 'socket'), 'outage')

    def test_drivers_when_a_job_has_called_them(self):
        for cls in (OPERATIONAL, ADMIN_SHUTDOWN, DATABASE, INTEGRITY, UNIQUE):
            self.assertKind(raised(cls(), *JOB), None)
            self.assertKind(raised(cls(), *JOB, 'psycopg2.extras'), None)
            # within ``__setstate__``, say
            self.assertKind(raised(cls(), 'ZODB.Connection', *JOB), None)

    def test_what_was_asked_wrongly_is_no_outage_even_of_a_storage(self):
        for cls in (INTEGRITY, UNIQUE):
            self.assertKind(raised(cls(), *STORAGE), None)

    def test_a_job_s_own_file_of_sqlite(self):
        try:
            sqlite3.connect(':memory:').execute('SELECT * FROM missing')
        except sqlite3.OperationalError as error:
            self.assertKind(error, None)

    def test_a_disk_that_is_full_or_fails(self):
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            error = OSError(number, os.strerror(number))
            self.assertKind(raised(error, *JOB), None)
            error = OSError(number, os.strerror(number))
            self.assertKind(raised(error, *STORAGE), 'outage')
            self.assertTrue(outage.is_disk_error(error))
        self.assertKind(raised(OSError(errno.ENOENT, ''), *STORAGE), None)

    def test_the_disk_of_a_server_that_is_full(self):
        error = driver_error('DiskFull', OPERATIONAL, pgcode='53100')
        self.assertTrue(outage.is_disk_error(raised(error, *STORAGE)))
        self.assertKind(error, 'outage')

    def test_what_a_zeo_server_has_met(self):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = raised(ServerException(*reduce_exception(full)), *STORAGE)
        self.assertKind(error, 'outage')
        self.assertTrue(outage.is_disk_error(error))
        closed = ValueError('write to closed file')
        self.assertKind(
            raised(ServerException(*reduce_exception(closed)), *STORAGE), 'outage')
        for other in (OSError(errno.ENOENT, ''), ValueError('x'), KeyError('closed')):
            self.assertKind(
                raised(ServerException(*reduce_exception(other)), *STORAGE), None)

    def test_what_may_not_be_written_is_none(self):
        for error in (
                ReadOnlyError(), driver_error('ReadOnlySqlTransaction', DATABASE,
                                              pgcode='25006'),
                driver_error('OperationalError', DATABASE, 'sqlite3',
                             sqlite_errorname='SQLITE_READONLY')):
            self.assertKind(raised(error, *STORAGE), None)
            self.assertTrue(outage.is_read_only(error))
            self.assertTrue(outage.is_standstill(error))

    def test_an_id_that_was_given_out_twice_is_a_conflict(self):
        error = ValueError('A different object already has the same oid')
        self.assertKind(raised(error, *JOB), None)
        self.assertKind(raised(error, 'ZODB.Connection'), 'conflict')
        self.assertTrue(outage.is_stale_id(error))
        error = ConflictError(oid=b'1', serials=(b'tid', z64))
        self.assertKind(error, 'conflict')
        self.assertTrue(outage.is_stale_id(error))
        self.assertFalse(outage.is_stale_id(ConflictError(serials=(b'tid', b'tid0'))))

    def test_conflicts_that_a_storage_has_found(self):
        for cls in (ConflictError, ReadConflictError):
            self.assertTrue(outage.is_storage_conflict(raised(cls(), 'ZODB.Connection')))
            self.assertFalse(outage.is_storage_conflict(raised(cls(), *JOB)))
            self.assertFalse(outage.is_storage_conflict(cls()))

    def test_a_storage_that_nobody_has_heard_of_is_learned(self):
        with mock.patch.object(outage, '_storages', set(outage._storages)):
            error = raised(OSError(errno.ENOSPC, 'full'), 'ZODB.Connection', 'fancy.disk')
            self.assertKind(error, None)
            storage = type('Fancy', (), {'__module__': 'fancy.disk'})()
            outage.learn(types.SimpleNamespace(
                databases={'': types.SimpleNamespace(storage=storage)}))
            self.assertKind(error, 'outage')

    def test_what_its_driver_says_of_a_lost_connection_is_learned(self):
        with mock.patch.object(outage, '_disconnected', set()):
            error = raised(AttributeError('sendall'), *STORAGE)
            self.assertKind(error, None)
            driver = types.SimpleNamespace(disconnected_exceptions=(AttributeError,))
            storage = types.SimpleNamespace(_adapter=types.SimpleNamespace(driver=driver))
            outage.learn(types.SimpleNamespace(
                databases={'': types.SimpleNamespace(storage=storage)}))
            self.assertKind(error, 'outage')
            self.assertKind(raised(AttributeError('sendall'), *JOB), None)


# Whose outage

runs = []


def own_database_is_away():
    runs.append(1)
    raise OPERATIONAL('the shop is closed')


def own_server_is_away():
    runs.append(1)
    raise ClientDisconnected('other storage')


class Jobs(VirtualCase):
    """What becomes of a job that meets one."""

    def storage(self):
        self.flaky = Flaky()
        return self.flaky

    def setUp(self):
        super().setUp()
        runs.clear()
        self.paused = []
        patched = mock.patch.object(self.dispatcher, 'pause', self.pause)
        patched.start()
        self.addCleanup(patched.stop)
        document = self.document = Job(len)  # any persistent object
        self.connection.root()['document'] = document
        transaction.commit()

    def pause(self, seconds):
        if seconds:
            self.paused.append(seconds)
        return self.dispatcher._stopping.is_set()

    def plan(self, *errors):
        """Let the job's loads of the document raise *errors*."""
        self.flaky.oid, self.flaky.plan = self.document._p_oid, errors

    def test_a_database_of_its_own_is_its_own_affair(self):
        job = self.put(own_database_is_away)
        self.finish(job)
        self.assertTrue(job.result.check(OPERATIONAL))
        self.assertEqual(len(runs), 1)

    def test_so_is_a_server_of_its_own_which_its_policy_waits_for_visibly(self):
        job = self.put(own_server_is_away)
        with self.assertLogs('zc.async.events', 'ERROR') as logged:
            self.poll()
        self.assertIn('is tried again', logged.output[0])
        self.assertEqual(len(runs), 1)
        self.assertEqual(list(self.agents['main']), [])  # it keeps no worker
        self.assertIn(job, list(self.queue))
        self.poll(), self.poll()
        self.assertEqual(len(runs), 2)

    def test_one_of_our_own_storage_is_waited_out(self):
        job = self.put(read, self.document)
        self.plan(*[OPERATIONAL('gone') for _number in range(absence.TIMES)])
        self.finish(job)
        self.assertEqual(job.result, 'Job')
        self.assertEqual(len(runs), absence.TIMES + 1)
        self.assertTrue(self.paused)
        self.assertLessEqual(max(self.paused), AWAY)

    def test_but_what_never_comes_while_it_answers_is_the_job_s(self):
        job = self.put(read, self.document)
        self.plan(*[OPERATIONAL('page 17 is broken') for _number in range(100)])
        self.finish(job)
        self.assertTrue(job.result.check(OPERATIONAL))
        self.assertEqual(len(runs), absence.TIMES + 1)

    def test_a_storage_that_does_not_answer_is_waited_for_however_long(self):
        job = self.put(read, self.document)
        self.plan(*[OPERATIONAL('gone') for _number in range(30)])
        # when an attempt has failed; and while it waits
        answers = itertools.cycle((False, False, False, True))
        with mock.patch.object(outage, 'answers', lambda db: next(answers)):
            self.finish(job)
        self.assertEqual(job.result, 'Job')
        self.assertLessEqual(max(self.paused), AWAY)

    def test_the_policy_is_not_judged_by_an_outage(self):
        """An absence in the moment when the policy is read is waited out too."""
        job = self.put(fail_once, retry_policy_factory=Patient)
        job.getRetryPolicy().mark = self.document
        transaction.commit()
        self.plan(OPERATIONAL('gone'), OPERATIONAL('gone'))
        self.finish(job)
        self.assertEqual(job.result, 'at last')
        self.assertEqual(self.flaky.plan, ())


class Patient(RetryCommonFourTimes):
    """Runs the job again, after a look at a document."""

    mark = None

    def jobError(self, failure, data_cache):
        """See `IRetryPolicy`."""
        self.mark._p_activate()
        return True


def fail_once():
    """Fail, the first time."""
    runs.append(1)
    if len(runs) == 1:
        raise ValueError('as told')
    return 'at last'


def read(document):
    """Read *document*, which the storage may not have."""
    runs.append(1)
    document._p_activate()
    return type(document).__name__


class Waits(unittest.TestCase):
    """How long is waited, and what is said meanwhile."""

    def test_work_goes_on_within_ten_seconds_after_the_return(self):
        paused = []
        pauses = Pauses(paused.append, first=0.1, limit=AWAY)
        for _number in range(100):
            pauses.wait()
        self.assertLess(max(paused) + AWAY, 10.1)
        self.assertGreater(len(set(paused)), 90)  # nobody comes in step

    def troubles(self):
        storage = types.SimpleNamespace(getName=lambda: 'x')
        return Troubles(types.SimpleNamespace(
            databases={'': types.SimpleNamespace(storage=storage)}))

    def test_it_is_said_once_a_minute(self):
        troubles = self.troubles()
        with testing.virtual_time() as now, self.assertLogs('zc.async.events') as logged:
            for _second in range(150):
                troubles.met(ClientDisconnected('nobody there'))
                now.advance(1)
            self.assertAlmostEqual(troubles.outage, 150)
            troubles.over()
            self.assertIsNone(troubles.outage)
        self.assertEqual(
            [line.split(':', 2)[::2] for line in logged.output[:3]],
            [['WARNING', "database away: ClientDisconnected('nobody there')"]] * 3)
        self.assertEqual(logged.output[3:], [
            'INFO:zc.async.events:the database can be used again after 150.0 s'])

    def test_a_full_disk_is_critical(self):
        troubles = self.troubles()
        with self.assertLogs('zc.async.events') as logged:
            for _number in range(3):
                troubles.met(raised(OSError(errno.ENOSPC, 'No space'), *STORAGE))
        self.assertEqual(len(logged.output), 1)
        self.assertRegex(logged.output[0], r'^CRITICAL.*cannot be written.*No space')

    def test_a_read_only_database_is_an_error_that_names_the_remedy(self):
        troubles = self.troubles()
        with self.assertLogs('zc.async.events') as logged:
            for _number in range(3):
                self.assertTrue(troubles.met(ReadOnlyError()))
        self.assertEqual(len(logged.output), 1)
        self.assertRegex(logged.output[0], '^ERROR.*read-only.*open it for writing')
        self.assertIsNone(troubles.outage)

    def test_other_errors_are_others_affair(self):
        with self.assertNoLogs('zc.async.events'):
            self.assertFalse(self.troubles().met(KeyError()))


class Guards(unittest.TestCase):
    """What holds for every transaction of the product, read from its source.

    While a storage is away, aborting may raise, and a transaction manager that is
    not explicit begins a transaction, and so asks the storage, at each end of one.
    """

    #: Whose manager is the thread's own, as jobs and tests expect it.
    THREAD_S_OWN = {'runtime.surroundings', 'testkit'}

    def calls(self, wanted):
        """Yield the module, the function and the call, for calls of *wanted*."""
        for name, tree in MODULES.items():
            if name in self.THREAD_S_OWN or name.startswith('demo'):
                continue
            for function in ast.walk(tree):
                if not isinstance(function, ast.FunctionDef):
                    continue
                for node in ast.walk(function):
                    if (isinstance(node, ast.Call)
                            and getattr(node.func, 'attr', None) == wanted):
                        yield name, function.name, node

    def test_transactions_are_aborted_in_one_place_which_never_raises(self):
        found = {(name, function) for name, function, call in self.calls('abort')
                 if not call.args}  # a connection's own has one
        self.assertEqual(found, {('runtime.attempt', 'abort')})

    def test_and_there_it_does_not(self):
        manager = mock.Mock(abort=mock.Mock(side_effect=OPERATIONAL('gone')))
        with self.assertLogs('zc.async.trace', 'WARNING'):
            attempt.abort(manager)
        self.assertTrue(manager.abort.called)

    def test_transaction_managers_are_explicit(self):
        found = list(self.calls('TransactionManager'))
        self.assertGreater(len(found), 3)
        for name, function, call in found:
            said = {keyword.arg: getattr(keyword.value, 'value', None)
                    for keyword in call.keywords}
            self.assertEqual(said, {'explicit': True}, f'{name}.{function}')
