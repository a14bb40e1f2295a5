"""Jobs: their attributes, their call in the caller's transaction, and the thread's."""
import datetime
import logging
import types
import unittest

import zope.component
import zope.interface
from persistent.mapping import PersistentMapping
from twisted.internet.defer import Deferred
from twisted.internet.defer import fail
from twisted.internet.defer import succeed
from twisted.python.failure import Failure as AnyFailure
from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

import zc.twist

from . import contracts
from .. import interfaces
from ..interfaces import ACTIVE
from ..interfaces import BadStatusError
from ..interfaces import COMPLETED
from ..interfaces import IJob
from ..interfaces import NEW
from ..job import as_job
from ..job import Job
from ..job import parallel
from ..job import serial
from ..threadlocal import local
from .contracts import HOUR
from .contracts import MINUTE
from .contracts import START
from .contracts import UTC
from .contracts import add
from .contracts import echo
from .contracts import nothing
from .contracts import spoil

SEEN = []


def note(*args):
    """Remember the arguments and what the thread's job is."""
    SEEN.append((*args, local.getJob()))


def ask_around():
    """Return what a job may ask about itself."""
    return (local.getJob() is not None, local.getQueue() is not None,
            local.getAgentName(), local.getDispatcher(), local.getReactor())


def quit_now():
    """Try to end the thread."""
    raise SystemExit


def return_a_failure():
    """Return a failure, as code for Twisted does."""
    try:
        raise KeyError('returned')
    except KeyError:
        return AnyFailure()


def return_a_lock():
    """Return what cannot be stored."""
    import threading
    return threading.Lock()


def change_then_return_a_lock(mapping):
    """Change something, and return what cannot be stored."""
    mapping['changed'] = True
    return return_a_lock()


class Construction(unittest.TestCase):

    def test_it_provides_the_interface(self):
        verifyClass(IJob, Job)
        verifyObject(IJob, Job(nothing))
        for made in (serial(nothing), parallel(nothing)):
            verifyObject(IJob, made)

    def test_a_new_job(self):
        job = Job(nothing)
        self.assertIs(job.status, NEW)
        for name in ('parent', 'key', 'result', 'begin_after', 'begin_by', 'active_start',
                     'active_end', 'initial_callbacks_end', 'assignerUUID', 'queue',
                     'agent', 'failure_log_level', 'retry_policy_factory'):
            self.assertIsNone(getattr(job, name), name)
        self.assertEqual((job.quota_names, tuple(job.callbacks)), ((), ()))

    def test_it_keeps_arguments_as_a_partial_does(self):
        job = Job(echo, 1, 2, a=3)
        self.assertIs(job.callable, echo)
        self.assertEqual((tuple(job.args), dict(job.kwargs)), ((1, 2), {'a': 3}))

    def test_an_argument_may_have_any_name(self):
        job = Job(nothing, self=1, callable=2, args=3, kwargs=4)
        self.assertEqual(dict(job.kwargs), dict(self=1, callable=2, args=3, kwargs=4))

    def test_it_needs_something_to_call(self):
        for args in ((), (42,), (None, 1)):
            with self.assertRaisesRegex(TypeError, 'to call'):
                Job(*args)

    def test_a_job_can_be_called_by_a_job(self):
        self.assertEqual(Job(Job(add, 1), 2)(), 3)

    def test_bind_gives_the_job_to_itself(self):
        job = Job.bind(note, 1, key=2)
        self.assertIs(job.args[0], job)
        self.assertEqual((job.args[1], dict(job.kwargs)), (1, {'key': 2}))
        self.assertIs(type(Derived.bind(nothing)), Derived)

    def test_as_job_leaves_a_job_alone(self):
        job = Job(nothing)
        self.assertIs(as_job(job), job)
        self.assertEqual(as_job(nothing).callable, nothing)
        with self.assertRaisesRegex(TypeError, '42 is no job and cannot be called'):
            as_job(42)

    def test_as_job_adapts(self):
        zope.component.provideAdapter(Derived, (types.FunctionType,), IJob)
        self.addCleanup(zope.component.getGlobalSiteManager().unregisterAdapter,
                        Derived, (types.FunctionType,), IJob)
        self.assertIs(type(as_job(nothing)), Derived)


