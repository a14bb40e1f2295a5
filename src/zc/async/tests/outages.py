"""Errors as storages, drivers and jobs raise them, and a storage that does."""
import contextlib

from ZODB.MappingStorage import MappingStorage

#: As drivers derive them.
DATABASE = type('DatabaseError', (Exception,), {'__module__': 'psycopg2'})
OPERATIONAL = type('OperationalError', (DATABASE,), {'__module__': 'psycopg2'})
ADMIN_SHUTDOWN = type('AdminShutdown', (OPERATIONAL,), {'__module__': 'psycopg2.errors'})
INTEGRITY = type('IntegrityError', (DATABASE,), {'__module__': 'psycopg2'})
UNIQUE = type('UniqueViolation', (INTEGRITY,), {'__module__': 'psycopg2.errors'})

#: Who calls whom, to the one that raises: in our storage, and in a job.
STORAGE = ('ZODB.Connection', 'relstorage.storage', 'relstorage.adapters.connmanager')
JOB = ('zc.async.model.execution', 'shop.orders')


def raised(error, *modules):
    """Return *error* as raised by the last of *modules*, called by the one before."""
    call = None
    for module in reversed(modules):
        scope = {'__name__': module, 'error': error, 'call': call}
        exec('def run():\n'
             '    if call is not None:\n'
             '        call()\n'
             '    raise error.with_traceback(None)', scope)
        call = scope['run']
    with contextlib.suppress(type(error)):
        call()
    return error


def driver_error(name, base=Exception, module='psycopg2', **attributes):
    """Return an error of a class *name* of a driver."""
    return type(name, (base,), {'__module__': module, **attributes})()


class Flaky(MappingStorage):
    """Fails as told: *plan* is what the next loads of the object *oid* raise."""

    oid, plan = None, ()

    def loadBefore(self, oid, tid):
        """Load, or do as planned."""
        if oid == self.oid and self.plan:
            error, self.plan = self.plan[0], self.plan[1:]
            raise error
        return super().loadBefore(oid, tid)
