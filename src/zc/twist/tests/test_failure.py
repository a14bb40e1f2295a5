import copy
import io
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import types
import unittest

from twisted.internet import defer
from twisted.python import failure as twisted_failure
import ZODB

import zc.twist
from zc.twist import chain
from zc.twist.tests import hostile


class Oops(LookupError):
    """An application's error."""

    class Inner(Exception):
        """A class within a class."""


def oops(*args):
    local_secret = 'hunter2'
    raise Oops(*args, len(local_secret))


def failing(function, *args):
    """Return the Failure of ``function(*args)``."""
    try:
        function(*args)
    except BaseException:
        return zc.twist.Failure()
    raise AssertionError('%r did not fail' % function)


def raising(exception):
    return failing(lambda: (_ for _ in ()).throw(exception))


def stored(failure, protocol=3):
    return pickle.loads(pickle.dumps(failure, protocol))


def unknown_name():
    return foo + bar                                        # noqa: F821


TEXTS = ('getTraceback', 'getBriefTraceback', 'getErrorMessage', '__repr__',
         '__str__')


def texts(failure):
    found = [getattr(failure, name)() for name in TEXTS]
    found += [failure.getTraceback(detail=detail)
              for detail in ('brief', 'default', 'verbose')]
    return found


class Documented(unittest.TestCase):
    """What the usage document shows of a Failure."""

    def test_it_is_one_of_twisteds(self):
        failure = failing(unknown_name)
        self.assertIsInstance(failure, twisted_failure.Failure)
        self.assertEqual(zc.twist.Failure.__module__, 'zc.twist')

    def test_repr_names_class_and_error(self):
        self.assertEqual(
            repr(stored(failing(unknown_name))),
            "<zc.twist.Failure builtins.NameError: name 'foo' is not defined>")

    def test_traceback_begins_and_ends_as_shown(self):
        text = stored(failing(unknown_name)).getTraceback()
        self.assertTrue(text.startswith('Traceback (most recent call last):\n'))
        self.assertTrue(text.endswith(
            "\nbuiltins.NameError: name 'foo' is not defined\n"), text)
        self.assertIn(', in unknown_name\n    return foo + bar', text)

    def test_an_exception_never_raised_has_no_frames(self):
        out = io.StringIO()
        stored(zc.twist.Failure(Oops())).printTraceback(out)
        self.assertEqual(out.getvalue(), (
            'Traceback (most recent call last):\n'
            'Failure: zc.twist.tests.test_failure.Oops: \n'))

    def test_it_can_be_trapped_after_a_round_trip_through_a_database(self):
        db = ZODB.DB(None)
        self.addCleanup(db.close)
        with db.transaction() as connection:
            connection.root()['failure'] = failing(unknown_name)
        with db.transaction() as connection:
            connection.cacheMinimize()
            failure = connection.root()['failure']
            self.assertIs(failure.trap(NameError), NameError)
            self.assertEqual(failure.type.__name__, 'NameError')

    def test_no_exception_at_hand_is_an_error(self):
        with self.assertRaises(twisted_failure.NoCurrentExceptionError):
            zc.twist.Failure()

    def test_the_typical_one_is_small(self):
        self.assertLess(len(pickle.dumps(failing(unknown_name), 3)), 700)


