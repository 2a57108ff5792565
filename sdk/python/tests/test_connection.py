"""The two streams, in this process, against a parent that the test plays."""

import socket
import threading
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from shmooze import protocol
from shmooze.connection import ParentConnection
from shmooze.errors import BadLine, ConnectFailed, ConnectionClosed, NotJson, UpdateRefused, UpdateTimeout
from shmooze.poller import JSONParentPoller
from shmooze.testing import FakeParent


class ConnectionTestCase(unittest.TestCase):
    """Gives each test a parent and a connection to it."""

    def join(self, *, update_timeout: float = 10.0, **options: Any) -> tuple[FakeParent, ParentConnection]:
        parent = FakeParent(**options)
        self.addCleanup(parent.close)
        connection = ParentConnection(
            "localhost", parent.command_port, parent.update_port, update_timeout=update_timeout
        )
        self.addCleanup(connection.close)
        parent.connect()
        return parent, connection

    def in_thread(self, function: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        return thread


class ConnectTest(ConnectionTestCase):
    def test_address_from_the_programs_last_three_arguments(self) -> None:
        with FakeParent() as parent:
            argv = ["x.py", "more", "localhost", str(parent.command_port), str(parent.update_port)]
            with mock.patch("sys.argv", argv), ParentConnection() as connection:
                parent.connect()
                connection.set_parameters(a=1)
                parent.wait_for(lambda: parent.parameters == {"a": 1})

    def test_a_program_started_by_hand_says_what_it_is(self) -> None:
        for argv in (["x.py"], ["x.py", "localhost", "a", "b"], []):
            with mock.patch("sys.argv", argv), self.assertRaisesRegex(ConnectFailed, "HOST COMMAND_PORT UPDATE_PORT"):
                ParentConnection()

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        with self.assertRaisesRegex(ConnectFailed, f"localhost port {port}: .*refused"):
            ParentConnection("localhost", port, port)
        with self.assertRaises(ConnectFailed):
            ParentConnection("localhost", 99999, 99999)

    def test_a_parent_on_ipv6_only(self) -> None:
        if not socket.has_ipv6:
            self.skipTest("no IPv6")
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            self.skipTest("no ::1")
        with listener:
            port = listener.getsockname()[1]
            with ParentConnection("::1", port, port):
                pass


class CommandStreamTest(ConnectionTestCase):
    def test_commands_one_after_the_other(self) -> None:
        parent, connection = self.join()
        self.assertIsNone(connection.recv_cmd(timeout=0))
        parent.send_raw(b'\n\r\n{"cmd": "a"}\r\n{"cmd": "b"}\n')
        self.assertEqual(connection.recv_cmd(), {"cmd": "a"})
        self.assertEqual(connection.recv_cmd(), {"cmd": "b"})
        connection.send_resp({"success": True})
        self.assertEqual(parent.receive(), {"success": True})

    def test_a_bad_line_is_told_and_the_stream_lives_on(self) -> None:
        parent, connection = self.join()
        parent.send_raw(b'nonsense\n{"cmd": "b"}\n')
        with self.assertRaises(BadLine):
            connection.recv_cmd()
        self.assertEqual(connection.recv_cmd(), {"cmd": "b"})

    def test_the_end(self) -> None:
        parent, connection = self.join()
        parent.send_raw(b'{"cmd": "a"}\n{"half')
        parent.close_streams()
        self.assertEqual(connection.recv_cmd(), {"cmd": "a"})
        with self.assertRaises(ConnectionClosed):
            connection.recv_cmd()


class UpdateStreamTest(ConnectionTestCase):
    def test_each_update_as_it_goes_over_the_wire(self) -> None:
        parent, connection = self.join()
        connection.set_parameters({"a": 1, "b": [1, {"c": None}]})
        connection.set_parameters(a=2, names=float("nan"))
        connection.set_parameters({"parameters": 1}, self=2, b=3)
        connection.unset_parameters(["a", "never"])
        connection.unset_parameters("self")
        with self.assertLogs("shmooze.module", "WARNING"):
            connection.send("nonsense", {"x": 1})
            self.assertTrue(connection.settle(10))
        connection.rm()
        parent.wait_finished()
        self.assertEqual(
            parent.updates,
            [
                {"cmd": "set_parameters", "args": {"parameters": {"a": 1, "b": [1, {"c": None}]}}},
                {"cmd": "set_parameters", "args": {"parameters": {"a": 2, "names": None}}},
                {"cmd": "set_parameters", "args": {"parameters": {"parameters": 1, "self": 2, "b": 3}}},
                {"cmd": "unset_parameters", "args": {"parameters": ["a", "never"]}},
                {"cmd": "unset_parameters", "args": {"parameters": ["self"]}},
                {"cmd": "nonsense", "args": {"x": 1}},
                {"cmd": "rm"},
            ],
        )

    def test_waiting_for_the_answer(self) -> None:
        parent, connection = self.join()
        connection.send("set_parameters", {"parameters": {"a": 1}}, wait=True)
        self.assertEqual(parent.parameters, {"a": 1})
        with self.assertLogs("shmooze.module", "WARNING"), self.assertRaisesRegex(UpdateRefused, "Bad command."):
            connection.send("nonsense", wait=True)
        connection.send("set_parameters", {"parameters": {"a": 2}}, wait=True)
        self.assertEqual(parent.parameters, {"a": 2})

    def test_a_refusal_that_nobody_waits_for_is_logged(self) -> None:
        _parent, connection = self.join()
        with self.assertLogs("shmooze.module", "WARNING") as logged:
            connection.send_update([{"cmd": "set_parameters", "args": {"parameters": {}}}, {"cmd": "nonsense"}])
            self.assertTrue(connection.settle(10))
        self.assertEqual(logged.output, ["WARNING:shmooze.module:The parent refused an update: Bad command."])

    def test_many_updates_never_stall_although_every_answer_is_written(self) -> None:
        # More updates and more answers than the kernel's buffers hold: the parent stops reading while its answers are
        # unread, and unless the module reads them both stand still.
        parent, connection = self.join(read_updates=False)
        stream = parent.update_stream
        assert stream is not None
        received: list[protocol.Line] = []

        def answer_at_length() -> None:
            buffer = protocol.LineBuffer()
            while data := stream.recv(65536):
                for line in buffer.feed(data):
                    received.append(line)
                    stream.sendall(protocol.encode({"success": True, "filler": "y" * 10_000}))

        reader = self.in_thread(answer_at_length)
        filler = "x" * 10_000
        for number in range(2000):
            connection.set_parameters(number=number, filler=filler)
        self.assertTrue(connection.settle(10))
        self.assertEqual(len(received), 2000)
        connection.close()
        reader.join(10)

    def test_an_update_of_which_nothing_could_be_sent_is_not_sent_later(self) -> None:
        parent, connection = self.join(update_timeout=0.05)
        with mock.patch.object(connection, "update_socket", _Full(connection.update_socket)):
            with self.assertRaises(UpdateTimeout):
                connection.set_parameters(a="old")
        connection.set_parameters(b="new")
        self.assertTrue(connection.settle(10))
        self.assertEqual(parent.parameters, {"b": "new"})

    def test_a_parent_that_never_answers_costs_no_update_anything(self) -> None:
        parent, connection = self.join(answer_updates=False)
        for number in range(1000):
            connection.set_parameters(number=number)
        parent.wait_for(lambda: parent.parameters.get("number") == 999)
        self.assertFalse(connection.settle(0.01))
        self.assertTrue(connection.settle(0.01), "answers that did not come are not waited for again")

    def test_waiting_for_an_answer_has_an_end(self) -> None:
        _parent, connection = self.join(answer_updates=False, update_timeout=0.05)
        with self.assertRaisesRegex(UpdateTimeout, "not answered"):
            connection.send("set_parameters", {"parameters": {}}, wait=True)

    def test_a_parent_that_does_not_read_is_not_waited_for_without_end(self) -> None:
        parent, connection = self.join(read_updates=False, update_timeout=0.05)
        big = "x" * 1_000_000
        sent: list[int] = []
        refused = 0
        for number in range(1000):
            try:
                connection.set_parameters(number=number, big=big)
                sent.append(number)
            except UpdateTimeout:
                refused += 1
            if refused == 5:
                break
        self.assertEqual(refused, 5, "the kernel's buffers have an end")
        self.assertLess(len(connection._unsent), 1_100_000, "what is not sent does not pile up")

        # Once the parent reads, every line arrives whole and in order: the one that was cut, then the next.
        stream = parent.update_stream
        assert stream is not None
        lines: list[Any] = []
        reader = self.in_thread(lambda: _read_until_end(stream, lines))
        connection.update_timeout = 10
        connection.set_parameters(number=1000)
        connection.close()
        reader.join(10)
        numbers = [protocol.decode(line)["args"]["parameters"]["number"] for line in lines]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertLessEqual({*sent, 1000}, set(numbers))

    def test_many_threads(self) -> None:
        parent, connection = self.join()

        def work(thread: int) -> None:
            for number in range(500):
                connection.set_parameters({f"t{thread}": number, "filler": "x" * 500})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertTrue(connection.settle(10))
        self.assertEqual(len(parent.updates), 4000)
        self.assertEqual({parent.parameters[f"t{n}"] for n in range(8)}, {499})

    def test_a_closed_stream(self) -> None:
        parent, connection = self.join()
        self.assertTrue(connection.drain())
        parent.close_streams()
        with self.assertRaises(ConnectionClosed):
            connection.send("set_parameters", {"parameters": {}}, wait=True)
        with self.assertRaises(ConnectionClosed):
            connection.set_parameters(a=1)
        self.assertFalse(connection.drain())
        self.assertFalse(connection.settle())

    def test_closing_with_unread_answers_loses_no_update(self) -> None:
        for _ in range(50):
            parent, connection = self.join()
            connection.set_parameters(a=1)
            parent.wait_for(lambda: parent.parameters)
            connection.set_parameters(a=2)
            connection.rm()
            connection.close()
            parent.wait_updates_end()
            self.assertTrue(parent.finished)
            self.assertEqual(parent.parameters, {"a": 2})

    def test_a_value_that_is_no_json_leaves_the_stream_usable(self) -> None:
        parent, connection = self.join()
        with self.assertRaisesRegex(NotJson, "cannot be written as JSON"):
            connection.set_parameters(a={1})
        connection.send("set_parameters", {"parameters": {"a": 2}}, wait=True)
        self.assertEqual(parent.parameters, {"a": 2})

    def test_a_parent_that_talks_without_end_is_not_waited_for_without_end(self) -> None:
        parent, connection = self.join(read_updates=False)
        command_stream, update_stream = parent.command_stream, parent.update_stream
        assert command_stream is not None and update_stream is not None
        for stream in (command_stream, update_stream):
            self.in_thread(lambda stream=stream: _talk_without_end(stream))  # type: ignore[misc]
        self.assertIsNone(connection.recv_line(timeout=0.05))
        self.assertIsNone(connection.recv_line(timeout=0))
        connection.set_parameters(a=1)
        self.assertFalse(connection.settle(0.05))
        connection.update_timeout = 0.05
        with self.assertRaises(UpdateTimeout):
            connection.send("set_parameters", {"parameters": {}}, wait=True)
        parent.close_streams()


class PollerTest(ConnectionTestCase):
    def test_a_handler_function(self) -> None:
        parent, connection = self.join()
        poller = JSONParentPoller(connection, lambda cmd, args: [cmd, args])
        parent.send_raw(b'{"cmd": "x", "args": {"a": 1}}\n{"cmd": "y"}\n{"cmd": "z", "args": null}\n')
        self.assertTrue(poller.handle_commands(block=False))
        answers = [parent.receive()["result"] for _ in range(3)]
        self.assertEqual(answers, [["x", {"a": 1}], ["y", {}], ["z", {}]])
        self.assertTrue(poller.handle_commands(block=False))

    def test_exactly_one_answer_to_whatever_comes(self) -> None:
        parent, connection = self.join()

        def fail() -> None:
            raise ValueError("no \u00e9")

        poller = JSONParentPoller(connection, {"none": lambda: None, "fail": fail, "unfit": lambda: {1}})
        cases: list[tuple[bytes, Any]] = [
            (b'{"cmd": "none"}', {"success": True}),
            (b'{"cmd": "fail"}', {"success": False, "error": "no \u00e9"}),
            (b'{"cmd": "nope"}', {"success": False, "error": "Unrecognized command"}),
            (b'{"cmd": 5}', {"success": False, "error": "Unrecognized command"}),
            (b'{"cmd": ["none"]}', {"success": False, "error": "Unrecognized command"}),
            (b"{}", {"success": False, "error": "No command given."}),
            (b"[]", {"success": False, "error": "Command not a dict."}),
            (b'{"cmd": "none", "args": [1]}', {"success": False, "error": "Argument list not a dict."}),
            (
                b'{"cmd": "none", "args": {"a": 1}}',
                {"success": False, "error": 'Command "none" takes no argument "a".'},
            ),
        ]
        with self.assertLogs("shmooze.module", "INFO"):
            for line, expected in cases:
                with self.subTest(line):
                    parent.send_raw(line + b"\n")
                    self.assertTrue(poller.handle_one_command())
                    self.assertEqual(parent.receive(), expected)
            parent.send_raw(b"nonsense\n")
            self.assertTrue(poller.handle_one_command())
            self.assertIn("not JSON", parent.receive()["error"])
            parent.send_raw(b'{"cmd": "unfit"}\n')
            self.assertTrue(poller.handle_one_command())
            self.assertRegex(parent.receive()["error"], 'The result of command "unfit" is unfit: .*JSON')
        parent.send_raw(b'{"cmd": "none"}\n')
        self.assertTrue(poller.handle_one_command())
        self.assertEqual(parent.receive(), {"success": True}, "no answer too many came before")

    def test_updates_of_a_command_are_seen_before_its_answer(self) -> None:
        parent, connection = self.join()
        poller = JSONParentPoller(connection, {"set": lambda n: connection.set_parameters(n=n)})
        thread = self.in_thread(poller.handle_commands)
        for number in range(300):
            self.assertEqual(parent.command("set", {"n": number}), {"success": True})
            self.assertEqual(parent.parameters["n"], number)
        parent.close_streams()
        thread.join(10)
        self.assertFalse(thread.is_alive())

    def test_half_a_command_does_not_hold_up_a_select_loop(self) -> None:
        parent, connection = self.join()
        poller = JSONParentPoller(connection, {"a": lambda: 1})
        parent.send_raw(b'{"cmd": ')
        self.assertTrue(poller.handle_commands(block=False))
        parent.send_raw(b'"a"}\n')
        self.assertTrue(poller.handle_one_command())
        self.assertEqual(parent.receive(), {"success": True, "result": 1})

    def test_rm_and_the_end_of_the_stream_end_it(self) -> None:
        parent, connection = self.join()
        poller = JSONParentPoller(connection, {"rm": lambda: None})
        parent.send_raw(b'{"cmd": "rm"}\n')
        self.assertFalse(poller.handle_one_command())
        self.assertEqual(parent.receive(), {"success": True})

        parent, connection = self.join()
        parent.close_streams()
        poller = JSONParentPoller(connection, {})
        self.assertFalse(poller.handle_commands())
        self.assertFalse(poller.handle_one_command())


class _Full:
    """A socket that takes nothing and has nothing."""

    def __init__(self, real: socket.socket) -> None:
        self.fileno = real.fileno

    def send(self, data: bytes) -> int:
        raise BlockingIOError

    def recv(self, size: int) -> bytes:
        raise BlockingIOError


def _talk_without_end(stream: socket.socket) -> None:
    try:
        while True:
            stream.sendall(b"\n" * 65536)
    except OSError:
        pass


def _read_until_end(stream: socket.socket, lines: list[Any]) -> None:
    buffer = protocol.LineBuffer()
    while data := stream.recv(1 << 20):
        lines += buffer.feed(data)


if __name__ == "__main__":
    unittest.main()
