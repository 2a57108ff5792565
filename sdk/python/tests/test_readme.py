"""The programs of the README run as they stand there."""

import re
import sys
import tempfile
import unittest
from pathlib import Path

from shmooze.testing import FakeParent

PYTHON = Path(__file__).parents[1]


class ReadmeTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.programs = re.findall(r"```python\n(.*?)```", (PYTHON / "README.md").read_text("utf-8"), re.DOTALL)

    def start(self, part: str) -> FakeParent:
        (program,) = [program for program in self.programs if part in program]
        file = self.folder / "program.py"
        file.write_text(program)
        parent = FakeParent([sys.executable, file], environment={"PYTHONPATH": str(PYTHON)})
        self.addCleanup(parent.close)
        parent.connect()
        return parent

    def test_the_module_in_twenty_lines(self) -> None:
        parent = self.start("class Countdown")
        self.assertIn("at least one second", parent.command("init", {"seconds": 0})["error"])
        self.assertEqual(parent.command("init", {"seconds": 1}), {"success": True})
        self.assertEqual(parent.parameters, {"title": "Countdown from 1", "left": 1})
        self.assertEqual(parent.command("do_add", {"seconds": 1}), {"success": True})
        self.assertEqual(parent.command("play"), {"success": True})
        parent.wait_finished()
        shown = [update["args"]["parameters"]["left"] for update in parent.updates if "args" in update]
        self.assertEqual(shown, [1, 1, 0])
        self.assertEqual(parent.parameters["left"], 0)
        self.assertEqual(parent.wait_exit(), 0)

    def test_a_loop_of_its_own(self) -> None:
        parent = self.start("class Lamp")
        self.assertEqual(parent.command("init", {"colour": "red"}), {"success": True})
        self.assertEqual(parent.parameters, {"colour": "red"})
        self.assertEqual(parent.command("rm"), {"success": True})
        self.assertEqual(parent.wait_exit(), 0)

    def test_every_program_is_python(self) -> None:
        self.assertGreaterEqual(len(self.programs), 6)
        for program in self.programs:
            compile(program, "README.md", "exec")


if __name__ == "__main__":
    unittest.main()
