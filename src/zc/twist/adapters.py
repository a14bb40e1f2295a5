"""From a persistent object to its connection and its transaction manager."""
from persistent.interfaces import IPersistent
from transaction.interfaces import ITransactionManager
from ZODB.interfaces import IConnection
import zope.component
import zope.interface


@zope.component.adapter(IPersistent)
@zope.interface.implementer(IConnection)
def connection(obj):
    """Return the connection of *obj*: its own, or else that of a parent.

    An object that was not committed yet has none; the first object up the
    ``__parent__`` chain that has one decides.  None where there is none, which
    the component registry takes as "cannot adapt".
    """
    seen = set()
    while obj is not None and id(obj) not in seen:
        seen.add(id(obj))
        jar = getattr(obj, '_p_jar', None)
        if jar is not None:
            return jar
        obj = getattr(obj, '__parent__', None)
    return None


@zope.component.adapter(IPersistent)
@zope.interface.implementer(ITransactionManager)
def transactionManager(obj):
    """Return the transaction manager of *obj*, persistent or a connection.

    To be registered twice, for `IPersistent` and for `IConnection`.
    """
    found = IConnection(obj, None)
    if found is None:
        found = connection(obj)
    return None if found is None else found.transaction_manager
