"""Lines, JSON and answers: protocol.md sections 1 and 2, shared by modules, services and clients.

bytes ──LineBuffer──▶ lines ──decode──▶ values ──parse_command──▶ (name, args)
                                        values ◀──good / bad────  result / sentence
bytes ◀───────────────────────encode─── values
"""

from __future__ import annotations

import enum
import json
import math
from typing import Any, Final

from .errors import BadLine, CommandError, NotJson

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the longest line that is read, without its newline (protocol.md section 1)."""

# The fixed sentences of protocol.md section 2: clients compare them, so not a letter may change.
NOT_A_COMMAND: Final = "Command must be either dict (single command) or list (multiple commands)"
ELEMENT_NOT_A_DICT: Final = "Command not a dict."
NO_COMMAND: Final = "No command given."
ARGS_NOT_A_DICT: Final = "Argument list not a dict."
BAD_COMMAND: Final = "Bad command."
# What a module answers to a command that it does not know.
UNRECOGNIZED_COMMAND: Final = "Unrecognized command"


class Overlong(enum.Enum):
    """Stands in the sequence of lines where a line was too long to keep."""

    LINE = "overlong"


Line = bytes | Overlong


class LineBuffer:
    """Cuts a stream of bytes into lines; holds at most one line's limit of bytes.

    A line over the limit is reported once, as soon as that is known, and its rest is skipped.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.max_line_bytes = max_line_bytes
        self._data = bytearray()
        self._searched = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[Line]:
        """Takes what was received; returns the lines that it completes, without ``\\n`` or ``\\r\\n``."""
        self._data += data
        lines: list[Line] = []
        while (end := self._data.find(b"\n", self._searched)) >= 0:
            if self._skipping:
                self._skipping = False
            else:
                line = bytes(self._data[:end]).removesuffix(b"\r")
                lines.append(Overlong.LINE if len(line) > self.max_line_bytes else line)
            del self._data[: end + 1]
            self._searched = 0
        # One byte of grace: the carriage return of a line that ends with both does not count.
        if not self._skipping and len(self._data) > self.max_line_bytes + 1:
            lines.append(Overlong.LINE)
            self._skipping = True
        if self._skipping:
            self._data.clear()
        self._searched = len(self._data)
        return lines


def decode(line: Line, max_line_bytes: int = MAX_LINE_BYTES) -> Any:
    """The JSON value on a line.

    ``NaN``, ``Infinity`` and ``-Infinity`` are read as null; of a key given twice the last counts.
    ``max_line_bytes`` is only spoken of. Raises BadLine with the sentence to answer.
    """
    if isinstance(line, Overlong):
        raise BadLine(f"The line is longer than {max_line_bytes} bytes")
    try:
        # Not json.loads(bytes): that would guess UTF-16 and swallow a byte order mark.
        return json.loads(line.decode("utf-8"), parse_constant=_null)
    except UnicodeDecodeError as error:
        raise BadLine(f"The line is not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise BadLine(f"The line is not JSON: {error.msg} (character {error.pos + 1})") from None
    except RecursionError:
        raise BadLine("The line is not JSON: nested too deeply") from None
    except ValueError:
        # The only one left: Python refuses whole numbers of more than some thousand digits.
        raise BadLine("The line is not JSON: a number has too many digits") from None


def encode(value: Any) -> bytes:
    """The value as one line, newline included. What is no finite number is written as null. Raises NotJson."""
    try:
        try:
            text = json.dumps(value, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(value), allow_nan=False)
    except RecursionError:
        raise NotJson("The value cannot be written as JSON: nested too deeply or containing itself") from None
    except (TypeError, ValueError) as error:
        raise NotJson(f"The value cannot be written as JSON: {error}") from None
    return text.encode("ascii") + b"\n"


def good(result: Any = None) -> dict[str, Any]:
    """The answer of a command that succeeded; there is no ``result`` key where the result is null."""
    if isinstance(result, float) and not math.isfinite(result):
        result = None  # as encode() would write it
    return {"success": True} if result is None else {"success": True, "result": result}


def bad(sentence: str) -> dict[str, Any]:
    """The answer of a command that failed."""
    return {"success": False, "error": sentence}


def sentence_of(error: BaseException) -> str:
    """The text of an exception, or its kind where it has none."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # a careless __str__ of somebody else's exception
        return type(error).__name__


def parse_command(message: Any) -> tuple[Any, dict[str, Any]]:
    """Name and arguments of one request. Raises CommandError with the fixed sentence.

    The name may be of any type: which names there are is the caller's to know. Unknown keys are ignored.
    """
    if not isinstance(message, dict):
        raise CommandError(ELEMENT_NOT_A_DICT)
    if "cmd" not in message:
        raise CommandError(NO_COMMAND)
    args = message.get("args", {})
    if not isinstance(args, dict):
        raise CommandError(ARGS_NOT_A_DICT)
    return message["cmd"], args


def _null(_token: str) -> None:
    return None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
