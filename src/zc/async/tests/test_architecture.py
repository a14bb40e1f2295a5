"""Who may know whom: the layers of the package, read from its imports."""
import ast
import pathlib
import re
import unittest

PACKAGE = pathlib.Path(__file__).parent.parent

#: From the bottom to the top.  A module imports from the layers below its own,
#: and from its own where that makes no cycle.  A new module needs a place here.
LAYERS = {
    'words': 'interfaces',
    'leaves': 'bell chance clock current datafile describe failures instanceuuid log outage'
              ' productconfig threadlocal timekeys wake',
    'model': r'model(\.\w+)? job queue agent utils',
    'evolution': r'evolve(\.\w+)?',
    'runtime': r'runtime(\.\w+)?',
    'process': 'dispatcher',
    'assembly': 'configure opened signals subscribers z3 zcml zope2',
    'audit': r'audit(\.\w+)?',
    'operations': r'ops(\.\w+)? demo(\.\w+)? cli monitor monitordb __main__',
    'tests': 'byhand testing ftesting processes testkit pytestplugin'}
ORDER = list(LAYERS)
#: What would make the stored model depend on how, and where, it is run.
NOT_IN_THE_MODEL = re.compile(
    r'(_thread|asyncio|concurrent|multiprocessing|select|signal|socket'
    r'|threading|twisted\.internet\.reactor)(\.|$)')
LOOKUP = re.compile(r'(get|query)(Utility|Utilities|(Multi)?Adapters?|(Global)?SiteManager'
                    r')(For|In|FollowsIn)?$')
#: The modules that ask the component registry; the others are given what they need.
MAY_LOOK_UP = {
    'dispatcher',   # the UUID of this process, unless it is given one
    'model.retry',  # retry policies are adapters that a queue or a job names
    'queue',        # the UUID of this process, where none is named
    'z3',           # the principals whose ids a job has
}


def modules():
    """Return {name within the package: its syntax tree}."""
    names = {'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
             .removesuffix('.__init__'): path for path in PACKAGE.rglob('*.py')}
    return {name: ast.parse(path.read_text(encoding='utf-8'))
            for name, path in names.items()
            if 'tests' not in name.split('.') and name != '__init__'}


MODULES = modules()


def layer(name):
    for number, patterns in enumerate(LAYERS.values()):
        if any(re.fullmatch(pattern, name) for pattern in patterns.split()):
            return number
    raise AssertionError(f'{name} has no layer: say in LAYERS where it belongs')


def imported(name):
    """Yield what module *name* imports; with a leading dot, within the package."""
    is_package = (PACKAGE / name.replace('.', '/')).is_dir()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = name.split('.') + ['itself'] * is_package
            base = ['', *parents[:-node.level]] if node.level else []
            base += node.module.split('.') if node.module else []
            whole = {'.'.join([*base, alias.name]) for alias in node.names}
            yield from whole
            if any(name[1:] not in MODULES for name in whole):
                yield '.'.join(base)


def ours(name):
    """Return the modules of the package that module *name* imports."""
    return {other[1:] for other in imported(name) if other[1:] in MODULES
            and other.startswith('.')} - {name}


class Architecture(unittest.TestCase):

    def test_imports_point_downwards(self):
        upwards = [f'{name} ({ORDER[layer(name)]}) imports {other} ({ORDER[layer(other)]})'
                   for name in MODULES for other in sorted(ours(name))
                   if layer(other) > layer(name) or layer(name) == 0]
        self.assertEqual(upwards, [])

    def test_no_cycle(self):
        left = {name: ours(name) for name in MODULES}
        while free := {name for name, needs in left.items() if not needs & left.keys()}:
            left = {name: needs for name, needs in left.items() if name not in free}
        self.assertEqual(sorted(left), [], 'these import each other')

    def test_the_model_knows_no_thread_no_reactor_no_socket(self):
        for name in MODULES:
            if ORDER[layer(name)] in ('words', 'model', 'evolution'):
                self.assertEqual(list(filter(NOT_IN_THE_MODEL.match, imported(name))), [], name)

    def test_the_registry_is_asked_in_few_places(self):
        asking = {name for name, tree in MODULES.items() for node in ast.walk(tree)
                  if LOOKUP.match(getattr(node, 'id', '') or getattr(node, 'attr', ''))}
        self.assertEqual(asking, MAY_LOOK_UP & MODULES.keys())
