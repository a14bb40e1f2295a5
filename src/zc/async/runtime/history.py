"""What a dispatcher remembers of its polls and jobs, and what it sums up.

In memory only, bounded, and guarded by one lock: workers and polls write it,
monitors read it.
"""
import array
import collections
import dataclasses
import datetime
import threading

from .. import clock

_SHOWN = ('active', 'failed', 'successful')


def naive_now():
    """Return the time as the documented dictionaries show it: naive UTC."""
    return clock.now().replace(tzinfo=None)


def _naive(micros):
    return None if micros is None else clock.from_micros(micros).replace(tzinfo=None)


@dataclasses.dataclass(slots=True)
class JobRecord:
    """One job in this dispatcher's hands.  Times are microseconds since 1970.

    ``shown`` is what the job's text is made of when somebody asks for its ``call``: few
    of the many jobs are ever looked at.
    """

    key: tuple          # (object id, database name)
    queue: str
    agent: str
    poll: 'PollRecord'
    shown: object = None
    quota_names: tuple = ()
    started: int = None
    completed: int = None
    thread: int = None
    failed: bool = False
    reassigned: bool = False
    result: str = None

    @property
    def call(self):
        """The text of the job, None where nobody has begun it."""
        return None if self.shown is None else str(self.shown)

    def as_info(self):
        """Return the documented dictionary, with times as naive UTC."""
        return {
            'agent': self.agent, 'call': self.call, 'completed': _naive(self.completed),
            'failed': self.failed, 'poll id': self.poll.key, 'queue': self.queue,
            'quota names': self.quota_names, 'reassigned': self.reassigned,
            'result': self.result, 'started': _naive(self.started),
            'thread': self.thread}

    @property
    def state(self):
        """``'active'``, ``'failed'`` or ``'successful'``."""
        if self.completed is None:
            return 'active'
        return 'failed' if self.failed else 'successful'

    @property
    def duration(self):
        """How long it took, or has taken by now."""
        start = self.started or clock.to_micros(clock.utc(self.poll.utc_timestamp))
        return datetime.timedelta(
            microseconds=(self.completed or clock.micros()) - start)


class Keys:
    """The latest keys of jobs, *limit* of them at most, in ten bytes each.

    As tuples they would take ten times as much, for each of the polls.
    """

    __slots__ = ('_limit', '_oids', '_names', '_places')

    def __init__(self, limit):
        self._limit = limit
        self._oids = array.array('Q')
        self._names = []                 # of the databases, mostly one
        self._places = array.array('H')  # of the names, for each job

    def append(self, key):
        """Add *key*, and forget the oldest over the limit."""
        oid, name = key
        if name not in self._names:
            self._names.append(name)
        self._oids.append(oid)
        self._places.append(self._names.index(name))
        excess = max(len(self._oids) - self._limit, 0)
        del self._oids[:excess], self._places[:excess]

    def __iter__(self):
        for oid, place in zip(self._oids, self._places):
            yield oid, self._names[place]

    def __len__(self):
        return len(self._oids)


class AgentPoll:
    """What one poll, and the claims up to the next, found of one agent."""

    def __init__(self, limit):
        self.active_jobs = ()
        self.error = None
        self.length = self.size = 0
        self.new_jobs = Keys(limit)
        self.started = self.successful = self.failed = 0

    def as_info(self):
        """Return the documented dictionary."""
        return {'active jobs': list(self.active_jobs), 'error': self.error,
                'len': self.length, 'new jobs': list(self.new_jobs),
                'size': self.size}


class PollRecord:
    """One poll."""

    def __init__(self, key):
        self.key = key
        self.utc_timestamp = naive_now()
        self.agents = {}  # (queue name, agent name) -> AgentPoll

    def as_info(self):
        """Return the documented dictionary."""
        results = {}
        for (queue, agent), found in self.agents.items():
            results.setdefault(queue, {})[agent] = found.as_info()
        return {'key': self.key, 'time': self.utc_timestamp, 'results': results}


def _matches(queue, agent, name):
    return ((queue is None or name[0] == queue)
            and (agent is None or name[1] == agent))


