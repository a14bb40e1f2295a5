"""What is done to the actors of a kill loop, and when.

The plan is made from the seed alone, and can be made again; what comes of it
depends on the processes, and cannot.
"""
import contextlib
import dataclasses
import random
import signal
import time

from . import actors
from . import hooked

#: What else is done, and for how many kills of workers once.
BESIDES = {'term': 15, 'stop': 12, 'producer': 20, 'pack': 25, 'full': 30,
           'audit': 60}
#: What is done to the server in turn, by the kind of database.
TO_SERVER = {'zeo': ('after', 'before'), 'postgresql': ('terminate',)}
#: Not where the disk is not ours.  And the pack of RelStorage (4.3.0) removes objects
#: that are in use: between the two moments at which it looks at the database an older
#: object may have moved into a new one, as those in a bucket do that is split.
_ONLY_ZEO = ('full', 'pack')
#: In what transaction the server ends, at random: one with effects of jobs, one that
#: puts jobs, or any.
HITS = ('effects', 'effects', 'effects', 'puts', '')
#: Seconds that a server has to come to the commit in which it ends.
SOON = 3
#: Strikes after which another worker is spared: who lives for less than the death
#: interval takes nobody's jobs over.
SPARED = 12
#: Seconds of life after which a worker without a job may be killed as well.
IDLE = 1.5


@dataclasses.dataclass(frozen=True)
class Strike:
    """One blow: *gap* seconds after the one before, at whom *pick*, 0 to 1, says."""

    gap: float
    kind: str
    pick: float


def plan(settings):
    """Return the strikes that *settings* ask for, in an order by the seed."""
    chance = random.Random(f'nemesis {settings.seed}')
    to_server = TO_SERVER[settings.storage]
    kinds = ['kill'] * settings.kills
    kinds += [to_server[number % len(to_server)]
              for number in range(settings.server_kills)]
    for kind, of in BESIDES.items():
        if settings.storage == 'zeo' or kind not in _ONLY_ZEO:
            kinds += [kind] * (settings.kills and 1 + settings.kills // of)
    chance.shuffle(kinds)
    if settings.strikes is not None:
        kinds = [kind for kind in settings.strikes.split(',') if kind]
    return [Strike(min(chance.expovariate(1 / settings.mean), 4 * settings.mean),
                   kind, chance.random()) for kind in kinds]


class Nemesis:
    """Strikes at the actors of *cast*.

    A strike that cannot be made just now is made as soon as it can.
    """

    def __init__(self, cast):
        self._cast = cast
        self._stage = cast.stage
        self._count = 0

    def strike(self, strike):
        """Make *strike*, after its gap."""
        self._count += 1
        self._cast.pass_time(strike.gap)
        while not getattr(self, strike.kind)(strike.pick):
            self._cast.pass_time()
        self._cast.counts[strike.kind] += 1

    def _victim(self, pick):
        """Return a worker that is not stopped, one that works if there is one."""
        names = sorted({one.name for one in self._cast.workers})
        spared = names[self._count // SPARED % len(names)] if names[1:] else None
        running = [one for one in self._cast.workers
                   if not one.stopped and one.name != spared]
        working = [one for one in running if self._cast.at_work(one)]
        waiting = [one for one in running if time.monotonic() - one.born > IDLE]
        those = working or waiting
        return those[int(pick * len(those))] if those else None

    def _send(self, actor, number):
        self._cast.history.note('signal', actor=actor.who, number=int(number),
                                at_work=self._cast.at_work(actor))
        self._stage.send(actor, number)

    def kill(self, pick):
        """Kill a worker."""
        worker = self._victim(pick)
        if worker is not None:
            self._cast.counts['kill at work'] += self._cast.at_work(worker)
            self._send(worker, signal.SIGKILL)
        return worker is not None

    def term(self, pick):
        """Ask a worker to end."""
        worker = self._victim(pick)
        if worker is not None:
            self._send(worker, signal.SIGTERM)
        return worker is not None

    def stop(self, pick):
        """Stop a worker until others take it for dead, and let it go on then."""
        worker = self._victim(pick)
        if worker is None or any(one.stopped for one in self._cast.workers):
            return False
        self._send(worker, signal.SIGSTOP)
        self._cast.later(actors.DEATH * (1.3 + pick), lambda: self._go_on(worker))
        return True

    def _go_on(self, worker):
        if worker.status is None:
            self._send(worker, signal.SIGCONT)

    def producer(self, pick):
        """Kill a producer."""
        those = self._cast.producers
        if those:
            self._stage.send(those[int(pick * len(those))], signal.SIGKILL)
        return bool(those)

    def wait(self, pick):
        """Strike nobody for a while."""
        self._cast.pass_time(3)
        return True

    # The server

    def after(self, pick):
        """Let the server end after a commit, before anybody is told of it."""
        return self._die(hooked.AFTER, pick)

    def before(self, pick):
        """Let the server end before anything of a commit is durable."""
        return self._die(hooked.BEFORE, pick)

    def _die(self, flag, pick):
        server = self._cast.server
        if server is None or self._cast.raised(hooked.AFTER, hooked.BEFORE):
            return False
        hit = self._cast.settings.hit
        self._cast.raise_flag(flag, HITS[int(pick * len(HITS))] if hit is None else hit)
        self._cast.later(SOON, lambda: self._end(server))
        return True

    def _end(self, server):
        """Kill a server in which nothing was committed since it was to end."""
        if server.status is None:
            self._cast.counts['server killed between commits'] += 1
            self._stage.send(server, signal.SIGKILL)

    def full(self, pick):
        """Let the disk be full for a moment."""
        if self._cast.raised(hooked.FULL):
            return False
        self._cast.raise_flag(hooked.FULL)
        self._cast.later(
            0.3 + pick / 2, lambda: self._cast.lower(hooked.FULL))
        return True

    def pack(self, pick):
        """Pack while everybody works."""
        if self._stage.named('pack'):
            return False
        self._stage.start('pack', 'pack', uri=self._cast.uri)
        return True

    def audit(self, pick):
        """Have somebody look whether all is well in the database."""
        if self._stage.named('audit'):
            return False
        self._stage.start('audit', 'audit', uri=self._cast.uri)
        return True

    def terminate(self, pick):
        """Let PostgreSQL end one of its connections to us."""
        import psycopg2
        try:
            connection = psycopg2.connect(self._cast.settings.dsn)
        except psycopg2.OperationalError:
            return False  # it lets nobody in just now
        with contextlib.closing(connection):
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute('SELECT pid FROM pg_stat_activity WHERE pid <> '
                           'pg_backend_pid() AND datname = current_database()')
            pids = sorted(pid for pid, in cursor.fetchall())
            if pids:
                cursor.execute('SELECT pg_terminate_backend(%s)',
                               (pids[int(pick * len(pids))],))
            return bool(pids)
