"""Configuration by ZCML."""
import os
import pathlib
import types
import unittest

import transaction
import zc.twist
import ZODB
import zope.component
import zope.component.event
import zope.event
from persistent.interfaces import IPersistent
from transaction.interfaces import ITransactionManager
from ZODB.interfaces import IConnection
from ZODB.MappingStorage import MappingStorage
from zope.configuration import xmlconfig
from zope.configuration.config import ConfigurationConflictError
from zope.configuration.exceptions import ConfigurationError
from zope.interface import implementedBy
from zope.keyreference.persistent import connectionOfPersistent
from zope.processlifetime import DatabaseOpened
from zope.processlifetime import IDatabaseOpened
from zope.testing import cleanup

from .. import configure
from .. import dispatcher as dispatchers
from .. import instanceuuid
from .. import subscribers
from .. import testing
from ..interfaces import IJob
from ..interfaces import IQueue
from ..interfaces import IUUID
from ..interfaces import KEY
from ..job import Job
from ..opened import Forgiving
from ..queue import getDefaultQueue
from ..queue import Queue
from ..queue import Queues
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import choose_nothing
from .test_dispatcher import is_short
from .test_dispatcher import multiply

FILES = sorted(path.name for path in pathlib.Path(__file__).parent.parent.glob('*.zcml'))
POLICIES = 'basic_dispatcher_policy.zcml', 'multidb_dispatcher_policy.zcml'
KEYREFERENCE = '''
    <include package="zope.component" file="meta.zcml" />
    <include package="zope.security" file="meta.zcml" />
    <include package="zope.keyreference" />'''
CLIENT = '<include package="zc.async" />'
HERE = __name__.rpartition('.')[0]


def another_queue(obj):
    """An application's own idea of an object's queue."""


def include(name):
    return f'<include package="zc.async" file="{name}" />'


def registry():
    return zope.component.globalSiteManager


def installers():
    """Return the package's handlers, as they were before they were wrapped."""
    found = [getattr(one.handler, 'installer', one.handler)
             for one in registry().registeredHandlers()]
    return [one for one in found if type(one).__module__ == subscribers.__name__]


def registrations():
    """Return all that is registered, but for what registers interfaces."""
    adapters = {(one.required, one.provided, one.name, one.factory)
                for one in registry().registeredAdapters()}
    utilities = {(one.provided, one.name, one.component)
                 for one in registry().registeredUtilities()
                 if one.provided is not zope.interface.interfaces.IInterface
                 and not isinstance(one.component, zope.interface.interface.InterfaceClass)}
    handlers = sorted(repr((one.required, what_it_says(one.handler)))
                      for one in registry().registeredHandlers())
    return adapters, utilities, handlers


def what_it_says(handler):
    """Return a handler's class and settings, or the function that it is."""
    if isinstance(handler, Forgiving):
        handler = handler.installer
    handler = getattr(handler, '__self__', handler)  # as `configure.start` has it
    if isinstance(handler, types.FunctionType):
        return handler
    return type(handler), sorted(
        (name, value) for name, value in vars(handler).items()
        if not name.startswith('_') and (name, value) != ('except_queues', frozenset())
        and name not in ('options', 'declared'))


class Case(PlainCase):
    """Nothing is registered."""

    def setUp(self):
        super().setUp()
        cleanup.cleanUp()
        self.addCleanup(transaction.abort)

    def end(self):
        for found in list(dispatchers._dispatchers.values()):
            subscribers.restore_signal_handlers(found)
            if found.thread is not None:
                testing.tear_down_dispatcher(found)

    def site(self, *lines, name='site.zcml'):
        """Write a file of ZCML and return its path."""
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join([
                '<configure xmlns="http://namespaces.zope.org/zope"',
                '    xmlns:async="http://namespaces.zope.org/async">',
                *lines, '</configure>', '']))
        return path

    def configure(self, *lines):
        """Do what a site says whose ZCML has these *lines*."""
        return xmlconfig.file(self.site(*lines))

    def open(self, *names):
        """Return a new database, with others of these *names* beside it."""
        databases = {}
        for name in ('', *names):
            self.addCleanup(ZODB.DB(
                MappingStorage(), databases=databases, database_name=name).close)
        self.addCleanup(self.end)
        return databases['']

    def root(self, db):
        connection = db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        return connection.root()


