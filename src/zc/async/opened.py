"""What hears that a host has opened its database.

A host sends `IDatabaseOpened`, `IDatabaseOpenedWithRoot` or both, in whatever
order.  Our handlers are registered for the first; `opened_with_root` passes the
second on to them, and one that has answered either lets the other be.
"""
import weakref

import zope.component
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.POSException import ReadOnlyError
from ZODB.POSException import StorageError
from zope.interface.interfaces import ComponentLookupError
from zope.processlifetime import IDatabaseOpened
from zope.processlifetime import IDatabaseOpenedWithRoot

from . import datafile
from . import log
from . import outage


class DatabaseInstaller:
    """Base of the handlers of a database that was opened.

    One that is registered as a handler logs what the surroundings forbid, as
    `Forgiving` does; one that is only called raises it.
    """

    #: What the host says in its own configuration: a dictionary by
    #: `productconfig.KEYS`, from calling this.
    options = dict

    def __init__(self):
        zope.component.adapter(IDatabaseOpened)(self)
        self._heard = weakref.WeakKeyDictionary()  # database -> kind of event

    def __call__(self, event):
        if self._is_echo(event):
            return self.installed(event.database)
        if _is_registered(self):
            return _forgive(self.install, event.database, event.database)
        return self.install(event.database)

    def _is_echo(self, event):
        """Whether the other kind of event told of the same opening already."""
        kind = IDatabaseOpenedWithRoot.providedBy(event)
        before = self._heard.pop(event.database, None)
        if before is not None and before is not kind:
            return True
        self._heard[event.database] = kind
        return False

    def install(self, db):
        """Do for *db* what is to be done, and return what `installed` will."""
        raise NotImplementedError

    def installed(self, db):
        """Return what `install` has made for *db*, if that is anything."""


def opened_with_root(event):
    """Tell the handlers that are registered for `IDatabaseOpened` only.

    A handler of `IDatabaseOpenedWithRoot`, of the package's own handlers.
    """
    registered = list(zope.component.globalSiteManager.registeredHandlers())
    for one in registered:
        if (one.required == (IDatabaseOpened,)
                and isinstance(one.handler, (DatabaseInstaller, Forgiving))):
            one.handler(event)


zope.component.adapter(IDatabaseOpenedWithRoot)(opened_with_root)


class Forgiving:
    """A handler that calls *installer*, and logs what the surroundings forbid.

    So the rest of a site starts where a database or a file is not as it should
    be.  One line for each problem of a database.
    """

    def __init__(self, installer):
        zope.component.adapter(IDatabaseOpened)(self)
        self.installer = installer

    def __eq__(self, other):
        return isinstance(other, Forgiving) and other.installer is self.installer

    def __hash__(self):
        return hash(self.installer)

    def __call__(self, event):
        return _forgive(self.installer, event, event.database)


def _is_registered(handler):
    return any(one.handler is handler
               for one in zope.component.globalSiteManager.registeredHandlers())


def _forgive(call, argument, db):
    """Return ``call(argument)``, or None after logging what is wrong around *db*."""
    try:
        return call(argument)
    except Exception as error:
        if not _is_of_the_surroundings(error):
            raise
        log_once(f'{error}' or type(error).__name__, db)
    return None


def _is_of_the_surroundings(error):
    return (isinstance(error, (ValueError, OSError, POSError, ComponentLookupError))
            or outage.is_outage(error))


_logged = weakref.WeakKeyDictionary()  # database -> what was said about it
_logged_of_all = set()


def log_once(text, db=None):
    """Log the error *text* unless that was done, for *db* or for all databases."""
    said = _logged_of_all if db is None else _logged.setdefault(db, set())
    if text not in said and text not in _logged_of_all:
        said.add(text)
        log.events.error('%s', text)


def read_only(db):
    """Return what to raise where *db* had to be written and cannot be."""
    return ReadOnlyError(
        f'database {db.database_name!r} is read-only: no queue is made in it and no '
        f'dispatcher works for it; open it for writing, or have no installers here')


def refuse_replaced(db):
    """Raise StorageError where *db* is a new file beside those of a broken-off pack.

    For those who are about to make something in it that is not there yet.
    """
    for storage in outage.layers(db.storage):
        if isinstance(storage, FileStorage) and not storage.isReadOnly():
            path = storage._file_name
            for other in datafile.older(path):
                raise StorageError(
                    f'{path} is younger than all of {other}: a pack was broken off, and '
                    f'this is a new database; rename {other} to {path} while nobody '
                    f'has it open, or move it away if you want a new one')


def say_when_committed(changed, *message):
    """Log *message* when the transaction is committed in which *changed* was.

    It may have to be tried again and again.  At once for an object without one.
    """
    if changed._p_jar is None:
        _say(True, *message)
    else:
        changed._p_jar.transaction_manager.get().addAfterCommitHook(_say, message)


def _say(success, *message):
    if success:
        log.events.info(*message)
