"""Each command of the example's services, carried out: request, answer and events are as the description has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from support import PATIENCE, ROOT, UNHURRIED, Family, Schemas

#: What a queue and a pool tell of what happens, besides the state at the beginning.
EVENTS = {"added", "removed", "playing", "parameters", "log"}


@pytest.fixture(scope="module")
def family() -> Family:
    text = (ROOT / "examples/settings.json").read_text().replace("${SHMOOZE_SETTINGS_DIR}", str(ROOT / "examples"))
    settings = json.loads(text)
    del settings["log_database_path"]
    for service in settings["services"].values():
        for kind in ("modules", "backgrounds"):
            for module_type in service.get(kind, {}).values():
                module_type["timeouts"] = UNHURRIED
    return Family(settings)


class Client:
    """Carries out commands of one service, each as it is described."""

    def __init__(self, family: Family, service: str) -> None:
        self.family, self.service = family, service
        self.schemas = Schemas(family.description())
        self.done: set[str] = set()

    def do(self, cmd: str, /, **args: Any) -> Any:
        request = {"cmd": cmd, "args": args} if args else {"cmd": cmd}
        self.schemas.check(f"service.{self.service}.command", request)
        answer = self.family.post(self.service, request)
        assert answer["success"], (request, answer)
        self.schemas.check(f"answer.{cmd}", answer)
        self.done.add(cmd)
        return answer.get("result")

    def events_since(self, revision: int) -> set[str]:
        """What has happened, from `watch` and from the stream."""
        events = self.do("watch", revision=revision)["events"]
        url = f"{self.family.url}/{self.service}/events"
        headers = {"Last-Event-ID": str(revision)}
        with requests.get(url, headers=headers, stream=True, timeout=PATIENCE) as stream:
            assert (stream.status_code, stream.headers["Content-Type"]) == (200, "text/event-stream")
            streamed = list(read_events(stream.iter_lines(decode_unicode=True), len(events)))
        for event in [*events, *streamed]:
            self.schemas.check("event", event)
        assert [event["revision"] for event in streamed] == [event["revision"] for event in events]
        return {event["event"] for event in events}


def read_events(lines: Any, count: int) -> Any:
    """The first `count` events of a stream."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event["event"] = value
        elif name == "id":
            event["revision"] = int(value)
        elif name == "data":
            event["data"] = json.loads(value)
        elif not line and event:
            yield event
            event, count = {}, count - 1
            if not count:
                return
    raise AssertionError("the stream has ended")


def test_queue(family: Family) -> None:
    client = Client(family, "queue")
    assert "echo" in client.do("modules_available")
    assert client.do("backgrounds_available") == ["clock"]
    assert client.do("types")["backgrounds"]["clock"]["title"] == "Clock"
    begun = client.do("watch")
    assert [event["event"] for event in begun["events"]] == ["state"]
    client.schemas.check("event", begun["events"][0])
    assert client.do("bg") is None

    background = client.do("set_bg", type="clock", args={"format": "%H"})["uid"]
    assert client.do("bg", parameters={"clock": ["format"]})["uid"] == background
    client.do("tell_background", uid=background, cmd="set_format", args={"format": "%M"})
    assert client.do("ask_background", uid=background, parameters=["format"]) == {"format": "%M"}
    first, second, third = (client.do("add", type="echo", args={"title": title})["uid"] for title in "abc")
    client.do("mv", uids=[second])
    listed = client.do("queue", parameters={"echo": ["init"]})
    assert [module["uid"] for module in listed] == [second, first, third]
    assert client.do("tell_module", uid=first, cmd="echo", args={"x": [1]}) == {"x": [1]}
    assert client.do("tell_module", uid=first, cmd="none") is None
    assert client.do("ask_module", uid=first, parameters=["state", "no such"]) == {"state": "suspended"}
    client.do("rm", uids=[third])
    assert client.do("metrics")["length"] == 2
    status = client.do("status")
    assert (status["playing"], status["background"]["uid"]) == (second, background)
    assert client.events_since(begun["revision"]) == EVENTS | {"suspended", "moved"}
    client.do("rm", uids=[first, second])
    wait_for_endings(client, {first, second, third})
    assert client.done == set(client.schemas.commands("queue"))


def test_pool(family: Family) -> None:
    client = Client(family, "pool")
    assert "echo" in client.do("modules_available")
    client.do("types")
    begun = client.do("watch")
    first, second = (client.do("add", type="echo")["uid"] for _ in range(2))
    client.do("tell_module", uid=first, cmd="set", args={"parameters": {"x": 1}})
    client.do("tell_module", uid=first, cmd="unset", args={"parameters": ["x"]})
    assert client.do("ask_module", uid=second, parameters=["state"]) == {"state": "playing"}
    assert len(client.do("pool")) == len(client.do("status")["pool"]) == 2
    assert client.do("metrics")["modules"]["echo"]["playing"] == 2
    client.do("rm", uids=[second])
    assert client.events_since(begun["revision"]) == EVENTS
    wait_for_endings(client, {second})
    assert client.done == set(client.schemas.commands("pool"))


def wait_for_endings(client: Client, uids: set[str]) -> None:
    """Waits until `history` tells how these have ended."""
    revision = client.do("watch")["revision"]
    while not uids <= {ending["uid"] for ending in client.do("history", limit=10)}:
        # Each ending is an event.
        revision = client.do("watch", revision=revision, timeout=PATIENCE * 1000)["revision"]


def test_service_of_the_application(family: Family) -> None:
    schemas = Schemas(family.description())
    for request in ({"cmd": "set_volume", "args": {"volume": 30}}, {"cmd": "get_volume"}, {"cmd": "nonsense"}):
        schemas.check("service.volume.command", request)
        schemas.check("answers.other", family.post("volume", request))
    answers = family.post("volume", [{"cmd": "get_volume"}, {"cmd": "nonsense"}])
    assert [answer["success"] for answer in answers] == [True, False]


@pytest.mark.parametrize(
    "request_",
    [
        {"cmd": "add", "args": {"type": "no such"}},
        {"cmd": "add", "args": {"type": "clock"}},
        {"cmd": "set_bg", "args": {"type": "clock", "args": {"format": 5}}},
        {"cmd": "add", "args": {"type": "problem", "args": {"halfline": "neither"}}},
        {"cmd": "rm", "args": {"uids": "all"}},
        {"cmd": "rm"},
        {"cmd": "queue", "args": {"x": 1}},
        {"cmd": "pool"},
        {"cmd": "volume"},
        {},
        5,
    ],
    ids=json.dumps,
)
def test_what_is_no_command_of_the_queue(family: Family, request_: Any) -> None:
    schemas = Schemas(family.description())
    assert not schemas.validator("service.queue.command").is_valid(request_)
