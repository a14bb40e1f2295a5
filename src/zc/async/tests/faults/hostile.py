"""Jobs that do harm, by kind, and what has to become of each.

A *kind* is a function that returns a job, or puts what it likes; registered with
`kind` it says what has to become of the job.  The kinds themselves are in
`hostile_values` and `hostile_acts`.
"""
import dataclasses

from ... import failures
from ...interfaces import COMPLETED

KINDS = {}


@dataclasses.dataclass(frozen=True)
class Kind:
    """``make()`` returns a job; *expects* tells of one that has ended what is wrong."""

    name: str
    make: object
    expects: object
    refused: type = None  # what ``put`` raises

    def problem(self, job, is_parked):
        """Return what is not as it has to be with the ended *job*, or None."""
        if is_parked:
            # perhaps it cannot even be read
            found = None if self.expects in (parked, ended) else 'is parked'
        elif self.expects is parked:
            found = 'is not parked'
        else:
            found = self.expects(job)
        return None if found is None else f'{self.name}: {found}'


def kind(expects, refused=None):
    """Register a function that makes a job, which ends as *expects* says."""
    def register(make):
        assert make.__name__ not in KINDS, make.__name__
        KINDS[make.__name__] = Kind(make.__name__, make, expects, refused)
        return make

    return register


def refused(error):
    """Register a function that makes a job which ``put`` refuses with *error*."""
    return kind(lambda job: 'it was put', error)


# How jobs end

def done(value):
    """It is completed, and *value* is its result."""
    def expects(job):
        if job.status is not COMPLETED:
            return f'is {job.status}'
        if failures.is_failure(job.result):
            return f'failed: {job.result!r}'
        return None if job.result == value else f'has the result {job.result!r}'

    return expects


def completed(job):
    """It is completed, whatever its result is."""
    return None if job.status is COMPLETED else f'is {job.status}'


def ended(job):
    """It is completed or parked."""
    return completed(job)


def fails(*names):
    """It is completed, and its result is a Failure of one of the classes *names*."""
    def expects(job):
        if job.status is not COMPLETED:
            return f'is {job.status}'
        if not failures.is_failure(job.result):
            return 'has a result'
        name = job.result.typeName.rpartition('.')[2]
        return None if name in names else f'failed with {job.result!r}'

    return expects


def parked(job):
    """It is parked."""
    raise AssertionError('asked of the queue')
