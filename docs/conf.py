"""The documentation: sphinx-build docs docs/_build

The package must be importable, for the reference is made from it.
"""
import importlib
import inspect

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from zope.interface import Interface
from zope.interface.interface import InterfaceClass
from zope.interface.interface import Method

project = 'zc.async'
author = 'Zope Community'
copyright = 'Zope Foundation and Contributors'
version = '2.0'
release = '2.0.0a1'

extensions = ['sphinx.ext.autodoc']
exclude_patterns = ['_build']
html_theme = 'alabaster'

# The order of the source is the order of the story.
autodoc_member_order = 'bysource'
autodoc_default_options = {'members': True}


class Interfaces(Directive):
    """Show the interfaces that a module defines; autodoc takes them for data."""

    required_arguments = 1

    def run(self):
        module = importlib.import_module(self.arguments[0])
        lines = [f'.. py:currentmodule:: {module.__name__}', '']
        for interface in vars(module).values():
            if (isinstance(interface, InterfaceClass)
                    and interface.__module__ == module.__name__):
                lines += described(interface)
        shown = nodes.container()
        self.state.nested_parse(StringList(lines, module.__name__), 0, shown)
        return shown.children


def described(interface):
    """Return the lines that describe *interface*."""
    bases = ', '.join(base.__name__ for base in interface.__bases__
                      if base is not Interface)
    lines = [f'.. py:class:: {interface.__name__}' + (bases and f'({bases})'), '']
    lines += indented(interface)
    for name in interface:
        member = interface[name]
        if name in interface.names():  # and not of a base
            lines += ['   ' + line if line else '' for line in [
                f'.. py:method:: {name}{member.getSignatureString()}'
                if isinstance(member, Method) else f'.. py:attribute:: {name}',
                '', *indented(member)]]
    return lines


def indented(described):
    lines = inspect.cleandoc(described.__doc__ or '').splitlines()
    return ['   ' + line if line else '' for line in lines] + ['']


def setup(app):
    app.add_directive('interfaces', Interfaces)
