"""A service of the application: commands as JSON lines on a TCP port (protocol.md sections 1 and 2), on asyncio.

    level = 50

    def set_level(level: int) -> None: ...
    async def get_level() -> int: ...

    if __name__ == "__main__":
        Service("lamp", {"set_level": set_level, "get_level": get_level}).run()

The port is ``ports.lamp`` of the settings; the gateway then offers the service at ``POST /lamp``.

    client ──line──▶ connection ──in order, one at a time──▶ command ──answer──▶ client
    client ──line──▶ connection ──(beside all others)──────▶ command ──answer──▶ client

A plain function runs on the event loop and must return at once; one that waits is a coroutine function, and one that
blocks belongs into ``await asyncio.to_thread(...)``.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from . import protocol
from . import settings as _settings
from .arguments import Signature
from .service_connection import Connection
from .errors import CommandError, NotJson, ServiceError, SettingsError, ShmoozeError

__all__ = ["CommandError", "Service"]

log = logging.getLogger("shmooze.service")

DRAIN_SECONDS: Final = 5.0
"""How long the commands that run when the service is told to stop may take."""
LISTEN_FDS_START: Final = 3  # sd_listen_fds(3)


class Service:
    """A table of commands behind a port.

    ``commands`` maps names to functions or coroutine functions; arguments are given by name, after they were held
    against the function's parameters and annotations. ``port`` is for tests and services without settings (0: any
    free one).
    """

    def __init__(
        self,
        name: str,
        commands: Mapping[str, Callable[..., Any]],
        *,
        settings: _settings.Settings | None = None,
        port: int | None = None,
        max_line_bytes: int | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        """Raises TypeError where a command has a parameter that cannot be given by name."""
        self.name = name
        self.drain_seconds = drain_seconds
        self._commands = {cmd: (function, Signature(cmd, function)) for cmd, function in commands.items()}
        self._settings = settings
        self._port = port
        self._max_line_bytes = max_line_bytes
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._stopping: asyncio.Event | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the started service listens."""
        names = [listening.getsockname() for server in self._servers for listening in server.sockets]
        return [name[:2] for name in names if isinstance(name, tuple)]  # a Unix socket's name is text

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then answers what has arrived and returns.

        Exits with status 1 and one sentence on standard error where the service cannot start.
        """
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format=f"{self.name}: %(message)s")
        try:
            asyncio.run(self.serve())
        except (ServiceError, SettingsError) as error:
            raise SystemExit(f"{self.name}: {error}") from None

    async def serve(self) -> None:
        """``run`` for a program with an event loop of its own. Raises ServiceError, SettingsError."""
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            await self.start()
            where = ", ".join(f"{host} port {port}" for host, port in self.addresses)
            log.info("listening on %s", where)
            await self._stopping.wait()
            log.info("stopping")
            await self.stop()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def start(self) -> None:
        """Listens and returns. Raises ServiceError, SettingsError."""
        loop = asyncio.get_running_loop()
        limit = self._line_limit()
        listening = activated_sockets()
        if listening:
            self._compare_ports(listening)
        for one in listening or self._bind():
            self._servers.append(await loop.create_server(lambda: Connection(self, self._connections, limit), sock=one))

    async def stop(self) -> None:
        """Listens no longer, answers the requests that have arrived, closes all connections.

        What is not answered ``drain_seconds`` later is given up.
        """
        for server in self._servers:
            server.close()
        # One turn of the loop for requests that wait in the kernel's buffers already.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing = [connection.drain() for connection in list(self._connections)]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self.drain_seconds)
            if late:
                log.warning("%d connections closed with a request unanswered", len(late))
            for connection in list(self._connections):
                connection.abort()
        self._servers.clear()

    async def answer(self, message: Any) -> Any:
        """The answer to one request or to a list of them, which are executed one after the other."""
        if isinstance(message, list):
            return [await self._answer_one(request) for request in message]
        if isinstance(message, dict):
            return await self._answer_one(message)
        return protocol.bad(protocol.NOT_A_COMMAND)

    async def _answer_one(self, message: Any) -> dict[str, Any]:
        cmd: Any = None
        try:
            cmd, args = protocol.parse_command(message)
            if not isinstance(cmd, str) or cmd not in self._commands:
                raise CommandError(protocol.BAD_COMMAND)
            function, signature = self._commands[cmd]
            signature.check(args)
            result = function(**args)
            if inspect.isawaitable(result):
                result = await result
            answer = protocol.good(result)
            protocol.encode(answer)
            return answer
        except NotJson as error:
            log.error('The result of command "%s" is unfit: %s', cmd, error)
            return protocol.bad(f'The result of command "{cmd}" is unfit: {error}')
        except CommandError as error:
            return protocol.bad(protocol.sentence_of(error))
        except Exception as error:
            log.warning("Command %s failed: %s", cmd, error, exc_info=not isinstance(error, ShmoozeError))
            return protocol.bad(protocol.sentence_of(error))

    def _line_limit(self) -> int:
        if self._max_line_bytes is not None:
            return self._max_line_bytes
        if self._settings is None and self._port is not None:
            return protocol.MAX_LINE_BYTES
        limit = self._configured().get("max_line_bytes", protocol.MAX_LINE_BYTES)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise SettingsError(f'{self._configured().where()}: "max_line_bytes" must be a number of bytes.')
        return limit

    def _configured(self) -> _settings.Settings:
        if self._settings is None:
            self._settings = _settings.current()
        return self._settings

    def _bind(self) -> list[socket.socket]:
        port = self._port if self._port is not None else self._configured().port(self.name)
        first = _listen(socket.AF_INET, "127.0.0.1", port)
        try:
            return [first, _listen(socket.AF_INET6, "::1", first.getsockname()[1])]
        except _NoSuchAddress:
            return [first]
        except ServiceError:
            first.close()
            raise

    def _compare_ports(self, activated: Sequence[socket.socket]) -> None:
        """The sockets are taken as they are; a warning where the settings send clients to another port."""
        try:
            expected = self._port if self._port is not None else self._configured().port(self.name)
        except SettingsError as error:
            log.warning("%s", error)
            return
        for one in activated:
            name = one.getsockname()
            if isinstance(name, tuple) and name[1] != expected:
                log.warning("was handed port %d, but the settings say %d", name[1], expected)


class _NoSuchAddress(Exception):
    """This machine has no such loopback address."""


def activated_sockets() -> Sequence[socket.socket]:
    """The listening sockets that systemd handed to this very process (LISTEN_PID, LISTEN_FDS); often none.

    The variables are removed, so that no child takes them for its own. Raises ServiceError where a descriptor is no
    listening stream socket.
    """
    count, process = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    found: list[socket.socket] = []
    for descriptor in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)):
        try:
            os.set_inheritable(descriptor, False)
            one = socket.socket(fileno=descriptor)
            if one.type != socket.SOCK_STREAM or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(errno.EINVAL, "not listening")
        except OSError:
            raise ServiceError(f"The activated descriptor {descriptor} is no listening stream socket.") from None
        found.append(one)
    return found


def _listen(family: int, host: str, port: int) -> socket.socket:
    try:
        one = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        raise _NoSuchAddress from None
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((host, port))
        one.listen(1024)
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _NoSuchAddress from None
        raise ServiceError(f"Cannot listen on {host} port {port}: {error.strerror}.") from None
    return one
