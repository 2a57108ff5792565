"""Asking services: over TCP and through HTTP, against servers that the test plays."""

import http.server
import json
import socket
import threading
import unittest
from collections.abc import Callable
from typing import Any

from shmooze.client import (
    BadAnswer,
    Client,
    CommandFailed,
    GatewayRefused,
    ServiceTimeout,
    ServiceUnreachable,
    request,
)
from shmooze.errors import NotJson, SettingsError
from shmooze.settings import Settings

LIMIT = 10


class Server:
    """Takes connections; ``talk`` plays the service on each, in a thread."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = ("127.0.0.1", self._listener.getsockname()[1])
        self.connections = 0
        self._talk = talk
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        with stream:
            try:
                self._talk(stream)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def echo(stream: socket.socket) -> None:
    for line in stream.makefile("rb"):
        message = json.loads(line)
        stream.sendall(json.dumps({"success": True, "result": message}).encode() + b"\n")


def saying(*parts: bytes, then: Callable[[], Any] = lambda: None) -> Callable[[socket.socket], None]:
    def talk(stream: socket.socket) -> None:
        stream.recv(65536)
        for part in parts:
            stream.sendall(part)
        then()

    return talk


class ClientTestCase(unittest.TestCase):
    def serve(self, talk: Callable[[socket.socket], None]) -> Server:
        server = Server(talk)
        self.addCleanup(server.close)
        return server


class LinesTest(ClientTestCase):
    def test_by_name_and_by_address(self) -> None:
        server = self.serve(echo)
        settings = Settings({"ports": {"lamp": server.address[1]}})
        self.assertEqual(request({"a": 1}, "lamp", settings=settings), {"success": True, "result": {"a": 1}})
        self.assertEqual(request([1, "\u00e9"], server.address), {"success": True, "result": [1, "\u00e9"]})
        self.assertEqual(request([1], ("localhost", server.address[1])), {"success": True, "result": [1]})
        with self.assertRaisesRegex(SettingsError, 'names no service "sofa"'):
            request({}, "sofa", settings=settings)

    def test_a_client_keeps_its_connection(self) -> None:
        server = self.serve(echo)
        with Client(server.address) as client:
            for number in range(10):
                self.assertEqual(client.request(number)["result"], number)
        self.assertEqual(server.connections, 1)

    def test_call(self) -> None:
        server = self.serve(echo)
        with Client(server.address) as client:
            self.assertEqual(
                client.call("add", type="x", cmd="y", self=1),
                {"cmd": "add", "args": {"type": "x", "cmd": "y", "self": 1}},
            )
        server = self.serve(saying(b'{"success": true}\n'))
        with Client(server.address) as client:
            self.assertIsNone(client.call("x"))
        server = self.serve(saying(b'{"success": false, "error": "Bad command.", "more": 1}\n'))
        with Client(server.address) as client, self.assertRaises(CommandFailed) as caught:
            client.call("x")
        self.assertEqual(str(caught.exception), "Bad command.")
        self.assertEqual(caught.exception.response["more"], 1)
        for answer in (b"5\n", b"{}\n", b'{"success": 1}\n', b"[]\n"):
            server = self.serve(saying(answer))
            with Client(server.address) as client, self.assertRaisesRegex(BadAnswer, "neither success nor error"):
                client.call("x")

    def test_large_messages_and_answers_in_pieces(self) -> None:
        server = self.serve(echo)
        message = "x" * 3_000_000
        self.assertEqual(request(message, server.address)["result"], message)

    def test_a_service_that_was_restarted_is_connected_to_again(self) -> None:
        server = self.serve(saying(b'{"success": true}\n'))  # closes after one answer
        with Client(server.address) as client:
            for number in range(1, 4):
                self.assertEqual(client.request({}), {"success": True})
                self.assertEqual(server.connections, number)
                self.wait_closed(client)

    def wait_closed(self, client: Client) -> None:
        stream = client._wire._stream  # type: ignore[attr-defined]
        stream.settimeout(LIMIT)
        self.assertEqual(stream.recv(1, socket.MSG_PEEK), b"")

    def test_a_late_answer_is_never_taken_for_the_next(self) -> None:
        late = threading.Event()
        self.addCleanup(late.set)

        def talk(stream: socket.socket) -> None:
            for line in stream.makefile("rb"):
                if json.loads(line) == "slow":
                    late.wait(LIMIT)
                stream.sendall(line)

        server = self.serve(talk)
        with Client(server.address, timeout=0.1) as client:
            with self.assertRaisesRegex(ServiceTimeout, "did not answer in time"):
                client.request("slow")
            late.set()
            client.timeout = LIMIT
            self.assertEqual(client.request("quick"), "quick")
        self.assertEqual(server.connections, 2)

    def test_a_trickle_does_not_prolong_the_time(self) -> None:
        heard = threading.Event()

        def talk(stream: socket.socket) -> None:
            for _ in range(10_000):
                stream.sendall(b" ")
                heard.wait(0.0002)

        server = self.serve(talk)
        with self.assertRaises(ServiceTimeout):
            request({}, server.address, timeout=0.2)

    def test_what_goes_wrong_has_its_own_exception(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with self.assertRaisesRegex(
            ServiceUnreachable, f"Cannot reach the service at 127.0.0.1 port {port}: .*refused"
        ):
            request({}, ("127.0.0.1", port))
        with self.assertRaises(ServiceUnreachable):
            request({}, ("127.0.0.1", 99999))
        for talk, part in (
            (saying(), "closed the connection without an answer"),
            (saying(b'{"succ'), "closed the connection without an answer"),
            (saying(b"hello\n"), "cannot be read: The line is not JSON"),
        ):
            server = self.serve(talk)
            with self.subTest(part), self.assertRaisesRegex(BadAnswer, part):
                request({}, server.address)
        server = self.serve(echo)
        with self.assertRaises(NotJson):
            request({1}, server.address)

    def test_threads_take_turns(self) -> None:
        server = self.serve(echo)
        wrong: list[Any] = []
        with Client(server.address) as client:

            def work(thread: int) -> None:
                for number in range(100):
                    if client.request([thread, number])["result"] != [thread, number]:
                        wrong.append((thread, number))

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT)
        self.assertEqual(wrong, [])
        self.assertEqual(server.connections, 1)


class GatewayTest(unittest.TestCase):
    def serve(self, answer: Callable[[bytes, Any], tuple[int, bytes]], protocol: str = "HTTP/1.1") -> str:
        connections: list[Any] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = protocol

            def setup(self) -> None:
                connections.append(self)
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, said = answer(body, self)
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that gave up is what some tests are about

        server = Quiet(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        self.addCleanup(thread.join, LIMIT)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.connections = connections
        return f"http://127.0.0.1:{server.server_port}"

    def test_a_post_of_json(self) -> None:
        seen: list[Any] = []

        def answer(body: bytes, handler: Any) -> tuple[int, bytes]:
            seen.append((handler.path, handler.headers["Content-Type"], json.loads(body)))
            return 200, b'{"success": true, "result": 1}'

        url = self.serve(answer)
        self.assertEqual(request({"cmd": "queue"}, f"{url}/api/queue?x=1"), {"success": True, "result": 1})
        self.assertEqual(seen, [("/api/queue?x=1", "application/json", {"cmd": "queue"})])
        with Client(f"{url}/queue") as client:
            for _ in range(5):
                self.assertEqual(client.call("queue"), 1)
        self.assertEqual(len(self.connections), 2, "one for the request, one that was kept")

    def test_a_gateway_that_closes_each_time(self) -> None:
        url = self.serve(lambda body, _: (200, body), protocol="HTTP/1.0")
        with Client(url) as client:
            for number in range(3):
                self.assertEqual(client.request([number]), [number])
        self.assertEqual(len(self.connections), 3)

    def test_errors(self) -> None:
        url = self.serve(lambda *_: (502, b'{"success": false, "error": "The service is down"}'))
        with self.assertRaisesRegex(GatewayRefused, "^The service is down$") as caught:
            request({}, url)
        self.assertEqual(caught.exception.status, 502)
        url = self.serve(lambda *_: (405, b"<html>"))
        with self.assertRaisesRegex(GatewayRefused, "answered with HTTP status 405"):
            request({}, url)
        url = self.serve(lambda *_: (200, b"<html>"))
        with self.assertRaisesRegex(BadAnswer, "not JSON"):
            request({}, url)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with self.assertRaisesRegex(ServiceUnreachable, f"Cannot reach http://127.0.0.1:{port}/queue"):
            request({}, f"http://127.0.0.1:{port}/queue")
        for bad in ("ftp://x/y", "http://", "http://host:99999/x", "http://host:x/"):
            with self.subTest(bad), self.assertRaises(ServiceUnreachable):
                request({}, bad)

    def test_a_timeout(self) -> None:
        hold = threading.Event()

        def answer(_body: bytes, _handler: Any) -> tuple[int, bytes]:
            hold.wait(LIMIT)
            return 200, b"1"

        url = self.serve(answer)
        self.addCleanup(hold.set)
        with self.assertRaisesRegex(ServiceTimeout, "did not answer in time"):
            request({}, url, timeout=0.1)

    def test_an_answer_that_is_cut(self) -> None:
        server = Server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n12"))
        self.addCleanup(server.close)
        with self.assertRaisesRegex(BadAnswer, "broke off"):
            request({}, f"http://127.0.0.1:{server.address[1]}/")

    def test_no_http_at_all(self) -> None:
        server = Server(saying(b"SSH-2.0-x\r\n\r\n"))
        self.addCleanup(server.close)
        with self.assertRaisesRegex(BadAnswer, "broke off"):
            request({}, f"http://127.0.0.1:{server.address[1]}/")


if __name__ == "__main__":
    unittest.main()
