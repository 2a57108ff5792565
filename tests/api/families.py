"""The two that requests are generated for: the same services, open to everybody and for tokens."""

from __future__ import annotations

from functools import cache
from typing import Any

from support import ROOT, TARGET, UNHURRIED, Family

#: Headers of who may only look, and of who may do everything.
GUESTS = {"Authorization": "Bearer guests-0123456789"}
STAFF = {"Authorization": "Bearer staff-0123456789"}

#: All paths that there are.
PATHS = {
    "/api/queue",
    "/api/queue/events",
    "/api/pool",
    "/api/pool/events",
    "/api/volume",
    "/api/volume/events",
    "/api/absent%7B%7D",
    "/api/absent%7B%7D/events",
    "/api/settings.json",
    "/api/openapi.json",
    "/api/healthz",
    "/api/metrics",
}


def _settings() -> dict[str, Any]:
    tiny = {"process": [str(TARGET / "examples/tiny")], "timeouts": UNHURRIED}
    described = {
        **tiny,
        "title": "With arguments",
        "args": {
            "title": {"title": "Title", "type": "string"},
            "speed": {"type": "number", "default": 1.5, "enum": [1, 1.5, 2]},
            "count": {"type": "integer", "description": "How many"},
            "loud": {"type": "boolean", "default": False},
            "either": {"enum": ["this", 5, None]},
            "more": {"type": "object"},
            "list": {"type": "array", "default": []},
        },
        "commands": {"next": {"title": "Next"}},
    }
    return {
        # A name with characters that mean something in a description; one where nothing listens.
        "ports": dict.fromkeys(["queue", "pool", "volume", "absent{}"]),
        "wsgi_prefix": "/api/",
        "public": ["wsgi_prefix"],
        "services": {
            "queue": {
                "kind": "queue",
                "modules": {"tiny": tiny, "de scribed/~{}": described},
                "backgrounds": {"tiny": tiny},
                "max_modules": 40,
            },
            "pool": {"kind": "pool", "modules": {"described": described}, "max_modules": 40},
            "volume": {"kind": "app", "process": ["python3", str(ROOT / "examples/services/volume.py")]},
        },
    }


@cache
def open_() -> Family:
    """Open to everybody."""
    return Family(_settings())


@cache
def guarded() -> Family:
    """All of its services take tokens."""
    levels = {"guests": (GUESTS, "view"), "staff": (STAFF, "remove")}
    tokens = [{"name": name, "token": headers["Authorization"].split()[1], "level": level} for name, (headers, level) in levels.items()]
    return Family(_settings(), {"endpoints": {"*": {"tokens": tokens}}})
