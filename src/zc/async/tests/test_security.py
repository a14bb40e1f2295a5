"""Nothing that comes in is executed, and nothing that is kept or told shows values."""
import ast
import contextlib
import io
import os
import re
import stat
import tempfile
import unittest
import uuid
from unittest import mock

import transaction
from ZODB.FileStorage import FileIterator
from zope.testing import cleanup

from .. import cli
from .. import describe
from .. import instanceuuid
from ..failures import Failure
from ..interfaces import COMPLETED
from ..job import Job
from ..model import parking
from ..ops import identity
from ..testkit import World
from .test_architecture import imported
from .test_architecture import layer
from .test_architecture import MODULES
from .test_architecture import ORDER

#: Calls that make code or objects of a text or of bytes.
MAKERS = {
    'eval', 'exec', '__import__', 'import_module', 'import_name', 'run_path', 'run_module',
    'namedAny', 'namedModule', 'resolve_dotted', 'find_global', 'GlobalObject',
    'GlobalInterface', 'Tokens', 'classFactory', 'Unpickler', 'PersistentUnpickler',
    'noload', 'load', 'loads'}
#: What may be called so nevertheless, in which module, and why.
ALLOWED = {
    ('cli', 'import_module'): 'a module of ours, from a table in the source',
    ('ops.options', 'import_module'): "the filter of --agent: the administrator's word",
    ('zcml', 'GlobalObject'): "a name in ZCML: the administrator's word",
    ('zcml', 'GlobalInterface'): 'the same',
    ('zope2', 'namedAny'): 'a layer that a job has, as trusted as what it calls',
    ('model.call', 'classFactory'): 'as the database does for a record: is the code back?',
    ('model.call', 'load'): 'of what this process has pickled itself a moment ago',
    ('model.ends', 'loads'): 'the same; a result that has no code of an application',
    ('model.records', 'load'): 'a record of the database, of which no class is looked up',
    ('audit.records', 'PersistentUnpickler'): 'a record of the database: references only',
    ('audit.records', 'noload'): 'the same; makes no objects',
    ('audit.records', 'load'): "the bytes of a record, by a storage's method",
    ('audit.records', 'classFactory'): 'as the database does: can the class be imported?',
}
#: Modules that can do such things, or that listen or connect.
POWERFUL = re.compile(
    r'(asyncio|code|ctypes|dill|http|marshal|multiprocessing|runpy|shelve|socket'
    r'|socketserver|ssl|subprocess|urllib|xmlrpc|pickle|cPickle|zodbpickle'
    r'|twisted\.(conch|internet\.(endpoints|protocol|ssl|tcp|udp)|manhole|spread|web))'
    r'(\.|$)')
#: Who may use one of them, and why.
MAY_USE = {
    ('ops.notify', 'socket'): 'one datagram to the service manager, from no port',
    ('model.call', 'pickle'): 'to find out whether a call can be stored',
    ('model.ends', 'pickle'): 'to keep a result as it is until it is stored',
    ('zcml', 'pickle'): 'to find out whether a choice can be stored; loads nothing',
    ('zope2', 'urllib.parse'): 'to read an address',
    ('model.records', 'zodbpickle.pickle'): 'with stand-ins for all classes',
}
#: Attributes of reactors and servers that open a port.
LISTENERS = re.compile('listen[A-Z]|connect[A-Z]|create_server|serve_forever|open_connection')
SECRET = 'open sesame'


def product():
    """Return the names of the modules that run outside of tests."""
    return [name for name in MODULES if layer(name) != ORDER.index('tests')]


