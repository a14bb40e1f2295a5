"""The power is cut in the middle of a queue's work on a FileStorage.

`examine` is given what a power cut left: it opens that as the next process would,
lets a dispatcher work until all is done, and looks whether what was acknowledged is
there, once.  The rest of the module says what can be left.
"""
import contextlib
import dataclasses
import io
import os
import random
import tempfile

import ZODB
from ZODB import fsrecover
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.POSException import StorageError
from zope.processlifetime import DatabaseOpened

from ... import datafile
from ... import testing
from ...audit import check as audit
from ...interfaces import KEY
from ...subscribers import QueueInstaller
from . import invariants
from . import powerwork
from .company import BEGIN
from .disk import lay_out
from .disk import moments
from .powerwork import alone
from .powerwork import DAYS
from .powerwork import NAME
from .powerwork import POLLS
from .powerwork import Site

#: How a problem begins where nobody works with a file that is broken.
REFUSED = 'it cannot be opened'
#: When the power is back.
_AFTERWARDS = BEGIN + 30 * DAYS


def examine(files, marks, recover=False):
    """Return what is wrong where a power cut left *files*, as sentences.

    *marks* are the effects that were owed by then.  With *recover*, a file that
    cannot be opened is given to ZODB's ``fsrecover`` first.
    """
    with alone(), tempfile.TemporaryDirectory() as folder:
        lay_out(files, folder)
        owed = {name: least for mark in marks for name, least in mark.items()}
        problem = _give_name_back(folder)
        if problem is not None:
            return [problem]
        with Site(folder) as site:
            testing.set_now(_AFTERWARDS)
            problem = _open(site)
            if problem is not None and recover and _recover(folder):
                problem = _open(site)
            if problem is not None:
                return [problem]
            try:
                return list(_problems(site, owed))
            except POSError as error:
                return [f'it cannot be read: {type(error).__name__}: {error}']


def _give_name_back(folder):
    """Where a pack was broken off, see that nobody begins anew instead; end it.

    Return what is wrong, or None.
    """
    path = os.path.join(folder, NAME)
    rest = datafile.leftovers(path)
    if os.path.exists(path) or not rest:
        return None
    with contextlib.closing(ZODB.DB(FileStorage(path))) as db:
        try:
            QueueInstaller()(DatabaseOpened(db))
        except StorageError:
            pass
        else:
            return 'a new database was made, though a pack had been broken off'
    # as the error says; the index is of the new one
    os.replace(rest[0], path)
    os.remove(f'{path}.index')
    return None


def _open(site):
    """Open the database; who cannot is started again.  Return the problem, or None."""
    for left in (1, 0):
        try:
            site.open()
            return None
        except Exception as error:
            if not left:
                return f'{REFUSED}: {type(error).__name__}: {error}'


def _recover(folder):
    """Let ``fsrecover`` make a new file; return whether it could."""
    path = os.path.join(folder, NAME)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said, \
                contextlib.redirect_stderr(said):
            fsrecover.recover(path, f'{path}.new')
    except SystemExit:
        return False
    os.replace(f'{path}.new', path)
    for name in os.listdir(folder):
        if name.endswith('.index'):
            os.remove(os.path.join(folder, name))
    return True


def _problems(site, owed):
    with site.look as root:
        if 'jobs' not in root:
            if owed:
                yield f'nothing is there, and {sorted(owed)} was acknowledged'
            return
    site.start(1)
    for _poll in range(POLLS):
        site.step()
        if not site.run_again() and site.done():
            break
    with site.look as root:
        queue = root[KEY]['']
        yield from invariants.left(queue)
        yield from invariants.statuses(invariants.all_jobs(root, queue))
        yield from _changes(root['account'].changes, owed)
        yield from audit.problems(root._p_jar)
    if site.parked:
        yield f'{site.parked} jobs were parked'
    records = _records(site.db.storage)
    yield from invariants.history(records)
    yield from invariants.dangling(records)


def _changes(changes, owed):
    """What was acknowledged is there, and everything once."""
    for name, least in owed.items():
        if changes.get(name, 0) < least:
            yield f'{name!r} was acknowledged and is not there'
    for name, count in changes.items():
        if count > 1:
            yield f'{name!r} was changed {count} times'


def _records(storage):
    """Return ``{object id: [(transaction id, data), …]}`` of a FileStorage."""
    found = {}
    for transaction in storage.iterator():
        for record in transaction:
            if record.data is not None:
                found.setdefault(record.oid, []).append((record.tid, record.data))
    return found


# What is left, in all the ways there are

def prefixes():
    """Yield a `Cut` after each operation: what a killed process leaves."""
    for position, marks, files in moments(powerwork.recording().operations):
        yield Cut(position, marks, files.whole())


def bytewise(stride):
    """Yield `Cut` objects: each write broken off after every *stride*-th byte."""
    operations = powerwork.recording().operations
    for position, marks, files in moments(operations):
        if position < len(operations) and operations[position].kind == 'write':
            operation = operations[position]
            for count in range(position % stride + 1, len(operation.data), stride):
                yield Cut(position, marks, files.partly(operation, count))


def torn(seed, samples, in_order=True, every=1):
    """Yield `Cut` objects: some blocks that were not synced are there, others not.

    As many *samples* of them, before each of *every* so many operations.
    """
    source = random.Random(seed)
    operations = powerwork.recording().operations
    for number, (position, marks, files) in enumerate(moments(operations)):
        for _sample in range(samples if number % every == 0 else 0):
            yield Cut(position, marks, files.torn(source, in_order))


def truncated(stride):
    """Yield a `Cut` for each end that the last transaction may have lost."""
    operations = powerwork.recording().operations
    *_, begin, _end = (number for number, one in enumerate(operations)
                       if one.kind == 'sync')
    for position, marks, files in moments(operations):
        if position <= begin:
            before, owed = files.whole(), marks
    whole = files.whole()
    for length in range(len(before[NAME]), len(whole[NAME]), stride):
        yield Cut(begin, owed, {**whole, NAME: whole[NAME][:length]})


@dataclasses.dataclass(frozen=True)
class Cut:
    """What a power cut left, before the operation at *position*."""

    position: int
    marks: tuple
    files: dict

    def problems(self, recover=False):
        """Return what is wrong afterwards; see `examine`."""
        return examine(self.files, self.marks, recover)


def examine_all(cuts, recover=False):
    """Return how many *cuts* there are, and where which are wrong, and how."""
    count, wrong, seen = 0, [], set()
    for cut in cuts:
        key = hash((tuple(sorted(cut.files.items())), len(cut.marks)))
        if key in seen:
            continue
        seen.add(key)
        count += 1
        problems = cut.problems(recover)
        if problems:
            wrong.append((cut.position, problems))
    return count, wrong
