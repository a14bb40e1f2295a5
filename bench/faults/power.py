"""The power is cut at each write of a FileStorage: ``bin/py bench/faults/power.py``.

Some work of each sort is done once, and what it does to the disk is recorded.  Each
run lays out what a power cut may have left, opens it as the next process would, lets
a dispatcher end all jobs, and sees that what was acknowledged is there, once.

``writes``
    after each write, truncation, renaming and removal: all of them
``bytes``
    in the middle of each write, at every byte of ``--stride``
``unsynced``
    a random part of the blocks of 512 bytes that no fsync has followed, ``--samples``
    before each write; files become longer only with what is written to them
``out of order``
    the same on a file system that does not even promise that; ZODB's ``fsrecover`` is
    used where the file cannot be opened
``truncated``
    without the end of the last transaction, byte by byte

The defaults take two minutes of one processor.
"""
import argparse
import json
import os
import platform
import sys
import time

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from zc.async_.tests.faults import powercut  # noqa: E402
from zc.async_.tests.faults import powerwork  # noqa: E402


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--stride', type=int, default=23, metavar='N',
                        help='break writes off at every N-th byte (23); 1: everywhere')
    parser.add_argument('--samples', type=int, default=10, metavar='N',
                        help='of what was not synced, before each write (10)')
    parser.add_argument('--seed', type=int, default=1, metavar='N',
                        help='of the samples (1)')
    parser.add_argument('--json', metavar='FILE', help='also write all that was found')
    return parser.parse_args(argv)


def trials(options):
    """Yield the name of each, its cuts, and whether ``fsrecover`` may be needed."""
    yield 'writes', powercut.prefixes(), False
    # a file that was never whole may be refused: nothing was in it
    yield 'bytes', _used(powercut.bytewise(options.stride)), False
    yield 'unsynced', powercut.torn(options.seed, options.samples), False
    yield 'out of order', _used(powercut.torn(
        options.seed, options.samples, in_order=False)), True
    yield 'truncated', powercut.truncated(1), False


def _used(cuts):
    return (cut for cut in cuts if cut.marks)


def main(argv=None):
    """Make the runs; return the exit status."""
    options = arguments(argv)
    recording = powerwork.recording()
    print(f'{len(recording.operations)} operations, {recording.transactions} fsyncs',
          flush=True)
    found = []
    for name, cuts, recover in trials(options):
        began = time.monotonic()
        count, wrong = powercut.examine_all(cuts, recover)
        found.append({'name': name, 'cuts': count, 'wrong': wrong,
                      'seconds': round(time.monotonic() - began, 1)})
        print(f'{name:<13} {count:>6} different cuts {len(wrong):>4} wrong '
              f'{found[-1]["seconds"]:>7.1f} s', flush=True)
        for position, problems in wrong[:5]:
            print(f'    before operation {position}: {problems}')
    bad = sum(len(one['wrong']) for one in found)
    print(f'{sum(one["cuts"] for one in found)} power cuts, {bad} of them not survived')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'options': vars(options), 'python': platform.python_version(),
                       'operations': len(recording.operations),
                       'fsyncs': recording.transactions, 'found': found}, out, indent=1)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
