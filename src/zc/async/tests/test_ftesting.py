"""A real dispatcher for the functional tests of an application."""
import contextlib
import io
import logging
import signal
import threading
import unittest

import transaction
from zope.component import globalSiteManager

from .. import dispatcher as dispatchers
from .. import ftesting
from .. import subscribers
from .. import testing
from ..agent import Agent
from ..interfaces import DatabaseOpened
from ..interfaces import KEY
from ..job import Job
from ..queue import Queue
from .test_dispatcher import block
from .test_dispatcher import Case as PlainCase
from .test_dispatcher import event
from .test_dispatcher import events
from .test_dispatcher import multiply


def fails_badly():
    logging.getLogger('zc.async.events').critical('very bad')
    logging.getLogger('zc.async.events').error('bad')


class Case(PlainCase):

    def setUp(self):
        super().setUp()
        self.db = self.open()
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)
        self.addCleanup(self.end)

    def end(self):
        for one in list(events.values()):
            one.set()
        ftesting.tearDown(10)

    def put(self, *args):
        job = self.connection.root()[KEY][''].put(Job(*args))
        transaction.commit()
        return job


class SettingUp(Case):

    def test_jobs_are_done(self):
        ftesting.setUp(self.connection)
        self.assertEqual(testing.wait_for_result(self.put(multiply, 6, 7)), 42)

    def test_it_returns_the_dispatcher_after_two_polls(self):
        found = ftesting.setUp(self.connection)
        self.assertIs(dispatchers.get(), found)
        self.assertEqual(found.poll_interval, 0.1)
        self.assertGreaterEqual(len(list(found.iterPolls())), 2)
        agents = self.connection.root()[KEY][''].dispatchers[found.UUID]
        self.assertEqual(list(agents), ['main'])
        self.assertIn('main', found.queues[''])

    def test_the_root_folder_of_the_caller(self):
        globs = {'ftesting': ftesting, 'getRootFolder': self.connection.root}
        found = eval('ftesting.setUp()', globs)
        self.assertIs(found.db, self.db)

    def test_neither_connection_nor_root_folder(self):
        for globs in ({}, {'getRootFolder': Queue}):
            with self.subTest(sorted(globs)):
                with self.assertRaisesRegex(TypeError, 'needs a connection'):
                    eval('ftesting.setUp()', {'ftesting': ftesting, **globs})
        self.assertIsNone(dispatchers.get())

    def test_other_installers(self):
        ftesting.setUp(
            self.connection,
            queue_installer=subscribers.QueueInstaller(queues=('', 'more')),
            dispatcher_installer=subscribers.ThreadedDispatcherInstaller(0.02),
            agent_installer=subscribers.AgentInstaller('mine', size=1))
        found = dispatchers.get()
        self.assertEqual(found.poll_interval, 0.02)
        queues = self.connection.root()[KEY]
        self.assertEqual(sorted(queues), ['', 'more'])
        self.assertEqual(list(queues['more'].dispatchers[found.UUID]), ['mine'])

    def test_an_installer_that_returns_nothing(self):
        install = subscribers.ThreadedDispatcherInstaller(0.02)
        found = ftesting.setUp(
            self.connection, dispatcher_installer=lambda event: install(event) and None)
        self.assertIs(found, dispatchers.get())

    def test_twice_is_refused(self):
        ftesting.setUp(self.connection)
        with self.assertRaisesRegex(RuntimeError, 'tearDown'):
            ftesting.setUp(self.connection)

    def test_what_is_not_committed_is_not_lost(self):
        self.connection.root()['mine'] = 1
        ftesting.setUp(self.connection)
        self.assertEqual(self.connection.root()['mine'], 1)
        transaction.commit()

    def test_an_installer_that_fails_leaves_nothing(self):
        handlers = logging.getLogger('zc.async').handlers[:]
        with self.assertRaises(ValueError):
            ftesting.setUp(
                self.connection,
                queue_installer=subscribers.multidb_queue_installer)
        self.assertEqual(logging.getLogger('zc.async').handlers, handlers)
        self.assertEqual(list(globalSiteManager.registeredHandlers()), [])
        ftesting.setUp(self.connection)


