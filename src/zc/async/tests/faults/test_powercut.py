"""A power cut at any write of a FileStorage loses nothing that was acknowledged.

``bench/faults/power.py`` tries more of what can be left.
"""
import os
import tempfile
import unittest
from unittest import mock

import ZODB
from ZODB.FileStorage import FileStorage

from ... import datafile
from ...runtime import mending
from . import disk
from . import mutants
from . import powercut
from . import powerwork

_SEED = 20300101


class PowerCut(unittest.TestCase):
    """The file opens, and a fresh dispatcher ends all jobs, whose effects are once."""

    def check(self, cuts, recover=False):
        """All of *cuts* are survived; return how many."""
        count, wrong = powercut.examine_all(cuts, recover)
        self.assertEqual(wrong[:5], [], f'{len(wrong)} of {count} are wrong')
        self.assertGreater(count, 20)
        return count

    def test_what_is_recorded_is_some_work(self):
        found = powerwork.recording()
        self.assertGreaterEqual(found.transactions, 50)
        marks = [one.data for one in found.operations if one.kind == 'mark']
        self.assertGreaterEqual(sum(sum(mark.values()) for mark in marks), 20)
        self.assertEqual({'create', 'write', 'sync', 'rename', 'remove', 'mark'},
                         {one.kind for one in found.operations})

    def test_after_every_write(self):
        self.check(powercut.prefixes())
        changes = [one for one in powerwork.recording().operations
                   if one.kind in disk.CHANGES]
        # that was all of them, and the end
        self.assertEqual(len(list(powercut.prefixes())), len(changes) + 1)

    def test_in_the_middle_of_writes(self):
        # a file that was never whole may be refused
        self.check(cut for cut in powercut.bytewise(331) if cut.marks)

    def test_with_what_was_not_synced_partly_there(self):
        self.check(powercut.torn(_SEED, 1))

    def test_with_blocks_that_were_written_out_of_order(self):
        # a FileStorage may refuse that, and then fsrecover makes it good
        self.check((cut for cut in powercut.torn(_SEED, 1, in_order=False, every=2)
                    if cut.marks), recover=True)

    def test_without_the_end_of_the_last_transaction(self):
        self.check(powercut.truncated(13))

    def test_in_the_middle_of_a_pack_there_is_no_file(self):
        without = [cut for cut in powercut.prefixes() if 'Data.fs' not in cut.files]
        self.assertEqual([sorted(cut.files) for cut in without[1:]], [
            ['Data.fs.index', 'Data.fs.old', 'Data.fs.pack']])


class Mutants(unittest.TestCase):
    """It is found out where something does not hold."""

    def check(self, cuts, what):
        """A cut makes *what* appear among the problems."""
        problems = []
        for cut in cuts:
            problems += cut.problems()
            if any(what in problem for problem in problems):
                return
        self.fail(f'nobody noticed: {problems}')

    def recorded(self, operations):
        """Let *operations* be those that were recorded."""
        patch = mock.patch.object(
            powerwork, 'recording', lambda: powerwork.Recording(tuple(operations), 0))
        patch.start()
        self.addCleanup(patch.stop)

    def test_no_fsync(self):
        self.recorded(one for one in powerwork.recording().operations
                      if one.kind != 'sync')
        self.check(powercut.torn(_SEED, 1), 'was acknowledged')

    def test_acknowledged_too_early(self):
        operations = list(powerwork.recording().operations)
        for number, one in enumerate(operations):
            if one.kind == 'mark':
                before = operations[number - 3:number]
                operations[number - 3:number + 1] = (one, *before)
        self.recorded(operations)
        self.check(powercut.prefixes(), 'was acknowledged and is not there')

    def test_a_pack_that_is_not_synced(self):
        with mock.patch.object(mending, '_sync_packed', lambda storage: None):
            found = powerwork.record()
        self.recorded(found.operations)
        self.check((cut for cut in powercut.torn(_SEED, 20)
                    if 'Data.fs.old' in cut.files), powercut.REFUSED)

    def test_a_new_file_in_the_place_of_one_that_is_being_packed(self):
        with mock.patch.object(datafile, 'older', lambda path: []):
            self.check((cut for cut in powercut.prefixes()
                        if 'Data.fs' not in cut.files), 'a new database was made')

    def test_a_product_that_loses_jobs_of_the_dead(self):
        with mutants.applied('hand-over-loses'):
            self.check(powercut.prefixes(), 'was acknowledged and is not there')

    def test_a_product_that_commits_effects_by_themselves(self):
        with mutants.applied('two-commits'):
            found = powerwork.record()
        self.recorded(found.operations)
        self.check(powercut.prefixes(), 'was changed 2 times')


