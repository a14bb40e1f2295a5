"""Counts and times what a working process does, from outside of the product.

Loads are counted where connections ask their storage.  A turn is the transaction
in which a dispatcher stores outcomes and claims jobs; it is timed without what it
waits for its predecessor, and counted if it handed out any job.
"""
import itertools
import sys
import threading
import time

from zc.async_.dispatcher import Dispatcher
from zc.async_.model.outcomes import UNTOUCHED
from zc.async_.queue import Queue
from zc.async_.runtime.turns import Turns


class Probe:
    """What was seen in this process since it was made, for the database *db*.

    Once the outcomes of *count* jobs are stored, if it is given one, ``enough`` is set,
    and what comes afterwards is not seen any more: whoever waits for that is woken
    late, and the more so the more there is to do still.
    """

    def __init__(self, db, count=None):
        self._count, self._stored, self.enough = count, 0, threading.Event()
        self._loads, self._fetched = itertools.count(), itertools.count()
        self._is_zeo = type(db.storage).__module__.startswith('ZEO.')
        self._handed = 0
        self._turns, self._choices = [], []
        self._found = None  # what was seen until it was enough
        self.ended = time.perf_counter()  # of the latest turn that stored or claimed
        self._count_loads(db)
        self._count_turns()

    def found(self, conflicts):
        """Return all, with the dispatcher's *conflicts*, for one answer."""
        return {**(self._found or self._seen()), 'conflicts': conflicts.total,
                'conflicts_of': [(one.class_name, one.count)
                                 for one in conflicts.worst(5)]}

    def _seen(self):
        found = {'loads': next(self._loads), 'claims': self._handed,
                 'stored': self._stored, 'process_cpu': cpu(),
                 'turns': list(self._turns), 'choices': list(self._choices)}
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
        release = Turns._release

        def timed_take(turns, *args, **options):
            with turns.turn:
                before, start = self._handed, time.perf_counter()
                stores = bool(turns._waiting)
                try:
                    return take(turns, *args, **options)
                finally:
                    if self._handed > before:
                        self._turns.append(time.perf_counter() - start)
                    if (stores or self._handed > before) and not self._found:
                        self.ended = time.perf_counter()
                        self._look_whether_enough()

        def counted_release(turns, batch):
            self._stored += sum(outcome is not None and outcome.value is not UNTOUCHED
                                for _ticket, outcome in batch)
            return release(turns, batch)

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
        Queue.claim, Turns._release = timed_claim, counted_release

    def _look_whether_enough(self):
        if self._count is not None and self._stored >= self._count:
            self._found = self._seen()
            self.enough.set()


def cpu():
    """Return the seconds of processor time that this process has taken."""
    return time.process_time()
