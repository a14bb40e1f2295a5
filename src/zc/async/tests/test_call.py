"""What a job calls, and what of it can be stored."""
import collections.abc
import functools
import pickle
import sys
import threading
import unittest

from persistent.mapping import PersistentMapping
from ZODB.broken import Broken
from ZODB.broken import find_global

from . import contracts
from .. import interfaces
from ..job import Job
from ..model import call
from .contracts import nothing


class Doubles:
    """Not persistent, but can be pickled."""

    def __call__(self, number):
        return 2 * number

    def three_times(self, number):
        """Return three times *number*."""
        return 3 * number

    def __eq__(self, other):
        return isinstance(other, Doubles)


class Callables(contracts.InWorld, unittest.TestCase):
    """A function is stored by name, a method as its object and its name."""

    def stored(self, target, *args, **kwargs):
        job = self.queue.put(Job(target, *args, **kwargs))
        self.client.commit()
        return self.world.open().mine(job)

    def test_a_function(self):
        self.assertIs(self.stored(nothing).callable, nothing)

    def test_a_built_in_function(self):
        self.assertIs(self.stored(len).callable, len)

    def test_a_class(self):
        self.assertIs(self.stored(dict).callable, dict)

    def test_a_method_of_a_persistent_object(self):
        self.client.root['m'] = PersistentMapping(a=1)
        job = self.stored(self.client.root['m'].get, 'a')
        self.assertEqual(job.callable('a'), 1)
        self.assertIs(job.callable.__self__, job._p_jar.root()['m'])

    def test_a_method_of_another_object(self):
        job = self.stored(Doubles().three_times, 2)
        self.assertEqual(job.queue.pull()(), 6)

    def test_a_method_of_a_built_in_object(self):
        self.assertEqual(self.stored('-'.join, ["a", "b"]).queue.pull()(), "a-b")

    def test_an_object_that_can_be_called(self):
        self.assertEqual(self.stored(Doubles(), 2).queue.pull()(), 4)

    def test_a_partial(self):
        job = self.stored(functools.partial(contracts.add, 1), 2)
        self.assertEqual(job.queue.pull()(), 3)

    def test_its_kind_is_readable_without_its_code(self):
        self.assertEqual(self.stored(nothing).kind, 'zc.async.tests.contracts.nothing')


class Refusals(contracts.InWorld, unittest.TestCase):
    """What cannot be stored is refused when it is put, and named."""

    def test_a_local_class(self):
        class Local:
            """Cannot be imported."""

        with self.refused(interfaces.NotStorableError, 'Local'):
            self.put(Local)

    def test_a_function_behind_a_decorator_that_hides_it(self):
        @functools.wraps(nothing)
        def hidden():
            """Has the name of another function."""

        with self.refused(interfaces.NotStorableError, 'nothing'):
            self.put(hidden)

    def test_a_partial_of_a_lambda(self):
        with self.refused(interfaces.NotStorableError, 'partial'):
            self.put(functools.partial(lambda: None))

    def test_a_method_of_an_object_that_cannot_be_pickled(self):
        with self.refused(interfaces.NotStorableError, 'lock'):
            self.put(threading.Lock().acquire)

    def test_arguments_of_many_kinds(self):
        for value in (threading.Lock(), (n for n in ()), sys._getframe()):
            with self.refused(interfaces.NotStorableError, 'argument 0 of'):
                self.put(nothing, value)

    def test_an_argument_hidden_in_a_container(self):
        with self.refused(interfaces.NotStorableError, 'argument 0 of'):
            self.put(nothing, {'deep': [threading.Lock()]})

    def test_a_callback(self):
        job = Job(nothing)
        job.addCallbacks(failure=lambda failure: None)
        with self.refused(interfaces.NotStorableError, 'lambda'):
            self.put(job)

    def test_a_callback_of_a_callback(self):
        job = Job(nothing)
        job.addCallback(nothing).addCallback(lambda result: None)
        with self.refused(interfaces.NotStorableError, 'lambda'):
            self.put(job)

    def test_a_part_of_a_workflow(self):
        from ..job import serial
        for workflow in (serial(nothing, lambda: None),
                         serial(nothing, postprocess=lambda: None)):
            with self.refused(interfaces.NotStorableError, 'lambda'):
                self.put(workflow)

    def test_an_argument_appended_to_a_pulled_job(self):
        self.put()
        self.client.commit()
        job = self.queue.pull()
        self.client.commit()
        job.args.append(threading.Lock())
        with self.assertRaises(interfaces.NotStorableError):
            self.queue.put(job)

    def test_they_are_type_errors(self):
        self.assertTrue(issubclass(interfaces.NotStorableError, TypeError))


class Probes(unittest.TestCase):
    """`probe` tells whether a value refers to persistent objects."""

    def test_plain_data_does_not(self):
        for value in (None, 1, 'a', b'a', [1, {'a': (2,)}], Doubles()):
            self.assertFalse(call.probe(value))

    def test_persistent_objects_do(self):
        for value in (PersistentMapping(), [PersistentMapping()], {'a': Job(nothing)}):
            self.assertTrue(call.probe(value))

    def test_what_cannot_be_pickled_raises(self):
        with self.assertRaises(Exception):
            call.probe(lambda: None)


