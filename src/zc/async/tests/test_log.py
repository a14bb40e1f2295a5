"""The log: what others write into it can neither forge nor break it."""
import ast
import io
import logging
import pathlib
import re
import unittest

import transaction
from ZODB.MappingStorage import MappingStorage

from .. import describe
from .. import failures
from .. import log
from ..agent import Agent
from ..job import Job
from ..ops import logs
from .faults import hostile_errors
from .faults import hostile_values
from .test_architecture import MODULES
from .test_dispatcher import VirtualCase

FORGED = hostile_values.FORGED
#: Texts that others may write.
CORPUS = [
    FORGED, 'a\nb', 'a\r\nb', '\x1b[31mred', '\x00', '\x7f\x80\x85\x9f', '\u2028',
    '\u2029', '\u202eright', '\ud800', 'x' * 1_000_000, '\n' * 100_000, '\U0001f600' * 20_000,
    '%s %d %', '{0}', 'plain']
LEVELS = ('debug', 'info', 'warning', 'error', 'critical', 'exception', 'log', 'warn')
#: What has methods of such names and is no logger.
NO_LOGGERS = {'describe'}
#: What no line may have in it.
RAW = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e]')


class Stream:
    """A plain handler on the product's loggers; what it wrote."""

    def __init__(self, case, formatter=None):
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter or logging.Formatter('%(levelname)s %(message)s'))
        logger = logging.getLogger('zc.async')
        case.addCleanup(logger.setLevel, logger.level)
        case.addCleanup(setattr, logger, 'propagate', logger.propagate)
        case.addCleanup(logger.removeHandler, handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)

    def lines(self):
        """Return the lines since the last time."""
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return text.split('\n')[:-1]


class Records(unittest.TestCase):

    def setUp(self):
        self.stream = Stream(self)

    def test_a_record_is_one_harmless_line(self):
        for logger in log.events, log.trace:
            for text in CORPUS:
                for words in (
                        (text,) if '%' not in text else ('%s', text), ('x %s', text),
                        ('%r', text), ('%s', hostile_values.BadRepr()),
                        ('%s', ForgedText(text)), ('%(a)s', {'a': text})):
                    logger.error(*words)
                    lines = self.stream.lines()
                    self.assertEqual(len(lines), 1, (text[:50], words[0][:50]))
                    self.assertIsNone(RAW.search(lines[0]), lines[0][:100])
                    self.assertLessEqual(len(lines[0].encode()), 10_100)

    def test_so_is_the_text_of_an_error_in_a_traceback(self):
        for text in CORPUS:
            for error in self.errors(text):
                try:
                    raise error
                except BaseException:
                    log.events.exception('failed: %s', text)
                lines = self.stream.lines()
                self.assertTrue(lines[0].startswith('ERROR failed: '))
                self.assertEqual([one for one in lines if RAW.search(one)], [])
                self.assertEqual([one for one in lines if one.startswith('2030')], [])
                self.assertLess(len('\n'.join(lines).encode()), 20_500)

    def errors(self, text):
        yield ValueError(text)
        yield hostile_errors.BadStr(text)
        yield hostile_errors.StrExits(text)
        yield hostile_errors.AttributesFail(text)
        name = text[:20].replace('\x00', '').replace('\ud800', '')
        yield type(name, (Exception,), {})(text)
        found = KeyError(text)
        found.__cause__ = ValueError(text)
        found.add_note(text)
        yield found
        yield hostile_errors.in_a_ring()
        yield hostile_errors.long_chain()
        yield ExceptionGroup(text.replace('\ud800', ''), [ValueError(text)])

    def test_what_led_to_an_error_is_told(self):
        try:
            try:
                raise ValueError('first')
            except ValueError as error:
                raise KeyError('second') from error
        except KeyError:
            log.events.exception('failed')
        text = '\n'.join(self.stream.lines())
        self.assertLess(text.index('ValueError: first'), text.index("KeyError: 'second'"))
        self.assertIn('which led to', text)
        self.assertIn('test_log.py:', text)

    def test_no_values_of_variables_are_shown(self):
        secret = 'pass' + 'word1'
        try:
            raise ValueError(len(secret))
        except ValueError:
            log.events.exception('failed')
        self.assertNotIn(secret, '\n'.join(self.stream.lines()))

    def test_what_does_no_harm_is_left_as_it_is(self):
        with self.assertLogs('zc.async.events') as found:
            log.events.error('%s of %d', 'one', 2)
            log.events.error('%s', Job)
        first, second = found.records
        self.assertEqual((first.msg, first.args), ('%s of %d', ('one', 2)))
        # what is shown now may look different to whoever formats it later
        self.assertEqual((second.msg, second.args), ("<class 'zc.async.job.Job'>", None))

    def test_a_message_that_cannot_be_made_is_replaced(self):
        log.events.error('%d', 'x')
        log.events.error('%s %s', 'x')
        self.assertEqual([line.partition(' with')[2] for line in self.stream.lines()],
                         [' arguments that cannot be shown'] * 2)


