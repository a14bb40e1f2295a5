"""One hostile job of each kind: it ends as it has to, and nobody else suffers.

The kinds are in the modules ``hostile_*`` of `faults`; what is said of a
kind there is a limit as well: one attempt, one Failure of that class, no retry.
"""
import logging
import time
import unittest
from unittest import mock

import transaction
from ZODB.MappingStorage import MappingStorage

from .faults import hostile_surroundings
from .faults.hostile import KINDS
from .faults.hostile_mix import Lines
from ..interfaces import COMPLETED
from ..job import Job
from ..model import execution
from .test_dispatcher import multiply
from .test_dispatcher import VirtualCase

#: Polls in which a hostile job has to end, and real seconds.
POLLS, SECONDS = 30, 10
#: Jobs that may follow from one another; the product's limit takes longer.
CHAIN = 20


class EveryKind(VirtualCase):
    """A dispatcher with three workers, and a quota with one place."""

    def storage(self):
        return MappingStorage()

    def setUp(self):
        super().setUp()
        self.queue.quotas.create('scarce')
        transaction.commit()
        self.lines = Lines()
        log = logging.getLogger('zc.async')
        self.addCleanup(log.setLevel, log.level)
        self.addCleanup(setattr, log, 'propagate', log.propagate)
        log.setLevel(logging.DEBUG)
        log.propagate = False
        log.addHandler(self.lines)
        self.addCleanup(log.removeHandler, self.lines)
        hostile_surroundings.come()
        self.addCleanup(hostile_surroundings.come)
        patch = mock.patch.object(execution, 'MAX_CHAIN', CHAIN)
        patch.start()
        self.addCleanup(patch.stop)

    def check(self, kind):
        threads = list(self.dispatcher.queues['']['main'].threads)
        if kind.refused is not None:
            self.assert_refused(kind)
        else:
            self.assert_ends(kind)
        self.assert_well(threads)

    def assert_refused(self, kind):
        """It is refused at once, and nothing is stored."""
        with self.assertRaises(kind.refused):
            self.queue.put(kind.make())
        transaction.commit()
        self.assertEqual(len(self.queue), 0)

    def assert_ends(self, kind):
        job = kind.make()
        job.quota_names = ['scarce']
        self.put(job)
        hostile_surroundings.go()
        self.connection.cacheMinimize()
        began = time.monotonic()
        for _number in range(POLLS):
            self.poll()
            if not len(self.queue) and not len(self.agents['main']):
                break
        self.assertIsNone(kind.problem(job, job in self.queue.parked))
        self.assertLess(time.monotonic() - began, SECONDS)

    def assert_well(self, threads):
        """The places, the quota and the threads are free, and no poll had an error."""
        self.assertEqual(len(self.agents['main']), 0)
        quota = self.queue.quotas['scarce']
        quota.clean()
        self.assertEqual(len(quota), 0)
        transaction.commit()
        jobs = [Job(multiply, number, 7) for number in range(6)]
        for job in jobs:
            job.quota_names = ['scarce']
            self.put(job)
        self.finish(*jobs, polls=20)
        self.assertEqual([job.result for job in jobs], list(range(0, 42, 7)))
        self.assertEqual([job.status for job in jobs], [COMPLETED] * 6)
        self.assertEqual(self.dispatcher.queues['']['main'].threads, threads)
        self.assertTrue(all(thread.is_alive() for thread in threads))
        found = [agent['error'] for poll in self.dispatcher.iterPolls()
                 for agents in poll['results'].values() for agent in agents.values()]
        self.assertEqual(set(found), {None})
        self.assertEqual((self.lines.raw, self.lines.long), ([], []))
        self.assertEqual(self.lines.counts['poll failed'], 0)


def _add(kind):
    def test(self):
        self.check(kind)

    setattr(EveryKind, f'test_{kind.name}', test)


for _kind in KINDS.values():
    _add(_kind)


if __name__ == '__main__':
    unittest.main()