def calls(name):
    """Yield what module *name* calls, by the last part of its name, and the line."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call):
            called = getattr(node.func, 'attr', getattr(node.func, 'id', None))
            yield called or '', node.lineno


class NothingIsExecuted(unittest.TestCase):

    def check(self, places, allowed, message):
        self.assertEqual({place: lines for place, lines in places.items()
                          if place not in allowed}, {}, message)
        self.assertEqual(set(allowed) - set(places), set(), 'no longer needed')

    def test_no_text_and_no_bytes_become_code_or_objects(self):
        places = {}
        for name in product():
            for called, line in calls(name):
                if called in MAKERS:
                    places.setdefault((name, called), []).append(line)
        self.check(places, ALLOWED, 'an object is made of input: do without, or say in '
                                    'ALLOWED why it is safe')

    def test_nobody_has_more_power_than_needed(self):
        places = {(name, other): True for name in product()
                  for other in imported(name)
                  if POWERFUL.match(other) and not other.endswith('Unpickler')}
        self.check(places, MAY_USE, 'do without, or say in MAY_USE why it is safe')

    def test_no_port_is_opened(self):
        self.assertEqual([
            (name, called, line) for name in product() for called, line in calls(name)
            if LISTENERS.match(called)], [])

    def test_what_the_database_names_is_not_looked_up_to_be_shown(self):
        with World() as world:
            job = world.put(Job(fails, SECRET))
            parking.park(job, 'for the test')
            transaction.commit()
            with mock.patch.dict(globals()):
                del globals()['fails']
                with mock.patch('builtins.__import__', side_effect=AssertionError):
                    raw = world.queue.parked.raw(job)
            self.assertIn(SECRET.encode(), raw.call)


def fails(word, **options):
    local = f'{word} is also in a variable'
    raise ValueError(f'no luck with {len(local)} characters')


class Case(unittest.TestCase):

    def setUp(self):
        cleanup.cleanUp()
        self.addCleanup(cleanup.cleanUp)
        self.folder = self.enterContext(tempfile.TemporaryDirectory())


class NoValuesAreKept(Case):

    @property
    def records(self):
        """All that the database keeps, each state of each object."""
        path = os.path.join(self.folder, 'Data.fs')
        with contextlib.closing(FileIterator(path)) as transactions:
            return [record.data for each in transactions for record in each]

    def test_of_the_variables_of_a_failure(self):
        with self.assertLogs('zc.async') as log, World(self.folder) as world:
            job = world.put(Job(fails, SECRET, key=SECRET))
            world.drain()
            self.assertIs(job.status, COMPLETED)
            self.assertIn('no luck with 33 characters', job.result.getErrorMessage())
            for detail in 'default', 'brief', 'verbose':
                self.assertNotIn(SECRET, job.result.getTraceback(detail=detail))
            known = [data for data in self.records if SECRET.encode() in data]
        # the call itself has to be kept, in one record that is written once
        self.assertEqual(len(known), 1)
        self.assertNotIn('in a variable', ''.join(log.output))

    def test_a_failure_is_text(self):
        try:
            fails(SECRET)
        except ValueError as error:
            failure = Failure(error)
        state = repr(failure.__getstate__())
        self.assertNotIn(SECRET, state)
        self.assertIn('no luck', state)


class NoValuesAreTold(Case):

    def said(self, *words):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            cli.main([*words[:2], f'file://{self.folder}/Data.fs', *words[2:]])
        return output.getvalue()

    def damage(self):
        """Leave jobs with a secret parked, with a quota gone, and with a wrong status."""
        with World(self.folder) as world:
            world.queue.quotas.create('press')
            jobs = [Job(fails, SECRET, key=SECRET) for _number in range(4)]
            jobs[0].quota_names = ['press']
            for job in jobs:
                world.put(job)
            world.queue.quotas.remove('press')
            parking.park(jobs[1], 'for the test')
            jobs[2]._code, jobs[3].parent = 2, None
            transaction.commit()

    def test_by_the_commands(self):
        self.damage()
        for words in (['parked', 'list'], ['parked', 'show', '--all'], ['fsck'],
                      ['fsck', '--json'], ['fsck', '--records'], ['fsck', '--repair'],
                      ['parked', 'list'], ['parked', 'rerun', '--all']):
            with self.subTest(words=words):
                text = self.said(*words)
                self.assertTrue(text)
                self.assertNotIn(SECRET, text)

    def test_of_what_is_large_more_than_a_part(self):
        for value in (10 ** 6 * 'x', 10 ** 6 * b'x', [10 ** 5 * 'x'] * 100,
                      {number: 10 ** 4 * 'x' for number in range(100)},
                      10 ** 5 * ['x'], Failure(ValueError(10 ** 6 * 'x'))):
            with self.subTest(type=type(value).__name__):
                self.assertLessEqual(
                    len(describe.safe_repr(value)), describe.LIMIT + len('...'))


@unittest.skipUnless(os.name == 'posix', 'needs POSIX permissions')
class Files(unittest.TestCase):
    """What is made beside the database is its owner's, whatever the umask says."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.dict(instanceuuid._found, clear=True))
        self.enterContext(mock.patch.dict(os.environ))
        self.path = os.path.join(self.folder, 'identity')
        self.addCleanup(os.umask, os.umask(0))

    def modes(self):
        return {name: stat.S_IMODE(os.stat(os.path.join(self.folder, name)).st_mode)
                for name in os.listdir(self.folder)}

    def test_the_identity_and_its_lock(self):
        found = instanceuuid.getUUID(self.path)
        let_go = instanceuuid.hold(found)
        self.addCleanup(let_go)
        self.assertEqual(self.modes(), {'identity': 0o600, 'identity.lock': 0o600})

    def test_those_of_a_worker(self):
        with identity.taken(self.path) as found:
            self.assertIsInstance(found, uuid.UUID)
            self.assertEqual(self.modes(), {'identity': 0o600, 'identity.lock': 0o600})

    def test_a_draft_cannot_be_foretold_or_taken_over(self):
        flags = []
        real_open = os.open

        def spy(path, flag, *args, **kw):
            flags.append((os.path.basename(path), flag))
            return real_open(path, flag, *args, **kw)

        with mock.patch('os.open', spy):
            instanceuuid.getUUID(self.path)
        (name, flag), = [one for one in flags if one[0].startswith('.uuid-')]
        self.assertTrue(flag & os.O_EXCL and flag & os.O_CREAT)

    def test_the_lock_is_one(self):
        with identity.taken(self.path):
            with self.assertRaisesRegex(Exception, 'of a living process'):
                with identity.taken(self.path):
                    pass


if __name__ == '__main__':
    unittest.main()
