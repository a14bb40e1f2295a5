"""The identity of the instance and its file."""
import os
import pathlib
import stat
import subprocess
import sys
import unittest
import uuid
from unittest import mock

from .. import instanceuuid
from ..interfaces import IUUID
from .test_dispatcher import Case as PlainCase

OTHER = uuid.UUID('6f7c5e2a-1d4b-11ee-8a3c-0242ac120002')

# What several processes run at once: wait for the word, then ask.
ASK = '''
import sys
sys.path[:] = {path!r}
from zc.async_ import instanceuuid
print('ready', flush=True)
sys.stdin.readline()
print(instanceuuid.getUUID(), flush=True)
'''


class Case(PlainCase):

    def setUp(self):
        super().setUp()
        os.unlink(os.path.join(self.folder, 'uuid.txt'))  # of the configuration
        self.enterContext(mock.patch.dict(instanceuuid._found, clear=True))
        self.place = pathlib.Path(self.folder, 'new-uuid.txt')
        self.name(self.place)

    def name(self, path):
        os.environ[instanceuuid.ENVIRONMENT_KEY] = str(path)

    def forget(self):
        """Be like another process."""
        instanceuuid._found.clear()


class Identity(Case):

    def test_it_is_a_uuid_of_the_first_kind(self):
        found = instanceuuid.getUUID()
        self.assertEqual(type(found), uuid.UUID)
        self.assertEqual(found.version, 1)
        self.assertTrue(IUUID.providedBy(found))

    def test_its_documented_names(self):
        self.assertEqual(instanceuuid.UUID, instanceuuid.getUUID())
        self.assertEqual(instanceuuid.key, 'ZC_ASYNC_UUID')
        with self.assertRaises(AttributeError):
            instanceuuid.other

    def test_it_stays(self):
        found = instanceuuid.getUUID()
        self.forget()
        self.assertEqual(instanceuuid.getUUID(), found)

    def test_a_new_file_is_a_new_identity(self):
        found = instanceuuid.getUUID()
        self.place.unlink()
        self.assertEqual(instanceuuid.getUUID(), found, 'in the same process')
        self.forget()
        self.assertNotEqual(instanceuuid.getUUID(), found)

    def test_each_file_has_its_own(self):
        first = instanceuuid.getUUID()
        self.name(self.place.with_name('second.txt'))
        self.assertNotEqual(instanceuuid.getUUID(), first)
        self.name(self.place)
        self.assertEqual(instanceuuid.getUUID(), first)

    def test_by_default_it_is_in_the_current_directory(self):
        del os.environ[instanceuuid.ENVIRONMENT_KEY]
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        found = instanceuuid.getUUID()
        self.assertEqual(
            pathlib.Path(self.folder, 'uuid.txt').read_text().split()[0], str(found))
        # a process that goes elsewhere stays who it is
        os.mkdir('elsewhere')
        os.chdir('elsewhere')
        self.assertEqual(instanceuuid.getUUID(), found)
        self.assertEqual(os.listdir('.'), [])


class File(Case):

    def test_importing_makes_none(self):
        code = 'import sys; sys.path[:] = %r\nimport zc.async_.instanceuuid' % sys.path
        subprocess.run([sys.executable, '-c', code], check=True, cwd=self.folder)
        self.assertFalse(self.place.exists())
        self.assertFalse(pathlib.Path(self.folder, 'uuid.txt').exists())

    def test_the_identity_first_and_then_a_text(self):
        found = instanceuuid.getUUID()
        first, blank, *text = self.place.read_text().splitlines()
        self.assertEqual((first, blank), (str(found), ''))
        self.assertIn('Keep this file', ' '.join(text))

    @unittest.skipUnless(os.name == 'posix', 'needs POSIX permissions')
    def test_only_its_owner_can_read_it(self):
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        instanceuuid.getUUID()
        self.assertEqual(stat.S_IMODE(self.place.stat().st_mode), 0o600)

    def test_nothing_else_is_left(self):
        instanceuuid.getUUID()
        self.assertEqual(os.listdir(self.folder), [self.place.name])

    def test_it_is_on_the_disk_before_it_has_its_name(self):
        told = []
        real_fsync, real_link = os.fsync, os.link
        with mock.patch('os.fsync', lambda handle: told.append('fsync') or real_fsync(handle)), \
                mock.patch('os.link', lambda *names: told.append('name') or real_link(*names)):
            instanceuuid.getUUID()
        self.assertEqual(told[:2], ['fsync', 'name'])
        self.assertEqual(told[2:], ['fsync'] if os.name == 'posix' else [])

    def test_a_crash_on_the_way_leaves_no_half(self):
        with mock.patch('os.fsync', side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                instanceuuid.getUUID()
        self.assertEqual(os.listdir(self.folder), [])

    def test_where_another_is_faster_its_identity_counts(self):
        def link(draft, name):
            pathlib.Path(name).write_text(f'{OTHER}\n')
            raise FileExistsError

        with mock.patch('os.link', link):
            self.assertEqual(instanceuuid.getUUID(), OTHER)
        self.assertEqual(os.listdir(self.folder), [self.place.name])

    def test_on_a_file_system_without_links(self):
        with mock.patch('os.link', side_effect=PermissionError(1, 'no links')):
            found = instanceuuid.getUUID()
        self.assertEqual(self.place.read_text().split()[0], str(found))
        self.assertEqual(os.listdir(self.folder), [self.place.name])

    def test_processes_that_start_at_once_agree(self):
        code = ASK.format(path=sys.path)
        processes = [
            subprocess.Popen([sys.executable, '-c', code], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _number in range(4)]
        for process in processes:
            self.assertEqual(process.stdout.readline(), 'ready\n')
        for process in processes:
            process.stdin.write('\n')
            process.stdin.flush()
        said = {process.communicate()[0].strip() for process in processes}
        self.assertEqual(said, {self.place.read_text().split()[0]})


class Refusals(Case):

    def test_a_file_that_holds_something_else(self):
        self.place.write_text('my identity\n')
        with self.assertRaisesRegex(ValueError, "no UUID: 'my identity'; restore"):
            instanceuuid.getUUID()
        self.assertEqual(self.place.read_text(), 'my identity\n')

    def test_an_empty_file(self):
        self.place.touch()
        with self.assertRaisesRegex(ValueError, "no UUID: ''"):
            instanceuuid.getUUID()

    def test_a_folder_that_does_not_exist(self):
        self.name(self.place / 'not' / 'there.txt')
        with self.assertRaisesRegex(FileNotFoundError, 'there.txt.*ZC_ASYNC_UUID'):
            instanceuuid.getUUID()

    def test_a_folder_in_its_place(self):
        self.place.mkdir()
        with self.assertRaisesRegex(OSError, 'new-uuid.txt'):
            instanceuuid.getUUID()

    def test_a_link_to_nothing(self):
        os.symlink(os.path.join(self.folder, 'nothing'), self.place)
        with self.assertRaisesRegex(OSError, 'new-uuid.txt'):
            instanceuuid.getUUID()


if __name__ == '__main__':
    unittest.main()
