"""Some work of each sort, on a FileStorage whose disk is recorded.

`record` returns what that did to the disk, with marks where somebody was told that a
commit was made.
"""
import contextlib
import dataclasses
import datetime
import functools
import logging
import os
import tempfile
import warnings

import ZODB
from ZODB.FileStorage import FileStorage

from ... import clock
from ... import dispatcher as dispatchers
from ... import testing
from ...interfaces import KEY
from ...job import Job
from ...job import NeverRetry
from .company import BEGIN
from .company import Company
from .company import furnish
from .company import Look
from .disk import Recorder

#: The name of the file.
NAME = 'Data.fs'
DAYS = datetime.timedelta(days=1)
#: Polls after which everything must be done.
POLLS = 20


class Site(Company):
    """One FileStorage in *folder*, and one process at a time that has it open."""

    def __init__(self, folder):
        super().__init__()
        self._path = os.path.join(folder, NAME)
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
        testing.set_now(BEGIN + 10 * DAYS)
        self.change('late')
        site.step()
        site.db.pack()
        self.change('last')
        self.put(_quota_again, v=1)
        self._finish()

    def _finish(self):
        """Let all be done."""
        for _poll in range(POLLS):
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
              begin_after=clock.now() + datetime.timedelta(seconds=8))


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
    with alone(), tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder)
        with recorder, Site(folder) as site:
            _Work(site, recorder).all_of_it()
    operations = tuple(recorder.operations)
    return Recording(operations, sum(one.kind == 'sync' for one in operations))


@functools.cache
def recording():
    """Return what `record` does, which is the same each time."""
    return record()


@contextlib.contextmanager
def alone():
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
