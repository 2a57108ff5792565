"""A service as a program: run(), signals, socket activation."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 10  # seconds after which a test that waits has failed


class ProcessTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.settings = Path(folder.name, "settings.json")
        self.environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "SHMOOZE_SETTINGS": str(self.settings)}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, HERE / "programs" / "lamp.py", *arguments],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate(timeout=LIMIT)

    def port_of(self, process: subprocess.Popen[str]) -> int:
        assert process.stderr is not None
        line = process.stderr.readline()
        self.assertRegex(line, "^lamp: listening on 127.0.0.1 port [0-9]+")
        return int(line.split("port ")[1].split(",")[0])

    def test_run_until_sigterm_answers_what_runs(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                process = self.start("port 0")
                with socket.create_connection(("127.0.0.1", self.port_of(process)), LIMIT) as stream:
                    file = stream.makefile("rw")
                    file.write('{"cmd": "echo"}\n')
                    file.flush()
                    self.assertEqual(json.loads(file.readline())["result"], {})
                    file.write('{"cmd": "wait", "args": {"seconds": 0.2}}\n{"cmd": "echo", "args": {"a": 1}}\n')
                    file.flush()
                    process.send_signal(number)
                    self.assertEqual(json.loads(file.readline()), {"success": True, "result": "waited"})
                    self.assertEqual(json.loads(file.readline())["result"], {"a": 1})
                    self.assertEqual(file.readline(), "")
                self.assertEqual(process.wait(LIMIT), 0)
                assert process.stdout is not None
                self.assertEqual(process.stdout.read(), "returned\n")

    def test_the_port_of_the_settings(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.settings.write_text(json.dumps({"ports": {"lamp": port}}))
        self.assertEqual(self.port_of(self.start()), port)

    def test_what_keeps_it_from_starting_is_one_sentence(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            contents: list[tuple[str | None, str]] = [
                (None, f"lamp: Cannot read the settings file {self.settings}: No such file or directory.\n"),
                ('{"ports": {}}', f'lamp: {self.settings}: "ports" names no service "lamp".\n'),
                (
                    json.dumps({"ports": {"lamp": taken.getsockname()[1]}}),
                    f"lamp: Cannot listen on 127.0.0.1 port {taken.getsockname()[1]}: Address already in use.\n",
                ),
            ]
            for content, sentence in contents:
                with self.subTest(content):
                    if content is not None:
                        self.settings.write_text(content)
                    process = self.start()
                    _, err = process.communicate(timeout=LIMIT)
                    self.assertEqual((process.returncode, err), (1, sentence))

    def activate(self, descriptor: int, pid: str = "$$", count: int = 1) -> subprocess.Popen[str]:
        """Starts the service with the descriptor as number 3, as systemd does: LISTEN_PID is the process's own."""
        script = f'exec 3<&{descriptor}; LISTEN_PID={pid} LISTEN_FDS={count} LISTEN_FDNAMES=x exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", sys.executable, HERE / "programs" / "lamp.py"],
            env=self.environment,
            text=True,
            pass_fds=[descriptor],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.end, process)
        return process

    def test_an_activated_socket(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            self.settings.write_text(json.dumps({"ports": {"lamp": port}}))
            process = self.activate(listening.fileno())
            self.assertEqual(self.port_of(process), port)
            with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
                stream.sendall(b'{"cmd": "echo"}\n')
                self.assertTrue(json.loads(stream.makefile().readline())["success"])
            process.terminate()
            self.assertEqual(process.wait(LIMIT), 0)

    def test_an_activated_socket_elsewhere_than_the_settings_say(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            self.settings.write_text(json.dumps({"ports": {"lamp": 1}}))
            process = self.activate(listening.fileno())
            assert process.stderr is not None
            self.assertEqual(process.stderr.readline(), f"lamp: was handed port {port}, but the settings say 1\n")

    def test_a_descriptor_that_does_not_listen(self) -> None:
        with tempfile.TemporaryFile() as file, socket.socket() as deaf:
            self.settings.write_text('{"ports": {"lamp": 1}}')
            for descriptor in (file.fileno(), deaf.fileno()):
                process = self.activate(descriptor)
                _, err = process.communicate(timeout=LIMIT)
                self.assertEqual(process.returncode, 1)
                self.assertEqual(err, "lamp: The activated descriptor 3 is no listening stream socket.\n")

    def test_sockets_meant_for_another_process_are_left_alone(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
            free.close()
            self.settings.write_text(json.dumps({"ports": {"lamp": port}}))
            self.assertEqual(self.port_of(self.activate(listening.fileno(), pid="1")), port)


if __name__ == "__main__":
    unittest.main()
