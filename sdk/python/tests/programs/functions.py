"""A module for the tests, written with the functions of the original library."""

from collections.abc import Callable
from typing import Any

from shmooze.modules import handle_one_command, rm, set_parameters, unset_parameters

state = {"go": True}


def init(colour: str = "white") -> None:
    set_parameters({"colour": colour, "extra": 1})


def play() -> None:
    set_parameters(state="playing")


def do_forget(name: str) -> None:
    unset_parameters([name])


def do_leave() -> None:
    state["go"] = False


commands: dict[str, Callable[..., Any]] = {
    "init": init,
    "play": play,
    "suspend": play,
    "rm": lambda: None,
    "do_forget": do_forget,
    "do_leave": do_leave,
}

while handle_one_command(commands) and state["go"]:
    pass
if not state["go"]:
    rm()
