"""Look whether everything that zc.async keeps in a database is as it must be.

Jobs, lines, agents, quotas, callbacks and counters are gone through in one state of
the database, while dispatchers may work.  What is wrong is told, one line each; with
--repair it is put right, each thing in a transaction of its own.  No job is dropped:
one that cannot go on is parked.

The exit status is 0 if nothing is wrong, 1 if something is and was not repaired,
and 2 if it could not be looked at.
"""
import contextlib
import dataclasses
import json
import logging
import os
import sys
import traceback

import transaction
from ZODB.POSException import ReadConflictError

from .. import clock
from .. import describe
from .. import evolve
from .. import outage
from ..audit.check import Check
from ..audit.findings import KINDS
from ..audit.records import NoIteration
from ..audit.repairs import repair
from ..audit.rescue import CannotRepair
from ..interfaces import KEY
from ..runtime.attempt import abort
from . import databases
from .options import PREFIX
from .options import Refused

#: Seconds between two lines about the progress.
_INTERVAL = 10
#: How often to begin again when a pack takes away the state that is looked at.
_BEGINNINGS = 5
#: How often to try a repair that meets conflicts.
_TRIES = 20
#: Times that all is gone through at most: a repair can bring other things to light.
_PASSES = 6
#: Findings that are remembered, so that none is told twice.
_REMEMBERED = 100_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is to be done, checked."""

    uri: str
    config: str
    repair: bool
    json: bool
    records: bool
    ignored: frozenset
    install: bool = None  # no database is ever made


def add_arguments(parser):
    """Let *parser* know the options."""
    parser.add_argument(
        'uri', metavar='DATABASE', nargs='?',
        help='the database, as a URI: file://PATH, zeo://HOST:PORT, '
             'postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite://FOLDER '
             f'[{PREFIX}URI]')
    parser.add_argument(
        '--config', metavar='FILE',
        help=f'a ZConfig file with the databases, <zodb> sections [{PREFIX}CONFIG]')
    parser.add_argument(
        '--repair', action='store_true', help='put right what is wrong')
    parser.add_argument(
        '--records', action='store_true',
        help='look at every record of the databases as well, for jobs that nothing '
             'leads to; pack before, or jobs that were thrown away are found too')
    parser.add_argument(
        '--ignore', metavar='CODE', action='append', default=[],
        help='neither tell nor repair findings of this code; may be repeated')
    parser.add_argument(
        '--json', action='store_true',
        help='write a JSON object for each finding, and one at the end, a line each')


def run(said):
    """Do what the parsed options say and return the exit status.

    0: nothing is wrong, or all of it was repaired; 1: something is left; 2: it
    could not be looked at.
    """
    quiet = logging.NullHandler()  # what is logged of jobs may show their arguments
    log = logging.getLogger('zc.async')
    log.addHandler(quiet)
    try:
        settings = settle(said, os.environ)
        with _opened(settings) as db:
            return Fsck(db, settings, sys.stdout, sys.stderr).run()
    except Refused as refused:
        sys.stderr.write(f'zc-async fsck: {refused}\n')
    except Exception as error:
        if not outage.is_outage(error):
            sys.stderr.write(traceback.format_exc())
        sys.stderr.write(f'zc-async fsck: broken off: {type(error).__name__}: '
                         f'{databases.shown(error)}\n')
    finally:
        log.removeHandler(quiet)
    return 2


def settle(said, environ):
    """Return the `Settings` that *said*, from the parser, and *environ* ask for.

    Raise `Refused`.
    """
    uri, config = said.uri, said.config
    if not (uri or config):
        uri, config = environ.get(f'{PREFIX}URI'), environ.get(f'{PREFIX}CONFIG')
    if uri and config:
        raise Refused('a URI and --config were given; give one of them')
    if not (uri or config):
        raise Refused(f'no database was named; give a URI or --config FILE, or set '
                      f'{PREFIX}URI or {PREFIX}CONFIG')
    for code in said.ignore:
        if code not in KINDS:
            raise Refused(f'--ignore is {code!r}; say one of {", ".join(sorted(KINDS))}')
    return Settings(uri, config, said.repair, said.json, said.records,
                    frozenset(said.ignore))


@contextlib.contextmanager
def _opened(settings):
    """Give the database: to be written only for repairs, and only if it has queues."""
    _check_folder(settings.uri or '')
    for read_only in (True, False) if settings.repair else (True,):
        db = databases.Source(settings, read_only).open()
        try:
            _check_queues(db, settings)
            if read_only != settings.repair:
                yield db
        finally:
            databases.close(db)


def _check_folder(uri):
    """Raise `Refused` where RelStorage would make a database of SQLite."""
    if uri.startswith('sqlite://') and 'data_dir=' not in uri:
        folder = uri.removeprefix('sqlite://').partition('?')[0]
        path = os.path.join(folder, 'main.sqlite3')
        if not os.path.exists(path):
            raise Refused(f'there is no database {path}; correct the name')


def _check_queues(db, settings):
    """Raise `Refused` unless there are queues that this version knows."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)
    try:
        manager.begin()
        queues = connection.root().get(KEY)
        if queues is None:
            name = databases.shown(settings.uri or settings.config)
            raise Refused(f'the database {name} has no queues; is it another one?')
        evolve.check(queues)
    except evolve.GenerationError as error:
        raise Refused(str(error)) from None
    finally:
        abort(manager)
        connection.close()


