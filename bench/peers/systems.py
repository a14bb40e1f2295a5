"""The systems that are set side by side, with their settings.

A new one is a line here and a driver in ``drivers``; see ``drivers/host.py``.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class System:
    """One system with one choice of settings."""

    name: str
    title: str
    driver: str                     # a module in drivers
    storage: str                    # filestorage, postgresql, redis, sqlite
    durable: bool = True            # what was acknowledged survives a power cut
    environment: str = 'peers'      # of packages: peers, oban, or own
    together: bool = False          # effect and completion are one commit
    settles: bool = False           # its worker says when all is settled

    @property
    def settings(self):
        """``durable``, or ``default`` where those of nobody's choice are not."""
        return 'durable' if self.durable else 'default'

    @property
    def key(self):
        """The name of the system with its settings."""
        return f'{self.name}/{self.storage}/{self.settings}'


def _on_redis(name, title):
    return [System(name, title, f'{name}_peer', 'redis', durable)
            for durable in (True, False)]


SYSTEMS = [
    System('zc.async', 'zc.async, FileStorage', 'zc_async_peer', 'filestorage',
           environment='own', together=True, settles=True),
    System('zc.async', 'zc.async, PostgreSQL', 'zc_async_peer', 'postgresql',
           environment='own', together=True, settles=True),
    System('skiplocked', 'SKIP LOCKED by hand', 'skiplocked_peer', 'postgresql',
           together=True),
    System('procrastinate', 'Procrastinate', 'procrastinate_peer', 'postgresql'),
    System('pgqueuer', 'PgQueuer', 'pgqueuer_peer', 'postgresql'),
    System('oban', 'oban-py', 'oban_peer', 'postgresql', environment='oban'),
    *_on_redis('celery', 'Celery'),
    *_on_redis('dramatiq', 'Dramatiq'),
    *_on_redis('rq', 'RQ'),
    *_on_redis('taskiq', 'taskiq'),
    System('huey', 'Huey', 'huey_peer', 'sqlite'),
    System('huey', 'Huey', 'huey_peer', 'sqlite', durable=False)]
NAMES = list(dict.fromkeys(system.name for system in SYSTEMS))
