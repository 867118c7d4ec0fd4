"""Find a palette of at most 256 colours for pixels that have more, if nobody would see the difference.

libimagequant finds it, where the extra `png` is installed; otherwise Pillow's median cut does, for opaque
pixels. Both are judged by libimagequant's own measure, the mean squared difference of the pixels before
dithering. benchmarks/png.py holds it against SSIMULACRA2.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple, cast

from PIL import Image, ImageChops, ImageFilter

_COLOURS = 256
_LARGE_IMAGE = 8_000_000
"""Pixels above which looking for a palette takes too long: 0.4 s a million, and 35 bytes of memory each."""

_QUALITIES = (1, 30, 50, 60, 70, 80, 90, 95, 100)
_LEAST = (40, 50, 65, 76, 81, 88, 93, 96, 100)
"""The least quality that libimagequant must reach on its own scale of 0 to 100, by our quality."""

_GAMMA = 1.21
_WEIGHTS = (0.25, 1.0, 0.2025)
"""How libimagequant compares red, green and blue: by a gamma of 0.55, and green most."""
_SHARPER = 0.4
"""Pillow's palettes, which are not dithered, look as good with so much of the difference."""
_GAIN_OF_REFINING = 4
"""The difference becomes at most so many times smaller when the palette is refined."""
_INVISIBLE_BANDS, _BANDS_SHARE = 0.3, 0.4
"""Whole areas are off, which shows as bands, when blurring both leaves a mean square of the difference of
more than the first, in levels of 255, and more than the second of the whole."""


class Palettized(NamedTuple):
    """Indices of pixels, a byte each, into colours (red, green, blue, alpha)."""

    pixels: bytes
    colours: list[tuple[int, int, int, int]]


def palettized(image: Image.Image, quality: int) -> Palettized | None:
    """Return pixels (mode L, LA, RGB or RGBA) with a palette; None if that would show at this quality.

    It is None as well for pixels that have no more than 256 colours, and for so many pixels that it would
    take too long.
    """
    least = _least(quality)
    if image.width * image.height > _LARGE_IMAGE or least >= 100 or image.getcolors(_COLOURS) is not None:
        return None
    if libimagequant() is not None:
        return _by_libimagequant(image, least)
    return _by_pillow(image, _allowed_difference(least)) if image.mode == "RGB" else None


@functools.cache
def libimagequant() -> ModuleType | None:
    """Return the package imagequant, if it is installed."""
    try:
        import imagequant
    except ImportError:  # it comes with the extra `png`
        return None
    module: ModuleType = imagequant
    return module


def _least(quality: int) -> int:
    above = min(max(bisect.bisect_left(_QUALITIES, quality), 1), len(_QUALITIES) - 1)
    share = (quality - _QUALITIES[above - 1]) / (_QUALITIES[above] - _QUALITIES[above - 1])
    return round(_LEAST[above - 1] + share * (_LEAST[above] - _LEAST[above - 1]))


def _by_libimagequant(image: Image.Image, least: int) -> Palettized | None:
    library = cast("ModuleType", libimagequant())
    try:
        pixels, levels = library.quantize_raw_rgba_bytes(
            image.convert("RGBA").tobytes(), image.width, image.height, min_quality=least
        )
    except RuntimeError:  # the least quality is not reached
        return None
    colours = list(zip(*(levels[channel::4] for channel in range(4)), strict=True))
    return Palettized(pixels, colours[: max(pixels) + 1])


def _allowed_difference(least: int) -> float:
    """Return what libimagequant allows for a quality of its own (`quality_to_mse` in its source)."""
    on_white_and_black = 2.5 / (210 + least) ** 1.2 * (100.1 - least) / 100
    return float(on_white_and_black / 2)


def _by_pillow(image: Image.Image, allowed: float) -> Palettized | None:
    allowed *= _SHARPER
    cut = Image.Quantize.MEDIANCUT
    rough = image.quantize(_COLOURS, method=cut, dither=Image.Dither.NONE)
    if _difference(image, rough) > _GAIN_OF_REFINING * allowed:
        return None
    refined = image.quantize(_COLOURS, method=cut, kmeans=3, dither=Image.Dither.NONE)
    difference = _difference(image, refined)
    if difference > allowed or _has_bands(image, refined, difference):
        return None
    levels = refined.getpalette() or []
    colours = [(red, green, blue, 255) for red, green, blue in zip(*[iter(levels)] * 3, strict=True)]
    return Palettized(refined.tobytes(), colours)


def _difference(image: Image.Image, other: Image.Image) -> float:
    """Return the mean squared difference of pixels, as libimagequant weighs it."""
    curve = [round(255 * (level / 255) ** _GAMMA) for level in range(256)] * 3
    squares = _mean_squares(image.point(curve), other.convert("RGB").point(curve))
    return sum(weight * square for weight, square in zip(_WEIGHTS, squares, strict=True)) / 255**2


def _has_bands(image: Image.Image, other: Image.Image, difference: float) -> bool:
    """Return whether whole areas are off, and not only single pixels among right ones."""
    blur = ImageFilter.BoxBlur(2)
    left = max(_mean_squares(image.filter(blur), other.convert("RGB").filter(blur)))
    return left > max(_INVISIBLE_BANDS, _BANDS_SHARE * difference * 255**2)


def _mean_squares(image: Image.Image, other: Image.Image) -> Iterable[float]:
    for channel in ImageChops.difference(image, other).split():
        counts = channel.histogram()
        yield sum(level * level * count for level, count in enumerate(counts)) / sum(counts)
