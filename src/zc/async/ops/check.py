"""What a worker would do, and what is wrong; nothing is changed."""
import os

import transaction

from ..interfaces import KEY
from ..runtime.attempt import abort
from . import databases
from . import identity
from .options import Refused


def run(settings, source, output):
    """Write to *output* what would be done; return 1 if something is wrong."""
    found = _Check(settings, source)
    for label, text in found.lines():
        output.write(f'{label:<10} {text}\n')
    for text in found.wrong:
        output.write(f'{"wrong":<10} {text}\n')
    return 1 if found.wrong else 0


class _Check:
    """Yields what would be done, and gathers in ``wrong`` what speaks against it."""

    def __init__(self, settings, source):
        self.wrong = []
        self._settings = settings
        self._source = source

    def lines(self):
        """Yield pairs of a label and what would be done."""
        settings = self._settings
        yield from self._database()
        for path in self._uuid_files():
            yield 'identity', self._identity(path)
        for agent in settings.agents:
            where = ('every queue' if settings.queues is None
                     else ' and '.join(map(repr, settings.queues)))
            yield 'agent', f'{agent} in {where}'
        yield 'processes', (f'{settings.processes} under a supervisor'
                            if settings.processes else 'this one')
        yield 'timing', (f'a poll every {settings.poll_interval:g} s; {settings.grace:g} s '
                         f'of grace for jobs when stopping')
        yield 'log', self._log()

    def _uuid_files(self):
        settings = self._settings
        return ([settings.uuid_file_of(number + 1) for number in range(settings.processes)]
                or [settings.uuid_file])

    def _identity(self, path):
        problem = identity.problem(path)
        if problem is not None:
            self.wrong.append(problem)
        try:
            known = identity.known(path)
        except (OSError, ValueError) as error:
            self.wrong.append(str(error))
            return path
        return f'{path}: {known or "would be made"}'

    def _log(self):
        path = self._settings.log_file
        if path is None:
            return 'the standard error output'
        present = path if os.path.exists(path) else os.path.dirname(os.path.abspath(path))
        if not os.access(present, os.W_OK):
            self.wrong.append(f'{present} cannot be written, and the log should go there')
        return path

    # The database

    def _database(self):
        """Yield what is in the database, if it can be opened."""
        missing = self._source.missing
        try:
            self._source.check_files()
            if missing:
                yield 'database', f'{self._source.name}, which would be made'
                return
            db = self._source.open()
        except Refused as refused:
            yield 'database', self._source.name
            self.wrong.append(str(refused))
            return
        try:
            yield 'database', f'{self._source.name}, {type(db.storage).__name__}'
            yield from self._queues(db)
        finally:
            databases.close(db)

    def _queues(self, db):
        manager = transaction.TransactionManager(explicit=True)
        connection = db.open(transaction_manager=manager)
        try:
            manager.begin()
            yield from self._queues_in(connection.root().get(KEY))
        finally:
            abort(manager)
            connection.close()

    def _queues_in(self, queues):
        """Yield what is to be worked on among *queues*, None if there are none."""
        present = {} if queues is None else queues
        wanted = self._settings.queues
        if wanted is None:
            wanted = tuple(present) or ('',)
        for name in wanted:
            if name in present:
                yield 'queue', f'{name!r}, where {len(present[name])} jobs wait'
            elif self._settings.install:
                yield 'queue', f'{name!r}, which would be made'
            else:
                self.wrong.append(f'there is no queue {name!r}; let the application make '
                                  f'it, or --install')
