"""The power is cut in the middle of a queue's work on a FileStorage.

`record` lets processes do some work of each sort and returns what that did to the
disk, with marks where somebody was told that a commit was made.  `examine` is given
what a power cut left: it opens that as the next process would, lets a dispatcher work
until all is done, and looks whether what was acknowledged is there, once.
"""
import contextlib
import dataclasses
import datetime
import functools
import io
import logging
import os
import random
import tempfile
import warnings

import ZODB
from ZODB import fsrecover
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.POSException import StorageError
from zope.processlifetime import DatabaseOpened

from ... import datafile
from ... import dispatcher as dispatchers
from ... import testing
from ...interfaces import KEY
from ...job import Job
from ...job import NeverRetry
from ...subscribers import QueueInstaller
from . import invariants
from .company import BEGIN
from .company import Company
from .company import furnish
from .company import Look
from .disk import lay_out
from .disk import moments
from .disk import Recorder

#: How a problem begins where nobody works with a file that is broken.
REFUSED = 'it cannot be opened'

_NAME = 'Data.fs'
_DAYS = datetime.timedelta(days=1)
#: When the power is back.
_AFTERWARDS = BEGIN + 30 * _DAYS
#: Polls after which everything must be done then.
_POLLS = 20


class Site(Company):
    """One FileStorage in *folder*, and one process at a time that has it open."""

    def __init__(self, folder):
        super().__init__()
        self._path = os.path.join(folder, _NAME)
        self.db = None

    def open(self, life=None):
        """Open the database, as a new process does."""
        self.close()
        storage = FileStorage(self._path)
        try:
            self.db = ZODB.DB(storage, pool_size=20)
        except BaseException:
            storage.close()
            raise
        self.look = Look(self.db)
        return self.db

    def close(self):
        """Close the database, as a process does that ends in order."""
        if self.db is not None:
            self.db.storage.close()
            self.db = None

    def __exit__(self, *exc_info):
        super().__exit__(*exc_info)
        self.close()


# Work

class _Work:
    """What is done while the disk is recorded."""

    def __init__(self, site, recorder):
        self._site, self._recorder = site, recorder

    def put(self, add, **effects):
        """Commit what ``add(queue, account)`` puts; then its effects are owed.

        They are given by name: how often each must be there at least.
        """
        with self._site.look as root:
            add(root[KEY][''], root['account'])
        self._recorder.mark(effects)

    def change(self, name):
        """Put a job with one effect."""
        self.put(lambda queue, account: queue.put(Job(account.change, name)),
                 **{name: 1})

    def all_of_it(self):
        """Do some of everything."""
        site = self._site
        site.open()
        with site.look as root:
            furnish(root, root._p_jar)
            root['jobs'] = ()
            root[KEY][''].quotas.create('one')
        site.start(1)
        self.change('first')
        site.step()
        for number in range(3):
            self.change(f'early {number}')
        self.put(_callbacks, a=1, b=1, c=1)
        site.step()
        self.put(_quota, q=1, r=1)
        self.put(_failure, f=1)
        site.step()
        self._more()

    def _more(self):
        site = self._site
        self.put(_inner, **{'i': 1, 'i inner': 1})
        self.put(_returned, **{'h': 1, 'h inner': 1, 'after h': 1})
        self.put(_at_most_once, o=0)
        self.put(_scheduled, s=1)
        site.step()
        site.step()
        # the process ends in order, and what it had in hand is handed back
        self.put(_stopping, t=1, u=1)
        self._finish()
        # days later, the completed jobs of the first are dropped, and then packed away
        testing.set_now(BEGIN + 10 * _DAYS)
        self.change('late')
        site.step()
        site.db.pack()
        self.change('last')
        self.put(_quota_again, v=1)
        self._finish()

    def _finish(self):
        """Let all be done."""
        for _poll in range(_POLLS):
            self._site.step()
            if self._site.done():
                return
        raise AssertionError('the work was not done')


