"""The spelling of ``zc.async`` that a Python statement can use.

``async`` is a keyword, so a statement cannot say ``import zc.async``.  This
package makes ``zc.async_.X`` another name of ``zc.async.X``: not a copy, the
same module object, so that there is one ``Job`` class however it was reached.

Nothing here knows what the real package contains, and importing this loads
nothing of it but its ``__init__``.  Four facts about Python's import system
shape the code:

* Giving only the top package a second entry in ``sys.modules`` is not enough.
  The stock finder would look for ``zc.async_.job`` along the real package's
  ``__path__``, find the file and load it again.  Hence a finder of our own,
  ahead of the stock one.
* Finders are asked under the global import lock.  One that imports anything,
  and so may wait for a thread that imports the same, is a deadlock.  Ours only
  asks the other finders.
* The import system writes ``__spec__`` onto any module a loader hands it.
  Ours hands it the real module, and has to put the real ``__spec__`` back.
* A module is in ``sys.modules`` while it is still being executed, and a second
  thread may use what it finds there, even to import a submodule.  So an alias
  is entered only when its real module is complete; and this module, which
  cannot avoid being found, makes such a thread wait and then answers for the
  real package.

What is left of the last is the time that Python takes from entering this module
to executing its first lines.  A thread that imports a submodule just then gets
a ModuleNotFoundError; a program whose threads import lazily avoids it by
importing ``zc.async_`` before it starts them.
"""
import importlib


ALIAS = __name__
REAL = ALIAS.removesuffix('_')


def __getattr__(name):
    """Answer for the real package, to a thread that came here too early."""
    importlib.import_module(ALIAS)  # waits for the thread that executes this
    return getattr(importlib.import_module(REAL), name)


# First of all, so that a thread which looks here for submodules has to ask
# ``__getattr__``; it would find the folders of stubs and take them for packages.
del __path__

import importlib.machinery  # noqa: E402
import sys  # noqa: E402


class AliasLoader:
    """Loads an alias by importing the module it stands for.

    *found* is the spec of that module.  Not derived from ``importlib.abc``:
    loading that takes longer than all of this.
    """

    def __init__(self, found):
        self.found = found
        self.spec = None

    def create_module(self, spec):
        module = importlib.import_module(self.found.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        # The module is executed already; undo what was just done to it.
        module.__spec__ = self.spec

    # The rest is for runpy (``python -m``) and other readers of code, which
    # ask a loader for source and code without loading.

    def is_package(self, fullname):
        return self.found.loader.is_package(self.found.name)

    def get_code(self, fullname):
        return self.found.loader.get_code(self.found.name)

    def get_source(self, fullname):
        return self.found.loader.get_source(self.found.name)

    def get_filename(self, fullname):
        return self.found.loader.get_filename(self.found.name)


class AliasFinder:
    """Finds ``zc.async_.X`` wherever ``zc.async.X`` is found."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(ALIAS + '.'):
            return None
        # *path* is that of the alias's parent, which is the real parent.
        found = self.find_real(REAL + fullname.removeprefix(ALIAS), path)
        if found is None:
            return None  # the stock finder will fail, in the caller's words
        return importlib.machinery.ModuleSpec(
            fullname, AliasLoader(found), origin=found.origin,
            is_package=found.submodule_search_locations is not None)

    def find_real(self, real, path):
        """Return the spec of the module *real*, or None."""
        for finder in sys.meta_path:
            find_spec = getattr(finder, 'find_spec', None)
            found = find_spec and find_spec(real, path)
            if found is not None:
                return found


def install():
    """Put the finder first, once however often this module is executed."""
    for finder in sys.meta_path:
        if type(finder).__module__ == ALIAS:
            return
    sys.meta_path.insert(0, AliasFinder())


def forget_mistakes():
    """Drop what a thread found here before ``__path__`` was gone."""
    for name in list(sys.modules):
        if name.startswith(ALIAS + '.'):
            del sys.modules[name]


importlib.import_module(REAL)
install()
forget_mistakes()
sys.modules[ALIAS] = sys.modules[REAL]
