"""The two spellings of the package: one module object, one class each."""
import importlib
import importlib.util
import inspect
import logging
import pickle
import pkgutil
import sys
import textwrap
import unittest
from unittest import mock

import zc.async_
import zc.async_.interfaces

from .checkout import run_python

REAL, ALIAS = 'zc.async', 'zc.async_'


def modules():
    """Return the name of each module, without the package's own name."""
    package = importlib.import_module(REAL)
    return [info.name.removeprefix(REAL)
            for info in pkgutil.walk_packages(package.__path__, REAL + '.')
            if '.tests' not in info.name and not info.name.endswith('__main__')]


class OneModule(unittest.TestCase):
    """Whichever spelling comes first, there is one module object."""

    def test_both_spellings_are_the_same_object(self):
        for name in ['', *modules()]:
            with self.subTest(name):
                self.assertIs(importlib.import_module(ALIAS + name),
                              importlib.import_module(REAL + name))

    def test_no_module_was_loaded_as_the_alias(self):
        for name in modules():
            importlib.import_module(ALIAS + name)
        for key, module in list(sys.modules.items()):
            if key == ALIAS or key.startswith(ALIAS + '.'):
                real = REAL + key.removeprefix(ALIAS)
                self.assertIs(module, sys.modules[real], key)
                self.assertEqual(module.__name__, real)

    def test_no_file_was_loaded_twice(self):
        files = [module.__file__ for module in set(sys.modules.values())
                 if getattr(module, '__name__', '').startswith(REAL)
                 and getattr(module, '__file__', None)]
        self.assertEqual(sorted(files), sorted(set(files)))

    def test_the_identity_of_a_module_is_the_real_one(self):
        for name in ['', *modules()]:
            with self.subTest(name):
                module = importlib.import_module(ALIAS + name)
                self.assertEqual(module.__name__, REAL + name)
                self.assertEqual(module.__spec__.name, REAL + name)
                self.assertIs(module.__loader__, module.__spec__.loader)
                self.assertEqual(module.__spec__.origin, module.__file__)
                self.assertEqual(module.__package__, module.__spec__.parent)

    def test_attributes_lead_to_the_real_modules(self):
        import zc
        self.assertIs(zc.async_, getattr(zc, 'async'))
        self.assertIs(zc.async_.interfaces, sys.modules['zc.async.interfaces'])

    def test_reload_reloads_the_real_module(self):
        run_python('-c', textwrap.dedent('''
            import importlib, sys
            import zc.async_.interfaces as words
            again = importlib.reload(words)
            assert again is words is sys.modules['zc.async.interfaces']
            assert words.__spec__.name == 'zc.async.interfaces'
            assert importlib.reload(sys.modules['zc.async_']) is sys.modules['zc.async']
        '''))