class History:
    """The latest polls and jobs.  Any thread."""

    def __init__(self, jobs_size=200, polls_size=400):
        self._lock = threading.Lock()
        self._jobs_size = jobs_size
        self._polls = collections.deque(maxlen=polls_size)  # the newest last
        self._jobs = collections.OrderedDict()
        self._next_key = 1

    # Writing

    def add_poll(self):
        """Begin a poll's record and return it."""
        with self._lock:
            poll = PollRecord(self._next_key)
            self._next_key += 1
            self._polls.append(poll)
            return poll

    def latest_poll(self):
        """Return the newest poll's record; begin one if there is none."""
        return self._polls[-1] if self._polls else self.add_poll()

    def agent_poll(self, poll, queue, agent):
        """Return the record of an agent in *poll*."""
        with self._lock:
            return self._agent_poll(poll, (queue, agent))

    def _agent_poll(self, poll, name):
        found = poll.agents.get(name)
        if found is None:
            found = poll.agents[name] = AgentPoll(self._jobs_size)
        return found

    def claimed(self, key, queue, agent):
        """Record that a job was claimed, and return its record."""
        poll = self.latest_poll()
        record = JobRecord(key, queue, agent, poll)
        with self._lock:
            found = self._agent_poll(poll, (queue, agent))
            found.started += 1
            found.new_jobs.append(key)
            self._jobs[key] = record
            self._jobs.move_to_end(key)
            self._forget()
        return record

    def _forget(self):
        """Forget the oldest completed jobs over the limit."""
        while len(self._jobs) > self._jobs_size:
            for key, record in self._jobs.items():
                if record.completed:
                    del self._jobs[key]
                    break
            else:
                return

    def given_back(self, record):
        """Forget that a job was claimed: nobody has begun it, and it is in line again."""
        with self._lock:
            record.poll.agents[record.queue, record.agent].started -= 1
            if self._jobs.get(record.key) is record:
                del self._jobs[record.key]

    def ended(self, record, failed, result):
        """Record that a job came to an end."""
        with self._lock:
            if record.completed is not None:
                return
            record.completed = clock.micros()
            record.failed, record.result = failed, result
            found = record.poll.agents[record.queue, record.agent]
            if failed:
                found.failed += 1
            else:
                found.successful += 1

    # Reading

    def job_info(self, oid, database_name=None):
        """Return the dictionary of a job.  Raise KeyError if it is not known."""
        with self._lock:
            if database_name is not None:
                return self._jobs[oid, database_name].as_info()
            for key, record in self._jobs.items():
                if key[0] == oid:
                    return record.as_info()
        raise KeyError(oid)

    def active_ids(self, queue=None, agent=None):
        """Return the keys of the jobs being worked on, the oldest first."""
        with self._lock:
            return [key for key, record in self._jobs.items()
                    if record.completed is None and record.started is not None
                    and _matches(queue, agent, (record.queue, record.agent))]

    def polls(self, at=None, before=None, since=None, count=None):
        """Return poll records, the newest first.

        *at* (inclusive), *before* (exclusive) and *since* are datetimes or
        keys of polls.
        """
        if at is not None and before is not None:
            raise ValueError('give at or before, not both')
        with self._lock:
            found = list(reversed(self._polls))
        found = [poll for poll in found
                 if (at is None or _position(poll, at) <= _moment(at))
                 and (before is None or _position(poll, before) < _moment(before))
                 and (since is None or _position(poll, since) >= _moment(since))]
        return found if count is None else found[:count]

    def statistics(self, at=None, before=None, since=None, queue=None, agent=None):
        """Return the documented dictionary about the polls of a period."""
        polls = self.polls(at, before, since)
        counts = collections.Counter()
        for poll in polls:
            for name, found in list(poll.agents.items()):
                if _matches(queue, agent, name):
                    counts.update(started=found.started, failed=found.failed,
                                  successful=found.successful)
        with self._lock:
            keys = {poll.key for poll in polls}
            records = [record for record in self._jobs.values()
                       if record.poll.key in keys and record.started is not None
                       and _matches(queue, agent, (record.queue, record.agent))]
        info = {name: counts[name] for name in ('started', 'failed', 'successful')}
        unended = info['started'] - info['failed'] - info['successful']
        known = sum(record.completed is None for record in records)
        info['unknown'] = max(unended - known, 0)
        info['statistics start'] = polls[0].utc_timestamp if polls else None
        info['statistics end'] = polls[-1].utc_timestamp if polls else None
        for state in _SHOWN:
            info.update(_extremes(
                state, [record for record in records if record.state == state]))
        return info


def _extremes(state, records):
    """Return the keys of the longest and the shortest job of *state*."""
    if not records:
        return {f'longest {state}': None, f'shortest {state}': None}
    timed = sorted(((record.duration, record.key) for record in records))
    return {f'longest {state}': timed[-1][1], f'shortest {state}': timed[0][1]}


def _moment(limit):
    """Return *limit* as poll positions compare: a key, or naive UTC."""
    if isinstance(limit, datetime.datetime) and limit.tzinfo is not None:
        return limit.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return limit


def _position(poll, limit):
    return poll.utc_timestamp if isinstance(limit, datetime.datetime) else poll.key
