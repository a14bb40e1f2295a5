"""Every storage call fails in every way: ``bin/py bench/faults/points.py``.

Each run tells one story under virtual time, with a fault at one of its storage calls,
and sees that in the end each job is done and its effects are there once; what is
looked at is in ``zc.async.tests.faults.invariants``.  Without options these are all
calls of all stories with all kinds of faults, four minutes of one processor.

With ``--pairs`` a second fault follows the first, at each call after it.  Pairs of
some kinds (``--kinds``) are made of the three shortest stories: about 160,000 runs,
a quarter of an hour of one processor.  All kinds are eight times as many.
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

from zc.async_.tests.faults import points  # noqa: E402
from zc.async_.tests.faults.scenarios import SCENARIOS  # noqa: E402
from zc.async_.tests.faults.storage import KINDS  # noqa: E402


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--pairs', action='store_true', help='two faults in each run')
    parser.add_argument('--stories', type=_names(SCENARIOS), metavar='NAME,…',
                        help='by default all; with --pairs, the shortest three')
    parser.add_argument('--kinds', type=_names(KINDS), metavar='KIND,…',
                        help='by default all; with --pairs, '
                             + ', '.join(points.PAIRED))
    parser.add_argument('--stride', type=int, default=1, metavar='N',
                        help='make every N-th run only')
    parser.add_argument('--processes', type=int, metavar='N',
                        help='by default one for each processor')
    parser.add_argument('--json', metavar='FILE', help='also write all that was found')
    options = parser.parse_args(argv)
    options.stories = options.stories or (
        points.SHORTEST if options.pairs else tuple(SCENARIOS))
    options.kinds = options.kinds or (points.PAIRED if options.pairs else KINDS)
    return options


def _names(known):
    def names(text):
        found = tuple(text.split(','))
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f'{name!r} is none of {", ".join(known)}')
        return found

    return names


def measure(options, processes, story):
    """Make the runs of *story*; return their figures."""
    began = time.monotonic()
    calls = points.calls(story)
    if options.pairs:
        found = processes.run(points.singles(story, kinds=options.kinds),
                              points.run_pairs, options.kinds, options.stride)
    else:
        found = processes.run(points.singles(story, options.stride, options.kinds))
    return {'story': story, 'calls': calls, 'runs': found.runs,
            'wrong': [{'met': told.met, 'problems': told.problems}
                      for told in found.wrong],
            'seconds': round(time.monotonic() - began, 1)}


def show(one):
    """Print the figures of a story."""
    print(f'{one["story"]:<18} {one["calls"]:>4} calls {one["runs"]:>7} runs '
          f'{len(one["wrong"]):>4} wrong {one["seconds"]:>7.1f} s', flush=True)
    for wrong in one['wrong'][:5]:
        print(f'    {wrong["met"]}: {wrong["problems"]}')


def main(argv=None):
    """Make the runs; return the exit status."""
    options = arguments(argv)
    found = []
    with points.Processes(options.processes) as processes:
        for story in options.stories:
            found.append(measure(options, processes, story))
            show(found[-1])
    runs = sum(one['runs'] for one in found)
    wrong = sum(len(one['wrong']) for one in found)
    seconds = sum(one['seconds'] for one in found)
    print(f'{"two faults" if options.pairs else "one fault"} in each of {runs} runs: '
          f'{len(found)} stories, {len(options.kinds)} kinds, every '
          f'{options.stride}. run, {wrong} wrong, {seconds:.0f} s with '
          f'{processes.count} processes')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'options': vars(options), 'python': platform.python_version(),
                       'runs': runs, 'wrong': wrong, 'stories': found}, out, indent=1)
    return 0 if runs and not wrong else 1


if __name__ == '__main__':
    sys.exit(main())
