"""Queues, and what they know of dispatchers; see `contracts.QueueContract`."""
import unittest
import uuid

import transaction
import zope.component
import zope.event
from persistent.mapping import PersistentMapping
from ZODB.interfaces import IConnection
from ZODB.utils import p64
from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

import zc.twist

from . import contracts
from .. import interfaces
from .. import queue as queues
from .. import wake
from ..agent import Agent
from ..interfaces import IQueue
from ..interfaces import IUUID
from ..interfaces import KEY
from ..job import Job
from ..queue import Queue
from ..queue import Queues
from ..queue import getDefaultQueue
from .contracts import FIRST
from .contracts import HOUR
from .contracts import MINUTE
from .contracts import SECOND
from .contracts import SECOND_ONE
from .contracts import START
from .contracts import nothing


class TheQueues(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.queues = self.client.root[KEY]

    def test_they_provide_the_interface(self):
        verifyClass(interfaces.IQueues, Queues)
        verifyObject(interfaces.IQueues, self.queues)

    def test_they_are_under_the_documented_key(self):
        self.assertEqual(KEY, 'zc.async')

    def test_a_queue_knows_its_name_and_parent(self):
        self.queues['second'] = queue = Queue()
        self.assertEqual((queue.name, queue.parent), ('second', self.queues))
        self.assertEqual(sorted(self.queues), ['', 'second'])

    def test_a_queue_can_be_taken_out(self):
        for take_out in (lambda: self.queues.pop('second'),
                         lambda: self.queues.__delitem__('second')):
            self.queues['second'] = queue = Queue()
            take_out()
            self.assertNotIn('second', self.queues)
            self.assertEqual((queue.name, queue.parent), (None, None))
        self.assertIsNone(self.queues.pop('second', None))
        with self.assertRaises(KeyError):
            self.queues.pop('second')

    def test_queues_have_nothing_to_do_with_each_other(self):
        self.queues['second'] = second = Queue()
        job = second.put(nothing)
        self.assertEqual((len(self.queue), len(second)), (0, 1))
        with self.assertRaises(LookupError):
            self.queue.remove(job)
        self.assertIsNone(self.queue.claim())

    def test_they_are_true_even_when_they_are_empty(self):
        self.assertTrue(Queues())


class TheQueue(contracts.InWorld, unittest.TestCase):

    def test_its_repr_names_the_class(self):
        self.assertRegex(repr(self.queue), r'^<zc\.async\.queue\.Queue object at ')

    def test_a_job_can_be_loaded_by_its_object_id(self):
        job = self.put()
        self.client.commit()
        database_name, oid = job.key
        self.assertIs(self.queue._p_jar.get(p64(oid)), job)
        self.assertEqual(database_name, 'unnamed')

    def test_init_empties_a_stored_queue_where_it_is(self):
        self.put()
        self.queue.quotas.create('q')
        self.client.commit()
        Queue.__init__(self.queue)
        self.client.commit()
        other = self.world.open().queue
        self.assertEqual((len(other), list(other), list(other.quotas)), (0, [], []))
        self.assertEqual(other.name, '')
        self.assertIs(other.parent[''], other)

    def test_applications_may_add_attributes(self):
        self.queue.colour = 'red'
        job = self.put()
        job.jobid = 7
        self.client.commit()
        other = self.world.open()
        self.assertEqual((other.queue.colour, other.queue[0].jobid), ('red', 7))

    def test_the_process_that_put_a_job_is_noted(self):
        self.assertIsNone(self.put().assignerUUID)
        one = uuid.UUID(int=7)
        zope.component.provideUtility(one, IUUID)
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterUtility, one, IUUID)
        self.assertEqual(self.put().assignerUUID, one)

    def test_it_tells_whether_a_job_waits(self):
        job = self.put()
        self.assertIn(job, self.queue)
        self.assertIs(self.queue.claim(), job)
        self.assertNotIn(job, self.queue)
        self.assertNotIn(Job(nothing), self.queue)
        self.assertNotIn('something else', self.queue)

    def test_it_tells_when_the_next_scheduled_job_falls_due(self):
        self.put()
        self.assertIsNone(self.queue.next_due())
        self.put(begin_after=START + HOUR)
        self.put(begin_after=START + MINUTE)
        self.assertEqual(self.queue.next_due(), START + MINUTE)

    def test_a_job_with_a_result_cannot_be_taken_out(self):
        job = self.put()
        job.addCallback(nothing)
        job.fail()
        for take_out in (self.queue.pull, lambda: self.queue.remove(job)):
            with self.refused(interfaces.BadStatusError, 'callback-status'):
                take_out()

    def test_an_expired_job_is_in_no_place_but_the_stand_ins_hands(self):
        job = self.put(begin_by=MINUTE)
        self.world.clock.advance(HOUR)
        self.queue.claim()
        self.assertNotIn(job, self.queue)
        with self.assertRaises(LookupError):
            self.queue.remove(job)

    def test_the_callbacks_of_an_expired_job_get_the_failure(self):
        job = self.put(begin_by=MINUTE)
        callback = job.addCallback(contracts.echo)
        self.world.clock.advance(HOUR)
        self.claimed_next()()
        self.assertIs(job.status, interfaces.CALLBACKS)
        self.assertIs(self.queue.claim(), job)
        self.assertIs(callback.status, interfaces.NEW)

    def claimed_next(self):
        return self.world.add_dispatcher().claimJob()

    def test_a_stand_in_needs_no_quota(self):
        self.queue.quotas.create('q')
        job = self.put(begin_by=MINUTE, quotas=('q',))
        self.world.clock.advance(HOUR)
        self.claimed_next()()
        self.assertIs(job.status, interfaces.COMPLETED)
        self.assertEqual(len(self.queue.quotas['q']), 0)

    def test_put_in_a_running_job(self):
        job = self.claimed(self.put(put_another))
        another = job()
        self.assertIsNone(another)
        self.assertIs(job.status, interfaces.ACTIVE)
        self.client.agent().claimJob()()
        self.assertEqual((job.status, job.result), (interfaces.COMPLETED, 3))


