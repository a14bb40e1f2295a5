"""The type stubs beside the alias say what the modules say."""
import ast
import importlib.util
import pathlib
import sys
import tempfile
import textwrap
import unittest
import unittest.mock

from .checkout import ROOT, needs_checkout


def generator():
    spec = importlib.util.spec_from_file_location(
        'zc_async_stubs', ROOT / 'tools' / 'stubs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_checkout
class StubsOfThePackage(unittest.TestCase):

    def setUp(self):
        self.tool = generator()

    def test_stubs_are_fresh(self):
        stale = self.tool.differences(self.tool.REAL, self.tool.ALIAS)
        self.assertEqual(stale, [], 'run "bin/py tools/stubs.py"')

    def test_each_stub_is_python(self):
        for path, text in self.tool.stubs(self.tool.REAL).items():
            with self.subTest(path):
                ast.parse(text, path)

    def test_each_name_of_a_stub_is_bound_in_it(self):
        import builtins
        for path, text in self.tool.stubs(self.tool.REAL).items():
            tree = ast.parse(text)
            bound = {n.name for n in ast.walk(tree) if hasattr(n, 'name')}
            bound |= {n.asname or n.name.split('.')[0] for n in ast.walk(tree)
                      if isinstance(n, ast.alias)}
            bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
                      and isinstance(n.ctx, ast.Store)}
            with self.subTest(path):
                unbound = self.tool.names_in(tree) - bound - set(dir(builtins))
                self.assertEqual(unbound, set())

    def test_the_package_is_typed_and_the_tests_have_no_stubs(self):
        self.assertTrue((self.tool.ALIAS / 'py.typed').exists())
        self.assertEqual(list(self.tool.ALIAS.rglob('test*/*.pyi')), [])


@needs_checkout
class StubOfAModule(unittest.TestCase):
    """One rule of the generator each."""

    def stub(self, source):
        tool = generator()
        return tool.stub(textwrap.dedent(source)).removeprefix(tool.HEADER)

    def assertStub(self, source, expected):
        self.assertEqual(self.stub(source), textwrap.dedent(expected).lstrip('\n'))

    def test_a_function_keeps_its_signature_and_loses_its_body(self):
        self.assertStub('''
            @anything
            def f(a, /, b=(1, 2), *rest, c, d=None, **more) -> int:
                """Doc."""
                return a
            ''', '''
            def f(a, /, b=..., *rest, c, d=None, **more) -> int: ...
            ''')

    def test_properties_and_other_telling_decorators_stay(self):
        self.assertStub('''
            import functools
            class C:
                @property
                def x(self): return 1
                @x.setter
                def x(self, value): pass
                @functools.cached_property
                def y(self): return 1
                @implementer(I)
                def z(self): return 1
            ''', '''
            import functools
            class C:
                @property
                def x(self): ...
                @x.setter
                def x(self, value): ...
                @functools.cached_property
                def y(self): ...
                def z(self): ...
            ''')

    def test_attributes_set_on_self_are_declared(self):
        self.assertStub('''
            class C:
                kind = 'c'
                def __init__(self, a):
                    self.a, self.b = a
                    self.count = 0
                    self.both = 1
                def f(self):
                    self.both = 'x'
                    other.c = 1
            ''', '''
            from typing import Any
            class C:
                kind: str
                def __init__(self, a) -> None: ...
                def f(self): ...
                a: Any
                b: Any
                count: int
                both: Any
            ''')

    def test_methods_of_an_interface_gain_self(self):
        self.assertStub('''
            from zope.interface import Attribute, Interface
            class IThing(Interface):
                size = Attribute('how large')
                def decide(attempt):
                    """Return a decision."""
            ''', '''
            from typing import Any
            from zope.interface import Interface
            class IThing(Interface):
                size: Any
                def decide(self, attempt): ...
            ''')

    def test_dataclasses_and_enumerations_keep_what_makes_them(self):
        self.assertStub('''
            from dataclasses import dataclass
            import enum
            @dataclass(frozen=True, slots=True)
            class RunAgain:
                after: float = 0.0
            class Place(enum.Enum):
                BODY = 'body'
            ''', '''
            from dataclasses import dataclass
            import enum
            @dataclass(frozen=True, slots=True)
            class RunAgain:
                after: float = ...
            class Place(enum.Enum):
                BODY = 'body'
            ''')

    def test_only_needed_and_passed_on_imports_stay(self):
        self.assertStub('''
            import os
            from . import log
            from .interfaces import KEY, IJob
            from .queue import Queue
            __all__ = ['KEY']
            def f(): return os, log, KEY, IJob
            ''', '''
            from .interfaces import KEY as KEY
            from .queue import Queue as Queue
            __all__ = ['KEY']
            def f(): ...
            ''')

    def test_what_getattr_fetches_is_passed_on(self):
        self.assertStub('''
            def __getattr__(name):
                if name == 'local':
                    from .threadlocal import local
                    return local
                raise AttributeError(name)
            ''', '''
            from .threadlocal import local as local
            ''')

    def test_branches_are_flattened_and_the_first_wins(self):
        self.assertStub('''
            try:
                from fast import f
            except ImportError:
                def f(a): pass
            if True:
                limit = 1
            else:
                limit = None
            ''', '''
            from fast import f as f
            def f(a): ...
            limit: int
            ''')

    def test_an_instance_of_a_class_of_the_module_has_its_type(self):
        self.assertStub('''
            class Local:
                def getJob(self): pass
            local = Local()
            other = Unknown()
            ''', '''
            from typing import Any
            class Local:
                def getJob(self): ...
            local: Local
            other: Any
            ''')

    def test_check_names_what_is_missing_stale_or_too_many(self):
        tool = generator()
        with tempfile.TemporaryDirectory() as folder:
            real, alias = pathlib.Path(folder, 'r'), pathlib.Path(folder, 'a')
            for name in ('one', 'two', 'three'):
                real.mkdir(exist_ok=True)
                (real / f'{name}.py').write_text('x = 1\n')
            alias.mkdir()
            (alias / 'one.pyi').write_text(tool.stub('x = 1\n'))
            (alias / 'two.pyi').write_text(tool.stub('x = "1"\n'))
            (alias / 'four.pyi').write_text('')
            self.assertEqual(tool.differences(real, alias), [
                'four.pyi: there is no such module', 'three.pyi: missing',
                'two.pyi: stale'])

    def test_the_program_writes_what_it_checks(self):
        tool = generator()
        with tempfile.TemporaryDirectory() as folder:
            tool.REAL, tool.ALIAS = pathlib.Path(folder, 'r'), pathlib.Path(folder, 'a')
            (tool.REAL / 'sub').mkdir(parents=True)
            (tool.REAL / 'sub' / '__init__.py').write_text('x = 1\n')
            with unittest.mock.patch.object(sys, 'stdout'):
                self.assertEqual(tool.main(['--check']), 1)
            self.assertEqual(tool.main([]), 0)
            self.assertEqual(tool.main(['--check']), 0)
