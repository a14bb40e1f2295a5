"""The effect of a job on PostgreSQL: a row; and what the drivers ask the server."""
import common
import psycopg
import psycopg_pool


def connect():
    """Return a connection that commits each statement."""
    return psycopg.connect(common.DSN, autocommit=True)


def setup():
    with connect() as connection:
        connection.execute(common.EFFECTS)


def has_table(name):
    with connect() as connection:
        return connection.execute(
            'select to_regclass(%s)', (name,)).fetchone()[0] is not None


def execute(*statements):
    with connect() as connection:
        for statement in statements:
            connection.execute(statement)


def count(query):
    with connect() as connection:
        return connection.execute(query).fetchone()[0]


def effects():
    with connect() as connection:
        return [job for job, in connection.execute('select job from effects')]


class Pool:
    """Connections for the effects of asynchronous jobs, opened with the first."""

    def __init__(self):
        self._pool = None

    async def effect(self, number):
        if self._pool is None:
            self._pool = psycopg_pool.AsyncConnectionPool(
                common.DSN, min_size=2, max_size=10, open=False,
                kwargs={'autocommit': True})
            await self._pool.open()
        async with self._pool.connection() as connection:
            await connection.execute(
                'insert into effects(job) values (%s)', (number,))
