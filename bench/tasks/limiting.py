"""The task of a bare process: what a job asks of the storage, and nothing else."""
import time

import transaction
from persistent.list import PersistentList

from bench import work
from bench.tasks.common import connected
from bench.tasks.common import opened
from bench.tasks.common import say
from bench.tasks.common import wait_for_a_line

#: Bytes of the records of a job and of its call.
JOB, CALL = 175, 175
#: Where those of each process are kept, and what all of them guard.
RECORDS, GUARD = 'bench.records', 'bench.guard'


def fill(db, processes, count):
    """Make records for *count* jobs of each of so many *processes*."""
    with db.transaction() as connection:
        root = connection.root()
        root[GUARD] = work.Cell()
        root[RECORDS] = [PersistentList(_made() for _number in range(count))
                         for _process in range(processes)]


def _made():
    """Return a record like a job's, which leads to one like a call's and to a cell."""
    return work.Record(JOB, work.Record(CALL, work.Cell()))


def commit_bare(store, which):
    """As soon as told to, do with all records of process *which* what jobs do; say when.

    Each is one transaction with two changed objects and a third one guarded, as a
    worker's of a job with one effect.
    """
    with opened(store) as db, connected(db) as connection:
        root = connection.root()
        guard, records = root[GUARD], root[RECORDS][which]
        # a ghost has no serial that could be checked
        guard._p_activate()
        len(records)
        say()
        wait_for_a_line()
        times = []
        for record in list(records):
            _commit(connection, record, guard)
            times.append(time.perf_counter())
    say(times=times)


def _commit(connection, record, guard):
    transaction.begin()
    cell = record.next.next
    cell.value += 1
    record.touch()
    connection.readCurrent(guard)
    transaction.commit()


def changed(db):
    """Return how often each cell was changed."""
    with connected(db) as connection:
        return [record.next.next.value for records in connection.root()[RECORDS]
                for record in records]
