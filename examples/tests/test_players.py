"""The tone player, the slide show, and what they are made of."""

import math
import os
import select
import unittest
from array import array
from pathlib import Path
from typing import Any

from support import ModuleTestCase, alive

import waves
from playhead import Playhead
from shmooze.errors import CommandError


class PlayheadTest(unittest.TestCase):
    def test_it_runs_stands_and_seeks(self) -> None:
        now = [100.0]
        head = Playhead(10, lambda: now[0])
        now[0] += 5
        self.assertEqual((head.position, head.running), (0, False))
        head.run()
        now[0] += 3
        head.run()
        self.assertEqual((head.position, head.left, head.running), (3, 7, True))
        head.stand()
        now[0] += 50
        self.assertEqual(head.position, 3)
        head.seek(9)
        self.assertEqual(head.position, 9)
        head.run()
        head.seek(4)
        now[0] += 1
        self.assertEqual(head.position, 5)
        now[0] += 50
        self.assertEqual((head.position, head.ended), (10, True))
        for nowhere in (-0.1, 10.1, math.inf, -math.inf, math.nan):
            with self.assertRaisesRegex(CommandError, "between 0 and 10 seconds"):
                head.seek(nowhere)


class WavesTest(unittest.TestCase):
    def test_notes(self) -> None:
        for note, hertz in {
            "A4": 440,
            "a5": 880,
            "C4": 261.63,
            "C#4": 277.18,
            "Db4": 277.18,
            "B3": 246.94,
            "-": 0,
        }.items():
            self.assertAlmostEqual(waves.frequency_of(note), hertz, places=2)
        for wrong in ("", "H4", "A", "4", "A44", "A##4", "A-1", "--", "A\u00b2"):
            with self.subTest(wrong), self.assertRaisesRegex(ValueError, "is no note"):
                waves.frequency_of(wrong)

    def test_length_and_pitch(self) -> None:
        sound = array("h", b"".join(waves.samples([440.0, 0.0, 1000.0], 3.0)))
        self.assertEqual(len(sound), 3 * waves.RATE)
        parts = [sound[n * waves.RATE : (n + 1) * waves.RATE] for n in range(3)]
        for part, hertz in zip(parts, (440, 0, 1000), strict=True):
            rising = sum(1 for before, after in zip(part, part[1:], strict=False) if before < 0 <= after)
            self.assertAlmostEqual(rising, hertz, delta=2)
        self.assertEqual(max(map(abs, parts[1])), 0)
        self.assertLess(max(map(abs, sound)), 0.31 * 32768)
        self.assertLess(max(map(abs, parts[0][:3])), 400, "it fades in")
        self.assertLess(max(map(abs, parts[0][-3:])), 400, "it fades out")

    def test_from_the_middle_it_is_the_rest_of_the_whole(self) -> None:
        whole = b"".join(waves.samples([440.0, 660.0], 1.5))
        for start in (0.1, 0.75, 1.2, 1.5):
            rest = b"".join(waves.samples([440.0, 660.0], 1.5, start))
            self.assertTrue(whole.endswith(rest))
            self.assertEqual(len(rest), len(whole) - 2 * round(start * waves.RATE))

    def test_a_day_of_sound_comes_in_small_blocks(self) -> None:
        self.assertLess(len(next(waves.samples([440.0], 86400.0))), 20_000)


