"""The stored form: which classes there are, and what is stored of each.

What is written here is in people's databases.  If a test fails, either undo the
change, or make it on purpose: raise `zc.async.queue.GENERATION`, add the step to
``zc.async.evolve`` that brings stored objects to the new form, and only then
change this table.  A class in it can never be moved or renamed.
"""
import io
import pickle
import re
import unittest
import uuid

import persistent
import zope.component
from persistent.mapping import PersistentMapping
from zodbpickle.pickle import Unpickler

from . import contracts
from .. import clock
from .. import timekeys
from ..agent import Agent
from ..interfaces import IUUID
from ..job import ConditionalCallbackProxy
from ..job import Job
from ..job import NeverRetry
from ..job import parallel
from ..model import execution
from ..model import parking
from ..model import stored
from ..model.completed import PAGE
from ..model.retry import RetryErrorsToo
from ..queue import GENERATION
from .contracts import HOUR
from .contracts import MINUTE

#: The number of the stored form that the rest of this module describes.
DESCRIBED = 2

#: Class -> the names in its state; what has its default may be missing.
CLASSES = {
    'zc.async.agent.Agent':
        '__provides__ _chooser _filter _jobs _size completed name parent',
    'zc.async.job.Job':
        '_active_end _active_start _assigner _attempt _awaits _begin_after _begin_by '
        '_call _callbacks_end _chain _code _deaths _lacks _order _quota_names _result '
        '_retry_policy _uncounted failure_log_level parent retry_policy_factory',
    'zc.async.job.SuccessFailureCallbackProxy':
        '_code _result callbacks failure job parent success',
    'zc.async.model.call.Call':
        'annotations args callbacks kind kwargs method target',
    'zc.async.model.completed.Completed': '_days',
    'zc.async.model.completed.Day': 'before count jobs start',
    'zc.async.model.completed.Page': 'before jobs',
    'zc.async.model.lines.Lines': 'shards',
    'zc.async.model.lines.Shard': 'length lines number returned taken',
    'zc.async.model.liveness.Activation': 'generation micros owner process',
    'zc.async.model.liveness.Ping': 'count micros',
    'zc.async.model.parking.Parked': '_data _keys _len parent',
    'zc.async.model.quota.Quota': '_data _size name parent',
    'zc.async.model.quota.Quotas': '_data parent',
    'zc.async.model.result.Held': 'value',
    'zc.async.model.retry.NeverRetry': 'data parent',
    'zc.async.model.retry.RetryCommonForever': 'data parent',
    'zc.async.model.retry.RetryCommonFourTimes': 'data parent',
    'zc.async.model.retry.RetryErrorsToo': 'data parent',
    'zc.async.model.workflow.RetryArrival': 'data parent',
    'zc.async.model.workflow.Course': 'arrived at_once last main taken',
    'zc.async.queue.DispatcherAgents':
        'UUID activation data last_ping name parent ping_death_interval '
        'ping_interval retired',
    'zc.async.queue.Dispatchers': '_data _len left parent',
    'zc.async.queue.Queue': '_lines _parked dispatchers name parent quotas',
    'zc.async.queue.Queues': 'data generation',
}

#: What else of ours the records refer to by name.
REFERRED = {
    'zc.async.interfaces.IFilterAgent',
    'zc.async.model.retry.NeverRetry',
    'zc.async.model.workflow.list_of',
    'zc.async.model.workflow.run_parallel',
    'zc.twist.Failure',
}


class Chooses(ConditionalCallbackProxy):
    """A proxy as an application might write it."""

    other = None

    def getJob(self, result):
        return self.other


def takes_anything(job):
    """A filter."""
    return True


def first_come(agent):
    """A chooser."""
    return agent.queue.claim()


