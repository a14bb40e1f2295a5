"""Queues in a database of their own, beside the application's."""
import os

import persistent
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from .. import configure
from .. import dispatcher as dispatchers
from .. import interfaces
from .. import subscribers
from .. import testing
from ..job import Job
from ..threadlocal import local
from .test_dispatcher import Case


class Counter(persistent.Persistent):
    """Lives in the main database; its jobs in the other."""

    count = 0

    def more(self, left):
        """Count, and put the job that counts on."""
        self.count += 1
        local.setLiveAnnotation('left', left)
        if left:
            interfaces.IQueue(self).put(Job(self.more, left - 1))
        return left


class TwoDatabases(Case):
    """A transaction has one connection to each database, whoever opened it.

    With two, the second waits in ``tpc_begin`` for the first, for ever.
    """

    def test_jobs_that_change_both_are_done(self):
        databases = {}
        for name in ('async', ''):
            db = ZODB.DB(FileStorage(os.path.join(self.folder, f'{name}.fs')),
                         databases=databases, database_name=name)
            self.addCleanup(db.close)
        dispatcher = configure.start(db, db_name='async')
        self.addCleanup(subscribers.stop, dispatcher)
        connection = db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        counter = connection.root()['counter'] = Counter()
        connection.add(counter)
        transaction.commit()
        queue = interfaces.IQueue(counter)
        self.assertEqual(queue._p_jar.db().database_name, 'async')
        first = connection.root()['kept'] = queue.put(Job(counter.more, 20))
        transaction.commit()
        self.assertIs(first._p_jar.db(), queue._p_jar.db())
        self.assertEqual(testing.wait_for_result(first, 20), 20)
        self.assertTrue(testing.wait_for(
            lambda: counter.count == 21 and dispatcher.idle, 20))
        self.assertEqual(first.annotations['left'], 20)
        self.assertIs(dispatchers.get(), dispatcher)
