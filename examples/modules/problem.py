#!/usr/bin/env python3
"""An ill-behaved module: shows what a queue or a pool has to put up with, and is tested with.

Each flag is an argument of ``add`` (``{"noquit": true}``), a word on the command line before the parent's three, or a
word in the variable SHMOOZE_PROBLEM (``"noquit,fork=3"``):

    noconnect            never connects (only on the command line or in the variable: before ``init``)
    noinit               never answers ``init``
    noresponse           answers ``init``, and nothing else
    noquit               answers ``rm`` and stays
    noterm               ignores SIGTERM
    tooslow              ``do_pause`` takes 3 seconds
    flood                floods updates and never reads an answer
    fork[=N]             leaves N (1) grandchildren in sessions of their own, which ignore SIGTERM and keep every
                         descriptor open; their process ids are the parameter ``pids``
    halfline[=STREAM]    half a line, and then never the rest: on the stream "update" (default), or "command" (in place
                         of the next answer)
    longline[=STREAM]    100 MB without a newline, as above
    answertwice          answers each command twice
    crash[=STATUS]       exits with the status (1) as soon as ``init`` is answered

Without flags it behaves. Commands: ``pause``, ``crash`` (with ``status``). Nothing of it outlives ten minutes.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from shmooze import protocol  # noqa: E402
from shmooze.arguments import Signature  # noqa: E402
from shmooze.errors import ConnectionClosed, ShmoozeError  # noqa: E402
from shmooze.module import CommandError, ParentConnection  # noqa: E402

SWITCHES = ("noconnect", "noinit", "noresponse", "noquit", "noterm", "tooslow", "flood", "answertwice")
NUMBERS = {"fork": range(1, 101), "crash": range(256)}
STREAMS = ("halfline", "longline")
SLOW_SECONDS = 3
LIFETIME_SECONDS = 600
LONG_LINE_BYTES = 100_000_000


def checked(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that are set, in their full form. Raises CommandError."""
    found: dict[str, Any] = {}
    for name, value in flags.items():
        if name not in (*SWITCHES, *NUMBERS, *STREAMS):
            raise CommandError(f'Command "init" takes no argument "{name}".')
        if value is False or value is None:
            continue
        if name in NUMBERS:
            value = 1 if value is True else value
            if not isinstance(value, int) or value not in NUMBERS[name]:
                limits = NUMBERS[name]
                raise CommandError(
                    f'Argument "{name}" of command "init" must be true or a number from {limits[0]} to {limits[-1]}.'
                )
        elif name in STREAMS:
            value = "update" if value is True else value
            if value not in ("update", "command"):
                raise CommandError(f'Argument "{name}" of command "init" must be true, "update" or "command".')
        elif value is not True:
            raise CommandError(f'Argument "{name}" of command "init" must be true or false.')
        found[name] = value
    return found


def flags_before_init(argv: list[str], variable: str) -> dict[str, Any]:
    """The flags of command line and environment: words such as ``noquit`` and ``fork=3``."""
    flags: dict[str, Any] = {}
    for word in [*argv[1:-3], *variable.replace(",", " ").split()]:
        name, equals, value = word.partition("=")
        if name not in (*SWITCHES, *NUMBERS, *STREAMS):
            raise CommandError(f'there is no flag "{name}"')
        flags[name] = int(value) if value.isdecimal() else value if equals else True
    return checked(flags)


def sit() -> NoReturn:
    """Stays, whatever happens, until a signal ends the process."""
    while True:
        signal.pause()


