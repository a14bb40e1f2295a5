"""Worker threads: the one place that starts threads."""
import collections
import sys
import threading
import time
import traceback

from .. import clock
from .. import log
from . import storing
from .pace import Pace
from .pace import SHORT

#: Threads that are awake while jobs are short and commits are quick.
BUSY = 1
#: Seconds after which more are woken, if those are not through with a job; and if they
#: commit, since others would only wait beside them.
LATE, LATE_COMMIT = 0.02, 0.1


def start(target, name):
    """Start a daemon thread that calls *target*, and return it."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def join(threads, seconds):
    """Wait for *threads* to end, up to *seconds* in all."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))


class _Seat:
    """What one thread of a pool does just now."""

    ticket = None   # what it works on
    works = False   # whether on the job itself, and not on what comes after
    since = 0.0     # by the steady clock
    alone = False   # whether no other of the pool has worked meanwhile
    thread = None   # its identity, once it has worked
    ended = False   # whether it was told to end, and does


def place(identity, frames=None):
    """Return where the thread *identity* is, on one line, the innermost call first.

    With *frames*, no more calls than that.  Any thread.
    """
    frame = sys._current_frames().get(identity)
    if frame is None:
        return 'no thread'
    stack = traceback.extract_stack(frame)[-(frames or 0):]
    return ' < '.join(f'{one.filename}:{one.lineno}:{one.name}' for one in reversed(stack))


class Pool:
    """The threads of one agent.  Resized by the dispatcher; fed by any thread.

    Threads that want the interpreter at the same time hinder each other: handing
    it over costs more than a short job.  So as long as jobs are short and *thrifty*
    returns true, one thread goes on with one after the other, and one more for each
    *quick* seconds that their commits take.  `rouse` finds those that are stuck.  *rest*
    is called when a thread has nothing more to do, and when it ends.

    ``threads`` keeps those that are ending until they have ended, so that they
    can be joined.
    """

    def __init__(self, name, work, start_thread=start, thrifty=bool, rest=bool,
                 quick=storing.QUICK):
        self.name = name
        self._seats = {}  # thread -> _Seat
        self._work = work
        self._start_thread = start_thread
        self._thrifty = thrifty
        self._rest = rest
        self._pace, self._commits = Pace(SHORT), Pace(quick)
        self._more = threading.Condition()
        # of whoever holds the lock of ``_more``:
        self._tickets = collections.deque()
        self._awake = 0    # threads that work, or were woken to
        self._waiting = 0  # threads that were not
        self._leaving = 0  # threads that are to end
        self._working = set()  # the seats of those that have a ticket
        self._size = 0

    @property
    def threads(self):
        """The threads, the eldest first."""
        return list(self._seats)

    def getSize(self):
        """Return how many threads there are to be."""
        return self._size

    def setSize(self, size):
        """Start threads, or let some end after their job."""
        self._seats = {thread: seat for thread, seat in self._seats.items()
                       if thread.is_alive() or not seat.ended}
        with self._more:
            more = size - self._size
            self._size = size
            self._leaving += max(0, -more)
            self._wake(self._leaving)
        for number in range(size - max(0, more), size):
            self._start(f'zc.async {self.name} {number}')

    def _start(self, name):
        seat = _Seat()
        with self._more:
            self._awake += 1
        self._seats[self._start_thread(lambda: self._run(seat), name)] = seat

    def replace_dead(self):
        """Start threads in the place of those that died; return what they worked on.

        Nothing that a job does can end a thread, but what the interpreter or a
        debugger does to it can, and an error of the log.
        """
        lost = []
        for thread, seat in list(self._seats.items()):
            if thread.is_alive() or seat.ended:
                continue
            del self._seats[thread]
            with self._more:
                self._awake -= 1
                self._working.discard(seat)
            self._start(thread.name)
            if seat.ticket is not None:
                lost.append(seat.ticket)
        return lost

    def put(self, ticket):
        """Have *ticket* worked on; return False where `rouse` has to be called for it."""
        with self._more:
            self._tickets.append(ticket)
            if self._saves() and self._moving() >= self._busy():
                return False
            woken = self._waiting > 0
            self._wake(1)
            return woken or not self._thrifty()

    @property
    def waits(self):
        """Whether tickets wait.  Any thread."""
        return bool(self._tickets)

    def worked(self, seconds, committing):
        """Take note that this thread's job is done, which took so many *seconds*.

        It took so many more for *committing*.  Return whether the thread goes on with
        another one at once.
        """
        with self._more:
            seat = self._seats.get(threading.current_thread())
            if seat is not None:
                self._pace.note(seconds, seat.alone)
                self._commits.note(committing, seat.alone)
                seat.since, seat.works = clock.monotonic(), False
            return (bool(self._tickets) and self._saves()
                    and self._moving() <= self._busy())

    def rouse(self):
        """Wake threads for the tickets that wait behind what takes long.

        Return whether tickets wait.  Any thread.
        """
        with self._more:
            for seat in self._working:
                if seat.works and self._is_stuck(seat) and not storing.committing(
                        seat.thread):
                    self._pace.note(clock.monotonic() - seat.since, seat.alone)
            if not self._saves():
                self._wake(len(self._tickets))
            elif self._tickets and self._moving() < self._busy():
                self._wake(1)
            return bool(self._tickets)

    def _saves(self):
        """Return whether one thread after the other is to be woken."""
        return not self._leaving and self._pace.short and self._thrifty()

    def _busy(self):
        """Return how many threads are to be awake then."""
        return BUSY + self._commits.multiple

    def _moving(self):
        """Return how many threads are awake and not stuck."""
        return self._awake - sum(map(self._is_stuck, self._working))

    def _is_stuck(self, seat):
        late = LATE_COMMIT if storing.committing(seat.thread) else LATE
        return clock.monotonic() - seat.since >= late

    def _wake(self, count):
        count = min(count, self._waiting)
        self._waiting -= count
        self._awake += count
        self._more.notify(count)

    def _run(self, seat):
        while self._take(seat):
            self._safely(self._work, seat.ticket)
            seat.ticket = None  # not where even the log has failed
        self._safely(self._rest)

    def _take(self, seat):
        """Let *seat* have a ticket, once there is one; return False if it is to end."""
        rested = False
        while True:
            with self._more:
                self._working.discard(seat)
                if self._tickets and not (
                        self._saves() and self._moving() > self._busy()):
                    self._seated(seat)
                    return True
                if self._leaving and not self._tickets:
                    self._leaving -= 1
                    self._awake -= 1
                    seat.ended = True
                    return False
                if rested:
                    self._awake -= 1
                    self._waiting += 1
                    self._more.wait()
            rested = not rested
            if rested:
                self._safely(self._rest)

    def _safely(self, function, *args):
        try:
            function(*args)
        except BaseException:
            # whatever it was, the agent's size promises this thread
            log.events.critical('a worker of agent %s failed; it goes on',
                                self.name, exc_info=True)

    def _seated(self, seat):
        seat.ticket = self._tickets.popleft()
        seat.since, seat.works = clock.monotonic(), True
        seat.thread = threading.get_ident()
        # those that are stuck hinder nobody
        beside = [one for one in self._working if not self._is_stuck(one)]
        for one in beside:
            one.alone = False
        seat.alone = not beside
        self._working.add(seat)