class Attributes(contracts.InWorld, unittest.TestCase):

    def test_its_key_is_the_database_and_the_object_id(self):
        job = self.put()
        self.assertIsNone(job.key)
        self.client.commit()
        self.assertEqual(job.key, ('unnamed', int.from_bytes(job._p_oid, 'big')))

    def test_what_it_calls_can_be_changed_until_it_begins(self):
        job = Job(nothing)
        for place in (lambda: None, lambda: self.put(job), lambda: self.claimed(job)):
            place()
            job.callable = echo
            self.assertIs(job.callable, echo)
        job()
        with self.assertRaisesRegex(BadStatusError, 'completed-status'):
            job.callable = nothing
        self.assertIs(job.callable, echo)

    def test_its_kind_follows_what_it_calls(self):
        job = Job(nothing)
        self.assertEqual(job.kind, 'zc.async.tests.contracts.nothing')
        job.callable = echo
        self.assertEqual(job.kind, 'zc.async.tests.contracts.echo')

    def test_quota_names_are_a_tuple(self):
        job = Job(nothing)
        job.quota_names = ['a', 'b', 'a']
        self.assertEqual(job.quota_names, ('a', 'b'))
        job.quota_names = ()
        self.assertEqual(job.quota_names, ())

    def test_a_string_is_no_sequence_of_quota_names(self):
        job = Job(nothing)
        with self.assertRaisesRegex(TypeError, r"\('quota',\)"):
            job.quota_names = 'quota'

    def test_quotas_are_checked_where_there_is_a_queue(self):
        job = Job(nothing)
        job.quota_names = ('unknown',)
        job.quota_names = ()
        self.claimed(self.put(job))
        with self.refused(ValueError, 'unknown quota name', attribute=True):
            job.quota_names = ('unknown',)
        self.assertEqual(job.quota_names, ())

    def test_times_are_told_in_utc(self):
        job = Job(nothing)
        job.begin_after = datetime.datetime(2030, 1, 1, 13)
        self.assertEqual(job.begin_after, START + HOUR)
        self.assertIs(job.begin_after.tzinfo, UTC)
        job.begin_after = None
        self.assertIsNone(job.begin_after)

    def test_begin_by_is_a_duration(self):
        job = Job(nothing)
        job.begin_by = MINUTE
        self.assertEqual(job.begin_by, MINUTE)
        job.begin_by = None
        self.assertIsNone(job.begin_by)

    def test_malformed_times_are_refused(self):
        job = Job(nothing)
        for name, value, error in (
                ('begin_after', 5, TypeError), ('begin_by', 5, TypeError),
                ('begin_by', -MINUTE, ValueError)):
            with self.assertRaisesRegex(error, name):
                setattr(job, name, value)

    def test_a_waiting_job_cannot_be_rescheduled(self):
        job = self.put()
        with self.refused(BadStatusError, 'pull it', attribute=True):
            job.begin_after = START + HOUR

    def test_everything_survives_storing(self):
        self.queue.quotas.create('q')
        job = Job(nothing, 1, key=2)
        job.quota_names, job.begin_by = ('q',), MINUTE
        job.annotations['note'] = 'text'
        self.put(job, failure_log_level=logging.INFO)
        self.client.commit()
        other = self.world.open().mine(job)
        self.assertEqual(
            (list(other.args), dict(other.kwargs), other.quota_names, other.begin_by,
             other.begin_after, dict(other.annotations), other.failure_log_level,
             other.kind),
            ([1], {'key': 2}, ('q',), MINUTE, START, {'note': 'text'}, logging.INFO,
             'zc.async.tests.contracts.nothing'))


