"""Agents beyond what every agent keeps; see `contracts.AgentContract`."""
import unittest

from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from . import contracts
from .. import agent as agents
from .. import interfaces
from ..agent import Agent
from ..interfaces import IAgent
from ..interfaces import IFilterAgent
from .contracts import FIRST
from .contracts import add
from .contracts import nothing


def refuses(job):
    """A filter."""
    return False


def is_add(job):
    """A filter by what the job calls."""
    return job.callable == add


def the_last(agent):
    """A chooser: claims the job that was put last."""
    jobs = list(agent.queue)
    return agent.queue.claim(lambda job: job is jobs[-1]) if jobs else None


class Choices(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher()

    def test_the_class_provides_both_interfaces(self):
        verifyClass(IAgent, Agent)
        verifyObject(IFilterAgent, Agent())

    def test_an_agent_has_size_three_and_takes_anything(self):
        agent = Agent()
        self.assertEqual((agent.size, agent.chooser, agent.filter), (3, None, None))

    def test_a_filter_says_what_is_taken(self):
        self.agent.filter = is_add
        self.put(nothing)
        job = self.put(add)
        self.assertIs(self.agent.claimJob(), job)
        self.assertIsNone(self.agent.claimJob())
        self.agent.filter = None
        self.assertIsNotNone(self.agent.claimJob())

    def test_a_chooser_claims_itself(self):
        self.agent.chooser = the_last
        _first, second = self.put(), self.put()
        self.assertIs(self.agent.claimJob(), second)

    def test_the_chooser_is_the_first_argument(self):
        self.assertIs(Agent(the_last, None, 5).chooser, the_last)
        self.assertEqual(Agent(the_last, None, 5).size, 5)

    def test_an_agent_with_a_chooser_is_no_filter_agent(self):
        self.assertFalse(IFilterAgent.providedBy(Agent(the_last)))
        self.assertTrue(IAgent.providedBy(Agent(the_last)))
        self.assertTrue(IFilterAgent.providedBy(Agent(filter=refuses)))

    def test_a_chooser_can_be_set_and_taken_away(self):
        self.agent.chooser = the_last
        self.assertFalse(IFilterAgent.providedBy(self.agent))
        self.agent.chooser = None
        self.assertTrue(IFilterAgent.providedBy(self.agent))
        self.client.commit()
        self.assertTrue(IFilterAgent.providedBy(self.world.open().agent()))

    def test_choices_can_be_changed_from_another_process(self):
        self.put(nothing)
        self.client.commit()
        other = self.world.open()
        other.agent().filter = refuses
        other.commit()
        self.client.begin()
        self.assertIsNone(self.agent.claimJob())

    def test_both_a_filter_and_a_chooser_are_refused(self):
        with self.refused(ValueError, 'not both'):
            Agent(the_last, refuses)
        self.agent.filter = refuses
        with self.refused(ValueError, 'filter', attribute=True):
            self.agent.chooser = the_last
        self.assertIsNone(self.agent.chooser)
        other = Agent(the_last)
        with self.refused(ValueError, 'chooser', attribute=True):
            other.filter = refuses
        self.assertIsNone(other.filter)

    def test_a_size_in_the_place_of_the_chooser_is_refused(self):
        with self.refused(ValueError, 'size='):
            Agent(3)

    def test_a_size_that_is_no_number_of_jobs_is_refused(self):
        for size in (-1, 2.5, '3', None):
            with self.refused(ValueError, 'size'):
                Agent(size=size)

    def test_an_agent_of_size_zero_claims_nothing(self):
        self.agent.size = 0
        self.put()
        self.assertIsNone(self.agent.claimJob())


class Held(contracts.InWorld, unittest.TestCase):
    """The jobs an agent holds."""

    def setUp(self):
        super().setUp()
        self.agent = self.world.add_dispatcher()
        self.jobs = [self.put() for _number in range(3)]
        self.first, self.second, self.third = self.jobs
        for job in self.jobs[:2]:
            self.agent.hold(self.queue.claim(lambda one, job=job: one is job))

    def test_a_job_is_in_it(self):
        self.assertIn(self.first, self.agent)
        self.assertNotIn(self.third, self.agent)

    def test_a_job_has_a_position(self):
        self.assertEqual(
            [self.agent.index(job) for job in (self.first, self.second)], [0, 1])
        with self.assertRaises(ValueError):
            self.agent.index(self.third)

    def test_old_clients_iterate_over_its_data(self):
        self.assertEqual(list(self.agent._data), [self.first, self.second])

    def test_a_job_can_be_removed(self):
        self.agent.remove(self.first)
        self.assertEqual(list(self.agent), [self.second])
        self.assertIsNone(self.first.parent)

    def test_removing_a_job_it_does_not_hold_does_nothing(self):
        self.agent.discard(self.third)
        self.assertIs(self.third.parent, self.queue)
        self.assertEqual(len(self.agent), 2)

    def test_free_is_how_many_more_it_may_hold(self):
        self.assertEqual(self.agent.free, 1)
        self.agent.size = 1
        self.assertLess(self.agent.free, 1)

    def test_a_completed_job_stays_the_agents(self):
        self.agent.jobCompleted(self.first)
        self.assertEqual(list(self.agent), [self.second])
        self.assertEqual(list(self.agent.completed), [self.first])
        self.assertIs(self.first.agent, self.agent)

    def test_a_dispatcher_may_have_several_agents(self):
        second = self.agent.parent['second'] = Agent()
        self.assertEqual(second.name, 'second')
        self.assertIs(second.claimJob(), self.third)
        self.assertEqual(len(self.agent), 2)

    def test_a_job_that_a_chooser_made_can_be_held(self):
        job = contracts.Job(nothing)
        self.agent.hold(job)
        self.assertEqual(list(self.agent), [job, self.first, self.second])


class MainAgent(contracts.InWorld, unittest.TestCase):
    """The documented handler."""

    def test_it_adds_an_agent_to_a_dispatcher_that_has_none(self):
        self.queue.dispatchers.register(FIRST)
        found = self.queue.dispatchers[FIRST]
        agents.addMainAgentActivationHandler(interfaces.DispatcherActivated(found))
        main = found['main']
        self.assertEqual((main.name, main.size), ('main', 3))
        agents.addMainAgentActivationHandler(interfaces.DispatcherActivated(found))
        self.assertIs(found['main'], main)
