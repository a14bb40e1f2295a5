"""Counts and times what a working process does, from outside of the product.

Loads are counted where connections ask their storage.  A turn is the transaction
in which a dispatcher stores outcomes and claims jobs; it is timed without what it
waits for its predecessor, and counted if it handed out any job.
"""
import itertools
import sys
import time

from zc.async_.dispatcher import Dispatcher
from zc.async_.queue import Queue
from zc.async_.runtime.turns import Turns


class Probe:
    """What was seen in this process since it was made, for the database *db*."""

    def __init__(self, db):
        self._loads, self._fetched = itertools.count(), itertools.count()
        self._is_zeo = type(db.storage).__module__.startswith('ZEO.')
        self._handed = 0
        self._turns, self._choices = [], []
        self.ended = time.perf_counter()  # of the latest turn that stored or claimed
        self._count_loads(db)
        self._count_turns()

    def found(self, conflicts):
        """Return all, with the dispatcher's *conflicts*, for one answer."""
        found = {'loads': next(self._loads), 'claims': self._handed,
                 'conflicts': conflicts.total,
                 'conflicts_of': [(one.class_name, one.count)
                                  for one in conflicts.worst(5)],
                 'turns': self._turns, 'choices': self._choices}
        if self._is_zeo:
            found['fetched'] = next(self._fetched)
        return found

    # Loads

    def _count_loads(self, db):
        storage = db._mvcc_storage
        new_instance = storage.new_instance

        def counted_instance():
            return self._counted(new_instance())

        storage.new_instance = counted_instance
        # the connection with which the root was made is used again
        db._connectionMap(lambda connection: self._counted(connection._storage))
        if self._is_zeo:
            self._count_fetched(db.storage._cache)

    def _counted(self, storage):
        load = storage.load

        def counted(*args, **options):
            next(self._loads)
            return load(*args, **options)

        storage.load = counted
        return storage

    def _count_fetched(self, cache):
        store = cache.store

        def counted(oid, start, end, data):
            # what this process wrote itself is stored while it finishes
            if sys._getframe(1).f_code.co_name != 'tpc_finish_co':
                next(self._fetched)
            return store(oid, start, end, data)

        cache.store = counted

    # Turns

    def _count_turns(self):
        take, hand_out, claim = Turns.take, Dispatcher.hand_out, Queue.claim

        def timed_take(turns, *args, **options):
            with turns.turn:
                before, start = self._handed, time.perf_counter()
                stores = bool(turns._waiting)
                try:
                    return take(turns, *args, **options)
                finally:
                    if self._handed > before:
                        self._turns.append(time.perf_counter() - start)
                    if stores or self._handed > before:
                        self.ended = time.perf_counter()

        def counted_hand_out(dispatcher, ticket):
            self._handed += 1
            return hand_out(dispatcher, ticket)

        def timed_claim(queue, *args, **options):
            start = time.perf_counter()
            job = claim(queue, *args, **options)
            if job is not None:
                self._choices.append(time.perf_counter() - start)
            return job

        Turns.take, Dispatcher.hand_out = timed_take, counted_hand_out
        Queue.claim = timed_claim