def live_at_most(seconds: int) -> None:
    """Has the kernel end this process then, should whoever started it forget."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


def spawn_grandchildren(count: int) -> list[int]:
    """Leaves processes behind that belong to no parent, no session and no process group of ours."""
    reading, writing = os.pipe()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                live_at_most(LIFETIME_SECONDS)
                os.write(writing, f"{os.getpid()}\n".encode())
                sit()
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writing)
    received = b""
    while received.count(b"\n") < count:
        received += os.read(reading, 4096)
    os.close(reading)
    return [int(line) for line in received.split()]


class Problem:
    def __init__(self, flags: dict[str, Any]) -> None:
        self.flags: dict[str, Any] = {}
        self.connection: ParentConnection | None = None
        self.take(flags)
        if "noconnect" in self.flags:
            sit()
        self.connection = ParentConnection()
        self.commands = {"init": self.init, "play": self.nothing, "suspend": self.nothing, "rm": self.nothing}
        self.commands |= {"do_pause": self.do_pause, "do_crash": self.do_crash}

    def take(self, flags: dict[str, Any]) -> None:
        """Those flags that act at once, act."""
        self.flags |= flags
        if "noterm" in flags:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def run(self) -> None:
        assert self.connection is not None
        while (line := self.connection.recv_line()) is not None:
            cmd, answer = self.answer(protocol.decode(line))
            if cmd != "init" and "noresponse" in self.flags:
                continue
            self.respond(cmd, protocol.encode(answer))
            if cmd == "init" and answer["success"]:
                self.after_init()
            if cmd == "rm" and "noquit" not in self.flags:
                return

    def answer(self, message: Any) -> tuple[str, dict[str, Any]]:
        cmd = ""
        try:
            cmd, args = protocol.parse_command(message)
            if cmd not in self.commands:
                raise CommandError(protocol.UNRECOGNIZED_COMMAND)
            Signature(cmd.removeprefix("do_"), self.commands[cmd]).check(args)
            return cmd, protocol.good(self.commands[cmd](**args))
        except CommandError as error:
            return cmd, protocol.bad(protocol.sentence_of(error))

    def respond(self, cmd: str, line: bytes) -> None:
        assert self.connection is not None
        stream = self.connection.command_socket
        if cmd != "init" and self.flags.get("longline") == "command":
            stream.sendall(b"x" * LONG_LINE_BYTES)
            sit()
        if cmd != "init" and self.flags.get("halfline") == "command":
            stream.sendall(line[: len(line) // 2])
            sit()
        stream.sendall(line * 2 if "answertwice" in self.flags else line)

    def init(self, /, **flags: Any) -> None:
        taken = checked(flags)
        if "noconnect" in taken:
            raise CommandError('"noconnect" must be given before init: on the command line or in SHMOOZE_PROBLEM.')
        self.take(taken)
        if "noinit" in self.flags:
            sit()
        if "fork" in self.flags:
            assert self.connection is not None
            self.connection.set_parameters(pids=spawn_grandchildren(self.flags["fork"]))
            self.connection.settle()  # who reads the answer to init may rely on the parameter

    def after_init(self) -> None:
        if "crash" in self.flags:
            os._exit(self.flags["crash"])
        if "flood" in self.flags:
            threading.Thread(target=self.flood, daemon=True).start()
        if "update" in (self.flags.get("halfline"), self.flags.get("longline")):
            threading.Thread(target=self.write_part_of_a_line, daemon=True).start()

    def flood(self) -> None:
        """Updates in large writes; the answers are left where they are."""
        assert self.connection is not None
        stream = self.connection.update_socket
        stream.setblocking(True)
        number = 0
        try:
            while True:
                block = range(number, number + 500)
                number = block.stop
                stream.sendall(b"".join(protocol.encode(update(flood=n)) for n in block))
        except OSError:
            pass  # the parent has had enough

    def write_part_of_a_line(self) -> None:
        assert self.connection is not None
        stream = self.connection.update_socket
        stream.setblocking(True)
        try:
            if "halfline" in self.flags:
                stream.sendall(json.dumps(update(half="a line"))[:-20].encode())
            else:
                stream.sendall(b"x" * LONG_LINE_BYTES)
        except OSError:
            pass

    def nothing(self) -> None:
        """play, suspend, rm: nothing to do."""

    def do_pause(self) -> None:
        if "tooslow" in self.flags:
            time.sleep(SLOW_SECONDS)

    def do_crash(self, status: int = 1) -> None:
        os._exit(status)


def update(**parameters: Any) -> dict[str, Any]:
    return {"cmd": "set_parameters", "args": {"parameters": parameters}}


def main() -> None:
    live_at_most(LIFETIME_SECONDS)
    try:
        problem = Problem(flags_before_init(sys.argv, os.environ.get("SHMOOZE_PROBLEM", "")))
    except ShmoozeError as error:
        sys.exit(f"problem: {error}")
    try:
        problem.run()
    except (ConnectionClosed, OSError):
        pass
    if "noquit" in problem.flags:
        sit()


if __name__ == "__main__":
    main()
