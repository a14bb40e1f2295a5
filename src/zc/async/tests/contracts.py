"""What every queue, agent, quota and retry policy has to keep, as tests.

Ours keep it, and so should yours.  Derive from one of the suites and from
`unittest.TestCase`, and say how one of yours is made::

    from zc.async_.tests import contracts

    class FairQueueContract(contracts.QueueContract, unittest.TestCase):

        def make_queue(self):
            return FairQueue()

The suites act in a `World`: a database in memory, real connections, and a
clock that stands still unless it is moved.  No test sleeps or starts a thread.
"""
import contextlib
import datetime
import logging

import transaction
import ZODB
import zope.interface
from persistent.mapping import PersistentMapping
from ZODB.DemoStorage import DemoStorage
from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from .. import clock
from .. import interfaces
from ..agent import Agent
from ..failures import Failure
from ..job import Job
from ..model import execution
from ..model import retry
from ..queue import Queue
from ..queue import Queues

UTC = datetime.timezone.utc
SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2030, 1, 1, 12, tzinfo=UTC)
#: The UUIDs, as a queue takes them, of the dispatchers in a world.
FIRST, SECOND_ONE = 'first dispatcher', 'second dispatcher'


# What the jobs call

def nothing(*args, **kwargs):
    """Do nothing with whatever is given."""


def echo(value=None):
    """Return what is given."""
    return value


def add(*numbers):
    """Return the sum."""
    return sum(numbers)


def spoil(*args):
    """Fail, after changing the persistent mappings that are given."""
    for one in args:
        if isinstance(one, PersistentMapping):
            one['spoiled'] = True
    raise ValueError('spoiled')


# The world

@zope.interface.implementer(interfaces.IClock)
class StoppedClock:
    """A clock that moves only when it is told to."""

    def __init__(self, moment=START):
        self.moment = moment

    def now(self):
        return self.moment

    def monotonic(self):
        return (self.moment - START).total_seconds()

    def advance(self, delta=SECOND):
        """Move by *delta*; back where it is negative."""
        self.moment += delta


class Client:
    """One connection, with a transaction manager of its own."""

    def __init__(self, db):
        self.transactions = transaction.TransactionManager(explicit=True)
        self.connection = db.open(transaction_manager=self.transactions)
        self.transactions.begin()

    @property
    def root(self):
        """The root of the database."""
        return self.connection.root()

    @property
    def queue(self):
        """The queue ``''``."""
        return self.root[interfaces.KEY]['']

    def agent(self, UUID=FIRST):
        """Return the agent ``'main'`` of the dispatcher *UUID*."""
        return self.queue.dispatchers[UUID]['main']

    def mine(self, obj):
        """Return *obj*, stored already, as this connection sees it."""
        return self.connection.get(obj._p_oid)

    def begin(self):
        """See what was committed meanwhile; give up what was not."""
        self.transactions.abort()
        self.transactions.begin()

    def commit(self):
        """Commit, and begin again; also after a commit that fails."""
        try:
            self.transactions.commit()
        except BaseException:
            self.begin()
            raise
        self.transactions.begin()

    def put(self, call=nothing, *args, quotas=(), **times):
        """Put a job that calls *call* and return it; commit nothing."""
        job = call if isinstance(call, Job) else Job(call, *args)
        job.quota_names = quotas or job.quota_names
        return self.queue.put(job, **times)


class World:
    """A database in memory with one queue; its storage resolves conflicts."""

    def __init__(self, queue=None):
        self.clock = StoppedClock()
        self._before = clock.install(self.clock)
        self.storage = DemoStorage()
        self.db = ZODB.DB(self.storage, pool_size=1000)
        self._clients = []
        self.client = self.open()
        self.client.root[interfaces.KEY] = queues = Queues()
        queues[''] = Queue() if queue is None else queue
        self.client.commit()

    def open(self):
        """Return a new `Client`."""
        client = Client(self.db)
        self._clients.append(client)
        return client

    def add_dispatcher(self, UUID=FIRST, size=3, agent=None):
        """Register and activate a dispatcher with an agent, and commit."""
        dispatchers = self.client.queue.dispatchers
        dispatchers.register(UUID)
        dispatchers[UUID].activate()
        dispatchers[UUID]['main'] = Agent(size=size) if agent is None else agent
        self.client.commit()
        return dispatchers[UUID]['main']

    def close(self):
        """Close everything and give the clock back."""
        for client in self._clients:
            client.transactions.abort()
            client.connection.close()
        self.db.close()
        clock.install(self._before)