class FreshInterpreter(unittest.TestCase):
    """What can only be seen where nothing is loaded yet."""

    def test_importing_the_package_loads_none_of_its_modules(self):
        loaded = run_python('-c', textwrap.dedent('''
            import sys, zc.async_
            print(*sorted(n for n in sys.modules if n.startswith('zc.async')))
        '''))
        self.assertEqual(loaded.split(), ['zc.async', 'zc.async_'])

    def test_the_alias_may_come_first_or_last(self):
        for first, second in ((REAL, ALIAS), (ALIAS, REAL)):
            with self.subTest(first=first):
                run_python('-c', textwrap.dedent(f'''
                    from importlib import import_module
                    import zc.async_
                    first = import_module('{first}.interfaces')
                    second = import_module('{second}.interfaces')
                    assert first is second
                    assert first.__spec__.name == 'zc.async.interfaces'
                '''))

    def test_both_spellings_run_as_a_program(self):
        for name in (REAL, ALIAS, REAL + '.cli', ALIAS + '.cli'):
            with self.subTest(name):
                self.assertIn('usage: ', run_python('-m', name, '--help'))

    def test_a_finder_that_comes_later_does_not_duplicate(self):
        """pytest and coverage put finders in front; ours must not be needed twice."""
        run_python('-c', textwrap.dedent('''
            import sys, zc.async_
            finders = [f for f in sys.meta_path if type(f).__module__ == 'zc.async_']
            assert len(finders) == 1, finders
            del sys.modules['zc.async_']
            import zc.async_
            finders = [f for f in sys.meta_path if type(f).__module__ == 'zc.async_']
            assert len(finders) == 1, finders
        '''))

    def test_circular_imports_through_the_alias(self):
        """A module may be asked for by both names while it is being loaded."""
        run_python('-c', textwrap.dedent('''
            import importlib.abc, importlib.util, sys

            CODE = {'zc.async.ping': 'import zc.async_.pong\\nclass Ping: pass',
                    'zc.async.pong': 'import zc.async_.ping\\nclass Pong: pass'}

            class Made(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
                def find_spec(self, name, path=None, target=None):
                    if name in CODE:
                        return importlib.util.spec_from_loader(name, self)
                def get_source(self, name):
                    return CODE[name]

            sys.meta_path.append(Made())
            import zc.async_
            from zc.async_.ping import Ping
            from zc.async_.pong import Pong
            for name in CODE:
                alias = name.replace('async', 'async_')
                assert sys.modules[name] is sys.modules[alias]
                assert sys.modules[name].__spec__.name == name
        '''))


class Threads(unittest.TestCase):
    """Threads that meet in one import get one module, and a whole one."""

    RACE = textwrap.dedent('''
        import importlib.abc, importlib.util, sys, threading

        BODY = "import time; time.sleep(0.05)\\n%s\\nclass Last: pass"
        CODE = {'zc.async.left': BODY % 'from . import right',
                'zc.async.right': BODY % 'from . import left'}

        class Made(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name in CODE:
                    return importlib.util.spec_from_loader(name, self)
            def get_source(self, name):
                return CODE[name]

        sys.meta_path.append(Made())
        seen, wrong = [], []
        start = threading.Barrier(8)

        def fetch(number):
            side = 'left' if number % 4 < 2 else 'right'
            space = {}
            start.wait()
            try:
                if number % 2:
                    exec('from zc.async_.%s import Last' % side, space)
                    seen.append(space['Last'])
                else:
                    importlib.import_module('zc.async.' + side)
            except Exception as error:
                wrong.append(error)

        def race():
            threads = [threading.Thread(target=fetch, args=(number,), daemon=True)
                       for number in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join(20)
            assert not any(thread.is_alive() for thread in threads), 'deadlock'
    ''')

    def test_slow_modules_imported_by_both_names_at_once(self):
        run_python('-c', self.RACE + textwrap.dedent('''
            import zc.async_
            race()
            assert not wrong, wrong
            assert len(seen) == 4 and len(set(seen)) == 2, seen
        '''))

    def test_nothing_is_spoiled_where_the_alias_itself_is_raced_for(self):
        """An import may fail there, but nothing hangs and all is well after."""
        for _ in range(3):
            run_python('-c', self.RACE + textwrap.dedent('''
                race()
                assert all(type(e) is ModuleNotFoundError for e in wrong), wrong
                from zc.async_.left import Last
                assert set(seen) <= {Last, sys.modules['zc.async.right'].Last}, seen
                for name, module in list(sys.modules.items()):
                    if name.startswith('zc.async_'):
                        assert module is sys.modules[name.replace('async_', 'async')]
            '''))

    def test_a_finder_never_waits_for_an_import(self):
        """Finders are asked under the import lock: waiting is a deadlock."""
        run_python('-c', self.RACE + textwrap.dedent('''
            import zc.async_
            finder = sys.meta_path[0]
            del sys.modules['zc.async']     # an import here would bring it back
            path = sys.modules['zc.async_'].__path__
            assert finder.find_spec('zc.async_.interfaces', path)
            assert 'zc.async' not in sys.modules
        '''))

    def test_the_package_itself_imported_by_many(self):
        run_python('-c', textwrap.dedent('''
            import sys, threading
            wrong, start = [], threading.Barrier(8)

            def fetch():
                start.wait()
                try:
                    exec('from zc.async_ import interfaces; '
                         'assert interfaces.__name__ == "zc.async.interfaces"', {})
                except Exception as error:
                    wrong.append(error)

            threads = [threading.Thread(target=fetch) for n in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join(30)
            assert not wrong, wrong
        '''))


