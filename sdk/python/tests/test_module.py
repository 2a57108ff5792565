"""Whole modules, as processes, against a parent that the test plays."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from shmooze import module
from shmooze.errors import ConnectFailed
from shmooze.testing import FakeParent

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE.parent), "SHMOOZE_UID": "some-uid", "SHMOOZE_SERVICE": "queue"}


class ModuleTestCase(unittest.TestCase):
    program = "sample.py"

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.trace = Path(folder.name, "trace")
        self.trace.touch()

    def start(
        self, *, init: Any = ..., begin: bool = True, environment: dict[str, str] | None = None, **options: Any
    ) -> FakeParent:
        parent = FakeParent(
            [sys.executable, HERE / "programs" / self.program],
            environment={**ENVIRONMENT, "TRACE": str(self.trace), **(environment or {})},
            **options,
        )
        self.addCleanup(parent.close)
        parent.connect()
        if begin:
            self.assertEqual(parent.command("init", init), {"success": True})
        return parent


class LifeTest(ModuleTestCase):
    def test_init_play_suspend_rm(self) -> None:
        parent = self.start(init={"title": "T"})
        self.assertEqual(
            parent.parameters, {"title": "T", "state": "initialized", "uid": "some-uid", "service": "queue"}
        )
        self.assertEqual(parent.command("play"), {"success": True})
        self.assertEqual((parent.parameters["state"], parent.parameters["playing"]), ("playing", True))
        self.assertEqual(parent.command("suspend"), {"success": True})
        self.assertEqual((parent.parameters["state"], parent.parameters["playing"]), ("suspended", False))
        self.assertEqual(parent.command("rm"), {"success": True})
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(self.trace.read_text(), "rm\nreturned\n")
        self.assertFalse(parent.finished, "a module that was removed does not announce its end")

    def test_init_without_arguments(self) -> None:
        forms: list[Any] = [..., None, {}]
        for args in forms:
            with self.subTest(args=args):
                parent = self.start(init=args)
                self.assertEqual(parent.parameters["title"], "untitled")

    def test_init_refused(self) -> None:
        cases: list[tuple[Any, str]] = [
            ({"fail": "bad luck"}, "bad luck"),
            ({"colour": 1}, 'Command "init" takes no argument "colour".'),
            ({"title": 5}, 'Argument "title" of command "init" must be text.'),
            ([1], "Argument list not a dict."),
            ("x", "Argument list not a dict."),
            (0, "Argument list not a dict."),
        ]
        parent = self.start(begin=False)
        for args, sentence in cases:
            with self.subTest(args=args):
                self.assertEqual(parent.command("init", args), {"success": False, "error": sentence})

    def test_commands(self) -> None:
        parent = self.start()
        infinite = {"success": True, "result": [None, 1.5]}
        cases: list[tuple[str, Any, dict[str, Any]]] = [
            ("do_echo", {"a": [None, 1.0], "self": 1}, {"success": True, "result": {"a": [None, 1.0], "self": 1}}),
            ("do_echo", ..., {"success": True, "result": {}}),
            ("do_need", {"a": 1}, {"success": True, "result": [1, "x"]}),
            ("do_need", {}, {"success": False, "error": 'Command "need" needs the argument "a".'}),
            ("do_none", {}, {"success": True}),
            ("do_refuse", {}, {"success": False, "error": "not today"}),
            ("do_raise", {}, {"success": False, "error": "RuntimeError"}),
            ("do_infinite", {}, infinite),
            ("do_unset", {"names": ["title", "x"]}, {"success": True}),
            ("do_nope", {}, {"success": False, "error": "Unrecognized command"}),
            ("do_", {}, {"success": False, "error": "Unrecognized command"}),
            ("echo", {}, {"success": False, "error": "Unrecognized command"}),
            ("tick", {}, {"success": False, "error": "Unrecognized command"}),
            ("finish", {}, {"success": False, "error": "Unrecognized command"}),
            ("__init__", {}, {"success": False, "error": "Unrecognized command"}),
        ]
        for cmd, args, answer in cases:
            with self.subTest(cmd=cmd, args=args):
                self.assertEqual(parent.command(cmd, args), answer)
        self.assertNotIn("title", parent.parameters)
        self.assertRegex(parent.command("do_unfit")["error"], 'The result of command "do_unfit" is unfit')
        parent.send_raw(b"nonsense\n")
        self.assertFalse(parent.receive()["success"])
        self.assertEqual(parent.command("do_none"), {"success": True})

    def test_tick_comes_as_scheduled_and_not_after_suspend(self) -> None:
        parent = self.start()
        parent.command("play")
        parent.wait_for(lambda: parent.parameters.get("ticks") == 3)

        forgotten = module.Module()
        forgotten.schedule(5)
        self.assertIsNotNone(forgotten._next_tick)
        forgotten._dispatch("suspend", {})
        self.assertIsNone(forgotten._next_tick)

    def test_threads_update_while_commands_are_answered(self) -> None:
        parent = self.start()
        self.assertEqual(parent.command("do_threads", {"count": 8, "each": 50}), {"success": True})
        self.assertEqual({parent.parameters[f"t{n}"] for n in range(8)}, {49})
        self.assertEqual(len(parent.updates), 2 + 400)


class EndTest(ModuleTestCase):
    def test_own_end_is_answered_first_and_then_announced(self) -> None:
        for cmd in ("do_finish", "do_finish_from_thread"):
            with self.subTest(cmd):
                self.trace.write_text("")
                parent = self.start()
                self.assertTrue(parent.command(cmd)["success"])
                parent.wait_finished()
                self.assertEqual(parent.wait_exit(), 0)
                self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_the_parent_closes_the_streams(self) -> None:
        parent = self.start()
        parent.close_streams()
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_the_parent_closes_before_init(self) -> None:
        parent = self.start(begin=False)
        parent.close_streams()
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_sigterm_while_idle(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                self.trace.write_text("")
                parent = self.start()
                assert parent.process is not None
                parent.process.send_signal(number)
                self.assertEqual(parent.wait_exit(), 0)
                self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_sigterm_while_a_command_hangs(self) -> None:
        parent = self.start()
        parent.send_raw(b'{"cmd": "do_hang"}\n')
        parent.wait_for(lambda: parent.parameters.get("hanging"))
        parent.terminate()
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_an_exception_in_tick_ends_the_module(self) -> None:
        parent = self.start()
        self.assertEqual(parent.command("do_broken_tick"), {"success": True})
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 1)
        self.assertEqual(self.trace.read_text(), "rm\n")
        self.assertIn("broken tick", parent.output())

    def test_an_exception_while_cleaning_up(self) -> None:
        parent = self.start(environment={"RM_FAILS": "1"})
        self.assertEqual(parent.command("rm"), {"success": False, "error": "cannot clean up"})
        self.assertEqual(parent.wait_exit(), 0)
        self.assertEqual(self.trace.read_text(), "rm\nreturned\n")

    def test_a_parent_that_never_answers_updates(self) -> None:
        parent = self.start(answer_updates=False)
        self.assertEqual(parent.command("play"), {"success": True})
        self.assertEqual(parent.command("rm"), {"success": True})
        self.assertEqual(parent.wait_exit(), 0)

    def test_started_by_hand_it_says_what_it_is(self) -> None:
        done = subprocess.run(
            [sys.executable, HERE / "programs" / self.program],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"sample\.py is a shmooze module: .*HOST COMMAND_PORT UPDATE_PORT\n$")
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_no_call_before_run(self) -> None:
        with self.assertRaisesRegex(ConnectFailed, "call run\\(\\) first"):
            module.Module().set_parameters(a=1)

    def test_run_outside_the_main_thread_and_on_a_given_connection(self) -> None:
        parent = FakeParent()
        self.addCleanup(parent.close)
        connection = module.ParentConnection(parent.host, parent.command_port, parent.update_port)
        parent.connect()
        thread = threading.Thread(target=module.Module().run, args=(connection,))
        with mock.patch.object(module, "_default", None):
            thread.start()
            self.assertEqual(parent.command("init", {}), {"success": True})
            self.assertEqual(
                parent.command("init", {"x": 1}),
                {"success": False, "error": 'Command "init" takes no argument "x".'},
            )
            self.assertEqual(parent.command("rm"), {"success": True})
            thread.join(10)
        self.assertFalse(thread.is_alive())


class FunctionsTest(ModuleTestCase):
    program = "functions.py"

    def test_a_module_of_functions(self) -> None:
        parent = self.start(init={"colour": "red"})
        self.assertEqual(parent.parameters, {"colour": "red", "extra": 1})
        self.assertEqual(parent.command("do_forget", {"name": "extra"}), {"success": True})
        self.assertEqual(parent.command("play"), {"success": True})
        self.assertEqual(parent.parameters, {"colour": "red", "state": "playing"})
        self.assertEqual(parent.command("do_leave"), {"success": True})
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 0)

    def test_rm(self) -> None:
        parent = self.start()
        self.assertEqual(parent.command("rm"), {"success": True})
        self.assertEqual(parent.wait_exit(), 0)
        self.assertFalse(parent.finished)


class PolledTest(ModuleTestCase):
    program = "polled.py"

    def test_a_select_loop(self) -> None:
        parent = self.start(init={"a": 1})
        self.assertEqual(parent.parameters, {"init": {"a": 1}})
        self.assertEqual(parent.command("do_double", {"number": 4}), {"success": True, "result": 8})
        self.assertEqual(
            parent.command("do_double", {"number": "4"}),
            {"success": False, "error": 'Argument "number" of command "double" must be a whole number.'},
        )
        self.assertEqual(
            parent.command("init", {"self": 1}),
            {"success": False, "error": 'Command "init" takes no argument "self".'},
        )
        parent.send_raw(b'{"cmd": "play"}\n{"cmd": "do_double", "args": {"number": 1}}\n{"cmd": "rm"}\n')
        self.assertEqual([parent.receive() for _ in range(3)][1:], [{"success": True, "result": 2}, {"success": True}])
        self.assertEqual(parent.wait_exit(), 7)

    def test_no_idle_turns(self) -> None:
        parent = self.start()
        self.assertEqual(parent.command("rm"), {"success": True})
        parent.wait_exit()
        self.assertRegex(parent.output(), "rounds [12]\n")


if __name__ == "__main__":
    unittest.main()
