"""Give quality one meaning: the same number looks equally good whichever way makes the JPEG or WebP.

A quality means the SSIMULACRA2 that libjpeg (Pillow, 4:2:0) reaches with that number from the original
picture. The knots below come from `benchmarks/jpeg_quality.py`: each way is within a point of that on average
over all its pictures, and over its photographs and products alone, which gain less than pages of text do.
WebP is fitted to photographs and products: what is flat is smaller as PNG.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from statistics import fmean

from imagi_pipeline.core.images.jpeg_steps import jpegli_steps

_QUALITIES = (1, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100)
_JPEGLI = (1, 23.2, 36.5, 51.5, 61, 71.2, 75.9, 81.2, 86, 90.5, 95, 100)
_WEBP = (1, 32.5, 46.2, 58.4, 68.2, 77.1, 79.4, 82.6, 86, 89.8, 95, 100)
_SUBSAMPLED = (1, 20, 28.7, 44.5, 55.2, 67.1, 72.3, 78.4, 84, 89, 94.5, 99)
_FULL_CHROMA = (1, 20.5, 28.6, 41.8, 52.4, 64.5, 70.9, 76.3, 80.7, 86.7, 92.8, 99)

_MEAN_STANDARD_STEP = 57.6
_BAD_RATIOS = (1.6, 2.25)

COARSER_CHROMA = 1.6
"""The steps of chroma with as many samples as luma are so many times those of jpegli: 4 to 5% fewer bytes at
equal SSIMULACRA2."""


def jpegli_quality(quality: int) -> int:
    """Return what jpegli is told, which knows whole numbers only."""
    return round(_between(_QUALITIES, _JPEGLI, quality))


def webp_quality(quality: int) -> float:
    """Return what libwebp is told."""
    return _between(_QUALITIES, _WEBP, quality)


@functools.lru_cache
def steps_of(quality: int) -> bytes:
    """Return the steps to quantize coefficients with: six tables of 64 bytes in natural order.

    The first three (Y, Cb, Cr) are for chroma with fewer samples than luma, the others for as many.
    """
    subsampled = jpegli_steps(_between(_QUALITIES, _SUBSAMPLED, quality))
    full = jpegli_steps(_between(_QUALITIES, _FULL_CHROMA, quality))
    coarser_chroma = bytes(min(round(COARSER_CHROMA * step), 255) for step in full[64:])
    return subsampled + full[:64] + coarser_chroma


def stepping_over(quality: int, source_steps: Sequence[int] | None) -> int:
    """Return the quality to give to Pillow for pixels that were a JPEG with these steps for luma.

    Steps of nearly twice the source's are the worst: of a source of quality 90, quality 80 made 49 KB with a
    SSIMULACRA2 of 70.5, and quality 77 made 38 KB with 71.1. So the next lower quality past them is taken.
    """
    if source_steps is None:
        return quality
    while quality > 1 and _BAD_RATIOS[0] < _mean_step(quality) / fmean(source_steps) < _BAD_RATIOS[1]:
        quality -= 1
    return quality


def _mean_step(quality: int) -> float:
    """Return the mean step for luma that libjpeg takes for a quality."""
    return _MEAN_STANDARD_STEP * (50 / quality if quality < 50 else 2 - quality / 50)


def _between(knots: tuple[int, ...], values: tuple[float, ...], at: float) -> float:
    above = min(max(bisect.bisect_left(knots, at), 1), len(knots) - 1)
    share = (at - knots[above - 1]) / (knots[above] - knots[above - 1])
    return values[above - 1] + share * (values[above] - values[above - 1])
