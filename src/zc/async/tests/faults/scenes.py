"""Scenes: what chance would bring about too seldom, played on purpose.

They are rounds of the kill loop with a script instead of a nemesis, to show that
the guards of the product are needed: see `mutants`.  In both, one worker, the
victim, is stopped, taken for dead by the other one, the heir, and goes on.
"""
import pathlib
import signal

from . import history
from . import work
from .killloop import KillLoop


class Scene(KillLoop):
    """Subclasses say which jobs the two take, which job there is, and what follows."""

    victim_filter = heir_filter = kind = None

    def _begin(self):
        self.cast.serve()
        self.cast.do('prepare', uri=self.cast.uri)
        self.heir = self.cast.work('heir', filter=self.heir_filter)
        self.victim = self.cast.work('victim', filter=self.victim_filter)
        for worker in (self.heir, self.victim):
            self.cast.until(lambda: self._file(worker).exists())
            self._await(worker, True)

    def _strike(self):
        self.cast.do('put', uri=self.cast.uri, kind=self.kind)
        self.cast.until(lambda: self._has_noted(self.victim, 'stops'))
        self._await(self.victim, False)
        self._then()

    def _go_on(self):
        self.cast.stopping = True  # nobody comes after the victim
        self.cast.stage.send(self.victim, signal.SIGCONT)

    def _then(self):
        raise NotImplementedError

    def _await(self, worker, active):
        self.cast.do('await_active', uri=self.cast.uri,
                     uuid_file=str(self._file(worker)), active=active)

    def _file(self, worker):
        return pathlib.Path(worker.told['uuid_file'])

    def _has_noted(self, actor, what):
        return any(event['f'] == what and event['who'] == actor.who
                   for event in history.read(self.folder))


class StoppedInClaim(Scene):
    """It is stopped while it claims.

    If the claim is committed nevertheless, it dies: nobody takes over from one who
    is dead already.  The heir takes no job, so that nobody else changes this one.
    """

    victim_filter, heir_filter, kind = 'pausing', 'none', 'effect'

    def _strike(self):
        self.cast.raise_flag(work.PAUSE)
        super()._strike()

    def _then(self):
        self._go_on()
        self.cast.until(lambda: self.victim.status is not None
                        or self._has_noted(self.victim, 'start'))


class StoppedInBody(Scene):
    """It is stopped in a body, and brings its result while the heir runs the job."""

    heir_filter, kind = 'tried', 'stopping'

    def _then(self):
        self.cast.until(lambda: self._has_noted(self.heir, 'start'))
        self._go_on()
        self._await(self.victim, True)
        self.cast.pass_time(1)  # it has had its say
        self.cast.raise_flag(work.GO)


SCENES = {scene.__name__: scene for scene in (StoppedInClaim, StoppedInBody)}