class EachFile(Case):

    def test_alone_and_twice(self):
        for name in FILES:
            for lines in ([include(name)], [include(name)] * 2,
                          [include(name), '<include file="again.zcml" />']):
                with self.subTest(name, lines=lines):
                    cleanup.cleanUp()
                    self.site(include(name), name='again.zcml')
                    self.configure(*lines)
                    found = registrations()
                    cleanup.cleanUp()
                    self.configure(include(name))
                    self.assertEqual(found, registrations())

    def test_executed_twice(self):
        for name in FILES:
            if name != 'meta.zcml':
                with self.subTest(name):
                    cleanup.cleanUp()
                    self.configure(include(name))
                    found = installers()
                    self.configure(include(name))
                    self.assertEqual(installers(), found)

    def test_by_the_other_spelling(self):
        self.configure(CLIENT, '<include package="zc.async_" />')
        self.assertEqual(registry().getUtility(IUUID), instanceuuid.getUUID())

    def test_events_reach_their_handlers(self):
        heard = []
        self.configure(CLIENT)
        zope.component.provideHandler(heard.append, (IDatabaseOpened,))
        zope.event.notify(DatabaseOpened(None))
        self.assertEqual(len(heard), 1)

    def test_what_they_start(self):
        self.assertEqual(len(FILES), 9)
        ready = subscribers
        expected = {
            'queue.zcml': [ready.queue_installer],
            'multidb_queue.zcml': [ready.multidb_queue_installer],
            'agent.zcml': [ready.agent_installer],
            POLICIES[0]: [ready.queue_installer, ready.agent_installer,
                          ready.threaded_dispatcher_installer],
            POLICIES[1]: [ready.multidb_queue_installer, ready.agent_installer,
                          ready.threaded_dispatcher_installer]}
        for name in FILES:
            with self.subTest(name):
                cleanup.cleanUp()
                self.configure(include(name))
                self.assertEqual(installers(), expected.get(name, []))


class LikePython(Case):
    """ZCML registers what `zc.async.configure` registers."""

    def of_zcml(self, name):
        """Return what a file registers, without what zope.component does."""
        cleanup.cleanUp()
        self.configure('<include package="zope.component" />')
        *_others, before = registrations()
        cleanup.cleanUp()
        self.configure(include(name))
        adapters, utilities, handlers = registrations()
        for one in before:
            handlers.remove(one)
        return adapters, utilities, handlers

    def test_a_client(self):
        configure.client()
        found = registrations()
        for name in 'configure.zcml', 'dispatcher.zcml', 'ftesting.zcml':
            self.assertEqual(self.of_zcml(name), found, name)

    def test_client_is_base_and_the_way_to_the_queue(self):
        configure.base()
        base, _utilities, _handlers = registrations()
        cleanup.cleanUp()
        configure.client()
        client, _utilities, _handlers = registrations()
        self.assertEqual(client - base, {
            ((IPersistent,), IQueue, '', getDefaultQueue),
            ((IConnection,), IQueue, '', getDefaultQueue)})
        self.assertEqual(base - client, set())

    def start(self, **options):
        """Return what is registered while `start` notifies the installers."""
        seen = []

        def look(event):
            registry().unregisterHandler(look, (IDatabaseOpened,))
            seen.append(registrations())

        cleanup.cleanUp()
        registry().registerHandler(look, (IDatabaseOpened,))
        configure.start(self.open('async'), **options)
        self.end()
        return seen[0]

    def test_the_policies(self):
        self.assertEqual(self.start(), self.of_zcml(POLICIES[0]))
        self.assertEqual(self.start(db_name='async'), self.of_zcml(POLICIES[1]))

    def test_the_directives(self):
        said = self.start(poll_interval=2.0, agent_size=7, agent_chooser=choose_nothing,
                          db_name='async')
        self.site(CLIENT, '<async:queue database="async" />',
                  '<async:dispatcher poll_interval="2" />',
                  '<async:agent size="7"', f'chooser="{HERE}.test_dispatcher.choose_nothing"/>',
                  name='said.zcml')
        cleanup.cleanUp()
        self.configure('<include package="zope.component" />')
        *_others, before = registrations()
        self.configure('<include file="said.zcml" />')
        adapters, utilities, handlers = registrations()
        for one in before:
            while one in handlers:
                handlers.remove(one)
        self.assertEqual((adapters, utilities, handlers), said)


