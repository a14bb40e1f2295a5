"""The one clock of the package."""
import datetime
import unittest

from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from .. import clock
from ..interfaces import IClock
from .contracts import HOUR
from .contracts import SECOND
from .contracts import START
from .contracts import UTC
from .contracts import StoppedClock


class Clock(unittest.TestCase):

    def test_the_clocks_provide_the_interface(self):
        for cls in (clock.SystemClock, StoppedClock):
            verifyClass(IClock, cls)
            verifyObject(IClock, cls())

    def test_the_system_clock_says_what_the_wall_says(self):
        before = datetime.datetime.now(UTC)
        now = clock.SystemClock().now()
        self.assertLessEqual(before, now)
        self.assertLessEqual(now, datetime.datetime.now(UTC))
        self.assertIs(now.tzinfo, UTC)

    def test_steady_time_never_goes_back(self):
        system = clock.SystemClock()
        self.assertLessEqual(system.monotonic(), system.monotonic())

    def test_a_clock_that_is_installed_is_asked_until_another_is(self):
        stopped = StoppedClock()
        before = clock.install(stopped)
        try:
            self.assertEqual(clock.now(), START)
            self.assertEqual(clock.monotonic(), 0)
            stopped.advance(SECOND)
            self.assertEqual(clock.now(), START + SECOND)
            self.assertEqual(clock.monotonic(), 1)
        finally:
            self.assertIs(clock.install(before), stopped)
        self.assertNotEqual(clock.now(), START + SECOND)

    def test_micros_are_the_present_time(self):
        before = clock.install(StoppedClock())
        self.addCleanup(clock.install, before)
        self.assertEqual(clock.micros(), clock.to_micros(START))

    def test_a_moment_survives_being_stored(self):
        for moment in (START, START + 211 * clock._TICK,
                       datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
                       datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)):
            self.assertEqual(clock.from_micros(clock.to_micros(moment)), moment)

    def test_no_moment_is_no_moment(self):
        self.assertIsNone(clock.to_micros(None))
        self.assertIsNone(clock.from_micros(None))

    def test_the_epoch_is_zero(self):
        self.assertEqual(clock.to_micros(datetime.datetime(1970, 1, 1, tzinfo=UTC)), 0)

    def test_a_moment_without_a_time_zone_is_in_utc(self):
        self.assertEqual(clock.utc(START.replace(tzinfo=None)), START)

    def test_a_moment_of_another_time_zone_is_told_in_utc(self):
        found = clock.utc(START.astimezone(datetime.timezone(5 * HOUR)))
        self.assertEqual(found, START)
        self.assertIs(found.tzinfo, UTC)
