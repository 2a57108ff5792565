"""The name that ``shmooze.module`` had in the original library: ``from shmooze.modules import JSONParentPoller``."""

from .module import (
    JSONParentPoller,
    Module,
    ParentConnection,
    default_poller,
    handle_one_command,
    rm,
    set_parameters,
    unset_parameters,
)

__all__ = [
    "JSONParentPoller",
    "Module",
    "ParentConnection",
    "default_poller",
    "handle_one_command",
    "rm",
    "set_parameters",
    "unset_parameters",
]
