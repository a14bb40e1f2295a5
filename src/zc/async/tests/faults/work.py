"""What the jobs of a kill loop do, and what must have become of each kind.

The id of a task ends with its kind.  What a task changes is in a cell of its own,
so that tasks do not conflict unless they are meant to; each part of it makes its
mark there, in the transaction of its job, and tells the history that it starts,
which is in no transaction.
"""
import dataclasses
import datetime
import os
import signal
import time

import persistent

from ... import clock
from ...interfaces import KEY
from ...job import Job
from ...job import NeverRetry
from ...job import parallel
from ...job import serial
from ...runtime.attempt import Attempts
from ...threadlocal import local

#: Where the root keeps the objects below.
ROOM = 'kill.room'
#: The quotas, and their sizes.
QUOTAS = {'one': 1, 'five': 5}
#: Every so many tasks, one lingers between its effect and its end.
LINGERING, LINGER = 7, 0.03

#: The `history.History` of this process.
history = None


class Told(Exception):
    """What a job raises that is told to."""


class Cell(persistent.Persistent):
    """What one task has changed."""

    turn = None  # when it had its turn, among those under the quota of one

    def __init__(self, id):
        self.id = id
        self.marks = {}

    def mark(self, part):
        """Count *part*."""
        self.marks = {**self.marks, part: self.marks.get(part, 0) + 1}


class Counter(persistent.Persistent):
    """Shared by the tasks of one kind."""

    count = 0


class Room(persistent.Persistent):
    """What a kill loop keeps: the tasks by their id, and what they share."""

    def __init__(self, index):
        self.index = index   # who put them -> id -> (job, cell)
        self.hot = Counter()
        self.turns = Counter()
        # conflicts over one must not be conflicts over the others
        self.turns.count = 0


# Bodies

def _start(id, part):
    """Tell that *part* of a task starts; return the number of the attempt."""
    attempt = local.getJob()._attempt
    history.note('start', id=id, part=part, attempt=attempt)
    return attempt


def _linger(id):
    if int(id.split('.')[-2]) % LINGERING == 0:
        time.sleep(LINGER)


def plain(id, part):
    """No effect: its result is committed with others."""
    attempt = _start(id, part)
    _linger(id)
    return attempt


def effect(cell, part):
    """One effect."""
    attempt = _start(cell.id, part)
    cell.mark(part)
    _linger(cell.id)
    return attempt


def told(cell, part, _result):
    """A callback with an effect."""
    return effect(cell, part)


def ended(cell, part, *_parts):
    """The last step of a workflow."""
    return effect(cell, part)


def failing(cell):
    """An effect that must not be there, since the job fails."""
    _start(cell.id, 'main')
    cell.mark('main')
    raise Told('as told')


def putting(cell):
    """An effect, and a job with another."""
    attempt = effect(cell, 'main')
    local.getQueue().put(Job(effect, cell, 'inner'))
    return attempt


def handing(cell):
    """An effect, and the result of a job with another."""
    effect(cell, 'main')
    return local.getQueue().put(Job(effect, cell, 'inner'))


def limited(cell, name):
    """An effect under the quota *name*, whose committed state is looked at."""
    attempt = effect(cell, 'main')
    quota = local.getQueue().quotas[name]
    if len(quota) > quota.size:
        history.note('quota', name=name, held=len(quota), size=quota.size)
    return attempt


def in_turn(cell, turns):
    """As `limited`, and it keeps in which turn it was."""
    attempt = limited(cell, 'one')
    turns.count += 1
    cell.turn = turns.count
    return attempt


def together(cell, hot):
    """An effect on what others of its kind change as well."""
    hot.count += 1
    return effect(cell, 'main')


def stopping(id):
    """No effect: stopped in its first attempt, and waits for that in the second."""
    attempt = _start(id, 'main')
    if attempt == 1:
        _stop()
    else:
        _until(lambda: os.path.exists(_flag(GO)))
    return attempt


def killing(cell):
    """The end of the process that runs it."""
    effect(cell, 'main')
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # until that has happened


# Filters of agents, for scenes

#: Whoever sees the first stops; who stopped goes on when the second is there.
PAUSE, GO = 'pause', 'go'


def pausing(job):
    """Stop the process in the middle of a claim, when that is told; then take *job*.

    If the claim is made after all, its process is killed at once.
    """
    if os.path.exists(_flag(PAUSE)):
        os.unlink(_flag(PAUSE))
        _stop()
        job._p_jar.transaction_manager.get().addAfterCommitHook(
            lambda made: made and os.kill(os.getpid(), signal.SIGKILL))
    return True


def none(job):
    """Take no job."""
    return False


def tried(job):
    """Take a job that somebody else has tried."""
    return job._attempt > 0


def _flag(name):
    return os.path.join(history.folder, name)


