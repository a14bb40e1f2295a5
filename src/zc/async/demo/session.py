"""One process of the demo: its database, its dispatcher, and waiting for the end."""
import contextlib
import os
import sys

import transaction
import zope.component
from zc.lockfile import LockError
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageFormatError
from zope.processlifetime import DatabaseOpened

from . import folder as folders
from .folder import Refused
from .jobs import agent_size
from .jobs import quota_sizes
from .jobs import Run
from .screen import Screen
from .. import clock
from .. import configure
from .. import dispatcher as dispatchers
from .. import failures
from .. import instanceuuid
from .. import subscribers
from ..interfaces import KEY

#: Where the root of the database keeps the run.
RUN = 'zc.async.demo'
#: Seconds between two looks at the progress.
_LOOK_EVERY = 0.1
#: Objects in the cache of a connection: the index of a large folder has
#: thousands of buckets, and a merge needs hundreds of them.
_CACHE = 20_000


def run(options):
    """Do what *options* say; return the exit status.  Raise `Refused`."""
    screen = Screen(sys.stdout)
    try:
        with opened(options) as db:
            return Session(db, options, screen).run()
    except KeyboardInterrupt:
        status = 130
    except SystemExit as ended:
        status = ended.code
    screen.say('Stopped.  Say the same again, without --again, and it goes on.')
    return status


@contextlib.contextmanager
def opened(options):
    """The database in the folder that *options* name, made if need be."""
    if options.folder is not None:
        options.folder = folders.checked(options.folder, options.var)
    path = os.path.join(options.var, 'demo.fs')
    try:
        os.makedirs(options.var, exist_ok=True)
        if options.again:
            # only a shortcut to what is given up; without it nothing is lost
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{path}.index')
        storage = FileStorage(path, create=options.again)
    except LockError:
        raise Refused(f'{path!r} is used by another process; wait for its end, '
                      f'or name another folder with --var') from None
    except FileStorageFormatError:
        raise Refused(f'{path!r} is no database; remove it, or name another '
                      f'folder with --var') from None
    except OSError as error:
        raise Refused(f'cannot open {path!r} ({error.strerror}); name another '
                      f'folder with --var') from None
    db = DB(storage, cache_size=_CACHE)
    try:
        yield db
    finally:
        _close(db)


def _close(db):
    """Close *db*, even while the thread of a job that was interrupted still has it."""
    try:
        db.close()
    except KeyError:
        # that thread took its connection off the transaction manager's list at the same
        # moment, and we got no further; what matters is the file, which others may want
        db.storage.close()


class Session:
    """What one process does with *db*, as *options* say."""

    def __init__(self, db, options, screen):
        self._db = db
        self._options = options
        self._screen = screen
        self._before = None  # the progress that the process found

    def run(self):
        """Finish what is in the database, or begin; return the exit status."""
        with self._transaction() as root:
            found = self._check(root.get(RUN))
            if found is not None and found.summary is not None:
                self._screen.table(found)
                self._screen.say()
                self._screen.say('This was there already; --again begins anew.')
                return 0
        self._register()
        self._begin()
        began = clock.monotonic()
        with self._dispatcher() as dispatcher:
            finished = self._wait(dispatcher)
        return self._end(finished, clock.monotonic() - began)

    def _check(self, found):
        """Return the run that was *found*, if it is the one that is wanted."""
        wanted = self._options.folder
        if found is None or wanted in (None, found.folder):
            return found
        state = 'half done' if found.summary is None else 'there already'
        raise Refused(
            f'{found.folder!r} is {state} in {self._options.var!r}; leave '
            f'{wanted!r} out to go on with it, add --again to give it up, or '
            f'name another folder with --var')

    # Beginning

    def _register(self):
        """Register what zc.async needs, with an identity beside the database."""
        os.environ[instanceuuid.ENVIRONMENT_KEY] = os.path.join(
            self._options.var, 'uuid.txt')
        try:
            configure.base()
        except (OSError, ValueError) as error:
            raise Refused(str(error)) from None
        zope.component.provideHandler(subscribers.AgentInstaller(
            'main', size=agent_size(self._options.workers), declared=True))
        subscribers.QueueInstaller()(DatabaseOpened(self._db))

    def _begin(self):
        """Put the jobs, if they are not there, and give them their room."""
        with self._transaction() as root:
            queue = root[KEY]['']
            self._make_room(queue)
            found = root.get(RUN)
            if found is None:
                # The whole in one commit: either all jobs are there, or none.
                found = root[RUN] = self._new_run()
                queue.put(found.job)
                self._screen.say(f'Counting the words of {found.files:,} files '
                                 f'in {found.folder}')
            else:
                found.resumed = True
                self._screen.say(f'Going on with {found.folder}')
            self._before = found.progress()

    def _new_run(self):
        var = self._options.var
        folder = self._options.folder or folders.checked(folders.library(), var)
        return Run(folder, folders.files_in(folder, var))

    def _make_room(self, queue):
        # Here processes die because somebody kills them, as often as he likes: no
        # job is to blame, and a parked one would be waited for without an end.
        queue.deaths_before_parking = None
        for name, size in quota_sizes(self._options.workers).items():
            if name not in queue.quotas:
                queue.quotas.create(name)
            queue.quotas[name].size = size

    @contextlib.contextmanager
    def _dispatcher(self):
        """A dispatcher that works meanwhile; a signal stops it too."""
        install = subscribers.ThreadedDispatcherInstaller(
            uuid=instanceuuid.getUUID())
        dispatcher = install(DatabaseOpened(self._db))
        try:
            yield dispatcher
        finally:
            subscribers.stop(dispatcher)
            subscribers.restore_signal_handlers(dispatcher)
            dispatchers.pop(dispatcher.UUID)

    # Waiting and ending

    def _wait(self, dispatcher):
        """Show the progress until the end; return the last one."""
        while True:
            with self._transaction() as root:
                progress = root[RUN].progress()
            self._screen.show(progress)
            if progress.finished or dispatcher.pause(_LOOK_EVERY):
                return progress

    def _end(self, progress, seconds):
        with self._transaction() as root:
            found = root[RUN]
            if found.summary is not None:
                found.seconds = seconds
                found.performed = progress.jobs - self._before.jobs
                self._screen.table(found)
                return 0
            result = found.job.result
        if failures.is_failure(result):
            why = f'{result.getErrorMessage()}; --again begins anew'
        else:
            why = 'its dispatcher stopped; say the same again, and it goes on'
        self._screen.say(f'It could not be finished: {why}')
        return 1

    @contextlib.contextmanager
    def _transaction(self):
        """The root of the database, in a transaction that is committed."""
        manager = transaction.TransactionManager(explicit=True)
        connection = self._db.open(transaction_manager=manager)
        try:
            with manager:
                yield connection.root()
        finally:
            connection.close()
