"""Where a result is kept."""
import datetime
import decimal
import unittest

from persistent.mapping import PersistentMapping

from . import contracts
from .contracts import echo
from ..failures import Failure
from ..job import Job
from ..model import result


class Point:
    """Has code of an application when it is stored."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x

    __hash__ = None


class Results(contracts.InWorld, unittest.TestCase):

    def assert_kept(self, value, apart):
        found = result.kept(value)
        self.assertEqual(type(found) is result.Held, apart, value)
        self.assertIs(result.value_of(found), value)

    def test_small_and_plain_ones_are_kept_in_the_record_of_the_job(self):
        for value in (None, 42, 1.5, True, 'text', b'', 4096 * 'x', [1, {'a': (2,)}], {3},
                      datetime.datetime(2030, 1, 1), decimal.Decimal(7), contracts.nothing,
                      PersistentMapping(), [PersistentMapping()], Failure(ValueError('x'))):
            self.assert_kept(value, False)

    def test_large_ones_and_those_with_code_have_a_record_of_their_own(self):
        for value in (4097 * 'x', 4097 * b'x', list(range(5000)), Point(1), [Point(1)]):
            self.assert_kept(value, True)

    def test_nobody_sees_the_difference(self):
        for value in (7, 5000 * 'x', Point(7)):
            job = self.put(echo, value)
            callback, proxy = job.addCallback(echo), job.addCallbacks(success=Job(echo))
            other = proxy.addCallback(echo)
            self.world.add_dispatcher(str(value)[:20]).claimJob()()
            self.client.commit()
            found = self.world.open()
            for node in (job, callback, proxy, proxy.success, other):
                self.assertEqual(found.mine(node).result, value)

    def test_a_large_one_is_written_once(self):
        agent = self.world.add_dispatcher()
        job = self.put(echo, 100_000 * 'x')
        job.addCallback(contracts.nothing)
        self.client.commit()
        agent.claimJob()()
        self.client.commit()
        size = self.world.storage.getSize()
        job._p_changed = True
        self.client.commit()
        self.assertLess(self.world.storage.getSize() - size, 10_000)


if __name__ == '__main__':
    unittest.main()
