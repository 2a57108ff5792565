"""The family as `shmooze-run` starts it, on free ports, and what the tests know of its description."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator

import jsonschema
import requests

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"

#: Nothing that is waited for takes longer, in seconds, unless something is wrong.
PATIENCE = 30

#: No system takes longer to launch a tiny program, in ms, however busy it is.
UNHURRIED = {"connect": 20_000, "command": 20_000}


def free_ports() -> Iterator[int]:
    """Ports that nobody uses now, and nobody is given who asks for any: those are from another range."""
    port = 10_000 + os.getpid() % 250 * 80
    while True:
        port += 1
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


PORTS = free_ports()


RUNNING: list[subprocess.Popen[str]] = []


@atexit.register
def end_all() -> None:
    """Ends all families, in order, at the same time."""
    for process in RUNNING:
        process.terminate()
    for process in RUNNING:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Family:
    """One that runs until the tests have ended."""

    def __init__(self, settings: dict[str, Any], tokens: dict[str, Any] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="shmooze-api-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        settings["ports"] = {name: next(PORTS) for name in [*settings["ports"], "wsgi"]}
        settings.setdefault("gateway", {})["service_timeout"] = 60_000
        self.settings = settings
        self.origin = f"http://localhost:{settings['ports']['wsgi']}"
        #: What services are below.
        self.url = f"{self.origin}{settings.get('wsgi_prefix', '/')}".rstrip("/")
        file = self.folder / "settings.json"
        file.write_text(json.dumps(settings))
        # Should the tests be killed, they end as well.
        command = ["setpriv", "--pdeathsig", "TERM", TARGET / "shmooze-run", "--settings", file]
        if tokens is not None:
            known = self.folder / "tokens.json"
            known.touch(mode=0o600)
            known.write_text(json.dumps(tokens))
            command += ["--tokens", known]
        self.log = self.folder / "log"
        with self.log.open("w") as log:
            environment = {**os.environ, "SHMOOZE_SCOPES": "process-groups"}
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        RUNNING.append(self.process)
        # The first line says that everything is served.
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError(f"shmooze-run does not start: {self.log.read_text()}")

    def description(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """What the gateway says of itself."""
        answer = requests.get(f"{self.url}/openapi.json", headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        return answer.json()

    def post(self, service: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        """What `service` answers."""
        answer = requests.post(f"{self.url}/{service}", json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()


class Schemas:
    """The schemas of a description, by name."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.components = description["components"]

    def validator(self, name: str) -> jsonschema.Draft202012Validator:
        schema = {"$ref": f"#/components/schemas/{name}", "components": self.components}
        return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())

    def check(self, name: str, value: Any) -> None:
        """Fails where `value` is not as the schema says."""
        self.validator(name).validate(value)

    def commands(self, service: str) -> dict[str, str]:
        """The schemas of the commands of a queue or pool, by their names."""
        mapping = self.components["schemas"][f"service.{service}.command"]["discriminator"]["mapping"]
        return {command: schema.rpartition("/")[2] for command, schema in mapping.items()}
