"""Arguments against the parameters of a function."""

import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from shmooze.arguments import Signature
from shmooze.errors import BadArgument


def plain(a: int, b: str = "x", *, c: float | None = None) -> None: ...
def everything(**args: Any) -> None: ...
def containers(
    names: list[str], table: dict[str, int], many: Sequence[float] = (), some: Mapping[str, Any] = {}
) -> None: ...
def chosen(colour: Literal["red", "green", 3] = "red", flag: bool = False, other: object = None) -> None: ...
def untyped(a, b=1): ...  # type: ignore[no-untyped-def]


class Thing:
    def method(self, a: int = 1, **more: Any) -> None: ...
    def open_method(self, /, **more: Any) -> None: ...


class SignatureTest(unittest.TestCase):
    def refused(self, function: Callable[..., Any], args: dict[str, Any]) -> str:
        with self.assertRaises(BadArgument) as caught:
            Signature("go", function).check(args)
        return str(caught.exception)

    def test_what_fits(self) -> None:
        fitting: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (plain, {"a": 1}),
            (plain, {"a": 1, "b": "y", "c": 2}),
            (plain, {"a": 10**30, "c": None}),
            (everything, {"x": [], "args": 1, "self": 2}),
            (containers, {"names": [], "table": {}}),
            (containers, {"names": ["a"], "table": {"k": 1}, "many": [1, 2.5], "some": {"x": None}}),
            (chosen, {"colour": 3, "flag": True, "other": [1]}),
            (untyped, {"a": object()}),
            (Thing().open_method, {"self": 1, "a": 2}),
            (Thing().method, {"a": 1, "z": 2}),
        ]
        for function, args in fitting:
            with self.subTest(function=function, args=args):
                Signature("go", function).check(args)
                function(**args)

    def test_missing_and_unknown(self) -> None:
        self.assertEqual(self.refused(plain, {}), 'Command "go" needs the argument "a".')
        self.assertEqual(self.refused(plain, {"a": 1, "z": 1}), 'Command "go" takes no argument "z".')
        self.assertEqual(self.refused(plain, {"a": 1, "\u00e9": 1}), 'Command "go" takes no argument "\u00e9".')
        self.assertEqual(self.refused(Thing().method, {"self": 1}), 'Command "go" takes no argument "self".')

    def test_types(self) -> None:
        cases: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
            (plain, {"a": "1"}, '"a" of command "go" must be a whole number.'),
            (plain, {"a": True}, '"a" of command "go" must be a whole number.'),
            (plain, {"a": 1.5}, '"a" of command "go" must be a whole number.'),
            (plain, {"a": 1, "b": None}, '"b" of command "go" must be text.'),
            (plain, {"a": 1, "c": "2"}, '"c" of command "go" must be a number or null.'),
            (plain, {"a": 1, "c": False}, '"c" of command "go" must be a number or null.'),
            (containers, {"names": "ab", "table": {}}, '"names" of command "go" must be a list of texts.'),
            (containers, {"names": [1], "table": {}}, '"names" of command "go" must be a list of texts.'),
            (containers, {"names": [], "table": []}, '"table" of command "go" must be an object of whole numbers.'),
            (containers, {"names": [], "table": {}, "some": []}, '"some" of command "go" must be an object.'),
            (chosen, {"colour": "blue"}, '"colour" of command "go" must be "red" or "green" or "3".'),
            (chosen, {"flag": 1}, '"flag" of command "go" must be true or false.'),
        ]
        for function, args, sentence in cases:
            with self.subTest(args=args):
                self.assertEqual(self.refused(function, args), f"Argument {sentence}")

    def test_a_leading_parameter_that_the_caller_fills(self) -> None:
        signature = Signature("go", Thing.method, bound=1)
        signature.check({"a": 2})
        with self.assertRaisesRegex(BadArgument, 'takes no argument "self"'):
            signature.check({"self": 2})

    def test_a_parameter_that_cannot_be_named_is_the_programs_error(self) -> None:
        def positional(a: int, /) -> None: ...

        with self.assertRaisesRegex(TypeError, '"a" of command "go"'):
            Signature("go", positional)

    def test_annotations_for_the_checker_only_are_not_checked(self) -> None:
        def odd(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

        Signature("go", odd).check({"a": 1})


if __name__ == "__main__":
    unittest.main()
