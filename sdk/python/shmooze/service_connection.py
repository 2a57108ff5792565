"""One client of a service: its lines are answered in order, one at a time, in bounded memory."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final, Protocol

from . import protocol
from .errors import BadLine

log = logging.getLogger("shmooze.service")

HELD_BYTES: Final = 65536
"""Bytes of unexecuted requests at which a connection is read no further until they are executed."""


class Answering(Protocol):
    """What a connection needs of its service."""

    async def answer(self, message: Any) -> Any:
        """The answer to one message."""


class Connection(asyncio.Protocol):
    """The server's end of a connection.

    reading ──▶ waiting lines ──▶ worker (a task, while there are lines) ──▶ writing
       ▲                                                                       │
       └── paused while too much waits ◀── a client that does not read ────────┘
    """

    def __init__(self, service: Answering, connections: set[Connection], max_line_bytes: int) -> None:
        self._service = service
        self._connections = connections
        self._limit = max_line_bytes
        self._lines = protocol.LineBuffer(max_line_bytes)
        self._waiting: deque[protocol.Line] = deque()
        self._waiting_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._closing = False  # nothing more is read; closed once all is answered
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ---- called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        for line in self._lines.feed(data):
            if line != b"":
                self._waiting.append(line)
                self._waiting_bytes += _size(line)
        if self._waiting_bytes > HELD_BYTES:
            self._transport.pause_reading()
        if self._waiting and self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def eof_received(self) -> bool:
        # The client may have closed its sending side only: it still gets its answers.
        self._closing = True
        if self._worker is None:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        # A command that runs goes on to its end, whether or not somebody hears the answer.
        self._closing = True
        self._waiting.clear()
        self._writable.set()
        self._connections.discard(self)
        if not self._lost.done():
            self._lost.set_result(None)

    # ---- called by the service ------------------------------------------------------------------------------------

    def drain(self) -> asyncio.Future[None]:
        """Reads no more, answers what has arrived, closes; done once the connection is closed."""
        if not self._closing:
            self._closing = True
            self._transport.pause_reading()
            if self._worker is None:
                self._transport.close()
        return self._lost

    def abort(self) -> None:
        """Closes at once."""
        if self._worker is not None:
            self._worker.cancel()
        self._transport.abort()

    # ---- inside ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while self._waiting:
                line = self._waiting.popleft()
                self._waiting_bytes -= _size(line)
                try:
                    message = protocol.decode(line, self._limit)
                except BadLine as error:
                    answer = protocol.bad(str(error))
                else:
                    answer = await self._service.answer(message)
                if not self._transport.is_closing():
                    self._transport.write(protocol.encode(answer))
                    await self._writable.wait()
                if self._waiting_bytes <= HELD_BYTES and not self._closing:
                    self._transport.resume_reading()
        finally:
            self._worker = None
            if self._closing:
                self._transport.close()


def _size(line: protocol.Line) -> int:
    return len(line) + 1 if isinstance(line, bytes) else 1
