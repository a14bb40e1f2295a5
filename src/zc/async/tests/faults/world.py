"""Tells a scenario under virtual time, with a fault, and looks at the end."""
import uuid

import transaction
import ZODB
from ZODB.DemoStorage import DemoStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSError

from ... import dispatcher as dispatchers
from ... import failures
from ... import testing
from ...agent import Agent
from ...interfaces import COMPLETED
from ...interfaces import KEY
from ...model.callbacks import children
from ...queue import Queue
from ...queue import Queues
from .scenarios import Account
from .storage import Died
from .storage import FaultStorage

#: The same for the process that dies and for the one after it.
UUID = uuid.UUID(int=1)
#: Polls after which everything must be done.
POLLS = 60


class Unwaiting(dispatchers.Dispatcher):
    """Its pauses take no time."""

    def pause(self, seconds):
        return self._stopping.is_set()


class World:
    """One database, and processes that come and go.

    What the jobs may have changed in the end is what the scenario says, or, with
    *may_fail*, less of it by the jobs whose result is a Failure.
    """

    def __init__(self, scenario):
        self.base = DemoStorage(
            base=MappingStorage(), changes=MappingStorage())
        self.reactor = testing.Reactor()
        self.reactor.start()
        with self.looking() as root:
            queues = root[KEY] = Queues()
            queue = queues[''] = Queue()
            account = root['account'] = Account()
            root._p_jar.add(account)
            self.expected = scenario(queue, account)
            root['jobs'] = tuple(queue)

    def looking(self):
        """Return a context with the root, in a database of its own; commits."""
        return _Looking(self.base)

    def tell(self, at=None, kind=None):
        """Let a dispatcher work, with the fault; return the armed storage."""
        storage = FaultStorage(self.base)
        self._process(storage, at, kind)
        if storage.dead:
            self._process(FaultStorage(self.base))
        return storage

    def _process(self, storage, at=None, kind=None):
        """One process, until all is done or it dies."""
        db = ZODB.DB(storage, pool_size=20)
        dispatcher = Unwaiting(db, self.reactor, uuid=UUID)
        dispatcher.activate()
        try:
            self.reactor.time_flies(1)
            with self.looking() as root:
                agents = root[KEY][''].dispatchers[dispatcher.UUID]
                if 'main' not in agents:
                    agents['main'] = Agent(size=2)
            db._mvcc_storage.invalidateCache()
            storage.arm(at, kind)
            for _poll in range(POLLS):
                self._poll(dispatcher)
                if storage.dead or self.done():
                    return
        finally:
            storage.armed = False
            if storage.dead:
                self._bury(dispatcher)
            else:
                self._end(dispatcher)
            dispatchers.pop(dispatcher.UUID)

    def _poll(self, dispatcher):
        try:
            self.reactor.time_flies(5)
        except Died:
            return
        testing.wait_for(
            lambda: dispatcher.idle or dispatcher.db.storage.dead, 10)
        self.reactor.time_passes()

    def _bury(self, dispatcher):
        """Nothing of a dead process is tidied up; only its threads end here."""
        dispatcher._stopping.set()
        self.reactor._calls.clear()
        self.reactor._triggers.clear()
        for pool in dispatcher._pools():
            pool.setSize(0)
        # what it voted is gone with it
        for storage in (self.base, self.base.changes):
            if getattr(storage, '_transaction', None) is not None:
                self.base.tpc_abort(self.base._transaction)

    def _end(self, dispatcher):
        self.reactor._calls.clear()
        self.reactor._triggers.clear()
        dispatcher.deactivate()

    def done(self):
        """Return whether nothing waits and nothing is held."""
        with self.looking() as root:
            queue = root[KEY]['']
            return not len(queue) and not any(
                len(agent) for agents in queue.dispatchers.values()
                for agent in agents.values())

    def problems(self, may_fail):
        """Return what is not as it must be, as sentences."""
        found = []
        with self.looking() as root:
            queue = root[KEY]['']
            if len(queue) != len(list(queue)):
                found.append(f'{len(queue)} jobs counted, {len(list(queue))} in line')
            if len(queue):
                found.append(f'left in line: {list(queue)}')
            completed = []
            for agents in queue.dispatchers.values():
                for agent in agents.values():
                    if len(agent):
                        found.append(f'left in an agent: {list(agent)}')
                    completed += list(agent.completed)
            for quota in queue.quotas.values():
                if len(quota):
                    found.append(f'left in a quota: {list(quota)}')
            found += [f'{job!r} is {job.status}' for job in (*completed, *root['jobs'])
                      if job.status is not COMPLETED]
            failed = any(map(_failed, (*completed, *root['jobs'])))
            changes = root['account'].changes
            if changes != self.expected and not (
                    failed and may_fail and all(
                        count == 1 for count in changes.values())):
                found.append(f'changes are {changes}, not {self.expected}')
        return found

    def close(self):
        """Let time be real again."""
        self.reactor.stop()
        self.base.close()


def _failed(node):
    """Return whether the result of *node*, or of a callback, is a Failure."""
    return failures.is_failure(node.result) or any(map(_failed, children(node)))


class _Looking:

    def __init__(self, storage):
        self._storage = storage

    def __enter__(self):
        self._manager = transaction.TransactionManager()
        self._connection = ZODB.DB(self._storage).open(self._manager)
        return self._connection.root()

    def __exit__(self, kind, error, traceback):
        try:
            if kind is None:
                self._manager.commit()
        finally:
            self._manager.abort()
            try:
                self._connection.close()
            except POSError:
                pass