def put_another():
    """Put a job in the queue of the running job, and return it."""
    from ..threadlocal import local
    return local.getQueue().put(Job(contracts.add, 1, 2))


class Announcements(contracts.InWorld, unittest.TestCase):
    """Who listens hears of work when it is committed, and once."""

    def setUp(self):
        super().setUp()
        self.heard = []
        listener = lambda: self.heard.append(1)  # noqa: E731
        wake.listen(listener)
        self.addCleanup(wake.unlisten, listener)

    def test_a_put_is_heard_after_the_commit(self):
        self.put()
        self.put()
        self.assertEqual(self.heard, [])
        self.client.commit()
        self.assertEqual(self.heard, [1])

    def test_a_put_that_is_given_up_is_not_heard(self):
        self.put()
        self.client.begin()
        self.assertEqual(self.heard, [])

    def test_a_queue_that_is_in_no_database_announces_nothing(self):
        Queue().put(nothing)
        transaction.abort()
        self.assertEqual(self.heard, [])


class DefaultQueue(contracts.InWorld, unittest.TestCase):
    """`getDefaultQueue` finds the queue without a name."""

    def setUp(self):
        super().setUp()
        manager = zope.component.getGlobalSiteManager()
        zope.component.provideAdapter(zc.twist.connection)
        self.addCleanup(manager.unregisterAdapter, zc.twist.connection)
        zope.component.provideAdapter(getDefaultQueue)
        self.addCleanup(manager.unregisterAdapter, getDefaultQueue)
        self.client.root['m'] = self.thing = PersistentMapping()
        self.client.commit()

    def test_as_a_function(self):
        self.assertIs(getDefaultQueue(self.thing), self.queue)
        self.assertIs(getDefaultQueue(self.client.connection), self.queue)

    def test_as_an_adapter(self):
        self.assertIs(IQueue(self.thing), self.queue)
        self.assertIs(IQueue(IConnection(self.thing).root()), self.queue)

    def test_a_database_without_queues_is_refused(self):
        del self.client.root[KEY]
        for find in (lambda: getDefaultQueue(self.thing),
                     lambda: queues.get_queues(self.client.connection)):
            with self.assertRaises(interfaces.NoQueuesError) as caught:
                find()
            self.assertIn("'unnamed' has no queues", str(caught.exception))
            self.assertNotIn('\n', str(caught.exception))
        self.assertTrue(issubclass(interfaces.NoQueuesError, LookupError))


class InDispatchers(contracts.InWorld):

    def setUp(self):
        super().setUp()
        self.dispatchers = self.queue.dispatchers
        self.events = []
        zope.event.subscribers.append(self.events.append)
        self.addCleanup(zope.event.subscribers.remove, self.events.append)

    def told(self):
        """Return the classes of the events since the last look."""
        found = [type(event) for event in self.events]
        del self.events[:]
        return found


