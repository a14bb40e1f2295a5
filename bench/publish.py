"""Make docs/performance.rst and its charts: ``bin/py bench/publish.py [RESULTS...]``.

Without files of results, those in bench/results.
"""
import argparse
import contextlib
import glob
import json
import os
import sys

# A script's own folder is not on the path of bin/py.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from bench.publishing.facts import Facts  # noqa: E402
from bench.publishing.facts import subject  # noqa: E402
from bench.publishing.facts import subjects  # noqa: E402
from bench.publishing.facts import summaries  # noqa: E402
from bench.publishing.page import page  # noqa: E402

RESULTS = os.path.join(ROOT, 'bench', 'results')


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('results', nargs='*', help='files of JSON lines; of two that tell '
                        'the same, the later counts (those in bench/results, by name)')
    parser.add_argument('--keep', action='store_true', help='first write conditions and '
                        'summaries of these files to bench/results, where they take '
                        'the place of those that told the same')
    parser.add_argument('--docs', default=os.path.join(ROOT, 'docs'), metavar='FOLDER',
                        help='where performance.rst goes (docs)')
    options = parser.parse_args(argv)
    if options.keep and not options.results:
        parser.error('--keep needs the files of results that are to be kept')
    for path in options.results:
        if not os.path.isfile(path):
            parser.error(f'{path!r} is no file; name the results that bench/run.py '
                         'wrote with --json')
    names = [os.path.basename(path) for path in options.results]
    if len(set(names)) < len(names):
        parser.error(f'some of {", ".join(names)} have one name; rename them')
    return options


def keep(paths, folder=RESULTS):
    """Write the small part of the files *paths* to *folder*.

    What they tell counts from now on: other files there keep only what they do not.
    """
    os.makedirs(folder, exist_ok=True)
    told, new = set(), set()
    for path in paths:
        lines = list(summaries(path))
        told |= subjects(lines)
        new.add(os.path.join(folder, os.path.basename(path)))
        _keep(os.path.join(folder, os.path.basename(path)), lines)
    for path in {*kept(folder)} - new:
        _keep(path, [line for line in summaries(path)
                     if line['kind'] == 'conditions' or subject(line) not in told])


def _keep(path, lines):
    """Write *lines* to the file *path*; remove it if they tell nothing."""
    if all(line['kind'] == 'conditions' for line in lines):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    _write(path, ''.join(json.dumps(line) + '\n' for line in lines))


def kept(folder=RESULTS):
    """Return the files of results that are kept in *folder*, by name."""
    return sorted(glob.glob(os.path.join(glob.escape(folder), '*.jsonl')))


def publish(paths, docs):
    """Write the page of the results *paths* to the folder *docs*."""
    text, charts = page(Facts(paths))
    folder = os.path.join(docs, 'performance')
    os.makedirs(folder, exist_ok=True)
    for path in glob.glob(os.path.join(glob.escape(folder), '*.svg')):
        os.unlink(path)     # a chart that is not measured any more
    for name, svg in charts.items():
        _write(os.path.join(folder, f'{name}.svg'), svg)
    _write(os.path.join(docs, 'performance.rst'), text)


def _write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def main(argv=None):
    """Do what the command line *argv* says."""
    options = arguments(argv)
    if options.keep:
        keep(options.results)
    paths = kept() if options.keep or not options.results else options.results
    if not paths:
        sys.exit(f'there are no results in {RESULTS}; name the files that bench/run.py '
                 'wrote with --json')
    publish(paths, options.docs)


if __name__ == '__main__':
    main()
