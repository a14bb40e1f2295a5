"""Room in the databases' connection pools for the connections of worker threads.

A pool that is too small works, but throws connections away with all that they
have cached: each job would load everything anew.
"""


class Room:
    """What one dispatcher adds to the pools of *db* and the databases beside it."""

    def __init__(self, db):
        self._db = db
        self._added = 0

    def make(self, connections):
        """Let each pool keep so many *connections* more than without this dispatcher.

        Reactor's thread.  What others set meanwhile is kept.
        """
        more, self._added = connections - self._added, connections
        if more:
            for db in self._db.databases.values():
                db.setPoolSize(max(1, db.getPoolSize() + more))
