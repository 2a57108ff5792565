"""The ill-behaved module: that it is as ill-behaved as it says."""

import os
import signal
import socket
import unittest
from typing import Any

from support import ModuleTestCase, alive, open_descriptors

from shmooze.testing import FakeParent

SHORT = 0.3  # seconds within which nothing is expected


class ProblemTest(ModuleTestCase):
    program = "problem.py"

    def kill(self, parent: FakeParent) -> int:
        assert parent.process is not None
        parent.process.kill()
        return parent.wait_exit()

    def pid(self, parent: FakeParent) -> int:
        assert parent.process is not None
        return parent.process.pid

    def assert_no_answer(self, parent: FakeParent, cmd: str, args: Any = ...) -> None:
        parent.timeout = SHORT
        with self.assertRaises(TimeoutError):
            parent.command(cmd, args)
        parent.timeout = 10

    def test_without_flags_it_behaves(self) -> None:
        parent = self.start({"noinit": False, "flood": None, "fork": False})
        for cmd in ("play", "suspend", "do_pause"):
            self.assertEqual(parent.command(cmd), {"success": True})
        self.assertEqual(parent.command("do_nope"), {"success": False, "error": "Unrecognized command"})
        self.assertEqual(parent.command("do_pause", {"x": 1})["error"], 'Command "pause" takes no argument "x".')
        self.assert_ends_after_rm(parent)

    def test_unknown_and_ill_typed_flags(self) -> None:
        parent = self.launch()
        parent.connect()
        cases: list[tuple[Any, str]] = [
            ({"unknown": 1}, 'takes no argument "unknown"'),
            ({"unknown": False}, 'takes no argument "unknown"'),
            ({"noquit": 1}, '"noquit" of command "init" must be true or false'),
            ({"fork": 0}, '"fork" of command "init" must be true or a number from 1 to 100'),
            ({"fork": 1.5}, '"fork" of command "init" must be'),
            ({"crash": 256}, '"crash" of command "init" must be true or a number from 0 to 255'),
            ({"halfline": "both"}, '"halfline" of command "init" must be true, "update" or "command"'),
            ({"noconnect": True}, '"noconnect" must be given before init'),
            ([], "Argument list not a dict"),
        ]
        for args, sentence in cases:
            with self.subTest(args=args):
                self.assert_refused(parent, args, sentence)
        self.assert_ends_after_rm(parent)

    def test_unknown_flags_before_init(self) -> None:
        for flags, variable, sentence in (
            (["unknown"], "", 'problem: there is no flag "unknown"\n'),
            ([], "noquit, nowhere=1", 'problem: there is no flag "nowhere"\n'),
            (["fork=x"], "", 'problem: Argument "fork" of command "init" must be true or a number from 1 to 100.\n'),
        ):
            with self.subTest(sentence):
                parent = self.launch(*flags, environment={"SHMOOZE_PROBLEM": variable})
                self.assertEqual(parent.wait_exit(), 1)
                self.assertEqual(parent.output(), sentence)

    def test_noconnect(self) -> None:
        for flags, variable in ((["noconnect"], ""), ([], "noconnect")):
            parent = self.launch(*flags, environment={"SHMOOZE_PROBLEM": variable}, timeout=SHORT)
            with self.assertRaises(TimeoutError):
                parent.connect()
            self.assertTrue(alive(self.pid(parent)))
            parent.terminate()
            parent.timeout = 10
            self.assertEqual(parent.wait_exit(), -signal.SIGTERM)

    def test_flags_of_command_line_environment_and_init_add_up(self) -> None:
        parent = self.start({"noquit": True}, "noterm", environment={"SHMOOZE_PROBLEM": "fork=2"})
        pids = parent.wait_for(lambda: parent.parameters.get("pids"))
        self.kill_all(pids)
        self.assertEqual(len(pids), 2)
        self.assertEqual(parent.command("rm"), {"success": True})
        parent.terminate()
        self.assert_stays(parent)

    def kill_all(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def assert_stays(self, parent: FakeParent) -> None:
        parent.timeout = SHORT
        with self.assertRaises(TimeoutError):
            parent.wait_exit()
        parent.timeout = 10
        self.assertEqual(self.kill(parent), -signal.SIGKILL)

    def test_noinit(self) -> None:
        parent = self.launch()
        parent.connect()
        self.assert_no_answer(parent, "init", {"noinit": True})
        parent.close_streams()
        parent.terminate()
        self.assertEqual(parent.wait_exit(), -signal.SIGTERM)

    def test_noresponse(self) -> None:
        parent = self.start({"noresponse": True})
        self.assert_no_answer(parent, "play")

    def test_noquit(self) -> None:
        parent = self.start({"noquit": True})
        self.assertEqual(parent.command("rm"), {"success": True})
        parent.close_streams()
        self.assert_stays(parent)

    def test_noterm(self) -> None:
        parent = self.start({"noterm": True})
        parent.terminate()
        self.assertEqual(parent.command("play"), {"success": True})
        self.assert_ends_after_rm(parent)

    def test_tooslow(self) -> None:
        parent = self.start({"tooslow": True})
        self.assert_no_answer(parent, "do_pause")
        self.assertEqual(parent.receive(), {"success": True})

    def test_flood(self) -> None:
        parent = self.start({"flood": True}, answer_updates=False)
        parent.wait_for(lambda: parent.parameters.get("flood", 0) > 20_000)
        self.assertEqual(parent.command("play"), {"success": True})
        self.assert_ends_after_rm(parent)

    def test_flood_never_reads_an_answer(self) -> None:
        parent = self.start({"flood": True}, read_updates=False)
        stream = parent.update_stream
        assert stream is not None
        stream.settimeout(10)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        stream.setblocking(False)
        with self.assertRaises(BlockingIOError):
            for _ in range(100_000):  # a hundred megabytes: more than any buffer between the two holds
                stream.send(b"x" * 1023 + b"\n")
        self.assertEqual(parent.command("play"), {"success": True})

    def test_fork(self) -> None:
        parent = self.start({"fork": 3})
        pids = parent.wait_for(lambda: parent.parameters.get("pids"))
        self.assertEqual(len(set(pids)), 3)
        try:
            own = self.pid(parent)
            for pid in pids:
                self.assertNotEqual(os.getsid(pid), os.getsid(own))
                self.assertNotEqual(os.getpgid(pid), os.getpgid(own))
                self.assertEqual(len([name for name in open_descriptors(pid) if name.startswith("socket:")]), 2)
                os.kill(pid, signal.SIGTERM)
            self.assert_ends_after_rm(parent)
            for pid in pids:
                self.assertTrue(alive(pid))
        finally:
            self.kill_all(pids)

    def test_halfline_of_an_update(self) -> None:
        parent = self.start({"halfline": True}, read_updates=False)
        stream = parent.update_stream
        assert stream is not None
        stream.settimeout(10)
        received = stream.recv(1000)
        self.assertNotIn(b"\n", received)
        self.assertTrue(received.startswith(b'{"cmd": "set_parameters"'))
        stream.settimeout(SHORT)
        with self.assertRaises(TimeoutError):
            stream.recv(1)
        self.assertEqual(parent.command("play"), {"success": True})

    def test_halfline_of_an_answer(self) -> None:
        parent = self.start({"halfline": "command"})
        self.assert_no_answer(parent, "play")

    def test_longline(self) -> None:
        for stream_name in ("update", "command"):
            with self.subTest(stream_name):
                parent = self.start({"longline": stream_name}, read_updates=False)
                stream = parent.update_stream if stream_name == "update" else parent.command_stream
                assert stream is not None
                if stream_name == "command":
                    parent.send_raw(b'{"cmd": "play"}\n')
                stream.settimeout(10)
                received = 0
                while received < 100_000_000:
                    data = stream.recv(1 << 20)
                    self.assertTrue(data)
                    self.assertNotIn(b"\n", data)
                    received += len(data)
                self.assertEqual(received, 100_000_000)

    def test_answertwice(self) -> None:
        parent = self.start({"answertwice": True})
        self.assertEqual(parent.receive(), {"success": True})
        self.assertEqual([parent.command("do_nope")["success"], parent.receive()["success"]], [False, False])

    def test_crash(self) -> None:
        for value, status in ((True, 1), (42, 42), (0, 0)):
            parent = self.start({"crash": value})
            self.assertEqual(parent.wait_exit(), status)
        parent = self.start()
        with self.assertRaises(EOFError):
            parent.command("do_crash", {"status": 9})
        self.assertEqual(parent.wait_exit(), 9)


if __name__ == "__main__":
    unittest.main()
