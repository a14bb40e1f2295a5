import builtins
import pickle
import sys
import types
import unittest

from zc.twist import standin
from zc.twist.tests import hostile


class Names(unittest.TestCase):

    def test_a_name_tells_the_module_from_the_rest(self):
        self.assertEqual(standin.name_of(Names), '%s:Names' % __name__)
        self.assertEqual(standin.dotted('a.b:C.D'), 'a.b.C.D')

    def test_bases_are_named_in_order(self):
        self.assertEqual(standin.names_of(KeyError), (
            'builtins:KeyError', 'builtins:LookupError', 'builtins:Exception',
            'builtins:BaseException'))

    def test_parents_are_what_twisted_calls_them(self):
        self.assertEqual(
            standin.parents(('a:B.C', 'builtins:Exception')),
            ['a.B.C', 'a.C', 'builtins.Exception', 'builtins.object'])

    def test_a_metaclass_is_not_asked(self):
        self.assertEqual(standin.names_of(hostile.OfMeta)[0],
                         'zc.twist.tests.hostile:OfMeta')

    def test_a_module_name_that_is_no_text_is_not_fatal(self):
        cls = type('Odd', (Exception,), {})
        cls.__module__ = 42
        self.assertEqual(standin.names_of(cls)[0].partition(':')[0], '?')

    def test_the_builtin_bases_of_a_deep_class_are_kept(self):
        cls = KeyError
        for _ in range(100):
            cls = type('Sub', (cls,), {})
        names = standin.names_of(cls)
        self.assertEqual(len(names), standin.MAX_NAMES)
        self.assertEqual(names[-4:], standin.names_of(KeyError))


class Find(unittest.TestCase):
    """Only what is imported already is found, and nothing is run."""

    def test_a_class_of_an_imported_module(self):
        for cls in KeyError, pickle.PickleError, Find, hostile.OfMeta:
            self.assertIs(standin.find(standin.name_of(cls)), cls)

    def test_nothing_is_imported(self):
        self.assertNotIn('this', sys.modules)
        self.assertIsNone(standin.find('this:C'))
        self.assertNotIn('this', sys.modules)

    def test_what_is_no_class_or_bears_another_name_is_not_it(self):
        for name in ('builtins:len', 'builtins:IOError', 'builtins:Nope', ':',
                     'builtins:', '', 'builtins:KeyError.nope', 'sys:path.x'):
            self.assertIsNone(standin.find(name), name)

    def test_attributes_are_not_computed(self):
        module = types.ModuleType('twist_test_module')
        module.__getattr__ = lambda name: 1 / 0
        module.Proxy = type('P', (), {'__class__': property(lambda s: 1 / 0)})()
        self.addCleanup(sys.modules.pop, 'twist_test_module', None)
        sys.modules['twist_test_module'] = module
        self.assertIsNone(standin.find('twist_test_module:Nope'))
        self.assertIsNone(standin.find('twist_test_module:Proxy'))


class StandIns(unittest.TestCase):

    def test_every_builtin_exception_can_be_stood_in_for(self):
        for cls in vars(builtins).values():
            if not standin.is_class(cls) or not issubclass(cls, BaseException):
                continue
            made = standin.stand_in(standin.names_of(cls), 'said')
            with self.subTest(cls.__name__):
                self.assertEqual(str(made), 'said')
                self.assertEqual(type(made).__name__, cls.__name__)
                self.assertTrue(standin.is_stand_in(type(made)))
                if not issubclass(cls, BaseExceptionGroup):
                    self.assertIsInstance(made, cls)
                self.assertEqual(str(pickle.loads(pickle.dumps(made))), 'said')

    def test_it_looks_like_the_original(self):
        names = ('no.such.module:Outer.Gone', 'builtins:KeyError')
        made = standin.stand_in(names, 'said')
        cls = type(made)
        self.assertEqual(
            (cls.__module__, cls.__qualname__, cls.__name__),
            ('no.such.module', 'Outer.Gone', 'Gone'))
        self.assertEqual(repr(made), "Gone('said')")
        self.assertIs(standin.class_for(names), cls)

    def test_a_subclass_of_a_stand_in_is_none(self):
        cls = standin.class_for(('a:B', 'builtins:Exception'))
        self.assertFalse(standin.is_stand_in(type('C', (cls,), {})))


if __name__ == '__main__':
    unittest.main()
