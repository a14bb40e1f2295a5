"""Say what changed between two revisions: ``bin/py bench/compare.py OLD NEW``.

Both are measured with this checkout's bench and packages, in turns, and each new
sample is set beside the old one of the same pair.  ``.`` is this checkout as it is.
"""
import argparse
import contextlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile

# A script's own folder is not on the path of bin/py.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from bench.chart import number  # noqa: E402

#: Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
            2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)
#: Words for a change, by the unit: where new/old is more than 1, and where less.
_WORDS = {'/s': ('faster', 'slower'), 'ms': ('slower', 'faster')}
RULE = '''\
A difference can be told where the 95 % confidence interval of the mean of the logarithms
of new/old, over the pairs, by Student's t, leaves out 1 (after Georges, Buytaert and
Eeckhout, "Statistically Rigorous Java Performance Evaluation", OOPSLA 2007).  Of twenty
measures that did not change, one is expected to be told: repeat it, with more pairs.
Commits, records and bytes are counts; they move only as groups grow with the load.'''


def arguments(argv):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('old', help='a revision')
    parser.add_argument('new', help='a revision, or . for this checkout as it is')
    parser.add_argument('--storage', default='filestorage',
                        help='as in bench/run.py (filestorage)')
    parser.add_argument('--measure', default='put,bulk,no-op-10,effect-10',
                        help='as in bench/run.py (put,bulk,no-op-10,effect-10)')
    parser.add_argument('--jobs', type=int, default=2000, help='in a backlog (2000)')
    parser.add_argument('--pairs', type=int, default=7, help='two at least (7)')
    options = parser.parse_args(argv)
    if options.pairs < 2:
        parser.error(f'{options.pairs} pairs tell no spread; take 2 or more')
    return options


def source_of(revision, folder):
    """Return the ``src`` of a *revision*, laid out in *folder* unless it is ``.``."""
    if revision == '.':
        return os.path.join(ROOT, 'src')
    done = subprocess.run(['git', 'archive', '--format=tar', revision, 'src'],
                          cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        sys.exit(f'{revision!r} cannot be had from the repository: '
                 f'{done.stderr.decode(errors="replace").strip()}')
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        # not there before 3.11.4, which Debian has
        archive.extraction_filter = getattr(tarfile, 'data_filter', lambda member, _p: member)
        archive.extractall(folder)
    return os.path.join(folder, 'src')


def measured(source, options, folder):
    """Return the samples of one run with the package in *source*, by what they are of."""
    path = os.path.join(folder, 'results.jsonl')
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)     # those of the run before
    here = os.path.join(ROOT, 'src')
    seen = [source, *(one for one in sys.path if one and os.path.abspath(one) not in (
        here, os.path.join(ROOT, 'bench')))]
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(seen))
    _check(source, environ, folder)
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'bench', 'run.py'), '--runs', '1',
         '--storage', options.storage, '--measure', options.measure,
         '--jobs', str(options.jobs), '--json', path],
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    samples, failures = _results(path)
    for one in failures:
        print(f'{one["storage"]}, {one["measure"]} failed: {one["error"]}', file=sys.stderr)
    if done.returncode and not failures:
        sys.exit(f'the bench of this checkout failed with {source}: '
                 f'{done.stdout.strip()[-1500:]}')
    return {(one['storage'], one['measure']): one for one in samples}


def _results(path):
    """Return the samples and the failures in the file *path*, as far as there is one."""
    found = {'sample': [], 'failure': []}
    if os.path.exists(path):
        with open(path, encoding='utf-8') as lines:
            for line in map(json.loads, lines):
                found.get(line['kind'], []).append(line)
    return found['sample'], found['failure']


def _check(source, environ, folder):
    """What is measured must be what was asked for."""
    said = subprocess.run(
        [sys.executable, '-c', 'import importlib; '
         'print(importlib.import_module("zc.async").__file__)'],
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, check=True).stdout.strip()
    if not os.path.realpath(said).startswith(os.path.realpath(source) + os.sep):
        sys.exit(f'the package would come from {said}, not from {source}')


def compared(options):
    """Return a list of ``(old, new)`` samples for each measure."""
    pairs = {}
    with contextlib.ExitStack() as made:
        sources = [source_of(revision, made.enter_context(
            tempfile.TemporaryDirectory(prefix='bench-compare-')))
            for revision in (options.old, options.new)]
        scratch = made.enter_context(
            tempfile.TemporaryDirectory(prefix='bench-compare-'))
        for number in range(options.pairs):
            # old new, new old: a machine that grows slower favours nobody
            order = (0, 1) if number % 2 == 0 else (1, 0)
            found = {which: measured(sources[which], options, scratch)
                     for which in order}
            print(f'pair {number + 1} of {options.pairs} is done', file=sys.stderr,
                  flush=True)
            for key in found[0].keys() & found[1].keys():
                pairs.setdefault(key, []).append((found[0][key], found[1][key]))
    return pairs


def interval(ratios):
    """Return the geometric mean of *ratios* and its 95 % confidence interval."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, count = statistics.fmean(logs), len(logs)
    student = _STUDENT[count - 2] if count - 2 < len(_STUDENT) else 1.96 + 2.6 / count
    half = student * statistics.stdev(logs) / math.sqrt(count)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def verdict(low, high, unit):
    """Return what an interval says of a measure of this *unit*."""
    if low <= 1 <= high:
        return 'no difference that can be told'
    return _WORDS.get(unit, ('more', 'less'))[low < 1]


def report(pairs):
    """Yield the lines that tell what changed."""
    for (storage, measure), found in sorted(pairs.items()):
        # beside the raw rate of the same minute, where there is one
        name = 'value' if found[0][0]['ratio'] is None else 'ratio'
        unit = found[0][0]['unit']
        ratios = [new[name] / old[name] for old, new in found if old[name] > 0 < new[name]]
        if len(ratios) < 2:
            yield f'{storage}, {measure}: nothing to compare'
            continue
        _mean, low, high = interval(ratios)
        steady = sum(old['steady'] and new['steady'] for old, new in found)
        yield f'{storage}, {measure}: {verdict(low, high, unit)}'
        yield (f'    new/old {statistics.median(ratios):.3f}, the median of {len(ratios)} '
               f'pairs, {steady} of them steady ({min(ratios):.3f} to {max(ratios):.3f}; '
               f'95 % interval of the mean {low:.3f} to {high:.3f})')
        yield '    ' + _medians(found, unit, name)
        for counted in ('commits', 'records', 'bytes'):
            if 'cost' in found[0][0]:
                yield '    ' + _count(counted, found)


def _medians(found, unit, name):
    old, new = ([statistics.median(pair[which][key] for pair in found)
                 for key in ('value', name)] for which in (0, 1))
    unit = unit if unit == '/s' else f' {unit}'
    beside = ('' if name == 'value'
              else f'; beside raw {old[1]:.3f} -> {new[1]:.3f}, which are compared')
    return f'{number(old[0])}{unit} -> {number(new[0])}{unit}{beside}'


def _count(name, found):
    old, new = (statistics.median(pair[which]['cost'][name] for pair in found)
                for which in (0, 1))
    change = f' ({100 * (new / old - 1):+.1f} %)' if old else ''
    return f'{name} a job: {old:,.3f} -> {new:,.3f}{change}'


def main(argv=None):
    """Do what the command line *argv* says."""
    options = arguments(argv)
    print(f'{options.old} -> {options.new}, {options.pairs} pairs, '
          f'{options.jobs} jobs\n', flush=True)
    for line in report(compared(options)):
        print(line)
    print(f'\n{RULE}')


if __name__ == '__main__':
    main()