class Fsck:
    """Goes through the queues of *db*, and writes what it finds to *output*.

    The progress goes to *progress*, as text.
    """

    def __init__(self, db, settings, output, progress):
        self._db = db
        self._settings = settings
        self._output = output
        self._progress = progress
        self._looked = 0
        self._told_at = clock.monotonic()
        self._known = set()  # what this pass has come across
        self._told = set()   # what is left, and was told
        self._counts = {'repaired': 0, 'left': 0, 'noticed': 0}

    def run(self):
        """Look, and repair if that was said; return the exit status."""
        with contextlib.ExitStack() as ends:
            self._second = ends.enter_context(_connected(self._db))
            if self._settings.repair:
                for _pass in range(_PASSES):
                    if not self._go_through(self._repair):
                        break
            else:
                self._go_through(self._confirm)
        self._tell_end()
        return 1 if self._counts['left'] else 0

    def _go_through(self, act):
        """Go through all queues, and *act* on each finding; return whether it did."""
        self._counts['left'] = self._counts['noticed'] = 0
        self._known.clear()
        self._looked, acted = 0, False
        for finding in self._findings():
            acted = act(finding) or acted
        return acted

    def _findings(self):
        """Yield each finding once, beginning again when the state is packed away."""
        for number in range(_BEGINNINGS):
            try:
                yield from filter(self._is_new, self._all())
                return
            except NoIteration as error:
                raise Refused(str(error)) from None
            except ReadConflictError:
                if number == _BEGINNINGS - 1:
                    raise
                self._progress.write('the database was packed meanwhile; once more\n')

    def _all(self):
        """Yield the findings in the state that the database has now."""
        with _connected(self._db) as (manager, connection):
            manager.begin()
            yield from Check(connection, self._look).run(self._settings.records)

    def _is_new(self, finding):
        return finding.code not in self._settings.ignored and _added(finding, self._known)

    def _look(self):
        self._looked += 1
        now = clock.monotonic()
        if now - self._told_at >= _INTERVAL:
            self._told_at = now
            self._progress.write(f'{self._looked} jobs looked at\n')
            self._progress.flush()

    # What is done about a finding

    def _confirm(self, finding):
        """Tell *finding* if it is still so: a pack may have deceived us."""
        manager, connection = self._second
        manager.begin()
        try:
            if finding.code == 'code-missing' or Check(connection).again(finding):
                self._tell(finding)
        finally:
            abort(manager)

    def _repair(self, finding):
        """Repair *finding*, and return whether that was done."""
        if not finding.damage:
            self._tell(finding)
            return False
        for _try in range(_TRIES):
            try:
                done = self._repair_once(finding)
            except CannotRepair as error:
                self._tell(finding, left=str(error))
                return False
            except Exception as error:
                if outage.is_outage(error):
                    raise
                if not outage.is_conflict(error):
                    self._tell(finding, left=f'{type(error).__name__}: '
                                             f'{describe.safe_repr(str(error), 300)}')
                    return False
            else:
                if done is not None:
                    self._tell(finding, done=done)
                return done is not None
        self._tell(finding, left='others changed it again and again')
        return False

    def _repair_once(self, finding):
        """Return what was done in one transaction, None if it is so no longer."""
        manager, connection = self._second
        manager.begin()
        try:
            check = Check(connection)
            found = check.again(finding)
            if found is None:
                return None
            done = repair(check, found)
            manager.get().note(f'zc-async fsck: {finding.code}')
            manager.commit()
            return done
        finally:
            abort(manager)

    # Telling

    def _tell(self, finding, done=None, left=None):
        if not finding.damage:
            self._counts['noticed'] += 1
        elif done is None:
            self._counts['left'] += 1
        self._counts['repaired'] += done is not None
        if done is None and not _added(finding, self._told):
            return
        if self._settings.json:
            self._write_json({**finding.as_dict(), 'repaired': done, 'left': left})
            return
        end = '' if done is None else f' -- repaired: {done}'
        end = end if left is None else f' -- left: {left}'
        text = describe.printable(f'{finding.text}{end}', 2000)
        self._output.write(f'{finding.code}: queue {finding.queue!r}: {text}\n')

    def _tell_end(self):
        counts = self._counts
        counts['found'] = counts['repaired'] + counts['left']
        if self._settings.json:
            self._write_json({'looked_at': self._looked, **counts})
            return
        parts = [f'{self._looked} jobs looked at', f'{counts["found"]} things wrong']
        if self._settings.repair:
            parts += [f'{counts["repaired"]} repaired', f'{counts["left"]} left']
        self._output.write(f'{", ".join(parts)}\n')

    def _write_json(self, data):
        self._output.write(json.dumps(data) + '\n')


def _added(finding, known):
    """Return whether *finding* was not among the *known* ones; it is now."""
    key = hash((finding.code, finding.scope, finding.oid, finding.other))
    if key in known:
        return False
    if len(known) < _REMEMBERED:
        known.add(key)
    return True


@contextlib.contextmanager
def _connected(db):
    """Give a transaction manager and a connection, and take them back."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)
    try:
        yield manager, connection
    finally:
        abort(manager)
        connection.close()
