"""Requests that are generated of the description, such as are described and such as are not, and how they are answered.

Which requests those are is the same each time.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from families import GUESTS, PATHS, STAFF, guarded, open_
from schemathesis import Case, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from support import PATIENCE, Family, Schemas

#: What a queue or pool says to a command that it does not understand. It says so with the status 200, and puts up with much that
#: is not as described; so `understood` looks at this, in place of `negative_data_rejection`.
NOT_UNDERSTOOD = ("Bad command.", "No command given.", "not a dict.", "must be", "is missing.", "unknown argument")

CONFIG = {
    "seed": 1,
    "generation": {"deterministic": True, "no-shrink": True, "max-examples": 10, "database": "none", "with-security-parameters": False},
    "request-timeout": PATIENCE,
    "max-stream-events": 1,
}


def load(family: Family, headers: dict[str, str] | None = None, most: int = 10) -> Any:
    """The description as it is told to who sends these headers; of requests to a queue or pool, this many."""
    described = {
        "include-path-regex": "/(queue|pool)$",
        "generation": {"max-examples": most},
        # Each case of each of their commands, alone and in lists, with each case of the others, would be too many.
        "phases": {"coverage": {"enabled": False}},
    }
    config = SchemathesisConfig.from_dict({**CONFIG, "base-url": family.origin, "operations": [described]})
    return schemathesis.openapi.from_dict(family.description(headers), config=config)


SCHEMAS = {
    "open": load(open_(), most=25),
    "staff": load(guarded(), STAFF),
    "guests": load(guarded(), GUESTS),
    "nobody": load(guarded()),
}
asked: dict[str, set[str]] = {name: set() for name in SCHEMAS}
COMPONENTS = {name: Schemas(schema.raw_schema) for name, schema in SCHEMAS.items()}


@SCHEMAS["open"].parametrize()
def test_open(case: Case) -> None:
    ask(case, "open")


@SCHEMAS["staff"].parametrize()
def test_staff(case: Case) -> None:
    ask(case, "staff", STAFF)


@SCHEMAS["guests"].parametrize()
def test_guests(case: Case) -> None:
    ask(case, "guests", GUESTS)


@SCHEMAS["nobody"].parametrize()
def test_nobody(case: Case) -> None:
    response = ask(case, "nobody")
    if case.operation.definition.raw.get("security") == [{"token": []}]:
        assert response.status_code in (401, 405)


def ask(case: Case, who: str, headers: dict[str, str] | None = None) -> Response:
    for command in case.body if isinstance(case.body, list) else [case.body]:
        hurry(command)
    excluded = [negative_data_rejection]
    if case.path.startswith("/api/absent"):
        # 502 is what is described.
        excluded.append(not_a_server_error)
    response = case.call_and_validate(headers=headers, excluded_checks=excluded)
    asked[who].add(case.operation.path)
    if case.path in ("/api/queue", "/api/pool") and response.status_code == 200:
        understood(case, response.json(), COMPONENTS[who])
    return response


def understood(case: Case, answer: Any, schemas: Schemas) -> None:
    """Whatever is described is understood, and answered as described; what is no command at all is refused."""
    service = case.path.rpartition("/")[2]
    is_list = isinstance(case.body, list)
    requests, answers = (case.body, answer) if is_list else ([case.body], [answer])
    assert len(requests) == len(answers)
    known = schemas.commands(service)
    for request, answer in zip(requests, answers):
        cmd = request.get("cmd") if isinstance(request, dict) else None
        if cmd not in list(known):
            assert not answer["success"], (request, answer)
        elif answer["success"]:
            schemas.check(f"answer.{cmd}", answer)
        elif schemas.validator(f"service.{service}.command").is_valid(request):
            assert not any(words in answer["error"] for words in NOT_UNDERSTOOD), (request, answer)


def hurry(command: Any) -> None:
    """Has `watch` not wait."""
    args = command.get("args") if isinstance(command, dict) else None
    if isinstance(args, dict) and isinstance(args.get("timeout"), (int, float)):
        args["timeout"] = min(args["timeout"], 20)


@pytest.mark.parametrize("who", SCHEMAS)
def test_all_was_asked(who: str) -> None:
    """Comes last: each of the paths was, by each of them."""
    assert asked[who] == PATHS
