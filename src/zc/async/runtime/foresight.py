"""Loads in one round trip what a turn, or a worker after it, would load one by one.

ZEO and RelStorage ask a server for each record that is not at hand.  Both can be told
before what is going to be read; other storages cannot, and there nothing is done here.
Nothing depends on it: what was not foreseen is loaded when it is read.
"""
import heapq
import itertools
import operator

import persistent

from .. import describe
from .. import log

#: Jobs in line that are loaded together.
BATCH = 16
#: Persistent objects that calls are given and that are loaded with them, in one turn.
GIVEN = 200
#: Jobs that are remembered because they were asked for already.
_REMEMBERED = 10_000

_order = operator.itemgetter(0)


class Foresight:
    """What one dispatcher's turns foresee.  While a turn is taken."""

    def __init__(self):
        self._asked = set()  # object ids of jobs
        self._pays = False

    def begin(self, connection):
        """Begin a turn, whose transaction has begun in *connection*."""
        self._pays = hasattr(connection.db().storage, 'prefetch')

    def shards(self, shards):
        """See to what tells whether there are jobs in *shards*, and to their lines."""
        if self._pays:
            fetch(shards)
            fetch(each for shard in shards for each in shard.counters)
            # those of the others are not read, and would be asked for each time
            fetch(line for shard in shards if shard.count
                  for line in shard.lines.values())

    def jobs(self, read_calls=False):
        """Return what `walk` calls with its heads where it comes to a ghost, or None.

        *read_calls*: whether the jobs' calls are going to be read, too, for a filter.
        """
        if not self._pays:
            return None

        def foresee(heads):
            if heads[0].job._p_oid not in self._asked:
                self._foresee(heads, read_calls)

        return foresee

    def _foresee(self, heads, read_calls):
        ways = [head.upcoming() for head in heads]
        jobs = [job for _key, job in itertools.islice(
            heapq.merge(*ways, key=_order), BATCH)]
        if len(self._asked) > _REMEMBERED:
            self._asked.clear()
        self._asked.update(job._p_oid for job in jobs)
        fetch(jobs)
        if read_calls:
            fetch(_calls(jobs))

    def calls(self, jobs):
        """See to the calls of *jobs* and what they are given: workers will read both."""
        if self._pays:
            calls = list(_calls(jobs))
            fetch(calls)
            fetch(itertools.islice(_given(calls), GIVEN))


def _calls(jobs):
    """Yield the calls of *jobs*, as far as these can be read."""
    for job in _readable(jobs):
        call = job.__dict__.get('_call')
        if call is not None:
            yield call


def _given(calls):
    """Yield the persistent objects that *calls* are given, or are methods of."""
    for call in _readable(calls):
        for value in (call.target, *call.args, *(call.kwargs or {}).values()):
            if issubclass(type(value), persistent.Persistent) and value._p_jar is not None:
                yield value


def _readable(objects):
    """Yield *objects* up to the first that cannot be read."""
    for one in objects:
        try:
            one._p_activate()
        except Exception as error:
            # whoever has to do with it meets that, too
            log.trace.debug('not foreseen: %s', describe.safe_repr(error))
            return
        yield one


def fetch(objects):
    """Load the records of those persistent *objects* that are ghosts, if there are more.

    They stay ghosts: their records are at hand afterwards, for each connection.
    """
    ghosts = [one for one in objects if one._p_changed is None]
    if len(ghosts) > 1:
        connection = ghosts[0]._p_jar
        connection.prefetch([one for one in ghosts if one._p_jar is connection])
