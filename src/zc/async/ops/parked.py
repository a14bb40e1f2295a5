"""Look at parked jobs, and decide what becomes of them.

A job is parked where it cannot go on and nobody but a person can tell what to do: its
code or its record is missing, or processes died while it was running.

  list     one line for each, with tabs: object id, queue, when, deaths, what it
           does, why
  show     more about each; values of arguments are never shown
  rerun    put it back in line, once the reason is gone
  discard  let it fail; its callbacks are told
  move     put it in line in another queue, named with --to

Give --oid, as often as needed, or --all, to say which.  The exit status is 0, 1 if
something could not be done to some of them, and 2 if nothing could be.
"""
import contextlib
import itertools
import logging
import os
import sys
import types

import transaction

from .. import describe
from .. import outage
from ..evolve import check
from ..evolve import GenerationError
from ..interfaces import AsyncError
from ..interfaces import KEY
from ..interfaces import NotParkedError
from ..model.call import why_unreadable
from ..runtime.attempt import abort
from . import databases
from .options import PREFIX
from .options import Refused

_LOOKS = ('list', 'show')
_DONE = {'rerun': 'put back in line', 'discard': 'discarded', 'move': 'moved'}
#: Jobs that one commit decides about at most.
GROUP = 50
#: Tries of a commit that meets conflicts.
_TRIES = 20
#: Jobs that are shown where no limit is given.
_LIMIT = 1000


def add_arguments(parser):
    """Let *parser* know the words and options."""
    parser.add_argument('action', choices=(*_LOOKS, *_DONE), help='what to do')
    parser.add_argument(
        'uri', metavar='DATABASE', nargs='?',
        help=f'the database, as a URI like file://PATH or zeo://HOST:PORT [{PREFIX}URI]')
    parser.add_argument(
        '--config', metavar='FILE',
        help=f'a ZConfig file with the databases, <zodb> sections [{PREFIX}CONFIG]')
    parser.add_argument(
        '--queue', metavar='NAME', help='those of this queue; all queues if left out')
    parser.add_argument(
        '--oid', metavar='NUMBER', type=int, action='append', default=[],
        help='the job with this object id; may be repeated')
    parser.add_argument('--all', action='store_true', help='all of them')
    parser.add_argument('--to', metavar='QUEUE', help='where to move them')
    parser.add_argument(
        '--limit', metavar='NUMBER', type=int, default=_LIMIT,
        help=f'how many to list or show at most; {_LIMIT} if left out')


def run(said):
    """Do what the parsed options say and return the exit status."""
    quiet = logging.NullHandler()  # what is logged of jobs may show their arguments
    log = logging.getLogger('zc.async')
    log.addHandler(quiet)
    try:
        with _opened(_settled(said, os.environ), said.action in _LOOKS) as connection:
            command = _Command(connection, said, sys.stdout, sys.stderr)
            return getattr(command, said.action)()
    except Refused as refused:
        sys.stderr.write(f'zc-async parked: {refused}\n')
    except Exception as error:
        if not outage.is_outage(error):
            raise
        sys.stderr.write(f'zc-async parked: the database is away: {databases.shown(error)}\n')
    finally:
        log.removeHandler(quiet)
    return 2


def _settled(said, environ):
    """Return the settings of the database; raise `Refused` for what makes no sense."""
    uri, config = said.uri, said.config
    if not (uri or config):
        uri, config = environ.get(f'{PREFIX}URI'), environ.get(f'{PREFIX}CONFIG')
    if bool(uri) == bool(config):
        raise Refused(f'give one database: a URI, or --config FILE, or set {PREFIX}URI or '
                      f'{PREFIX}CONFIG')
    if said.oid and said.all:
        raise Refused('--oid and --all were given; give one of them')
    if said.action != 'list' and not (said.oid or said.all):
        raise Refused(f'{said.action} needs --oid NUMBER, or --all')
    if (said.to is None) == (said.action == 'move'):
        raise Refused('--to QUEUE goes with move, and move needs it')
    for oid in said.oid:
        if not 0 <= oid < 2 ** 64:
            raise Refused(f'--oid is {oid}; give a number that list shows')
    if said.limit < 0:
        raise Refused(f'--limit is {said.limit}; give a number of jobs')
    return types.SimpleNamespace(uri=uri, config=config, install=None)


@contextlib.contextmanager
def _opened(settings, read_only):
    """Give a connection, with an explicit transaction manager of its own."""
    db = databases.Source(settings, read_only).open()
    manager = transaction.TransactionManager(explicit=True)
    try:
        connection = db.open(transaction_manager=manager)
        try:
            manager.begin()
            yield connection
        finally:
            abort(manager)
            connection.close()
    finally:
        databases.close(db)