class Client(Case):

    def test_puts_jobs(self):
        self.configure(CLIENT)
        root = self.root(self.open())
        root[KEY] = queues = Queues()
        queues[''] = Queue()
        transaction.commit()
        for one in root, root._p_jar:
            self.assertIs(IQueue(one), queues[''])
            self.assertIs(ITransactionManager(one), root._p_jar.transaction_manager)
            self.assertIs(IConnection(one), root._p_jar)
        for call in multiply, self.root, len, 'text'.__len__:
            self.assertEqual(IJob(call).callable, call)
        job = IQueue(root).put(multiply)
        self.assertEqual(job.assignerUUID, registry().getUtility(IUUID))


class BesideOthers(Case):
    """Whatever else registers the same, in any order."""

    def factory(self, provides, *required):
        [found] = [one.factory for one in registry().registeredAdapters()
                   if one.provided is provides and one.required == required]
        return found

    def test_without(self):
        self.configure(CLIENT)
        self.assertIs(self.factory(IConnection, IPersistent), zc.twist.connection)

    def test_zope_keyreference(self):
        for lines in ((KEYREFERENCE, CLIENT), (CLIENT, KEYREFERENCE),
                      (KEYREFERENCE, include(POLICIES[0])),
                      (include(POLICIES[1]), KEYREFERENCE)):
            with self.subTest(lines):
                cleanup.cleanUp()
                self.configure(*lines)
                self.assertIs(self.factory(IConnection, IPersistent),
                              connectionOfPersistent)
                root = self.root(self.open())
                self.assertIs(IConnection(root), root._p_jar)
                self.assertIs(ITransactionManager(root), transaction.manager.manager)

    def test_zope_keyreference_that_is_configured_apart(self):
        for first, second in (CLIENT, KEYREFERENCE), (KEYREFERENCE, CLIENT):
            with self.subTest(first):
                cleanup.cleanUp()
                self.configure(first)
                self.configure(second)
                self.assertIs(self.factory(IConnection, IPersistent),
                              connectionOfPersistent)

    def test_what_a_site_says_itself(self):
        """As sites of old do, in a file of their own or of a product's."""
        own = '<adapter factory="zc.twist.connection" />'
        meta = '<include package="zope.component" file="meta.zcml" />'
        self.site(meta, own, name='own.zcml')
        for lines in ((meta, own, CLIENT), (CLIENT, own),
                      ('<include file="own.zcml" />', include(POLICIES[0])),
                      (include(POLICIES[0]), '<include file="own.zcml" />')):
            with self.subTest(lines):
                cleanup.cleanUp()
                self.configure(*lines)
                self.assertIs(self.factory(IConnection, IPersistent),
                              zc.twist.connection)

    def test_everything_that_a_site_of_old_said(self):
        self.site(
            include('dispatcher.zcml'),
            '<adapter factory="zc.twist.connection" />',
            '<adapter factory="zc.twist.transactionManager" />',
            '<adapter factory="zc.twist.transactionManager"',
            '         for="ZODB.interfaces.IConnection" />',
            '<adapter factory="zc.async.queue.getDefaultQueue" />',
            '<adapter factory="zc.async.job.Job" for="types.BuiltinFunctionType"',
            '         provides="zc.async.interfaces.IJob" />',
            '<utility component="zc.async.instanceuuid.UUID"',
            '         provides="zc.async.interfaces.IUUID" />',
            '<subscriber handler="zc.async.subscribers.queue_installer" />',
            '<subscriber handler="zc.async.subscribers.threaded_dispatcher_installer" />',
            '<subscriber handler="zc.async.subscribers.agent_installer"',
            '            for="zc.async.interfaces.IDispatcherActivated" />',
            name='own.zcml')
        self.configure('<include file="own.zcml" />', CLIENT)
        adapters, utilities, _handlers = registrations()
        cleanup.cleanUp()
        configure.client()
        self.assertEqual((adapters, utilities), registrations()[:2])

    def test_a_site_with_a_queue_of_its_own(self):
        self.site('<include package="zope.component" file="meta.zcml" />',
                  f'<adapter factory="{__name__}.another_queue"',
                  '    for="persistent.interfaces.IPersistent"',
                  '    provides="zc.async.interfaces.IQueue" />', name='own.zcml')
        self.configure(CLIENT, '<include file="own.zcml" />')
        self.assertIs(self.factory(IQueue, IPersistent), another_queue)
        self.assertIs(self.factory(IQueue, IConnection), getDefaultQueue)
        self.assertIs(self.factory(IJob, implementedBy(types.FunctionType)), Job)