class TheDispatchers(InDispatchers, unittest.TestCase):

    def test_they_provide_the_interface(self):
        verifyClass(interfaces.IDispatchers, queues.Dispatchers)
        verifyObject(interfaces.IDispatchers, self.dispatchers)

    def test_registering_makes_the_agents_of_a_dispatcher(self):
        self.dispatchers.register(FIRST)
        found = self.dispatchers[FIRST]
        verifyObject(interfaces.IDispatcherAgents, found)
        self.assertEqual(found.UUID, FIRST)
        self.assertIs(found.parent, self.queue)
        self.assertIsNone(found.activated)
        self.assertFalse(found.dead)
        self.assertIs(self.events[0].object, found)
        self.assertEqual(self.told(), [interfaces.DispatcherRegistered])

    def test_they_are_a_mapping(self):
        self.dispatchers.register(FIRST)
        self.dispatchers.register(SECOND_ONE)
        found = [self.dispatchers[name] for name in (FIRST, SECOND_ONE)]
        self.assertIn(FIRST, self.dispatchers)
        self.assertNotIn('third', self.dispatchers)
        self.assertEqual(len(self.dispatchers), 2)
        self.assertEqual(list(self.dispatchers), [FIRST, SECOND_ONE])
        self.assertEqual(list(self.dispatchers.keys()), [FIRST, SECOND_ONE])
        self.assertEqual(list(self.dispatchers.values()), found)
        self.assertEqual(list(self.dispatchers.items()),
                         [(FIRST, found[0]), (SECOND_ONE, found[1])])
        self.assertIsNone(self.dispatchers.get('third'))
        self.assertEqual(self.dispatchers.get('third', 3), 3)
        self.assertTrue(queues.Dispatchers())

    def test_a_dispatcher_is_registered_once(self):
        self.dispatchers.register(FIRST)
        with self.refused(ValueError, FIRST):
            self.dispatchers.register(FIRST)

    def test_a_dispatcher_can_be_unregistered(self):
        self.dispatchers.register(FIRST)
        found = self.dispatchers[FIRST]
        self.told()
        self.assertIs(self.dispatchers.unregister(FIRST), found)
        self.assertIs(self.events[0].parent, self.queue)
        self.assertEqual(self.told(), [interfaces.DispatcherUnregistered])
        self.assertEqual((found.parent, len(self.dispatchers)), (None, 0))

    def test_one_that_is_activated_cannot_be_unregistered(self):
        self.world.add_dispatcher()
        with self.refused(ValueError, 'deactivate it first'):
            self.dispatchers.unregister(FIRST)
        self.assertIn(FIRST, self.dispatchers)

    def test_old_clients_forget_one_by_hand(self):
        self.dispatchers.register(FIRST)
        found = self.dispatchers._data.pop(FIRST)
        self.dispatchers._len.change(-1)
        found.parent = found.name = None
        self.client.commit()
        self.assertEqual((list(self.dispatchers), len(self.dispatchers)), ([], 0))


class OneDispatcher(InDispatchers, unittest.TestCase):
    """The agents of a dispatcher, and its liveness."""

    def setUp(self):
        super().setUp()
        self.dispatchers.register(FIRST)
        self.one = self.dispatchers[FIRST]
        self.told()

    def test_it_is_a_mapping_of_agents(self):
        self.one['main'] = agent = Agent()
        self.assertEqual((agent.name, agent.parent), ('main', self.one))
        self.assertIn('main', self.one)
        self.assertEqual(list(self.one.values()), [agent])

    def test_an_agent_can_be_removed(self):
        for remove in (lambda: self.one.pop('main'),
                       lambda: self.one.__delitem__('main'), self.one.clear,
                       self.one.popitem):
            self.one['main'] = agent = Agent()
            remove()
            self.assertNotIn('main', self.one)
            self.assertEqual((agent.name, agent.parent), (None, None))

    def test_agents_can_be_added_in_all_ways_of_a_mapping(self):
        self.one.update(a=Agent())
        self.one.setdefault('b', Agent())
        self.assertEqual([(agent.name, agent.parent) for agent in self.one.values()],
                         [('a', self.one), ('b', self.one)])

    def test_activating_it(self):
        self.one.activate()
        self.assertEqual(self.one.activated, START)
        self.assertEqual(self.one.last_ping.value, START)
        self.assertIs(self.events[0].object, self.one)
        self.assertEqual(self.told(), [interfaces.DispatcherActivated])

    def test_it_is_activated_once(self):
        self.one.activate()
        with self.refused(ValueError, FIRST):
            self.one.activate()

    def test_deactivating_it(self):
        self.one.activate()
        self.told()
        self.one.deactivate()
        self.assertIsNone(self.one.activated)
        self.assertEqual(self.told(), [interfaces.DispatcherDeactivated])
        with self.refused(ValueError, 'not activated'):
            self.one.deactivate()

    def test_deactivating_it_hands_its_jobs_back(self):
        self.one.activate()
        self.one['main'] = Agent()
        job = self.put()
        self.one['main'].claimJob()
        self.one.deactivate()
        self.assertEqual(list(self.queue), [job])
        self.assertEqual(list(self.one['main']), [])

    def test_reactivating_it_hands_nothing_back(self):
        self.one.activate()
        self.one.deactivate()
        self.one['main'] = Agent()
        self.put()
        self.one['main'].claimJob()
        self.told()
        self.one.reactivate()
        self.assertEqual(self.one.activated, START)
        self.assertEqual(len(self.one['main']), 1)
        self.assertEqual(self.told(), [interfaces.DispatcherReactivated])

    def test_silence_means_death(self):
        self.one.activate()
        self.world.clock.advance(self.one.ping_death_interval)
        self.assertFalse(self.one.dead)
        self.world.clock.advance(SECOND)
        self.assertTrue(self.one.dead)

    def test_one_that_is_not_activated_is_not_dead(self):
        self.world.clock.advance(HOUR)
        self.assertFalse(self.one.dead)

    def test_the_intervals_can_be_set(self):
        self.one.ping_interval, self.one.ping_death_interval = SECOND, MINUTE
        self.client.commit()
        other = self.world.open().queue.dispatchers[FIRST]
        self.assertEqual((other.ping_interval, other.ping_death_interval),
                         (SECOND, MINUTE))
        self.one.activate()
        self.world.clock.advance(2 * MINUTE)
        self.assertTrue(self.one.dead)

    def test_activating_and_pinging_are_records_of_their_own(self):
        self.client.commit()
        self.one.activate()
        self.one.last_ping.beat()
        self.assertFalse(self.one._p_changed)


