"""Configuration in Python."""
import operator
import os
import time
import unittest
import uuid

import persistent
import transaction
import zc.twist
import ZODB
import zope.component
from persistent.interfaces import IPersistent
from transaction.interfaces import ITransactionManager
from ZODB.interfaces import IConnection
from ZODB.MappingStorage import MappingStorage
from zope.testing import cleanup

from .. import configure
from .. import dispatcher as dispatchers
from .. import instanceuuid
from .. import subscribers
from .. import testing
from ..interfaces import IDatabaseOpenedEvent
from ..interfaces import IJob
from ..interfaces import IQueue
from ..interfaces import IUUID
from ..interfaces import KEY
from ..job import Job
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import multiply


class Thing(persistent.Persistent):

    def method(self):
        return 'method'


def choose(agent):
    return agent.queue.claim()


class Case(PlainCase):
    """Nothing is registered."""

    def setUp(self):
        super().setUp()
        cleanup.cleanUp()
        self.db = ZODB.DB(MappingStorage())
        self.addCleanup(self.db.close)
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.thing = self.connection.root()['thing'] = Thing()
        transaction.commit()


class Minimal(Case):

    def setUp(self):
        super().setUp()
        configure.minimal()

    def test_functions_and_methods_are_jobs(self):
        for call in (multiply, self.thing.method, time.time, operator.mul,
                     'text'.__len__):
            with self.subTest(call):
                job = IJob(call)
                self.assertIs(type(job), Job)
                self.assertEqual(job.callable, call)

    def test_a_method_wrapper_has_its_documented_type(self):
        self.assertIs(type('text'.__len__), zc.twist.METHOD_WRAPPER_TYPE)

    def test_from_objects_and_connections_to_transaction_managers(self):
        for one in self.thing, self.connection:
            self.assertIs(ITransactionManager(one),
                          self.connection.transaction_manager)

    def test_not_from_objects_to_connections(self):
        self.assertIsNone(IConnection(self.thing, None))

    def test_the_identity(self):
        self.assertEqual(zope.component.getUtility(IUUID), instanceuuid.getUUID())

    def test_twice_does_no_harm(self):
        configure.minimal()
        configure.base()
        self.assertEqual(IJob(multiply).callable, multiply)


class Base(Case):

    def test_also_from_objects_to_connections(self):
        configure.base()
        self.assertIs(IConnection(self.thing), self.connection)
        self.assertEqual(IJob(multiply).callable, multiply)
        self.assertIsNone(IQueue(self.thing, None))

    def test_an_adapter_that_is_there_already_is_not_needed_twice(self):
        configure.base()
        configure.base()
        found = [one for one in zope.component.globalSiteManager.registeredAdapters()
                 if one.provided is IConnection]
        self.assertEqual([one.required for one in found], [(IPersistent,)])


class Start(Case):

    def start(self, *args, **options):
        self.addCleanup(self.end)
        found = configure.start(*args or (self.db,), **options)
        transaction.begin()
        return found

    def end(self):
        found = dispatchers.get()
        if found is not None:
            subscribers.restore_signal_handlers(found)
            testing.tear_down_dispatcher(found)

    def work(self):
        job = IQueue(self.connection).put(Job(multiply, 6, 7))
        transaction.commit()
        return testing.wait_for_result(job)

    def test_jobs_are_done(self):
        found = self.start(poll_interval=0.05)
        self.assertIs(found, dispatchers.get())
        self.assertEqual(found.poll_interval, 0.05)
        self.assertIsNotNone(found.thread)
        self.assertEqual(self.work(), 42)

    def test_objects_and_connections_lead_to_the_queue(self):
        self.start()
        queue = self.connection.root()[KEY]['']
        self.assertIs(IQueue(self.thing), queue)
        self.assertIs(IQueue(self.connection), queue)

    def agent(self, found):
        testing.wait_for(lambda: found.queues.get('', {}).get('main'))
        return IQueue(self.connection).dispatchers[found.UUID]['main']

    def test_the_agent(self):
        agent = self.agent(self.start(poll_interval=0.05))
        self.assertEqual((agent.size, agent.chooser), (3, None))

    def test_another_agent(self):
        agent = self.agent(self.start(
            poll_interval=0.05, agent_chooser=choose, agent_size=5))
        self.assertEqual((agent.size, agent.chooser), (5, choose))
        self.assertEqual(self.work(), 42)

    def test_an_agent_that_cannot_be(self):
        for options in ({'agent_size': -1}, {'agent_chooser': 'none'}):
            with self.subTest(options):
                with self.assertRaises((TypeError, ValueError)):
                    self.start(**options)
        self.assertIsNone(dispatchers.get())
        self.assertNotIn(KEY, self.connection.root())

    def test_queues_in_another_database(self):
        other = ZODB.DB(MappingStorage(), databases=self.db.databases,
                        database_name='other')
        self.addCleanup(other.close)
        self.connection.close()
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.start(poll_interval=0.05, db_name='other')
        queues = self.connection.root()[KEY]
        self.assertEqual(queues._p_jar.db().database_name, 'other')
        self.assertEqual(self.work(), 42)

    def test_a_second_dispatcher(self):
        self.start()
        with self.assertRaisesRegex(ValueError, 'UUID'):
            self.start()

    def test_again_after_the_end(self):
        self.agent(self.start(poll_interval=0.05))
        self.end()
        other = ZODB.DB(MappingStorage())
        self.addCleanup(other.close)
        self.start(other, poll_interval=0.05, agent_size=7)
        connection = other.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        testing.wait_for(lambda: dispatchers.get().queues.get('', {}).get('main'))
        agents = next(iter(IQueue(connection).dispatchers.values()))
        self.assertEqual(agents['main'].size, 7)

    def test_other_handlers_hear_of_the_database(self):
        heard = []

        @zope.component.adapter(IDatabaseOpenedEvent)
        def hear(event):
            heard.append(event.database)

        zope.component.provideHandler(hear)
        self.start()
        self.assertEqual(heard, [self.db])
        handlers = zope.component.globalSiteManager.registeredHandlers()
        self.assertEqual(
            [one.handler for one in handlers if one.required == (IDatabaseOpenedEvent,)],
            [hear])

    def test_in_twisted_s_reactor(self):
        """The application runs the reactor; this one never does."""
        from twisted.internet import reactor
        found = self.start(twisted=True)
        self.addCleanup(dispatchers.clear)
        self.addCleanup(found.deactivate)
        self.assertIs(found.reactor, reactor)
        self.assertIsNone(found.thread)
        self.assertIsNotNone(found.activated)


class FirstUse(PlainCase):

    def test_the_identity_is_made_by_the_configuration(self):
        path = os.environ['ZC_ASYNC_UUID']
        with open(path) as file:
            self.assertEqual(uuid.UUID(file.readline().strip()),
                             zope.component.getUtility(IUUID))


if __name__ == '__main__':
    unittest.main()