class InWorld:
    """A test that acts in a `World`: ``self.world``, ``client``, ``queue``."""

    def make_queue(self):
        """Return the queue of the world: one that is in no database yet."""
        return Queue()

    def setUp(self):
        super().setUp()
        # failures of jobs are logged, and are wanted here
        log = logging.getLogger('zc.async')
        handler = logging.NullHandler()
        log.addHandler(handler)
        self.addCleanup(log.removeHandler, handler)
        propagate, log.propagate = log.propagate, False
        self.addCleanup(setattr, log, 'propagate', propagate)
        self.world = World(self.make_queue())
        self.addCleanup(self.world.close)
        self.client = self.world.client
        self.queue = self.client.queue

    def put(self, *args, **options):
        """See `Client.put`."""
        return self.client.put(*args, **options)

    def claimed(self, job, UUID=FIRST):
        """Have an agent claim the waiting *job*, commit and return it."""
        if UUID not in self.queue.dispatchers:
            self.world.add_dispatcher(UUID, size=100)
        self.client.agent(UUID).hold(self.queue.claim(lambda one: one is job))
        self.client.commit()
        return job

    def begun(self, job):
        """Have an agent claim and begin the waiting *job*, commit and return it."""
        execution.begin(self.claimed(job))
        self.client.commit()
        return job

    @contextlib.contextmanager
    def refused(self, error, text='', attribute=False):
        """Expect *error*, saying *text* in one sentence, and nothing stored.

        A persistent object to which an *attribute* is set is written before it
        can refuse: as it was.
        """
        self.client.commit()
        waiting, last = list(self.queue), self.world.storage.lastTransaction()
        with self.assertRaises(error) as caught:
            yield
        said = str(caught.exception)
        self.assertIn(text, said)
        self.assertNotIn('\n', said)
        self.client.commit()
        if not attribute:
            self.assertEqual(self.world.storage.lastTransaction(), last)
        self.assertEqual(list(self.queue), waiting)
        self.assertEqual(len(self.queue), len(waiting))


# Queues

