"""A disk that remembers what was done to it, and what a power cut may leave of it.

`Recorder` lets a FileStorage work in a folder and records each write, truncation,
fsync, renaming and removal as the operating system is asked for it.  `Files` is what
is on the disk after some of them, and, where the power is cut, what may be: a write
that no fsync has followed may be there or not, block by block.
"""
import builtins
import contextlib
import dataclasses
import io
import itertools
import os
import sys
from unittest import mock

import ZODB.FileStorage.fspack
import ZODB.fsIndex

#: The module, for which the package has a class of the same name.
FILESTORAGE = sys.modules['ZODB.FileStorage.FileStorage']
#: Bytes that a disk writes at a time.
BLOCK = 512
#: Files that whoever opens the database begins anew: what is in them is nothing.
_SCRATCH = ('.lock', '.tmp')


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """What was done: *kind* to the *file*, a number; *at* and *data* depend on it.

    ========  ============================================
    create    *data*: the name
    write     *at* this position, *data*
    truncate  *at*: to this size
    sync      all of it is on the disk now
    rename    *at*: the old name, *data*: the new one
    remove    *data*: the name
    mark      *data*: what the story says has happened
    ========  ============================================
    """

    kind: str
    file: int = None
    at: object = None
    data: object = None


class _File(io.FileIO):
    """A file that is written to."""

    number = None

    def __init__(self, recorder, path, mode):
        super().__init__(path, mode)
        self._recorder = recorder

    def write(self, data):
        at = self.tell()
        count = super().write(data)
        self._recorder.note('write', self.number, at, bytes(data[:count]))
        return count

    def truncate(self, size=None):
        size = super().truncate(size)
        self._recorder.note('truncate', self.number, size)
        return size


class Recorder:
    """Records what FileStorages do in *folder*.  A context manager."""

    def __init__(self, folder):
        self.operations = []
        self._folder = str(folder)
        self._numbers = itertools.count()
        self._names = {}        # path -> number of the file
        self._opened = {}       # inode -> number of the file
        self._fsync = os.fsync
        self._patches = contextlib.ExitStack()

    def note(self, *words):
        """Record an operation."""
        self.operations.append(Operation(*words))

    def mark(self, data):
        """Record that *data* has happened: somebody has been told of it."""
        self.note('mark', None, None, data)

    def __enter__(self):
        system = mock.Mock(wraps=os, rename=self._rename, remove=self._remove,
                           path=os.path)
        for module in (FILESTORAGE, ZODB.FileStorage.fspack, ZODB.fsIndex):
            self._patch(module, 'open', self._open, create=True)
            if hasattr(module, 'os'):
                self._patch(module, 'os', system)
        # ZODB keeps its own name for it
        self._patch(FILESTORAGE, 'fsync', self._sync)
        self._patch(os, 'fsync', self._sync)
        return self

    def _patch(self, module, name, new, **options):
        self._patches.enter_context(mock.patch.object(module, name, new, **options))

    def __exit__(self, *exc_info):
        self._patches.close()

    # What a FileStorage calls

    def _open(self, path, mode='r', buffering=-1):
        path = os.path.abspath(path)
        if mode in ('r', 'rb') or not self._is_kept(path):
            return builtins.open(path, mode, buffering)
        raw = _File(self, path, mode.replace('b', ''))
        if 'w' in mode:
            self._names[path] = next(self._numbers)
            self.note('create', self._names[path], None, os.path.basename(path))
        number = raw.number = self._names[path]
        self._opened[os.fstat(raw.fileno()).st_ino] = number
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if '+' in mode else io.BufferedWriter(raw)

    def _is_kept(self, path):
        return path.startswith(self._folder) and not path.endswith(_SCRATCH)

    def _sync(self, descriptor):
        self._fsync(descriptor)
        number = self._opened.get(os.fstat(descriptor).st_ino)
        if number is not None:
            self.note('sync', number)

    def _rename(self, old, new):
        os.rename(old, new)
        self._names[new] = self._names.pop(old)
        self.note('rename', self._names[new], *map(os.path.basename, (old, new)))

    def _remove(self, path):
        os.remove(path)
        if self._is_kept(path):
            self.note('remove', self._names.pop(path), None, os.path.basename(path))


# What is there afterwards