class Pings(InDispatchers, unittest.TestCase):
    """Each dispatcher looks after the next one that is activated."""

    def setUp(self):
        super().setUp()
        self.agents = [self.world.add_dispatcher(name) for name in 'abc']
        self.job = self.put()
        self.agents[1].claimJob()
        self.client.commit()

    def test_a_ping_is_written_when_the_interval_is_over(self):
        found = self.dispatchers['a']
        for seconds, count in ((4, 1), (1, 2), (1, 2)):
            self.world.clock.advance(seconds * SECOND)
            self.dispatchers.ping('a')
            self.assertEqual(found.last_ping.count, count)

    def test_a_ping_too_soon_writes_nothing(self):
        last = self.world.storage.lastTransaction()
        self.dispatchers.ping('a')
        self.client.commit()
        self.assertEqual(self.world.storage.lastTransaction(), last)

    def test_a_clock_that_was_set_back_does_not_stop_the_pings(self):
        self.world.clock.advance(HOUR)
        self.dispatchers.ping('a')
        self.world.clock.advance(-HOUR)
        count = self.dispatchers['a'].last_ping.count
        self.dispatchers.ping('a')
        self.assertEqual(self.dispatchers['a'].last_ping.count, count + 1)
        self.assertEqual(self.dispatchers['a'].last_ping.value, START)

    def test_a_dead_neighbour_is_deactivated_and_its_jobs_taken_over(self):
        self.world.clock.advance(2 * MINUTE)
        self.dispatchers.ping('a')
        self.assertIsNone(self.dispatchers['b'].activated)
        self.assertEqual(list(self.queue), [self.job])
        self.assertIsNotNone(self.dispatchers['c'].activated)

    def test_one_that_is_deactivated_is_passed_over(self):
        self.dispatchers['b'].deactivate()
        self.world.clock.advance(2 * MINUTE)
        self.dispatchers.ping('a')
        self.assertIsNone(self.dispatchers['c'].activated)

    def test_the_last_looks_after_the_first(self):
        self.world.clock.advance(2 * MINUTE)
        self.dispatchers.ping('c')
        self.assertIsNone(self.dispatchers['a'].activated)
        self.assertIsNotNone(self.dispatchers['b'].activated)

    def test_a_living_neighbour_is_left_alone(self):
        self.world.clock.advance(MINUTE)
        self.dispatchers['b'].last_ping.beat()
        self.world.clock.advance(SECOND)
        self.dispatchers.ping('a')
        self.assertIsNotNone(self.dispatchers['b'].activated)
        self.assertEqual(list(self.agents[1]), [self.job])

    def test_the_only_one_looks_after_nobody(self):
        for name in 'bc':
            self.dispatchers[name].deactivate()
        self.world.clock.advance(HOUR)
        self.dispatchers.ping('a')
        self.assertIsNotNone(self.dispatchers['a'].activated)
