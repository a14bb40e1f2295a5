"""Short stories, each told again for every storage call and kind of fault."""
import persistent

from ...job import Job
from ...job import serial
from ...threadlocal import local


class Account(persistent.Persistent):
    """What jobs change.  By the job's name, how often it was changed."""

    def __init__(self):
        self.changes = {}

    def change(self, name, *ignored):
        """An effect."""
        self.changes = {**self.changes, name: self.changes.get(name, 0) + 1}
        return name

    def fail(self):
        """No effect."""
        self.changes = {**self.changes, 'never': 1}
        raise ValueError('as told')

    def put(self, name):
        """An effect, and a job with another."""
        self.change(name)
        local.getQueue().put(Job(self.change, name + ' inner'))

    def hand_on(self, name):
        """An effect, and the result of a job with another."""
        self.change(name)
        return local.getQueue().put(Job(self.change, name + ' inner'))


def nothing():
    """A job without effects."""


def no_effect(queue, account):
    queue.put(nothing)
    return {}


def one_effect(queue, account):
    queue.put(Job(account.change, 'a'))
    return {'a': 1}


def two_effects(queue, account):
    queue.put(Job(account.change, 'a'))
    queue.put(Job(account.change, 'b'))
    return {'a': 1, 'b': 1}


def callbacks(queue, account):
    job = queue.put(Job(account.change, 'a'))
    job.addCallback(Job(account.change, 'b')).addCallback(Job(account.change, 'c'))
    return {'a': 1, 'b': 1, 'c': 1}


def failure(queue, account):
    queue.put(account.fail).addCallbacks(failure=Job(account.change, 'f'))
    return {'f': 1}


def puts(queue, account):
    queue.put(Job(account.put, 'a'))
    return {'a': 1, 'a inner': 1}


def returned(queue, account):
    queue.put(Job(account.hand_on, 'a')).addCallback(Job(account.change, 'b'))
    return {'a': 1, 'a inner': 1, 'b': 1}


def quota(queue, account):
    queue.quotas.create('one')
    for name in 'ab':
        job = Job(account.change, name)
        job.quota_names = ('one',)
        queue.put(job)
    return {'a': 1, 'b': 1}


def in_series(queue, account):
    queue.put(serial(Job(account.change, 'a'), Job(account.change, 'b'),
                     postprocess=Job(account.change, 'c')))
    return {'a': 1, 'b': 1, 'c': 1}


#: The shortest first.
SCENARIOS = (no_effect, one_effect, quota, two_effects, callbacks, failure, puts,
             returned, in_series)
