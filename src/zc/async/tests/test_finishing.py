"""A worker that stores effects, result and completion of a job in one commit."""
import threading
import unittest
from unittest import mock

import transaction

from .. import clock
from .. import testing
from ..interfaces import CALLBACKS
from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..job import Job
from ..runtime.effects import ghost
from ..runtime.turns import Turns
from ..threadlocal import local
from .test_worker import Case
from .test_worker import count
from .test_worker import counts
from .test_worker import note
from .test_worker import story


def change():
    """Have an effect."""
    count('begun')
    root = local.getJob()._p_jar.root()
    root['changed'] = root.get('changed', 0) + 1
    return 'changed'


def change_slowly():
    """Have an effect after a second."""
    testing.set_now(clock.now() + testing.datetime.timedelta(seconds=1))
    return change()


def add_callback_elsewhere():
    """Add a callback to this job, in the first attempt, as another process would."""
    job = local.getJob()
    if count('added') == 1:
        thread = threading.Thread(target=_add_callback, args=(job._p_jar.db(), job._p_oid))
        thread.start()
        thread.join()


def _add_callback(db, oid):
    with db.transaction() as connection:
        connection.get(oid).addCallback(note)


def change_and_get_callback():
    """Have an effect; meanwhile somebody adds a callback."""
    add_callback_elsewhere()
    return change()


def change_slowly_and_get_callback():
    """The same, in a second."""
    add_callback_elsewhere()
    return change_slowly()


def change_and_tell():
    """Have an effect, and a live annotation."""
    local.setLiveAnnotation('begun', count('begun'))
    counts['begun'] -= 1
    return change()


class Other(Job):
    """Made in another way, for all that is known."""


class Finishing(Case):

    def stop_before_the_turn(self):
        """Keep what workers hand back; return a list of how to go on."""
        kept = []

        def submit(turns, ticket, outcome, goes_on):
            kept.append(lambda: real(turns, ticket, outcome))

        real = Turns.submit
        patch = mock.patch.object(Turns, 'submit', submit)
        patch.start()
        self.addCleanup(patch.stop)
        return kept

    def in_hand(self, item):
        """Have a job done whose agent holds it still; return it and how to go on."""
        kept = self.stop_before_the_turn()
        job = self.put(item)
        self.reactor.time_flies(self.dispatcher.poll_interval)
        self.assertTrue(testing.wait_for(lambda: kept))
        transaction.begin()
        return job, kept[0]

    @property
    def changed(self):
        transaction.begin()
        return self.connection.root().get('changed', 0)

    def assertLeft(self, job):
        """It was done once, and is where completed jobs are."""
        transaction.begin()
        self.assertEqual((job.status, job.result), (COMPLETED, 'changed'))
        self.assertEqual((self.changed, counts['begun']), (1, 1))
        self.assertEqual(len(self.agents['main']), 0)
        self.assertEqual(list(self.agents['main'].completed), [job])
        self.assertIs(job.agent, self.agents['main'])

    def test_it_is_completed_with_its_effect_and_not_written_again(self):
        job, go_on = self.in_hand(change)
        self.assertEqual((job.status, job.result, self.changed), (COMPLETED, 'changed', 1))
        self.assertEqual(list(self.agents['main']), [job])
        serial = job._p_serial
        go_on()
        # not even read, where it was changed since
        cache = self.dispatcher._turns._connection._cache
        self.assertIsNone(cache.get(job._p_oid)._p_changed)
        self.assertLeft(job)
        self.assertEqual(job._p_serial, serial)

    def test_a_callback_that_is_added_then_is_called_at_once(self):
        job, go_on = self.in_hand(change)
        job.addCallback(note)
        transaction.commit()
        self.assertEqual(story, [('changed',)])
        go_on()
        self.assertLeft(job)

    def test_who_takes_over_lets_it_go(self):
        job, go_on = self.in_hand(change)
        self.agents.deactivate(died=True)
        transaction.commit()
        self.assertLeft(job)
        go_on()
        self.assertLeft(job)

    def test_its_agent_was_removed(self):
        job, go_on = self.in_hand(change)
        agent = self.agents['main']
        del self.agents['main']
        transaction.commit()
        go_on()
        transaction.begin()
        self.assertEqual((len(agent), list(agent.completed)), (0, [job]))

    def test_a_callback_that_is_added_meanwhile_is_not_lost(self):
        job = self.put(change_and_get_callback)
        self.finish(job)
        self.assertEqual((job.result, self.changed), ('changed', 1))
        self.assertEqual(story, [('changed',)])

    def test_nor_does_it_make_a_long_call_be_made_again(self):
        job = self.put(change_slowly_and_get_callback)
        self.finish(job)
        self.assertEqual((job.result, self.changed), ('changed', 1))
        self.assertEqual((counts['begun'], story), (1, [('changed',)]))

    def test_nor_does_a_live_annotation_of_its_own(self):
        job = self.put(change_and_tell)
        self.finish(job)
        self.assertLeft(job)
        self.assertEqual(job.annotations['begun'], 1)

    def test_a_job_with_a_quota_is_left_to_the_turn(self):
        self.queue.quotas.create('q')
        transaction.commit()
        job = Job(change)
        job.quota_names = ('q',)
        job, go_on = self.in_hand(job)
        self.assertIs(job.status, CALLBACKS)
        go_on()
        self.assertLeft(job)
        self.assertEqual(len(self.connection.root()[KEY][''].quotas['q']), 0)


class Ghosts(Case):
    """A job whose class is known is loaded once."""

    def test_it_is_loaded_when_it_is_used_and_not_before(self):
        job = self.put(change)
        for cls, loads in ((Job, 1), (None, 2)):
            connection = self.db.open(transaction.TransactionManager())
            connection.cacheMinimize()
            connection._resetCache()
            with mock.patch.object(connection._storage, 'load',
                                   wraps=connection._storage.load) as load:
                found = ghost(connection, job._p_oid, cls)
                self.assertEqual(load.call_count, loads - 1)
                self.assertIs(type(found), Job)
                self.assertEqual(found._p_oid, job._p_oid)
                found._p_activate()
                self.assertEqual(load.call_count, loads)
            connection.close()

    def test_a_worker_is_told_the_class_where_it_is_certain(self):
        tickets = []
        hand_out = self.dispatcher.hand_out
        self.dispatcher.hand_out = lambda ticket: (tickets.append(ticket),
                                                   hand_out(ticket))
        self.finish(self.put(change), self.put(Other(change)))
        self.assertEqual([ticket.cls for ticket in tickets], [Job, None])


if __name__ == '__main__':
    unittest.main()
