"""The settings file."""

import copy
import json
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from shmooze import settings
from shmooze.errors import SettingsError


class SettingsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "settings.json")

    def write(self, values: Any) -> None:
        self.file.write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")

    def test_access(self) -> None:
        self.write({"name": "Caf\u00e9", "ports": {"queue": 1234}, "get": "shadowed"})
        found = settings.load(self.file)
        self.assertEqual(found["name"], "Caf\u00e9")
        self.assertEqual(found.name, "Caf\u00e9")
        self.assertEqual(found.get("nothing", 5), 5)
        self.assertEqual(dict(found), {"name": "Caf\u00e9", "ports": {"queue": 1234}, "get": "shadowed"})
        self.assertEqual(found.port("queue"), 1234)
        self.assertFalse(hasattr(found, "nothing"))
        self.assertEqual(copy.deepcopy(found).name, "Caf\u00e9")
        with self.assertRaisesRegex(AttributeError, f'{self.file} has no key "nothing"'):
            found.nothing

    def test_variables_are_expanded_in_paths_only(self) -> None:
        self.write(
            {
                "static_path": "$SHMOOZE_TEST_A/static",
                "log_path": "${SHMOOZE_TEST_A}x/$SHMOOZE_TEST_UNSET/${SHMOOZE_TEST_UNSET}",
                "other": "$SHMOOZE_TEST_A",
                "no_path": 5,
            }
        )
        with mock.patch.dict(os.environ, {"SHMOOZE_TEST_A": "/a$HOME"}):
            found = settings.load(self.file)
        self.assertEqual(found.static_path, "/a$HOME/static")
        self.assertEqual(found.log_path, "/a$HOMEx/$SHMOOZE_TEST_UNSET/${SHMOOZE_TEST_UNSET}")
        self.assertEqual(found.other, "$SHMOOZE_TEST_A")
        self.assertEqual(found.no_path, 5)

    def test_every_error_names_the_file(self) -> None:
        contents: list[tuple[str | bytes, str]] = [
            ("{", "is not JSON: .* .line 1, column 2."),
            ("[]", "must hold one JSON object"),
            ("[" * 100_000, "is not JSON that can be read"),
            (b'{"a": "\xff"}', "is not UTF-8 .byte 8"),
        ]
        for content, part in contents:
            with self.subTest(content[:10]):
                self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
                with self.assertRaisesRegex(SettingsError, part) as caught:
                    settings.load(self.file)
                self.assertIn(str(self.file), str(caught.exception))
                self.assertNotIn("\n", str(caught.exception))
        self.file.unlink()
        with self.assertRaisesRegex(SettingsError, f"Cannot read the settings file {self.file}: No such file"):
            settings.load(self.file)

    def test_ports(self) -> None:
        for ports, part in (
            (None, '"ports" must be an object'),
            ({}, 'names no service "queue"'),
            ({"queue": "80"}, "ports.queue"),
            ({"queue": True}, "ports.queue"),
            ({"queue": 65536}, "ports.queue"),
            ({"queue": 0}, "ports.queue"),
        ):
            with self.subTest(ports=ports):
                self.write({"ports": ports})
                with self.assertRaisesRegex(SettingsError, part):
                    settings.load(self.file).port("queue")

    def test_the_module_stands_for_the_file_that_the_environment_names(self) -> None:
        self.write({"name": "first"})
        with mock.patch.dict(os.environ, {"SHMOOZE_SETTINGS": str(self.file)}):
            self.assertEqual(settings.name, "first")
            self.assertEqual(settings.get("name"), "first")
            self.assertIsNone(settings.get("other"))
            self.assertFalse(hasattr(settings, "other"))
            self.assertIs(settings.current(), settings.current())
        with mock.patch.dict(os.environ, {"SHMOOZE_SETTINGS": str(self.file) + "x"}):
            with self.assertRaisesRegex(SettingsError, "settings.jsonx"):
                settings.get("name")

    def test_without_the_variable_it_is_the_systems_file(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "SHMOOZE_SETTINGS"}
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(settings, "DEFAULT_PATH", self.file),
        ):
            self.write({"name": "system"})
            self.assertEqual(settings.load().name, "system")
        self.assertEqual(settings.DEFAULT_PATH, Path("/etc/shmooze/settings.json"))


if __name__ == "__main__":
    unittest.main()