class _Content:
    """One file: what the system has of it, and what may be on the disk.

    The versions are those since the last fsync: of each block, and of the length.
    """

    def __init__(self):
        self.data = bytearray()
        self.sync()

    def sync(self):
        """All is on the disk."""
        self.synced = bytes(self.data)
        self.lengths = [len(self.data)]
        self.blocks = {}    # number -> versions, the one on the disk first

    def write(self, at, data):
        """Write *data* at the position *at*."""
        self._touch(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))
        if at > len(self.data):
            self.data.extend(bytes(at - len(self.data)))
        self.data[at:at + len(data)] = data
        self._note(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))

    def truncate(self, size):
        """Cut it off, or fill it up with zeros."""
        if size <= len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))
        self.lengths.append(size)

    def _touch(self, numbers):
        for number in numbers:
            self.blocks.setdefault(number, [self._block(self.synced, number)])

    def _note(self, numbers):
        for number in numbers:
            self.blocks[number].append(self._block(self.data, number))
        self.lengths.append(len(self.data))

    @staticmethod
    def _block(data, number):
        return bytes(data[number * BLOCK:(number + 1) * BLOCK]).ljust(BLOCK, b'\0')

    def torn(self, random, in_order):
        """Return what a power cut may leave.

        With *in_order* a file has not become longer than what was written to it, as
        on file systems that write data before they note where it is.
        """
        length = random.choice(self.lengths)
        found = bytearray(self.synced.ljust(length, b'\0')[:length])
        for number, versions in self.blocks.items():
            start = number * BLOCK
            if start >= length:
                continue
            is_new = in_order and min(start + BLOCK, length) > len(self.synced)
            chosen = random.choice(versions[1:] if is_new else versions)
            found[start:start + BLOCK] = chosen[:length - start]
        return bytes(found)


class Files:
    """The files after some operations."""

    def __init__(self):
        self._contents = {}
        self._names = {}
        self._recent = [{}]     # the names since the last fsync of any file

    def apply(self, operation):
        """Do what *operation* did."""
        getattr(self, '_' + operation.kind)(operation)

    def _create(self, operation):
        self._contents[operation.file] = _Content()
        self._rename_to(operation.data, operation.file)

    def _write(self, operation):
        self._contents[operation.file].write(operation.at, operation.data)

    def _truncate(self, operation):
        self._contents[operation.file].truncate(operation.at)

    def _sync(self, operation):
        self._contents[operation.file].sync()
        self._recent = [self._names]

    def _rename(self, operation):
        names = {name: file for name, file in self._names.items()
                 if name != operation.at}
        self._names = {**names, operation.data: operation.file}
        self._recent.append(self._names)

    def _rename_to(self, name, file):
        self._names = {**self._names, name: file}
        self._recent.append(self._names)

    def _remove(self, operation):
        self._names = {name: file for name, file in self._names.items()
                       if name != operation.data}
        self._recent.append(self._names)

    def _mark(self, operation):
        """Nothing of it is in a file."""

    def whole(self):
        """Return {name: content} as the system has it: what a killed process leaves."""
        return {name: bytes(self._contents[file].data)
                for name, file in self._names.items()}

    def partly(self, operation, count):
        """Return the same after the first *count* bytes of the write *operation*."""
        found = self.whole()
        for name, file in self._names.items():
            if file == operation.file:
                content = found[name].ljust(operation.at, b'\0')
                found[name] = (content[:operation.at] + operation.data[:count]
                               + content[operation.at + count:])
        return found

    def torn(self, random, in_order=True):
        """Return {name: content} as a power cut may leave it."""
        names = random.choice(self._recent)
        return {name: self._contents[file].torn(random, in_order)
                for name, file in names.items()}


CHANGES = ('create', 'write', 'truncate', 'rename', 'remove')


def moments(operations):
    """Yield ``(position, marks, Files)`` before each change of a file, and at the end.

    The `Files` are the same object each time; the marks are all until then.
    """
    files, marks = Files(), []
    for position, operation in enumerate(operations):
        if operation.kind in CHANGES:
            yield position, tuple(marks), files
        files.apply(operation)
        if operation.kind == 'mark':
            marks.append(operation.data)
    yield len(operations), tuple(marks), files


def lay_out(files, folder):
    """Write {name: content} into the empty *folder*."""
    for name, content in files.items():
        with builtins.open(os.path.join(folder, name), 'wb') as out:
            out.write(content)
