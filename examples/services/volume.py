#!/usr/bin/env python3
"""A service of the application beside queue and pool: the volume, on a port of its own.

Commands: ``get_volume``, ``set_volume`` (``volume`` from 0 to 100), ``mute`` (``muted``, true by default). Each answers
``{"volume": …, "muted": …}``. The sound card follows through ``amixer`` where there is one and the variable
SHMOOZE_MIXER names its control (``Master``); else the service only remembers.
"""

import asyncio
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from shmooze.service import CommandError, Service  # noqa: E402

log = logging.getLogger("volume")

MIXER_SECONDS = 2.0


class Volume:
    def __init__(self, control: str | None) -> None:
        self.volume = 50
        self.muted = False
        self._control = control
        self._turn = asyncio.Lock()  # so that of two changes at once the later one is also the last to be set

    def get_volume(self) -> dict[str, Any]:
        return {"volume": self.volume, "muted": self.muted}

    async def set_volume(self, volume: int) -> dict[str, Any]:
        if not 0 <= volume <= 100:
            raise CommandError('Argument "volume" of command "set_volume" must be between 0 and 100.')
        self.volume = volume
        return await self._changed()

    async def mute(self, muted: bool = True) -> dict[str, Any]:
        self.muted = muted
        return await self._changed()

    async def _changed(self) -> dict[str, Any]:
        answer = self.get_volume()
        async with self._turn:
            await self._set_mixer(0 if self.muted else self.volume)
        return answer

    async def _set_mixer(self, volume: int) -> None:
        program = shutil.which("amixer")
        if self._control is None or program is None:
            return
        try:
            process = await asyncio.create_subprocess_exec(
                program, "-q", "sset", self._control, f"{volume}%", stdin=asyncio.subprocess.DEVNULL
            )
            try:
                status = await asyncio.wait_for(process.wait(), MIXER_SECONDS)
            except TimeoutError:
                process.kill()
                status = await process.wait()
            if status != 0:
                log.warning("amixer could not set %s (status %d)", self._control, status)
        except OSError as error:
            log.warning("amixer cannot be run: %s", error)


def main() -> None:
    volume = Volume(os.environ.get("SHMOOZE_MIXER") or None)
    Service("volume", {"get_volume": volume.get_volume, "set_volume": volume.set_volume, "mute": volume.mute}).run()


if __name__ == "__main__":
    main()
