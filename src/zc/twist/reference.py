"""Persistent objects, and methods of them, named for another connection."""
import types

from persistent.interfaces import IPersistent

from zc.twist.text import is_a

#: The type of methods that are slots of C types, as of ``tree.__setitem__``.
METHOD_WRAPPER_TYPE = types.MethodWrapperType


def get_self(method):
    """Return the object that *method* is bound to, or None."""
    if is_a(method, types.MethodType, types.BuiltinMethodType,
            METHOD_WRAPPER_TYPE):
        return method.__self__
    return None


def is_stored(obj):
    """Whether *obj* is persistent and a database knows it."""
    return IPersistent.providedBy(obj) and obj._p_jar is not None


class Reference:
    """A persistent object, or a method of one, that another connection can load.

    ``Reference(obj)`` keeps the database, the object id and the method, and
    not the object.  The object has to be committed by the time `resolve` is
    called; that is the caller's business.
    """

    def __init__(self, obj):
        owner = obj if is_stored(obj) else get_self(obj)
        if not is_stored(owner):
            raise TypeError(
                'an object of %s is neither a persistent object that a database'
                ' knows nor a method of one; commit it, or add it to a'
                ' connection, first' % type(obj).__qualname__)
        self.db, self.oid = owner._p_jar.db(), owner._p_oid
        self._method = None if owner is obj else _unbound(obj)

    def resolve(self, connection):
        """Return the object or method, loaded by *connection* or a sibling."""
        owner = self._connection(connection).get(self.oid)
        if self._method is None:
            return owner
        if is_a(self._method, str):
            return getattr(owner, self._method)
        return types.MethodType(self._method, owner)

    def _connection(self, connection):
        if self.db is connection.db():
            return connection
        name = self.db.database_name
        # The name alone is no proof: two databases that do not know each
        # other are both called 'unnamed' by default.
        if connection.db().databases.get(name) is not self.db:
            raise ValueError(
                'database %r is not a sibling of database %r; open both with'
                ' one `databases` mapping' % (
                    name, connection.db().database_name))
        return connection.get_connection(name)


def _unbound(method):
    """Return what binds *method* to another object, and not its own object."""
    if is_a(method, types.MethodType):
        return method.__func__      # its name may lead to another method
    return method.__name__


def refer(obj):
    """Return a `Reference` to *obj* where it needs one, or *obj*."""
    if is_stored(obj):
        return Reference(obj)
    owner = get_self(obj)
    return Reference(obj) if owner is not None and is_stored(owner) else obj


def resolve(thing, connection):
    """Return what *thing*, a result of `refer`, stands for in *connection*."""
    return thing.resolve(connection) if is_a(thing, Reference) else thing
