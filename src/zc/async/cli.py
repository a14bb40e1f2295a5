"""The ``zc-async`` command: one word, and the module that does what it says.

A word's module is loaded when the word is said, so that asking for help, or
for one command, costs nothing of the others.
"""
import argparse
import importlib
import sys

#: word: (module whose ``main(argv)`` returns an exit status, what it does)
COMMANDS = {
    'demo': ('.demo', 'count the words of a folder of text files, as jobs'),
}


def main(argv=None):
    """Do what *argv* says and return the exit status."""
    options = parser().parse_args(argv)
    module, _ = COMMANDS[options.command]
    return importlib.import_module(module, __package__).main(options.argv)


def parser():
    """Return the parser: one word, and everything after it untouched."""
    words = '\n'.join(
        f'  {word:<10} {does}' for word, (_, does) in sorted(COMMANDS.items()))
    parser = argparse.ArgumentParser(
        prog='zc-async', description=__doc__.splitlines()[0],
        epilog=f'commands:\n{words}',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=sorted(COMMANDS), metavar='command')
    parser.add_argument('argv', nargs=argparse.REMAINDER, metavar='...')
    return parser


if __name__ == '__main__':
    sys.exit(main())
