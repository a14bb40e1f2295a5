"""Worker threads: the one place that starts threads."""
import queue
import sys
import threading
import time
import traceback

from .. import log

_STOP = object()


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

    ``threads`` keeps those that are ending until they have ended, so that they
    can be joined.
    """

    def __init__(self, name, work, start_thread=start):
        self.name = name
        self._seats = {}  # thread -> _Seat
        self._work = work
        self._start_thread = start_thread
        self._tickets = queue.SimpleQueue()
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
        for number in range(self._size, size):
            self._start(f'zc.async {self.name} {number}')
        for _number in range(size, self._size):
            self._tickets.put(_STOP)
        self._size = size

    def _start(self, name):
        seat = _Seat()
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
            self._start(thread.name)
            if seat.ticket is not None:
                lost.append(seat.ticket)
        return lost

    def put(self, ticket):
        """Have *ticket* worked on by a thread that is free."""
        self._tickets.put(ticket)

    def _run(self, seat):
        while True:
            ticket = self._tickets.get()
            if ticket is _STOP:
                seat.ended = True
                return
            seat.ticket = ticket
            try:
                self._work(ticket)
            except BaseException:
                # whatever it was, the agent's size promises this thread
                log.events.critical('a worker of agent %s failed; it goes on',
                                    self.name, exc_info=True)
            seat.ticket = None  # not where even that has failed
