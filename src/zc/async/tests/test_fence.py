"""A dispatcher that a neighbour has declared dead commits nothing any more."""
import transaction
from persistent.mapping import PersistentMapping

from ..interfaces import COMPLETED
from ..interfaces import KEY
from ..interfaces import NEW
from ..interfaces import PENDING
from ..job import Job
from ..threadlocal import local
from .test_dispatcher import multiply
from .test_dispatcher import VirtualCase

#: What the functions below need to know, by name; emptied after each test.
known = {}
runs = []


def declare_dead():
    """Deactivate the dispatcher, once, as a neighbour would."""
    if known.get('done'):
        return
    known['done'] = True
    manager = transaction.TransactionManager(explicit=True)
    connection = known['db'].open(manager)
    with manager:
        queue = connection.root()[KEY]['']
        queue.dispatchers[known['UUID']].deactivate()
    connection.close()


def accept(job):
    """A filter during which the dispatcher is declared dead."""
    declare_dead()
    return True


def late(result):
    """A callback during which the dispatcher is declared dead."""
    runs.append(local.getJob()._p_oid)
    declare_dead()
    return result


class DeadAtTheEnd(Job):
    """When it has its result, and is not completed yet, its dispatcher is declared dead."""

    def tearDown(self, setup_info):
        declare_dead()


def mark(done):
    """An effect: the result is not committed with others."""
    done['marks'] = done.get('marks', 0) + 1


class DeclaredDead(VirtualCase):

    def setUp(self):
        super().setUp()
        known.update(db=self.db, UUID=self.dispatcher.UUID)
        self.addCleanup(known.clear)
        self.addCleanup(runs.clear)

    def test_its_claim_is_not_committed(self):
        self.agents['main'].filter = accept
        job = self.queue.put(Job(multiply, 6, 7))
        transaction.commit()
        self.reactor.time_flies(5)
        self.settle()
        self.assertIsNone(self.agents.activated)
        self.assertIs(job.status, PENDING)

    def test_its_callback_is_not_committed(self):
        job = Job(multiply, 6, 7)
        callback = job.addCallback(late)
        self.queue.put(job)
        transaction.commit()
        self.reactor.time_flies(5)
        self.settle()
        self.assertIs(callback.status, NEW)
        self.assertIsNone(callback.result)
        self.reactor.time_flies(5)
        self.settle()
        self.reactor.time_flies(5)
        self.settle()
        self.assertEqual((callback.result, len(runs)), (42, 2))
        self.assertIs(job.status, COMPLETED)

    def test_it_does_not_complete_a_job_that_is_in_line_again(self):
        done = self.connection.root()['done'] = PersistentMapping()
        job = self.queue.put(DeadAtTheEnd(mark, done))
        transaction.commit()
        for _poll in range(4):
            self.reactor.time_flies(5)
            self.settle()
        self.assertTrue(known['done'])
        self.assertIs(job.status, COMPLETED)
        self.assertEqual(done['marks'], 1)
        self.assertEqual((len(self.queue), len(self.agents['main'])), (0, 0))
        self.assertEqual(list(self.agents['main'].completed), [job])
