"""The status machine as a table."""
import unittest

import zope.i18nmessageid

from . import contracts
from .. import interfaces
from ..agent import Agent
from ..interfaces import BadStatusError
from ..job import Job
from ..model import status
from .contracts import nothing

ALL = (interfaces.NEW, interfaces.PENDING, interfaces.ASSIGNED, interfaces.ACTIVE,
       interfaces.CALLBACKS, interfaces.COMPLETED, interfaces.PARKED)


class Constants(unittest.TestCase):

    def test_they_are_texts_with_the_documented_values(self):
        self.assertEqual(ALL, ('new-status', 'pending-status', 'assigned-status',
                               'active-status', 'callback-status', 'completed-status',
                               'parked-status'))

    def test_they_are_message_ids_of_the_package(self):
        for one in ALL:
            self.assertIsInstance(one, zope.i18nmessageid.Message)
            self.assertEqual(one.domain, 'zc.async')
        self.assertEqual(interfaces.PENDING.default, 'Pending')

    def test_they_can_be_used_as_texts(self):
        self.assertEqual(interfaces.ACTIVE.replace('-status', ''), 'active')
        self.assertEqual({one: 1 for one in ALL}['new-status'], 1)


class Derived(contracts.InWorld, unittest.TestCase):
    """NEW, PENDING and ASSIGNED follow from the parent: moving writes no status."""

    def test_a_job_without_a_parent_is_new(self):
        self.assertIs(Job(nothing).status, interfaces.NEW)

    def test_a_job_in_a_queue_is_pending(self):
        self.assertIs(self.put().status, interfaces.PENDING)

    def test_a_job_in_an_agent_is_assigned(self):
        job = Job(nothing)
        Agent().hold(job)
        self.assertIs(job.status, interfaces.ASSIGNED)

    def test_a_callback_is_new(self):
        self.assertIs(Job(nothing).addCallback(nothing).status, interfaces.NEW)

    def test_the_code_of_a_waiting_job_is_not_set(self):
        job = self.claimed(self.put())
        self.assertEqual(job._code, status.UNSET)


class Table(unittest.TestCase):

    def test_every_status_is_reached_and_left(self):
        arrows = status.ARROWS.values()
        self.assertEqual({arrow.target for arrow in arrows}, set(ALL))
        self.assertEqual({one for arrow in arrows for one in arrow.sources},
                         set(ALL) - {interfaces.COMPLETED})

    def test_every_arrow_says_who_fires_it_and_what_is_committed_with_it(self):
        for name, arrow in status.ARROWS.items():
            self.assertEqual(arrow.name, name)
            self.assertTrue(arrow.fired_by)
            self.assertTrue(arrow.committed_with)

    def test_every_arrow_is_drawn_in_the_interface(self):
        drawing = interfaces.IJob.__doc__
        for name in status.ARROWS:
            self.assertIn({'take': 'pull, remove'}.get(name, name), drawing)

    def test_moving_follows_the_arrow(self):
        job = Job(nothing)
        for name, reached in (('begin', interfaces.ACTIVE), ('wait', interfaces.ACTIVE),
                              ('settle', interfaces.CALLBACKS),
                              ('finish', interfaces.COMPLETED)):
            status.move(job, name)
            self.assertIs(job.status, reached)

    def test_no_other_move_is_possible(self):
        for before, code in ((interfaces.NEW, status.UNSET),
                             (interfaces.ACTIVE, status.BEGUN),
                             (interfaces.CALLBACKS, status.SETTLED),
                             (interfaces.COMPLETED, status.FINISHED),
                             (interfaces.PARKED, status.KEPT)):
            for name, arrow in status.ARROWS.items():
                job = Job(nothing)
                job._code = code
                if before not in arrow.sources:
                    with self.assertRaises(BadStatusError):
                        status.move(job, name)
                    self.assertIs(job.status, before)

    def test_the_refusal_names_the_job_what_is_and_what_should_be(self):
        with self.assertRaises(BadStatusError) as caught:
            status.check(Job(nothing), 'settle')
        text = str(caught.exception)
        for part in ('settle', 'contracts.nothing', 'new-status', 'active-status'):
            self.assertIn(part, text)
