"""The settings of the example application fit the programs that they name."""

import inspect
import os
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from support import EXAMPLES, load

from shmooze import settings

JSON_TYPES: dict[str, Any] = {"string": str, "number": (int, float), "integer": int, "boolean": bool}


class SettingsTest(unittest.TestCase):
    def setUp(self) -> None:
        with mock.patch.dict(os.environ, {"SHMOOZE_SETTINGS_DIR": str(EXAMPLES)}):
            self.settings = settings.load(EXAMPLES / "settings.json")

    def module_types(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (f"{service}.{group}.{name}", module)
            for service, description in self.settings.services.items()
            for group in ("modules", "backgrounds")
            for name, module in description.get(group, {}).items()
        ]

    def test_ports_and_services(self) -> None:
        ports = self.settings.ports
        self.assertEqual(set(ports), {*self.settings.services, "wsgi"})
        self.assertEqual(len(set(ports.values())), len(ports))
        self.assertEqual({s["kind"] for s in self.settings.services.values()}, {"queue", "pool", "app"})
        self.assertLessEqual(set(self.settings.public), set(self.settings))

    def test_paths(self) -> None:
        self.assertEqual(Path(self.settings.static_path).resolve(), EXAMPLES.parent / "static")
        self.assertEqual(Path(self.settings.log_database_path).resolve().parent, EXAMPLES.parent / "target")

    def test_each_program_is_there_and_can_be_executed(self) -> None:
        processes = [s["process"] for s in self.settings.services.values() if s["kind"] == "app"]
        processes += [module["process"] for _, module in self.module_types()]
        self.assertGreater(len(processes), 8)
        for interpreter, file in processes:
            self.assertEqual(interpreter, "python3")
            program = Path(file.replace("${SHMOOZE_SETTINGS_DIR}", str(EXAMPLES)))
            self.assertTrue(program.is_file(), program)
            self.assertTrue(os.access(program, os.X_OK), program)

    def test_each_argument_is_one_that_the_module_takes(self) -> None:
        for name, module in self.module_types():
            with self.subTest(name):
                self.assertTrue(module["title"])
                program = load(module["process"][1].replace("${SHMOOZE_SETTINGS_DIR}/", ""))
                for argument, described in module.get("args", {}).items():
                    self.assertLessEqual(set(described), {"title", "type", "default", "enum", "description"})
                    self.assertIn(described["type"], JSON_TYPES)
                    if hasattr(program, "checked"):
                        program.checked({argument: described.get("enum", [None])[0]})
                        continue
                    init = inspect.signature(vars(program)[program.__name__.removesuffix("_example").capitalize()].init)
                    takes = init.parameters
                    self.assertTrue(argument in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values()), argument)
                    if "default" in described:
                        self.assertIsInstance(described["default"], JSON_TYPES[described["type"]])
                        self.assertEqual(described["default"], takes[argument].default)


if __name__ == "__main__":
    unittest.main()