class Strings(unittest.TestCase):
    """Every string that Python makes of the package says ``zc.async``."""

    def test_reprs(self):
        self.assertIn("'zc.async.interfaces'", repr(zc.async_.interfaces))
        self.assertIn('zc.async.interfaces.IJob', repr(zc.async_.interfaces.IJob))
        self.assertEqual(zc.async_.interfaces.IJob.__identifier__,
                         'zc.async.interfaces.IJob')

    def test_pickles_name_the_real_module(self):
        data = pickle.dumps(zc.async_.interfaces.BadStatusError('x'), 2)
        self.assertIn(b'zc.async.interfaces', data)
        self.assertNotIn(b'zc.async_', data)

    def test_both_spellings_unpickle_to_one_class(self):
        real = b'czc.async.interfaces\nBadStatusError\n.'
        alias = b'czc.async_.interfaces\nBadStatusError\n.'
        self.assertIs(pickle.loads(real), pickle.loads(alias))
        self.assertIs(pickle.loads(real), zc.async_.interfaces.BadStatusError)

    def test_a_pickle_loads_where_nothing_was_imported(self):
        for name in (REAL, ALIAS):
            with self.subTest(name):
                run_python('-c', textwrap.dedent(f'''
                    import pickle
                    found = pickle.loads(b'c{name}.interfaces\\nBadStatusError\\n.')
                    assert found.__module__ == 'zc.async.interfaces'
                '''))

    def test_loggers(self):
        for name in modules():
            for value in vars(importlib.import_module(ALIAS + name)).values():
                if isinstance(value, logging.Logger):
                    self.assertEqual(value.name.split('.')[:2], ['zc', 'async'])


class Tools(unittest.TestCase):
    """What other code does with module names works for the alias too."""

    def test_patching_through_the_alias(self):
        with mock.patch('zc.async_.interfaces.KEY', 'patched'):
            real = importlib.import_module('zc.async.interfaces')
            self.assertEqual(real.KEY, 'patched')
        self.assertEqual(zc.async_.interfaces.KEY, 'zc.async')

    def test_find_spec_does_not_load(self):
        run_python('-c', textwrap.dedent('''
            import importlib.util, sys, zc.async_
            assert importlib.util.find_spec('zc.async_.interfaces').origin
            assert 'zc.async.interfaces' not in sys.modules
            assert importlib.util.find_spec('zc.async_.nothing') is None
        '''))

    def test_a_missing_module_is_reported_in_the_words_of_the_import(self):
        with self.assertRaises(ModuleNotFoundError) as caught:
            importlib.import_module('zc.async_.nothing')
        self.assertEqual(caught.exception.name, 'zc.async_.nothing')
        with self.assertRaises(ImportError):
            from zc.async_ import nothing  # noqa: F401
        with self.assertRaises(ImportError):
            from zc.async_.interfaces import nothing  # noqa: F401, F811

    def test_source_can_be_read(self):
        error = zc.async_.interfaces.BadStatusError
        self.assertIn('class BadStatusError', inspect.getsource(error))
        self.assertIs(inspect.getmodule(error), zc.async_.interfaces)

    def test_package_data(self):
        self.assertIn(b'zc.async', pkgutil.get_data('zc.async_', 'interfaces.py'))

    def test_names_are_resolved_by_either_spelling(self):
        for name in (REAL, ALIAS):
            self.assertIs(pkgutil.resolve_name(f'{name}.interfaces:IJob'),
                          zc.async_.interfaces.IJob)

    def test_local_is_at_hand_after_the_bare_import(self):
        run_python('-c', textwrap.dedent('''
            import zc.async_
            zc.async_.local.getJob
            from zc.async_ import local
            assert local is zc.async_.local
        '''))
