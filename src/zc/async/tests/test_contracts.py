"""Our queues, agents, quotas and policies keep the contracts."""
import unittest

from . import contracts
from ..agent import Agent
from ..model import retry
from ..queue import Queue


class Suites(unittest.TestCase):

    def test_applications_import_them_by_the_spelling_that_python_can_parse(self):
        from zc.async_.tests import contracts as found
        self.assertIs(found, contracts)
        self.assertEqual(found.__name__, 'zc.async.tests.contracts')


class LoudQueue(Queue):
    """A queue as an application might derive it."""

    def put(self, item, *args, **kwargs):
        job = super().put(item, *args, **kwargs)
        job.loud = True
        return job


def first_come(agent):
    """A chooser that does what an agent without one does."""
    return agent.queue.claim()


def anything(job):
    """A filter that accepts any job."""
    return True


class HookedAgent(Agent):
    """An agent as an application might derive it."""

    def _choose(self):
        return self.queue.claim()


class OurQueue(contracts.QueueContract, unittest.TestCase):
    """`Queue` keeps the contract."""


class DerivedQueue(contracts.QueueContract, unittest.TestCase):
    """A subclass of `Queue` keeps it too."""

    def make_queue(self):
        return LoudQueue()

    def test_a_queue_may_add_to_what_put_does(self):
        self.assertTrue(self.put().loud)


class OurAgent(contracts.AgentContract, unittest.TestCase):
    """`Agent` keeps the contract."""


class AgentWithFilter(contracts.AgentContract, unittest.TestCase):
    """So it does with a filter."""

    def make_agent(self):
        return Agent(filter=anything)


class AgentWithChooser(contracts.AgentContract, unittest.TestCase):
    """So it does with a chooser."""

    def make_agent(self):
        return Agent(first_come)


class DerivedAgent(contracts.AgentContract, unittest.TestCase):
    """A subclass with the documented hook keeps it too."""

    def make_agent(self):
        return HookedAgent()


class OurQuota(contracts.QuotaContract, unittest.TestCase):
    """`Quota` keeps the contract."""


class FourTimes(contracts.RetryPolicyContract, unittest.TestCase):
    """`RetryCommonFourTimes` keeps the contract."""

    def make_policy(self, job):
        return retry.RetryCommonFourTimes(job)


class Forever(contracts.RetryPolicyContract, unittest.TestCase):
    """`RetryCommonForever` keeps the contract."""

    def make_policy(self, job):
        return retry.RetryCommonForever(job)


class Never(contracts.RetryPolicyContract, unittest.TestCase):
    """`NeverRetry` keeps the contract."""

    def make_policy(self, job):
        return retry.NeverRetry(job)
