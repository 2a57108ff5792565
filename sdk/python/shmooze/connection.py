"""The two streams between a module and its parent (protocol.md section 5).

                command stream:  parent asks, module answers, one at a time
    parent  ◀═══════════════════════════════════════════════════════════▶  module
                update stream:   module asks, parent answers; nobody waits

An update is written and its answer is read later, whenever there is a chance: a module that plays must not stand
still because the queue is busy (or is being restarted). Whoever writes also reads, so that neither side's buffers
fill; every wait has a bound.
"""

from __future__ import annotations

import logging
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from . import protocol
from .errors import BadLine, ConnectFailed, ConnectionClosed, UpdateRefused, UpdateTimeout

log = logging.getLogger("shmooze.module")

CONNECT_SECONDS: Final = 5.0
"""How long both connections may take together; the parent itself gives up earlier by default (2 s)."""
UPDATE_SECONDS: Final = 5.0
"""How long an update may wait for a parent that does not read."""
SETTLE_SECONDS: Final = 0.5
"""How long the answer to a command waits for the answers to the updates made by that command."""

_CHUNK: Final = 65536
_DRAIN_CHUNKS: Final = 16  # per turn, so that a parent that never stops talking cannot hold a writer
_USAGE = "it is started by a shmooze queue or pool, with the arguments HOST COMMAND_PORT UPDATE_PORT"


