"""Twisted meets the ZODB.

`Partial`
    a call, made by the reactor, in a connection and a transaction of its own.
`Failure`, `sanitize`
    errors that can be stored.
`connection`, `transactionManager`
    adapters of persistent objects.
`get_connection`, `availableConnectionCount`
    a connection as soon as the pool has room for it.
`Reference`, `get_self`, `METHOD_WRAPPER_TYPE`
    a persistent object, or a method of one, for use in another connection.
`EXPLOSIVE_ERRORS`
    what a `Partial` raises again after it told its Deferred.
"""
from zc.twist.adapters import connection, transactionManager
from zc.twist.connect import availableConnectionCount, get_connection
from zc.twist.failure import Failure, sanitize
from zc.twist.partial import EXPLOSIVE_ERRORS, Partial
from zc.twist.reference import METHOD_WRAPPER_TYPE, Reference, get_self

__all__ = [
    'EXPLOSIVE_ERRORS', 'Failure', 'METHOD_WRAPPER_TYPE', 'Partial',
    'Reference', 'availableConnectionCount', 'connection', 'get_connection',
    'get_self', 'sanitize', 'transactionManager']
