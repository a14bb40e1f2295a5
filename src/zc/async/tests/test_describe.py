"""Short, safe texts about objects."""
import functools
import gc
import operator
import unittest
import uuid
import weakref
from unittest import mock

from persistent.mapping import PersistentMapping

from . import contracts
from .. import describe
from .. import utils
from ..job import Job


class Hostile:
    """Has a repr that raises."""

    def __repr__(self):
        raise RuntimeError('no')


class Callable(Hostile):
    """Can be called, and cannot be shown."""

    def __call__(self):
        """Do nothing."""

    @classmethod
    def made(cls):
        """Do nothing."""


class Texts(unittest.TestCase):

    def test_a_text_is_on_one_line_and_has_no_control_characters(self):
        self.assertEqual(describe.printable('a\nb\rc\x1b[0m\x85\u2028d\u2029'),
                         'a\\x0ab\\x0dc\\x1b[0m\\x85\\u2028d\\u2029')

    def test_a_long_text_is_cut(self):
        text = describe.printable('x' * 5000)
        self.assertEqual(text, 'x' * describe.LIMIT + '...')
        self.assertEqual(describe.printable('abcdef', 3), 'abc...')

    def test_a_repr_that_raises_is_replaced(self):
        self.assertEqual(describe.safe_repr(Hostile()),
                         '<unprintable zc.async.tests.test_describe.Hostile>')

    def test_a_repr_is_shown_as_it_is(self):
        self.assertEqual(describe.safe_repr([1, 'a']), "[1, 'a']")

    def test_a_uuid_is_made_of_its_bytes(self):
        one = uuid.UUID(int=7)
        self.assertEqual(describe.uuid_of(one.bytes), one)
        self.assertIsNone(describe.uuid_of(None))


class Told(Job):
    """Says itself what it is."""

    def __repr__(self):
        return f'told\n{self.args[0]}'


class Late(contracts.InWorld, unittest.TestCase):
    """Texts that are made when somebody asks for them."""

    def shown(self, job):
        """Return the late text of *job*, which must be what it is now."""
        late = describe.shown(job)
        self.assertEqual(str(late), describe.safe_repr(job))
        return late

    def test_a_job_is_shown_as_it_is(self):
        thing = self.client.root['thing'] = PersistentMapping()
        self.client.commit()
        for job in (Job(operator.add, 1, 'a'), Job(thing.get, thing, key=None, more=[thing]),
                    Job(Hostile, Hostile(), 'x' * 201, b'y' * 5000, True, 1.5, (thing,)),
                    Job(operator.add, *range(5000)), Told(operator.add, 1),
                    Job(functools.partial(operator.add, 1))):
            self.shown(job)
        self.client.queue.put(Job(thing.get, thing, 1))
        self.client.commit()
        self.shown(self.client.queue[0])

    def test_many_arguments_are_not_kept_but_their_text(self):
        self.assertIs(type(describe.shown(Job(operator.add, *range(5000)))), str)
        self.assertIs(type(describe.shown(Job(operator.add, 1, 2))), describe.Shown)

    def test_it_stays_as_it_was(self):
        values = [1]
        job = Job(operator.add, values, key={})
        before, late = describe.safe_repr(job), self.shown(job)
        values.append(2)
        job.args[0] = job.kwargs['key'] = 'changed'
        self.assertEqual(str(late), before)

    def test_it_keeps_no_object_of_the_database(self):
        job = Job(operator.add, PersistentMapping(), [PersistentMapping()],
                  key=PersistentMapping())
        late = [self.shown(job), self.shown(Job(PersistentMapping().get, 1))]
        gone = list(map(weakref.ref, (job, job.args[0], job.args[1][0], job.kwargs['key'])))
        del job
        gc.collect()
        self.assertEqual([one() for one in gone], [None] * 4)
        self.assertEqual(len(late), 2)

    def test_what_cannot_be_shown_is_replaced(self):
        job = Job(operator.add, 1)
        with mock.patch.object(Job, '_described', side_effect=SystemExit):
            self.assertIn('unreadable: builtins.SystemExit', str(describe.shown(job)))
        self.assertEqual(str(describe.shown(Hostile())), describe.safe_repr(Hostile()))


