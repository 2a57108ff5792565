"""The well-behaved module."""

import unittest
from typing import Any

from support import ModuleTestCase


class EchoTest(ModuleTestCase):
    program = "echo.py"

    def test_parameters(self) -> None:
        parent = self.start({"title": "t", "deep": {"a": [1, 2.5, None, True]}, "self": 1})
        assert parent.process is not None
        self.assertEqual(
            parent.parameters,
            {
                "init": {"title": "t", "deep": {"a": [1, 2.5, None, True]}, "self": 1},
                "state": "initialized",
                "pid": parent.process.pid,
            },
        )
        parent.command("play")
        self.assertEqual(parent.parameters["state"], "playing")
        parent.command("suspend")
        self.assertEqual(parent.parameters["state"], "suspended")
        self.assert_ends_after_rm(parent)

    def test_init_that_refuses(self) -> None:
        parent = self.launch()
        parent.connect()
        self.assert_refused(parent, {"boom": "init refused"}, "^init refused$")
        self.assert_refused(parent, [1], "Argument list not a dict")

    def test_no_arguments(self) -> None:
        self.assertEqual(self.start().parameters["init"], {})

    def test_commands(self) -> None:
        parent = self.start({})
        cases: list[tuple[str, Any, dict[str, Any]]] = [
            ("echo", {"a": 1, "b": [None, 1.0, "\u00e9"]}, {"result": {"a": 1, "b": [None, 1.0, "\u00e9"]}}),
            ("echo", ..., {"result": {}}),
            ("none", {}, {}),
            ("need", {"a": 1}, {"result": [1, 2]}),
            ("need", {"a": None, "b": 3}, {"result": [None, 3]}),
            ("need", {}, {"error": 'Command "need" needs the argument "a".'}),
            ("need", {"a": 1, "c": 3}, {"error": 'Command "need" takes no argument "c".'}),
            ("fail", {"msg": "caf\u00e9"}, {"error": "caf\u00e9"}),
            ("sleep", {"secs": 0.01}, {"result": 0.01}),
            ("nope", {}, {"error": "Unrecognized command"}),
            ("do_echo", {}, {"error": "Unrecognized command"}),
            ("rm", {}, {"error": "Unrecognized command"}),
        ]
        for cmd, args, answer in cases:
            with self.subTest(cmd=cmd, args=args):
                self.assertEqual(parent.command(f"do_{cmd}", args), {"success": "error" not in answer, **answer})

    def test_set_and_unset(self) -> None:
        parent = self.start({})
        parameters = {"a": 1, "b": {"c": [1, 2]}, "z": None, "\u00e9": "\u2603"}
        self.assertEqual(parent.command("do_set", {"parameters": parameters}), {"success": True})
        self.assertEqual({name: parent.parameters[name] for name in parameters}, parameters)
        self.assertEqual(parent.command("do_unset", {"parameters": ["a", "never"]}), {"success": True})
        self.assertNotIn("a", parent.parameters)

    def test_ends(self) -> None:
        parent = self.start({})
        self.assertEqual(parent.command("do_finish"), {"success": True})
        parent.wait_finished()
        self.assertEqual(parent.wait_exit(), 0)

        parent = self.start({})
        with self.assertRaises(EOFError):
            parent.command("do_die")
        self.assertEqual(parent.wait_exit(), 3)

        parent = self.start({})
        parent.terminate()
        self.assertEqual(parent.wait_exit(), 0)


if __name__ == "__main__":
    unittest.main()
