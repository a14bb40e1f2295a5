"""Hostile acts: what calls do to their job, to queues, and to what waits for them."""
import threading

import transaction

from ...job import Job
from ...threadlocal import local
from .hostile import completed
from .hostile import done
from .hostile import fails
from .hostile import kind
from .hostile_errors import throw
from .hostile_values import give
from .hostile_values import yield_later


# Its job, its agent, its queue

def leaves_agent():
    job = local.getJob()
    job.agent.discard(job)
    return 42


def has_no_parent():
    local.getJob().parent = None
    return 42


def has_no_parent_and_commits():
    local.getJob().parent = None
    transaction.commit()
    return 42


def leaves_agent_and_commits():
    leaves_agent()
    transaction.commit()
    return 42


def calls_method(name, *args):
    getattr(local.getJob(), name)(*args)


def calls_itself():
    return local.getJob()()


def puts_itself():
    local.getQueue().put(local.getJob())


def pulls_and_puts():
    queue = local.getQueue()
    queue.put(queue.pull())
    return 42


def removes_quota():
    queue = local.getQueue()
    for name in local.getJob().quota_names:
        size = queue.quotas[name].size
        queue.quotas.remove(name)
        queue.quotas.create(name, size)
    return 42


def deactivates():
    local.getJob().agent.parent.deactivate()


def unregisters():
    agents = local.getJob().agent.parent
    agents.parent.dispatchers.unregister(agents.UUID)


def changes_call():
    local.getJob().args.append(threading.Lock())
    return 42


def adds_bad_callback():
    local.getJob().addCallback(lambda result: result)
    return 42


def changes_callable():
    local.getJob().callable = give


def claims():
    job = local.getQueue().claim()
    local.getQueue().putBack(job)
    return 42


def annotates_live():
    local.setLiveAnnotation('lock', threading.Lock())


@kind(fails('AbortedError'))
def job_leaves_agent():
    return Job(leaves_agent)


@kind(completed)
def job_leaves_agent_and_commits():
    return Job(leaves_agent_and_commits)


@kind(fails('AbortedError'))
def job_has_no_parent():
    return Job(has_no_parent)


@kind(completed)
def job_has_no_parent_and_commits():
    return Job(has_no_parent_and_commits)


for _name in ('fail', 'resumeCallbacks', 'append_callback'):
    def _make(name=_name):
        return Job(calls_method, name)
    _make.__name__ = f'job_calls_{_name}'
    kind(fails('BadStatusError', 'TypeError'))(_make)


@kind(fails('AbortedError', 'BadStatusError'))
def job_interrupts_itself():
    return Job(calls_method, 'handleInterrupt')


@kind(fails('BadStatusError'))
def job_calls_itself():
    return Job(calls_itself)


@kind(fails('BadStatusError'))
def job_puts_itself():
    return Job(puts_itself)


@kind(completed)
def job_pulls_and_puts():
    return Job(pulls_and_puts)


@kind(completed)
def job_removes_quota():
    return Job(removes_quota)


@kind(completed)
def job_claims():
    return Job(claims)


@kind(fails('ValueError'))
def job_unregisters():
    return Job(unregisters)


@kind(completed)
def job_changes_call():
    return Job(changes_call)


@kind(completed)
def job_adds_bad_callback():
    return Job(adds_bad_callback)


@kind(fails('BadStatusError'))
def job_changes_callable():
    return Job(changes_callable)


@kind(fails('TypeError'))
def job_annotates_live():
    return Job(annotates_live)


# What it returns

def returns_itself():
    return local.getJob()


def returns_parent(*ignored):
    return local.getJob().parent


def returns_own_callback(*ignored):
    return local.getJob().addCallback(give)


def returns_one_who_waits():
    return local.getQueue().put(Job(give, 42)).addCallback(waits_for, local.getJob())


def waits_for(job, *ignored):
    return job


def returns_cycle():
    return local.getQueue().put(Job(give, local.getJob()))


def returns_for_ever():
    return local.getQueue().put(Job(returns_for_ever))


def adds_for_ever(*ignored):
    local.getJob().addCallback(adds_for_ever)


def adds_to_parent_for_ever(*ignored):
    job = local.getJob()
    above = job.parent if isinstance(job.parent, Job) else job
    above.addCallback(adds_to_parent_for_ever)


@kind(fails('JobCycleError'))
def returned_itself():
    return Job(returns_itself)


@kind(done(42))
def returned_parent():
    job = Job(give, 42)
    job.addCallback(returns_parent)
    return job


@kind(fails('JobCycleError'))
def returned_own_callback():
    return Job(returns_own_callback)


@kind(done(42))
def returned_own_callback_in_a_callback():
    job = Job(give, 42)
    job.addCallback(returns_own_callback)
    return job


@kind(completed)
def returned_cycle():
    return Job(returns_cycle)


@kind(fails('JobCycleError'))
def returned_for_ever():
    return Job(returns_for_ever)


@kind(done(None))
def callbacks_for_ever():
    return Job(adds_for_ever)


@kind(done(None))
def callbacks_to_parent_for_ever():
    return Job(adds_to_parent_for_ever)


@kind(done(42))
def callbacks_hostile():
    job = Job(give, 42)
    for name in ('SystemExit', 'StrExits', 'AttributesFail', 'OwnEnd'):
        job.addCallback(Job(throw, name))
    job.addCallback(yield_later)
    job.addCallbacks(Job(throw, 'Demanding'), Job(give))
    return job
