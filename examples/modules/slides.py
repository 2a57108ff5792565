#!/usr/bin/env python3
"""A slide show of texts, with progress.

Arguments of ``add``: ``slides`` (a list of texts, or one text with the slides between "|"), ``seconds`` for each slide,
``title``. Parameters: ``title``, ``text`` (of the slide that is shown), ``index`` (from 0), ``count``, ``position`` and
``duration`` (seconds), ``state`` ("initialized", "playing", "paused", "suspended"). Commands: ``pause``, ``resume``,
``next``, ``seek``. Ends on its own after the last slide.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from playhead import Playhead  # noqa: E402

from shmooze.module import CommandError, Module  # noqa: E402

LONGEST_SECONDS = 24 * 3600.0
PROGRESS_SECONDS = 1.0


class Slides(Module):
    def init(self, slides: str | list[str] = "Hello|World", seconds: float = 5.0, title: str | None = None) -> None:
        texts = slides.split("|") if isinstance(slides, str) else slides
        self.texts = [text.strip() for text in texts]
        if not any(self.texts):
            raise CommandError('Argument "slides" holds no text.')
        if not 0 < seconds <= LONGEST_SECONDS:
            raise CommandError(f'Argument "seconds" must be more than 0 and at most {LONGEST_SECONDS:g}.')
        self.seconds = seconds
        self.playhead = Playhead(seconds * len(self.texts))
        self.paused = False
        self.shown = -1
        self.set_parameters(
            title=title or next(text for text in self.texts if text),
            count=len(self.texts),
            duration=self.playhead.duration,
        )
        self.show("initialized")

    def play(self) -> None:
        self.go_on()

    def suspend(self) -> None:
        self.go_on()

    def tick(self) -> None:
        self.show()
        if self.playhead.ended:
            self.finish()
            return
        self.schedule_next()

    def do_pause(self) -> None:
        """Stays at this slide until ``resume``."""
        self.paused = True
        self.go_on()

    def do_resume(self) -> None:
        """Goes on after ``pause``."""
        self.paused = False
        self.go_on()

    def do_next(self) -> int:
        """Goes to the next slide, after the last to the end; returns its index."""
        self.playhead.seek(min(self.playhead.duration, (self.index() + 1) * self.seconds))
        self.go_on()
        return self.index()

    def do_seek(self, position: float) -> float:
        """Goes to a position in seconds."""
        self.playhead.seek(position)
        self.go_on()
        return self.playhead.position

    def index(self) -> int:
        """The slide at the present position; the last one at the very end."""
        # A hair more: the quotient of a slide's very beginning must not be rounded to the slide before.
        return min(len(self.texts) - 1, int(self.playhead.position / self.seconds + 1e-9))

    def schedule_next(self) -> None:
        """Comes back at the next slide, or earlier to show the progress."""
        to_next_slide = (self.index() + 1) * self.seconds - self.playhead.position
        self.schedule(min(PROGRESS_SECONDS, to_next_slide))

    def go_on(self) -> None:
        """Makes playhead and parameters fit what was asked for."""
        if self.playhead.ended:
            # Skipped to the end: there is nothing more to show, playing or not.
            self.finish()
        if self.playing and not self.paused:
            self.playhead.run()
            self.schedule_next()
        else:
            self.playhead.stand()
            self.schedule(None)
        self.show()

    def show(self, state: str | None = None) -> None:
        state = state or ("paused" if self.paused else "playing" if self.playing else "suspended")
        self.set_parameters(position=round(self.playhead.position, 2), state=state)
        if self.shown != self.index():
            self.shown = self.index()
            self.set_parameters(index=self.shown, text=self.texts[self.shown])


if __name__ == "__main__":
    Slides().run()
