"""What can be wrong with the queues of a database, by name."""
import dataclasses

from ZODB.utils import u64


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: what it means, and what repairing it does, if anything.

    One that is no *damage* is worth to be told, and can have come about rightly.
    """

    means: str
    repair: str = None
    damage: bool = True


KINDS = {
    # what holds the jobs
    'part-missing': Kind(
        'a part of a queue cannot be read',
        'put an empty one in its place, or take it out'),
    'link-wrong': Kind(
        'a part of a queue has another name or parent than its place',
        'set them'),
    'tree-broken': Kind(
        'a tree or chain has parts that cannot be read, or out of order',
        'make a new one of what can be read'),
    'count-wrong': Kind(
        'a stored number is not that of what is there',
        'count again'),
    # entries
    'job-missing': Kind(
        'there is no record of a job that should be here',
        'take the entry out'),
    'job-unreadable': Kind(
        'the record of a job cannot be read',
        'park the job'),
    'order-wrong': Kind(
        'a job stands in another line, or under another key, than it says',
        'put it where it belongs'),
    'place-wrong': Kind(
        'a job that is here says that it is elsewhere, and is not there',
        'let it be here'),
    'job-twice': Kind(
        'a job is in two places',
        'leave it where it says that it is'),
    'status-wrong': Kind(
        'the status of a job does not fit its place',
        'move it where its status says, or hand it back'),
    'held-by-nobody': Kind(
        'an agent of a dispatcher that is not activated holds a job',
        'hand the job back'),
    'orphan': Kind(
        'a job says that it is somewhere and is not there, so nobody will do it',
        'put it back in line, or park it'),
    # quotas
    'quota-missing': Kind(
        'jobs name a quota that does not exist',
        'create it with size 1'),
    'quota-stale': Kind(
        'a quota counts a job that is not claimed, or that does not name it',
        'stop counting it'),
    'quota-uncounted': Kind(
        'a quota does not count a claimed job that names it',
        'count it, also over the size'),
    'quota-exceeded': Kind(
        'a quota counts more jobs than its size, as it does after it was made smaller',
        damage=False),
    'agent-exceeded': Kind(
        'an agent holds more jobs than it may, as it does after it was made smaller',
        damage=False),
    # what belongs to a job
    'call-missing': Kind(
        'there is no record of what a job calls, or of an argument',
        'park the job, unless it has begun'),
    'callback-missing': Kind(
        'there is no record of a callback',
        'take it out of the callbacks'),
    'callback-parent': Kind(
        'a callback says that it belongs to another job, or to none',
        'let it belong to the job whose callback it is'),
    'callback-undone': Kind(
        'a job is completed and a callback of it is not done',
        'have the callback done'),
    'callback-stuck': Kind(
        'a callback waits for a Deferred of a process that is gone',
        'let its policy decide, as about any other that was broken off'),
    'waits-in-vain': Kind(
        'a job waits for a result that nobody will bring it',
        'bring the result, or park the job'),
    'reference-missing': Kind(
        'there is no record of something else that a job refers to',
        'forget its retry policy or its notes; a result is left'),
    'code-missing': Kind(
        'jobs are of a class, or refer to one, that cannot be imported here',
        damage=False),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    *oid* and *database* say which object it is about, *other* which it refers to;
    *scope* is what to look at to find it again: a method of `.invariants.Check` by
    name, and its arguments.
    """

    code: str
    queue: str
    place: str
    text: str
    scope: tuple
    oid: int = None
    database: str = None
    other: int = None
    repairable: bool = True

    @property
    def damage(self):
        """Whether it is damage, and not only worth to be told."""
        return KINDS[self.code].damage

    def same(self, other):
        """Return whether *other* is the same thing, found another time."""
        return (self.code, self.scope, self.oid, self.database, self.other) == (
            other.code, other.scope, other.oid, other.database, other.other)

    def as_dict(self):
        """Return it as plain data, for others to read."""
        return {
            'code': self.code, 'damage': self.damage, 'queue': self.queue,
            'place': self.place, 'oid': self.oid, 'database': self.database,
            'other': self.other, 'text': self.text, 'repairable': self.repairable}


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where something is looked at: a queue, a part of it, and the scope."""

    queue: str
    name: str
    scope: tuple

    def finding(self, code, text, about=None, other=None, repairable=True):
        """Return a `Finding` *about* an object, which may have *other* to do with."""
        return Finding(
            code, self.queue, self.name, text, self.scope, *_address(about),
            other=None if other is None else u64(other),
            repairable=repairable and KINDS[code].repair is not None)


def _address(obj):
    if obj is None or obj._p_oid is None:
        return None, None
    return u64(obj._p_oid), None if obj._p_jar is None else obj._p_jar.db().database_name
