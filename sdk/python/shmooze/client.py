"""Asking a service: over TCP by its name or address, or through the HTTP gateway.

request({"cmd": "queue"}, "queue")                         # the port from the settings
request({"cmd": "queue"}, ("localhost", 9420))
request({"cmd": "queue"}, "http://jukebox.example/queue")  # the gateway

with Client("queue") as queue:                             # keeps its connection
    uid = queue.call("add", type="tones", args={"frequency": 440})["uid"]
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Any, Final, Protocol

from . import protocol
from . import settings as _settings
from .errors import (
    BadAnswer,
    BadLine,
    ClientError,
    CommandFailed,
    GatewayRefused,
    ServiceTimeout,
    ServiceUnreachable,
)

__all__ = [
    "BadAnswer",
    "Client",
    "ClientError",
    "CommandFailed",
    "Endpoint",
    "GatewayRefused",
    "ServiceTimeout",
    "ServiceUnreachable",
    "request",
]

TIMEOUT_SECONDS: Final = 10.0
"""How long connecting, sending and the answer may take together."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the longest answer that is read."""

Endpoint = str | tuple[str, int]
"""The name of a service, (host, port), or an http or https URL of the gateway."""

_CHUNK: Final = 65536


def request(
    message: Any,
    endpoint: Endpoint,
    *,
    timeout: float = TIMEOUT_SECONDS,
    settings: _settings.Settings | None = None,
) -> Any:
    """Sends one request, or a list of them, and returns the service's whole answer.

    ``timeout`` is in seconds. ``settings`` stand in for those of the process where a service is named. Raises
    ServiceUnreachable, ServiceTimeout, BadAnswer, GatewayRefused, SettingsError, NotJson; an answer
    ``{"success": false}`` is returned like any other.
    """
    with Client(endpoint, timeout=timeout, settings=settings) as client:
        return client.request(message)


class Client:
    """Asks one service and keeps the connection. May be used from several threads; they take turns."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float = TIMEOUT_SECONDS,
        settings: _settings.Settings | None = None,
    ) -> None:
        """Connects on the first request. Raises SettingsError where the settings know no such service."""
        self.timeout = timeout
        self._lock = threading.Lock()
        self._wire: _Wire
        if isinstance(endpoint, tuple):
            self._wire = _Lines(*endpoint)
        elif "://" in endpoint:
            self._wire = _Gateway(endpoint)
        else:
            known = settings if settings is not None else _settings.current()
            self._wire = _Lines("127.0.0.1", known.port(endpoint))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def request(self, message: Any) -> Any:
        """The service's whole answer, as the function ``request``. A request is never sent twice: after a timeout or a
        broken connection it is not known whether it was executed; the next one uses a new connection."""
        line = protocol.encode(message)
        deadline = time.monotonic() + self.timeout
        with self._lock:
            try:
                return self._wire.ask(line, deadline)
            except BaseException:
                # An answer that comes late must not become the answer to the next request.
                self._wire.close()
                raise

    def call(self, cmd: str, /, **args: Any) -> Any:
        """Executes one command and returns its result (None where it has none). Raises CommandFailed with the
        service's error, and what ``request`` raises."""
        answer = self.request({"cmd": cmd, "args": args})
        if not isinstance(answer, dict) or not isinstance(answer.get("success"), bool):
            raise BadAnswer(f'The answer to "{cmd}" is neither success nor error.')
        if not answer["success"]:
            raise CommandFailed(str(answer.get("error", f'The command "{cmd}" failed.')), answer)
        return answer.get("result")

    def close(self) -> None:
        """Closes the connection; the next request opens a new one."""
        self._wire.close()


class _Wire(Protocol):
    """One way to bring a line to a service."""

    def ask(self, line: bytes, deadline: float) -> Any:
        """The answer to one line."""

    def close(self) -> None:
        """Forgets the connection."""


