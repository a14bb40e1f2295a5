"""Work between polls: as soon as a job is put, falls due, or a worker is free.

Only on a reactor whose time is the clock's on the wall; elsewhere a dispatcher
works at its polls.  Whatever happens here leads to one call, `claim`, in the
reactor's thread; calls that would come close together are one.
"""
from twisted.internet.interfaces import IReactorTime

from .. import clock
from .. import wake
from .watch import Watch

#: Seconds between two looks at storages that do not tell of commits.
LOOK = 0.05
#: The same while they tell of them, too: nobody has to rely on that.
LOOK_TOLD = 1
#: The same while one of them is away: each look costs lines in its log.
LOOK_AWAY = 1
#: Seconds after which a dispatcher that was woken, and has found nothing, looks again,
#: one after the other: ZEO tells of a commit a moment before a new transaction sees it.
AGAIN = 0.003, 0.02


class Wakeup:
    """Wakes a dispatcher.

    *claim* returns whether there is nothing to do.
    *is_own* tells whether this thread is committing a turn: what the dispatcher
    does itself need not wake it.
    """

    def __init__(self, db, reactor, claim, is_own):
        self._reactor = reactor
        self._claim = claim
        self._is_own = is_own
        self._watch = Watch(db, self.wake)
        self._woken = False
        self._due = None     # microseconds of the next planned claim
        self.running = False

    def start(self):
        """Begin.  Reactor's thread."""
        if not IReactorTime.providedBy(self._reactor):
            return
        self.running = True
        self._watch.start()
        if self._watch.deaf:
            wake.listen(self.wake)
            self._look_again()

    def stop(self):
        """End; nothing is claimed any more.  Any thread."""
        self.running = False
        wake.unlisten(self.wake)
        self._watch.stop()

    def concern(self, signs):
        """Be woken by changes of *signs*; see `Watch.concern`."""
        if self.running:
            self._watch.concern(signs)

    def wake(self, seconds=0):
        """Claim soon, or in so many *seconds*.  Any thread; does not block.

        Later is for work that other dispatchers are to take first: they are many.  None:
        as a look at the storages tells.
        """
        if not self.running or self._is_own():
            return
        if seconds is None:
            self._reactor.callFromThread(self._look)
        elif seconds:
            self.due_next(clock.micros() + round(1e6 * seconds))
        elif not self._woken:
            self._woken = True
            self._reactor.callFromThread(self._claim_woken)

    def _claim_woken(self, pauses=AGAIN):
        if self._claim_once() and pauses:
            self._reactor.callLater(pauses[0], self._claim_woken, pauses[1:])

    def _claim_once(self):
        """Claim; return whether there was nothing to do."""
        self._woken = False
        return self.running and self._claim()

    def due_next(self, moment):
        """Claim at *moment*, in microseconds, unless something is due sooner.

        At once, if it has passed since whoever calls this has looked.  Any thread.
        """
        if moment is None or not self.running:
            return
        if self._due is None or moment < self._due:
            self._due = moment
            self._reactor.callFromThread(self._plan, moment)

    def _plan(self, moment):
        if self.running:
            seconds = max(0, (moment - clock.micros()) / 1e6)
            self._reactor.callLater(seconds, self._claim_due, moment)

    def _claim_due(self, moment):
        if self._due == moment:
            self._due = None
        self._claim_once()

    def _look(self):
        """Claim what a look at the storages tells of, now or later."""
        if self.running:
            seconds = self._watch.look()
            if seconds:
                self.wake(seconds)
            elif seconds is not None:
                self._claim_once()

    def _look_again(self):
        if not self.running:
            return
        try:
            self._look()
        finally:
            pause = LOOK_TOLD if self._watch.told else LOOK
            self._reactor.callLater(
                LOOK_AWAY if self._watch.away else pause, self._look_again)
