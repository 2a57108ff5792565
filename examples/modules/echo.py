#!/usr/bin/env python3
"""A well-behaved module that says back what it is told; for trying things out and for tests.

Arguments of ``add``: any; with ``boom`` it refuses, in those words. Parameters: ``init`` (the arguments), ``state``
("initialized", "playing", "suspended"), ``pid``. Commands: see below, each is a method ``do_<name>``.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from shmooze.module import CommandError, Module  # noqa: E402


class Echo(Module):
    def init(self, /, **args: Any) -> None:
        self.set_parameters(init=args, state="initialized", pid=os.getpid())
        if "boom" in args:
            raise CommandError(str(args["boom"]))

    def play(self) -> None:
        self.set_parameters(state="playing")

    def suspend(self) -> None:
        self.set_parameters(state="suspended")

    def do_echo(self, /, **args: Any) -> dict[str, Any]:
        """Returns the arguments."""
        return args

    def do_need(self, a: Any, b: Any = 2) -> list[Any]:
        """Returns both arguments; the first is needed."""
        return [a, b]

    def do_none(self) -> None:
        """Has no result."""

    def do_fail(self, msg: str) -> None:
        """Fails in these words."""
        raise CommandError(msg)

    def do_set(self, parameters: dict[str, Any]) -> None:
        """Sets parameters."""
        self.set_parameters(parameters)

    def do_unset(self, parameters: list[str]) -> None:
        """Removes parameters."""
        self.unset_parameters(parameters)

    def do_finish(self) -> None:
        """Ends on its own."""
        self.finish()

    def do_die(self) -> None:
        """Ends at once, with status 3 and without an answer."""
        os._exit(3)

    def do_sleep(self, secs: float) -> float:
        """Answers late."""
        time.sleep(secs)
        return secs


if __name__ == "__main__":
    Echo().run()
