"""A parent for the tests of a module: it starts the program as a queue would and plays the parent on both streams.

    with FakeParent([sys.executable, "clock.py"]) as parent:
        parent.connect()
        assert parent.command("init", {"format": "%H"}) == {"success": True}
        parent.wait_for(lambda: "time" in parent.parameters)
        parent.command("rm")
        assert parent.wait_exit() == 0

Every wait is for an event and has a limit (``timeout`` seconds), after which it raises TimeoutError.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from . import protocol
from .errors import BadLine

TIMEOUT_SECONDS: Final = 10.0


class FakeParent:
    """One module's parent.

    ``answer_updates``: whether updates are acknowledged; ``read_updates``: whether they are read at all. With an empty
    ``argv`` no program is started: connect to ``command_port`` and ``update_port`` from the test itself.
    """

    def __init__(
        self,
        argv: Sequence[str | Path] = (),
        *,
        environment: Mapping[str, str] | None = None,
        answer_updates: bool = True,
        read_updates: bool = True,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.timeout = timeout
        self.host = "localhost"
        self.parameters: dict[str, Any] = {}
        """What set_parameters and unset_parameters have made so far."""
        self.updates: list[Any] = []
        """Every update received, in order."""
        self.finished = False
        """True once the module has announced its end."""
        self.process: subprocess.Popen[bytes] | None = None
        self.command_stream: socket.socket | None = None
        self.update_stream: socket.socket | None = None
        self._answer_updates = answer_updates
        self._read_updates = read_updates
        self._changed = threading.Condition()
        self._updates_ended = False
        self._lines = protocol.LineBuffer()
        self._answers: list[protocol.Line] = []
        self._reader: threading.Thread | None = None
        self._listeners = [_listen(), _listen()]
        self.command_port, self.update_port = (one.getsockname()[1] for one in self._listeners)
        # A file, not a pipe: a module that writes much may not stand still because nobody reads.
        self._output = tempfile.TemporaryFile()
        if argv:
            self.process = subprocess.Popen(
                [*map(str, argv), self.host, str(self.command_port), str(self.update_port)],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> FakeParent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def connect(self) -> None:
        """Takes the module's two connections."""
        for listener in self._listeners:
            listener.settimeout(self.timeout)
        self.command_stream = self._listeners[0].accept()[0]
        self.update_stream = self._listeners[1].accept()[0]
        for stream in (self.command_stream, self.update_stream):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.command_stream.settimeout(self.timeout)
        if self._read_updates:
            self._reader = threading.Thread(target=self._receive_updates, args=(self.update_stream,), daemon=True)
            self._reader.start()

    def command(self, cmd: str, args: Any = ...) -> Any:
        """Sends one command and returns the module's answer; without ``args`` the message has none."""
        return self.ask({"cmd": cmd} if args is ... else {"cmd": cmd, "args": args})

    def ask(self, message: Any) -> Any:
        """Sends one message of whatever kind and returns the answer."""
        self.send_raw(protocol.encode(message))
        return self.receive()

    def send_raw(self, data: bytes) -> None:
        """Writes bytes on the command stream."""
        self._command_stream().sendall(data)

    def receive(self) -> Any:
        """The next answer on the command stream. Raises EOFError at its end, TimeoutError."""
        deadline = time.monotonic() + self.timeout
        while not self._answers:
            self._command_stream().settimeout(max(0.001, deadline - time.monotonic()))
            data = self._command_stream().recv(65536)
            if not data:
                raise EOFError("the module has closed the command stream")
            self._answers += self._lines.feed(data)
        return protocol.decode(self._answers.pop(0))

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Waits until the condition holds (looked at after each update); returns its value."""
        with self._changed:
            value = self._changed.wait_for(condition, self.timeout)
            if not value:
                raise TimeoutError(f"never came true; parameters: {self.parameters}, last updates: {self.updates[-3:]}")
            return value

    def wait_finished(self) -> None:
        """Waits until the module has announced its end."""
        self.wait_for(lambda: self.finished)

    def wait_updates_end(self) -> None:
        """Waits for the end of the update stream."""
        self.wait_for(lambda: self._updates_ended)

    def close_streams(self) -> None:
        """Closes both streams, as a parent does when it is done with a module (or dies)."""
        for stream in (self.command_stream, self.update_stream):
            if stream is not None:
                try:
                    stream.shutdown(socket.SHUT_RDWR)  # wakes the reader, which close() alone would not
                except OSError:
                    pass
                stream.close()
        if self._reader is not None:
            self._reader.join(self.timeout)

    def terminate(self) -> None:
        """Sends SIGTERM to the program."""
        self._process().terminate()

    def wait_exit(self) -> int:
        """Waits for the program's end; returns its exit status (negative: the signal)."""
        try:
            return self._process().wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError("the module does not end") from None

    def output(self) -> str:
        """What the program has written on standard output and error."""
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Ends all that is left, the program's session by SIGKILL."""
        self.close_streams()
        for listener in self._listeners:
            listener.close()
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        self._output.close()

    def _process(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise ValueError("no program was started")
        return self.process

    def _command_stream(self) -> socket.socket:
        if self.command_stream is None:
            raise ValueError("connect() first")
        return self.command_stream

    def _receive_updates(self, stream: socket.socket) -> None:
        lines = protocol.LineBuffer()
        while True:
            try:
                data = stream.recv(65536)
            except OSError:
                data = b""
            with self._changed:
                if not data:
                    self._updates_ended = True
                for line in lines.feed(data):
                    answer = self._take_update(line)
                    if self._answer_updates and not self.finished:
                        try:
                            stream.sendall(protocol.encode(answer))
                        except OSError:
                            pass
                self._changed.notify_all()
            if not data:
                return

    def _take_update(self, line: protocol.Line) -> Any:
        try:
            update = protocol.decode(line)
        except BadLine as error:
            self.updates.append(line)
            return protocol.bad(str(error))
        self.updates.append(update)
        return [self._apply(one) for one in update] if isinstance(update, list) else self._apply(update)

    def _apply(self, update: Any) -> Any:
        try:
            cmd, args = protocol.parse_command(update)
            if cmd == "set_parameters":
                self.parameters.update(args["parameters"])
            elif cmd == "unset_parameters":
                for name in args["parameters"]:
                    self.parameters.pop(name, None)
            elif cmd == "rm":
                self.finished = True
            else:
                return protocol.bad(protocol.BAD_COMMAND)
            return protocol.good()
        except Exception as error:
            return protocol.bad(str(error))


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1)
