"""The stored form has a number, and steps lead from one to the next."""
import unittest
from unittest import mock

import transaction

from . import contracts
from .. import evolve
from .. import testing
from ..job import Job
from ..queue import GENERATION
from ..queue import Queues
from ..testkit import World


class Steps(unittest.TestCase):

    def setUp(self):
        self.queues = Queues()
        self.queues.generation = 1

    def test_new_queues_are_of_the_newest_form(self):
        self.assertEqual(Queues().generation, GENERATION)
        self.assertIn('generation', Queues().__getstate__())
        evolve.check(Queues())

    def test_steps_are_taken_in_order(self):
        taken = []
        steps = {number: lambda queues, number=number: taken.append(number)
                 for number in (2, 1)}
        self.assertEqual(evolve.evolve(self.queues, steps, 3), 2)
        self.assertEqual(taken, [1, 2])
        self.assertEqual(self.queues.generation, 3)

    def test_nothing_happens_to_the_newest_form(self):
        self.queues.generation = GENERATION
        self.assertEqual(evolve.evolve(self.queues), 0)

    def test_a_missing_step_is_named(self):
        with self.assertRaisesRegex(evolve.GenerationError, 'form 1 to 2'):
            evolve.evolve(self.queues, {}, 2)
        self.assertEqual(self.queues.generation, 1)

    def test_a_newer_form_is_refused(self):
        self.queues.generation = GENERATION + 1
        for refuse in (evolve.check, evolve.evolve):
            with self.assertRaisesRegex(evolve.GenerationError, 'newer one'):
                refuse(self.queues)

    def test_an_older_form_is_refused_until_it_is_evolved(self):
        self.queues.generation = GENERATION - 1
        for at_once, remedy in (((), 'call zc.async_.evolve.evolve'),
                                ((GENERATION - 1,), 'start a dispatcher')):
            with (mock.patch.object(evolve, 'AT_ONCE', frozenset(at_once)),
                  self.assertRaisesRegex(evolve.GenerationError, remedy)):
                evolve.check(self.queues)

    def test_dispatchers_go_on_by_themselves_only_where_that_does_no_harm(self):
        with mock.patch.object(evolve, 'AT_ONCE', frozenset()):
            with self.assertRaisesRegex(evolve.GenerationError, 'evolve'):
                evolve.keep_up(self.queues)
            self.assertEqual(self.queues.generation, 1)
        evolve.keep_up(self.queues)
        self.assertEqual(self.queues.generation, GENERATION)
        self.queues.generation = GENERATION + 1
        with self.assertRaisesRegex(evolve.GenerationError, 'newer one'):
            evolve.keep_up(self.queues)

    def test_a_dispatcher_works_with_a_database_of_the_first_form(self):
        with World() as world:
            job = world.put(Job(contracts.nothing))
            world.queue.parent.generation = 1
            transaction.commit()
            world.start()
            self.assertIsNone(testing.wait_for_result(job, 20))
            self.assertEqual(world.queue.parent.generation, GENERATION)
