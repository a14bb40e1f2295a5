"""The one source of randomness."""
import os
import random
import unittest

from .. import chance
from .checkout import run_python

#: Prints a token of each of two children and of their parent.
FORKS = '''
import os
from zc.async_ import chance
for number in range(2):
    if os.fork() == 0:
        print(chance.token().hex(), flush=True)
        os._exit(0)
    os.wait()
print(chance.token().hex())
'''


class Chance(unittest.TestCase):

    def test_it_can_be_made_to_repeat_itself(self):
        found = []
        for _number in range(2):
            before = chance.install(random.Random(1))
            try:
                found.append((chance.below(1000), chance.token(), chance.jitter(4)))
            finally:
                chance.install(before)
        self.assertEqual(found[0], found[1])
        self.assertTrue(2 <= found[0][2] <= 4)

    @unittest.skipUnless(hasattr(os, 'fork'), 'this system cannot fork')
    def test_processes_with_one_parent_have_tokens_of_their_own(self):
        # a supervisor's: one that replaces another is not to be taken for it
        tokens = run_python('-c', FORKS).split()
        self.assertEqual(len(set(tokens)), 3, tokens)
