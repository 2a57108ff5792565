#!/usr/bin/env python3
"""A player of tones, with what a player of anything has: progress, pause, seek.

Arguments of ``add``: either ``frequency`` (hertz) or ``notes`` (text such as "C4 E4 G4 - C5", or a list), ``duration``
(seconds in all), ``title``. Parameters: ``title``, ``duration``, ``position`` (seconds), ``state`` ("initialized",
"playing", "paused", "suspended"). Commands: ``pause``, ``resume``, ``seek``. Ends on its own when it is through.

It sounds through ``paplay`` or ``aplay`` where there is one; else, or without a sound card, it keeps time silently.
"""

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

import waves  # noqa: E402
from playhead import Playhead  # noqa: E402

from shmooze.module import CommandError, Module  # noqa: E402

NOTE_SECONDS = 0.5
TONE_SECONDS = 3.0
LONGEST_SECONDS = 24 * 3600.0
PROGRESS_SECONDS = 0.5
DRAIN_SECONDS = 1.0  # how long the last of the sound may take to come out


class Speaker:
    """Plays samples through a program of the system, as far as there is one."""

    def __init__(self) -> None:
        endian = "le" if sys.byteorder == "little" else "be"
        players = {
            "paplay": ["--raw", f"--format=s16{endian}", f"--rate={waves.RATE}", "--channels=1"],
            "aplay": ["-q", "-t", "raw", "-f", f"S16_{endian.upper()}", "-r", str(waves.RATE), "-c", "1", "-"],
        }
        found = [[path, *options] for name, options in players.items() if (path := shutil.which(name)) is not None]
        self._command = found[0] if found else None
        self._player: subprocess.Popen[bytes] | None = None

    def start(self, frequencies: list[float], duration: float, position: float) -> None:
        """Plays from the position on."""
        self.stop()
        if self._command is None:
            return
        try:
            self._player = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError:
            return
        threading.Thread(target=_feed, args=(self._player, frequencies, duration, position), daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether there is still something to be heard."""
        return self._player is not None and self._player.poll() is None

    def stop(self) -> None:
        """Is silent at once."""
        if self._player is not None:
            self._player.kill()
            self._player.wait()
            self._player = None


def _feed(player: "subprocess.Popen[bytes]", frequencies: list[float], duration: float, position: float) -> None:
    assert player.stdin is not None
    try:
        with player.stdin as pipe:
            for block in waves.samples(frequencies, duration, position):
                pipe.write(block)
    except OSError:
        pass  # the player was stopped, or found no sound card


class Tones(Module):
    def init(
        self,
        title: str | None = None,
        notes: str | list[str] | None = None,
        frequency: float | None = None,
        duration: float | None = None,
    ) -> None:
        self.frequencies = _frequencies(notes, frequency)
        if duration is None:
            duration = TONE_SECONDS if notes is None else NOTE_SECONDS * len(self.frequencies)
        if not 0 < duration <= LONGEST_SECONDS:
            raise CommandError(f'Argument "duration" must be more than 0 and at most {LONGEST_SECONDS:g} seconds.')
        self.playhead = Playhead(duration)
        self.speaker = Speaker()
        self.paused = False
        self.draining = DRAIN_SECONDS
        self.set_parameters(title=title or _title(notes, frequency), duration=duration, position=0, state="initialized")

    def play(self) -> None:
        self.go_on()

    def suspend(self) -> None:
        self.go_on()

    def rm(self) -> None:
        speaker = getattr(self, "speaker", None)  # none where init was refused
        if speaker is not None:
            speaker.stop()

    def tick(self) -> None:
        self.show()
        if not self.playhead.ended:
            self.schedule(min(PROGRESS_SECONDS, self.playhead.left))
        elif self.speaker.busy and self.draining > 0:
            self.draining -= 0.05
            self.schedule(0.05)
        else:
            self.finish()

    def do_pause(self) -> None:
        """Stands still until ``resume``."""
        self.paused = True
        self.go_on()

    def do_resume(self) -> None:
        """Goes on after ``pause``."""
        self.paused = False
        self.go_on()

    def do_seek(self, position: float) -> float:
        """Goes to a position in seconds."""
        self.playhead.seek(position)
        self.go_on(anew=True)
        return self.playhead.position

    def go_on(self, anew: bool = False) -> None:
        """Makes playhead, sound and parameters fit what was asked for; ``anew``: the position has jumped."""
        run = self.playing and not self.paused
        if self.playhead.ended:
            self.finish()  # skipped to the end: there is nothing more to hear, playing or not
        elif run and (anew or not self.playhead.running):
            self.playhead.run()
            self.speaker.start(self.frequencies, self.playhead.duration, self.playhead.position)
        elif not run:
            self.playhead.stand()
            self.speaker.stop()
        self.show()
        self.schedule(min(PROGRESS_SECONDS, self.playhead.left) if run else None)

    def show(self) -> None:
        state = "paused" if self.paused else "playing" if self.playing else "suspended"
        self.set_parameters(position=round(self.playhead.position, 2), state=state)


def _frequencies(notes: str | list[str] | None, frequency: float | None) -> list[float]:
    if notes is not None and frequency is not None:
        raise CommandError('Give either "notes" or "frequency", not both.')
    if notes is None:
        hertz = 440.0 if frequency is None else float(frequency)
        if not waves.LOWEST <= hertz <= waves.HIGHEST:
            raise CommandError(f'Argument "frequency" must be between {waves.LOWEST:g} and {waves.HIGHEST:g} hertz.')
        return [hertz]
    names = notes.split() if isinstance(notes, str) else notes
    if not names:
        raise CommandError('Argument "notes" holds no note.')
    try:
        return [waves.frequency_of(name) for name in names]
    except ValueError as error:
        raise CommandError(f'Argument "notes": {error}.') from None


def _title(notes: Any, frequency: float | None) -> str:
    if notes is None:
        return f"{440 if frequency is None else frequency:g} Hz"
    return notes if isinstance(notes, str) else " ".join(notes)


if __name__ == "__main__":
    Tones().run()