class BrokenCode(unittest.TestCase):
    """What a deploy has removed is not called."""

    def setUp(self):
        self.broken = find_global('zc.async.tests.test_call', 'was_here_once')

    def test_a_missing_function_loads_as_a_class_that_can_be_called(self):
        self.assertTrue(issubclass(self.broken, Broken))
        self.assertTrue(callable(self.broken))

    def test_a_missing_function_is_not_called(self):
        job = Job(self.broken)
        with self.assertRaisesRegex(interfaces.BrokenCallError, 'was_here_once'):
            call.resolve(job)

    def test_a_missing_argument_is_not_passed(self):
        with self.assertRaises(interfaces.BrokenCallError):
            call.resolve(Job(nothing, 1, self.broken()))

    def test_a_missing_keyword_argument_is_not_passed(self):
        with self.assertRaises(interfaces.BrokenCallError):
            call.resolve(Job(nothing, key=self.broken()))

    def test_a_method_of_a_missing_class_is_not_called(self):
        job = Job(nothing)
        job._call.target, job._call.method = self.broken(), 'run'
        with self.assertRaises(interfaces.BrokenCallError):
            call.resolve(job)

    def test_a_whole_call_is_resolved(self):
        self.assertIs(call.resolve(Job(nothing, 1)), nothing)


class Arguments(contracts.InWorld, unittest.TestCase):
    """The arguments are a mutable sequence; changes are stored."""

    def setUp(self):
        super().setUp()
        self.job = self.put(nothing, 'a', 'b')
        self.client.commit()

    def assert_stored(self, *expected):
        self.client.commit()
        self.assertEqual(tuple(self.world.open().mine(self.job).args), expected)

    def test_they_are_a_sequence(self):
        args = self.job.args
        self.assertIsInstance(args, collections.abc.MutableSequence)
        self.assertEqual((args[0], args[-1], len(args)), ('a', 'b', 2))
        self.assertEqual(tuple(args[1:]), ('b',))
        self.assertIn('a', args)
        self.assertEqual(args.index('b'), 1)
        self.assertEqual(repr(args), "['a', 'b']")

    def test_they_equal_sequences_of_the_same(self):
        self.assertEqual(self.job.args, ['a', 'b'])
        self.assertEqual(self.job.args, ('a', 'b'))
        self.assertNotEqual(self.job.args, ['a'])
        self.assertNotEqual(self.job.args, 1)

    def test_append(self):
        self.job.args.append('c')
        self.assert_stored('a', 'b', 'c')

    def test_insert(self):
        self.job.args.insert(0, 'c')
        self.assert_stored('c', 'a', 'b')

    def test_extend_by_themselves(self):
        self.job.args.extend(self.job.args)
        self.assert_stored('a', 'b', 'a', 'b')

    def test_adding_in_place(self):
        self.job.args += ['c']
        self.assert_stored('a', 'b', 'c')

    def test_setting_and_deleting(self):
        self.job.args[0] = 'c'
        del self.job.args[1]
        self.assert_stored('c')

    def test_slices(self):
        self.job.args[:1] = ['x', 'y']
        self.assert_stored('x', 'y', 'b')
        del self.job.args[1:]
        self.assert_stored('x')

    def test_pop_remove_and_clear(self):
        self.assertEqual(self.job.args.pop(), 'b')
        self.job.args.remove('a')
        self.assert_stored()
        self.job.args.append(1)
        self.job.args.clear()
        self.assert_stored()

    def test_setting_all(self):
        self.job.args = iter('xy')
        self.assert_stored('x', 'y')

    def test_a_bad_index(self):
        with self.assertRaises(IndexError):
            self.job.args[5]

    def test_they_are_stored_elsewhere_as_a_list(self):
        self.assertEqual(pickle.loads(pickle.dumps(self.job.args)), ['a', 'b'])

    def test_reading_them_writes_nothing(self):
        list(self.job.args), dict(self.job.kwargs), dict(self.job.annotations)
        self.assertFalse(self.job._p_changed)
        self.assertFalse(self.job._call._p_changed)


class Mappings(contracts.InWorld, unittest.TestCase):
    """Keyword arguments and annotations are mappings, made when first written."""

    def setUp(self):
        super().setUp()
        self.job = self.put()
        self.client.commit()

    def other(self):
        self.client.commit()
        return self.world.open().mine(self.job)

    def test_keyword_arguments(self):
        self.assertEqual(dict(self.job.kwargs), {})
        self.job.kwargs['a'] = 1
        self.job.kwargs.update(b=2)
        del self.job.kwargs['a']
        self.assertEqual(dict(self.other().kwargs), {'b': 2})
        self.assertEqual(self.other().kwargs.get('paths', []), [])

    def test_setting_all_keyword_arguments(self):
        self.job.kwargs = {'a': 1}
        self.assertEqual(list(self.other().kwargs.items()), [('a', 1)])
        self.job.kwargs = {}
        self.assertEqual(dict(self.other().kwargs), {})

    def test_annotations(self):
        self.assertEqual(self.job.annotations.get('progress', 0.0), 0.0)
        self.job.annotations['progress'] = 0.5
        self.assertIn('progress', self.job.annotations)
        self.assertEqual(dict(self.other().annotations), {'progress': 0.5})

    def test_what_is_not_there_cannot_be_deleted(self):
        for mapping in (self.job.kwargs, self.job.annotations):
            with self.assertRaises(KeyError):
                del mapping['a']
            with self.assertRaises(KeyError):
                mapping['a']

    def test_nothing_is_stored_before_something_is_written(self):
        state = self.job._call.__getstate__()
        self.assertEqual(set(state) & {'kwargs', 'annotations', 'callbacks'}, set())

    def test_annotating_does_not_write_the_job(self):
        self.job.annotations['a'] = 1
        self.assertFalse(self.job._p_changed)
