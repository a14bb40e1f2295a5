"""PostgreSQL tells dispatchers that jobs were put."""
import contextlib
import os
import threading
import unittest
from unittest import mock

import persistent
import transaction
import zope.component
from zope.testing import cleanup

from . import contracts
from . import servers
from .. import bell
from .. import configure
from .. import dispatcher as dispatchers
from .. import subscribers
from .. import testing
from ..interfaces import COMPLETED
from ..interfaces import DatabaseOpened
from ..interfaces import KEY
from ..job import Job
from ..runtime import listener
from ..runtime import wakeup
from .contracts import nothing


class Line:
    """A connection and a cursor that remember what is executed."""

    def __init__(self, *errors):
        self.said, self.errors, self.closed = [], list(errors), False

    def open(self, name):
        self.name = name
        return self, self

    def execute(self, statement):
        if self.errors and self.errors.pop(0):
            raise OSError('gone')
        self.said.append(statement)

    def close(self):
        self.closed = True


class Unstorable(persistent.Persistent):
    """It cannot be committed."""

    def __getstate__(self):
        return 1 / 0


class Ringing(contracts.InWorld, unittest.TestCase):
    """When a note is sent, and what becomes of one that cannot be."""

    def bell_of(self, *lines):
        lines = list(lines)
        return bell.Bell(lambda name: lines.pop(0).open(name))

    def install(self, found):
        patch = mock.patch.dict(bell._bells, {self.world.db: found})
        patch.start()
        self.addCleanup(patch.stop)

    def test_other_databases_have_none(self):
        self.assertIsNone(bell.of(self.world.db))
        self.put(nothing)
        self.client.commit()

    def test_it_is_rung_once_for_each_commit_that_puts(self):
        line = Line()
        self.install(self.bell_of(line))
        self.put(nothing), self.put(nothing)
        self.assertEqual(line.said, [])
        self.client.commit()
        self.assertEqual(line.said, ['NOTIFY zc_async'])
        self.client.root['x'] = 1
        self.client.commit()
        self.put(nothing)
        self.client.commit()
        self.assertEqual(line.said, ['NOTIFY zc_async'] * 2)
        self.assertEqual(line.name, 'zc.async bell')

    def test_not_for_what_is_not_committed(self):
        line = Line()
        self.install(self.bell_of(line))
        self.put(nothing)
        self.client.begin()
        self.put(nothing)
        self.client.connection.add(Unstorable())
        with self.assertRaises(ZeroDivisionError):
            self.client.commit()
        self.assertEqual(line.said, [])

    def test_a_line_that_is_cut_is_replaced(self):
        first, second = Line(False, True), Line()
        found = self.bell_of(first, second)
        found.ring(), found.ring()
        self.assertEqual((first.said, second.said), (['NOTIFY zc_async'],) * 2)
        self.assertTrue(first.closed)

    def test_where_no_note_is_taken_none_is_sent_for_a_minute(self):
        found = self.bell_of(Line(True), Line())
        with self.assertNoLogs('zc.async.events'):
            with self.assertLogs('zc.async.trace', 'INFO') as caught:
                found.ring(), found.ring()
                self.world.clock.advance((bell.SILENCE - 1) * contracts.SECOND)
                found.ring()
        [said] = caught.output
        self.assertRegex(said, r"took no note .*OSError\('gone'\).* for 60 seconds; see to")
        self.world.clock.advance(contracts.SECOND)
        line = Line()
        found._open = line.open
        found.ring()
        self.assertEqual(line.said, ['NOTIFY zc_async'])

    def test_a_line_of_the_parent_process_is_not_used(self):
        first, second = Line(), Line()
        found = self.bell_of(first, second)
        found.ring()
        with mock.patch.object(bell.os, 'getpid', lambda: -1):
            found.ring()
        self.assertEqual((len(first.said), len(second.said)), (1, 1))
        self.assertFalse(first.closed)


