"""Hostile acts: what calls do to their transaction and to their connection."""
import transaction
from transaction.interfaces import TransientError

from ...job import Job
from ...threadlocal import local
from .hostile import completed
from .hostile import done
from .hostile import fails
from .hostile import kind
from .hostile_errors import FORGED
from .hostile_values import give


def note(text='noted'):
    """An effect, by which the transaction has something to commit."""
    local.getJob().annotations['noted'] = text


# Its transaction

def commits():
    note()
    transaction.commit()
    note('again')
    return 42


def commits_often():
    for number in range(20):
        note(number)
        transaction.commit()
    return 42


def commits_and_raises(*ignored):
    note()
    transaction.commit()
    raise ValueError(FORGED)


def aborts():
    note()
    transaction.abort()
    return 42


def begins():
    note()
    transaction.begin()
    return 42


def dooms():
    note()
    transaction.doom()


def swaps_manager():
    note()
    transaction.manager.manager = transaction.TransactionManager()
    note('again')


def swaps_manager_and_raises():
    transaction.manager.manager = transaction.TransactionManager()
    note()
    raise ValueError('after that')


def forgets_manager():
    transaction.manager.manager = None
    return 42


def makes_explicit():
    transaction.manager.explicit = True
    return 42


def makes_explicit_and_aborts():
    transaction.manager.explicit = True
    transaction.abort()
    return 42


def clears_synchronizers(*ignored):
    note()
    transaction.manager.clearSynchs()
    return 42


class Synchronizer:
    """Hears of transactions, and breaks them."""

    everyone = []

    def __init__(self, when):
        self.when = when
        self.everyone.append(self)
        del self.everyone[:-50]

    def _heard(self, when):
        if when == self.when:
            raise RuntimeError(f'heard of {when}')

    def beforeCompletion(self, transaction):
        self._heard('before')

    def afterCompletion(self, transaction):
        self._heard('after')

    def newTransaction(self, transaction):
        self._heard('new')


def listens(when):
    note()
    transaction.manager.registerSynch(Synchronizer(when))
    return 42


class Refused(Exception):
    """What data managers here raise."""


class DataManager:
    """Takes part in the commit up to *point*."""

    transaction_manager = transaction.manager

    def __init__(self, point, key='~', error=Refused):
        self.point, self.key, self.error = point, key, error

    def _act(self, point):
        if point == self.point:
            raise self.error(point)

    def abort(self, transaction):
        self._act('abort')

    def tpc_begin(self, transaction):
        self._act('tpc_begin')

    def commit(self, transaction):
        self._act('commit')

    def tpc_vote(self, transaction):
        self._act('tpc_vote')

    def tpc_finish(self, transaction):
        self._act('tpc_finish')

    def tpc_abort(self, transaction):
        self._act('tpc_abort')

    def sortKey(self):
        self._act('sortKey')
        return self.key


def joins(*args):
    note()
    transaction.get().join(DataManager(*args))
    return 42


def joins_and_raises(*args):
    joins(*args)
    raise ValueError('after that')


def refuses():
    raise Refused('hook')


def exits():
    raise SystemExit('hook')


def hooks(name, call):
    note()
    getattr(transaction.get(), name)(globals()[call])
    return 42


@kind(done(42))
def transaction_commits():
    return Job(commits)


@kind(done(42))
def transaction_commits_often():
    return Job(commits_often)


@kind(fails('ValueError'))
def transaction_commits_and_raises():
    return Job(commits_and_raises)


@kind(completed)
def transaction_commits_and_raises_in_a_callback():
    job = Job(give, 42)
    job.addCallback(commits_and_raises)
    return job


@kind(done(42))
def transaction_aborts():
    return Job(aborts)


@kind(done(42))
def transaction_begins():
    return Job(begins)


@kind(fails('DoomedTransaction'))
def transaction_dooms():
    return Job(dooms)


@kind(fails('AbortedError'))
def manager_swapped():
    return Job(swaps_manager)


@kind(fails('ValueError'))
def manager_swapped_and_raises():
    return Job(swaps_manager_and_raises)


@kind(fails('AbortedError'))
def manager_forgotten():
    return Job(forgets_manager)


@kind(done(42))
def manager_explicit():
    return Job(makes_explicit)


@kind(done(42))
def manager_explicit_without_transaction():
    return Job(makes_explicit_and_aborts)


@kind(fails('AbortedError'))
def synchronizers_cleared():
    return Job(clears_synchronizers)


@kind(done(42))
def synchronizers_cleared_in_a_callback():
    job = Job(give, 42)
    job.addCallback(clears_synchronizers)
    return job


for _when in ('before', 'after', 'new'):
    def _make(when=_when):
        return Job(listens, when)
    _make.__name__ = f'synchronizer_{_when}'
    kind(completed)(_make)


for _point in ('tpc_begin', 'commit', 'tpc_vote', 'sortKey'):
    def _make(point=_point):
        return Job(joins, point)
    _make.__name__ = f'data_manager_{_point}'
    kind(fails('Refused'))(_make)


@kind(done(42))
def data_manager_tpc_finish():
    return Job(joins, 'tpc_finish')


@kind(fails('Refused'))
def data_manager_tpc_finish_first():
    return Job(joins, 'tpc_finish', '!')


@kind(fails('AbortedError'))
def data_manager_exits():
    return Job(joins, 'tpc_vote', '~', SystemExit)


@kind(fails('TransientError'))
def data_manager_transient():
    return Job(joins, 'tpc_vote', '~', TransientError)


@kind(fails('ValueError'))
def data_manager_abort():
    return Job(joins_and_raises, 'abort')


@kind(fails('Refused'))
def hook_before():
    return Job(hooks, 'addBeforeCommitHook', 'refuses')


@kind(fails('AbortedError'))
def hook_before_exits():
    return Job(hooks, 'addBeforeCommitHook', 'exits')


@kind(done(42))
def hook_after():
    return Job(hooks, 'addAfterCommitHook', 'refuses')


# Its connection

def closes(*ignored):
    local.getJob()._p_jar.close()
    return 42


def closes_with_changes():
    note()
    closes()


def closes_and_raises(*ignored):
    closes()
    raise ValueError('after that')


def commits_and_closes(*ignored):
    note()
    transaction.commit()
    closes()
    return 42


def closes_and_opens():
    """Let somebody else have the connection."""
    db = local.getDispatcher().db
    closes()
    other = db.open(transaction.TransactionManager())
    other.root()
    _others.append(other)
    while len(_others) > 5:
        one = _others.pop(0)
        one.transaction_manager.abort()
        one.close()
    return 42


_others = []


def invalidates():
    job = local.getJob()
    job._p_jar.cacheMinimize()
    job._p_invalidate()
    job._call._p_invalidate()
    return 42


for _call in (closes, closes_and_raises, commits_and_closes, closes_and_opens):
    def _make(call=_call):
        return Job(call)
    _make.__name__ = f'connection_{_call.__name__}'
    kind(fails('AbortedError'))(_make)


@kind(fails('ConnectionStateError'))
def connection_closes_with_changes():
    return Job(closes_with_changes)


@kind(done(42))
def connection_closes_in_a_callback():
    job = Job(give, 42)
    job.addCallback(closes).addCallback(closes_and_raises)
    job.addCallback(commits_and_closes)
    return job


@kind(done(42))
def connection_invalidates():
    return Job(invalidates)
