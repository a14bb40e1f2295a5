"""The queue and the status machine beside models of them in plain Python.

Hypothesis makes up what happens, in any order, in two connections that take
turns; after each step both must tell the same story.
"""
import contextlib
import copy
import dataclasses
import logging
import traceback
import unittest
from unittest import mock

from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import initialize
from hypothesis.stateful import invariant
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from hypothesis.stateful import run_state_machine_as_test
from persistent.mapping import PersistentMapping

from . import contracts
from .. import clock
from .. import interfaces
from .. import timekeys
from ..job import Job
from ..model import callbacks
from ..model import execution
from ..model import parking
from ..model import gaps
from ..model import lines
from ..model import recovery
from ..model import status
from .contracts import FIRST
from .contracts import SECOND
from .contracts import SECOND_ONE
from .contracts import nothing

#: What a machine may take; the two together stay well below 20 seconds.
BOUNDED = settings(
    max_examples=70, stateful_step_count=40, deadline=None, print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

QUEUED, OUT, DONE = 'queue', 'out', 'done'
QUOTAS = ('p', 'q')

seconds = st.integers(1, 90)
indexes = st.integers(0, 30)
some_quotas = st.sampled_from([(), (), ('p',), ('q',), ('p', 'q'), ('q', 'p')])
agents = st.sampled_from([FIRST, SECOND_ONE])


class Shard:
    """Stands in for the habit of a thread: the shard is made up too."""

    number = 0

    def below(self, limit):
        """Return the number."""
        return self.number % limit


@dataclasses.dataclass
class Entry:
    """What the model knows of a job."""

    number: int
    place: str
    key: tuple = None      # (due, rank, turn)
    quotas: tuple = ()

    def is_due(self, now):
        due, rank, _turn = self.key
        return rank != timekeys.SCHEDULED or due <= now


class Model:
    """The queue as a list of entries and the sizes of the quotas."""

    def __init__(self):
        self.entries = {}
        self.sizes = {'p': 1, 'q': 2}

    def at(self, *places):
        return [entry for entry in self.entries.values() if entry.place in places]

    def waiting(self):
        return sorted(self.at(QUEUED), key=lambda entry: entry.key)

    def counted(self, name):
        return sum(name in entry.quotas for entry in self.at(FIRST, SECOND_ONE))

    def next(self, now, accepts):
        """Return the entry that has to be claimed next, or None."""
        for entry in self.waiting():
            if entry.is_due(now) and accepts(entry.number) and all(
                    self.counted(name) < self.sizes[name] for name in entry.quotas):
                return entry
        return None


class QueueMachine(RuleBasedStateMachine):
    """A queue in two connections beside a `Model`."""

    @initialize()
    def begin(self):
        self.shard = Shard()
        self.patch = contextlib.ExitStack()
        self.patch.enter_context(mock.patch.object(lines, '_habit', self.shard))
        self.patch.enter_context(mock.patch.multiple(gaps, GAPS=1, SHARED=2))
        self.world = contracts.World()
        for UUID in (FIRST, SECOND_ONE):
            self.world.add_dispatcher(UUID, size=1000)
        self.clients = [self.world.client, self.world.open()]
        self.client = self.clients[0]
        self.client.root['out'] = PersistentMapping()
        self.model = Model()
        for name, size in self.model.sizes.items():
            self.client.queue.quotas.create(name, size)
        self.client.commit()
        self.clients[1].begin()
        self.saved = copy.deepcopy(self.model)
        self.turn = self.number = 0

    def teardown(self):
        if hasattr(self, 'world'):
            self.world.close()
            self.patch.close()

    # Help

    @property
    def queue(self):
        return self.client.queue

    @property
    def now(self):
        return clock.to_micros(self.world.clock.moment)

    def next_turn(self):
        self.turn += 1
        return self.turn

    def job(self, entry):
        """Return the job of *entry* in the present connection."""
        if entry.place == OUT:
            return self.client.root['out'][entry.number]
        place = self.queue if entry.place == QUEUED else self.client.agent(entry.place)
        found, = [job for job in place if job.args[0] == entry.number]
        return found

    def pick(self, index, *places):
        """Return one of the entries at *places*, or None."""
        found = sorted(self.model.at(*places), key=lambda entry: entry.number)
        return found[index % len(found)] if found else None

    def is_put(self, entry, after=None):
        due, rank = self.now, timekeys.READY
        if after is not None and after > 0:
            due, rank = self.now + after * 1_000_000, timekeys.SCHEDULED
        entry.place, entry.key = QUEUED, (due, rank, self.next_turn())

    # Jobs come and go

    @rule(shard=indexes, quotas=some_quotas, after=st.none() | st.integers(-90, 90))
    def put(self, shard, quotas, after):
        self.shard.number = shard
        self.number += 1
        entry = self.model.entries[self.number] = Entry(self.number, OUT, quotas=quotas)
        moment = None if after is None else self.world.clock.moment + after * SECOND
        self.client.put(nothing, self.number, quotas=quotas, begin_after=moment)
        self.is_put(entry, after)

    @rule(index=indexes)
    def put_again(self, index):
        entry = self.pick(index, OUT)
        if entry is not None:
            job = self.client.root['out'].pop(entry.number)
            job.begin_after = None
            self.client.put(job)
            self.is_put(entry)

    @rule(index=indexes, from_the_end=st.booleans())
    def pull(self, index, from_the_end):
        waiting = self.model.waiting()
        if index >= len(waiting):
            with unittest.TestCase().assertRaises(IndexError):
                self.queue.pull(index)
            return
        entry = waiting[-1 - index] if from_the_end else waiting[index]
        job = self.queue.pull(-1 - index if from_the_end else index)
        assert job.args[0] == entry.number
        self.takes_out(entry, job)

    @rule(index=indexes)
    def remove(self, index):
        entry = self.pick(index, QUEUED)
        if entry is not None:
            job = self.job(entry)
            self.queue.remove(job)
            self.takes_out(entry, job)

    def takes_out(self, entry, job):
        assert job.status is interfaces.NEW
        self.client.root['out'][entry.number] = job
        entry.place, entry.key = OUT, None

    @rule(index=indexes, quotas=some_quotas)
    def change_quotas(self, index, quotas):
        entry = self.pick(index, QUEUED)
        if entry is not None:
            self.job(entry).quota_names = entry.quotas = quotas

    # Jobs are worked on

    @rule(UUID=agents)
    def claim(self, UUID):
        self.claims(UUID, lambda number: True)

    @rule(UUID=agents, odd=st.booleans())
    def claim_with_a_filter(self, UUID, odd):
        self.claims(UUID, lambda number: number % 2 == odd)

    def claims(self, UUID, accepts):
        entry = self.model.next(self.now, accepts)
        job = self.queue.claim(lambda job: accepts(job.args[0]))
        assert (job is None) == (entry is None), (job, entry)
        if job is not None:
            assert job.args[0] == entry.number, (job, entry)
            self.client.agent(UUID).hold(job)
            entry.place = UUID

    @rule(index=indexes)
    def complete(self, index):
        entry = self.pick(index, FIRST, SECOND_ONE)
        if entry is not None:
            job = self.job(entry)
            job()
            assert job.status is interfaces.COMPLETED
            entry.place, entry.key = DONE, None

    @rule(index=indexes)
    def put_back(self, index):
        entry = self.pick(index, FIRST, SECOND_ONE)
        if entry is not None:
            job = self.job(entry)
            job.agent.discard(job)
            self.queue.putBack(job)
            entry.place, entry.key = QUEUED, (0, timekeys.FRONT, self.next_turn())

    @rule(index=indexes)
    def hand_back(self, index):
        entry = self.pick(index, FIRST, SECOND_ONE)
        if entry is not None:
            job = self.job(entry)
            recovery.hand_back(job.agent, job, self.queue)
            entry.place = QUEUED

    @rule(index=indexes)
    def interrupt(self, index):
        entry = self.pick(index, FIRST, SECOND_ONE)
        if entry is not None:
            job = self.job(entry)
            execution.begin(job)
            job.getRetryPolicy().max_interruptions = None
            recovery.hand_back(job.agent, job, self.queue)
            entry.place, entry.key = QUEUED, (0, timekeys.FRONT, self.next_turn())

    @rule(index=indexes, after=seconds)
    def reschedule(self, index, after):
        entry = self.pick(index, FIRST, SECOND_ONE)
        if entry is not None:
            job = self.job(entry)
            execution.begin(job)
            recovery.reschedule(job, after * SECOND)
            self.is_put(entry, after)

    @rule(name=st.sampled_from(QUOTAS), size=st.integers(0, 4))
    def resize(self, name, size):
        self.queue.quotas[name].size = self.model.sizes[name] = size

    # Time, and transactions

    @rule(count=seconds)
    def time_passes(self, count):
        self.world.clock.advance(count * SECOND)

    @rule()
    def commit(self):
        self.client.commit()
        self.saved = copy.deepcopy(self.model)

    @rule()
    def abort(self):
        self.client.begin()
        self.model = copy.deepcopy(self.saved)

    @rule()
    def go_on_in_the_other_connection(self):
        self.commit()
        self.clients.reverse()
        self.client = self.clients[0]
        self.client.begin()

    @rule()
    def go_on_in_a_new_connection(self):
        self.commit()
        self.clients = [self.world.open(), self.client]
        self.client = self.clients[0]

    # What must hold

    @invariant()
    def both_tell_the_same(self):
        if not hasattr(self, 'model'):
            return
        expected = [entry.number for entry in self.model.waiting()]
        assert [job.args[0] for job in self.queue] == expected
        assert len(self.queue) == len(expected)
        for job in self.queue:
            assert job.status is interfaces.PENDING and job in self.queue

    @invariant()
    def each_job_is_in_one_place(self):
        if not hasattr(self, 'model'):
            return
        for UUID in (FIRST, SECOND_ONE):
            agent = self.client.agent(UUID)
            held = sorted(job.args[0] for job in agent)
            assert held == sorted(entry.number for entry in self.model.at(UUID))
            assert all(job.status is interfaces.ASSIGNED for job in agent)
            assert len(agent) == len(held)
        done = sorted(job.args[0] for UUID in (FIRST, SECOND_ONE)
                      for job in self.client.agent(UUID).completed)
        assert done == sorted(entry.number for entry in self.model.at(DONE))
        assert sorted(self.client.root['out']) == sorted(
            entry.number for entry in self.model.at(OUT))

    @invariant()
    def quotas_count_what_is_claimed(self):
        if not hasattr(self, 'model'):
            return
        for name in QUOTAS:
            quota = self.queue.quotas[name]
            assert len(quota) == self.model.counted(name)
            assert quota.filled == (len(quota) >= self.model.sizes[name])

    @invariant()
    def the_next_scheduled_job_is_known(self):
        if not hasattr(self, 'model'):
            return
        dues = [entry.key[0] for entry in self.model.at(QUEUED)
                if entry.key[1] == timekeys.SCHEDULED]
        expected = clock.from_micros(min(dues)) if dues else None
        assert self.queue.next_due() == expected


class StatusMachine(RuleBasedStateMachine):
    """One job that goes through `status.ARROWS`, and tries every other move."""

    #: Where the arrows lead that are followed by another in the same breath.
    BEYOND = {'reschedule': interfaces.PENDING, 'discard': interfaces.COMPLETED}

    @initialize()
    def begin(self):
        self.world = contracts.World()
        self.world.add_dispatcher()
        self.client = self.world.client
        self.job = Job(nothing)
        self.client.connection.add(self.job)
        self.status = interfaces.NEW
        self.attempts = 0
        self.has_result = False

    def teardown(self):
        if hasattr(self, 'world'):
            self.world.close()

    @property
    def agent(self):
        return self.client.agent()

    # How each arrow is fired

    def fire_put(self):
        self.client.queue.put(self.job)

    def fire_take(self):
        self.client.queue.remove(self.job)

    def fire_claim(self):
        self.agent.claimJob()

    def fire_hand_back(self):
        recovery.hand_back(self.agent, self.job, self.client.queue)

    def fire_begin(self):
        execution.begin(self.job)
        self.attempts += 1

    def fire_wait(self):
        execution.await_deferred(self.job)

    def fire_reschedule(self):
        if self.job.parent is None:  # it was called without a queue
            self.job.parent = self.agent
        recovery.reschedule(self.job, 0 * SECOND)

    def fire_settle(self):
        execution.settle(self.job, 42)
        self.has_result = True

    def fire_fail(self):
        self.client.queue.discard(self.job)
        execution.fail(self.job, ValueError('failed'))
        self.has_result = True

    def fire_park(self):
        if self.job.parent is None:  # it was called without a queue
            self.job.parent = self.agent
        parking.park(self.job, 'for the test')

    def fire_rerun(self):
        self.client.queue.parked.rerun(self.job)
        return interfaces.CALLBACKS if self.has_result else interfaces.PENDING

    fire_resume = fire_rerun

    def fire_discard(self):
        self.client.queue.parked.discard(self.job)

    def fire_finish(self):
        if callbacks.is_in_line(self.job):  # it was parked with its result
            assert callbacks.try_finish(self.job) == []
            assert self.agent.claimJob() is self.job
        assert callbacks.try_finish(self.job) == [self.job]

    @rule(name=st.sampled_from(sorted(status.ARROWS)))
    def try_to(self, name):
        arrow = status.ARROWS[name]
        if self.status in arrow.sources:
            reached = getattr(self, 'fire_' + name.replace(' ', '_'))()
            self.status = reached or self.BEYOND.get(name, arrow.target)
        else:
            before = self.job.__getstate__()
            for refuse in (status.check, status.move):
                with unittest.TestCase().assertRaises(interfaces.BadStatusError):
                    refuse(self.job, name)
            assert self.job.__getstate__() == before

    @precondition(lambda self: self.status is not interfaces.NEW)
    @rule()
    def only_a_new_job_can_be_put_or_scheduled(self):
        with unittest.TestCase().assertRaises(interfaces.BadStatusError):
            self.client.queue.put(self.job)
        with unittest.TestCase().assertRaises(interfaces.BadStatusError):
            self.job.begin_after = contracts.START

    @precondition(lambda self: self.status not in (interfaces.NEW, interfaces.ASSIGNED))
    @rule()
    def only_a_new_or_assigned_job_can_be_called(self):
        with unittest.TestCase().assertRaises(interfaces.BadStatusError):
            self.job()

    @precondition(lambda self: self.status in (
        interfaces.ACTIVE, interfaces.CALLBACKS, interfaces.COMPLETED,
        interfaces.PARKED))
    @rule()
    def what_a_job_calls_is_settled_when_it_begins(self):
        with unittest.TestCase().assertRaises(interfaces.BadStatusError):
            self.job.callable = contracts.echo
        with unittest.TestCase().assertRaises(interfaces.BadStatusError):
            self.job.fail()

    @rule()
    def commit(self):
        self.client.commit()

    @rule()
    def go_on_in_a_new_connection(self):
        self.client.commit()
        self.client = self.world.open()
        self.job = self.client.mine(self.job)

    @invariant()
    def the_status_is_the_constant(self):
        if hasattr(self, 'status'):
            assert self.job.status is self.status
            assert self.job._attempt == self.attempts


class Machines(unittest.TestCase):

    def setUp(self):
        log = logging.getLogger('zc.async')
        handler = logging.NullHandler()
        log.addHandler(handler)
        self.addCleanup(log.removeHandler, handler)

    def run_machine(self, machine):
        """Run *machine*; tell a failure whole, with its steps and its blob."""
        try:
            run_state_machine_as_test(machine, settings=BOUNDED)
        except Exception as error:
            # the runner shows neither groups nor notes
            told = ''.join(traceback.format_exception(error))
            raise AssertionError(told) from None

    def test_the_queue_does_what_its_model_does(self):
        self.run_machine(QueueMachine)

    def test_a_job_goes_through_the_arrows_and_no_other_way(self):
        self.run_machine(StatusMachine)
