"""What cannot be read or loaded affects itself only."""
import sys
import types
import unittest

import transaction
import ZODB
from ZODB.MappingStorage import MappingStorage

from .. import agent
from .. import interfaces
from .. import job
from .. import queue


def plain():
    """What the other jobs do."""


class Unreadable(unittest.TestCase):
    """One record that cannot be used holds up nothing else."""

    def setUp(self):
        self.module = types.ModuleType('zc_async_passing')
        sys.modules['zc_async_passing'] = self.module
        self.addCleanup(sys.modules.pop, 'zc_async_passing', None)
        self.module.Job = job.Job
        exec('class Passing(Job): pass\n'
             'def gone(job): return False\n', self.module.__dict__)
        self.storage = MappingStorage()
        self.addCleanup(self.storage.close)
        self.root = self.open()
        queues = self.root[interfaces.KEY] = queue.Queues()
        queues[''] = queue.Queue()

    def open(self):
        """Return the root, in a database that knows no classes yet."""
        self.manager = transaction.TransactionManager()
        connection = ZODB.DB(self.storage).open(self.manager)
        self.addCleanup(self.manager.abort)
        return connection.root()

    def reopen(self):
        """Forget what is loaded, and the module."""
        self.manager.commit()
        del sys.modules['zc_async_passing']
        self.root = self.open()
        return self.root[interfaces.KEY]['']

    def test_a_job_whose_class_is_gone_is_parked(self):
        line = self.root[interfaces.KEY]['']
        line.put(self.module.Passing(plain))
        line.put(plain)
        line = self.reopen()
        with self.assertLogs('zc.async.events', 'ERROR') as logged:
            self.assertEqual(line.claim().kind, f'{__name__}.plain')
        self.assertIn('class zc_async_passing.Passing is gone', logged.output[0])
        self.assertEqual((len(line), len(line.parked)), (0, 1))
        self.assertIsNone(line.claim())

    def test_a_filter_that_is_gone_takes_no_job(self):
        line = self.root[interfaces.KEY]['']
        line.put(plain)
        self.root['agent'] = agent.Agent(filter=self.module.gone)
        line = self.reopen()
        with self.assertRaisesRegex(
                interfaces.BrokenCallError, 'gone.*put its code back'):
            self.root['agent'].claimJob()
        self.assertEqual(len(line), 1)
