"""Who may know whom: the layers of the package, read from its imports."""
import ast
import pathlib
import re
import unittest

PACKAGE = pathlib.Path(__file__).parent.parent

#: From the bottom to the top.  A module imports from layers below its own, and
#: from its own where that makes no cycle.  A new module needs a place here.
LAYERS = {
    'words': 'interfaces',
    'leaves': 'chance clock current describe failure instanceuuid log outage threadlocal'
              ' timekeys wake',
    'model': r'model(\.\w+)? job queue agent utils',
    'evolution': r'evolve(\.\w+)?',
    'runtime': r'runtime(\.\w+)?',
    'process': 'dispatcher',
    'assembly': 'configure subscribers z3',
    'operations': r'ops(\.\w+)? cli demo monitor monitordb __main__',
    'tests': 'testing ftesting',
}
ORDER = list(LAYERS)

#: What would make the model depend on how, and where, it is run.
NOT_IN_THE_MODEL = re.compile(
    r'(_thread|asyncio|concurrent|multiprocessing|select|signal|socket'
    r'|threading|twisted\.internet\.reactor)(\.|$)')

#: The places that ask the component registry; elsewhere, be given what you need.
LOOKUPS = re.compile(
    r'(get|query)(Utility|Adapter|MultiAdapter|Utilities|Adapters|SiteManager|'
    r'GlobalSiteManager)(For|In)?$')
LOOK_UP = {
    'model.retry',  # retry policies are adapters, named by the queue or the job
}


def modules():
    """Return {name within the package: its syntax tree}."""
    found = {}
    for path in PACKAGE.rglob('*.py'):
        name = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
        name = name.removesuffix('.__init__')
        if 'tests' not in name.split('.') and name != '__init__':
            found[name] = ast.parse(path.read_text(encoding='utf-8'))
    return found


MODULES = modules()


def layer(name):
    for number, patterns in enumerate(LAYERS.values()):
        if any(re.fullmatch(pattern, name) for pattern in patterns.split()):
            return number
    raise AssertionError(f'{name} has no layer: say in LAYERS where it belongs')


def imported(name):
    """Yield what module *name* imports; ours as '.name' within the package."""
    package = name if (PACKAGE / name.replace('.', '/')).is_dir() else \
        name.rpartition('.')[0]
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = package.split('.') if package else []
                kept = parents[:len(parents) - node.level + 1]
                base = '.'.join(['', *kept, *filter(None, [node.module])])
            for alias in node.names:
                inner = f'{base.rstrip(".")}.{alias.name}'
                whole = not node.level or inner[1:] in MODULES
                yield inner if whole else base or '.'


def ours(name):
    """Return the modules of the package that module *name* imports."""
    return {other[1:] for other in imported(name)
            if other.startswith('.') and other[1:] in MODULES} - {name}


class Architecture(unittest.TestCase):

    def test_each_module_has_a_layer(self):
        for name in MODULES:
            layer(name)

    def test_imports_point_downwards(self):
        upwards = [f'{name} ({ORDER[layer(name)]}) imports {other} ({ORDER[layer(other)]})'
                   for name in MODULES for other in sorted(ours(name))
                   if layer(other) > layer(name)]
        self.assertEqual(upwards, [])

    def test_no_cycle(self):
        left = {name: ours(name) for name in MODULES}
        while free := {name for name, needs in left.items() if not needs & left.keys()}:
            left = {name: needs for name, needs in left.items() if name not in free}
        self.assertEqual(sorted(left), [], 'these import each other')

    def test_the_words_import_nothing_of_ours(self):
        self.assertEqual(ours('interfaces'), set())

    def test_the_package_imports_itself_relatively(self):
        absolute = [f'{name}: {other}' for name in MODULES for other in imported(name)
                    if re.match(r'zc\.async', other)]
        self.assertEqual(absolute, [])

    def test_the_model_knows_no_thread_no_reactor_no_socket(self):
        wrong = [f'{name}: {other}' for name in MODULES for other in imported(name)
                 if layer(name) <= ORDER.index('evolution')
                 and ORDER[layer(name)] != 'leaves' and NOT_IN_THE_MODEL.match(other)]
        self.assertEqual(wrong, [])

    def test_the_registry_is_asked_in_few_places(self):
        asking = {name for name, tree in MODULES.items() for node in ast.walk(tree)
                  if isinstance(node, (ast.Name, ast.Attribute))
                  and LOOKUPS.match(getattr(node, 'id', None) or getattr(node, 'attr', ''))}
        self.assertEqual(asking, LOOK_UP & MODULES.keys())

    def test_zc_twist_does_not_know_the_package(self):
        for path in (PACKAGE.parent / 'twist').rglob('*.py'):
            self.assertNotIn('zc.async', path.read_text(encoding='utf-8'), path)
