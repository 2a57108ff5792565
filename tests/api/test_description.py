"""The description as such: it is valid, it tells all there is, and it follows the settings."""

from __future__ import annotations

import json

import pytest
from families import GUESTS, PATHS, STAFF, guarded, open_
from openapi_spec_validator import OpenAPIV31SpecValidator
from support import Family


@pytest.mark.parametrize("family, headers", [(open_(), None), (guarded(), None), (guarded(), STAFF)], ids=["open", "guarded", "staff"])
def test_it_is_valid(family: Family, headers: dict[str, str] | None) -> None:
    description = family.description(headers)
    assert list(OpenAPIV31SpecValidator(description).iter_errors()) == []
    assert description["openapi"].startswith("3.1.")


@pytest.mark.parametrize("family", [open_(), guarded()], ids=["open", "guarded"])
def test_it_tells_all_there_is(family: Family) -> None:
    assert set(family.description()["paths"]) == PATHS


def test_types_of_modules_are_for_those_who_may_ask_for_them() -> None:
    described = "de scribed/~{}"
    assert described in json.dumps(open_().description())
    assert described not in json.dumps(guarded().description())
    assert described not in json.dumps(guarded().description({"Authorization": "Bearer nobody-0123456789"}))
    for headers in (GUESTS, STAFF):
        assert described in json.dumps(guarded().description(headers))

