"""The answering half of a module: reads commands from the parent and answers each with exactly one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import protocol
from .arguments import Signature
from .connection import ParentConnection
from .errors import BadLine, CommandError, ConnectionClosed, NotJson, ShmoozeError

log = logging.getLogger("shmooze.module")

Handler = Callable[[str, dict[str, Any]], Any]
"""Executes one command, given its name and arguments; what it returns is the result, what it raises the error."""


class JSONParentPoller:
    """Answers the parent's commands. Subclass it with a ``commands`` table, or give it a handler.

    In a subclass the table maps names to functions that take the poller and the arguments::

        class Lamp(JSONParentPoller):
            def cmd_init(self, colour: str = "white") -> None: ...
            def cmd_rm(self) -> None: ...
            commands = {"init": cmd_init, "rm": cmd_rm, ...}

    A handler is either such a table of functions that take the arguments alone, or one function that takes name and
    arguments. Arguments are held against the function's parameters before it runs. An exception becomes
    ``{"success": false, "error": str(exception)}``; the answer has no ``result`` where the result is None.
    """

    commands: Mapping[str, Callable[..., Any]] = {}

    def __init__(
        self,
        connection: ParentConnection | None = None,
        handler: Handler | Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Without a connection one is made as the program's arguments say. Raises ConnectFailed."""
        self.handler = handler
        self.connection = connection if connection is not None else ParentConnection()
        self.removed = False
        """True once the command ``rm`` was executed."""

    def fileno(self) -> int:
        """The descriptor of the command stream, for ``select``; when readable call ``handle_commands(block=False)``."""
        return self.connection.fileno()

    def handle_one_command(self) -> bool:
        """Waits for one command and answers it. False when the module is to end: after ``rm``, or when the parent has
        closed the stream."""
        return self._handle_next(timeout=None) is not None and not self.removed

    def handle_commands(self, block: bool = True) -> bool:
        """Answers commands until the module is to end, and returns False. With ``block=False`` it answers those that
        have come, waits for none, and returns True while the module is to go on."""
        while True:
            handled = self._handle_next(timeout=None if block else 0)
            if handled is None or self.removed:
                return False
            if not handled:
                return True

    def dispatch(self, cmd: str, args: dict[str, Any]) -> Any:
        """Executes one command; returns its result. Override it to choose another way."""
        if self.handler is not None and not isinstance(self.handler, Mapping):
            return self.handler(cmd, args)
        bound: tuple[Any, ...] = (self,) if self.handler is None else ()
        table = self.commands if self.handler is None else self.handler
        function = table.get(cmd)
        if function is None:
            raise CommandError(protocol.UNRECOGNIZED_COMMAND)
        Signature(cmd.removeprefix("do_"), function, bound=len(bound)).check(args)
        return function(*bound, **args)

    def set_parameters(self, parameters: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """See ParentConnection.set_parameters."""
        self.connection.set_parameters(parameters, **named)

    def unset_parameters(self, names: Iterable[str] | str) -> None:
        """See ParentConnection.unset_parameters."""
        self.connection.unset_parameters(names)

    def rm(self) -> None:
        """Announces to the parent that the module ends on its own."""
        self.connection.rm()

    def close(self) -> None:
        """Closes both streams."""
        self.connection.close()

    def _handle_next(self, timeout: float | None) -> bool | None:
        """True: one command was answered; False: none came in time; None: the stream is closed."""
        try:
            line = self.connection.recv_line(timeout)
            if line is None:
                return False
            response, cmd = self._respond(line)
            # Whoever reads the answer may rely on the updates that the command made.
            self.connection.settle()
            try:
                self.connection.send_resp(response)
            except NotJson as error:
                self.connection.send_resp(protocol.bad(f'The result of command "{cmd}" is unfit: {error}'))
        except ConnectionClosed:
            return None
        return True

    def _respond(self, line: protocol.Line) -> tuple[dict[str, Any], Any]:
        cmd: Any = None
        try:
            message = protocol.decode(line)
            if isinstance(message, dict) and message.get("args", ...) is None:
                del message["args"]  # the parent leaves null arguments out; be as lenient with one that does not
            cmd, args = protocol.parse_command(message)
            if not isinstance(cmd, str):
                raise CommandError(protocol.UNRECOGNIZED_COMMAND)
            try:
                return protocol.good(self.dispatch(cmd, args)), cmd
            finally:
                self.removed = self.removed or cmd == "rm"
        except (BadLine, CommandError) as error:
            log.info("Command %s refused: %s", cmd, error)
            return protocol.bad(protocol.sentence_of(error)), cmd
        except Exception as error:
            log.warning("Command %s failed: %s", cmd, error, exc_info=not isinstance(error, ShmoozeError))
            return protocol.bad(protocol.sentence_of(error)), cmd