class Logs(Case):

    def printed(self, **options):
        """Return what a job's messages print."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            ftesting.setUp(self.connection, **options)
            testing.wait_for_result(self.put(fails_badly))
            ftesting.tearDown()
        return out.getvalue()

    def test_what_is_critical_is_printed_and_errors_are_not(self):
        self.assertEqual(self.printed(), 'very bad\n')

    def test_as_much_as_is_asked_for(self):
        found = self.printed(log_level=logging.DEBUG)
        self.assertIn('very bad\nbad\n', found)
        self.assertIn('works for queue', found)

    def test_nothing(self):
        self.assertEqual(self.printed(log_file=None), '')

    def test_elsewhere(self):
        out = io.StringIO()
        self.assertEqual(self.printed(log_file=out), '')
        self.assertEqual(out.getvalue(), 'very bad\n')

    def test_the_loggers_are_as_before(self):
        logger = logging.getLogger('zc.async')
        before = logger.level, logger.handlers[:]
        self.printed(log_level=logging.DEBUG)
        self.printed(log_file=None)
        self.assertEqual((logger.level, logger.handlers), before)


class TearingDown(Case):

    def test_without_anything_to_tear_down(self):
        ftesting.tearDown()
        ftesting.tearDown()

    def test_again_and_again(self):
        signals = [signal.getsignal(number) for number in subscribers.SIGNALS]
        ftesting.setUp(self.connection)
        ftesting.tearDown()
        before = threading.active_count()
        for number in range(3):
            ftesting.setUp(self.connection)
            self.assertEqual(testing.wait_for_result(self.put(multiply, 6, number)), 6 * number)
            ftesting.tearDown()
            self.assertIsNone(dispatchers.get())
        self.assertEqual(threading.active_count(), before)
        self.assertEqual(
            [signal.getsignal(number) for number in subscribers.SIGNALS], signals)
        self.assertEqual(list(globalSiteManager.registeredHandlers()), [])

    def test_what_was_registered_before_stays(self):
        globalSiteManager.registerHandler(subscribers.agent_installer)
        ftesting.setUp(self.connection)
        ftesting.tearDown()
        self.assertEqual(
            [one.handler for one in globalSiteManager.registeredHandlers()],
            [subscribers.agent_installer])

    def test_a_dispatcher_that_others_started(self):
        subscribers.ThreadedDispatcherInstaller(0.02)(DatabaseOpened(self.db))
        ftesting.tearDown()
        self.assertIsNone(dispatchers.get())
        self.assertEqual(subscribers.signal_handlers, {})

    def test_a_job_that_does_not_end(self):
        ftesting.setUp(self.connection)
        job = self.put(block)
        self.assertTrue(event('begun').wait(10))
        with self.assertRaises(testing.TearDownDispatcherError) as caught:
            ftesting.tearDown(0.05)
        self.assertIn("':main'", str(caught.exception))
        self.assertIn(repr(job), str(caught.exception))
        with self.assertRaisesRegex(testing.TearDownDispatcherError, 'main'):
            ftesting.tearDown(0.05)
        event('go').set()
        ftesting.tearDown(10)
        self.assertIsNone(dispatchers.get())
        # and so the next test can begin
        ftesting.setUp(self.connection)
        self.assertEqual(testing.wait_for_result(self.put(multiply, 6, 7)), 42)

    def test_a_dispatcher_that_does_not_end(self):
        found = ftesting.setUp(self.connection)
        go = event('go')
        found.reactor.callFromThread(go.wait, 30)
        with self.assertRaisesRegex(
                testing.TearDownDispatcherError, str(found.UUID)):
            ftesting.tearDown(0.05)
        go.set()
        ftesting.tearDown(10)
        self.assertIsNone(dispatchers.get())

    def test_the_queues_stay(self):
        ftesting.setUp(self.connection)
        ftesting.tearDown()
        transaction.begin()
        agents = next(iter(self.connection.root()[KEY][''].dispatchers.values()))
        self.assertIsNone(agents.activated)
        self.assertIsInstance(agents['main'], Agent)


if __name__ == '__main__':
    unittest.main()
