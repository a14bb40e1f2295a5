"""What happens to processes from outside, at any moment, while there is trouble."""
from ZODB.serialize import referencesf

from .cluster import PAUSES

#: How far a clock is wrong: well within `simulation.PATIENCE`, since what is put
#: by it is due by it.
WRONG = (-300, -60, -1, 0, 1, 60, 300)


class Storm:
    """Lets things happen to the processes of *simulation*."""

    def __init__(self, simulation):
        self._simulation = simulation
        self._baton = simulation.baton
        self._source = simulation.baton.source
        self._cluster = simulation.cluster
        self.counts = {}  # name of a trouble -> how often

    def rage(self, until):
        """Let things happen until the moment *until*."""
        kinds = self._simulation.profile.troubles
        pace = 4 / (until - self._baton.now)
        while self._baton.now < until:
            left = until - self._baton.now
            if kinds:
                left = min(left, self._source.expovariate(pace))
            self._baton.sleep(left)
            if kinds and self._baton.now < until:
                kind = self._source.choice(kinds)
                self._baton.note(f'trouble {kind!r}')
                self.counts[kind] = self.counts.get(kind, 0) + 1
                getattr(self, kind.replace(' ', '_'))()

    def _worker(self):
        """Return a dispatcher's process that lives, as a `Worker`; None without any."""
        living = [one for one in self._simulation.workers if not one.process.dead]
        return self._source.choice(living) if living else None

    def _process(self):
        living = [one for one in self._cluster.processes if not one.trusted]
        return self._source.choice(living) if living else None

    def kill(self):
        """End a dispatcher's process; its heir may come."""
        worker = self._worker()
        if worker is not None:
            self._cluster.kill(worker.process)
            self.heir(worker)

    def stop(self):
        """Stop a dispatcher in order; its heir may come."""
        worker = self._worker()
        if worker is not None and hasattr(worker, 'dispatcher'):
            worker.stop()
            self.heir(worker)

    def heir(self, worker):
        """Start the next process of the same instance one day, or never."""
        seconds = self._source.choice((None, 0, 3, 20))
        if seconds is None:
            return

        def start():
            self._baton.sleep(seconds)
            # two of one instance at a time would be another story
            while not worker.process.dead:
                self._baton.sleep(1)
            self._simulation.start_worker(worker.UUID)

        self._baton.start(start, f'heir of {worker.process.name}')

    def new(self):
        """Start another dispatcher."""
        self._simulation.start_worker()

    def freeze(self):
        """Let a process stand still, and go on as if nothing had happened."""
        process = self._process()
        if process is not None:
            process.frozen_until = self._baton.now + self._source.choice(PAUSES)

    def cut_off(self):
        """Let a process not reach the server."""
        process = self._process()
        if process is not None:
            process.away(self._source.choice(PAUSES))

    def cut_off_all(self):
        """Let nobody reach the server."""
        seconds = self._source.choice(PAUSES)
        for process in self._cluster.processes:
            if not process.trusted:
                process.away(seconds)

    def late(self):
        """Let a process hear late of what others commit."""
        process = self._process()
        if process is not None:
            process.late_until = self._baton.now + self._source.choice(PAUSES)

    def clock(self):
        """Let the clock of a process jump."""
        process = self._process()
        if process is not None:
            process.offset = self._source.choice(WRONG)

    def pack(self):
        """Pack away all that is not current."""
        self._cluster.server.pack(self._baton.now, referencesf)

    def end(self):
        """Let all that live be well from now on."""
        self._cluster.calm = True
        for process in list(self._cluster.processes):
            process.frozen_until = process.away_until = process.late_until = 0
            process.deliver()
