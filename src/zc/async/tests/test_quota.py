"""The quotas of a queue."""
import unittest

from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from . import contracts
from ..interfaces import IQuotas
from ..model.quota import Quotas


class TheQuotas(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.quotas = self.queue.quotas

    def test_they_provide_the_interface(self):
        verifyClass(IQuotas, Quotas)
        verifyObject(IQuotas, self.quotas)

    def test_a_new_quota_is_of_size_one(self):
        self.quotas.create('q')
        self.assertEqual(self.quotas['q'].size, 1)

    def test_a_quota_can_be_created_with_a_size(self):
        self.quotas.create('q', size=5)
        self.assertEqual(self.quotas['q'].size, 5)

    def test_they_are_a_mapping(self):
        self.quotas.create('q')
        self.quotas.create('r', 2)
        self.assertIn('q', self.quotas)
        self.assertNotIn('s', self.quotas)
        self.assertEqual(len(self.quotas), 2)
        self.assertEqual(list(self.quotas), ['q', 'r'])
        self.assertEqual(list(self.quotas.keys()), ['q', 'r'])
        self.assertEqual([quota.size for quota in self.quotas.values()], [1, 2])
        self.assertEqual([(name, quota.size) for name, quota in self.quotas.items()],
                         [('q', 1), ('r', 2)])
        self.assertIs(self.quotas.get('q'), self.quotas['q'])
        self.assertIsNone(self.quotas.get('s'))
        self.assertEqual(self.quotas.get('s', 7), 7)
        with self.assertRaises(KeyError):
            self.quotas['s']

    def test_a_name_is_taken_once(self):
        self.quotas.create('q')
        with self.refused(KeyError, "'q'"):
            self.quotas.create('q', 2)
        self.assertEqual(self.quotas['q'].size, 1)

    def test_a_name_is_a_string(self):
        with self.refused(TypeError, '5'):
            self.quotas.create(5)

    def test_a_size_is_a_number_of_jobs(self):
        for size in (-1, 1.5, '1', None):
            with self.refused(ValueError, 'size'):
                self.quotas.create('q', size)
        self.assertNotIn('q', self.quotas)

    def test_a_quota_can_be_removed(self):
        self.quotas.create('q')
        quota = self.quotas['q']
        self.quotas.remove('q')
        self.assertNotIn('q', self.quotas)
        self.assertIsNone(quota.parent)
        with self.assertRaises(KeyError):
            self.quotas.remove('q')

    def test_old_clients_may_set_what_a_quota_counts(self):
        self.quotas.create('q')
        job = self.claimed(self.put(quotas=('q',)))
        self.assertEqual(list(self.quotas['q']._data), [job])
        self.quotas['q']._data = ()
        self.assertEqual(len(self.quotas['q']), 0)

    def test_a_claimed_job_that_went_astray_does_not_fill_a_quota_for_ever(self):
        self.quotas.create('q')
        lost, other = self.put(quotas=('q',)), self.put(quotas=('q',))
        self.assertIs(self.queue.claim(), lost)
        self.assertTrue(self.quotas['q'].filled)
        self.assertIs(self.queue.claim(), other)
