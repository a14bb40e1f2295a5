"""What a dispatcher remembers takes little memory, however much it does."""
import tracemalloc
import unittest

from ..runtime.history import History
from ..runtime.history import Keys


class LatestKeys(unittest.TestCase):

    def test_they_come_back_as_they_were_given(self):
        keys = Keys(5)
        given = [(2 ** 64 - 1, 'main'), (0, 'other'), (7, 'main'), (7, None)]
        for key in given:
            keys.append(key)
        self.assertEqual((list(keys), len(keys)), (given, 4))

    def test_the_oldest_are_forgotten(self):
        keys = Keys(2)
        for number in range(5):
            keys.append((number, f'database {number % 2}'))
        self.assertEqual(list(keys), [(3, 'database 1'), (4, 'database 0')])

    def test_none_at_all(self):
        keys = Keys(0)
        keys.append((1, ''))
        self.assertEqual((list(keys), len(keys)), ([], 0))


class Memory(unittest.TestCase):

    def test_polls_that_claimed_as_many_jobs_as_are_shown(self):
        history = History(jobs_size=200, polls_size=40)
        tracemalloc.start()
        try:
            before, _peak = tracemalloc.get_traced_memory()
            for poll in range(40):
                history.add_poll()
                for number in range(250):
                    record = history.claimed((10 ** 6 * poll + number, 'main'), '', 'a')
                    history.ended(record, False, '42')
            after, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(len(list(history.polls())), 40)
        self.assertLess((after - before) / 40, 6000, 'bytes for each poll')
        shown = history.polls(count=1)[0].as_info()['results']['']['a']['new jobs']
        self.assertEqual((len(shown), shown[-1]), (200, (39_000_249, 'main')))