class Reader(Unpickler):
    """Reads a record and notes the names in it; follows no reference."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.names = set()

    def persistent_load(self, reference):
        return None

    def find_class(self, module, name):
        self.names.add(f'{module}.{name}')
        return super().find_class(module, name)


class StoredForm(contracts.InWorld, unittest.TestCase):
    """Real objects are stored, and their records read."""

    def setUp(self):
        super().setUp()
        zope.component.provideUtility(uuid.UUID(int=7), IUUID)
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterUtility, provided=IUUID)

    def make_everything(self):
        """Store at least one object of each class, with all attributes set."""
        root = self.client.root
        self.queue.quotas.create('q')
        agent = self.world.add_dispatcher(size=10)
        agent.filter = takes_anything
        agents = agent.parent
        agents['chooses'] = Agent(first_come)
        agents.ping_interval, agents.ping_death_interval = MINUTE, HOUR
        agents.activation.begin(process=('boot', 1, 2, 3, 4))
        root['mapping'] = mapping = PersistentMapping()
        self.put(mapping.get, 'key', None, quotas=('q',), begin_by=MINUTE,
                 begin_after=contracts.START + HOUR, failure_log_level=10,
                 retry_policy_factory=NeverRetry)
        self.put(Job(contracts.nothing, 1, key=2)).annotations['note'] = 'text'
        self.complete_many()
        self.fail_with_callbacks()
        self.wait_for_parts()
        self.fail_in_line()
        self.park_one()
        self.set_one_aside()
        del agents['main']
        self.queue.dispatchers.note_left(contracts.FIRST, True)
        self.client.commit()

    def complete_many(self):
        for _number in range(PAGE + 1):
            self.claimed(self.put())()
        self.claimed(self.put(contracts.echo, 5000 * 'x'))()

    def fail_with_callbacks(self):
        job = self.put(contracts.spoil)
        job.addCallbacks(contracts.nothing, contracts.echo).addCallback(contracts.nothing)
        self.put().getRetryPolicy()
        job.addCallback(contracts.echo).getRetryPolicy()
        self.put(retry_policy_factory=NeverRetry).getRetryPolicy()
        self.put(retry_policy_factory=RetryErrorsToo).getRetryPolicy()
        self.claimed(job)()

    def wait_for_parts(self):
        main = self.put(parallel(contracts.nothing, contracts.nothing))
        self.claimed(main)()
        arrival, = main.args[1].callbacks
        arrival.getRetryPolicy()
        self.claimed(main.args[0])()
        deferred = self.begun(self.put())
        execution.await_deferred(deferred)

    def fail_in_line(self):
        self.late = self.put(quotas=('q',))
        self.late.addCallback(contracts.nothing)
        self.late.fail()

    def park_one(self):
        self.parked = self.begun(self.put())
        self.parked._deaths = 2
        parking.park(self.parked, 'for the test')

    def set_one_aside(self):
        self.world.add_dispatcher(contracts.SECOND_ONE)
        self.aside = self.begun(self.put())
        parking.set_aside(self.aside, 'a.b', contracts.FIRST)

    def records(self):
        """Yield ``(class name, state, names)`` for every record in the database."""
        for transaction in self.world.storage.iterator():
            for record in transaction:
                reader = Reader(record.data)
                found = reader.load()
                cls = found[0] if isinstance(found, tuple) else found
                cls = cls[0] if isinstance(cls, tuple) else cls
                state = reader.load()
                if type(state) is tuple and cls is Job:
                    state = stored.unpack(state)
                yield f'{cls.__module__}.{cls.__qualname__}', state, reader.names

    def test_the_classes_and_what_is_stored_of_them(self):
        self.make_everything()
        found = {}
        for name, state, _names in self.records():
            if name.startswith('zc.'):
                found.setdefault(name, set()).update(state)
        expected = {name: set(names.split()) for name, names in CLASSES.items()}
        self.maxDiff = None
        self.assertEqual(
            {name: sorted(keys) for name, keys in found.items()},
            {name: sorted(keys) for name, keys in expected.items()})

    def test_no_class_was_forgotten(self):
        bases = {'zc.async.job.Node', 'zc.async.job.ConditionalCallbackProxy',
                 'zc.async.queue._Children'}
        found, todo = set(), [persistent.Persistent]
        while todo:
            for cls in todo.pop().__subclasses__():
                todo.append(cls)
                found.add(f'{cls.__module__}.{cls.__qualname__}')
        ours = {name for name in found
                if re.match(r'zc\.async\.(job|queue|agent|model)\b', name)}
        self.assertEqual(ours - bases, set(CLASSES))

    def test_what_the_records_refer_to_by_name(self):
        self.make_everything()
        ours = {name for _cls, _state, names in self.records() for name in names
                if name.startswith('zc.') and '.tests.' not in name}
        self.assertEqual(ours - CLASSES.keys(), REFERRED - CLASSES.keys())
        self.assertLessEqual(REFERRED, ours)

    def test_a_proxy_of_an_application_stores_the_same(self):
        job = self.put()
        proxy = Chooses()
        job.addCallback(proxy)
        proxy.addCallback(contracts.nothing)
        proxy.choose(42)
        self.client.commit()
        states = [state for name, state, _names in self.records()
                  if name.endswith('.Chooses')]
        self.assertEqual(sorted(states[-1]),
                         ['_code', '_result', 'callbacks', 'job', 'parent'])

    def test_a_new_job_is_two_small_records(self):
        self.client.commit()
        before = sum(1 for _record in self.records())
        self.queue.put(contracts.nothing)
        self.client.commit()
        stored = [(name, sorted(state)) for name, state, _names in
                  list(self.records())[before:] if name.startswith('zc.')]
        self.assertEqual(sorted(stored), [
            ('zc.async.job.Job', ['_assigner', '_begin_after', '_call', '_order', 'parent']),
            ('zc.async.model.call.Call', ['kind', 'method', 'target']),
        ])

    def test_the_tuple_that_is_stored_of_a_job(self):
        packed, call, parent, rest = stored.pack({
            '_code': 1, '_attempt': 2, '_begin_after': 3, '_active_start': 4,
            '_active_end': 5, '_callbacks_end': 6, '_order': 18 * b'o',
            '_assigner': 16 * b'a', '_call': 'call', 'parent': 'parent', '_deaths': 7})
        self.assertEqual(packed.hex(), (
            '010002' + f'{3:016x}{4:016x}' + 18 * '6f' + 16 * '61' + f'{5:016x}{6:016x}'))
        self.assertEqual((call, parent, rest), ('call', 'parent', {'_deaths': 7}))
        never = b'\x80' + bytes(7)
        self.assertEqual(stored.pack({}), (bytes(3) + 2 * never + bytes(34), None, None))
        self.assertEqual(stored.pack({'_active_end': 1})[0][-16:],
                         bytes(7) + b'\x01' + never)

    def test_the_numbers_survive_storing(self):
        job = self.begun(self.put(begin_by=MINUTE))
        execution.settle(job, 42)
        job._callbacks_end = 1
        self.client.commit()
        other = self.world.open().mine(job)
        for name in ('_code', '_attempt', '_begin_after', '_begin_by', '_active_start',
                     '_active_end', '_callbacks_end', '_order', '_assigner'):
            self.assertIn(name, vars(job))
            self.assertEqual(getattr(other, name), getattr(job, name), name)

    def test_the_keys_of_the_lines(self):
        self.assertEqual(
            timekeys.make(1, 2, 3, 4).hex(), '000000000000000102000000000000000304')
        self.assertEqual((timekeys.FRONT, timekeys.SCHEDULED, timekeys.READY), (0, 1, 2))

    def test_the_names_of_the_lines(self):
        shard = self.queue._lines.shards[3]
        self.assertEqual(set(shard.lines), {(False, ()), (True, ())})
        self.assertEqual(shard.line((False, ('p', 'q'))), shard.lines[False, ('p', 'q')])
        self.assertEqual(shard.number, 3)

    def test_what_is_stored_of_a_parked_job(self):
        self.park_one()
        key, = self.queue.parked._data
        self.assertEqual(timekeys.split(key)[0], clock.to_micros(contracts.START))
        self.assertEqual(self.queue.parked._data[key], (
            self.parked, 'for the test', 2, 'zc.async.tests.contracts.nothing'))
        self.assertEqual(dict(self.queue.parked._keys), {self.parked._p_oid: key})
        self.assertEqual(self.parked._code, 4)

    def test_a_job_that_was_set_aside_stands_in_a_line_of_its_own(self):
        self.set_one_aside()
        number = timekeys.split(self.aside._order)[3]
        line = self.queue._lines.shards[number].lines[False, (), 'a.b']
        self.assertEqual(list(line.items()), [(self.aside._order, self.aside)])
        self.assertEqual(self.aside._lacks, ('a.b', clock.to_micros(contracts.START)))

    def test_a_claim_leaves_a_gap_at_the_head_of_the_line(self):
        job = self.put()
        _due, _rank, _stamp, number = timekeys.split(job._order)
        line = self.queue._lines.shards[number].lines[False, ()]
        self.assertEqual(list(line.items()), [(job._order, job)])
        self.queue.claim()
        self.assertEqual(list(line.items()), [(job._order, None)])

    def test_the_form_that_is_described_here_is_the_one_that_is_written(self):
        self.assertEqual(GENERATION, DESCRIBED)
        self.assertEqual(self.client.root['zc.async'].generation, DESCRIBED)

    def test_the_protocol_is_one_that_all_supported_pythons_read(self):
        self.make_everything()
        for transaction in self.world.storage.iterator():
            for record in transaction:
                self.assertEqual(record.data[:1], pickle.PROTO)
                self.assertEqual(record.data[1], 3)