class TonesTest(ModuleTestCase):
    program = "tones.py"

    def test_parameters(self) -> None:
        cases: list[tuple[Any, str, float]] = [
            ({}, "440 Hz", 3),
            ({"frequency": 220.5}, "220.5 Hz", 3),
            ({"notes": "C4 E4  - G4"}, "C4 E4  - G4", 2),
            ({"notes": ["C4", "E4"], "duration": 7}, "C4 E4", 7),
            ({"title": "Song", "frequency": 100}, "Song", 3),
        ]
        for args, title, duration in cases:
            with self.subTest(args=args):
                parent = self.start(args)
                expected = {"title": title, "duration": duration, "position": 0, "state": "initialized"}
                self.assertEqual(parent.parameters, expected)

    def test_refusals(self) -> None:
        cases: list[tuple[Any, str]] = [
            ({"notes": "A4", "frequency": 440}, 'either "notes" or "frequency"'),
            ({"notes": "A4 X9"}, 'Argument "notes": "X9" is no note'),
            ({"notes": " "}, '"notes" holds no note'),
            ({"notes": [1]}, '"notes" of command "init" must be text or a list of texts or null'),
            ({"frequency": 5}, '"frequency" must be between 20 and 10000'),
            ({"frequency": "440"}, '"frequency" of command "init" must be a number'),
            ({"duration": 0}, '"duration" must be more than 0'),
            ({"duration": 10**400}, '"duration" must be more than 0'),
            ({"colour": 1}, 'takes no argument "colour"'),
        ]
        parent = self.launch()
        parent.connect()
        for args, sentence in cases:
            with self.subTest(args=args):
                self.assert_refused(parent, args, sentence)
        self.assert_ends_after_rm(parent)

    def test_it_plays_to_its_end_and_removes_itself(self) -> None:
        parent = self.start({"frequency": 440, "duration": 0.3})
        self.assertEqual(parent.command("play"), {"success": True})
        self.assertEqual(parent.parameters["state"], "playing")
        parent.wait_finished()
        self.assertEqual(parent.parameters["position"], 0.3)
        self.assertEqual(parent.wait_exit(), 0)

    def test_pause_seek_suspend_resume(self) -> None:
        parent = self.start({"duration": 1000})
        parent.command("play")
        self.assertEqual(parent.command("do_pause"), {"success": True})
        self.assertEqual(parent.parameters["state"], "paused")
        self.assertEqual(parent.command("do_seek", {"position": 500}), {"success": True, "result": 500.0})
        self.assertEqual((parent.parameters["position"], parent.parameters["state"]), (500, "paused"))
        parent.command("suspend")
        self.assertEqual(parent.parameters["state"], "paused")
        parent.command("play")
        self.assertEqual(parent.parameters["position"], 500, "what was paused stays paused")
        parent.command("do_resume")
        self.assertEqual(parent.parameters["state"], "playing")
        parent.wait_for(lambda: parent.parameters["position"] > 500)
        parent.command("suspend")
        self.assertEqual(parent.parameters["state"], "suspended")
        self.assertRegex(
            parent.command("do_seek", {"position": 1001})["error"], '"position" must be between 0 and 1000'
        )
        self.assertRegex(parent.command("do_seek", {"position": -1})["error"], '"position" must be between')
        self.assertRegex(parent.command("do_seek")["error"], 'needs the argument "position"')
        self.assert_ends_after_rm(parent)

    def test_seeking_to_the_end_ends_it(self) -> None:
        for before in ("play", "suspend", "do_pause"):
            with self.subTest(before):
                parent = self.start({"duration": 1000})
                parent.command(before)
                self.assertTrue(parent.command("do_seek", {"position": 1000})["success"])
                parent.wait_finished()
                self.assertEqual(parent.wait_exit(), 0)

    def player(self, script: str) -> Path:
        """A player in place of aplay; returns the file into which it may write."""
        self.program_in_path("aplay", script)
        self.environment["HEARD"] = str(self.folder / "heard")
        return self.folder / "heard"

    def test_the_sound_goes_to_the_player(self) -> None:
        heard = self.player("import os, sys\nopen(os.environ['HEARD'], 'wb').write(sys.stdin.buffer.read())\n")
        parent = self.start({"notes": "A4 B4", "duration": 0.4})
        parent.command("play")
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(heard.read_bytes(), b"".join(waves.samples([440.0, waves.frequency_of("B4")], 0.4)))

    def test_silence_at_once_on_pause_seek_suspend_rm_and_the_parents_death(self) -> None:
        os.mkfifo(self.folder / "heard")
        self.player("import os, time\nopen(os.environ['HEARD'], 'w').write(f'{os.getpid()}\\n')\ntime.sleep(60)\n")
        fifo = os.open(self.folder / "heard", os.O_RDWR)  # for writing too: so it never ends
        self.addCleanup(os.close, fifo)

        def player_started() -> int:
            self.assertTrue(select.select([fifo], [], [], 10)[0], "no player was started")
            pid = int(os.read(fifo, 100))
            self.assertTrue(alive(pid))
            return pid

        parent = self.start({"duration": 1000})
        parent.command("play")
        for cmd, args, starts_again in (
            ("do_pause", {}, False),
            ("do_resume", {}, True),
            ("do_seek", {"position": 10}, True),
            ("suspend", ..., False),
            ("play", ..., True),
            ("rm", ..., False),
        ):
            with self.subTest(cmd):
                pid = player_started() if cmd not in ("do_resume", "play") else None
                self.assertTrue(parent.command(cmd, args)["success"])
                if pid is not None:
                    self.assertFalse(alive(pid))
                self.assertTrue(starts_again or not select.select([fifo], [], [], 0)[0])

        parent = self.start({"duration": 1000})
        parent.command("play")
        pid = player_started()
        parent.close_streams()
        parent.wait_exit()
        self.assertFalse(alive(pid))

    def test_a_player_without_sound_card_does_not_matter(self) -> None:
        self.player("import sys\nsys.exit(1)\n")
        parent = self.start({"duration": 0.3})
        parent.command("play")
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(parent.output(), "")


