import types
import unittest

from zc.twist import chain
from zc.twist.tests import hostile
from zc.twist.tests.test_failure import raising, stored


def text_of(exception):
    """Return the traceback of *exception*, after storing, without frames."""
    lines = stored(raising(exception)).getTraceback().splitlines()
    return '\n'.join(line for line in lines
                     if not line.lstrip(' |').startswith(('File', 'function(',
                                                          'return failing(')))


def caused(exception, cause):
    exception.__cause__ = cause
    return exception


class Causes(unittest.TestCase):
    """Chains are told as Python tells them."""

    def test_a_cause_stands_above(self):
        self.assertEqual(text_of(caused(KeyError('k'), ValueError('why'))), (
            "builtins.ValueError: why\n\n"
            "The above exception was the direct cause of the following "
            "exception:\n\n"
            "Traceback (most recent call last):\nbuiltins.KeyError: 'k'"))

    def test_a_context_stands_above_unless_suppressed(self):
        def raise_from(*cause):
            try:
                1 / 0
            except ZeroDivisionError:
                try:
                    if cause:
                        raise KeyError('k') from cause[0]
                    raise KeyError('k')
                except KeyError as error:
                    return error
        self.assertIn(
            'builtins.ZeroDivisionError: division by zero\n\nDuring handling of'
            ' the above exception, another exception occurred:\n\nTraceback',
            text_of(raise_from()))
        self.assertNotIn('ZeroDivision', text_of(raise_from(None)))
        self.assertNotIn('ZeroDivision', text_of(raise_from(ValueError())))

    def test_the_frames_of_a_cause_are_kept(self):
        error = caused(KeyError('k'), raising(ValueError()).value)
        above = raising(error).getTraceback().partition('The above')[0]
        self.assertIn(', in failing\n    function(*args)\n', above)

    def test_a_ring_is_told_once(self):
        one, two = ValueError('one'), ValueError('two')
        one.__cause__, two.__cause__ = two, one
        text = text_of(one)
        self.assertEqual(text.count('ValueError: one'), 1)
        self.assertEqual(text.count('ValueError: two'), 1)

    def test_a_cause_of_itself_is_told_once(self):
        error = ValueError('me')
        error.__cause__ = error
        self.assertEqual(text_of(error).count('me'), 1)

    def test_a_ring_further_up_is_told_once(self):
        one, two, last = ValueError('one'), ValueError('two'), ValueError('last')
        last.__cause__, one.__cause__, two.__cause__ = one, two, one
        text = text_of(last)
        self.assertEqual(text.count('ValueError: one'), 1)
        self.assertNotIn('left out', text)

    def test_of_a_long_chain_both_ends_are_told(self):
        error = None
        for number in range(100):
            error = caused(ValueError('link %d.' % number), error)
        text = text_of(error)
        for number in 0, 1, 2, 94, 95, 96, 97, 98, 99:
            self.assertIn('link %d.\n' % number, text + '\n')
        self.assertNotIn('link 50.', text)
        self.assertIn('91 exceptions left out', text)

    def test_hostile_causes_are_told(self):
        for cls in hostile.ALL:
            text = text_of(caused(ValueError('last'), cls()))
            self.assertIn('direct cause', text)
            self.assertIn('ValueError: last', text)


class Notes(unittest.TestCase):

    def noted(self, notes):
        error = ValueError('v')
        error.__notes__ = notes
        return text_of(error).partition('ValueError: v\n')[2]

    def test_notes_stand_below(self):
        self.assertEqual(self.noted(['one', 'two\nlines', 3]),
                         'one\ntwo\nlines\n3')

    def test_notes_need_not_be_a_list(self):
        self.assertEqual(self.noted('text'), "'text'")
        self.assertEqual(self.noted(('a',)), 'a')

    def test_twenty_are_enough(self):
        text = self.noted([str(number) for number in range(30)])
        self.assertEqual(text.splitlines()[-2:],
                         ['19', '[... 10 notes left out ...]'])

    def test_there_may_be_many(self):
        text = self.noted(['n' * 100_000] * 100_000)
        self.assertIn('99980 notes left out', text)
        self.assertLess(len(text), 21_000)

    def test_what_cannot_be_shown_is_said(self):
        self.assertIn('notes cannot be shown', text_of(hostile.BadNotes()))
        self.assertIn('notes cannot be shown', self.noted([hostile.BadStr()]))


