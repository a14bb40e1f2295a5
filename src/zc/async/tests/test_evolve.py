"""The stored form has a number, and steps lead from one to the next."""
import unittest

from .. import evolve
from ..queue import GENERATION
from ..queue import Queues


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
        with self.assertRaisesRegex(evolve.GenerationError, 'evolve'):
            evolve.check(self.queues)
