"""What has to hold of the queues of a database in each committed state.

`Check` sees one state: that of its connection's transaction.  It changes nothing and
calls no code of jobs.
"""
import operator

from ZODB.broken import Broken
from ZODB.POSException import POSKeyError
from ZODB.utils import p64

from .. import describe
from ..interfaces import IJob
from ..interfaces import KEY
from .counting import Counting
from .done import Done
from .findings import Place
from .holding import Holding
from .keeping import Keeping
from .records import Records
from .records import stored
from .records import unreadable
from .soundness import Jobs
from .structure import follow
from .structure import is_linked
from .structure import links
from .structure import parts
from .structure import text_of
from .waiting import Waiting


def problems(connection):
    """Return what is damaged, as *connection* sees it, as sentences."""
    return [f'{found.code}: {found.text}' for found in Check(connection).run()
            if found.damage]


class Check:
    """Looks at all queues in the database of *connection*, in one transaction.

    *told* is called, without arguments, for each job that is looked at.  A finding
    names what it was found by, its *scope*: a method whose docstring begins with
    that word.
    """

    def __init__(self, connection, told=lambda: None):
        self.connection = connection
        self.queues = connection.root().get(KEY) or {}
        self.records = Records(connection)
        self.jobs = Jobs(self.queues, self.records)
        self._told = told
        self.waiting = Waiting(self)
        self.holding = Holding(self)
        self.done = Done(self)
        self.keeping = Keeping(self)
        self.counting = Counting(self)

    def run(self, records=False):
        """Yield the findings; with *records*, look for jobs in all records too.

        Raise ReadConflictError where a pack takes away what is still to be seen;
        begin again then.  Raise `NoIteration` for *records* of a storage that cannot
        be asked for them.
        """
        for name in self.queues:
            yield from self.queue(name)
        if records:
            yield from self._everywhere()
        yield from self.jobs.leftovers()
        for (name, lacked), count in sorted(self.jobs.code_missing.items()):
            yield Place(name, 'jobs', ('code', name, lacked)).finding(
                'code-missing', f'{lacked} cannot be imported here, and {count} objects '
                f'need it; look from where it can')

    def _everywhere(self):
        """Yield the jobs that are lost, of all that are stored."""
        for database in self.connection.db().databases:
            for job in stored(self.connection.get_connection(database), IJob):
                self.look()
                if unreadable(job) is None:
                    yield from self.jobs.mention(job, self._queue_of(job))

    def _queue_of(self, job):
        """Return the name of the queue of *job*; of any where it has none."""
        for name, queue in self.queues.items():
            if job.parent is queue:
                return name
        return next(iter(self.queues), '')

    def again(self, finding):
        """Return *finding* as it is found now, or None."""
        name, *args = finding.scope
        if finding.queue not in self.queues:
            return None
        for found in operator.attrgetter(name)(self)(*args):
            if found.same(finding):
                return found
        return None

    def look(self):
        """Look at one more job."""
        self._told()
        self.records.look()

    def queue(self, name):
        """Yield what is wrong with the queue *name*."""
        damaged = False
        for finding in self.structure(name):
            damaged = damaged or finding.code in ('part-missing', 'tree-broken')
            yield finding
        for part in (self.waiting, self.holding, self.keeping, self.counting):
            try:
                for finding in part.all(name):
                    damaged = damaged or finding.code == 'tree-broken'
                    yield finding
            except POSKeyError as error:
                if not damaged:
                    yield Place(name, part.title, ('queue', name)).finding(
                        'part-missing', f'the {part.title} cannot be looked through: '
                        f'{describe.safe_repr(error, 200)}', repairable=False)

    def structure(self, name):
        """Yield what is wrong with the parts of a queue, their names and parents."""
        for path, part in parts(self.queues[name]):
            if isinstance(part, Broken):
                self.jobs.lacks(name, describe.type_name(type(part)))
            elif unreadable(part) is not None:
                yield self._no_part(name, path, part)
        if unreadable(self.queues[name]) is None:
            yield from self.links(name)

    def part(self, name, path):
        """Scope: one part of a queue."""
        part = follow(self.queues[name], path)
        if part is not None and unreadable(part) is not None:
            yield self._no_part(name, path, part)

    def _no_part(self, name, path, part):
        place = Place(name, text_of(path), ('part', name, path))
        return place.finding(
            'part-missing', f'{place.name} cannot be read: {unreadable(part)}', part,
            repairable=bool(path))

    def links(self, name):
        """Scope: the names and parents of the parts of a queue."""
        for part, attribute, value in links(name, self.queues):
            if not is_linked(part, attribute, value):
                shown = describe.safe_repr(getattr(part, attribute, None), 200)
                yield Place(name, 'links', ('links', name)).finding(
                    'link-wrong', f'{attribute} of {describe.persistent_repr(part)} '
                    f'is {shown}', part)

    # Jobs, wherever they are

    def job(self, name, database, number, idle):
        """Scope: one job and what follows from it."""
        job = self.get(database, number)
        return () if job is None else self.jobs.tree(job, name, 'jobs', idle)

    def orphan(self, name, database, number):
        """Scope: whether one job is lost."""
        job = self.get(database, number)
        if job is not None:
            yield from self.jobs.mention(job, name)
            yield from self.jobs.leftovers()

    def code(self, name, lacked):
        """Scope: code that is missing here, which looking again does not change."""
        return ()

    def get(self, database, number):
        """Return the object with the id *number*, an int; None if it is unreadable."""
        try:
            found = self.connection.get_connection(database).get(p64(number))
        except POSKeyError:
            return None
        return found if unreadable(found) is None else None