class _Command:
    """The words of the command; each returns the exit status."""

    def __init__(self, connection, said, output, errors):
        self._connection = connection
        self._manager = connection.transaction_manager
        self._said = said
        self._output = output
        self._errors = errors
        self._failed = 0
        self._check_queues()

    def _check_queues(self):
        found = self._connection.root().get(KEY)
        if found is None:
            raise Refused('the database has no queues; is it another one?')
        try:
            check(found)
        except GenerationError as error:
            raise Refused(str(error)) from None
        for name in (self._said.queue, self._said.to):
            if name is not None and name not in found:
                raise Refused(f'there is no queue {name!r}; the queues are '
                              f'{", ".join(map(repr, found))}')

    def _queues(self):
        found = self._connection.root()[KEY]
        name = self._said.queue
        return list(found.values()) if name is None else [found[name]]

    # Looking

    def list(self):
        """Write a line for each."""
        return self._look(self._line)

    def show(self):
        """Write what is known of each."""
        return self._look(self._paragraph)

    def _look(self, shown):
        wanted = self._wanted()
        for queue, entry in itertools.islice(wanted, self._said.limit):
            self._output.write(f'{shown(queue, entry)}\n')
        if next(wanted, None) is not None:
            self._errors.write(f'there are more than {self._said.limit}; '
                               f'--limit shows more\n')
        return 1 if self._failed else 0

    def _wanted(self):
        """Yield queues and entries that were asked for."""
        if not self._said.oid:
            for queue in self._queues():
                for entry in queue.parked:
                    yield queue, entry
            return
        for oid in self._said.oid:
            yield from self._found(oid)

    def _found(self, oid):
        """Yield the queue and entry of *oid*, or tell that it is nowhere."""
        for queue in self._queues():
            with contextlib.suppress(NotParkedError):
                yield queue, queue.parked.find(oid)
                return
        self._tell(oid, 'is not parked')

    def _tell(self, oid, problem):
        self._failed += 1
        self._errors.write(f'{oid} {describe.printable(str(problem), 400)}\n')

    def _line(self, queue, entry):
        return '\t'.join((
            str(describe.address(entry.job)[0]), _shown(repr(queue.name)),
            f'{entry.at:%Y-%m-%dT%H:%M:%SZ}', str(entry.deaths),
            _shown(entry.kind or '-'), _shown(entry.reason)))

    def _paragraph(self, queue, entry):
        facts = {'oid': describe.address(entry.job)[0], 'queue': repr(queue.name),
                 'does': entry.kind or 'unknown', 'reason': entry.reason,
                 'parked': f'{entry.at:%Y-%m-%d %H:%M:%S} UTC', 'deaths': entry.deaths}
        problem = why_unreadable(entry.job)
        if problem is not None:
            facts['unreadable'] = problem
        else:
            facts.update(_facts(entry.job))
        raw = queue.parked.raw(entry.job)
        facts['stored'] = (f'{_size(raw.job)} for the job, {_size(raw.call)} for its call')
        return '\n'.join(f'{name + ":":<12}{_shown(value)}'
                         for name, value in facts.items()) + '\n'

    # Acting

    def rerun(self):
        """Put them back in line."""
        return self._act(lambda queue, job: queue.parked.rerun(job))

    def discard(self):
        """Let them fail."""
        return self._act(lambda queue, job: queue.parked.discard(job))

    def move(self):
        """Put them in line in another queue."""
        def move(queue, job):
            queue.parked.move(job, self._connection.root()[KEY][self._said.to])

        return self._act(move)

    def _act(self, act):
        """Do *act* to those that were asked for, some in each commit."""
        wanted = [(queue.name, entry.job._p_jar.db().database_name, entry.job._p_oid)
                  for queue, entry in self._wanted()]
        done = 0
        for start in range(0, len(wanted), GROUP):
            group = wanted[start:start + GROUP]
            try:
                done += self._committed(group, act)
            except _NotTogether:
                done += sum(self._alone(one, act) for one in group)
        self._output.write(f'{done} {_DONE[self._said.action]}, {self._failed} not\n')
        return 1 if self._failed else 0

    def _alone(self, one, act):
        try:
            return self._committed([one], act)
        except _NotTogether as problem:
            self._tell(_number(one), problem)
            return 0

    def _committed(self, group, act):
        """Act on *group* in one commit; return to how many that could be done."""
        for _number_of_try in range(_TRIES):
            self._again()
            problems = []
            try:
                count = sum(self._one(one, act, problems) for one in group)
                self._manager.commit()
            except Exception as error:
                if outage.is_outage(error):
                    raise
                if outage.is_conflict(error):
                    continue
                raise _NotTogether(f'{type(error).__name__}: '
                                   f'{describe.safe_text(error, 500)}') from None
            for oid, problem in problems:
                self._tell(oid, problem)
            return count
        raise _NotTogether('others changed it again and again; try again')

    def _one(self, one, act, problems):
        name, database_name, oid = one
        queue = self._connection.root()[KEY][name]
        try:
            entry = queue.parked.find(_number(one), database_name)
            act(queue, entry.job)
        except (AsyncError, ValueError) as error:
            problems.append((_number(one), error))
            return 0
        return 1

    def _again(self):
        abort(self._manager)
        self._manager.begin()


class _NotTogether(Exception):
    """A group cannot be committed."""


def _number(one):
    return int.from_bytes(one[2], 'big')


def _shown(value):
    return describe.printable(str(value), 400)


def _size(stored):
    return 'nothing' if stored is None else f'{len(stored)} bytes'


def _facts(job):
    """Return what there is to say of a *job* that can be read."""
    facts = {'status': str(job.status), 'attempts': job._attempt,
             'due': job.begin_after, 'quotas': ', '.join(job.quota_names) or 'none'}
    try:
        facts['arguments'] = f'{len(job.args)}, and {len(job.kwargs)} by name'
        facts['callbacks'] = len(job.callbacks)
    except BaseException as error:
        facts['call'] = f'cannot be read: {type(error).__name__}'
    return facts
