"""A module for the tests, built on Module: every hook leaves a trace in the file that the variable TRACE names."""

import os
import signal
import sys
import threading
import time
from typing import Any

from shmooze.module import CommandError, Module


class Sample(Module):
    def init(self, title: str = "untitled", fail: str | None = None) -> None:
        if fail is not None:
            raise ValueError(fail)
        self.set_parameters({"title": title}, state="initialized")
        self.set_parameters(uid=self.uid, service=self.service)

    def play(self) -> None:
        self.set_parameters(state="playing", playing=self.playing)
        self.ticks = 0
        self.schedule(0)

    def suspend(self) -> None:
        self.set_parameters(state="suspended", playing=self.playing)

    def rm(self) -> None:
        with open(os.environ["TRACE"], "a") as trace:
            trace.write("rm\n")
        if os.environ.get("RM_FAILS"):
            raise RuntimeError("cannot clean up")

    def tick(self) -> None:
        self.ticks += 1
        self.set_parameters(ticks=self.ticks)
        if self.ticks < 3:
            self.schedule(0.001)

    def do_echo(self, /, **args: Any) -> dict[str, Any]:
        return args

    def do_need(self, a: int, b: str = "x") -> list[Any]:
        return [a, b]

    def do_none(self) -> None:
        pass

    def do_refuse(self) -> None:
        raise CommandError("not today")

    def do_raise(self) -> None:
        raise RuntimeError

    def do_unfit(self) -> set[int]:
        return {1}

    def do_infinite(self) -> list[float]:
        return [float("inf"), 1.5]

    def do_finish(self) -> str:
        self.finish()
        return "bye"

    def do_finish_from_thread(self) -> None:
        threading.Timer(0.2, self.finish).start()

    def do_unset(self, names: list[str]) -> None:
        self.unset_parameters(names)

    def do_broken_tick(self) -> None:
        self.tick = self.broken  # type: ignore[method-assign]
        self.schedule(0)

    def broken(self) -> None:
        raise RuntimeError("broken tick")

    def do_hang(self) -> None:
        """Blocks until a signal comes, as a slow network would."""
        self.set_parameters(hanging=True)
        try:
            while True:
                signal.pause()
        except Exception:
            sys.exit("an Exception must not be what ends it")

    def do_threads(self, count: int, each: int) -> None:
        """Updates from many threads at once."""

        def update(number: int) -> None:
            for value in range(each):
                self.set_parameters({f"t{number}": value})

        threads = [threading.Thread(target=update, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def do_time(self) -> float:
        return time.monotonic()


if __name__ == "__main__":
    Sample().run()
    with open(os.environ["TRACE"], "a") as trace:
        trace.write("returned\n")
