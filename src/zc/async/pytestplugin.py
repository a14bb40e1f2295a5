"""The plugin for pytest: a fixture ``zc_async``.

pytest loads it in every run where the package is installed, so it loads nothing
else before a test asks for the fixture.
"""


def pytest_configure(config):
    """Offer the fixture.  pytest calls this when it starts."""
    config.pluginmanager.register(_fixtures(), 'zc.async fixtures')


def _fixtures():
    import pytest

    class Fixtures:

        @pytest.fixture
        def zc_async(self, tmp_path):
            """A temporary database with a zc.async queue: a zc.async_.testkit.World.

            It has db, connection, root and queue; put; drain and inline to do jobs
            in the test's thread, start and start_virtual for a dispatcher;
            virtual_time; wait_for_result; put_jobs, assert_put and assert_not_put.
            """
            from .testkit import World

            folder = tmp_path / 'zc.async'
            folder.mkdir()
            with World(folder) as world:
                yield world

    return Fixtures()
