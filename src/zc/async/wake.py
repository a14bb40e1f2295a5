"""Who wants to hear that work was committed.

A queue tells the transaction in which a job is put; when that transaction is
committed, the listeners are called.  Nothing is promised: a dispatcher that
hears nothing finds the work at its next poll.
"""
from . import bell

_listeners = []


def listen(callback):
    """Call *callback*, without arguments, after commits that put jobs.

    It is called in the committing thread, must not block and must not raise.
    """
    _listeners.append(callback)


def unlisten(callback):
    """No longer call *callback*; nothing happens if it was not called."""
    if callback in _listeners:
        _listeners.remove(callback)


def announce(success=True):
    """Tell the listeners.  The signature is that of an after-commit hook."""
    if success:
        for callback in tuple(_listeners):
            callback()


def after_commit(transaction, owner):
    """Have the listeners told, once, when *transaction* is committed.

    And other processes, where the database of *owner*, a queue, can pass that on.
    """
    try:
        transaction.data(owner)
    except KeyError:
        transaction.set_data(owner, True)
        if _listeners:
            transaction.addAfterCommitHook(announce)
        others = bell.of(owner._p_jar.db())
        if others is not None:
            transaction.addAfterCommitHook(others.ring)
