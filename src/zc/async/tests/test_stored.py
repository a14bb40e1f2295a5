"""What is stored of a job: a tuple, or what does not fit into one."""
import datetime
import io
import unittest

import transaction
import ZODB

from . import contracts
from .. import evolve
from ..job import Job
from ..model import records
from ..model import stored
from ..queue import Queues

NUMBERS = {'_code': 1, '_attempt': 2, '_begin_after': 3, '_begin_by': 0,
           '_active_start': -4, '_active_end': 5, '_callbacks_end': 6}
KEYS = {'_order': bytes(range(18)), '_assigner': bytes(range(16))}


class Tuples(unittest.TestCase):

    def again(self, state):
        found = stored.unpack(stored.pack(dict(state)))
        for name in ('_call', 'parent'):
            if name not in state:
                self.assertIsNone(found.pop(name))
        return found

    def test_all_comes_back(self):
        state = {**NUMBERS, **KEYS, '_call': 'c', 'parent': 'p', '_deaths': 3}
        self.assertEqual(self.again(state), state)

    def test_what_is_not_there_does_not_come_back(self):
        self.assertEqual(self.again({}), {})
        for name, value in {**NUMBERS, **KEYS, 'parent': 'p', '_result': 0}.items():
            with self.subTest(name):
                self.assertEqual(self.again({name: value}), {name: value})

    def test_what_does_not_fit(self):
        for name, value in (
                ('_order', 17 * b'x'), ('_order', 19 * b'x'), ('_order', 'x'),
                ('_assigner', 15 * b'x'), ('_assigner', 17 * b'x'), ('_attempt', 1 << 16),
                ('_attempt', -1), ('_begin_after', 1 << 63), ('_active_end', 0.5),
                ('_code', 'x')):
            with self.subTest(name, value=value):
                self.assertIsNone(stored.pack({name: value}))


class Restless(Job):
    """A job of an application that says by itself what is stored of it."""

    def __getstate__(self):
        return {**super().__getstate__(), 'more': 1}


class Counting(Job):
    """The same, where it is loaded."""

    loaded = 0

    def __setstate__(self, state):
        super().__setstate__({**state, 'loaded': self.loaded + 1})


class Plain(Job):
    """A job of an application, with an attribute of its own."""

    color = None


class Stored(unittest.TestCase):
    """In a database, and loaded by another connection."""

    def setUp(self):
        self.db = ZODB.DB(None)
        self.addCleanup(self.db.close)
        self.connection = self.db.open()
        self.addCleanup(self.connection.close)
        self.addCleanup(transaction.abort)

    def store(self, job):
        self.connection.root()['job'] = job
        transaction.commit()
        other = self.db.open(transaction.TransactionManager())
        self.addCleanup(other.close)
        return other.root()['job']

    def state(self, job):
        """Return what the record of *job* has, without its references."""
        reader = records._Reader(io.BytesIO(records.raw(job).job))
        reader.load()
        return reader.load()

    def test_a_job(self):
        job = Job(contracts.echo, 1)
        vars(job).update({**NUMBERS, **KEYS})
        other = self.store(job)
        self.assertEqual(other.args[0], 1)
        for name, value in {**NUMBERS, **KEYS, 'parent': None, '_result': None}.items():
            self.assertEqual(getattr(other, name), value, name)
        self.assertEqual(self.state(job)[3:], ({'_begin_by': 0},))

    def test_no_more_than_is_needed(self):
        job = Job(contracts.echo, 1)
        job.failure_log_level = job.retry_policy_factory = None
        self.store(job)
        self.assertEqual(len(self.state(job)), 3)

    def test_numbers_that_do_not_fit(self):
        job = Job(contracts.echo, 1)
        job._attempt = 1 << 16
        self.assertEqual(self.store(job)._attempt, 1 << 16)
        self.assertIs(type(self.state(job)), dict)

    def test_how_late_it_may_begin(self):
        job = Job(contracts.echo, 1)
        job.begin_by = datetime.timedelta.max
        self.assertEqual(self.store(job).begin_by, datetime.timedelta.max)

    def test_a_job_of_an_application(self):
        job = Plain(contracts.echo, 1)
        job.color = 'red'
        self.assertEqual(self.store(job).color, 'red')
        self.assertEqual(self.state(job)[3], {'color': 'red'})

    def test_one_that_has_a_say_in_it_is_given_a_mapping(self):
        self.assertEqual(self.store(Restless(contracts.echo)).more, 1)
        self.assertEqual(self.store(Counting(contracts.echo)).loaded, 1)

    def test_its_call_is_found_without_loading_it(self):
        job = Job(contracts.echo, 'a word')
        self.store(job)
        self.assertIn(b'a word', records.raw(job).call)
        restless = Restless(contracts.echo, 'a word')
        self.store(restless)
        self.assertIn(b'a word', records.raw(restless).call)


class FirstForm(unittest.TestCase):
    """Attributes by name, and numbers in a tuple of their own."""

    def test_it_is_read(self):
        job = Job.__new__(Job)
        job.__setstate__({'_n': (2, 1, None, 5), '_order': 18 * b'x', '_lacks': ('a', 1)})
        self.assertEqual(vars(job), {'_code': 2, '_attempt': 1, '_begin_by': 5,
                                     '_order': 18 * b'x', '_lacks': ('a', 1)})

    def test_it_is_read_where_nothing_is_numbered(self):
        job = Job.__new__(Job)
        job.__setstate__({'_lacks': ('a', 1)})
        self.assertEqual(vars(job), {'_lacks': ('a', 1)})

    def test_its_queues_are_brought_to_the_second(self):
        queues = Queues()
        queues.generation = 1
        with self.assertRaises(evolve.GenerationError):
            evolve.check(queues)
        self.assertEqual(evolve.evolve(queues, to=2), 1)
        self.assertEqual(queues.generation, 2)
