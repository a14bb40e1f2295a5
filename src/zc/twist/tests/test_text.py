import unittest

from hypothesis import given, strategies

from zc.twist import text
from zc.twist.tests import hostile

# Surrogates included, which hypothesis leaves out by itself.
any_text = strategies.text(strategies.characters(codec=None) |
                           strategies.characters(categories=['Cs', 'Cc']))


class Clean(unittest.TestCase):

    @given(any_text, strategies.integers(1, 60))
    def test_any_text_becomes_short_and_showable(self, given_text, limit):
        made = text.clean(given_text, limit)
        made.encode('utf-8')
        self.assertIs(type(made), str)
        self.assertIsNone(text.UNSAFE.search(made))
        self.assertLess(len(made), limit + 200)

    @given(strategies.text(strategies.characters(
        categories=['L', 'N', 'P', 'S', 'M', 'Zs']) | strategies.just('\n')))
    def test_ordinary_text_stays_as_it_is(self, given_text):
        self.assertEqual(text.clean(given_text, 10_000), given_text)

    def test_of_long_text_the_beginning_and_the_end_are_kept(self):
        self.assertEqual(text.clip('a' * 50 + 'b' * 50, 8),
                         'aaaaaa[... 92 characters left out ...]bb')

    def test_a_subclass_becomes_exact(self):
        self.assertIs(type(text.clip(hostile.SlyText('sly'), 10)), str)

    def test_a_line_is_one_line(self):
        self.assertEqual(text.line_of('a\nb', 10), 'a\\nb')


class Guarded(unittest.TestCase):

    def test_gives_what_the_function_returns(self):
        self.assertEqual(text.guarded(divmod, 7, 2), (3, 1))

    def test_or_else_what_it_is_told(self):
        self.assertEqual(text.guarded(divmod, 7, 0, instead='?'), '?')
        self.assertEqual(text.guarded(exit, instead='?'), '?')

    def test_a_message_that_cannot_be_had_is_said_so(self):
        for cls in hostile.BadStr, hostile.Exits, hostile.NotText:
            self.assertIn('cannot be shown', text.message_of(cls(), 100))
        self.assertEqual(text.message_of(hostile.Sly(), 100), 'sly')


class IsA(unittest.TestCase):

    def test_the_type_decides(self):
        class Lying:
            __class__ = int
        self.assertFalse(text.is_a(Lying(), int))
        self.assertTrue(text.is_a(True, str, int))
        self.assertFalse(text.is_a(1))


if __name__ == '__main__':
    unittest.main()
