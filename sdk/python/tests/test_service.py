"""A service over real sockets."""

import asyncio
import json
import socket
import unittest
from typing import Any

from shmooze.errors import CommandError, ServiceError, SettingsError
from shmooze.service import Service
from shmooze.settings import Settings

LIMIT = 10  # seconds after which a test that waits has failed


class Client:
    """A client that decides about every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *lines: bytes) -> None:
        self.writer.write(b"".join(line + b"\n" for line in lines))
        await self.writer.drain()

    async def receive(self) -> Any:
        return json.loads(await asyncio.wait_for(self.reader.readuntil(b"\n"), LIMIT))

    async def ask(self, message: Any) -> Any:
        await self.send(json.dumps(message).encode())
        return await self.receive()

    async def at_end(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), LIMIT) == b""


class ServiceTestCase(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.gate = asyncio.Event()
        self.done: list[Any] = []
        self.service = Service("lamp", self.commands(), port=0, max_line_bytes=100_000)

    def commands(self) -> dict[str, Any]:
        async def wait(name: str = "") -> str:
            self.done.append(f"begin {name}")
            await self.gate.wait()
            self.done.append(f"end {name}")
            return name

        async def later(number: int) -> int:
            await asyncio.sleep(0)
            return number + 1

        def echo(**args: Any) -> dict[str, Any]:
            return args

        def need(a: int, b: str = "x") -> list[Any]:
            return [a, b]

        def refuse() -> None:
            raise CommandError("not today")

        def fail() -> None:
            raise KeyError

        def big(size: int) -> str:
            return "x" * size

        return {
            "wait": wait,
            "later": later,
            "echo": echo,
            "need": need,
            "refuse": refuse,
            "fail": fail,
            "unfit": lambda: {1},
            "none": lambda: None,
            "infinite": lambda: float("inf"),
            "big": big,
        }

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().slow_callback_duration = LIMIT  # a busy machine is no news
        await self.service.start()
        self.addAsyncCleanup(self.stop)

    async def stop(self) -> None:
        self.gate.set()
        await self.service.stop()

    async def connect(self, which: int = 0) -> Client:
        client = Client(*await asyncio.open_connection(*self.service.addresses[which]))
        self.addCleanup(client.writer.close)
        return client


class CommandsTest(ServiceTestCase):
    async def test_the_fixed_sentences(self) -> None:
        client = await self.connect()
        either = "Command must be either dict (single command) or list (multiple commands)"
        cases: list[tuple[bytes, Any]] = [
            (b"5", either),
            (b'"x"', either),
            (b"null", either),
            (b"true", either),
            (b"{}", "No command given."),
            (b'{"args": {}}', "No command given."),
            (b'{"cmd": "nope"}', "Bad command."),
            (b'{"cmd": null}', "Bad command."),
            (b'{"cmd": [1]}', "Bad command."),
            (b'{"cmd": {"a": 1}}', "Bad command."),
            (b'{"cmd": "none", "args": null}', "Argument list not a dict."),
            (b'{"cmd": "nope", "args": 5}', "Argument list not a dict."),
            (b'{"cmd": "refuse"}', "not today"),
            (b'{"cmd": "fail"}', "KeyError"),
            (b'{"cmd": "need"}', 'Command "need" needs the argument "a".'),
            (b'{"cmd": "need", "args": {"a": "1"}}', 'Argument "a" of command "need" must be a whole number.'),
            (b'{"cmd": "need", "args": {"a": 1, "c": 1}}', 'Command "need" takes no argument "c".'),
        ]
        with self.assertLogs("shmooze.service"):
            for line, sentence in cases:
                with self.subTest(line):
                    await client.send(line)
                    self.assertEqual(await client.receive(), {"success": False, "error": sentence})
            self.assertRegex(
                (await client.ask({"cmd": "unfit"}))["error"], 'The result of command "unfit" is unfit: .*JSON'
            )

    async def test_results(self) -> None:
        client = await self.connect()
        args = {"a": [None, 1.5, "\u00e9\u2028"], "self": 1, "cmd": 2, "message": 3}
        self.assertEqual(await client.ask({"cmd": "echo", "args": args}), {"success": True, "result": args})
        self.assertEqual(await client.ask({"cmd": "echo", "more": 1}), {"success": True, "result": {}})
        self.assertEqual(await client.ask({"cmd": "later", "args": {"number": 1}}), {"success": True, "result": 2})
        self.assertEqual(await client.ask({"cmd": "none"}), {"success": True})
        self.assertEqual(await client.ask({"cmd": "infinite"}), {"success": True})

    async def test_a_list_is_answered_by_a_list(self) -> None:
        client = await self.connect()
        self.assertEqual(await client.ask([]), [])
        answers = await client.ask([{"cmd": "later", "args": {"number": 1}}, 5, [], {"cmd": "nope"}, {"cmd": "none"}])
        self.assertEqual(
            answers,
            [
                {"success": True, "result": 2},
                {"success": False, "error": "Command not a dict."},
                {"success": False, "error": "Command not a dict."},
                {"success": False, "error": "Bad command."},
                {"success": True},
            ],
        )

    def test_a_command_that_cannot_be_called_by_name(self) -> None:
        with self.assertRaisesRegex(TypeError, 'the parameter "a" of command "x"'):
            Service("lamp", {"x": lambda a, /: a})


class FramingTest(ServiceTestCase):
    async def test_lines_that_are_no_json_are_answered_and_the_connection_lives(self) -> None:
        client = await self.connect()
        for line in (b"{", b"hello", b" ", b'{"cmd": "none"} x', b'{"cmd": "\xff"}', b"\xef\xbb\xbf{}", b"[" * 90_000):
            with self.subTest(line[:10]):
                await client.send(line)
                answer = await client.receive()
                self.assertFalse(answer["success"])
                self.assertRegex(answer["error"], "^The line is not (JSON|UTF-8)")
        self.assertEqual(await client.ask({"cmd": "none"}), {"success": True})

    async def test_empty_lines_and_carriage_returns(self) -> None:
        client = await self.connect()
        await client.send(b"", b"\r", b'{"cmd": "later", "args": {"number": 1}}\r', b"", b'{"cmd": "none"}')
        self.assertEqual((await client.receive())["result"], 2)
        self.assertEqual(await client.receive(), {"success": True})

    async def test_an_overlong_line_is_answered_once_and_skipped(self) -> None:
        client = await self.connect()
        exactly = b'{"cmd": "none"}'.ljust(100_000)
        await client.send(exactly, exactly + b" ", b"x" * 1_000_000, b'{"cmd": "none"}')
        answers = [await client.receive() for _ in range(4)]
        self.assertEqual(answers[0], {"success": True})
        self.assertEqual(answers[1], {"success": False, "error": "The line is longer than 100000 bytes"})
        self.assertEqual(answers[2], answers[1])
        self.assertEqual(answers[3], {"success": True})

    async def test_the_default_limit_is_eight_mebibytes(self) -> None:
        service = Service("lamp", {}, port=0)
        await service.start()
        self.addAsyncCleanup(service.stop)
        client = Client(*await asyncio.open_connection(*service.addresses[0]))
        self.addCleanup(client.writer.close)
        await client.send(b'"' + b"x" * (8 * 1024 * 1024 - 2) + b'"', b'"' + b"x" * (8 * 1024 * 1024 - 1) + b'"')
        self.assertIn("Command must be either", (await client.receive())["error"])
        self.assertIn("longer than 8388608 bytes", (await client.receive())["error"])

    async def test_many_lines_in_one_write_are_answered_in_order(self) -> None:
        client = await self.connect()
        lines = [json.dumps({"cmd": "later", "args": {"number": n}}).encode() for n in range(1000)]
        await client.send(*lines)
        self.assertEqual([(await client.receive())["result"] for _ in lines], list(range(1, 1001)))

    async def test_a_line_in_pieces(self) -> None:
        client = await self.connect()
        for piece in (b'{"cmd"', b': "no', b'ne"}'):
            client.writer.write(piece)
            await client.writer.drain()
            self.assertEqual(await (await self.connect()).ask({"cmd": "none"}), {"success": True})
        await client.send(b"")
        self.assertEqual(await client.receive(), {"success": True})

    async def test_a_client_that_closed_its_sending_side_gets_its_answers(self) -> None:
        client = await self.connect()
        await client.send(b'{"cmd": "wait", "args": {"name": "a"}}', b'{"cmd": "none"}')
        client.writer.write(b'{"cmd": "half a line')
        client.writer.write_eof()
        other = await self.connect()
        self.assertEqual(await other.ask({"cmd": "none"}), {"success": True})
        self.gate.set()
        self.assertEqual(await client.receive(), {"success": True, "result": "a"})
        self.assertEqual(await client.receive(), {"success": True})
        self.assertTrue(await client.at_end())

    async def test_a_slow_command_holds_up_its_own_connection_only(self) -> None:
        slow, other = await self.connect(), await self.connect()
        await slow.send(b'{"cmd": "wait", "args": {"name": "a"}}', b'{"cmd": "echo"}')
        self.assertEqual(await other.ask({"cmd": "none"}), {"success": True})
        self.gate.set()
        self.assertEqual((await slow.receive())["result"], "a")
        self.assertEqual((await slow.receive())["result"], {})

    async def test_a_client_that_goes_away_leaves_its_command_to_end(self) -> None:
        client, other = await self.connect(), await self.connect()
        await client.send(b'{"cmd": "wait", "args": {"name": "a"}}')
        while not self.done:
            await other.ask({"cmd": "none"})
        client.writer.transport.abort()
        self.gate.set()
        while len(self.done) < 2:
            await other.ask({"cmd": "none"})
        self.assertEqual(self.done, ["begin a", "end a"])

    async def test_a_client_that_reads_nothing_is_read_no_further(self) -> None:
        client, other = await self.connect(), await self.connect()
        line = b'{"cmd": "big", "args": {"size": 50000}}\n'
        written = 0
        try:
            while written < 100_000_000:
                client.writer.write(line * 1000)
                await asyncio.wait_for(client.writer.drain(), 0.2)
                written += len(line) * 1000
        except TimeoutError:
            pass
        self.assertLess(written, 100_000_000, "the service must stop reading")
        (connection,) = [c for c in self.service._connections if c._waiting]
        self.assertLess(connection._waiting_bytes, 1_000_000)
        self.assertLess(connection._transport.get_write_buffer_size(), 1_000_000)
        self.assertEqual(await other.ask({"cmd": "none"}), {"success": True})
        client.writer.transport.abort()


class StopTest(ServiceTestCase):
    async def test_requests_that_have_arrived_are_answered(self) -> None:
        busy, idle = await self.connect(), await self.connect()
        await busy.send(b'{"cmd": "wait", "args": {"name": "a"}}', b'{"cmd": "none"}')
        while not self.done:
            await idle.ask({"cmd": "none"})
        stopping = asyncio.create_task(self.service.stop())
        self.assertTrue(await idle.at_end())
        with self.assertRaises(OSError):
            await self.connect_to(self.address)
        self.gate.set()
        self.assertEqual((await busy.receive())["result"], "a")
        self.assertEqual(await busy.receive(), {"success": True})
        self.assertTrue(await busy.at_end())
        await asyncio.wait_for(stopping, LIMIT)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.address = self.service.addresses[0]

    async def connect_to(self, address: tuple[str, int]) -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.close()

    async def test_what_takes_too_long_is_given_up(self) -> None:
        self.service.drain_seconds = 0.05
        busy = await self.connect()
        await busy.send(b'{"cmd": "wait"}')
        while not self.done:
            await asyncio.sleep(0)
        with self.assertLogs("shmooze.service", "WARNING") as logged:
            await asyncio.wait_for(self.service.stop(), LIMIT)
        self.assertIn("1 connections closed with a request unanswered", logged.output[0])
        try:
            self.assertTrue(await busy.at_end())
        except ConnectionResetError:
            pass


class ListenTest(unittest.IsolatedAsyncioTestCase):
    async def test_both_loopback_addresses(self) -> None:
        service = Service("lamp", {"none": lambda: None}, port=0)
        await service.start()
        self.addAsyncCleanup(service.stop)
        hosts = [host for host, _ in service.addresses]
        self.assertEqual(hosts[0], "127.0.0.1")
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.assertEqual(hosts, ["127.0.0.1"])
            return
        self.assertEqual(hosts, ["127.0.0.1", "::1"])
        self.assertEqual(len({port for _, port in service.addresses}), 1)
        client = Client(*await asyncio.open_connection(*service.addresses[1]))
        self.assertEqual(await client.ask({"cmd": "none"}), {"success": True})
        client.writer.close()

    async def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with self.assertRaisesRegex(
                ServiceError, f"Cannot listen on 127.0.0.1 port {port}: Address already in use"
            ):
                await Service("lamp", {}, port=port).start()

    async def test_port_and_limit_of_the_settings(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        service = Service("lamp", {}, settings=Settings({"ports": {"lamp": port}, "max_line_bytes": 50}))
        await service.start()
        self.addAsyncCleanup(service.stop)
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        self.addCleanup(client.writer.close)
        await client.send(b"x" * 51)
        self.assertIn("longer than 50 bytes", (await client.receive())["error"])

    async def test_settings_that_do_not_know_it(self) -> None:
        with self.assertRaisesRegex(SettingsError, 'names no service "lamp"'):
            await Service("lamp", {}, settings=Settings({"ports": {}})).start()
        with self.assertRaisesRegex(SettingsError, "max_line_bytes"):
            await Service("lamp", {}, settings=Settings({"ports": {"lamp": 1}, "max_line_bytes": "1"})).start()


if __name__ == "__main__":
    unittest.main()
