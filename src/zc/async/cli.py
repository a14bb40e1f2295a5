"""The ``zc-async`` command: one word, and the module that does what it says.

A word's module is loaded when the word is said, so that asking for help, or
for one command, costs nothing of the others.
"""
import argparse
import importlib
import sys

#: word: (module, what it does).  A module has ``add_arguments(parser)`` and
#: ``run(options)``, which returns the exit status.
COMMANDS = {
    'demo': ('.demo', 'count the words of a folder of text files, as jobs'),
    'fsck': ('.ops.fsck', 'look whether what is stored is as it must be, and repair it'),
    'parked': ('.ops.parked', 'look at parked jobs; rerun, discard or move them'),
    'worker': ('.ops.worker', 'do the jobs of a database, in one process or several'),
}


def main(argv=None):
    """Do what *argv* says and return the exit status."""
    options = parser().parse_args(argv)
    return options.run(options)


def parser():
    """Return the parser of the whole command."""
    top = argparse.ArgumentParser(
        prog='zc-async',
        description='Durable, transactional jobs for ZODB applications.',
        epilog='"zc-async COMMAND --help" tells what a command takes.')
    top.add_argument('--version', action=_Version)
    words = top.add_subparsers(
        title='commands', metavar='COMMAND', required=True,
        parser_class=_CommandParser)
    for word, (module, does) in sorted(COMMANDS.items()):
        words.add_parser(word, help=does, module=module)
    return top


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command, whose module fills it when it is used."""

    def __init__(self, module, **options):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._module = module

    def parse_known_args(self, args=None, namespace=None):
        module = importlib.import_module(self._module, __package__)
        self.description = module.__doc__
        module.add_arguments(self)
        self.set_defaults(run=module.run)
        found, left = super().parse_known_args(args, namespace)
        if len(left) == 1 and left[0][:1] != '-' and getattr(found, 'uri', '') is None:
            # before Python 3.12, what may be left out must not come after options
            found.uri = left.pop()
        return found, left


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __init__(self, option_strings, dest):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0,
                         help='print the version and exit')

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib.metadata import PackageNotFoundError, version
        try:
            found = version('zc.async')
        except PackageNotFoundError:
            found = 'of a checkout that is not installed'
        print('zc.async', found)
        parser.exit()


if __name__ == '__main__':
    sys.exit(main())