class Calls(contracts.InWorld, unittest.TestCase):
    """A job that is called runs here and now, in the caller's transaction."""

    def setUp(self):
        super().setUp()
        del SEEN[:]
        self.client.root['m'] = self.mapping = PersistentMapping()
        self.client.commit()

    def test_it_returns_the_result_and_keeps_it(self):
        job = Job(add, 1)
        self.assertEqual(job(2), 3)
        self.assertEqual((job.result, job.status), (3, COMPLETED))

    def test_keyword_arguments_of_the_call_win(self):
        job = Job(echo, value=1)
        self.assertEqual(job(value=2), 2)

    def test_it_is_the_threads_job_meanwhile(self):
        outer = Job(note)
        outer()
        self.assertEqual(SEEN, [(outer,)])
        self.assertIsNone(local.getJob())

    def test_jobs_may_call_jobs(self):
        inner = Job(note)
        outer = Job(inner)
        outer()
        self.assertEqual(SEEN, [(inner,)])
        self.assertIsNone(local.getJob())

    def test_an_exception_becomes_a_failure(self):
        job = Job(spoil)
        with self.assertLogs('zc.async.events', logging.ERROR) as logged:
            result = job()
        self.assertIsInstance(result, zc.twist.Failure)
        self.assertIsInstance(result, AnyFailure)
        self.assertIs(result, job.result)
        self.assertEqual(result.check(KeyError, ValueError), ValueError)
        self.assertEqual(result.getErrorMessage(), 'spoiled')
        self.assertEqual(result.type.__name__, 'ValueError')
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(len(logged.records), 1)

    def test_the_level_of_a_failure_can_be_set(self):
        job = Job(spoil)
        job.failure_log_level = logging.DEBUG
        with self.assertLogs('zc.async.events', logging.DEBUG) as logged:
            job()
        self.assertEqual([record.levelno for record in logged.records], [logging.DEBUG])

    def test_what_a_failing_call_changed_is_taken_back(self):
        job = self.claimed(self.put(spoil, self.mapping))
        self.mapping['before'] = 1
        job()
        self.client.commit()
        self.assertEqual(dict(self.world.open().root['m']), {'before': 1})
        self.assertTrue(self.world.open().mine(job).result.check(ValueError))

    def test_a_failure_survives_storing(self):
        job = self.claimed(self.put(spoil))
        job()
        self.client.commit()
        failure = self.world.open().mine(job).result
        self.assertTrue(failure.check(ValueError))
        self.assertIn('spoiled', failure.getTraceback())

    def test_a_failure_that_is_returned_can_be_stored(self):
        job = self.claimed(self.put(return_a_failure))
        job()
        self.client.commit()
        found = self.world.open().mine(job).result
        self.assertIsInstance(found, zc.twist.Failure)
        self.assertTrue(found.check(KeyError))

    def test_a_result_that_cannot_be_stored_is_a_failure(self):
        job = self.claimed(self.put(change_then_return_a_lock, self.mapping))
        self.assertTrue(job().check(interfaces.NotStorableError))
        self.client.commit()
        self.assertEqual(dict(self.mapping), {})

    def test_a_callbacks_result_that_cannot_be_stored_is_a_failure(self):
        job = Job(nothing)
        callback = job.addCallback(Job(give_a_lock))
        job()
        self.assertTrue(callback.result.check(interfaces.NotStorableError))

    def test_it_commits_nothing(self):
        job = self.claimed(self.put())
        last = self.world.storage.lastTransaction()
        job()
        self.assertEqual(self.world.storage.lastTransaction(), last)
        self.client.begin()
        self.assertIs(job.status, interfaces.ASSIGNED)

    def test_its_times_are_noted(self):
        job = self.claimed(self.put())
        self.world.clock.advance()
        job()
        now = START + contracts.SECOND
        self.assertEqual((job.active_start, job.active_end, job.initial_callbacks_end),
                         (now, now, now))

    def test_only_a_new_or_assigned_job_can_be_called(self):
        done = Job(nothing)
        done()
        for job in (self.put(), done, self.begun(self.put())):
            with self.assertRaises(BadStatusError):
                job()

    def test_what_ends_the_thread_goes_through(self):
        job = Job(quit_now)
        with self.assertRaises(SystemExit):
            job()
        self.assertIsNone(local.getJob())

    def test_a_deferred_with_a_result_is_that_result(self):
        self.assertEqual(Job(deferred, 42)(), 42)

    def test_a_deferred_with_a_failure_is_that_failure(self):
        result = Job(deferred)()
        self.assertIsInstance(result, zc.twist.Failure)
        self.assertTrue(result.check(ValueError))

    def test_a_deferred_without_a_result_cannot_be_waited_for(self):
        self.assertTrue(Job(Deferred)().check(interfaces.AbortedError))

    def test_a_job_that_is_returned_is_waited_for(self):
        inner = Job(add, 40, 2)
        outer = Job(echo, inner)
        self.assertIsNone(outer())
        self.assertIs(outer.status, ACTIVE)
        inner()
        self.assertEqual((outer.status, outer.result), (COMPLETED, 42))


def give_a_lock(result):
    """Return what cannot be stored."""
    return return_a_lock()


def deferred(result=None):
    """Return a Deferred that has fired."""
    return fail(ValueError('deferred')) if result is None else succeed(result)


