"""``zc-async parked``: what it shows, what it does, and what it refuses."""
import contextlib
import io
import logging
import os
import re
import tempfile
import unittest
from unittest import mock

import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import u64

from .. import cli
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import PARKED
from ..interfaces import PENDING
from ..job import Job
from ..model import parking
from ..ops import parked
from ..queue import Queue
from ..queue import Queues
from .contracts import nothing

HOSTILE = 'a\nsecret\x1b[31m\u2028'


class Command(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'Data.fs')
        self.uri = f'file://{self.path}'
        log = logging.getLogger('zc.async')
        log.addHandler(handler := logging.NullHandler())
        self.addCleanup(log.removeHandler, handler)
        with self.database() as root:
            queues = root[KEY] = Queues()
            queues[''], queues['other'] = Queue(), Queue()

    @contextlib.contextmanager
    def database(self):
        """Give the root, and commit."""
        db = ZODB.DB(FileStorage(self.path))
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            yield connection.root()
            manager.commit()
        finally:
            manager.abort()
            connection.close()
            db.close()

    def park(self, count=1, reason='for the test', name=''):
        """Park jobs of the queue *name*; return their object ids."""
        with self.database() as root:
            queue, jobs = root[KEY][name], []
            for _number in range(count):
                jobs.append(queue.put(Job(nothing, 'secret argument', key='secret')))
                parking.park(jobs[-1], reason)
            return [u64(job._p_oid) for job in jobs]

    def said(self, *words, status=0):
        """Say *words*; return the lines of output and of errors."""
        output, errors = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, clear=False), \
                contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            os.environ.pop('ZC_ASYNC_URI', None)
            found = cli.main(['parked', *words])
        text = output.getvalue() + errors.getvalue()
        self.assertEqual(found, status, text)
        self.assertNotIn('secret argument', text)
        return output.getvalue().splitlines(), errors.getvalue().splitlines()

    def statuses(self, *oids):
        with self.database() as root:
            return [root._p_jar.get(oid.to_bytes(8, 'big')).status for oid in oids]

    # Looking

    def test_none(self):
        self.assertEqual(self.said('list', self.uri), ([], []))

    def test_a_line_for_each(self):
        first, second = self.park(2)
        third, = self.park(name='other')
        lines, _errors = self.said('list', self.uri)
        self.assertEqual([line.split('\t')[0] for line in lines],
                         [str(first), str(second), str(third)])
        self.assertRegex(lines[2], (
            rf"^{third}\t'other'\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\t0\t"
            rf'zc.async.tests.contracts.nothing\tfor the test$'))

    def test_those_of_a_queue(self):
        self.park()
        third, = self.park(name='other')
        lines, _errors = self.said('list', self.uri, '--queue', 'other')
        self.assertEqual([line.split('\t')[0] for line in lines], [str(third)])

    def test_what_jobs_say_is_escaped(self):
        self.park(reason=HOSTILE)
        for word in ('list', 'show'):
            lines, _errors = self.said(word, self.uri, '--all')
            text = '\n'.join(lines)
            self.assertIn(r'a\x0asecret\x1b[31m\u2028', text)
            self.assertIsNone(re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028]', text))
        self.assertEqual(len(self.said('list', self.uri)[0]), 1)

    def test_the_list_is_bounded(self):
        self.park(5)
        lines, errors = self.said('list', self.uri, '--limit', '2')
        self.assertEqual(len(lines), 2)
        self.assertIn('more than 2', errors[0])
        lines, errors = self.said('list', self.uri, '--limit', '5')
        self.assertEqual((len(lines), errors), (5, []))

    def test_listing_changes_nothing(self):
        self.park(3)
        before = os.stat(self.path).st_size
        self.said('list', self.uri)
        self.said('show', self.uri, '--all')
        self.assertEqual(os.stat(self.path).st_size, before)

    def test_more_about_one(self):
        oid, _other = self.park(2)
        lines, _errors = self.said('show', self.uri, '--oid', str(oid))
        text = '\n'.join(lines)
        for part in (f'oid:        {oid}', 'for the test', 'parked-status',
                     '1, and 1 by name', 'bytes for the job'):
            self.assertIn(part, text)
        self.assertNotIn(str(_other), re.findall(r'oid: +(\d+)', text))

    # Acting

    def test_rerun(self):
        first, second = self.park(2)
        lines, _errors = self.said('rerun', self.uri, '--oid', str(first))
        self.assertEqual(lines, ['1 put back in line, 0 not'])
        self.assertEqual(self.statuses(first, second), [PENDING, PARKED])

    def test_discard(self):
        oids = self.park(3)
        self.said('discard', self.uri, '--all')
        self.assertEqual(self.statuses(*oids), 3 * [COMPLETED])

    def test_move(self):
        oid, = self.park()
        self.said('move', self.uri, '--all', '--to', 'other')
        with self.database() as root:
            self.assertEqual([u64(job._p_oid) for job in root[KEY]['other']], [oid])

    def test_very_many(self):
        oids = self.park(2 * parked.GROUP + 3)
        lines, _errors = self.said('rerun', self.uri, '--all')
        self.assertEqual(lines, [f'{len(oids)} put back in line, 0 not'])
        self.assertEqual(set(self.statuses(*oids)), {PENDING})

    def test_one_that_is_not_parked(self):
        oid, = self.park()
        lines, errors = self.said(
            'rerun', self.uri, '--oid', '77', '--oid', str(oid), status=1)
        self.assertEqual((lines, errors),
                         (['1 put back in line, 1 not'], ['77 is not parked']))
        self.said('show', self.uri, '--oid', '77', status=1)

    def test_one_that_is_refused_does_not_keep_the_others(self):
        with self.database() as root:
            root[KEY][''].quotas.create('q')
        oids = self.park(3)
        with self.database() as root:
            root._p_jar.get(oids[1].to_bytes(8, 'big'))._quota_names = ('q',)
        lines, errors = self.said('move', self.uri, '--all', '--to', 'other', status=1)
        self.assertEqual(lines, ['2 moved, 1 not'])
        self.assertIn('unknown quota name', errors[0])
        self.assertEqual(self.statuses(*oids), [PENDING, PARKED, PENDING])

    def test_a_group_that_cannot_be_committed_is_done_one_by_one(self):
        oids = self.park(3)
        commit = transaction.TransactionManager.commit

        def failing(manager):
            with_bad = any(getattr(one, '_p_oid', None) == oids[1].to_bytes(8, 'big')
                           for one in self.changed(manager))
            if with_bad:
                raise TypeError('cannot be pickled')
            return commit(manager)

        with mock.patch.object(transaction.TransactionManager, 'commit', failing):
            lines, errors = self.said('rerun', self.uri, '--all', status=1)
        self.assertEqual(lines, ['2 put back in line, 1 not'])
        self.assertEqual(errors, [f'{oids[1]} TypeError: cannot be pickled'])
        self.assertEqual(self.statuses(*oids), [PENDING, PARKED, PENDING])

    def changed(self, manager):
        return [obj for resource in manager.get()._resources
                for obj in getattr(resource, '_registered_objects', ())]

    def test_conflicts_are_tried_again(self):
        oids = self.park(2)
        commit, tries = transaction.TransactionManager.commit, []

        def conflicting(manager):
            tries.extend([1] * manager.explicit)  # not those that open the database
            if manager.explicit and len(tries) < 4:
                raise ConflictError('for the test')
            return commit(manager)

        with mock.patch.object(transaction.TransactionManager, 'commit', conflicting):
            self.said('rerun', self.uri, '--all')
        self.assertEqual(self.statuses(*oids), 2 * [PENDING])

    # What is refused

    def refused(self, *words):
        oid, = self.park()
        _lines, errors = self.said(*words, status=2)
        self.assertEqual(len(errors), 1)
        self.assertEqual(self.statuses(oid), [PARKED])
        return errors[0]

    def test_what_makes_no_sense(self):
        for words, text in (
                (('rerun', self.uri), '--all'), (('list',), 'one database'),
                (('rerun', self.uri, '--all', '--oid', '1'), 'one of them'),
                (('move', self.uri, '--all'), '--to'),
                (('rerun', self.uri, '--all', '--to', 'other'), '--to'),
                (('rerun', self.uri, '--oid', '-1'), '--oid is -1'),
                (('list', self.uri, '--limit', '-1'), '--limit is -1'),
                (('list', self.uri, '--queue', 'nowhere'), "no queue 'nowhere'"),
                (('move', self.uri, '--all', '--to', 'nowhere'), "no queue 'nowhere'"),
                (('list', 'file:///nowhere/at/all.fs'), 'no database')):
            with self.subTest(words):
                self.assertIn(text, self.refused(*words))

    def test_a_database_without_queues(self):
        with self.database() as root:
            del root[KEY]
        _lines, errors = self.said('list', self.uri, status=2)
        self.assertIn('no queues', errors[0])


class Order(Command):
    """The database may stand anywhere among the options."""

    def test_after_options(self):
        oid, = self.park()
        expected = self.said('show', self.uri, '--all')
        self.assertTrue(expected[0])
        for words in (('show', '--all', self.uri), ('--all', 'show', self.uri),
                      ('show', '--all', self.uri, '--queue', ''),
                      ('show', '--oid', str(oid), self.uri)):
            with self.subTest(words):
                self.assertEqual(self.said(*words), expected)

    def test_what_is_one_too_many_is_refused(self):
        for words in (('list', self.uri, 'more'), ('list', '--all', self.uri, 'more'),
                      ('list', '--unknown', self.uri)):
            with self.subTest(words), contextlib.redirect_stderr(io.StringIO()) as said:
                with self.assertRaises(SystemExit):
                    cli.main(['parked', *words])
                self.assertIn('unrecognized arguments', said.getvalue())
