"""The documentation: sphinx-build docs docs/_build

The package must be importable, for the reference is made from it.
"""
import importlib

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from zope.interface.document import asReStructuredText
from zope.interface.interface import InterfaceClass

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
    """Show the interfaces that a module defines; autodoc sees but instances."""

    required_arguments = 1

    def run(self):
        module = importlib.import_module(self.arguments[0])
        shown = nodes.container()
        for interface in vars(module).values():
            if (isinstance(interface, InterfaceClass)
                    and interface.__module__ == module.__name__):
                text = asReStructuredText(interface)
                self.state.nested_parse(
                    StringList(text.splitlines(), self.arguments[0]), 0, shown)
        return shown.children


def setup(app):
    app.add_directive('interfaces', Interfaces)
