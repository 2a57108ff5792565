"""Lines, JSON and answers."""

import json
import unittest
from typing import Any

from shmooze import protocol
from shmooze.errors import BadLine, CommandError, NotJson
from shmooze.protocol import LineBuffer, Overlong


class LineBufferTest(unittest.TestCase):
    def test_lines_in_pieces(self) -> None:
        buffer = LineBuffer()
        self.assertEqual(buffer.feed(b'{"a"'), [])
        self.assertEqual(buffer.feed(b": 1}\r\nse"), [b'{"a": 1}'])
        self.assertEqual(buffer.feed(b"cond\n\nthird\n"), [b"second", b"", b"third"])
        self.assertEqual(buffer.feed(b""), [])

    def test_every_way_to_cut_gives_the_same_lines(self) -> None:
        data = b"ab\n\r\n" + b"x" * 12 + b"\n" + b"y" * 10 + b"\r\n" + b"z" * 11 + b"\r\nq\n"
        expected = [b"ab", b"", Overlong.LINE, b"y" * 10, Overlong.LINE, b"q"]
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                buffer = LineBuffer(10)
                lines = buffer.feed(data[:first]) + buffer.feed(data[first:second]) + buffer.feed(data[second:])
                self.assertEqual(lines, expected, (first, second))

    def test_an_overlong_line_is_told_once_and_not_kept(self) -> None:
        buffer = LineBuffer(1000)
        lines: list[protocol.Line] = []
        for _ in range(100):
            lines += buffer.feed(b"x" * 500)
        self.assertEqual(lines, [Overlong.LINE])
        self.assertLessEqual(len(buffer._data), 1500)
        self.assertEqual(buffer.feed(b"xx\nnext\n"), [b"next"])


class JsonTest(unittest.TestCase):
    def test_pythons_bare_tokens_are_null(self) -> None:
        self.assertEqual(protocol.decode(b'[NaN, Infinity, -Infinity, {"a": NaN}]'), [None, None, None, {"a": None}])

    def test_the_last_of_a_key_given_twice_counts(self) -> None:
        self.assertEqual(protocol.decode(b'{"cmd": "x", "cmd": "y"}'), {"cmd": "y"})

    def test_lone_surrogates_and_large_numbers_pass(self) -> None:
        line = rb'["\ud800", 123456789012345678901234567890, "\u00e9"]'
        self.assertEqual(protocol.encode(protocol.decode(line)), line + b"\n")

    def test_bad_lines_are_told_in_one_sentence(self) -> None:
        cases: dict[bytes, str] = {
            b"{": "not JSON",
            b"hello": "not JSON",
            b"{'cmd': 1}": "not JSON",
            b'{"a": 1} trailing': "not JSON",
            b'{"a": "\x01"}': "not JSON",
            b" ": "not JSON",
            b"\xef\xbb\xbf{}": "not JSON",
            b'{"cmd": "\xff"}': "not UTF-8 (byte 10)",
            b"[" * 100_000 + b"]" * 100_000: "nested too deeply",
            b"1" * 5000: "too many digits",
            '{"a": 1}'.encode("utf-16"): "not UTF-8",
        }
        for line, part in cases.items():
            with self.subTest(line[:20]), self.assertRaisesRegex(BadLine, part.replace("(", r"\(").replace(")", r"\)")):
                protocol.decode(line)
        with self.assertRaisesRegex(BadLine, "longer than 7 bytes"):
            protocol.decode(Overlong.LINE, 7)

    def test_what_is_no_finite_number_is_written_as_null(self) -> None:
        value = {"a": [float("inf"), 1.5, (float("nan"),)], "b": -float("inf")}
        self.assertEqual(protocol.encode(value), b'{"a": [null, 1.5, [null]], "b": null}\n')

    def test_a_line_is_one_line(self) -> None:
        self.assertEqual(protocol.encode({"a": "x\ny\u2028"}).count(b"\n"), 1)

    def test_what_is_no_json(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        for value in ({1}, object(), {"a": b"bytes"}, circle, {(1, 2): 3}, 10**5000):
            with self.subTest(type(value)), self.assertRaises(NotJson):
                protocol.encode(value)


class CommandTest(unittest.TestCase):
    def test_parse(self) -> None:
        self.assertEqual(protocol.parse_command({"cmd": "x"}), ("x", {}))
        self.assertEqual(protocol.parse_command({"cmd": "x", "args": {"a": 1}, "more": 2}), ("x", {"a": 1}))
        cases: list[tuple[Any, str]] = [
            (5, "Command not a dict."),
            ([], "Command not a dict."),
            ({}, "No command given."),
            ({"CMD": "x"}, "No command given."),
            ({"cmd": "x", "args": []}, "Argument list not a dict."),
            ({"cmd": "x", "args": None}, "Argument list not a dict."),
        ]
        for message, sentence in cases:
            with self.subTest(json.dumps(message)), self.assertRaises(CommandError) as caught:
                protocol.parse_command(message)
            self.assertEqual(str(caught.exception), sentence)

    def test_answers(self) -> None:
        self.assertEqual(protocol.good(), {"success": True})
        self.assertEqual(protocol.good(0), {"success": True, "result": 0})
        self.assertEqual(protocol.good(float("nan")), {"success": True})
        self.assertEqual(protocol.good([]), {"success": True, "result": []})
        self.assertEqual(protocol.bad("no"), {"success": False, "error": "no"})

    def test_an_exception_without_text_gives_its_kind(self) -> None:
        class Careless(Exception):
            def __str__(self) -> str:
                raise ValueError

        self.assertEqual(protocol.sentence_of(KeyError()), "KeyError")
        self.assertEqual(protocol.sentence_of(ValueError("x")), "x")
        self.assertEqual(protocol.sentence_of(Careless()), "Careless")


if __name__ == "__main__":
    unittest.main()
