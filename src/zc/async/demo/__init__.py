"""Count the words of a folder of text files, as jobs.

One job per file reads it and counts its words; several do so at the same time.
Jobs of which only one may run at a time merge the counts into an index of words
in the database; and a last job, which waits for all others, writes the summary.
A file that is not UTF-8 is a failed job, and fails nothing else.

Stop it as you like, with kill -9 too, and start it again: it goes on, and the
numbers are the same in the end.
"""
import argparse
import sys


def add_arguments(parser):
    """Say what the command takes."""
    parser.add_argument(
        'folder', nargs='?', metavar='FOLDER',
        help='whose text files to count, with the folders in it; by default '
             "the Python library's own source files")
    parser.add_argument(
        '--var', default='var', metavar='DIR',
        help='the folder of the database, made if need be (default: %(default)s)')
    parser.add_argument(
        '--workers', type=_count, default=3, metavar='N',
        help='how many files to read at the same time (default: %(default)s)')
    parser.add_argument(
        '--again', action='store_true',
        help='forget what is in the database and begin anew')


def _count(text):
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no number of workers; give one from 1 to 100')
    return number


def run(options):
    """Do what the parsed *options* say and return the exit status.

    0: it is finished; 1: it could not be finished; 2: the options make no
    sense; 130, or what the signal says, where it was stopped.
    """
    from . import session
    from .folder import Refused
    try:
        return session.run(options)
    except Refused as error:
        print(f'zc-async demo: {error}', file=sys.stderr)
        return 2