class QueueContract(InWorld):
    """What every `IQueue` keeps."""

    def names(self):
        return [job.args[0] for job in self.queue]

    def put_named(self, *names, **options):
        return [self.put(nothing, name, **options) for name in names]

    def test_it_provides_the_interface(self):
        verifyObject(interfaces.IQueue, self.queue)
        verifyClass(interfaces.IQueue, type(self.queue))

    def test_its_parent_and_name_say_where_it_is(self):
        self.assertIs(self.queue.parent, self.client.root[interfaces.KEY])
        self.assertEqual(self.queue.name, '')
        self.assertIs(self.queue.quotas.parent, self.queue)
        self.assertIs(self.queue.dispatchers.parent, self.queue)

    # Putting

    def test_put_returns_the_job_that_was_put(self):
        job = Job(nothing)
        self.assertIs(self.queue.put(job), job)
        self.assertIs(job.queue, self.queue)
        self.assertIs(job.parent, self.queue)

    def test_put_makes_a_job_pending(self):
        self.assertIs(self.put().status, interfaces.PENDING)

    def test_put_makes_a_job_of_a_callable(self):
        job = self.queue.put(nothing)
        self.assertTrue(interfaces.IJob.providedBy(job))
        self.assertIs(job.callable, nothing)

    def test_a_job_begins_after_the_time_it_was_put(self):
        job = self.put()
        self.assertEqual(job.begin_after, START)
        self.assertIsNone(job.begin_by)

    def test_none_as_time_is_as_none_given(self):
        job = self.put(begin_after=None, begin_by=None)
        self.assertEqual(job.begin_after, START)
        self.assertIsNone(job.begin_by)

    def test_times_that_the_job_has_are_kept(self):
        job = Job(nothing)
        job.begin_after, job.begin_by = START + HOUR, MINUTE
        self.put(job)
        self.assertEqual((job.begin_after, job.begin_by), (START + HOUR, MINUTE))

    def test_times_given_to_put_replace_those_of_the_job(self):
        job = Job(nothing)
        job.begin_after, job.begin_by = START + HOUR, MINUTE
        self.put(job, begin_after=START + MINUTE, begin_by=SECOND)
        self.assertEqual((job.begin_after, job.begin_by), (START + MINUTE, SECOND))

    def test_a_datetime_without_a_time_zone_is_in_utc(self):
        job = self.put(begin_after=datetime.datetime(2030, 1, 1, 13))
        self.assertEqual(job.begin_after, START + HOUR)
        self.assertIs(job.begin_after.tzinfo, UTC)

    def test_a_datetime_of_another_time_zone_is_the_same_moment(self):
        zone = datetime.timezone(-2 * HOUR)
        job = self.put(begin_after=(START + HOUR).astimezone(zone))
        self.assertEqual(job.begin_after, START + HOUR)

    def test_level_and_policy_given_to_put_are_the_jobs(self):
        job = self.put(failure_log_level=logging.DEBUG,
                       retry_policy_factory=retry.NeverRetry)
        self.assertEqual(job.failure_log_level, logging.DEBUG)
        self.assertIs(job.retry_policy_factory, retry.NeverRetry)

    # Order

    def test_the_first_in_is_the_first_out(self):
        self.put_named(*'abcdefghijklmnopqrstuvwxyz')
        self.client.commit()
        self.assertEqual(''.join(self.names()), 'abcdefghijklmnopqrstuvwxyz')
        self.assertEqual(self.queue.claim().args[0], 'a')

    def test_jobs_of_later_transactions_come_later(self):
        for name in 'abcdefgh':
            self.put_named(name)
            self.client.commit()
        self.assertEqual(''.join(self.names()), 'abcdefgh')

    def test_jobs_stand_in_the_order_of_their_due_times(self):
        self.put_named('late', begin_after=START + HOUR)
        self.put_named('now')
        self.put_named('soon', begin_after=START + MINUTE)
        self.assertEqual(self.names(), ['now', 'soon', 'late'])

    def test_scheduled_jobs_go_before_others_of_the_same_due_time(self):
        self.put_named('scheduled', begin_after=START + MINUTE)
        self.world.clock.advance(MINUTE)
        self.put_named('put then')
        self.assertEqual(self.names(), ['scheduled', 'put then'])

    def test_a_begin_after_that_has_passed_is_no_precedence(self):
        self.put_named('a')
        self.put_named('b', begin_after=START - HOUR)
        self.put_named('c')
        self.assertEqual(self.names(), ['a', 'b', 'c'])

    def test_len_is_the_number_of_waiting_jobs(self):
        self.assertEqual(len(self.queue), 0)
        self.put_named('a', 'b')
        self.put_named('c', begin_after=START + HOUR)
        self.assertEqual(len(self.queue), 3)
        self.queue.claim()
        self.assertEqual(len(self.queue), 2)

    def test_an_index_gives_the_job_there(self):
        a, b, c = self.put_named('a', 'b', 'c')
        self.assertEqual([self.queue[0], self.queue[2], self.queue[-1], self.queue[-3]],
                         [a, c, c, a])
        for index in (3, -4):
            with self.assertRaises(IndexError):
                self.queue[index]

    def test_index_gives_the_position_of_a_job(self):
        jobs = self.put_named('a', 'b', 'c')
        self.assertEqual([self.queue.index(job) for job in jobs], [0, 1, 2])
        with self.assertRaises(ValueError):
            self.queue.index(Job(nothing))

    # Taking out

    def test_pull_takes_the_first_job_out(self):
        a, b = self.put_named('a', 'b')
        self.assertIs(self.queue.pull(), a)
        self.assertEqual(list(self.queue), [b])

    def test_pull_takes_the_job_at_an_index_out(self):
        a, b, c, d = self.put_named('a', 'b', 'c', 'd')
        self.assertIs(self.queue.pull(1), b)
        self.assertIs(self.queue.pull(-1), d)
        self.assertEqual(list(self.queue), [a, c])

    def test_pull_raises_where_there_is_no_job(self):
        for index in (0, 1, -1):
            with self.assertRaises(IndexError):
                self.queue.pull(index)

    def test_a_pulled_job_is_new_and_can_be_put_again(self):
        self.put()
        job = self.queue.pull()
        self.assertIs(job.status, interfaces.NEW)
        self.assertIsNone(job.parent)
        self.assertIsNone(job.queue)
        self.assertIsNone(job.assignerUUID)
        self.world.clock.advance()
        self.assertEqual(self.put(job).begin_after, START + SECOND)

    def test_remove_takes_a_job_out(self):
        a, b, c = self.put_named('a', 'b', 'c')
        self.queue.remove(b)
        self.assertEqual(list(self.queue), [a, c])
        self.assertIs(b.status, interfaces.NEW)

    def test_remove_raises_for_a_job_that_is_not_here(self):
        job = self.put()
        self.queue.remove(job)
        for one in (job, Job(nothing)):
            with self.assertRaises(LookupError):
                self.queue.remove(one)

    # Claiming

    def test_claim_takes_the_first_job_out(self):
        a, b = self.put_named('a', 'b')
        self.assertIs(self.queue.claim(), a)
        self.assertEqual(list(self.queue), [b])

    def test_claim_gives_none_or_the_default_where_there_is_no_job(self):
        self.assertIsNone(self.queue.claim())
        self.assertEqual(self.queue.claim(default='none'), 'none')

    def test_claim_takes_the_first_job_that_the_filter_accepts(self):
        a, b = self.put_named('a', 'b')
        self.assertIs(self.queue.claim(lambda job: job.args[0] == 'b'), b)
        self.assertIsNone(self.queue.claim(lambda job: job.args[0] == 'b'))
        self.assertEqual(list(self.queue), [a])

    def test_a_scheduled_job_is_not_claimed_before_it_is_due(self):
        job = self.put(begin_after=START + MINUTE)
        self.world.clock.advance(MINUTE - clock._TICK)
        self.assertIsNone(self.queue.claim())
        self.world.clock.advance(clock._TICK)
        self.assertIs(self.queue.claim(), job)

    def test_a_job_put_back_is_the_first_again(self):
        a, b = self.put_named('a', 'b')
        self.queue.putBack(self.queue.claim())
        self.assertEqual(list(self.queue), [a, b])
        self.assertIs(a.status, interfaces.PENDING)
        self.assertIs(self.queue.claim(), a)

    def test_a_job_past_its_begin_by_is_replaced_by_a_call_of_its_fail(self):
        job = self.put(begin_by=MINUTE)
        self.world.clock.advance(MINUTE + SECOND)
        claimed = self.queue.claim()
        self.assertIsNot(claimed, job)
        self.assertEqual(claimed.callable, job.fail)
        claimed()
        self.assertIs(job.status, interfaces.COMPLETED)
        self.assertTrue(job.result.check(interfaces.TimeoutError))
        self.assertEqual(len(self.queue), 0)

    def test_a_job_is_claimed_until_its_begin_by_is_over(self):
        job = self.put(begin_by=MINUTE)
        self.world.clock.advance(MINUTE)
        self.assertIs(self.queue.claim(), job)

    def test_begin_by_is_reckoned_from_a_begin_after_that_has_passed(self):
        job = self.put(begin_after=START - HOUR, begin_by=MINUTE)
        self.assertIsNot(self.queue.claim(), job)

    # Quotas

    def test_a_job_of_a_filled_quota_waits_and_others_pass_it(self):
        self.queue.quotas.create('q')
        first, second = self.put_named('a', 'b', quotas=('q',))
        third, = self.put_named('c')
        holder = self.world.add_dispatcher()
        self.assertIs(holder.claimJob(), first)
        self.assertIs(holder.claimJob(), third)
        self.assertIsNone(holder.claimJob())
        self.assertEqual(list(self.queue), [second])

    def test_a_job_of_several_quotas_needs_room_in_all(self):
        self.queue.quotas.create('q')
        self.queue.quotas.create('r')
        self.put_named('a', quotas=('r',))
        both, = self.put_named('b', quotas=('q', 'r'))
        holder = self.world.add_dispatcher()
        self.assertEqual(holder.claimJob().args[0], 'a')
        self.assertIsNone(holder.claimJob())
        self.assertEqual(list(self.queue), [both])

    def test_a_quota_name_given_twice_counts_once(self):
        self.queue.quotas.create('q')
        job = self.put(quotas=('q', 'q'))
        self.assertIs(self.queue.claim(), job)
        self.assertEqual(job.quota_names, ('q',))

    def test_a_quota_that_was_removed_holds_no_job(self):
        self.queue.quotas.create('q', size=0)
        job = self.put(quotas=('q',))
        self.assertIsNone(self.queue.claim())
        self.queue.quotas.remove('q')
        self.assertIs(self.queue.claim(), job)

    def test_a_waiting_job_can_change_its_quotas(self):
        self.queue.quotas.create('q', size=0)
        self.queue.quotas.create('r')
        job = self.put(quotas=('q',))
        job.quota_names = ['r']
        self.assertEqual(job.quota_names, ('r',))
        self.assertEqual(list(self.queue), [job])
        self.assertIs(self.queue.claim(), job)
        self.assertEqual(list(self.queue.quotas['r']), [job])

    # Bad input

    def test_a_job_that_is_queued_already_is_refused(self):
        job = self.put()
        with self.refused(interfaces.BadStatusError, 'pending-status'):
            self.queue.put(job)

    def test_a_completed_job_is_refused(self):
        job = Job(nothing)
        job()
        with self.refused(interfaces.BadStatusError, 'completed-status'):
            self.queue.put(job)

    def test_a_callback_is_refused(self):
        job = Job(nothing).addCallback(nothing)
        with self.refused(interfaces.BadStatusError, 'callback'):
            self.queue.put(job)

    def test_what_cannot_be_called_is_refused(self):
        with self.refused(TypeError, '42'):
            self.queue.put(42)

    def test_a_lambda_is_refused(self):
        with self.refused(interfaces.NotStorableError, 'lambda'):
            self.queue.put(lambda: None)

    def test_a_local_function_is_refused(self):
        def local():
            """Cannot be imported."""

        with self.refused(interfaces.NotStorableError, 'local'):
            self.queue.put(local)

    def test_an_argument_that_cannot_be_pickled_is_refused_and_named(self):
        with self.refused(interfaces.NotStorableError, 'argument 1 of'):
            self.put(nothing, 0, lambda: None)
        with self.refused(interfaces.NotStorableError, "argument 'key' of"):
            self.queue.put(Job(nothing, key=(one for one in ())))

    def test_an_argument_nested_too_deeply_is_refused(self):
        deep = []
        for _level in range(100_000):
            deep = [deep]
        with self.refused(interfaces.NotStorableError, 'argument 0 of'):
            self.put(nothing, deep)
        while deep:  # or Python's own clean-up would be as deep
            deep = deep.pop()

    def test_an_unknown_quota_is_refused(self):
        with self.refused(ValueError, 'unknown quota name'):
            self.put(quotas=('nobody knows',))
        with self.assertRaises(ValueError) as caught:
            self.put(quotas=('nobody knows',))
        self.assertEqual(
            caught.exception.args, ('unknown quota name', 'nobody knows'))

    def test_an_unknown_quota_is_refused_for_a_waiting_job(self):
        job = self.put()
        with self.refused(ValueError, 'unknown quota name', attribute=True):
            job.quota_names = ('nobody knows',)
        self.assertEqual(job.quota_names, ())

    def test_a_negative_begin_by_is_refused(self):
        with self.refused(ValueError, 'begin_by'):
            self.put(begin_by=-SECOND)

    def test_times_of_another_type_are_refused(self):
        with self.refused(TypeError, 'begin_after'):
            self.put(begin_after=5)
        with self.refused(TypeError, 'begin_by'):
            self.put(begin_by=5)

    def test_a_refused_job_is_as_it_was(self):
        job = Job(nothing)
        with self.refused(ValueError):
            self.put(job, begin_after=START + HOUR, begin_by=-SECOND,
                     failure_log_level=logging.DEBUG)
        self.assertIs(job.status, interfaces.NEW)
        self.assertIsNone(job.parent)
        self.assertIsNone(job.begin_after)
        self.assertIsNone(job.failure_log_level)


