"""What the tests of the examples share: starting a module under a parent of the test, loading one."""

import importlib.util
import os
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1]
SDK = EXAMPLES.parent / "sdk" / "python"
sys.path.insert(0, str(SDK))
sys.path.insert(0, str(EXAMPLES / "modules"))

from shmooze.testing import FakeParent  # noqa: E402


class ModuleTestCase(unittest.TestCase):
    """Starts ``program`` of examples/modules."""

    program = ""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        # No player of the machine that runs the tests: they are silent, and the same everywhere.
        self.environment = {"PATH": str(self.folder)}

    def launch(self, *flags: str, environment: dict[str, str] | None = None, **options: Any) -> FakeParent:
        parent = FakeParent(
            [sys.executable, EXAMPLES / "modules" / self.program, *flags],
            environment={**self.environment, **(environment or {})},
            **options,
        )
        self.addCleanup(parent.close)
        return parent

    def start(self, args: Any = ..., /, *flags: str, **options: Any) -> FakeParent:
        parent = self.launch(*flags, **options)
        parent.connect()
        self.assertEqual(parent.command("init", args), {"success": True})
        return parent

    def assert_refused(self, parent: FakeParent, args: Any, sentence: str) -> None:
        answer = parent.command("init", args)
        self.assertEqual(answer["success"], False)
        self.assertRegex(answer["error"], sentence)

    def assert_ends_after_rm(self, parent: FakeParent) -> None:
        self.assertEqual(parent.command("rm"), {"success": True})
        self.assertEqual(parent.wait_exit(), 0)

    def program_in_path(self, name: str, script: str) -> None:
        """Puts a program into the only folder of the PATH."""
        file = self.folder / name
        file.write_text(f"#!{sys.executable}\n{script}")
        file.chmod(0o755)


def load(path: str) -> ModuleType:
    """A program of the examples, as a module of Python."""
    file = EXAMPLES / path
    spec = importlib.util.spec_from_file_location(file.stem + "_example", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_descriptors(pid: int) -> list[str]:
    """What a process has open."""
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
