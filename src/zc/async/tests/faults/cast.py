"""The actors of one kill loop: who they are, and who comes after them."""
import collections
import os
import pathlib
import random
import signal
import time

from . import hooked
from .history import History
from .history import path
from .session import LOOK
from .session import raised
from .stage import log_path
from .stage import Stage
from .. import servers

#: Seconds after which a process that was told to end is a problem.
PATIENCE = 40
#: Bytes of a history in which a worker has told more than that it was born.
_AT_WORK = 150
#: How wrong the clock of the last worker is at times, in seconds.
SKEWS = (3600, -3600, 20, -20)


class GaveUp(Exception):
    """The round came to no end within its time."""


class Cast:
    """Starts the actors that *settings* want in *folder*, and replaces the ended.

    ``counts`` tells what happened, ``problems`` what must not happen, ``last_words``
    what those have said in the end who ended badly, but the server: it is to.
    """

    def __init__(self, settings, folder):
        self.settings = settings
        self.folder = folder
        self.counts = collections.Counter()
        self.problems = collections.defaultdict(list)
        self.last_words = {}
        self.stopping = False
        self.stage = Stage(folder, settings.mutant)
        self.chance = random.Random(f'cast {settings.seed}')
        self.history = History(folder, 'loop')
        self._identities = collections.Counter()
        self._later = []    # (when, what is to be done)
        self._end = time.monotonic() + settings.time_limit
        self._poison = settings.poison
        self.data = os.path.join(folder, 'Data.fs')
        self.uri = settings.uri
        if settings.storage == 'zeo':
            self._port = servers.free_port()
            self.uri = f'zeo://127.0.0.1:{self._port}?wait_timeout={PATIENCE}'

    # Who is there

    @property
    def workers(self):
        """The workers that run, or are stopped."""
        return [one for one in self.stage.actors if one.role == 'do_jobs']

    @property
    def producers(self):
        """The producers that run."""
        return [one for one in self.stage.actors if one.role == 'produce']

    @property
    def server(self):
        """The server, None while there is none."""
        found = self.stage.named('server')
        return found[0] if found else None

    def at_work(self, worker):
        """Return whether *worker* has begun a job."""
        told = path(self.folder, worker.who)
        return os.path.exists(told) and os.path.getsize(told) > _AT_WORK

    # Who comes

    def serve(self):
        """Start the server, if the database needs one of ours."""
        if self.settings.storage == 'zeo':
            self.stage.start('server', 'serve', path=self.data, port=self._port)

    def produce(self, name):
        """Start the producer *name*: the first puts many at a time, others one."""
        batch = self.settings.batch if name == 'p1' else 1
        poison, self._poison = self._poison, 0
        self.stage.start(
            name, 'produce', uri=self.uri, seed=self.settings.seed, batch=batch,
            backlog=self.settings.backlog, poison=poison, kinds=self.settings.kinds)

    def work(self, name, same=False, **told):
        """Start the worker *name*: with the *same* identity as before, or another."""
        if not same:
            self._identities[name] += 1
        identity = f'{name}-{self._identities[name]}.uuid'
        return self.stage.start(name, 'do_jobs', **{
            'uri': self.uri, 'size': self.settings.size, 'death': self.settings.death,
            **told, 'uuid_file': os.path.join(self.folder, identity)})

    def do(self, role, **told):
        """Have an actor do its part to its end; return its exit status."""
        actor = self.stage.start(role, role, **told)
        self.wait_for([actor])
        return actor.status

    # Time

    def later(self, seconds, what):
        """Do *what* in so many seconds."""
        self._later.append((time.monotonic() + seconds, what))

    def pass_time(self, seconds=LOOK):
        """Let time pass, and see who ends meanwhile.  Raise `GaveUp`."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now > self._end:
                raise GaveUp(f'not done within {self.settings.time_limit} s')
            self._do_due(now)
            if now >= end:
                return
            soon = min([end, *(when for when, _what in self._later)])
            for actor in self.stage.wait(max(0, soon - now)):
                self._ended(actor)

    def _do_due(self, now):
        due = [what for when, what in self._later if when <= now]
        self._later = [(when, what) for when, what in self._later if when > now]
        for what in due:
            what()

    def wait_for(self, those):
        """Wait until *those* have ended; who does not end in time is a problem."""
        end = time.monotonic() + max(PATIENCE, self.settings.drain_limit + 10)
        while late := [actor for actor in those if actor.status is None]:
            self.pass_time()
            if time.monotonic() > end:
                self._end_late(late)

    def _end_late(self, late):
        for actor in late:
            self.problems['would not end'].append(actor.who)
            self.stage.send(actor, signal.SIGUSR1)  # it tells what it does
        self.pass_time(1)
        for actor in late:
            self.stage.send(actor, signal.SIGKILL)

    def until(self, condition):
        """Let time pass until ``condition()``."""
        while not condition():
            self.pass_time()

    def settle(self):
        """Wait until nothing is planned any more."""
        self.until(lambda: not self._later)

    # Who goes

    def _ended(self, actor):
        self.history.note('ended', actor=actor.who, status=actor.status)
        if actor.status not in (0, -signal.SIGKILL) and actor.role != 'serve':
            log = pathlib.Path(log_path(self.folder, actor.who))
            lines = log.read_text(errors='replace').splitlines()
            self.last_words[actor.who] = [actor.status, *lines[-1:]]
        getattr(self, f'_{actor.role}_ended', self._once_ended)(actor)

    def _once_ended(self, actor):
        if actor.status:
            self.counts[f'{actor.role} failed'] += 1

    def _serve_ended(self, actor):
        for flag in (hooked.BEFORE, hooked.AFTER):
            self.lower(flag)
        if not self.stopping:
            self.later(self.chance.uniform(0, 0.4), self.serve)

    def _produce_ended(self, actor):
        self._unexpected(actor)
        if not self.stopping:
            self.produce(actor.name)

    def _do_jobs_ended(self, actor):
        self._unexpected(actor)
        if self.stopping:
            return
        skew = 0
        if actor.name == f'w{self.settings.workers}' and self.chance.random() < 0.3:
            skew = self.chance.choice(SKEWS)
            self.counts['clock wrong'] += 1
        same = self.chance.random() < 0.5
        told = {**actor.told, 'skew': skew}
        self.later(0.05, lambda: self.stopping or self.work(actor.name, same, **told))

    def _unexpected(self, actor):
        """Take note of an end that nobody has asked for."""
        if actor.status == -signal.SIGKILL and not actor.killed:
            self.counts['killed by a job'] += 1
        elif actor.status not in (0, -signal.SIGKILL):
            self.counts[f'{actor.role} ended with {actor.status}'] += 1

    # Flags

    def raise_flag(self, name, text=''):
        """Let the actors see the flag *name*, with *text* in it."""
        draft = pathlib.Path(self.folder, f'{name}.draft')
        draft.write_text(text)
        draft.rename(draft.with_suffix(''))

    def lower(self, name):
        """Take the flag *name* away."""
        pathlib.Path(self.folder, name).unlink(missing_ok=True)

    def raised(self, *names):
        """Return whether one of the flags *names* can be seen."""
        return any(raised(self.folder, name) for name in names)

    def acknowledged(self):
        """Return how many tasks were put until now."""
        return sum(int(file.read_bytes() or 0)
                   for file in pathlib.Path(self.folder).glob('*.count'))
