"""Holding the arguments of a request against the parameters of the function that executes it.

A command is a plain function; its parameter names, defaults and annotations say what it takes. A request that does
not fit is refused with a sentence that names command and argument (protocol.md section 2), before the function runs.

Checked annotations: ``bool``, ``int``, ``float`` (takes whole numbers too), ``str``, ``None``, ``list``, ``dict``,
``list[T]``, ``dict[str, T]``, ``Sequence`` and ``Mapping`` alike, unions and ``Literal``. Any other is not checked.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from .errors import BadArgument

_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_OBJECTS = (dict, collections.abc.Mapping)


class Signature:
    """What the function behind a command takes, worked out once."""

    def __init__(self, command: str, function: Callable[..., Any], *, bound: int = 0) -> None:
        """``bound``: how many leading parameters the caller itself fills. Raises TypeError where a parameter cannot
        be given by name."""
        self.command = command
        self._named: dict[str, bool] = {}  # name -> required
        self._open = False
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except ValueError:  # some functions written in C do not tell
            parameters, self._open = [], True
        # A request's argument may not land in a parameter that the caller fills ("self").
        taken = parameters[:bound]
        if inspect.ismethod(function):
            taken = taken + list(inspect.signature(function.__func__).parameters.values())[:1]
        self._reserved = {p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD}
        for parameter in parameters[bound:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._open = True
            elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                self._named[parameter.name] = parameter.default is parameter.empty
            elif parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
                raise TypeError(f'the parameter "{parameter.name}" of command "{command}" cannot be given by name')
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # an annotation that exists for the type checker only
            hints = {}
        self._hints = {name: hints[name] for name in self._named if name in hints}

    def check(self, args: Mapping[str, Any]) -> None:
        """Raises BadArgument when the arguments do not fit."""
        for name, required in self._named.items():
            if required and name not in args:
                raise BadArgument(f'Command "{self.command}" needs the argument "{name}".')
        for name, value in args.items():
            if name in self._reserved or (name not in self._named and not self._open):
                raise unknown_argument(self.command, name)
            hint = self._hints.get(name, Any)
            if not _fits(hint, value):
                raise BadArgument(f'Argument "{name}" of command "{self.command}" must be {_describe(hint)}.')


def unknown_argument(command: str, name: str) -> BadArgument:
    """The refusal of an argument that the command does not take."""
    return BadArgument(f'Command "{command}" takes no argument "{name}".')


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return any(_fits(choice, value) for choice in inner)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin is float or origin is int:
        # In Python true is a whole number; in JSON it is not.
        return isinstance(value, (int, float) if origin is float else int) and not isinstance(value, bool)
    if origin in _LISTS:
        return isinstance(value, list) and (not inner or all(_fits(inner[0], element) for element in value))
    if origin in _OBJECTS:
        return isinstance(value, dict) and (len(inner) < 2 or all(_fits(inner[1], v) for v in value.values()))
    return origin not in _PLAIN or isinstance(value, origin)


def _describe(hint: Any) -> str:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return " or ".join(_describe(choice) for choice in inner)
    if origin is typing.Literal:
        return " or ".join(f'"{choice}"' for choice in inner)
    if origin in _LISTS:
        return f"a list of {_plural(inner[0])}" if inner and inner[0] is not Any else "a list"
    if origin in _OBJECTS:
        return f"an object of {_plural(inner[1])}" if len(inner) > 1 and inner[1] is not Any else "an object"
    return _PLAIN.get(origin, "something else")


def _plural(hint: Any) -> str:
    named = {str: "texts", int: "whole numbers", float: "numbers", bool: "truth values", dict: "objects", list: "lists"}
    return named.get(typing.get_origin(hint) or hint) or f"what is {_describe(hint)}"
