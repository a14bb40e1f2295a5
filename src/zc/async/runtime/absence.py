"""When a call, or its commit, meets an outage: whose it is, and how to wait for its end.

A job may use other databases, whose absence is its own affair.
"""
from .. import chance
from .. import outage
from .pauses import AWAY
from .pauses import LIMIT
from .pauses import Pauses
from .pauses import Stopped

#: Outages of our own storage, one after the other, each of which is over at once.
#: More are none: there is something that it can never do for this call.
TIMES = 10


class Absence:
    """The outages that the attempts at one call meet.  In one worker's hands.

    *db* is the database of the job; those beside it are as good.
    """

    def __init__(self, db, pause):
        self._db = db
        self._pause = pause
        self._times = 0

    def judge(self, error):
        """Let *error* be no outage any more where our storage is not away.

        And be one where nothing about the job can be stored, for it may not be.
        """
        if outage.is_read_only(error) and outage.comes_from(error, self._db):
            outage.adopt(error)
        elif not outage.is_outage(error):
            self._times = 0
        elif outage.is_certain(error) or not outage.answers(self._db):
            self._times = 0
        elif not outage.comes_from(error, *self._db.databases.values()):
            outage.disown(error, 'the database of the job is not away; this is '
                                 'an error of something else that the job uses')
        else:
            self._times += 1
            if self._times > TIMES:
                outage.disown(error, f'the database of the job answers, and yet '
                                     f'this happened {self._times} times running')

    def wait(self, error, delay):
        """Wait until our storage answers.  Raise `Stopped` if we are stopped.

        While it cannot be written, wait *delay* seconds, as a policy said: whether
        it can be written cannot be asked.
        """
        if outage.is_disk_error(error) or outage.is_read_only(error):
            if self._pause(chance.jitter(min(max(delay, 1), LIMIT))):
                raise Stopped
            return
        pauses = Pauses(self._pause, first=min(2 ** self._times / 10, AWAY), limit=AWAY)
        pauses.wait()
        while not outage.answers(self._db):
            pauses.wait()