class Groups(unittest.TestCase):

    def test_members_stand_below_in_boxes(self):
        inner = ExceptionGroup('inner', [TypeError('t')])
        group = ExceptionGroup('outer', [ValueError('v'), inner])
        text = text_of(group)
        self.assertEqual(text.partition('builtins.Exc')[2], '\n'.join([
            'eptionGroup: outer (2 sub-exceptions)',
            '  +---------------- 1 ----------------',
            '  | builtins.ValueError: v',
            '  +---------------- 2 ----------------',
            '  | builtins.ExceptionGroup: inner (1 sub-exception)',
            '  |   +---------------- 1 ----------------',
            '  |   | builtins.TypeError: t',
            '  |   +------------------------------------',
            '  +------------------------------------']))

    def test_members_bring_their_causes(self):
        member = caused(ValueError('v'), KeyError('why'))
        text = text_of(ExceptionGroup('g', [member]))
        self.assertIn("  | builtins.KeyError: 'why'\n  | \n  | The above", text)

    def test_wide_and_deep_ones_are_cut(self):
        wide = ExceptionGroup('w', [ValueError(n) for n in range(10_000)])
        text = text_of(wide)
        self.assertIn('and 9992 more', text)
        self.assertNotIn('-- 9 --', text)
        deep = ValueError('bottom')
        for _ in range(900):
            deep = ExceptionGroup('level', [deep])
        text = text_of(deep)
        self.assertNotIn('bottom', text)
        self.assertIn('members of this group are left out', text)

    def test_a_member_is_told_once(self):
        error = ValueError('v')
        text = text_of(ExceptionGroup('g', [error, error]))
        self.assertEqual(text.count('ValueError: v'), 1)
        self.assertIn('ValueError [shown above', text)

    def test_a_member_caused_by_its_group_ends(self):
        member = ValueError('v')
        group = ExceptionGroup('g', [member])
        member.__cause__ = group
        self.assertEqual(text_of(group).count('ExceptionGroup: g'), 1)

    def test_a_group_is_stood_in_for_without_members(self):
        failure = stored(raising(ExceptionGroup('g', [ValueError()])))
        self.assertIs(failure.type, ExceptionGroup)
        self.assertEqual(str(failure.value), 'g (1 sub-exception)')

    def test_everything_at_once_stays_small(self):
        error = ValueError('x' * 100_000)
        for _ in range(6):
            error = ExceptionGroup('g' * 100_000, [
                caused(ValueError('y' * 100_000), error) for _ in range(20)])
        self.assertLess(len(raising(error).getTraceback()), 60_000)

    def test_few_of_many_are_asked_for_their_message(self):
        asked = []

        class Asked(ExceptionGroup):
            def __str__(self):
                asked.append(self)
                return 'asked'

        error = ValueError()
        for _ in range(4):
            error = Asked('g', [error] + [Asked('m', [ValueError()])
                                          for _ in range(7)])
            error.__cause__ = Asked('c', [error])
        raising(error)
        self.assertLessEqual(len(asked), chain.MAX_TOLD + 1)


class Frames(unittest.TestCase):

    def test_a_source_that_raises_leaves_the_line_out(self):
        class Loader:
            def get_source(self, name):
                raise SystemExit(name)

        names = {'__name__': 'm', '__loader__': Loader()}
        code = compile('1 / 0', 'no-such-file', 'eval')
        failure = raising_code(code, names)
        self.assertEqual(failure.getTraceback().splitlines()[-2:], [
            '  File "no-such-file", line 1, in <module>',
            'builtins.ZeroDivisionError: division by zero'])

    def test_the_middle_is_left_out(self):
        tb = None
        frame = raising(ValueError()).tb.tb_frame
        for number in range(100, 0, -1):
            tb = types.TracebackType(tb, frame, 0, number)
        frames, left_out = chain.frames_of(tb, skip=10, limit=9)
        self.assertEqual([frame[2] for frame in frames],
                         [11, 12, 13, 95, 96, 97, 98, 99, 100])
        self.assertEqual(left_out, 81)
        lines = chain.format_frames(frames, left_out).splitlines()
        marker = '  [... 81 frames left out ...]'
        before = [line for line in lines[:lines.index(marker)] if 'File' in line]
        self.assertEqual(len(before), 3)


def raising_code(code, names):
    from zc.twist.tests.test_failure import failing
    return failing(eval, code, names)


if __name__ == '__main__':
    unittest.main()