class BeforeAndAfterStoring(unittest.TestCase):
    """All that is shown is the same before and after."""

    def assertSame(self, failure):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = stored(failure, protocol)
            self.assertEqual(texts(again), texts(failure))
            self.assertEqual(again.frames, failure.frames)
            self.assertEqual(again.parents, failure.parents)
            self.assertEqual(again.typeName, failure.typeName)
            self.assertEqual(stored(again).__getstate__(),
                             failure.__getstate__())

    def test_of_plain_ones(self):
        self.assertSame(failing(unknown_name))
        self.assertSame(failing(oops, 1, 'two'))
        self.assertSame(zc.twist.Failure(ValueError('never raised')))
        self.assertSame(zc.twist.Failure('not an exception'))

    def test_of_hostile_ones(self):
        for cls in hostile.ALL:
            with self.subTest(type.__repr__(cls)):
                self.assertSame(raising(cls()))

    def test_of_copies(self):
        failure = failing(oops)
        for again in copy.copy(failure), copy.deepcopy(failure):
            self.assertEqual(texts(again), texts(failure))

    def test_pickles_name_nothing_but_the_failure(self):
        data = pickle.dumps(failing(oops), 0)
        self.assertIn(b'czc.twist\nFailure\n', data)
        self.assertNotIn(b'czc.twist.', data)
        self.assertNotIn(b'hunter2', pickle.dumps(failing(oops), 3))

    def test_a_pickle_runs_nothing_of_the_exception(self):
        calls = []

        class Watched(Exception):
            def __getattribute__(self, name):
                calls.append(name)
                return super().__getattribute__(name)

            def __reduce_ex__(self, protocol):
                raise AssertionError('pickled')

        failure = raising(Watched())
        del calls[:]
        data = pickle.dumps(failure)
        self.assertEqual(calls, [])
        pickle.loads(data)
        self.assertEqual(calls, [])

    def test_fields_of_a_later_version_are_kept_and_ignored(self):
        failure = failing(oops)
        later = zc.twist.Failure.__new__(zc.twist.Failure)
        later.__setstate__(failure.__getstate__() + ('what is new',))
        self.assertEqual(texts(later), texts(failure))
        self.assertEqual(stored(later).__getstate__()[-1], 'what is new')

    def test_the_dict_that_the_python_2_ancestor_stored_loads(self):
        old = zc.twist.Failure.__new__(zc.twist.Failure)
        old.__setstate__(dict(
            type=KeyError, value=KeyError('k'), tb=None, pickled=1, count=4,
            parents=['exceptions.KeyError', 'exceptions.LookupError',
                     '__builtin__.object'],
            frames=[('f', '/nowhere.py', 3, [('x', '1')], [])], stack=[]))
        again = stored(old)
        self.assertIs(again.check(LookupError), LookupError)
        self.assertIs(again.type, KeyError)
        self.assertEqual(again.getTraceback(), (
            'Traceback (most recent call last):\n'
            '  File "/nowhere.py", line 3, in f\n'
            "builtins.KeyError: 'k'\n"))