class Pack(unittest.TestCase):
    """Of a FileStorage that `mending` has mended."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.storage = FileStorage(os.path.join(folder.name, 'Data.fs'))
        self.db = ZODB.DB(self.storage)
        self.addCleanup(self.db.close)
        mending.mend(self.db)
        for number in range(3):
            self.store(number)

    def store(self, number):
        with self.db.transaction() as connection:
            connection.root()['number'] = number

    def stored(self):
        with self.db.transaction() as connection:
            return connection.root()['number']

    def test_it_is_synced_before_it_takes_the_place_of_the_file(self):
        calls = []
        rename = os.rename
        with mock.patch.object(os, 'fsync', lambda file: calls.append('fsync')), \
                mock.patch.object(os, 'rename', lambda *names: (
                    calls.append('rename'), rename(*names))):
            self.db.pack()
        self.assertEqual(calls[:3], ['fsync', 'rename', 'rename'])
        self.assertEqual(self.stored(), 2)

    def test_where_that_fails_the_old_file_stays_and_can_be_written(self):
        full = OSError(28, 'No space left on device')
        with mock.patch.object(mending.os, 'fsync', mock.Mock(side_effect=full)):
            with self.assertRaises(OSError):
                self.db.pack()
        self.assertFalse(self.storage._commit_lock.locked())
        self.store(3)
        self.db.pack()
        self.assertEqual(self.stored(), 3)

    def test_mending_again_changes_nothing(self):
        packer = self.storage.packer
        mending.mend(self.db)
        self.assertIs(self.storage.packer, packer)


class Disk(unittest.TestCase):
    """What the disk may have."""

    def test_what_was_synced_is_there_and_what_was_not_may_be(self):
        content = disk._Content()
        content.write(0, b'a' * 600)
        content.sync()
        content.write(512, b'b' * 1000)
        found = {content.torn(_Choices(number), True) for number in range(200)}
        self.assertEqual({one[:512] for one in found}, {b'a' * 512})
        self.assertIn(b'a' * 600, found)
        self.assertIn(b'a' * 512 + b'b' * 1000, found)
        # in order: what is beyond the old end was written
        self.assertFalse(any(b'\0' in one for one in found))
        found = {content.torn(_Choices(number), False) for number in range(200)}
        self.assertTrue(any(b'\0' in one for one in found))

    def test_it_records_what_is_done(self):
        with tempfile.TemporaryDirectory() as folder:
            recorder = disk.Recorder(folder)
            with recorder:
                with disk.FILESTORAGE.open(os.path.join(folder, 'a'), 'w+b') as file:
                    file.write(b'12')
                    file.flush()
                    disk.FILESTORAGE.fsync(file.fileno())
                    file.truncate(1)
                disk.FILESTORAGE.os.rename(
                    *(os.path.join(folder, name) for name in 'ab'))
                disk.FILESTORAGE.os.remove(os.path.join(folder, 'b'))
        self.assertEqual([one.kind for one in recorder.operations], [
            'create', 'write', 'sync', 'truncate', 'rename', 'remove'])
        files = disk.Files()
        for one in recorder.operations[:-1]:
            files.apply(one)
        self.assertEqual(files.whole(), {'b': b'1'})


class _Choices:
    """A source of choices: all of them, one after the other."""

    def __init__(self, number):
        self._number = number

    def choice(self, options):
        self._number, found = divmod(self._number, len(options))
        return options[found]
