"""The clock."""

import time
import unittest
from unittest import mock

from support import ModuleTestCase, load


class ClockTest(ModuleTestCase):
    program = "clock.py"

    def test_it_goes_while_it_plays(self) -> None:
        parent = self.start({"format": "%s"})
        first = int(parent.parameters["time"])
        self.assertAlmostEqual(first, time.time(), delta=2)
        self.assertEqual(parent.parameters["format"], "%s")
        parent.command("play")
        parent.wait_for(lambda: int(parent.parameters["time"]) > first + 1)
        self.assertLess(len(parent.updates), 8, "once a second, not more often")
        parent.command("suspend")
        self.assert_ends_after_rm(parent)

    def test_it_stands_before_play_and_after_suspend(self) -> None:
        clock = load("modules/clock.py").Clock()
        with mock.patch.object(clock, "set_parameters"):
            clock.init()
            self.assertIsNone(clock._next_tick)
            clock._dispatch("play", {})
            self.assertIsNotNone(clock._next_tick)
            self.assertLessEqual(clock._next_tick - time.monotonic(), 1)
            clock._dispatch("suspend", {})
            self.assertIsNone(clock._next_tick)

    def test_formats(self) -> None:
        parent = self.start()
        self.assertRegex(parent.parameters["time"], "^[0-9]{2}:[0-9]{2}:[0-9]{2}$")
        self.assertEqual(parent.command("do_set_format", {"format": "%Y caf\u00e9"}), {"success": True})
        self.assertRegex(parent.parameters["time"], "^20[0-9]{2} caf\u00e9$")
        self.assertIn('"format"', parent.command("do_set_format", {"format": 5})["error"])
        self.assertIn('"format"', parent.command("do_set_format", {"format": "%H\0"})["error"])
        self.assertRegex(parent.parameters["time"], "^20[0-9]{2} caf\u00e9$")


if __name__ == "__main__":
    unittest.main()
