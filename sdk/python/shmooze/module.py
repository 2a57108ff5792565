"""A module: a process that a queue or a pool starts, commands, watches and ends (protocol.md section 5).

                 init        play          suspend
    started ───▶ (set up) ──▶ (at work) ◀══▶ (waiting)
                     │  do_<name> at any time  │
                     ▼                         ▼
                  rm · the parent closed the stream · SIGTERM · finish()  ──▶  rm() once, then the process ends

A module in a few lines::

    class Hello(Module):
        def init(self, who: str = "world") -> None:
            self.set_parameters(title=f"Hello {who}")

        def do_wave(self, times: int = 1) -> str:
            return "o/ " * times

    if __name__ == "__main__":
        Hello().run()

Beside ``Module`` stand the names of the original library, for programs with a loop of their own: ``ParentConnection``,
``JSONParentPoller``, and the functions ``set_parameters``, ``unset_parameters``, ``rm`` and ``handle_one_command``.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from . import protocol
from . import settings as _settings
from .arguments import Signature, unknown_argument
from .connection import ParentConnection
from .errors import CommandError, ConnectFailed, ModuleConnectionError
from .poller import Handler, JSONParentPoller

__all__ = [
    "CommandError",
    "JSONParentPoller",
    "Module",
    "ParentConnection",
    "default_poller",
    "handle_one_command",
    "rm",
    "set_parameters",
    "unset_parameters",
]

log = logging.getLogger("shmooze.module")


class _Terminated(BaseException):
    """SIGTERM arrived while a method of the module ran; no Exception, so that no handler of the module takes it."""


class Module:
    """Subclass it and call ``run()``. Every method below may be overridden; ``do_<name>`` methods add commands.

    All methods are called on one thread, one after the other. Each has a second by default to return before the parent
    loses patience (the type's time-out ``command``). Arguments are held against the method's parameters and
    annotations; raise ``CommandError`` (or anything) to answer with an error.
    """

    def __init__(self) -> None:
        self.playing = False
        """True between ``play`` and ``suspend``."""
        self._poller: JSONParentPoller | None = None
        self._next_tick: float | None = None
        self._finishing = False
        self._terminated = False
        self._interruptible = False
        self._cleaned_up = False
        self._waker: socket.socket | None = None  # there while run() does

    # ---- to override ----------------------------------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Sets the module up; the arguments are those of ``add``. An exception refuses the module."""
        for name in kwargs:
            raise unknown_argument("init", name)

    def play(self) -> Any:
        """The module came to the top (or is in a pool): start."""

    def suspend(self) -> Any:
        """The module is no longer at the top: stop, but keep the state."""

    def rm(self) -> Any:
        """Cleans up. Called exactly once, whichever way the module ends."""

    def tick(self) -> Any:
        """Called when the time given to ``schedule`` has come. An exception ends the module."""

    # ---- to call --------------------------------------------------------------------------------------------------

    def set_parameters(self, parameters: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Merges these into the module's parameters, which every client can read. From any thread; does not wait."""
        self._connected().set_parameters(parameters, **named)

    def unset_parameters(self, names: Iterable[str] | str) -> None:
        """Removes parameters. From any thread; does not wait."""
        self._connected().unset_parameters(names)

    def schedule(self, seconds: float | None) -> None:
        """Has ``tick()`` called once, that many seconds from now; None forgets it, and so does ``suspend``."""
        self._next_tick = None if seconds is None else time.monotonic() + max(0.0, seconds)
        self._wake()

    def finish(self) -> None:
        """Ends the module on its own, once the method that runs has returned. From any thread."""
        self._finishing = True
        self._wake()

    @property
    def uid(self) -> str | None:
        """The uid under which clients know this module."""
        return os.environ.get("SHMOOZE_UID")

    @property
    def service(self) -> str | None:
        """The name of the queue or pool that holds this module."""
        return os.environ.get("SHMOOZE_SERVICE")

    @property
    def settings(self) -> _settings.Settings:
        """The application's settings. Raises SettingsError."""
        return _settings.current()

    def run(self, connection: ParentConnection | None = None) -> None:
        """Connects to the parent and works until the module ends; then returns.

        Exits with status 1 and one sentence on standard error where the parent cannot be reached, and with status 1
        after an exception in ``tick``.
        """
        global _default
        try:
            connection = connection or ParentConnection()
        except ConnectFailed as error:
            raise SystemExit(str(error)) from None
        poller = _default = self._poller = JSONParentPoller(connection, self._dispatch)
        failed = False
        self._waker, wakened = socket.socketpair()
        self._waker.setblocking(False)
        wakened.setblocking(False)
        with self._waker, wakened, self._signals():
            try:
                failed = not self._loop(poller, wakened)
            except _Terminated:
                pass
            finally:
                self._end(poller)
        if failed:
            raise SystemExit(1)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _connected(self) -> ParentConnection:
        if self._poller is None:
            raise ConnectFailed("The module is not connected yet: call run() first")
        return self._poller.connection

    def _loop(self, poller: JSONParentPoller, wakened: socket.socket) -> bool:
        """Works until the module is to end; False where it ends by a failure of its own."""
        updates = poller.connection.update_socket
        events = select.poll()
        for stream in (poller, updates, wakened):
            events.register(stream, select.POLLIN)
        while not (self._terminated or self._finishing):
            due = self._next_tick
            # Rounded up: a timer that fires a little early would spin until its time has come.
            wait = None if due is None else max(0, int((due - time.monotonic()) * 1000) + 1)
            ready = {descriptor for descriptor, _ in events.poll(wait)}
            if wakened.fileno() in ready:
                _empty(wakened)
            if updates.fileno() in ready and not poller.connection.drain():
                events.unregister(updates)
            if poller.fileno() in ready and not poller.handle_commands(block=False):
                return True
            due = self._next_tick
            if due is not None and due <= time.monotonic() and not (self._terminated or self._finishing):
                self._next_tick = None
                if not self._tick():
                    self._finishing = True
                    return False
        return True

    def _tick(self) -> bool:
        try:
            with self._interruption():
                self.tick()
        except ModuleConnectionError as error:
            log.warning("The module cannot reach its parent: %s", error)
        except Exception:
            log.exception("The module ends: tick() failed")
            return False
        return True

    def _dispatch(self, cmd: str, args: dict[str, Any]) -> Any:
        methods: dict[str, Callable[..., Any]] = {
            "init": self.init,
            "play": self._play,
            "suspend": self._suspend,
            "rm": self._clean_up,
        }
        method = methods.get(cmd) or (getattr(self, cmd, None) if cmd.startswith("do_") else None)
        if not callable(method):
            raise CommandError(protocol.UNRECOGNIZED_COMMAND)
        Signature(cmd.removeprefix("do_"), method).check(args)
        if cmd == "rm":
            return method()  # cleaning up is never interrupted
        with self._interruption():
            return method(**args)

    def _play(self) -> Any:
        was, self.playing = self.playing, True
        try:
            return self.play()
        except BaseException:
            self.playing = was
            raise

    def _suspend(self) -> Any:
        self.playing = False
        self._next_tick = None
        return self.suspend()

    def _clean_up(self) -> Any:
        if not self._cleaned_up:
            self._cleaned_up = True
            return self.rm()
        return None

    def _end(self, poller: JSONParentPoller) -> None:
        try:
            self._clean_up()
        except Exception:
            log.exception("rm() failed")
        if self._finishing:
            try:
                poller.rm()
            except ModuleConnectionError:
                pass  # the parent has closed first
        poller.close()

    def _wake(self) -> None:
        try:
            if self._waker is not None:
                self._waker.send(b"\0")
        except OSError:
            pass  # full: the loop is awake already; closed: the module has ended

    @contextmanager
    def _interruption(self) -> Iterator[None]:
        """While a method of the module runs, SIGTERM ends it by an exception; else the loop is woken."""
        if self._terminated:
            raise _Terminated
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._terminated = True
        self._wake()
        if self._interruptible:
            self._interruptible = False
            raise _Terminated

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Python lets only the main thread set handlers
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# ---- the functions of the original: one connection per process ------------------------------------------------------

_default: JSONParentPoller | None = None


def default_poller() -> JSONParentPoller:
    """The process's one poller: that of the running ``Module``, else one connected as the program's arguments say on
    the first call. Raises ConnectFailed."""
    global _default
    if _default is None:
        _default = JSONParentPoller()
    return _default


def set_parameters(parameters: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Merges these into the module's parameters; see ParentConnection.set_parameters."""
    default_poller().set_parameters(parameters, **named)


def unset_parameters(names: Iterable[str] | str) -> None:
    """Removes parameters; see ParentConnection.unset_parameters."""
    default_poller().unset_parameters(names)


def rm() -> None:
    """Announces that the module ends on its own."""
    default_poller().rm()


def handle_one_command(handler: Handler | Mapping[str, Callable[..., Any]]) -> bool:
    """Waits for one command and answers it with the handler; see JSONParentPoller, whose return value it has."""
    poller = default_poller()
    poller.handler = handler
    return poller.handle_one_command()


def _empty(wakened: socket.socket) -> None:
    try:
        while wakened.recv(4096):
            pass
    except BlockingIOError:
        pass
