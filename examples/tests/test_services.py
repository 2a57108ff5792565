"""The services of the example application, as processes, beside a queue that the test plays."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import EXAMPLES

from shmooze.client import Client
from shmooze.errors import CommandError, CommandFailed
from shmooze.service import Service

LIMIT = 10


class ServicesTestCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.ports = {name: free_port() for name in ("queue", "volume", "nlp")}
        (self.folder / "settings.json").write_text(json.dumps({"ports": self.ports}))

    def start(self, name: str, **environment: str) -> Client:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "services" / f"{name}.py"],
            env={
                **os.environ,
                "PATH": str(self.folder),
                "SHMOOZE_SETTINGS": str(self.folder / "settings.json"),
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        assert process.stderr is not None
        self.assertRegex(process.stderr.readline(), f"^{name}: listening on 127.0.0.1 port {self.ports[name]}")
        client = Client(("127.0.0.1", self.ports[name]), timeout=LIMIT)
        self.addCleanup(client.close)
        return client

    def end(self, process: "subprocess.Popen[str]") -> None:
        process.terminate()
        try:
            _, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(err.replace("\n", " ").strip().rpartition(": ")[2], "stopping", err)

    def refused(self, client: Client, cmd: str, **args: Any) -> str:
        with self.assertRaises(CommandFailed) as caught:
            client.call(cmd, **args)
        return str(caught.exception)


class VolumeTest(ServicesTestCase):
    def test_get_set_mute(self) -> None:
        volume = self.start("volume")
        self.assertEqual(volume.call("get_volume"), {"volume": 50, "muted": False})
        self.assertEqual(volume.call("set_volume", volume=30), {"volume": 30, "muted": False})
        self.assertEqual(volume.call("mute"), {"volume": 30, "muted": True})
        self.assertEqual(volume.call("set_volume", volume=100), {"volume": 100, "muted": True})
        self.assertEqual(volume.call("mute", muted=False), {"volume": 100, "muted": False})
        self.assertEqual(volume.call("get_volume"), {"volume": 100, "muted": False})

    def test_refusals(self) -> None:
        volume = self.start("volume")
        for wrong in (-1, 101, 10**30):
            self.assertEqual(
                self.refused(volume, "set_volume", volume=wrong),
                'Argument "volume" of command "set_volume" must be between 0 and 100.',
            )
        for ill_typed in ("30", 30.5, True, None):
            self.assertEqual(
                self.refused(volume, "set_volume", volume=ill_typed),
                'Argument "volume" of command "set_volume" must be a whole number.',
            )
        self.assertEqual(self.refused(volume, "set_volume"), 'Command "set_volume" needs the argument "volume".')
        self.assertEqual(self.refused(volume, "mute", now=1), 'Command "mute" takes no argument "now".')
        self.assertEqual(self.refused(volume, "loud"), "Bad command.")
        self.assertEqual(volume.call("get_volume")["volume"], 50)

    def test_the_mixer_follows(self) -> None:
        amixer = self.folder / "amixer"
        amixer.write_text(
            f"#!{sys.executable}\nimport sys\nopen({str(self.folder / 'mixed')!r}, 'a').write(f'{{sys.argv[1:]}}\\n')\n"
        )
        amixer.chmod(0o755)
        volume = self.start("volume", SHMOOZE_MIXER="Master")
        volume.call("set_volume", volume=30)
        volume.call("mute")
        volume.call("mute", muted=False)
        expected = [f"['-q', 'sset', 'Master', '{level}%']" for level in (30, 0, 30)]
        self.assertEqual((self.folder / "mixed").read_text().splitlines(), expected)


class WordsTest(ServicesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, Any]] = []
        self.modules: list[dict[str, Any]] = []

    def play_queue(self) -> None:
        """A service ``queue`` in a thread, which records what it is asked."""

        def note(cmd: str, args: Any) -> None:
            if cmd not in ("modules_available", "queue"):
                self.asked.append((cmd, args))

        def add(type: str, args: dict[str, Any]) -> dict[str, str]:
            note("add", {"type": type, "args": args})
            if args.get("frequency") == 1:
                raise CommandError("too low")
            return {"uid": "u"}

        def rm(uids: list[str]) -> None:
            note("rm", uids)

        def tell_module(uid: str, cmd: str, args: dict[str, Any] | None = None) -> None:
            note("tell_module", [uid, cmd])

        def queue(parameters: dict[str, list[str]]) -> list[dict[str, Any]]:
            return self.modules

        commands: dict[str, Callable[..., Any]] = {
            "add": add,
            "rm": rm,
            "tell_module": tell_module,
            "queue": queue,
            "modules_available": lambda: ["tones", "slides", "echo"],
        }
        loop = asyncio.new_event_loop()
        service = Service("queue", commands, port=self.ports["queue"])
        loop.run_until_complete(service.start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def end() -> None:
            asyncio.run_coroutine_threadsafe(service.stop(), loop).result(LIMIT)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(LIMIT)
            loop.close()

        self.addCleanup(end)

    def say(self, nlp: Client, message: str) -> str:
        return str(nlp.call("do", message=message)["message"])

    def test_playing(self) -> None:
        self.play_queue()
        nlp = self.start("nlp")
        cases: list[tuple[str, str, dict[str, Any], str]] = [
            ("play tones 440", "tones", {"frequency": 440}, "Added tones (frequency 440)."),
            ("Play tones 220.5", "tones", {"frequency": 220.5}, "Added tones (frequency 220.5)."),
            ("play  tones C4 Eb4", "tones", {"notes": "C4 Eb4"}, "Added tones (notes C4 Eb4)."),
            ("add tones", "tones", {}, "Added tones."),
            (
                "queue tones frequency=300 title=Song",
                "tones",
                {"frequency": 300, "title": "Song"},
                "Added tones (frequency 300, title Song).",
            ),
            ("play slides One | Two", "slides", {"slides": "One | Two"}, "Added slides (slides One | Two)."),
            ("play echo hello", "echo", {"message": "hello"}, "Added echo (message hello)."),
        ]
        for message, kind, args, sentence in cases:
            with self.subTest(message):
                self.asked.clear()
                self.assertEqual(self.say(nlp, message), sentence)
                self.assertEqual(self.asked, [("add", {"type": kind, "args": args})])
        self.assertEqual(
            self.refused(nlp, "do", message="play sofa"), "I cannot play sofa; I know echo, slides, tones."
        )
        self.assertEqual(self.refused(nlp, "do", message="play tones 1"), "too low")

    def test_what_is_at_the_top(self) -> None:
        self.play_queue()
        nlp = self.start("nlp")
        self.assertEqual(self.say(nlp, "what is playing?"), "Nothing is playing.")
        self.assertEqual(self.refused(nlp, "do", message="skip"), "Nothing is playing.")
        self.assertEqual(self.say(nlp, "clear"), "There was nothing to remove.")
        self.modules = [
            {"uid": "a", "type": "tones", "parameters": {"title": "440 Hz", "state": "paused"}},
            {"uid": "b", "type": "echo", "parameters": {}},
        ]
        self.assertEqual(self.say(nlp, "What's playing"), "tones (440 Hz) is paused. Next: echo.")
        self.assertEqual(self.say(nlp, "pause"), "Paused tones (440 Hz).")
        self.assertEqual(self.say(nlp, "go on"), "Resumed tones (440 Hz).")
        self.assertEqual(self.say(nlp, "next"), "Skipped tones (440 Hz).")
        self.assertEqual(self.say(nlp, "clear"), "Removed 2.")
        self.assertEqual(
            self.asked,
            [("tell_module", ["a", "pause"]), ("tell_module", ["a", "resume"]), ("rm", ["a"]), ("rm", ["a", "b"])],
        )

    def test_the_volume(self) -> None:
        self.start("volume")
        nlp = self.start("nlp")
        for message, sentence in (
            ("volume 30", "The volume is 30."),
            ("set the volume to 35%", "The volume is 35."),
            ("louder", "The volume is 45."),
            ("vol down", "The volume is 35."),
            ("mute", "The volume is 35 and muted."),
            ("unmute", "The volume is 35."),
            ("volume 95", "The volume is 95."),
            ("louder", "The volume is 100."),
            ("volume", "The volume is 100."),
        ):
            with self.subTest(message):
                self.assertEqual(self.say(nlp, message), sentence)
        self.assertIn("between 0 and 100", self.refused(nlp, "do", message="volume 101"))

    def test_what_it_cannot_do(self) -> None:
        nlp = self.start("nlp")
        self.assertEqual(
            self.refused(nlp, "do", message="sing  a song"), 'I do not understand "sing a song"; try "help".'
        )
        self.assertEqual(self.refused(nlp, "do", message=""), 'I do not understand ""; try "help".')
        self.assertEqual(self.refused(nlp, "do", message="skip"), "The service queue does not run.")
        self.assertEqual(self.refused(nlp, "do"), 'Command "do" needs the argument "message".')
        self.assertRegex(self.say(nlp, "help"), "^I understand: play TYPE ….*; help.$")


def free_port() -> int:
    """A port below those that the system gives to whoever connects somewhere, so that nobody takes it meanwhile."""
    for port in random.sample(range(10_000, 30_000), 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no port is free")


if __name__ == "__main__":
    unittest.main()