class Elsewhere(unittest.TestCase):
    """A Failure loads where nothing of the application is at hand."""

    def run_python(self, program, path):
        path = os.pathsep.join([path] + sys.path)
        done = subprocess.run(
            [sys.executable, '-c', textwrap.dedent(program)],
            env=dict(os.environ, PYTHONPATH=path), capture_output=True,
            text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_process_without_the_module_loads_and_imports_nothing(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with open(os.path.join(folder.name, 'vanishing_app.py'), 'w') as f:
            f.write('class Gone(KeyError):\n'
                    '    def __reduce__(self):\n'
                    '        return exit, (3,)\n')
        pickled = os.path.join(folder.name, 'failure')
        self.run_python('''
            import pickle, vanishing_app, zc.twist
            try:
                raise vanishing_app.Gone('far') from vanishing_app.Gone('why')
            except KeyError:
                failure = zc.twist.Failure()
            with open(%r, 'wb') as f:
                pickle.dump(failure, f, 3)
            ''' % pickled, folder.name)
        program = '''
            import pickle, sys
            with open(%r, 'rb') as f:
                failure = pickle.load(f)
            try:
                failure.trap(ValueError)
            except KeyError as error:
                print(type(error).__name__, error, error.args)
            print(failure.type.__module__, failure.type.__qualname__)
            print(failure.check('vanishing_app.Gone'), failure.check(KeyError))
            print(failure.getTraceback())
            print('imported', 'vanishing_app' in sys.modules)
            ''' % pickled
        for path in folder.name, os.curdir:
            out = self.run_python(program, path)
            self.assertIn("Gone 'far' (\"'far'\",)\n", out)
            self.assertIn('vanishing_app Gone\n', out)
            self.assertIn("vanishing_app.Gone <class 'KeyError'>\n", out)
            self.assertIn("vanishing_app.Gone: 'why'\n", out)
            self.assertIn('imported False\n', out)

    def test_a_class_that_left_its_module_is_stood_in_for(self):
        module = types.ModuleType('twist_test_module')
        exec('class Left(ValueError): pass', vars(module))
        module.Left.__module__ = module.__name__
        data = pickle.dumps(raising(module.Left('was here')))
        self.addCleanup(sys.modules.pop, module.__name__, None)
        sys.modules[module.__name__] = module
        self.assertIs(pickle.loads(data).type, module.Left)
        left = vars(module).pop('Left')
        failure = pickle.loads(data)
        self.assertIsNot(failure.type, left)
        self.assertEqual(failure.type.__name__, 'Left')
        self.assertEqual(failure.type.__module__, 'twist_test_module')
        self.assertIs(failure.check(left), left)
        module.Left = left      # imported later than the failure was loaded
        self.assertIs(failure.type, left)

    def test_a_module_is_not_asked(self):
        class Answering(types.ModuleType):
            def __getattribute__(self, name):
                raise AssertionError('asked for %s' % name)

        def replace(module):
            self.addCleanup(sys.modules.pop, 'twist_test_module', None)
            sys.modules['twist_test_module'] = module

        cls = type('Asked', (Exception,), {'__module__': 'twist_test_module'})
        data = pickle.dumps(raising(cls('hello')))
        replacements = [Answering('twist_test_module'), object(), None]
        for replacement in replacements:
            replace(replacement)
            self.assertEqual(pickle.loads(data).type.__name__, 'Asked')


class Asking(unittest.TestCase):
    """check, trap, type and value."""

    def both(self, failure):
        for one in failure, stored(failure):
            with self.subTest(pickled=one.pickled):
                yield one

    def test_check_by_class_and_by_name_and_by_base(self):
        for failure in self.both(failing(oops)):
            for error in (
                    Oops, LookupError, Exception, BaseException,
                    'zc.twist.tests.test_failure.Oops', 'builtins.LookupError',
                    'builtins.object'):
                self.assertEqual(failure.check(ValueError, error), error)
            self.assertIsNone(failure.check(
                ValueError, KeyError, 'Oops', 'builtins.KeyError', 42))
            self.assertIsNone(failure.check())

    def test_classes_within_classes_are_told_apart(self):
        other = type('Inner', (Exception,), {
            '__module__': __name__, '__qualname__': 'Other.Inner'})
        for failure in self.both(raising(Oops.Inner())):
            self.assertIs(failure.check(Oops.Inner), Oops.Inner)
            self.assertIsNone(failure.check(other))
            self.assertTrue(failure.check(__name__ + '.Oops.Inner'))
            self.assertTrue(failure.check(__name__ + '.Inner'))    # Twisted's
            self.assertIs(failure.type, Oops.Inner)

    def test_trap_raises_the_error_that_it_does_not_expect(self):
        failure = failing(oops, 'a')
        with self.assertRaises(Oops) as caught:
            failure.trap(ValueError)
        self.assertIs(caught.exception, failure.value)
        with self.assertRaises(LookupError) as caught:
            stored(failure).trap(ValueError)
        self.assertEqual(type(caught.exception).__name__, 'Oops')

    def test_the_value_is_live_until_it_is_forgotten(self):
        live = failing(oops, 'a').value
        failure = zc.twist.Failure(live)
        self.assertEqual(failure.value.args, ('a', 7))
        failure.forget()
        self.assertIsNot(failure.value, live)
        self.assertIs(failure.type, Oops)
        self.assertNotIn(live, vars(failure).values())
        self.assertEqual(failure.args, ())

    def test_value_says_the_message(self):
        for exception in (
                KeyError('k'), OSError(2, 'No such file', 'name'),
                UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'bad'), SystemExit(4),
                ExceptionGroup('g', [ValueError()]), StopIteration(3),
                SyntaxError('bad', ('f', 1, 2, 'text')), Oops(), Oops.Inner(1)):
            failure = raising(exception) if not isinstance(
                exception, StopIteration) else zc.twist.Failure(exception)
            loaded = stored(failure)
            self.assertEqual(str(loaded.value), str(exception))
            self.assertEqual(loaded.getErrorMessage(), str(exception))
            self.assertEqual(type(loaded.value).__name__,
                             type(exception).__name__)
            with self.assertRaises(BaseException) as caught:
                loaded.raiseException()
            self.assertIs(caught.exception, loaded.value)

    def test_a_loaded_value_can_be_stored_itself(self):
        value = stored(failing(oops, 'a')).value
        again = stored(value)
        self.assertEqual((type(again), again.args), (type(value), value.args))

    def test_a_failure_need_not_be_of_an_exception(self):
        failure = zc.twist.Failure('text')
        self.assertIs(failure.type, str)
        self.assertEqual(stored(failure).getErrorMessage(), 'text')
        for one in self.both(failure):
            with self.assertRaisesRegex(Exception, '^text$'):
                one.raiseException()

    def test_a_class_given_by_name_is_kept(self):
        failure = stored(zc.twist.Failure('text', 'a.dotted.Name'))
        self.assertIn('a.dotted.Name: text', failure.getTraceback())
        self.assertEqual(failure.type.__name__, 'Name')

    def test_an_explicit_class_and_traceback_are_respected(self):
        tb = failing(oops).tb
        failure = zc.twist.Failure(ValueError('v'), Oops, tb)
        self.assertIs(failure.type, Oops)
        self.assertEqual([frame[0] for frame in failure.frames],
                         ['failing', 'oops'])

    def test_outer_frames_can_be_skipped(self):
        try:
            oops()
        except Oops:
            failure = zc.twist.Failure(skip=1)
        self.assertEqual([frame[0] for frame in failure.frames], ['oops'])

    def test_a_traceback_object_can_be_had_after_storing(self):
        tb = stored(failing(oops)).getTracebackObject()
        names = []
        while tb is not None:
            names.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        self.assertEqual(names, ['failing', 'oops'])

    def test_an_unknown_detail_is_refused(self):
        with self.assertRaisesRegex(ValueError, "'chatty' does not exist"):
            failing(oops).getTraceback(detail='chatty')

    def test_verbose_says_that_there_are_no_variables(self):
        text = failing(oops).getTraceback(detail='verbose')
        self.assertIn('[Variables are not kept]', text)
        self.assertNotIn('hunter2', text)

    def test_brief_is_a_line_for_each_frame(self):
        lines = failing(oops).getBriefTraceback().splitlines()
        self.assertEqual(
            lines[0], 'Traceback: zc.twist.tests.test_failure.Oops: 7')
        self.assertRegex(lines[1], r'test_failure\.py:\d+:failing$')
        self.assertEqual(len(lines), 3)

    def test_capturing_variables_is_not_to_be_had(self):
        failure = zc.twist.Failure(Oops(), captureVars=True)
        self.assertFalse(failure.captureVars)


class WithTwisted(unittest.TestCase):
    """A Failure is at home in a Deferred."""

    def test_a_cleaned_one_hands_on_the_live_exception(self):
        failure = failing(oops)
        deferred = defer.Deferred()
        failure.cleanFailure()
        self.assertIsNone(failure.tb)
        self.assertIsNone(failure.value.__traceback__)
        caught = []

        @defer.inlineCallbacks
        def wait():
            try:
                yield deferred
            except Oops as error:
                caught.append(error)

        wait()
        deferred.errback(failure)
        self.assertEqual(caught, [failure.value])
        self.assertIn('in oops', failure.getTraceback())

    def test_a_callback_may_raise_one(self):
        for failure in failing(oops), stored(failing(oops)):
            got = []
            deferred = defer.succeed(None)
            deferred.addCallback(lambda _: (_ for _ in ()).throw(failure))
            deferred.addErrback(got.append)
            self.assertIsNot(type(got[0]), zc.twist.Failure)
            self.assertIs(got[0].check(LookupError), LookupError)
            self.assertIn('in oops', got[0].getTraceback())
            again = zc.twist.sanitize(got[0])
            self.assertIs(again.check(Oops), Oops)
            self.assertIn('in oops', again.getTraceback())

    def test_a_failure_of_a_failure_is_the_same_failure(self):
        error = Oops('from')
        error.__cause__ = KeyError('cause')
        for failure in raising(error), stored(raising(error)):
            again = zc.twist.Failure(failure)
            self.assertEqual(texts(again), texts(failure))
            self.assertIs(again.value, failure.value)


class Sanitize(unittest.TestCase):

    def test_returns_its_own_kind_as_it_is(self):
        failure = failing(oops)
        self.assertIs(zc.twist.sanitize(failure), failure)

    def test_takes_an_exception(self):
        self.assertIs(zc.twist.sanitize(Oops(1)).check(Oops), Oops)

    def test_keeps_the_frames_of_one_of_twisteds(self):
        try:
            oops()
        except Oops:
            plain = twisted_failure.Failure(captureVars=True)
        frames = [frame[:3] for frame in plain.frames]
        for clean in plain.cleanFailure, lambda: None:
            clean()
            failure = stored(zc.twist.sanitize(plain))
            self.assertEqual([frame[:3] for frame in failure.frames], frames)
            self.assertNotIn('hunter2', failure.getTraceback(detail='verbose'))
            self.assertIn('raise Oops(*args', failure.getTraceback())

    def test_refuses_anything_else(self):
        for thing in None, 'text', Oops:
            with self.assertRaisesRegex(TypeError, 'takes a Failure or an exc'):
                zc.twist.sanitize(thing)


class Bounds(unittest.TestCase):
    """However large the error, its failure is small."""

    def assertSmall(self, failure, limit=80_000):
        self.assertLess(len(pickle.dumps(failure, 3)), limit)
        for text in texts(failure):
            self.assertLess(len(text), limit)
        self.assertLess(len(repr(failure)), 1000)

    def test_of_a_message(self):
        failure = raising(hostile.Huge())
        self.assertSmall(failure, 12_000)
        self.assertIn('characters left out', failure.getErrorMessage())

    def test_of_a_message_of_control_characters(self):
        self.assertSmall(raising(ValueError('\ud800' * 1_000_000)), 12_000)

    def test_of_frames(self):
        def deeper():
            deeper()
        failure = failing(deeper)
        self.assertSmall(failure)
        self.assertLessEqual(len(failure.frames), chain.MAX_FRAMES)
        self.assertRegex(failure.getTraceback(),
                         r'\[\.\.\. \d+ frames left out \.\.\.\]')
        self.assertEqual(failure.frames[0][0], 'failing')

    def test_of_a_chain(self):
        error = None
        for number in range(5000):
            new = ValueError('link-%d-' % number + 'x' * 5000)
            new.__cause__, error = error, new
        self.assertSmall(raising(error))

    def test_of_names(self):
        cls = type('N' * 10_000, (Exception,), {'__module__': 'm' * 10_000})
        for _ in range(200):
            cls = type('N' * 10_000, (cls,), {'__module__': 'm' * 10_000})
        failure = raising(cls())
        self.assertSmall(failure)
        self.assertIs(stored(failure).check(Exception), Exception)

    def test_of_lines_of_source(self):
        failure = failing(
            eval, compile('1 / 0 ' + ' ' * 100_000, 'f' * 100_000, 'eval'))
        self.assertSmall(failure)


class Escapes(unittest.TestCase):
    """What is shown is safe to show on a terminal and in any encoding."""

    def test_control_characters_are_escaped(self):
        failure = raising(ValueError('a\x1b[31m\r\x00\u202e\ud800\u2028\x9b z'))
        self.assertEqual(
            failure.getErrorMessage(),
            r'a\x1b[31m\x0d\x00\u202e\ud800\u2028\x9b z')

    def test_newline_tab_and_writing_are_not(self):
        text = 'zwei\n\tZeilen: ä 漢字 👩\u200d💻 \xa0!'
        self.assertEqual(raising(ValueError(text)).getErrorMessage(), text)

    def test_a_repr_is_one_line(self):
        self.assertNotIn('\n', repr(raising(ValueError('a\nb'))))

    def test_names_are_escaped_too(self):
        cls = type('Evil\x1b[2J', (Exception,), {'__module__': 'e\nv\x07'})
        failure = stored(raising(cls()))
        for text in texts(failure):
            self.assertNotIn('\x1b', text)
            self.assertNotIn('\x07', text)


if __name__ == '__main__':
    unittest.main()
