"""One meaning of quality: the same number looks as good whichever way makes the JPEG.

A quality means the SSIMULACRA2 that libjpeg (Pillow, 4:2:0) reaches with that number from the original
picture, on average over the pictures of `benchmarks/jpeg_quality.py`, where the knots below come from.
"""

from __future__ import annotations

import bisect

_QUALITIES = (1, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100)
_JPEGLI = (1, 28, 42, 55, 64, 73, 77, 82, 86, 91, 95, 100)
_REQUANTIZING = (1, 15, 30, 46, 57, 68, 73, 79, 84, 89, 94, 99)


def jpegli_quality(quality: int) -> int:
    """What jpegli is told, which knows whole numbers only."""
    return round(_between(_QUALITIES, _JPEGLI, quality))


def requantizing_quality(quality: int) -> float:
    """The quality of the jpegli tables that coefficients are quantized with."""
    return _between(_QUALITIES, _REQUANTIZING, quality)


def _between(knots: tuple[int, ...], values: tuple[float, ...], at: float) -> float:
    above = min(max(bisect.bisect_left(knots, at), 1), len(knots) - 1)
    share = (at - knots[above - 1]) / (knots[above] - knots[above - 1])
    return values[above - 1] + share * (values[above] - values[above - 1])