class SlidesTest(ModuleTestCase):
    program = "slides.py"

    def test_it_shows_all_slides_and_removes_itself(self) -> None:
        parent = self.start({"slides": ["one", " two ", "three"], "seconds": 0.1, "title": "Show"})
        expected = {"title": "Show", "count": 3, "duration": 0.1 * 3, "index": 0, "text": "one"}
        self.assertEqual(parent.parameters, {**expected, "position": 0, "state": "initialized"})
        parent.command("play")
        self.assertEqual(parent.parameters["state"], "playing")
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 0)
        shown = [
            u["args"]["parameters"]["text"] for u in parent.updates if "text" in u.get("args", {}).get("parameters", {})
        ]
        self.assertEqual(shown, ["one", "two", "three"])
        self.assertEqual(parent.parameters["position"], 0.3)

    def test_pause_next_seek(self) -> None:
        parent = self.start({"slides": "a|b|c", "seconds": 100})
        parent.command("play")
        self.assertEqual(parent.command("do_next"), {"success": True, "result": 1})
        self.assertEqual((parent.parameters["text"], parent.parameters["state"]), ("b", "playing"))
        self.assertEqual(parent.command("do_pause"), {"success": True})
        self.assertEqual(parent.parameters["state"], "paused")
        self.assertEqual(parent.command("do_seek", {"position": 250}), {"success": True, "result": 250.0})
        self.assertEqual((parent.parameters["text"], parent.parameters["position"]), ("c", 250))
        self.assertEqual(parent.command("do_seek", {"position": 0}), {"success": True, "result": 0.0})
        self.assertEqual(parent.parameters["text"], "a")
        self.assertRegex(parent.command("do_seek", {"position": 301})["error"], '"position" must be between 0 and 300')
        self.assertEqual(parent.command("do_resume"), {"success": True})
        self.assertEqual(parent.parameters["state"], "playing")
        parent.command("suspend")
        self.assertEqual(parent.parameters["state"], "suspended")
        self.assert_ends_after_rm(parent)

    def test_every_next_is_another_slide_whatever_the_seconds(self) -> None:
        for seconds in (0.1, 1 / 49, 1 / 3, 7.7, 1e-3):
            parent = self.start({"slides": [str(n) for n in range(60)], "seconds": seconds})
            for index in range(1, 60):
                self.assertEqual(parent.command("do_next")["result"], index)
            parent.close()

    def test_next_after_the_last_ends_it(self) -> None:
        for before in ("play", "suspend", "do_pause"):
            with self.subTest(before):
                parent = self.start({"slides": "a|b", "seconds": 100})
                parent.command(before)
                parent.command("do_next")
                self.assertTrue(parent.command("do_next")["success"])
                parent.wait_finished()
                self.assertEqual(parent.wait_exit(), 0)

    def test_refusals(self) -> None:
        cases: list[tuple[Any, str]] = [
            ({"slides": []}, '"slides" holds no text'),
            ({"slides": " | "}, '"slides" holds no text'),
            ({"slides": [1]}, '"slides" of command "init" must be text or a list of texts'),
            ({"seconds": 0}, '"seconds" must be more than 0'),
            ({"seconds": "1"}, '"seconds" of command "init" must be a number'),
        ]
        parent = self.launch()
        parent.connect()
        for args, sentence in cases:
            with self.subTest(args=args):
                self.assert_refused(parent, args, sentence)


if __name__ == "__main__":
    unittest.main()
