#!/usr/bin/env python3
"""A service that understands words: ``do`` with ``{"message": "play tones 440"}`` (``shmz do play tones 440``).

It is a client of the services ``queue`` and ``volume``; its answers are sentences. "help" tells what it understands.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from shmooze.client import Client, ServiceUnreachable  # noqa: E402
from shmooze.service import CommandError, Service  # noqa: E402

TIMEOUT_SECONDS = 4.0
STEP = 10  # of "louder" and "quieter"
TITLE = ["title", "text", "state"]

Rule = tuple[str, str, Callable[..., str]]


def ask(service: str, cmd: str, /, **args: Any) -> Any:
    """One command to another service. Raises CommandError where it does not run, else the service's own error."""
    try:
        with Client(service, timeout=TIMEOUT_SECONDS) as client:
            return client.call(cmd, **args)
    except ServiceUnreachable:
        raise CommandError(f"The service {service} does not run.") from None


def play(kind: str, rest: str = "") -> str:
    available = ask("queue", "modules_available")
    if kind not in available:
        raise CommandError(f"I cannot play {kind}; I know {', '.join(sorted(available))}.")
    args = arguments(kind, rest)
    ask("queue", "add", type=kind, args=args)
    said = ", ".join(f"{name} {value}" for name, value in args.items())
    return f"Added {kind}" + (f" ({said})." if said else ".")


def arguments(kind: str, words: str) -> dict[str, Any]:
    """What stands behind the type: ``name=value`` words, or the one thing that the type needs most."""
    words = words.strip()
    if not words:
        return {}
    pairs = [word.partition("=") for word in words.split()]
    if all(equals and name for name, equals, _ in pairs):
        return {name: value_of(text) for name, _, text in pairs}
    if kind == "tones":
        number = value_of(words)
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        return {"frequency": number} if is_number else {"notes": words}
    if kind == "slides":
        return {"slides": words}
    return {"message": words}


def value_of(text: str) -> Any:
    """JSON where it is JSON, else text."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def listing() -> list[dict[str, Any]]:
    kinds = dict.fromkeys(ask("queue", "modules_available"), TITLE)
    found: list[dict[str, Any]] = ask("queue", "queue", parameters=kinds)
    return found


def top() -> dict[str, Any]:
    found = listing()
    if not found:
        raise CommandError("Nothing is playing.")
    return found[0]


def name_of(module: dict[str, Any]) -> str:
    title = module.get("parameters", {}).get("title")
    return f"{module['type']} ({title})" if title else str(module["type"])


def skip() -> str:
    first = top()
    ask("queue", "rm", uids=[first["uid"]])
    return f"Skipped {name_of(first)}."


def clear() -> str:
    uids = [module["uid"] for module in listing()]
    if not uids:
        return "There was nothing to remove."
    ask("queue", "rm", uids=uids)
    return f"Removed {len(uids)}."


def what_is_playing() -> str:
    found = listing()
    if not found:
        return "Nothing is playing."
    first, *others = found
    state = first.get("parameters", {}).get("state")
    sentence = f"{name_of(first)} is {state}." if state else f"{name_of(first)} plays."
    return sentence + (f" Next: {', '.join(map(name_of, others))}." if others else "")


def tell(cmd: str) -> str:
    first = top()
    ask("queue", "tell_module", uid=first["uid"], cmd=cmd)
    return f"{cmd.capitalize()}d {name_of(first)}."


def volume(level: str) -> str:
    return volume_sentence(ask("volume", "set_volume", volume=int(level)))


def volume_by(step: int) -> str:
    level = ask("volume", "get_volume")["volume"] + step
    return volume_sentence(ask("volume", "set_volume", volume=max(0, min(100, level))))


def mute(muted: bool) -> str:
    return volume_sentence(ask("volume", "mute", muted=muted))


def volume_sentence(answer: dict[str, Any]) -> str:
    return f"The volume is {answer['volume']}" + (" and muted." if answer["muted"] else ".")


def help_() -> str:
    return "I understand: " + "; ".join(example for _, example, _ in RULES) + "."


RULES: list[Rule] = [
    (r"(?:play|add|queue) (\S+)((?: .*)?)", "play TYPE …", play),
    (r"skip|next", "skip", skip),
    (r"clear|stop|remove all", "clear", clear),
    (r"pause", "pause", lambda: tell("pause")),
    (r"resume|go on|continue", "resume", lambda: tell("resume")),
    (r"(?:what is|what's) playing\??|status|queue", "what is playing", what_is_playing),
    (r"(?:set )?(?:the )?vol(?:ume)? (?:to )?([0-9]{1,9})%?", "volume 30", volume),
    (r"louder|vol(?:ume)? up", "louder", lambda: volume_by(STEP)),
    (r"quieter|softer|vol(?:ume)? down", "quieter", lambda: volume_by(-STEP)),
    (r"(?:what is|what's) the volume\??|vol(?:ume)?", "volume", lambda: volume_by(0)),
    (r"mute", "mute", lambda: mute(True)),
    (r"unmute", "unmute", lambda: mute(False)),
    (r"help|\?", "help", help_),
]


def understand(message: str) -> str:
    """Does what the message says and tells it. Raises CommandError."""
    words = " ".join(message.split())
    for pattern, _, action in RULES:
        # Names and notes keep their case; only the words of the rules do not care.
        if found := re.fullmatch(pattern, words, re.IGNORECASE):
            return action(*found.groups())
    raise CommandError(f'I do not understand "{words}"; try "help".')


async def do(message: str) -> dict[str, str]:
    """The command: asking other services blocks, so it happens beside the event loop."""
    return {"message": await asyncio.to_thread(understand, message)}


if __name__ == "__main__":
    Service("nlp", {"do": do}).run()
