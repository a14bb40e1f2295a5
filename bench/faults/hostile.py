"""Jobs that do harm, thousands of them: ``bin/py bench/faults/hostile.py``.

Four parts; each has to hold.  ``mix``: jobs of all kinds that can be had in one
process, mixed, done by a dispatcher with threads on a FileStorage; the criterion: each
ends as its kind says, all places, quotas and threads are free, no poll has failed, the
stored structure is sound, and no line of the log was broken.  ``ends``: jobs that end
their process, for ``zc-async worker --processes``; each is parked after three deaths.
``chains``: callbacks one after the other, and side by side, within a minute.
``loops``: jobs that go on without end, up to the limit that the product has.
"""
import argparse
import json
import os
import sys

# A script's own folder is not on the path of bin/py.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

from zc.async_.model import execution  # noqa: E402
from zc.async_.tests.faults import hostile_mix  # noqa: E402

PARTS = ('mix', 'ends', 'chains', 'loops')
#: Problems that are shown of each part.
SHOWN = 20


def arguments(argv=None):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--jobs', type=int, default=10_000, metavar='N',
                        help='hostile jobs in the mix (10000)')
    parser.add_argument('--seed', type=int, default=1, metavar='N',
                        help='says in which order (1)')
    parser.add_argument('--callbacks', type=int, default=10_000, metavar='N',
                        help='callbacks in a chain, and side by side (10000)')
    parser.add_argument('--processes', type=int, default=4, metavar='N',
                        help='of the worker whose jobs end their process (4)')
    parser.add_argument('--part', action='append', choices=PARTS,
                        help='this part only; may be repeated')
    parser.add_argument('--json', metavar='FILE', help='also write all that was found')
    return parser.parse_args(argv)


def trials(options):
    """Yield ``(part, title, trial)``; a trial has ``run``, ``problems``, ``figures``."""
    yield 'mix', 'hostile jobs, mixed', hostile_mix.Mix(options.jobs, options.seed)
    yield 'ends', 'jobs that end their process', hostile_mix.Ends(
        len(hostile_mix.WAYS), options.processes, size=3, seconds=180)
    yield 'chains', 'a chain of callbacks', hostile_mix.Chain(options.callbacks)
    yield 'chains', 'callbacks of one job', hostile_mix.Chain(options.callbacks, True)
    yield 'loops', 'jobs without end', hostile_mix.Mix(
        len(hostile_mix.ENDLESS), options.seed, hostile_mix.ENDLESS, execution.MAX_CHAIN)


def main(argv=None):
    """Run the parts; return the exit status: 0 if all hold."""
    options = arguments(argv)
    found = []
    for part, title, trial in trials(options):
        if options.part and part not in options.part:
            continue
        trial.run()
        holds = not trial.problems
        print(f'{title}: {"holds" if holds else "DOES NOT HOLD"}; '
              f'{json.dumps(trial.figures)}', flush=True)
        for problem in trial.problems[:SHOWN]:
            print(f'  {ascii(problem)[:1000]}', flush=True)
        found.append({'part': part, 'title': title, 'holds': holds,
                      'figures': trial.figures, 'problems': trial.problems})
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'options': vars(options), 'found': found}, out, indent=1)
    return 0 if found and all(one['holds'] for one in found) else 1


if __name__ == '__main__':
    sys.exit(main())