class Local(contracts.InWorld, unittest.TestCase):
    """``zc.async.local``: what a running job may ask."""

    def test_outside_a_job_there_is_no_job(self):
        self.assertIsNone(local.getJob())
        self.assertIsNone(local.job)
        self.assertIsNone(local.getQueue())
        self.assertIsNone(local.getAgentName())
        self.assertIsNone(local.getDispatcher())
        self.assertIsNone(local.getReactor())

    def test_outside_a_job_there_are_no_live_annotations(self):
        with self.assertRaises(ValueError) as caught:
            local.setLiveAnnotation('a', 1)
        self.assertEqual(str(caught.exception), 'not initialized')
        with self.assertRaisesRegex(ValueError, 'not initialized'):
            local.getLiveAnnotation('a')

    def test_in_an_agents_job_there_are_a_job_a_queue_and_an_agent(self):
        job = self.claimed(self.put(ask_around))
        self.assertEqual(job(), (True, True, 'main', None, None))

    def test_in_a_job_that_is_called_directly_there_is_only_the_job(self):
        self.assertEqual(Job(ask_around)(), (True, False, None, None, None))

    def test_it_is_in_the_package_itself(self):
        import zc.async_
        self.assertIs(zc.async_.local, local)


class IDerived(IJob):
    """An application's job."""


@zope.interface.implementer(IDerived)
class Derived(Job):
    """A job as applications of the old system derived it.

    ``callable`` is overridden with a property that uses the original's, is
    assigned by ``__init__`` before the subclass has its own attributes, and
    needs what ``setUp`` prepares.
    """

    context = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.site = 'site'

    @property
    def callable(self):
        SEEN.append(('callable', self.context))
        return super().callable

    @callable.setter
    def callable(self, value):
        SEEN.append(('set', hasattr(self, 'site')))
        Job.callable.fset(self, value)

    def setUp(self):
        SEEN.append('setUp')
        self.context = 'prepared'
        return 'info'

    def tearDown(self, setup_info):
        SEEN.append(('tearDown', setup_info, self.status))
        self.context = None


class Hostile(Job):
    """A job whose hooks fail."""

    def setUp(self):
        raise RuntimeError('setUp')


class HostileAfter(Job):
    """A job whose second hook fails."""

    def tearDown(self, setup_info):
        raise RuntimeError('tearDown')


class Subclasses(contracts.InWorld, unittest.TestCase):
    """What applications derive from `Job` goes on working."""

    def setUp(self):
        super().setUp()
        del SEEN[:]

    def test_it_keeps_its_interface(self):
        verifyClass(IDerived, Derived)
        verifyObject(IDerived, Derived(nothing))
        self.assertTrue(IJob.providedBy(Derived(nothing)))

    def test_the_callable_is_a_property_of_the_class(self):
        self.assertIsInstance(Job.callable, property)
        self.assertIsNotNone(Job.callable.fset)

    def test_init_assigns_the_callable_before_the_subclass_has_its_attributes(self):
        Derived(nothing)
        self.assertEqual(SEEN, [('set', False)])

    def test_the_callable_is_read_after_set_up_and_before_tear_down(self):
        job = self.claimed(self.put(Derived(echo, 42)))
        del SEEN[:]
        self.assertEqual(job(), 42)
        self.assertEqual(SEEN[0], 'setUp')
        read = [one for one in SEEN if one[0] == 'callable']
        self.assertEqual(set(read), {('callable', 'prepared')})
        self.assertEqual(SEEN[-1][:2], ('tearDown', 'info'))

    def test_tear_down_is_called_after_a_failure_too(self):
        job = Derived(spoil)
        job()
        self.assertEqual(SEEN[-1][:2], ('tearDown', 'info'))

    def test_its_attributes_are_stored(self):
        job = self.put(Derived(nothing))
        self.client.commit()
        other = self.world.open().mine(job)
        self.assertIs(type(other), Derived)
        self.assertEqual(other.site, 'site')

    def test_an_error_of_set_up_is_not_followed_by_tear_down(self):
        job = Hostile(nothing)
        with self.assertLogs('zc.async.events', logging.ERROR):
            self.assertIn('setUp', job().getErrorMessage())
        self.assertIs(job.status, COMPLETED)
        self.assertIsNone(local.getJob())

    def test_an_error_of_tear_down_does_not_spoil_the_result(self):
        job = HostileAfter(echo, 42)
        with self.assertLogs('zc.async.events', logging.ERROR):
            self.assertEqual(job(), 42)
        self.assertIs(job.status, COMPLETED)
        self.assertIsNone(local.getJob())
