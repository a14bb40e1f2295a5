"""Worker threads: the one place that starts threads."""
import queue
import threading
import time

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


class Pool:
    """The threads of one agent.  Resized by the dispatcher; fed by any thread.

    ``threads`` keeps those that are ending until they have ended, so that they
    can be joined.
    """

    def __init__(self, name, work, start_thread=start):
        self.name = name
        self.threads = []
        self._work = work
        self._start_thread = start_thread
        self._tickets = queue.SimpleQueue()
        self._size = 0

    def getSize(self):
        """Return how many threads there are to be."""
        return self._size

    def setSize(self, size):
        """Start threads, or let some end after their job."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        for number in range(self._size, size):
            self.threads.append(self._start_thread(
                self._run, f'zc.async {self.name} {number}'))
        for _number in range(size, self._size):
            self._tickets.put(_STOP)
        self._size = size

    def put(self, ticket):
        """Have *ticket* worked on by a thread that is free."""
        self._tickets.put(ticket)

    def _run(self):
        while True:
            ticket = self._tickets.get()
            if ticket is _STOP:
                return
            try:
                self._work(ticket)
            except BaseException:
                # whatever it was, the agent's size promises this thread
                log.events.critical('a worker of agent %s failed; it goes on',
                                    self.name, exc_info=True)