class ForgedText:
    """Shows whatever it is given."""

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text

    __repr__ = __str__


class Everywhere(unittest.TestCase):

    def test_all_that_is_logged_goes_this_way(self):
        ways = {ast.unparse(node.func) for tree in MODULES.values()
                for node in ast.walk(tree) if isinstance(node, ast.Call)
                and getattr(node.func, 'attr', '') in LEVELS}
        loggers = {way.rpartition('.')[0] for way in ways}
        self.assertLessEqual({'log.events', 'log.trace'}, loggers)
        self.assertEqual(loggers - {'log.events', 'log.trace'}, NO_LOGGERS)
        for logger in log.events, log.trace:
            self.assertTrue(any(isinstance(one, log.Harmless) for one in logger.filters))

    def test_no_text_of_ours_has_lines(self):
        pattern = re.compile(r'log\.(events|trace)\.\w+\(\s*[^)]*\\n')
        folder = pathlib.Path(log.__file__).parent
        for name in MODULES:
            path = folder / (name.replace('.', '/') + '.py')
            if path.exists():
                self.assertIsNone(pattern.search(path.read_text(encoding='utf-8')), name)


class Names(VirtualCase):
    """Names of queues and agents are anybody's, too."""

    def storage(self):
        return MappingStorage()

    def test_they_are_escaped(self):
        stream = Stream(self)
        queues = self.queue.parent
        queues[FORGED.replace('\ud800', '')] = queue = type(self.queue)()
        transaction.commit()
        self.poll()
        queue.dispatchers[self.dispatcher.UUID]['a\nb\x1b'] = Agent(chooser=refuse)
        transaction.commit()
        queue.put(Job(hostile_errors.throw, 'ForgedError', FORGED))
        transaction.commit()
        for _number in range(3):
            self.poll()
        lines = stream.lines()
        self.assertTrue(any('could not choose' in line for line in lines), lines)
        self.assertTrue(any('failed: Traceback' in line for line in lines), lines)
        self.assertEqual([line for line in lines if RAW.search(line)], [])
        self.assertEqual([line for line in lines if not re.match('[A-Z]+ ', line)], [])


def refuse(agent):
    raise LookupError(FORGED)


class Texts(unittest.TestCase):
    """What `describe` and `failures` make of hostile objects."""

    def test_they_are_short_and_can_be_printed(self):
        objects = [hostile_values.make(name) for name in (
            'BadAnswers', 'BadRepr', '_bad_class', '_bad_attributes', 'OfMeta',
            'result_text', 'BadCallable')]
        objects += [hostile_values.OfMeta, hostile_values.BadRepr(2_000_000), 10 ** 5000,
                    *CORPUS, [FORGED] * 5000, {FORGED: FORGED}, b'x' * 1_000_000,
                    hostile_values.deep()]
        for one in objects:
            for make in (describe.safe_repr, describe.safe_text, describe.callable_name,
                         describe.kind, describe.argument):
                text = make(one)
                self.assertIs(type(text), str)
                self.assertLessEqual(len(text), describe.LIMIT + 50)
                self.assertIsNone(RAW.search(text))
                self.assertNotIn('\n', text)

    def test_a_large_argument_is_not_made_into_text_as_a_whole(self):
        self.assertEqual(describe.safe_repr([1] * 10_000), '<list of 10000>')
        self.assertEqual(describe.safe_repr('x' * 10 ** 6, 10), "'xxxxxxxxx...")

    def test_errors(self):
        self.assertEqual(describe.error(ValueError('a\nb')), r"ValueError: 'a\nb'")
        self.assertEqual(
            describe.error(hostile_errors.StrExits()), 'StrExits: <unprintable>')

    def test_a_failure_on_one_line_tells_where(self):
        try:
            raise ValueError(FORGED)
        except ValueError as error:
            failure = failures.Failure(error)
        text = failures.line(failure)
        self.assertRegex(
            text, r'^Traceback: builtins.ValueError: .* \| .*test_log.py:\d+:')
        self.assertIsNone(RAW.search(text))
        self.assertNotIn('\n', text)
        self.assertEqual(len(failures.brief(failure).split('\n')), 2)


class Workers(unittest.TestCase):
    """The lines of ``zc-async worker``."""

    def test_other_loggers_are_made_harmless_as_well(self):
        for text in CORPUS:
            record = logging.LogRecord(
                'other', logging.ERROR, 'file', 1, '%s', (text,), None)
            shown = logs.Formatter().format(record)
            self.assertIsNone(RAW.search(shown))
            self.assertLess(len(shown), 800_000)
            for line in shown.split('\n')[1:]:
                self.assertTrue(line.startswith('    '))


if __name__ == '__main__':
    unittest.main()
