"""The application's settings: one JSON file (protocol.md section 8).

from shmooze import settings
port = settings.ports["queue"]          # the file that SHMOOZE_SETTINGS names, read on first use
other = settings.load("other.json")     # any other
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .errors import SettingsError

DEFAULT_PATH: Final = Path("/etc/shmooze/settings.json")
VARIABLE: Final = "SHMOOZE_SETTINGS"


class Settings(Mapping[str, Any]):
    """The keys of a settings file, as a mapping and as attributes: ``s["name"]``, ``s.name``, ``s.get("name")``."""

    def __init__(self, values: Mapping[str, Any], path: Path | None = None) -> None:
        self._values = {key: _expanded(key, value) for key, value in values.items()}
        self._path = path

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, key: str) -> Any:
        # Only what no ordinary attribute is comes here; copying and pickling ask before __init__ has run.
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f'{self.where()} has no key "{key}"') from None

    def __repr__(self) -> str:
        return f"<Settings of {self.where()}>"

    def where(self) -> str:
        """The file that the settings are from, for a message."""
        return str(self._path) if self._path is not None else "The settings"

    def port(self, service: str) -> int:
        """The TCP port of a service. Raises SettingsError."""
        ports = self._values.get("ports")
        if not isinstance(ports, dict):
            raise SettingsError(f'{self.where()}: "ports" must be an object of services and their ports.')
        if service not in ports:
            raise SettingsError(f'{self.where()}: "ports" names no service "{service}".')
        port = ports[service]
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise SettingsError(f'{self.where()}: "ports.{service}" must be a port number from 1 to 65535.')
        return port


def load(path: str | os.PathLike[str] | None = None) -> Settings:
    """Reads a settings file; without a path the one that SHMOOZE_SETTINGS names, else /etc/shmooze/settings.json.

    ``$VAR`` and ``${VAR}`` are expanded in every key that ends in ``_path``. Raises SettingsError, one sentence that
    names the file.
    """
    file = Path(path if path is not None else os.environ.get(VARIABLE) or DEFAULT_PATH)
    try:
        values = json.loads(file.read_text("utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise SettingsError(f"Cannot read the settings file {file}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file {file} is not UTF-8 (byte {error.start + 1}).") from None
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"The settings file {file} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"The settings file {file} is not JSON that can be read: {error}.") from None
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {file} must hold one JSON object.")
    return Settings(values, file)


_current: tuple[str | None, Settings] | None = None


def current() -> Settings:
    """The settings of this process: read on the first call, then kept. Raises SettingsError."""
    global _current
    named = os.environ.get(VARIABLE)
    if _current is None or _current[0] != named:
        _current = (named, load())
    return _current[1]


def get(key: str, default: Any = None) -> Any:
    """One key of this process's settings, as in the original library."""
    return current().get(key, default)


def __getattr__(key: str) -> Any:
    # ``shmooze.settings.ports``, as in the original library. Python asks for names such as __path__ on import.
    if key.startswith("_"):
        raise AttributeError(key)
    return getattr(current(), key)


def _expanded(key: str, value: Any) -> Any:
    return os.path.expandvars(value) if key.endswith("_path") and isinstance(value, str) else value