class Contradictions(Case):

    def refused(self, *lines, error=ConfigurationConflictError):
        with self.assertRaises(error) as caught:
            self.configure(*lines)
        return str(caught.exception)

    def test_two_policies(self):
        for first, second in POLICIES, reversed(POLICIES):
            text = self.refused(include(first), include(second))
            self.assertIn("the database of zc.async queue ''", text)
            for name in 'queue.zcml", line 9', 'multidb_queue.zcml", line 9':
                self.assertIn(name, text)
            self.assertEqual(installers(), [])

    def test_two_policies_apart(self):
        for names in POLICIES, ('multidb_queue.zcml', 'queue.zcml'):
            cleanup.cleanUp()
            self.configure(include(names[0]))
            text = self.refused(include(names[1]), error=ConfigurationError)
            self.assertRegex(text, "queue '' is to be kept in.*'async'.*one policy only")

    def test_two_products_that_say_the_same_otherwise(self):
        for one, other in (
                ('queue name="a"', 'queue name="a" database="async"'),
                ('quota name="a"', 'quota name="a" size="2"'),
                ('agent name="a"', 'agent name="a" size="2"'),
                ('agent name="a" queue="q"', 'agent name="a" queue="q" size="2"'),
                ('dispatcher', 'dispatcher reactor="yes"'),
                ('dispatcher uuid_file="u"', 'dispatcher uuid_file="u" poll_interval="2"')):
            with self.subTest(one):
                cleanup.cleanUp()
                for name, said in ('one', one), ('other', other):
                    self.site(include('meta.zcml'), f'<async:{said} />',
                              name=f'{name}.zcml')
                text = self.refused('<include file="one.zcml" />',
                                    '<include file="other.zcml" />')
                self.assertIn('one.zcml", line 4', text)
                self.assertIn('other.zcml", line 4', text)

    def test_a_site_has_precedence_over_a_policy(self):
        self.configure(
            include(POLICIES[0]), '<async:queue database="async" />',
            '<async:agent size="7" />', '<async:dispatcher poll_interval="2" />')
        queue, agent, dispatcher = installers()
        self.assertEqual((queue.db_name, agent.size, dispatcher.poll_interval),
                         ('async', 7, 2))


class Errors(Case):
    """What cannot be is refused, with the file and the line."""

    def test_directives(self):
        for said, text in (
                ('queue database=""', 'database.*TooShort'),
                ('queue nme="x"', 'Unrecognized.*nme'),
                ('quota', "Missing parameter.*name"),
                ('quota name="x" size="-1"', 'size.*TooSmall'),
                ('quota name="x" size="many"', 'size.*many'),
                ('agent size="-1"', 'size.*TooSmall'),
                ('agent filter="no.such.name"', 'filter.*no'),
                ('agent filter="os"', 'cannot be stored'),
                ('agent filter="zc.async.interfaces.KEY"', "a callable or None.*'zc.async'"),
                (f'agent filter="{HERE}.test_dispatcher.is_short"'
                 f' chooser="{HERE}.test_dispatcher.choose_nothing"', 'or a filter, not both'),
                ('dispatcher poll_interval="0"', 'poll_interval.*TooSmall'),
                ('dispatcher poll_interval="soon"', 'poll_interval.*soon'),
                ('dispatcher threads="yes" reactor="yes"', 'not both'),
                ('dispatcher threads="no" reactor="no"', 'not both'),
                ('dispatcher threads="perhaps"', 'threads'),
                ('dispatchr', 'Unknown directive.*dispatchr')):
            with self.subTest(said):
                with self.assertRaisesRegex(ConfigurationError, rf'(?s){text}') as caught:
                    self.configure(include('meta.zcml'), '', f'<async:{said} />')
                self.assertRegex(str(caught.exception), r'site\.zcml", line 5')


