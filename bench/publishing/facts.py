"""What files of results say, and how to look it up."""
import json
import os

from bench import report
from bench.measures import MEASURES
from bench.peers import report as peers_report


class Facts:
    """The summaries in the files *paths*.  Where two tell the same, the later counts.

    A file that tells nothing which a later one does not is as if it were not there.
    """

    def __init__(self, paths):
        self.conditions = []    # (name of the file, mapping)
        self.runs = {}          # name of the file -> runs that its summaries are of
        self.failures = []
        self._ours = {}         # (storage, measure) -> summary
        self._peers = {}        # (system, storage, settings) -> measure -> summary
        for path in paths:
            self._read(path)
        self._leave_out_what_tells_nothing()

    def _read(self, path):
        name = os.path.basename(path)
        self.runs[name] = set()
        lines = summaries(path)
        told = subjects(lines)
        self.failures = [one for one in self.failures if subject(one) not in told]
        for one in lines:
            kind = one.pop('kind')
            one['file'] = name
            if kind == 'conditions':
                self.conditions.append((name, one))
            elif kind == 'failure':
                self.failures.append(one)
            elif 'system' in one:
                key = one['system'], one['storage'], one['settings']
                self._peers.setdefault(key, {})[one['measure']] = one
            else:
                self._ours[one['storage'], one['measure']] = one

    def _leave_out_what_tells_nothing(self):
        told = {}
        for one in self._all():
            told.setdefault(one['file'], set()).add(one['runs'])
        for one in self.failures:
            told.setdefault(one['file'], set())
        if told:
            self.conditions = [(name, one) for name, one in self.conditions
                               if name in told]
        self.runs.update(told)

    def _all(self):
        for found in self._peers.values():
            yield from found.values()
        yield from self._ours.values()

    # What a page asks

    def revisions(self):
        """Return the revisions that the results are of, those that are known."""
        return sorted({one['revision'] for _name, one in self.conditions
                       if one.get('revision')})

    def told_by(self, name):
        """Return what the file *name* tells, by the storage or the peers."""
        found = {}
        for one in self._all():
            if one['file'] == name:
                what = 'peers' if 'system' in one else one['storage']
                found.setdefault(what, {})[one['measure']] = True
        return {what: list(measures) for what, measures in found.items()}

    def get(self, storage, measure):
        """Return the summary of a measure of zc.async on a storage, or None."""
        return self._ours.get((storage, measure))

    def measures(self, storage):
        """Return all summaries of a storage, in the order of the measures."""
        return sorted((one for (kind, _name), one in self._ours.items()
                       if kind == storage), key=_place)

    def peers(self):
        """Return, for each system with its storage and settings, its measures."""
        return self._peers

    def peer(self, system, storage, settings, measure):
        """Return one summary, or None."""
        return self._peers.get((system, storage, settings), {}).get(measure)


def _place(one):
    names = list(MEASURES)
    return names.index(one['measure']) if one['measure'] in names else len(names)


def summaries(path):
    """Return the conditions, failures and summaries in the file *path*.

    Of files that were joined, since a measure was taken by several commands, all samples
    count, and what all say of the conditions is said once.
    """
    found = {}
    with open(path, encoding='utf-8') as lines:
        for line in map(json.loads, lines):
            found.setdefault(line['kind'], []).append(line)
    conditions, made = found.get('conditions', ()), _made(found)
    remade = set(map(subject, made))
    return [*(one for index, one in enumerate(conditions) if one not in conditions[:index]),
            *found.get('failure', ()), *({'kind': 'summary', **one} for one in made),
            *(one for one in found.get('summary', ())
              if subject(one) not in remade)]


def _made(found):
    """Return summaries of the samples of which there are none, or none of all of them.

    A run may have been broken off before it had made them.
    """
    told = {subject(one): one['runs'] for one in found.get('summary', ())}
    samples = {}
    for sample in found.get('sample', ()):
        samples.setdefault(subject(sample), []).append(sample)
    return [(peers_report if 'system' in some[0] else report).summary(some)
            for what, some in samples.items() if len(some) > told.get(what, 0)]


def subjects(lines):
    """Return what *lines* tell, and the peers that they tell anything of."""
    told = {subject(one) for one in lines if one['kind'] != 'conditions'}
    # a peer that failed did so in whatever was to be measured
    return told | {(*one[:3], None) for one in told}


def subject(one):
    """Return what a line of results is of, to be compared."""
    return tuple(one.get(name) for name in ('system', 'storage', 'settings', 'measure'))


def spread(found, name):
    """Return the median of what a summary says of *name*, or None."""
    value = None if found is None else found.get(name)
    return value['median'] if isinstance(value, dict) else value