def _callbacks(queue, account):
    job = queue.put(Job(account.change, 'a'))
    job.addCallback(Job(account.change, 'b')).addCallback(Job(account.change, 'c'))


def _quota(queue, account):
    for name in 'qr':
        job = Job(account.change, name)
        job.quota_names = ('one',)
        queue.put(job)


def _quota_again(queue, account):
    job = Job(account.change, 'v')
    job.quota_names = ('one',)
    queue.put(job)


def _failure(queue, account):
    queue.put(account.fail).addCallbacks(failure=Job(account.change, 'f'))


def _inner(queue, account):
    queue.put(Job(account.put, 'i'))


def _returned(queue, account):
    queue.put(Job(account.hand_on, 'h')).addCallback(Job(account.change, 'after h'))


def _at_most_once(queue, account):
    queue.put(Job(account.change, 'o'), retry_policy_factory=NeverRetry)


def _scheduled(queue, account):
    queue.put(Job(account.change, 's'),
              begin_after=datetime.datetime.now(datetime.timezone.utc)
              + datetime.timedelta(seconds=8))


def _stopping(queue, account):
    queue.put(Job(account.change_and_stop, 't'))
    queue.put(Job(account.change, 'u'))


@dataclasses.dataclass(frozen=True)
class Recording:
    """The operations of some work, and how many transactions that was."""

    operations: tuple
    transactions: int


def record():
    """Do the work, and return the `Recording`."""
    with _alone(), tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder)
        with recorder, Site(folder) as site:
            _Work(site, recorder).all_of_it()
    operations = tuple(recorder.operations)
    return Recording(operations, sum(one.kind == 'sync' for one in operations))


# After the cut

def examine(files, marks, recover=False):
    """Return what is wrong where a power cut left *files*, as sentences.

    *marks* are the effects that were owed by then.  With *recover*, a file that
    cannot be opened is given to ZODB's ``fsrecover`` first.
    """
    with _alone(), tempfile.TemporaryDirectory() as folder:
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
    path = os.path.join(folder, _NAME)
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
    path = os.path.join(folder, _NAME)
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
    for _poll in range(_POLLS):
        site.step()
        if not site.run_again() and site.done():
            break
    with site.look as root:
        queue = root[KEY]['']
        yield from invariants.left(queue)
        yield from invariants.statuses(invariants.all_jobs(root, queue))
        yield from _changes(root['account'].changes, owed)
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


@contextlib.contextmanager
def _alone():
    """Have nobody told of hundreds of broken files, nor wait for their disk."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # a FileStorage that refuses a file does not close it
            warnings.simplefilter('ignore', ResourceWarning)
            yield
    finally:
        dispatchers.clear()
        logging.disable(before)


# What is left, in all the ways there are

@functools.cache
def recording():
    """Return what `record` does, which is the same each time."""
    return record()


def prefixes():
    """Yield `Cut` objects: the disk after each operation, as a killed process leaves it."""
    for position, marks, files in moments(recording().operations):
        yield Cut(position, marks, files.whole())


def bytewise(stride):
    """Yield `Cut` objects: each write broken off after every *stride*-th byte."""
    operations = recording().operations
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
    for number, (position, marks, files) in enumerate(moments(recording().operations)):
        for _sample in range(samples if number % every == 0 else 0):
            yield Cut(position, marks, files.torn(source, in_order))


def truncated(stride):
    """Yield `Cut` objects: the file without the last bytes, up to a whole transaction."""
    operations = recording().operations
    *_, begin, _end = (number for number, one in enumerate(operations)
                       if one.kind == 'sync')
    for position, marks, files in moments(operations):
        if position <= begin:
            before, owed = files.whole(), marks
    whole = files.whole()
    for length in range(len(before[_NAME]), len(whole[_NAME]), stride):
        yield Cut(begin, owed, {**whole, _NAME: whole[_NAME][:length]})


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
    """Return how many of *cuts* there are, and the positions and problems of the bad."""
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