class Directives(Case):
    """They do what they say, when the database is opened."""

    def opened(self, *lines, db=None):
        self.configure(CLIENT, *lines)
        db = db or self.open('async')
        zope.event.notify(DatabaseOpened(db))
        return db

    def agents(self, queue, count):
        found = dispatchers.get()
        queues = self.root(found.db)[KEY]
        self.assertTrue(testing.wait_for(
            lambda: found.UUID in queues[queue].dispatchers
            and len(queues[queue].dispatchers[found.UUID]) == count))
        return queues[queue].dispatchers[found.UUID]

    def test_queues(self):
        queues = self.root(self.opened(
            '<async:queue name="mail" database="async" />', '<async:queue />'))[KEY]
        self.assertEqual(sorted(queues), ['', 'mail'])
        self.assertEqual(queues['mail']._p_jar.db().database_name, 'async')

    def test_quotas(self):
        """Whatever stands first."""
        lines = ('<async:quota name="smtp" queue="mail" size="{}" />',
                 '<async:quota name="other" queue="mail" />', '<async:queue name="mail" />')
        db = self.opened(lines[0].format(2), *lines[1:])
        quotas = self.root(db)[KEY]['mail'].quotas
        self.assertEqual({name: quotas[name].size for name in quotas},
                         {'smtp': 2, 'other': 1})
        cleanup.cleanUp()
        self.opened(lines[0].format(3), *lines[1:], db=db)
        transaction.begin()
        self.assertEqual(quotas['smtp'].size, 3)

    def test_a_quota_that_is_as_it_should_be_is_not_written(self):
        quota = '<async:quota name="a" size="2" />'
        db = self.opened('<async:queue />', quota)
        before = db.lastTransaction()
        zope.event.notify(DatabaseOpened(db))
        self.assertEqual(db.lastTransaction(), before)

    def test_a_quota_of_no_queue(self):
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.opened('<async:quota name="smtp" queue="mail" />')
        [record] = logs.records
        self.assertRegex(record.getMessage(), "no queue 'mail'.*quota 'smtp'")

    def test_agents(self):
        self.opened(
            '<async:dispatcher poll_interval="0.05" />',
            '<async:agent size="4" />',
            '<async:agent queue="mail" size="1" />',
            f'<async:agent name="short" filter="{HERE}.test_dispatcher.is_short" />',
            '<async:queue name="mail" />', '<async:queue />')
        first, mail = self.agents('', 2), self.agents('mail', 2)
        self.assertEqual((first['main'].size, mail['main'].size), (4, 1))
        self.assertEqual((first['short'].filter, first['short'].size), (is_short, 3))

    def test_an_agent_becomes_what_is_said(self):
        lines = ('<async:queue />', '<async:dispatcher poll_interval="0.05" />',
                 '<async:agent size="2" filter="{}.is_short" />'.format(
                     f'{HERE}.test_dispatcher'))
        db = self.opened(*lines)
        self.assertEqual(self.agents('', 1)['main'].filter, is_short)
        self.end()
        cleanup.cleanUp()
        self.opened(*lines[:2], '<async:agent chooser="{}.choose_nothing" />'.format(
            f'{HERE}.test_dispatcher'), db=db)
        agents = self.agents('', 1)
        self.assertTrue(testing.wait_for(lambda: agents['main'].size == 3))
        self.assertEqual((agents['main'].filter, agents['main'].chooser),
                         (None, choose_nothing))

    def test_a_dispatcher(self):
        self.opened('<async:dispatcher poll_interval="0.05" threads="yes" />',
                    '<async:queue />', '<async:agent />')
        found = dispatchers.get()
        self.assertEqual((found.poll_interval, found.UUID),
                         (0.05, instanceuuid.getUUID()))
        job = IQueue(self.root(found.db)).put(Job(multiply, 6, 7))
        transaction.commit()
        self.assertEqual(testing.wait_for_result(job), 42)

    def test_two_dispatchers(self):
        self.opened('<async:dispatcher />',
                    '<async:dispatcher uuid_file="second.txt" poll_interval="2" />')
        second = instanceuuid.getUUID(os.path.join(self.folder, 'second.txt'))
        self.assertEqual({one.UUID: one.poll_interval
                          for one in dispatchers._dispatchers.values()},
                         {instanceuuid.getUUID(): 5, second: 2})

    def test_a_dispatcher_in_twisted_s_reactor(self):
        from twisted.internet import reactor
        self.opened('<async:dispatcher reactor="yes" />')
        found = dispatchers.get()
        self.addCleanup(found.deactivate)
        self.assertIs(found.reactor, reactor)
        self.assertIsNone(found.thread)

    def test_a_file_that_cannot_be(self):
        with self.assertLogs('zc.async.events', 'ERROR') as logs:
            self.opened('<async:dispatcher uuid_file="no/such.txt" />', '<async:queue />')
        [record] = logs.records
        self.assertRegex(record.getMessage(), 'UUID file .*no/such.txt.*folder that exists')
        self.assertIsNone(dispatchers.get())


if __name__ == '__main__':
    unittest.main()
