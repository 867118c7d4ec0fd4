"""Give quality one meaning: the same number looks equally good whichever way makes the JPEG.

A quality means the SSIMULACRA2 that libjpeg (Pillow, 4:2:0) reaches with that number from the original
picture. The knots below come from `benchmarks/jpeg_quality.py`: each way is within a point of that on average
over all its pictures, and over its photographs and products alone, which gain less than pages of text do.
"""

from __future__ import annotations

import bisect
import functools

from imagi_pipeline.core.images.jpeg_steps import jpegli_steps

_QUALITIES = (1, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100)
_JPEGLI = (1, 23.2, 36.5, 51.5, 61, 71.2, 75.9, 81.2, 86, 90.5, 95, 100)
_SUBSAMPLED = (1, 20, 28.7, 44.5, 55.2, 67.1, 72.3, 78.4, 84, 89, 94.5, 99)
_FULL_CHROMA = (1, 20.4, 28.5, 41.6, 52.2, 64.3, 70.7, 76.1, 80.5, 86.5, 92.7, 99)

COARSER_CHROMA = 1.6
"""The steps of chroma with as many samples as luma are so many times those of jpegli: 4 to 5% fewer bytes at
equal SSIMULACRA2."""


def jpegli_quality(quality: int) -> int:
    """Return what jpegli is told, which knows whole numbers only."""
    return round(_between(_QUALITIES, _JPEGLI, quality))


@functools.lru_cache
def steps_of(quality: int) -> bytes:
    """Return the steps to quantize coefficients with: six tables of 64 bytes in natural order.

    The first three (Y, Cb, Cr) are for chroma with fewer samples than luma, the others for as many.
    """
    subsampled = jpegli_steps(_between(_QUALITIES, _SUBSAMPLED, quality))
    full = jpegli_steps(_between(_QUALITIES, _FULL_CHROMA, quality))
    coarser_chroma = bytes(min(round(COARSER_CHROMA * step), 255) for step in full[64:])
    return subsampled + full[:64] + coarser_chroma


def _between(knots: tuple[int, ...], values: tuple[float, ...], at: float) -> float:
    above = min(max(bisect.bisect_left(knots, at), 1), len(knots) - 1)
    share = (at - knots[above - 1]) / (knots[above] - knots[above - 1])
    return values[above - 1] + share * (values[above] - values[above - 1])
