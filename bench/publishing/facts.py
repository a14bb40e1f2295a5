"""What files of results say, and how to look it up."""
import json
import os

from bench import report
from bench.peers import report as peers_report


class Facts:
    """The summaries in the files *paths*.  Where two tell the same, the later counts."""

    def __init__(self, paths):
        self.conditions = []    # (name of the file, mapping)
        self.runs = {}          # name of the file -> runs that its summaries are of
        self.failures = []
        self._ours = {}         # (storage, measure) -> summary
        self._peers = {}        # (system, storage, settings) -> measure -> summary
        for path in paths:
            self._read(path)

    def _read(self, path):
        name = os.path.basename(path)
        runs = self.runs[name] = set()
        for one in summaries(path):
            kind = one.pop('kind')
            if kind == 'conditions':
                self.conditions.append((name, one))
                continue
            if kind == 'failure':
                self.failures.append(one)
                continue
            runs.add(one['runs'])
            one['file'] = name
            if 'system' in one:
                key = one['system'], one['storage'], one['settings']
                self._peers.setdefault(key, {})[one['measure']] = one
            else:
                self._ours[one['storage'], one['measure']] = one

    # What a page asks

    def get(self, storage, measure):
        """Return the summary of a measure of zc.async on a storage, or None."""
        return self._ours.get((storage, measure))

    def measures(self, storage):
        """Return all summaries of a storage."""
        return [one for (kind, _name), one in self._ours.items() if kind == storage]

    def peers(self):
        """Return, for each system with its storage and settings, its measures."""
        return self._peers

    def peer(self, system, storage, settings, measure):
        """Return one summary, or None."""
        return self._peers.get((system, storage, settings), {}).get(measure)


def summaries(path):
    """Return the conditions, failures and summaries in the file *path*."""
    found = {}
    with open(path, encoding='utf-8') as lines:
        for line in map(json.loads, lines):
            found.setdefault(line['kind'], []).append(line)
    return [*found.get('conditions', ()), *found.get('failure', ()),
            *({'kind': 'summary', **one} for one in _of_samples(found)),
            *found.get('summary', ())]


def _of_samples(found):
    """Yield the summaries of a run that was broken off before it had made them."""
    done = {_key(one) for one in found.get('summary', ())}
    left = {}
    for sample in found.get('sample', ()):
        if _key(sample) not in done:
            left.setdefault(_key(sample), []).append(sample)
    for samples in left.values():
        peer = 'system' in samples[0]
        yield (peers_report if peer else report).summary(samples)


def _key(one):
    return tuple(one.get(name) for name in ('system', 'storage', 'settings', 'measure'))


def spread(found, name):
    """Return the median of what a summary says of *name*, or None."""
    value = None if found is None else found.get(name)
    return value['median'] if isinstance(value, dict) else value