def _stop():
    """Stop the process, for a second at least."""
    history.note('stops')
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1)  # this thread may go on for a moment


def _until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


# What is put

@dataclasses.dataclass(frozen=True)
class Kind:
    """How a task of a kind is made, and what must be in its cell in the end."""

    make: object                # called with the cell and the room; returns the job
    marks: tuple = ('main',)    # each exactly once
    share: int = 0              # of a hundred tasks
    quota: str = None
    fails: bool = False         # its result must be a Failure
    may_fail: tuple = ()        # names of errors that may become its result
    later: float = None         # seconds until it is due
    only_once: bool = False     # at most one start, whatever happens


def _with_callback(cell, room):
    job = Job(effect, cell, 'main')
    job.addCallback(Job(told, cell, 'cb'))
    return job


def _failing(cell, room):
    job = Job(failing, cell)
    job.addCallbacks(success=Job(told, cell, 'wrong'), failure=Job(told, cell, 'cb'))
    return job


def _handing(cell, room):
    job = Job(handing, cell)
    job.addCallback(Job(told, cell, 'cb'))
    return job


def _workflow(how):
    def make(cell, room):
        return how(Job(effect, cell, 'a'), Job(effect, cell, 'b'),
                   postprocess=Job(ended, cell, 'end'))

    return make


def _side_by_side(cell, room):
    # the parts of this one must not meet in the same cell
    return parallel(Job(effect, cell, 'a'), Job(plain, cell.id, 'b'),
                    postprocess=Job(ended, cell, 'end'))


def _once(cell, room):
    job = Job(effect, cell, 'main')
    job.retry_policy_factory = NeverRetry
    return job


#: Those whose jobs wait for other jobs are few: each keeps a slot of its agent
#: meanwhile, and when all slots are kept like this nothing goes on.
KINDS = {
    'effect': Kind(lambda cell, room: Job(effect, cell, 'main'), share=30),
    'plain': Kind(lambda cell, room: Job(plain, cell.id, 'main'), (), share=32),
    'callback': Kind(_with_callback, ('main', 'cb'), share=8),
    'failing': Kind(_failing, ('cb',), share=4, fails=True),
    'serial': Kind(_workflow(serial), ('a', 'b', 'end'), share=1),
    'parallel': Kind(_side_by_side, ('a', 'end'), share=1),
    'one': Kind(lambda cell, room: Job(in_turn, cell, room.turns), share=5, quota='one'),
    'five': Kind(lambda cell, room: Job(limited, cell, 'five'), share=6, quota='five'),
    'putting': Kind(lambda cell, room: Job(putting, cell), ('main', 'inner'), share=5),
    'handing': Kind(_handing, ('main', 'inner', 'cb'), share=1),
    'later': Kind(lambda cell, room: Job(effect, cell, 'main'), share=4, later=0.3),
    'hot': Kind(lambda cell, room: Job(together, cell, room.hot), share=1,
                may_fail=('ConflictError',)),
    'once': Kind(_once, share=2, only_once=True,
                 may_fail=('AbortedError', 'ConflictError', 'ClientDisconnected',
                           'OperationalError', 'OSError')),
    'stopping': Kind(lambda cell, room: Job(stopping, cell.id), ()),
    'poison': Kind(lambda cell, room: Job(killing, cell)),
}


def kind_of(id):
    """Return the `Kind` of the task *id*."""
    return KINDS[id.rpartition('.')[2]]


def put(connection, who, ids):
    """Put the tasks *ids*, and keep them as those of *who*.  Commits nothing."""
    room = connection.root()[ROOM]
    queue = connection.root()[KEY]['']
    index = room.index[who]
    for id in ids:
        kind, cell = kind_of(id), Cell(id)
        connection.add(cell)
        job = kind.make(cell, room)
        if kind.quota:
            job.quota_names = (kind.quota,)
        due = None
        if kind.later is not None:
            due = clock.now() + datetime.timedelta(seconds=kind.later)
        index[id] = queue.put(job, begin_after=due), cell


# Looking on

def whose(job):
    """Return the task and the part of it that *job* does; None for neither."""
    if not job.args:
        return None, None
    first = job.args[0]
    id = first.id if isinstance(first, Cell) else first
    if not isinstance(id, str):
        return None, None
    return id, job.args[1] if job.callable in (effect, plain, told, ended) else 'main'


def look_on():
    """Let the history be told of each attempt that ends in an error.

    Not all of them are a policy's affair.
    """
    whole = Attempts._failed

    def failed(attempts, failure, error):
        id, part = whose(attempts._job)
        if id is not None:
            history.note('retry', id=id, part=part, attempt=attempts._job._attempt,
                         error=type(error).__name__)
        return whole(attempts, failure, error)

    Attempts._failed = failed
