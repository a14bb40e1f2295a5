"""The spelling of ``zc.async`` that a Python statement can use.

``async`` is a keyword, so no statement can say ``import zc.async``.  This
package makes ``zc.async_.X`` another name of ``zc.async.X``: not a copy, the
same module object, so that there is one ``Job`` class however it was reached.

Nothing here knows what the real package contains, and importing this loads
nothing of it but its ``__init__``.  Three facts about Python's import system
shape the code:

* Giving only the top package a second entry in ``sys.modules`` is not enough.
  The stock finder would look for ``zc.async_.job`` along the real package's
  ``__path__``, find the file and load it again.  Hence a finder of our own,
  ahead of the stock one.
* The import system writes ``__spec__`` onto any module a loader hands it.
  Ours hands it the real module, and has to put the real ``__spec__`` back.
* A module is in ``sys.modules`` while it is still being executed, and a second
  thread may keep what it finds there.  So an alias is entered only when its
  real module is complete; and this module, which cannot avoid being found,
  answers for the real package.
"""
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys

ALIAS = __name__
REAL = ALIAS.removesuffix('_')


class AliasLoader(importlib.abc.ExecutionLoader):
    """Loads an alias by importing the module *real*, which it stands for."""

    def __init__(self, real):
        self.real = real
        self.spec = None

    def create_module(self, spec):
        module = importlib.import_module(self.real)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        # The module is executed already; undo what was just done to it.
        module.__spec__ = self.spec

    # The rest is for runpy (``python -m``) and other readers of code, which
    # ask a loader for source and code without loading.

    def is_package(self, fullname):
        return self._loader().is_package(self.real)

    def get_code(self, fullname):
        return self._loader().get_code(self.real)

    def get_source(self, fullname):
        return self._loader().get_source(self.real)

    def get_filename(self, fullname):
        return self._loader().get_filename(self.real)

    def _loader(self):
        return importlib.util.find_spec(self.real).loader


class AliasFinder(importlib.abc.MetaPathFinder):
    """Finds ``zc.async_.X`` wherever ``zc.async.X`` is found."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(ALIAS + '.'):
            return None
        real = REAL + fullname.removeprefix(ALIAS)
        spec = importlib.util.find_spec(real)
        if spec is None:
            return None  # the stock finder will fail, in the caller's words
        return importlib.machinery.ModuleSpec(
            fullname, AliasLoader(real), origin=spec.origin,
            is_package=spec.submodule_search_locations is not None)


def install():
    """Put the finder first, once however often this module is executed."""
    for finder in sys.meta_path:
        if type(finder).__module__ == ALIAS:
            return
    sys.meta_path.insert(0, AliasFinder())


def __getattr__(name):
    """Answer for the real package, to who got hold of this module too early."""
    return getattr(importlib.import_module(REAL), name)


install()
sys.modules[ALIAS] = importlib.import_module(REAL)