class ParentConnection:
    """Both streams to the parent; the updates may be sent from any thread, the command stream belongs to one.

    Without arguments the address is taken from the last three arguments of the program. Raises ConnectFailed.
    """

    def __init__(
        self,
        host: str | None = None,
        command_port: int | str | None = None,
        update_port: int | str | None = None,
        *,
        connect_timeout: float = CONNECT_SECONDS,
        update_timeout: float = UPDATE_SECONDS,
    ) -> None:
        if host is None or command_port is None or update_port is None:
            host, command_port, update_port = _address_from_argv(sys.argv)
        deadline = time.monotonic() + connect_timeout
        self.command_socket = _connect(host, int(command_port), deadline)
        try:
            self.update_socket = _connect(host, int(update_port), deadline)
        except ConnectFailed:
            self.command_socket.close()
            raise
        self.command_socket.setblocking(True)
        self.update_socket.setblocking(False)
        self.update_timeout = update_timeout
        self._commands = protocol.LineBuffer()
        self._received: deque[protocol.Line] = deque()
        self._lock = threading.Lock()
        self._answers = protocol.LineBuffer()
        self._unsent = bytearray()  # the rest of a line that the parent did not take in time
        self._unanswered = 0
        self._refusal: str | None = None  # the error of the last answer, where it was one
        self._parent_reads_updates = True

    def __enter__(self) -> ParentConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor of the command stream, for ``select``: readable means a command (or the end) may be there."""
        return self.command_socket.fileno()

    # ---- command stream -------------------------------------------------------------------------------------------

    def recv_line(self, timeout: float | None = None) -> protocol.Line | None:
        """The next line of the command stream; None when none came within ``timeout`` seconds (None: no limit).

        Empty lines are passed over. Raises ConnectionClosed at the end of the stream.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._received:
                line = self._received.popleft()
                if line != b"":
                    return line
            if not _wait(self.command_socket, select.POLLIN, deadline):
                return None
            try:
                data = self.command_socket.recv(_CHUNK)
            except OSError as error:
                raise ConnectionClosed(f"The command stream broke: {error}") from None
            if not data:
                raise ConnectionClosed("The parent has closed the command stream")
            lines = self._commands.feed(data)
            self._received.extend(lines)
            if deadline is not None and not any(lines) and time.monotonic() >= deadline:
                return None  # whatever comes, as long as it is no line: the time is over

    def recv_cmd(self, timeout: float | None = None) -> Any:
        """The next command as it was sent, a dict unless the parent is broken; None when none came within ``timeout``
        seconds. Raises ConnectionClosed, and BadLine for a line that is not JSON (answer it all the same)."""
        line = self.recv_line(timeout)
        return None if line is None else protocol.decode(line)

    def send_resp(self, response: Any) -> None:
        """Answers the command received last. Raises ConnectionClosed, NotJson."""
        try:
            self.command_socket.sendall(protocol.encode(response))
        except OSError as error:
            raise ConnectionClosed(f"The command stream broke: {error}") from None

    # ---- update stream --------------------------------------------------------------------------------------------

    def set_parameters(self, parameters: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Merges these into the module's parameters, which every client can read. From any thread.

        Does not wait for the parent's answer (a refusal is logged). Raises UpdateTimeout where the parent has not
        read for ``update_timeout`` seconds, ConnectionClosed, NotJson.
        """
        self.send("set_parameters", {"parameters": {**(parameters or {}), **named}})

    def unset_parameters(self, names: Iterable[str] | str) -> None:
        """Removes parameters; unknown names are ignored. Waits and raises as ``set_parameters`` does."""
        self.send("unset_parameters", {"parameters": [names] if isinstance(names, str) else list(names)})

    def rm(self) -> None:
        """Announces that the module ends on its own; the parent closes both streams without an answer."""
        self.send("rm")

    def send(self, cmd: str, args: Mapping[str, Any] | None = None, *, wait: bool = False) -> None:
        """One update. With ``wait`` it returns once the parent has answered, and raises UpdateRefused where the answer
        is an error."""
        update: dict[str, Any] = {"cmd": cmd} if args is None else {"cmd": cmd, "args": args}
        self.send_update(update, wait=wait)

    def send_update(self, update: Any, *, wait: bool = False) -> None:
        """One line on the update stream, as it is; see ``send``."""
        line = protocol.encode(update)
        deadline = time.monotonic() + self.update_timeout
        with self._locked(deadline):
            self._write(line, deadline)
            if not wait:
                return
            if not self._read_answers(deadline):
                raise UpdateTimeout(f"The parent has not answered an update within {self.update_timeout:g} s")
            if self._refusal is not None:
                raise UpdateRefused(self._refusal)

    def settle(self, timeout: float = SETTLE_SECONDS) -> bool:
        """Waits until the parent has answered every update, so that it has seen them all; False when it has not.

        Answers that did not come are never waited for again: a parent that was restarted has forgotten them.
        """
        deadline = time.monotonic() + timeout
        try:
            with self._locked(deadline):
                if self._read_answers(deadline):
                    return True
                self._unanswered = 0
        except (UpdateTimeout, ConnectionClosed):
            pass
        return False

    def drain(self) -> bool:
        """Reads the answers that have come, without waiting; False once the parent has closed the update stream."""
        if self._lock.acquire(blocking=False):  # whoever holds it reads anyhow
            try:
                self._read_available()
            finally:
                self._lock.release()
        return self._parent_reads_updates

    def close(self) -> None:
        """Closes both streams; what was written before still arrives."""
        for stream in (self.update_socket, self.command_socket):
            try:
                # Closing with unread answers would reset the connection and could take the last update with it.
                stream.shutdown(socket.SHUT_WR)
                stream.setblocking(False)
                for _ in range(_DRAIN_CHUNKS):
                    if not stream.recv(_CHUNK):
                        break
            except OSError:
                pass
            stream.close()

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise UpdateTimeout("Another thread's update has not been read by the parent")
        try:
            yield
        finally:
            self._lock.release()

    def _write(self, line: bytes, deadline: float) -> None:
        if self._unsent and not self._flush(deadline):
            raise UpdateTimeout(f"The parent has not read updates for {self.update_timeout:g} s")
        self._unsent += line
        self._unanswered += 1
        if self._flush(deadline):
            return
        if len(self._unsent) == len(line):
            # Not a byte of it went out: take it back, so that an older value never follows a newer one.
            self._unsent.clear()
            self._unanswered -= 1
        raise UpdateTimeout(f"The parent has not read updates for {self.update_timeout:g} s")

    def _flush(self, deadline: float) -> bool:
        while True:
            self._read_available()
            if not self._parent_reads_updates:
                raise ConnectionClosed("The parent has closed the update stream")
            try:
                while self._unsent:
                    sent = self.update_socket.send(self._unsent)
                    del self._unsent[:sent]
                return True
            except BlockingIOError:
                pass
            except OSError as error:
                self._parent_reads_updates = False
                raise ConnectionClosed(f"The update stream broke: {error}") from None
            # Looked at here too: a parent that talks without end is always readable, and never waited for.
            if time.monotonic() >= deadline:
                return False
            _wait(self.update_socket, select.POLLIN | select.POLLOUT, deadline)

    def _read_answers(self, deadline: float) -> bool:
        """Reads until every update is answered; False where the deadline comes first."""
        while True:
            self._read_available()
            if self._unanswered <= 0:
                return True
            if not self._parent_reads_updates:
                raise ConnectionClosed("The parent has closed the update stream")
            if time.monotonic() >= deadline:
                return False
            _wait(self.update_socket, select.POLLIN, deadline)

    def _read_available(self) -> None:
        for _ in range(_DRAIN_CHUNKS):
            if not self._parent_reads_updates:
                return
            try:
                data = self.update_socket.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._parent_reads_updates = False
                return
            for line in self._answers.feed(data):
                if line != b"":
                    self._take_answer(line)

    def _take_answer(self, line: protocol.Line) -> None:
        self._unanswered = max(0, self._unanswered - 1)
        self._refusal = None
        try:
            answer = protocol.decode(line)
        except BadLine as error:
            log.warning("The parent's answer to an update cannot be read: %s", error)
            return
        for one in answer if isinstance(answer, list) else [answer]:
            if isinstance(one, dict) and one.get("success") is False:
                self._refusal = str(one.get("error", "The parent refused an update"))
                log.warning("The parent refused an update: %s", self._refusal)


def _address_from_argv(argv: list[str]) -> tuple[str, str, str]:
    if len(argv) < 4 or not (argv[-2].isdecimal() and argv[-1].isdecimal()):
        raise ConnectFailed(f"{argv[0] if argv else 'This program'} is a shmooze module: {_USAGE}")
    return argv[-3], argv[-2], argv[-1]


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    failure: Exception | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # IPv4 first: a parent listens there always, on ::1 only where there is one.
        for family, kind, protocol_number, _, address in sorted(found, key=lambda a: a[0] != socket.AF_INET):
            stream = socket.socket(family, kind, protocol_number)
            try:
                stream.settimeout(max(0.001, deadline - time.monotonic()))
                stream.connect(address)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return stream
            except OSError as error:
                stream.close()
                failure = failure or error
    except (OSError, OverflowError) as error:
        failure = error
    raise ConnectFailed(f"Cannot connect to the parent at {host} port {port}: {failure}")


def _wait(stream: socket.socket, events: int, deadline: float | None) -> bool:
    """Waits until one of the events is there; False where the deadline comes first."""
    poller = select.poll()  # not select.select: descriptors over 1023 are fine here
    poller.register(stream, events)
    if deadline is None:
        return bool(poller.poll(None))
    return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
