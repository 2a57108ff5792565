"""Sound as numbers: notes, and the samples of sine tones. Knows nothing of modules or of players."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

RATE: Final = 22050
"""Samples per second, each of 16 bits, one channel, in the machine's byte order."""

BLOCK_SECONDS: Final = 0.25
_FADE_SECONDS: Final = 0.008  # at both ends of a tone: a sine that is cut off clicks
_LOUDNESS: Final = 0.3 * 32767
_SEMITONES: Final = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}
LOWEST: Final = 20.0
HIGHEST: Final = 10_000.0


def frequency_of(note: str) -> float:
    """Hertz of a note such as ``A4`` (440), ``C#5`` or ``Eb3``; 0 for a rest, ``-``. Raises ValueError."""
    if note == "-":
        return 0.0
    semitone = _SEMITONES.get(note[:1].upper())
    accidental, octave = note[1:-1], note[-1:]
    if semitone is None or accidental not in ("", "#", "b") or octave not in "0123456789" or not octave:
        raise ValueError(f'"{note}" is no note: write A4, C#5, Eb3, or - for a rest')
    semitone += {"": 0, "#": 1, "b": -1}[accidental] + 12 * (int(octave) - 4)
    return float(440 * 2 ** (semitone / 12))


def samples(frequencies: Sequence[float], duration: float, start: float = 0.0) -> Iterator[bytes]:
    """The sound of tones of equal length that together take ``duration`` seconds, from ``start`` seconds on.

    Comes in blocks of at most a quarter of a second, so that an hour of sound needs no memory.
    """
    total = round(duration * RATE)
    ends = [round((index + 1) * total / len(frequencies)) for index in range(len(frequencies))]
    first, at = 0, min(total, round(start * RATE))
    for frequency, end in zip(frequencies, ends, strict=True):
        while at < end:
            until = min(end, at + round(BLOCK_SECONDS * RATE))
            yield _block(frequency, at - first, until - first, end - first)
            at = until
        first = end


def _block(frequency: float, begin: int, end: int, length: int) -> bytes:
    """Samples ``begin`` to ``end`` of a tone of ``length`` samples."""
    if frequency <= 0:
        return bytes(2 * (end - begin))
    step = 2 * math.pi * frequency / RATE
    fade = _FADE_SECONDS * RATE
    return array(
        "h",
        (int(_LOUDNESS * min(1.0, n / fade, (length - n) / fade) * math.sin(step * n)) for n in range(begin, end)),
    ).tobytes()