# Agents

class AgentContract(InWorld):
    """What every `IAgent` keeps."""

    def make_agent(self):
        """Return an agent of size 3 that takes any job."""
        return Agent()

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher(agent=self.make_agent())

    def test_it_provides_the_interface(self):
        verifyObject(interfaces.IAgent, self.agent)
        verifyObject(interfaces.IAgent, self.make_agent())
        verifyClass(interfaces.IAgent, type(self.agent))

    def test_its_parent_queue_and_name_say_where_it_is(self):
        self.assertIs(self.agent.parent, self.queue.dispatchers[FIRST])
        self.assertIs(self.agent.queue, self.queue)
        self.assertEqual(self.agent.name, 'main')

    def test_it_belongs_nowhere_at_first(self):
        agent = self.make_agent()
        self.assertEqual((agent.parent, agent.queue, agent.name), (None, None, None))

    def test_claiming_a_job_holds_it(self):
        job = self.put()
        self.assertIs(self.agent.claimJob(), job)
        self.assertIs(job.status, interfaces.ASSIGNED)
        self.assertIs(job.parent, self.agent)
        self.assertIs(job.agent, self.agent)
        self.assertIs(job.queue, self.queue)
        self.assertEqual(list(self.agent), [job])
        self.assertEqual(len(self.agent), 1)
        self.assertEqual(len(self.queue), 0)

    def test_it_claims_nothing_where_there_is_nothing(self):
        self.assertIsNone(self.agent.claimJob())

    def test_it_claims_no_more_than_its_size(self):
        for _number in range(5):
            self.put()
        claimed = [self.agent.claimJob() for _number in range(5)]
        self.assertEqual([job is not None for job in claimed],
                         [True, True, True, False, False])
        self.assertEqual((len(self.agent), len(self.queue)), (3, 2))

    def test_its_size_can_be_changed(self):
        for _number in range(5):
            self.put()
        self.agent.size = 1
        self.assertIsNotNone(self.agent.claimJob())
        self.assertIsNone(self.agent.claimJob())
        self.agent.size = 2
        self.assertIsNotNone(self.agent.claimJob())

    def test_shrinking_spares_the_jobs_it_holds(self):
        for _number in range(2):
            self.put()
            self.agent.claimJob()
        self.agent.size = 0
        self.assertEqual(len(self.agent), 2)
        self.assertIsNone(self.agent.claimJob())

    def test_it_holds_the_oldest_first(self):
        jobs = [self.put() for _number in range(3)]
        for _number in range(3):
            self.agent.claimJob()
        self.assertEqual(list(self.agent), jobs)

    def test_a_job_that_is_called_is_completed_and_no_longer_held(self):
        job = self.put(add, 1, 2)
        self.agent.claimJob()
        self.assertEqual(job(), 3)
        self.assertIs(job.status, interfaces.COMPLETED)
        self.assertEqual(len(self.agent), 0)
        self.assertEqual(list(self.agent.completed), [job])
        self.assertIs(job.agent, self.agent)
        self.assertIs(job.queue, self.queue)

    def test_completed_jobs_are_given_the_newest_first(self):
        jobs = []
        for _number in range(3):
            jobs.append(self.put())
            self.agent.claimJob()()
            self.world.clock.advance()
        self.assertEqual(list(self.agent.completed), jobs[::-1])

    def test_it_stays_as_it_is_in_the_database(self):
        job = self.put()
        self.agent.claimJob()
        self.client.commit()
        other = self.world.open()
        self.assertEqual(list(other.agent()), [other.mine(job)])
        self.assertIs(other.mine(job).status, interfaces.ASSIGNED)

    def test_it_is_true_even_when_it_is_empty(self):
        self.assertTrue(self.make_agent())


