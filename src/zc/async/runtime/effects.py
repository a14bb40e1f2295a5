"""Does a transaction change anything?

The one place that looks into transactions and connections for it: what is
asked here is not part of their interfaces, and is tested on each version.
"""


def has_effects(transaction, connection):
    """Return whether committing *transaction* would do anything at all.

    That is: something joined it, it was doomed, or somebody wants to be called
    when it is committed.
    """
    return bool(
        transaction._resources
        or transaction.isDoomed()
        or not connection._needs_to_join
        or any(True for _hook in transaction.getBeforeCommitHooks())
        or any(True for _hook in transaction.getAfterCommitHooks()))
