"""Where a player is in what it plays: a clock that runs, stands, and can be set. Shared by tones.py and slides.py."""

from __future__ import annotations

import time
from collections.abc import Callable

from shmooze.module import CommandError


class Playhead:
    """A position in seconds between 0 and the duration, which advances while it runs."""

    def __init__(self, duration: float, now: Callable[[], float] = time.monotonic) -> None:
        self.duration = duration
        self._now = now
        self._position = 0.0
        self._since: float | None = None  # when it began to run, at _position

    @property
    def running(self) -> bool:
        """Whether the position advances."""
        return self._since is not None

    @property
    def position(self) -> float:
        """Seconds from the beginning."""
        passed = 0.0 if self._since is None else self._now() - self._since
        return min(self.duration, self._position + passed)

    @property
    def left(self) -> float:
        """Seconds until the end, if it runs on."""
        return self.duration - self.position

    @property
    def ended(self) -> bool:
        """Whether it has reached the end."""
        return self.left <= 0

    def run(self) -> None:
        """Advances from here on."""
        if self._since is None:
            self._since = self._now()

    def stand(self) -> None:
        """Stands still."""
        self._position = self.position
        self._since = None

    def seek(self, position: float) -> None:
        """Goes there, running or standing as before. Raises CommandError for a place that does not exist."""
        if not 0 <= position <= self.duration:
            raise CommandError(f'Argument "position" must be between 0 and {self.duration:g} seconds.')
        self._position = float(position)
        if self._since is not None:
            self._since = self._now()