# Quotas

class QuotaContract(InWorld):
    """What every `IQuota` keeps."""

    def make_quota(self, name, size):
        """Return a quota of the world's queue."""
        self.queue.quotas.create(name, size)
        return self.queue.quotas[name]

    def setUp(self):
        super().setUp()
        self.quota = self.make_quota('q', 2)

    def claim_some(self, count):
        agent = self.client.agent() if FIRST in self.queue.dispatchers \
            else self.world.add_dispatcher(size=100)
        jobs = [self.put(quotas=('q',)) for _number in range(count)]
        while agent.claimJob() is not None:
            pass
        return jobs

    def test_it_provides_the_interface(self):
        verifyObject(interfaces.IQuota, self.quota)
        verifyClass(interfaces.IQuota, type(self.quota))

    def test_it_knows_its_name_size_and_queue(self):
        self.assertEqual((self.quota.name, self.quota.size), ('q', 2))
        self.assertIs(self.quota.parent, self.queue)

    def test_it_is_filled_when_it_counts_as_many_jobs_as_its_size(self):
        self.assertFalse(self.quota.filled)
        self.claim_some(1)
        self.assertFalse(self.quota.filled)
        self.claim_some(1)
        self.assertTrue(self.quota.filled)

    def test_it_counts_claimed_jobs_only(self):
        first, second, third = self.claim_some(3)
        self.assertEqual(list(self.quota), [first, second])
        self.assertEqual(len(self.quota), 2)
        self.assertIn(first, self.quota)
        self.assertNotIn(third, self.quota)
        self.assertEqual(list(self.queue), [third])

    def test_a_filled_one_takes_no_more(self):
        self.claim_some(2)
        with self.refused(interfaces.FullError, "'q'"):
            self.quota.add(Job(nothing))

    def test_a_completed_job_gives_its_place_back(self):
        first, second, third = self.claim_some(3)
        first()
        self.assertEqual(list(self.quota), [second])
        self.assertEqual(self.client.agent().claimJob(), third)

    def test_discarding_a_job_that_it_does_not_count_does_nothing(self):
        jobs = self.claim_some(1)
        self.client.commit()
        self.quota.discard(Job(nothing))
        self.assertFalse(self.quota._p_changed)
        self.assertEqual(list(self.quota), jobs)

    def test_clean_stops_counting_jobs_that_nobody_holds(self):
        self.quota.add(Job(nothing))
        self.quota.add(self.put())
        self.assertTrue(self.quota.filled)
        self.quota.clean()
        self.assertEqual(len(self.quota), 0)

    def test_clean_goes_on_counting_jobs_that_are_held(self):
        jobs = self.claim_some(2)
        self.quota.clean()
        self.assertEqual(list(self.quota), jobs)

    def test_shrinking_spares_running_jobs(self):
        jobs = self.claim_some(2)
        self.quota.size = 1
        self.assertEqual(list(self.quota), jobs)
        self.assertTrue(self.quota.filled)

    def test_enlarging_lets_more_jobs_be_claimed(self):
        self.claim_some(3)
        self.quota.size = 3
        self.assertFalse(self.quota.filled)
        self.assertIsNotNone(self.client.agent().claimJob())

    def test_a_size_that_is_no_number_of_jobs_is_refused(self):
        for size in (-1, 1.5, '1', None, True):
            with self.refused(ValueError, 'size', attribute=True):
                self.quota.size = size
        self.assertEqual(self.quota.size, 2)

    def test_it_is_true_even_when_it_counts_nothing(self):
        self.assertTrue(self.quota)