class OnPostgreSQL(unittest.TestCase):
    """With the server itself."""

    layer = servers.PostgreSQL
    databases = 0

    def setUp(self):
        if servers.PostgreSQL.missing:
            self.skipTest(servers.PostgreSQL.missing)
        OnPostgreSQL.databases += 1
        self.name = f'bell_{self.databases}'
        self.uri = servers.PostgreSQL.database(self.name)
        self.db = self.enterContext(servers.opened(self.uri))
        self.addCleanup(transaction.abort)
        subscribers.QueueInstaller()(DatabaseOpened(self.db))
        self.heard = threading.Event()

    def listen(self, open_line=None):
        found = listener.Listener(open_line or bell.line_of(self.db), self.heard.set)
        self.addCleanup(found.stop)
        return found

    def listening(self):
        """Return a listener that works, and has not heard anything yet."""
        found = self.listen()
        servers.wait_until(lambda: found.works and self.heard.is_set(), 'it listens')
        self.heard.clear()
        return found

    def lines(self, name):
        """Return the process ids of the server's sides of the lines named *name*."""
        with contextlib.closing(servers.PostgreSQL.connect(self.name)) as connection:
            cursor = connection.cursor()
            cursor.execute('SELECT pid FROM pg_stat_activity WHERE datname = %s '
                           'AND application_name = %s', (self.name, name))
            return [pid for pid, in cursor.fetchall()]

    def put(self, db):
        with db.transaction() as connection:
            job = connection.root()[KEY][''].put(Job(nothing))
        return job._p_oid

    @contextlib.contextmanager
    def working(self):
        """A dispatcher, but for whose first poll there is none."""
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        configure.base()
        zope.component.provideHandler(subscribers.AgentInstaller('main'))
        with mock.patch.dict(os.environ, ZC_ASYNC_UUID=os.path.join(
                self.enterContext(servers.folder()), 'uuid.txt')):
            found = subscribers.ThreadedDispatcherInstaller(600)(DatabaseOpened(self.db))
        try:
            yield found
        finally:
            testing.tear_down_dispatcher(found)
            subscribers.restore_signal_handlers(found)
            dispatchers.clear()

    def test_a_put_is_heard(self):
        found = self.listening()
        self.put(self.db)
        self.assertTrue(self.heard.wait(servers.PATIENCE))
        self.assertTrue(found.works)

    def test_so_is_that_of_a_process_without_a_dispatcher(self):
        self.listening()
        with servers.opened(self.uri) as other:
            self.put(other)
            self.assertTrue(self.heard.wait(servers.PATIENCE))

    def test_a_line_that_the_server_cuts_is_laid_again(self):
        found = self.listening()
        [pid] = self.lines('zc.async listener')
        with contextlib.closing(servers.PostgreSQL.connect(self.name)) as connection:
            connection.cursor().execute('SELECT pg_terminate_backend(%s)', (pid,))
        # whatever was put meanwhile is looked for
        self.assertTrue(self.heard.wait(servers.PATIENCE))
        servers.wait_until(lambda: found.works, 'it listens')
        [other] = self.lines('zc.async listener')
        self.assertNotEqual(other, pid)

    def test_where_notes_do_not_arrive_that_is_known(self):
        class Deaf:
            """A connection that is given no notes, like some of a pool."""

            def __init__(self, connection):
                self._connection, self.notifies = connection, []
                self.fileno, self.close = connection.fileno, connection.close

            def poll(self):
                self._connection.poll()

        def open_deaf(name):
            connection, cursor = bell.line_of(self.db)(name)
            tries.append(name)
            return Deaf(connection), cursor

        tries = []
        with mock.patch.object(listener, 'ANSWER', 0.01), (
                self.assertLogs('zc.async.events', 'WARNING')) as caught:
            found = self.listen(open_deaf)
            servers.wait_until(lambda: len(tries) > 2, 'it tries again')
        [said] = caught.output
        self.assertRegex(said, 'do not arrive within .* connect to the server itself')
        self.assertFalse(found.works)
        self.assertFalse(self.heard.is_set())

    def test_it_leaves_nothing_behind(self):
        threads = threading.active_count()
        found = self.listening()
        found.stop()
        self.assertFalse(found.works)
        servers.wait_until(lambda: not self.lines('zc.async listener'), 'the line is cut')
        self.assertEqual(threading.active_count(), threads)

    def test_a_dispatcher_begins_what_others_put_without_asking(self):
        with mock.patch.multiple(wakeup, LOOK=600, LOOK_TOLD=600), (
                self.working()) as dispatcher:
            watch = dispatcher._wakeup._watch
            servers.wait_until(lambda: watch.told, 'it listens')
            servers.wait_until(lambda: dispatcher.idle, 'it has looked')
            with servers.opened(self.uri) as other:
                oid = self.put(other)
            servers.wait_until(lambda: servers.look(
                self.db, lambda root: root._p_jar.get(oid).status is COMPLETED),
                'the job is done')
