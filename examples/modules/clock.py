#!/usr/bin/env python3
"""A clock: the parameter ``time`` follows the time of day, each second, while the module plays.

Arguments of ``add``: ``format``, as for strftime(3). Parameters: ``time``, ``format``. Commands: ``set_format``.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from shmooze.module import CommandError, Module  # noqa: E402


class Clock(Module):
    def init(self, format: str = "%H:%M:%S") -> None:
        self.do_set_format(format)

    def play(self) -> None:
        self.tick()

    def tick(self) -> None:
        self.show()
        # At the turn of the second, not a second after this tick: the ticks would drift.
        self.schedule(1 - time.time() % 1)

    def do_set_format(self, format: str) -> None:
        """Shows the time otherwise from now on."""
        try:
            time.strftime(format)
        except ValueError as error:
            raise CommandError(f'Argument "format" is no time format: {error}.') from None
        self.format = format
        self.show()

    def show(self) -> None:
        self.set_parameters(time=time.strftime(self.format), format=self.format)


if __name__ == "__main__":
    Clock().run()
