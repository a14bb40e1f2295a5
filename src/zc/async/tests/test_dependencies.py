"""What the code imports is what ``setup.py`` says it needs."""
import ast
import re
import sys
import unittest

from .checkout import ROOT, needs_checkout

SRC = ROOT / 'src' / 'zc'
#: Modules that are of no use without an extra.
OF_AN_EXTRA = ('zcml.py',)
#: Distributions whose package is spelled otherwise.
PACKAGES = {'Twisted': 'twisted', 'RelStorage': 'relstorage', 'Zope': 'ZPublisher'}


def required():
    """Return what setup.py requires: ({package}, {package of any extra})."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call)
              and ast.unparse(node.func) == 'setup']
    [always] = [k.value for k in call.keywords if k.arg == 'install_requires']
    every = (element.value for node in ast.walk(tree) if isinstance(node, ast.List)
             for element in node.elts if isinstance(element, ast.Constant))
    return packages(ast.literal_eval(always)), packages(every)


def packages(requirements):
    names = {re.match(r'[\w.]*', str(text)).group() for text in requirements}
    return {PACKAGES.get(name, name) for name in names - {''}}


def product():
    """Yield (path, syntax tree) of each module that is not a test."""
    for folder in ('async', 'async_', 'twist'):
        for path in (SRC / folder).rglob('*.py'):
            if 'tests' not in path.parts:
                yield path, ast.parse(path.read_text(encoding='utf-8'))


def absolute_imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def undeclared(names, declared):
    """Return those of *names* that come with none of the *declared* packages."""
    return sorted(name for name in names
                  if name.partition('.')[0] not in sys.stdlib_module_names
                  and not any(f'{name}.'.startswith(f'{d}.') for d in declared))


@needs_checkout
class Dependencies(unittest.TestCase):

    def test_what_a_module_always_imports_is_always_installed(self):
        always, _ = required()
        always |= {'zc.twist', 'zc.async_'}
        for path, tree in product():
            if path.name not in OF_AN_EXTRA:
                with self.subTest(path.relative_to(SRC)):
                    self.assertEqual(undeclared(absolute_imports(tree.body), always), [])

    def test_what_is_imported_on_demand_is_in_some_extra(self):
        _, every = required()
        every |= {'zc.twist', 'zc.async_'}
        for path, tree in product():
            with self.subTest(path.relative_to(SRC)):
                self.assertEqual(undeclared(absolute_imports(ast.walk(tree)), every), [])

    def test_zc_twist_does_not_know_zc_async(self):
        for path, tree in product():
            if 'twist' in path.parts:
                for name in absolute_imports(ast.walk(tree)):
                    self.assertFalse(name.startswith('zc.async'), path)

    def test_zc_async_imports_itself_relatively(self):
        for path, tree in product():
            if 'async' in path.parts:
                for name in absolute_imports(ast.walk(tree)):
                    self.assertFalse(re.match(r'zc\.async', name), path)

    def test_every_requirement_has_a_pinned_version(self):
        text = (ROOT / 'versions.cfg').read_text(encoding='utf-8').lower()
        always, _ = required()
        for name in always:
            self.assertRegex(text, rf'(?m)^{re.escape(name.lower())} = ')
