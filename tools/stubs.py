"""Write the type stubs of ``zc.async_``, or check that they are fresh.

    bin/py tools/stubs.py           write src/zc/async_/**/*.pyi
    bin/py tools/stubs.py --check   exit 1 and name what is not as it should be

Type checkers and editors cannot follow the alias that ``zc.async_`` is at run
time, and a stub cannot re-export either: ``zc.async`` is no more sayable in a
stub than elsewhere.  So each module of ``zc.async`` has a stub beside the
alias that declares what the module declares.

The stubs are made from the source alone.  Nothing is imported, so they come
out the same on every machine, and the tests can ask for them letter by letter.
"""
import argparse
import ast
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / 'src' / 'zc'
REAL, ALIAS = SRC / 'async', SRC / 'async_'
HEADER = '# Made by tools/stubs.py from zc.async; change that, not this.\n'

#: The decorators that change what a caller sees; the others are left out.
TELLING = re.compile(
    r'(property|staticmethod|classmethod|\w+\.(setter|deleter)|(\w+\.)?('
    r'cached_property|contextmanager|dataclass|overload|abstractmethod|final)'
    r')(\(|$)')
DISPLAYS = {
    ast.List: 'list[Any]', ast.ListComp: 'list[Any]', ast.Dict: 'dict[Any, Any]',
    ast.DictComp: 'dict[Any, Any]', ast.Set: 'set[Any]', ast.SetComp: 'set[Any]',
    ast.Tuple: 'tuple[Any, ...]', ast.JoinedStr: 'str'}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true')
    if parser.parse_args(argv).check:
        stale = differences(REAL, ALIAS)
        sys.stdout.writelines(f'{line}\n' for line in stale)
        return 1 if stale else 0
    wanted = stubs(REAL)
    for path in set(present(ALIAS)) - set(wanted):
        (ALIAS / path).unlink()
    for path, text in wanted.items():
        target = ALIAS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding='utf-8')
    return 0


def differences(real, alias):
    """Return one line for each stub that is missing, stale or too many."""
    wanted, found = stubs(real), present(alias)
    lines = [f'{path}: there is no such module' for path in found.keys() - wanted]
    for path, text in wanted.items():
        if path not in found:
            lines.append(f'{path}: missing')
        elif found[path] != text:
            lines.append(f'{path}: stale')
    return sorted(lines)


def present(alias):
    """Return the stubs under *alias*: {relative path: text}."""
    return {path.relative_to(alias).as_posix(): path.read_text(encoding='utf-8')
            for path in alias.rglob('*.pyi')}


def stubs(real):
    """Return the stubs that the package under *real* asks for."""
    wanted = {}
    for path in sorted(real.rglob('*.py')):
        relative = path.relative_to(real).with_suffix('.pyi')
        if 'tests' not in relative.parts and path.name != '__main__.py':
            wanted[relative.as_posix()] = stub(path.read_text(encoding='utf-8'))
    return wanted


def stub(source):
    """Return the stub of one module's *source*."""
    tree = ast.parse(source)
    body = Declarations(is_class=False).of(tree.body)
    used = names_in(ast.parse('\n'.join(body)))
    imports = Imports(tree, used).lines()
    if 'Any' in used and not any(re.search(r'\bAny$', line) for line in imports):
        imports.insert(0, 'from typing import Any')
    return HEADER + ''.join(f'{line}\n' for line in [*imports, *body])


