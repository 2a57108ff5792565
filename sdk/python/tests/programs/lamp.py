"""A service for the tests; with the argument "port 0" any free port, else that of the settings."""

import asyncio
import sys
from typing import Any

from shmooze.service import Service


async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


def echo(**args: Any) -> dict[str, Any]:
    return args


Service("lamp", {"wait": wait, "echo": echo}, port=0 if sys.argv[1:] else None).run()
print("returned")
