"""Hostile acts: policies, stages, threads, processes, and code that is gone."""
import os
import signal
import sys
import threading
import types

import persistent
import transaction

from ...job import Job
from ...job import NeverRetry
from ...job import RetryCommonFourTimes
from ...threadlocal import local
from .hostile import completed
from .hostile import done
from .hostile import fails
from .hostile import kind
from .hostile import parked
from .hostile_errors import FORGED
from .hostile_errors import throw
from .hostile_transactions import commits_and_raises
from .hostile_values import give


# Its policy and its stages

class Policy(RetryCommonFourTimes):

    def jobError(self, failure, data_cache):
        raise SystemExit('policy')

    interrupted = commitError = None


class PolicyExits(RetryCommonFourTimes):

    def interrupted(self):
        raise SystemExit('policy')


class PolicyForgets(RetryCommonFourTimes):

    def jobError(self, failure, data_cache):
        data_cache['lock'] = threading.Lock()
        return False


class PolicyIsOdd(RetryCommonFourTimes):

    def jobError(self, failure, data_cache):
        return {'tomorrow': FORGED}


def no_policy(job):
    raise KeyboardInterrupt


class BadStages(Job):
    """Fails in a stage of its own."""

    stage, error = 'setUp', 'SystemExit'

    def _act(self, stage):
        if stage == self.stage and self._p_jar is not None:
            throw(self.error, FORGED)

    def setUp(self):
        self._act('setUp')

    def tearDown(self, setup_info):
        self._act('tearDown')

    def __repr__(self):
        self._act('repr')
        return super().__repr__()

    @property
    def quota_names(self):
        self._act('quota_names')
        return Job.quota_names.fget(self)

    @quota_names.setter
    def quota_names(self, value):
        Job.quota_names.fset(self, value)

    def getRetryPolicy(self):
        self._act('policy')
        return super().getRetryPolicy()


def _stage(stage, error, expects, call=give):
    def make_one():
        job = BadStages(call)
        job.stage, job.error = stage, error
        return job
    make_one.__name__ = f'stage_{stage}_{error}_{call.__name__}'
    kind(expects)(make_one)


_stage('setUp', 'SystemExit', fails('AbortedError'))
_stage('setUp', 'ForgedError', fails('ForgedError'))
for _error in 'SystemExit', 'ForgedError':
    _stage('tearDown', _error, done(None))
    _stage('repr', _error, done(None))
    _stage('quota_names', _error, completed)
    _stage('policy', _error, completed, commits_and_raises)
    _stage('repr', _error, fails('ValueError'), commits_and_raises)


for _policy in (Policy, PolicyForgets, PolicyIsOdd, no_policy):
    def _make(policy=_policy):
        job = Job(throw, 'ForgedError', FORGED)
        job.retry_policy_factory = policy
        return job
    _make.__name__ = f'policy_{_policy.__name__}'
    kind(fails('ForgedError', 'NotStorableError', 'TypeError'))(_make)


@kind(fails('AbortedError'))
def policy_exits_when_interrupted():
    job = Job(throw, 'SystemExit')
    job.retry_policy_factory = PolicyExits
    return job


@kind(fails('ForgedError'))
def policy_is_unknown():
    job = Job(throw, 'ForgedError')
    job.retry_policy_factory = FORGED
    return job


@kind(fails('ForgedError'))
def level_is_odd():
    job = Job(throw, 'ForgedError')
    job.failure_log_level = FORGED
    return job


@kind(completed)
def never_again():
    job = Job(throw, 'SystemExit')
    job.retry_policy_factory = NeverRetry
    return job


# Its thread and its process

def spawns():
    threading.Thread(target=_in_thread, args=(local.getJob(),), daemon=True).start()
    return 42


def _in_thread(job):
    try:
        job._p_jar.root()
        transaction.abort()
        local.getJob().annotations['x'] = 1
    except Exception:
        pass


def changes_local():
    local.job = local.dispatcher = None
    local.more = threading.Lock()
    return 42


def forgets_local():
    local.__dict__.clear()
    return 42


def sets_signal():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def traces():
    sys.settrace(_trace)
    return 42


def _trace(*ignored):
    raise RuntimeError('traced')


def forks():
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    return 'in the child'


@kind(done(42))
def thread_spawns():
    return Job(spawns)


@kind(done(42))
def thread_changes_local():
    return Job(changes_local)


@kind(done(42))
def thread_forgets_local():
    return Job(forgets_local)


@kind(fails('ValueError'))
def thread_sets_signal():
    return Job(sets_signal)


@kind(done(True))
def process_forks():
    return Job(forks)


# Code that is gone

class Passing(persistent.Persistent):
    """Its class goes."""


GONE = 'zc_async_gone'
_SOURCE = '''
import persistent
def function(*ignored): return 42
class Persistent(persistent.Persistent):
    def method(self): return 42
class Plain: pass
class Job(BaseJob): pass
class Error(Exception): pass
'''


def come():
    """Let the code be there."""
    module = sys.modules[GONE] = types.ModuleType(GONE)
    module.BaseJob = Job
    exec(_SOURCE, vars(module))


def go():
    """Let it be gone."""
    sys.modules.pop(GONE, None)


def _there(name):
    return getattr(sys.modules[GONE], name)


@kind(parked)
def gone_function():
    return Job(_there('function'))


@kind(parked)
def gone_method():
    return Job(_there('Persistent')().method)


@kind(parked)
def gone_argument():
    return Job(give, _there('Plain')())


@kind(parked)
def gone_persistent_argument():
    return Job(give, 42, _there('Persistent')())


@kind(parked)
def gone_class_of_job():
    return _there('Job')(give)


@kind(parked)
def gone_callback():
    job = Job(give, 42)
    job.addCallback(_there('function'))
    return job


class NotLoaded:
    """Can be stored; cannot be loaded."""

    def __init__(self):
        self.text = FORGED

    def __setstate__(self, state):
        raise SystemExit(FORGED)


@kind(parked)
def argument_that_cannot_be_loaded():
    return Job(give, NotLoaded())


class BadJob(Job):
    """Its record can be stored and not loaded."""

    error = 'ForgedError'

    def __setstate__(self, state):
        throw(state.get('error', self.error), FORGED)


@kind(parked)
def job_that_cannot_be_loaded():
    return BadJob(give)


@kind(parked)
def job_that_exits_when_loaded():
    job = BadJob(give)
    job.error = 'SystemExit'
    return job


#: What `waits` returns.
pending = None


def waits():
    """Return a Deferred that nobody may ever fire."""
    return pending