def names_in(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def statements(body):
    """Yield the statements of *body*, those under if, try and with included."""
    for node in body:
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for part in ('body', 'orelse', 'finalbody'):
                yield from statements(getattr(node, part, ()))
            for handler in getattr(node, 'handlers', ()):
                yield from statements(handler.body)
        else:
            yield node


class Imports:
    """The imports that a stub needs, and those that a module passes on.

    A module passes a name on when it lists it in ``__all__``, when it imports
    it and makes no use of it, or when its ``__getattr__`` imports it on demand.
    """

    def __init__(self, tree, used):
        self.tree = tree
        self.used = used
        self.own = names_in(tree)
        self.listed = self._listed()

    def lines(self):
        lines = []
        for node in statements(self.tree.body):
            lazy = isinstance(node, ast.FunctionDef) and node.name == '__getattr__'
            for each in statements(node.body) if lazy else [node]:
                lines.extend(self._of(each, lazy))
        return list(dict.fromkeys(lines))

    def _of(self, node, lazy=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.split('.')[0]) in self.used:
                    yield f'import {alias.name}' + _as(alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module != '__future__':
            for alias in node.names:
                bound = alias.asname or alias.name
                passed_on = lazy or bound in self.listed or bound not in self.own
                if passed_on or bound in self.used:
                    asname = bound if passed_on else alias.asname
                    module = '.' * node.level + (node.module or '')
                    yield f'from {module} import {alias.name}' + _as(asname)

    def _listed(self):
        for node in statements(self.tree.body):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__':
                return {c.value for c in ast.walk(node.value)
                        if isinstance(c, ast.Constant)}
        return set()


def _as(name):
    return f' as {name}' if name else ''


class Declarations:
    """The declarations of one module or class, as lines of a stub."""

    def __init__(self, is_class, bases=()):
        self.is_class = is_class
        self.is_interface = any(re.fullmatch(r'Interface|I[A-Z]\w*', b) for b in bases)
        self.is_enum = any(re.fullmatch(r'\w*(Enum|Flag)', b) for b in bases)
        self.seen = set()
        self.classes = set()

    def of(self, body):
        lines = []
        for node in statements(body):
            if isinstance(node, ast.ClassDef):
                lines.extend(self._class(node))
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines.extend(self._function(node))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines.extend(self._annotated(node))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    lines.extend(self._assigned(target, node.value))
        return lines

    def _new(self, name):
        """Is *name* declared here for the first time?"""
        is_new = name not in self.seen
        self.seen.add(name)
        return is_new

    def _class(self, node):
        if not self._new(node.name):
            return
        self.classes.add(node.name)
        yield from decorators(node)
        arguments = ', '.join(map(ast.unparse, [*node.bases, *node.keywords]))
        head = f'class {node.name}' + (f'({arguments}):' if arguments else ':')
        bases = [ast.unparse(base).rpartition('.')[2] for base in node.bases]
        inner = Declarations(True, bases)
        body = inner.of(node.body)
        body.extend(f'{name}: {kind}' for name, kind in kept_on_self(node)
                    if inner._new(name))
        yield head if body else f'{head} ...'
        yield from (f'    {line}' for line in body)

    def _function(self, node):
        if not self.is_class and node.name == '__getattr__':
            return  # what it fetches is among the imports
        telling = list(decorators(node))
        overloads = any('overload' in t or '.' in t for t in telling)
        if not (overloads or self._new(node.name)):
            return
        yield from telling
        prefix = 'async ' if isinstance(node, ast.AsyncFunctionDef) else ''
        returns = ' -> ' + ast.unparse(node.returns) if node.returns else ''
        if not returns and node.name == '__init__':
            returns = ' -> None'
        yield f'{prefix}def {node.name}({self._arguments(node)}){returns}: ...'

    def _arguments(self, node):
        """The signature, with defaults that no type checker needs as ``...``."""
        arguments = ast.parse(f'def f({ast.unparse(node.args)}): ...').body[0].args
        shorten = [d if d is None or isinstance(d, ast.Constant)
                   else ast.Constant(...) for d in arguments.defaults]
        arguments.defaults = shorten
        arguments.kw_defaults = [
            d if d is None or isinstance(d, ast.Constant) else ast.Constant(...)
            for d in arguments.kw_defaults]
        if self.is_interface:  # an interface's methods are written without it
            arguments.args.insert(0, ast.arg('self'))
        return ast.unparse(arguments)

    def _annotated(self, node):
        if self._new(node.target.id):
            default = ' = ...' if self.is_class and node.value else ''
            yield f'{node.target.id}: {ast.unparse(node.annotation)}{default}'

    def _assigned(self, target, value):
        if isinstance(target, ast.Tuple):
            for element in target.elts:
                yield from self._assigned(element, None)
        elif isinstance(target, ast.Name) and self._new(target.id):
            verbatim = self.is_enum or target.id in ('__all__', '__slots__') \
                or isinstance(value, (ast.Name, ast.Attribute)) \
                or is_type_factory(value)
            if verbatim:
                yield f'{target.id} = {ast.unparse(value)}'
            elif isinstance(value, ast.Call) and ast.unparse(value.func) in self.classes:
                yield f'{target.id}: {ast.unparse(value.func)}'
            else:
                yield f'{target.id}: {kind_of(value)}'


def is_type_factory(value):
    return isinstance(value, ast.Call) and re.search(
        r'(^|\.)(namedtuple|NamedTuple|TypeVar|NewType|Enum)$',
        ast.unparse(value.func)) is not None


def decorators(node):
    for decorator in node.decorator_list:
        text = ast.unparse(decorator)
        if TELLING.match(text):
            yield f'@{text}'


def kept_on_self(node):
    """Return the attributes that the methods of a class set: (name, kind)."""
    kinds = {}
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.args.args:
            owner = method.args.args[0].arg
            for name, kind in set_on(owner, method):
                kinds.setdefault(name, set()).add(kind)
    return [(name, found.pop() if len(found) == 1 else 'Any')
            for name, found in kinds.items()]


def set_on(owner, method):
    for node in ast.walk(method):
        if isinstance(node, ast.Assign):
            targets, kind = node.targets, kind_of(node.value)
        elif isinstance(node, ast.AnnAssign):
            targets, kind = [node.target], ast.unparse(node.annotation)
        else:
            continue
        for target in targets:
            elements = target.elts if isinstance(target, ast.Tuple) else [target]
            for element in elements:
                if isinstance(element, ast.Attribute) \
                        and isinstance(element.value, ast.Name) \
                        and element.value.id == owner:
                    yield element.attr, kind if element is target else 'Any'


def kind_of(value):
    """Return the type that the form of *value* shows, or 'Any'."""
    if isinstance(value, ast.Constant) and value.value not in (None, ...):
        return type(value.value).__name__
    return DISPLAYS.get(type(value), 'Any')


if __name__ == '__main__':
    sys.exit(main())