# Retry policies

class RetryPolicyContract(InWorld):
    """What every `IRetryPolicy` keeps."""

    def make_policy(self, job):
        """Return a policy for *job*."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.job = self.begun(self.put(nothing))
        self.job.retry_policy_factory = None
        self.policy = self.job._retry_policy = self.make_policy(self.job)
        self.client.commit()

    def failure(self):
        return Failure(ValueError('for the test'))

    def test_it_provides_the_interface(self):
        verifyObject(interfaces.IRetryPolicy, self.policy)
        verifyClass(interfaces.IRetryPolicy, type(self.policy))

    def test_its_parent_is_the_job(self):
        self.assertIs(self.policy.parent, self.job)

    def test_its_answers_are_of_the_documented_forms(self):
        cache = {}
        for answer in (self.policy.jobError(self.failure(), cache),
                       self.policy.commitError(self.failure(), cache),
                       self.policy.interrupted()):
            self.assertIsInstance(
                retry.decide(answer), (retry.RunAgain, retry.GiveUp))

    def test_asking_about_errors_stores_nothing(self):
        last = self.world.storage.lastTransaction()
        self.policy.jobError(self.failure(), {})
        self.policy.commitError(self.failure(), {})
        self.client.commit()
        self.assertEqual(self.world.storage.lastTransaction(), last)

    def test_what_it_gathers_can_be_stored(self):
        cache = {}
        self.policy.jobError(self.failure(), cache)
        self.policy.commitError(self.failure(), cache)
        self.policy.interrupted()
        self.policy.updateData(cache)
        self.client.commit()
        other = self.world.open().mine(self.job)
        for key in cache:
            self.assertIn(key, other.getRetryPolicy().data)

    def test_it_is_the_jobs_policy_from_then_on(self):
        other = self.world.open().mine(self.job)
        self.assertIs(type(other.getRetryPolicy()), type(self.policy))
        self.assertIs(other.getRetryPolicy().parent, other)