class _Lines:
    """JSON lines over TCP."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._where = f"{host} port {port}"
        self._stream: socket.socket | None = None
        self._buffer = protocol.LineBuffer(MAX_ANSWER_BYTES)

    def ask(self, line: bytes, deadline: float) -> Any:
        stream = self._connected(deadline)
        try:
            stream.settimeout(_left(deadline))
            stream.sendall(line)
            while True:
                stream.settimeout(_left(deadline))
                data = stream.recv(_CHUNK)
                if not data:
                    raise BadAnswer(f"The service at {self._where} closed the connection without an answer.")
                answers = [answer for answer in self._buffer.feed(data) if answer != b""]
                if answers:
                    return protocol.decode(answers[0], MAX_ANSWER_BYTES)
        except TimeoutError:
            raise ServiceTimeout(f"The service at {self._where} did not answer in time.") from None
        except BadLine as error:
            raise BadAnswer(f"The answer of the service at {self._where} cannot be read: {error}.") from None
        except OSError as error:
            raise BadAnswer(f"The connection to the service at {self._where} broke: {error}.") from None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _connected(self, deadline: float) -> socket.socket:
        # Between requests nothing may come: a readable connection was closed by the service (or is out of step).
        if self._stream is not None and _readable(self._stream):
            self.close()
        if self._stream is None:
            try:
                self._stream = socket.create_connection((self._host, self._port), _left(deadline))
            except TimeoutError:
                raise ServiceTimeout(f"The service at {self._where} does not take connections in time.") from None
            except (OSError, OverflowError) as error:
                raise ServiceUnreachable(f"Cannot reach the service at {self._where}: {error}.") from None
            self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._buffer = protocol.LineBuffer(MAX_ANSWER_BYTES)
        return self._stream


class _Gateway:
    """HTTP (protocol.md section 7): POST with a JSON body."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise ServiceUnreachable(f"{url} has no valid port.") from None
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or parts.hostname is None:
            raise ServiceUnreachable(f"{url} is no http or https URL.")
        self._url = url
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = kinds[parts.scheme](parts.hostname, port)

    def ask(self, line: bytes, deadline: float) -> Any:
        connection = self._connection
        if connection.sock is not None and _readable(connection.sock):
            connection.close()
        try:
            connection.timeout = _left(deadline)
            if connection.sock is None:
                connection.connect()
        except TimeoutError:
            raise ServiceTimeout(f"{self._url} does not take connections in time.") from None
        except OSError as error:
            raise ServiceUnreachable(f"Cannot reach {self._url}: {error}.") from None
        try:
            connection.sock.settimeout(_left(deadline))
            connection.request("POST", self._target, line, {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = b""
            while len(body) <= MAX_ANSWER_BYTES and (chunk := response.read1(_CHUNK)):
                body += chunk
                left = _left(deadline)
                if connection.sock is not None:  # None where the gateway closes after this answer
                    connection.sock.settimeout(left)
            if response.length and len(body) <= MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(body, response.length)
            response.close()  # the connection stays, and may take the next request
        except TimeoutError:
            raise ServiceTimeout(f"{self._url} did not answer in time.") from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise BadAnswer(f"The answer of {self._url} broke off: {error or type(error).__name__}.") from None
        return self._read(response.status, body)

    def close(self) -> None:
        self._connection.close()

    def _read(self, status: int, body: bytes) -> Any:
        whole: protocol.Line = body if len(body) <= MAX_ANSWER_BYTES else protocol.Overlong.LINE
        try:
            answer = protocol.decode(whole, MAX_ANSWER_BYTES)
        except BadLine as error:
            if status == 200:
                raise BadAnswer(f"The answer of {self._url} cannot be read: {error}.") from None
            answer = None
        if status != 200:
            said = answer.get("error") if isinstance(answer, dict) else None
            raise GatewayRefused(str(said or f"{self._url} answered with HTTP status {status}."), status)
        return answer


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError where there are none, so that a trickle does not prolong it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _readable(stream: socket.socket) -> bool:
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    return bool(poller.poll(0))
