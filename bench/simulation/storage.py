"""A simulated storage: its server, its lock and what it tells its clients."""
from bench.simulation.engine import Lock

#: Loads that a client does in one piece here, so that there are fewer events.
PIECE = 20


class Client:
    """A process that uses the storage.  One of its threads computes at a time.

    *crowd* is how many processes here have no processor of their own.
    """

    def __init__(self, engine, cores, storage, crowd=0.0):
        self.engine = engine
        self.storage = storage
        self._cores = cores
        self._slower = 1 + storage.costs.crowd * crowd
        self._gil = Lock(engine)
        self._heard = 0  # commits
        self.used = 0.0  # processor seconds
        storage.clients += 1

    def compute(self, seconds):
        """Compute, also what it costs to hear of commits meanwhile."""
        storage = self.storage
        if storage.costs.pushes:
            seconds += (storage.commits - self._heard) * storage.costs.invalidation_cpu
        self._heard = storage.commits
        seconds *= self._slower
        if seconds <= 0:
            return
        self.used += seconds
        yield self._gil.take
        yield self._cores.work(seconds)
        self._gil.free()


class Storage:
    """One database.

    A commit is sent, gets the lock at its vote, and keeps it until it is finished:
    a trip to the client and back is in between.  A server of many processes works on
    several that are not yet there.
    """

    def __init__(self, engine, costs, cores, idle_clients=0, crowd=0.0):
        self._engine = engine
        self.costs = costs
        self._cores = cores
        self._lock = Lock(engine)
        # ZEO's server is one Python thread; PostgreSQL's are many processes
        self._thread = Lock(engine) if costs.kind == 'zeo' else None
        self._slower = 1 + costs.crowd * crowd
        self.clients = self._idle = idle_clients
        self.commits = self.loads = 0
        self.used = 0.0

    @property
    def locked_for(self):
        """Seconds in which the lock was held."""
        return self._lock.held_for

    def _serve(self, cpu, pause=0.0):
        cpu *= self._slower
        self.used += cpu
        if self._thread is not None:
            yield self._thread.take
        if cpu > 0:
            yield self._cores.work(cpu)
        if pause:
            yield self._engine.sleep(pause)
        if self._thread is not None:
            self._thread.free()

    def _wire(self, trips=0.5):
        return self._engine.sleep(2 * trips * self.costs.wire)

    def load(self, client, count, at_once=False, server_cpu=0.0):
        """Load *count* records, one after the other, or *at_once* in one trip.

        The server computes *server_cpu* more.
        """
        costs = self.costs
        if server_cpu:
            yield from self._serve(server_cpu)
        self.loads += count
        while count > 0:
            piece = min(count, PIECE)
            count -= piece
            yield from client.compute(piece * costs.load_cpu)
            yield self._wire(1 if at_once else piece)
            yield from self._serve(piece * costs.server_load_cpu)

    def commit(self, client, records, check=None, landed=None, server_cpu=0.0):
        """Commit, for which the server computes *server_cpu* more; return whether it could.

        ``check()`` tells, with the lock held, whether nothing stands against it;
        ``landed()`` is called when it is durable.
        """
        costs = self.costs
        yield from client.compute(
            costs.commit_cpu - costs.beside_cpu + records * costs.record_cpu)
        if costs.beside_cpu:
            self._engine.start(client.compute(costs.beside_cpu))
        yield self._wire()
        work = costs.server_commit_cpu + records * costs.server_record_cpu + server_cpu
        if costs.early:
            yield from self._serve(costs.early * work)
        yield self._lock.take
        yield from self._serve((1 - costs.early) * work)
        if check is not None and not check():
            self._lock.free()
            yield self._wire()
            return False
        yield self._wire()
        yield from client.compute(costs.finish_cpu)
        yield self._wire()
        yield from self._serve(self._telling(), costs.sync)
        self.commits += 1
        if landed is not None:
            landed()
        if self._lock.wanted:
            yield self._engine.sleep(costs.handover)
        self._lock.free()
        yield self._wire()
        return True

    def _telling(self):
        """Return the server's processor time for telling all clients.

        Those that do nothing else hear it beside.
        """
        if not self.costs.pushes:
            return 0
        if self._idle:
            self._engine.start(self._hear_idly())
        return self.clients * self.costs.server_invalidation_cpu

    def _hear_idly(self):
        yield self._cores.work(self._idle * self.costs.invalidation_cpu)