class Callables(contracts.InWorld, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.client.root['m'] = self.mapping = PersistentMapping()

    def test_names(self):
        for target, name in (
                (contracts.nothing, 'zc.async.tests.contracts.nothing'),
                (len, 'builtins.len'),
                (operator.mul, '_operator.mul'),
                (dict, 'builtins.dict'),
                (Callable.made, 'zc.async.tests.test_describe.Callable.made'),
                ([1].append, '[1] :append')):
            self.assertEqual(describe.callable_name(target), name)

    def test_a_method_is_named_by_its_object_and_its_name(self):
        self.assertEqual(
            describe.callable_name(self.mapping.get),
            "persistent.mapping.PersistentMapping (oid None, db None) :get")
        self.client.commit()
        self.assertRegex(
            describe.callable_name(self.mapping.get),
            r"^persistent.mapping.PersistentMapping \(oid \d+, db 'unnamed'\) :get$")

    def test_a_callable_without_a_name_is_shown(self):
        self.assertEqual(describe.callable_name(Callable()),
                         '<unprintable zc.async.tests.test_describe.Callable>')
        self.assertIn('partial', describe.callable_name(
            functools.partial(contracts.nothing)))

    def test_kinds_do_not_depend_on_the_object(self):
        for target, kind in (
                (contracts.nothing, 'zc.async.tests.contracts.nothing'),
                (len, 'builtins.len'),
                (self.mapping.get, 'persistent.mapping.PersistentMapping.get'),
                (Callable.made, 'zc.async.tests.test_describe.Callable.made'),
                (Callable(), 'zc.async.tests.test_describe.Callable'),
                (functools.partial(len), 'functools.partial')):
            self.assertEqual(describe.kind(target), kind)

    def test_an_address_is_the_object_id_and_the_name_of_the_database(self):
        self.assertEqual(describe.address(self.mapping), (None, None))
        self.client.commit()
        oid, name = describe.address(self.mapping)
        self.assertEqual(oid.to_bytes(8, 'big'), self.mapping._p_oid)
        self.assertEqual(name, 'unnamed')
        self.assertEqual(describe.key_of(self.mapping._p_oid, 'unnamed'), (oid, name))

    def test_the_documented_name_shows_all_kinds_of_objects(self):
        self.assertEqual(utils.custom_repr(self.mapping), describe.argument(self.mapping))
        self.assertEqual(utils.custom_repr(contracts.nothing),
                         'zc.async.tests.contracts.nothing')
        self.assertEqual(utils.custom_repr('a'), "'a'")


class ReprOfAJob(contracts.InWorld, unittest.TestCase):
    """Its text is part of the interface: clients take it apart."""

    def test_it_tells_class_object_id_database_and_call(self):
        job = self.put(Job(contracts.nothing, 1, 'a', key=2))
        self.client.commit()
        oid = int.from_bytes(job._p_oid, 'big')
        self.assertEqual(
            repr(job), f"<zc.async.job.Job (oid {oid}, db 'unnamed') "
            f"``zc.async.tests.contracts.nothing(1, 'a', key=2)``>")
        self.assertEqual(repr(job).split(' ')[2][:-1], str(oid))

    def test_a_job_that_is_not_stored_has_no_object_id(self):
        self.assertEqual(
            repr(Job(contracts.nothing)), '<zc.async.job.Job (oid None, db None) '
            '``zc.async.tests.contracts.nothing()``>')

    def test_a_persistent_argument_is_shown_by_its_address(self):
        job = Job(contracts.nothing, PersistentMapping(a=1))
        self.assertIn('(persistent.mapping.PersistentMapping (oid None, db None))',
                      repr(job))

    def test_an_argument_that_cannot_be_shown_does_no_harm(self):
        self.assertIn('<unprintable', repr(Job(contracts.nothing, Hostile())))

    def test_it_is_on_one_line_and_bounded(self):
        text = repr(Job(contracts.nothing, 'a\nb', *['x' * 5000] * 10))
        self.assertNotIn('\n', text)
        self.assertLess(len(text), 2 * describe.LIMIT)

    def test_a_job_that_cannot_be_read_says_so(self):
        job = Job.__new__(Job)
        self.assertIn('unreadable', repr(job))
