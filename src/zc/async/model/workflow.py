"""Jobs made of jobs: one after the other, or side by side.

The job that ``zc.async.job.serial`` and ``parallel`` return has the parts as
its arguments, so that parts may be added while it runs.  When called, it puts
parts in the queue and returns another job, the last one, whose result becomes
its own.
"""
import persistent

from ..interfaces import AsyncError
from ..interfaces import NEW
from ..threadlocal import local
from .call import check_class
from .call import check_writable
from .call import CodeMissing
from .retry import RetryErrorsToo


def list_of(*jobs):
    """The default last step: the result is the list of the parts."""
    return list(jobs)


def run_serial(*jobs, postprocess):
    """What a serial job calls."""
    return Course(local.getJob(), postprocess, 1).start()


def run_parallel(*jobs, postprocess):
    """What a parallel job calls."""
    return Course(local.getJob(), postprocess, None).start()


class RetryArrival(RetryErrorsToo):
    """An arrival that is lost would let the workflow wait for ever."""


class Course(persistent.Persistent):
    """The parts of one workflow, and how many have arrived.

    Its record is written by each part that arrives, so that two parts which
    end at the same time conflict and the later one sees the earlier.
    """

    taken = 0    # parts that were put, or found under way
    arrived = 0  # of these, those that have their results

    def __init__(self, main, last, at_once):
        self.main = main
        self.last = last
        self.at_once = at_once  # how many parts may be under way; None: all

    def start(self):
        """Put the first parts; return the job whose result is the workflow's."""
        self._go_on()
        return self.last

    def arrive(self, _result):
        """Note that a part has its result, and put what comes next."""
        self.arrived += 1
        self._go_on()

    def _go_on(self):
        # Parts are only ever appended: what was taken is not looked at again.
        while self.taken < len(self.main.args) and self._has_room():
            part = self.main.args[self.taken]
            check_class(part)
            # a call that is left to others here, or is done again, has done nothing yet
            check_writable(part.callback_record(), CodeMissing)
            self.taken += 1
            # after the part's own callbacks, which may add parts
            part.addCallback(self.arrive, retry_policy_factory=RetryArrival)
            if part.status is NEW:
                self._put(part)
        if self.arrived == len(self.main.args) and self.last.status is NEW:
            check_writable(self.last.callback_record(), CodeMissing)
            self.last.args.extend(self.main.args)
            self._put(self.last)

    def _put(self, job):
        """Put *job*; where that is refused, it has failed, and is not waited for."""
        try:
            self.main.queue.put(job)
        except (AsyncError, TypeError, ValueError) as error:
            job.fail(error)

    def _has_room(self):
        return self.at_once is None or self.taken - self.arrived < self.at_once
