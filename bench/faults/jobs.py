"""What the jobs of the trials do.  The workers import it.

A worker knows by its environment which part it plays, and where the history is:
a file to which every process appends lines of JSON, each with one write, so that
what a process said before it was killed is there.
"""
import json
import os
import signal
import time

import persistent
import transaction

from zc.async_ import instanceuuid

#: The environment variables for the part that a process plays, and for the history.
PART, HISTORY = 'ZC_TRIALS_PART', 'ZC_TRIALS_HISTORY'
#: Seconds between two looks for a file.
LOOK = 0.02


class Cell(persistent.Persistent):
    """Counts the effects of one job."""

    count = 0


def is_victim():
    """Return whether this is a process to which something is to happen."""
    return os.environ.get(PART) == 'victim'


def note(event, trial):
    """Append to the history that *event* happened, now, to the job of *trial*.

    The steady clock is the same for all processes of the machine.
    """
    line = json.dumps({'event': event, 'trial': trial, 'pid': os.getpid(),
                       'at': time.monotonic()})
    out = os.open(os.environ[HISTORY], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(out, f'{line}\n'.encode())
    finally:
        os.close(out)


def history(path):
    """Return the events in the file *path*, the oldest first."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as lines:
        return [json.loads(line) for line in lines if line.endswith('\n')]


# Who takes which job

def _owner(job):
    """Return the agents, in the job's queue, of the dispatcher that it is for."""
    for agents in job.queue.dispatchers.values():
        if str(agents.UUID) == job.kwargs.get('owner'):
            return agents
    return None


def left_over(job):
    """A filter for heirs: whether the dispatcher that *job* is for counts as gone."""
    owner = _owner(job)
    return job.callable is not probe and (owner is None or owner.activated is None)


def for_me(job):
    """A filter for victims that share a queue: whether *job* is for this process."""
    owner = _owner(job)
    return owner is not None and owner.UUID == instanceuuid.getUUID()


def mine(job):
    """A filter for victims, which may stop its process in the middle of the claim."""
    if job.callable is claimed:
        stop('claim', job.kwargs['trial'])
    return True


# What is done

def hang(cell, trial, owner=None):
    """Count; a victim never comes to the end of it."""
    note('start', trial)
    cell.count += 1
    while is_victim():
        time.sleep(1000)
    return os.getpid()


def spin(cell, trial, owner=None):
    """The same, but what keeps a victim from the end is work."""
    note('start', trial)
    cell.count += 1
    while is_victim():
        sum(range(10_000))
    return os.getpid()


def count(cell, trial, owner=None, seconds=0):
    """Count, and return which process did, after so many seconds."""
    note('start', trial)
    cell.count += 1
    time.sleep(seconds)
    return os.getpid()


def probe(cell, trial, owner):
    """Count, as no heir does."""
    return count(cell, trial)


# Processes that stop themselves

def stop(phase, trial):
    """Stop this process, once for each trial, if it is a victim."""
    if is_victim() and (phase, trial) not in _stopped:
        _stopped.add((phase, trial))
        note('stop', trial)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(LOOK)  # it is not at once that all threads stand still
        note('continue', trial)


_stopped = set()


def claimed(cell, trial, owner):
    """Count; a victim is stopped while it claims this job."""
    return count(cell, trial)


def in_body(cell, trial, owner):
    """Count, and be stopped before the commit."""
    count(cell, trial)
    stop('body', trial)
    return os.getpid()


def in_commit(cell, trial, owner):
    """Count, and be stopped in the commit, before the storage has heard of it."""
    count(cell, trial)
    _join('tpc_begin', lambda: stop('commit', trial))
    return os.getpid()


def in_vote(cell, trial, owner):
    """Count, and be stopped in the commit, when the storage has voted."""
    count(cell, trial)
    _join('tpc_vote', lambda: stop('vote', trial))
    return os.getpid()


def in_callback(cell, trial, owner):
    """Bring the result that the callback `in_body` waits for."""
    return os.getpid()


def called_back(cell, result, trial, owner):
    """A callback: count, and be stopped before the commit."""
    return in_body(cell, trial, owner)


class Step:
    """A data manager that calls *act* at one *step* of a commit.

    *key* orders it among the others, which are those of databases.
    """

    transaction_manager = transaction.manager

    def __init__(self, key, step, act):
        self._key, self._step, self._act = key, step, act

    def sortKey(self):
        return self._key

    def _at(self, step):
        if step == self._step:
            self._act()

    def tpc_begin(self, transaction):
        self._at('tpc_begin')

    def tpc_vote(self, transaction):
        self._at('tpc_vote')

    def commit(self, transaction):
        """Nothing is stored here."""

    abort = tpc_finish = tpc_abort = commit


def _join(step, act):
    """Call *act* in the commit: first, or when all others have voted."""
    transaction.get().join(Step('' if step == 'tpc_begin' else '~~~', step, act))


# Jobs that go on when there is a file *until*

def wait_for(path):
    """Wait until there is a file *path*."""
    while not os.path.exists(path):
        time.sleep(LOOK)


def late_claims(job):
    """A filter during whose claim of `claimed_late` something happens."""
    if job.callable is claimed_late:
        note('start', job.kwargs['trial'])
        wait_for(job.kwargs['until'])
    return True


def claimed_late(cell, trial, until):
    """Count; it was claimed late."""
    cell.count += 1


def body_late(cell, trial, until):
    """Count, and take long."""
    note('start', trial)
    cell.count += 1
    wait_for(until)


def quiet_late(cell, trial, until):
    """Change nothing, and take long."""
    note('start', trial)
    wait_for(until)


def read_late(cell, trial, until, other):
    """Count, in the end, what another cell, which was not looked at before, says."""
    note('start', trial)
    wait_for(until)
    cell.count += 1 + other.count


def commit_late(cell, trial, until):
    """Count, and take long in the commit, before the storage has heard of it."""
    cell.count += 1
    _join('tpc_begin', lambda: (note('start', trial), wait_for(until)))


def vote_late(cell, trial, until):
    """Count, and take long in the commit, when the storage has voted."""
    cell.count += 1
    _join('tpc_vote', lambda: (note('start', trial), wait_for(until)))


def first(cell, trial, until):
    """Bring the result that the callback `callback_late` waits for."""


def callback_late(cell, result, trial, until):
    """A callback: count, and take long."""
    body_late(cell, trial, until)


def meet(cell, trial, count):
    """Count, and wait until *count* jobs of this *trial* run at the same time."""
    note('start', trial)
    cell.count += 1
    while len([one for one in history(os.environ[HISTORY])
               if one['trial'] == trial]) < count:
        time.sleep(LOOK)
