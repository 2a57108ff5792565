"""Every exception of the package; ``str()`` of each is one sentence for a human reader.

ShmoozeError
├── CommandError          raised by a command: its text becomes the answer's "error"
│   └── BadArgument       an argument is missing, unknown or of the wrong type
├── SettingsError         the settings file cannot be used
├── ServiceError          a service cannot start
├── BadLine               a received line is no JSON (or too long)
├── NotJson               a value cannot be written as JSON
├── ModuleConnectionError the streams between a module and its parent
│   ├── ConnectFailed     the parent cannot be reached
│   ├── ConnectionClosed  the parent closed the stream
│   ├── UpdateTimeout     the parent did not read (or answer) an update in time
│   └── UpdateRefused     the parent answered an update with an error
└── ClientError           asking a service
    ├── ServiceUnreachable
    ├── ServiceTimeout
    ├── BadAnswer         what came back is no answer
    ├── GatewayRefused    the gateway answered with an HTTP error status
    └── CommandFailed     the service answered {"success": false}
"""

from __future__ import annotations

from typing import Any


class ShmoozeError(Exception):
    """The base of all exceptions of this package."""


class CommandError(ShmoozeError):
    """Raise it in a command to refuse: the text is the ``error`` of the answer, without a traceback in the log."""


class BadArgument(CommandError):
    """An argument of a command is missing, unknown, or not of the type that the command takes."""


class SettingsError(ShmoozeError):
    """The settings file is missing, is no JSON object, or lacks a key; the text names the file."""


class ServiceError(ShmoozeError):
    """A service cannot start: a port that is taken, an activated descriptor that is no listening socket."""


class BadLine(ShmoozeError):
    """A received line is not JSON, not UTF-8, or longer than the limit (protocol.md section 1)."""


class NotJson(ShmoozeError):
    """A value cannot be written as JSON."""


class ModuleConnectionError(ShmoozeError):
    """The base of what goes wrong between a module and its parent."""


class ConnectFailed(ModuleConnectionError):
    """The program was not started by a queue or a pool, or the parent's ports do not answer."""


class ConnectionClosed(ModuleConnectionError):
    """The parent has closed the stream: the module is to end."""


class UpdateTimeout(ModuleConnectionError, TimeoutError):
    """The parent took an update (or answered it) too late."""


class UpdateRefused(ModuleConnectionError):
    """The parent answered an update with an error."""


class ClientError(ShmoozeError):
    """The base of what goes wrong when a service is asked."""


class ServiceUnreachable(ClientError):
    """Nothing listens at the endpoint, or its host is unknown."""


class ServiceTimeout(ClientError, TimeoutError):
    """The service did not answer in time. The command may have been executed all the same."""


class BadAnswer(ClientError):
    """The connection closed before the answer was whole, or the answer is no JSON."""


class GatewayRefused(ClientError):
    """The gateway answered with an HTTP error; ``status`` is its number (502: the service is down)."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class CommandFailed(ClientError):
    """The service answered ``{"success": false}``; ``str()`` is its error and ``response`` the whole answer."""

    def __init__(self, sentence: str, response: Any) -> None:
        super().__init__(sentence)
        self.response = response
