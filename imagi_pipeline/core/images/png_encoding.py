"""Encode pixels as PNG: by oxipng without loss, or with a palette where nobody sees the difference."""

from __future__ import annotations

import functools
import io
import os
from types import ModuleType

from PIL import Image

from imagi_pipeline.core.images.compressed_image import Encoded
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.palette import Palettized, palettized
from imagi_pipeline.core.images.saving import saved

# oxipng starts as many threads as there are cores; here each core has a codec process already.
os.environ.setdefault("RAYON_NUM_THREADS", "1")

_LEVELS = {"fast": 0, "balanced": 1, "small": 2, "lossless": 2}
_MORE_FOR_SMALL_IMAGES = 1
_SMALL_IMAGE = 64 * 64
"""Pixels up to which one more level costs almost nothing."""
_LARGE_IMAGE = 8_000_000
"""Pixels above which only the lowest level fits into the time that an image may take."""

_PALETTE_IS_WORTH = 0.8
"""A palette must need no more than so much of the bytes of the lossless form."""


def encode_png(image: Image.Image, settings: CompressionSettings) -> Encoded:
    """Encode these pixels as PNG (mode L, LA, RGB, RGBA or I;16).

    They are exactly these unless a palette is allowed, looks as good as the quality asks for, and saves a
    fifth of the bytes. oxipng sees pixels only, never a file of someone else.
    """
    level = _level(image, settings.preset)
    lossless = _lossless(image, level)
    if settings.png == "lossless" or settings.is_lossless or image.mode == "I;16":
        return lossless
    reduced = palettized(image, settings.effective_quality)
    if reduced is None:
        return lossless
    with_palette = _with_palette(reduced, image.size, level)
    return with_palette if len(with_palette.data) <= _PALETTE_IS_WORTH * len(lossless.data) else lossless


def _level(image: Image.Image, preset: str) -> int:
    pixels = image.width * image.height
    if pixels > _LARGE_IMAGE:
        return 0
    return _LEVELS[preset] + (_MORE_FOR_SMALL_IMAGES if pixels <= _SMALL_IMAGE else 0)


def _lossless(image: Image.Image, level: int) -> Encoded:
    oxipng = _oxipng()
    if oxipng is not None:
        kinds = {
            "L": oxipng.ColorType.grayscale,
            "LA": oxipng.ColorType.grayscale_alpha,
            "RGB": oxipng.ColorType.rgb,
            "RGBA": oxipng.ColorType.rgba,
            "I;16": oxipng.ColorType.grayscale,
        }
        deep = image.mode == "I;16"
        pixels = image.tobytes("raw", "I;16B") if deep else image.tobytes()
        packed = _packed(pixels, image.size, kinds[image.mode](), level, depth=16 if deep else 8)
        if packed is not None and _has_pixels_of(packed, image):
            return Encoded(packed, "oxipng")
    return Encoded(saved(image, "PNG", compress_level=9 if level else 4), "pillow")


def _with_palette(reduced: Palettized, size: tuple[int, int], level: int) -> Encoded:
    oxipng = _oxipng()
    if oxipng is not None:
        colours = oxipng.ColorType.indexed([list(colour) for colour in reduced.colours])
        packed = _packed(reduced.pixels, size, colours, level)
        if packed is not None:
            return Encoded(packed, "palette")
    image = Image.frombytes("P", size, reduced.pixels)
    image.putpalette(bytes(part for colour in reduced.colours for part in colour[:3]))
    alpha = bytes(colour[3] for colour in reduced.colours)
    return Encoded(saved(image, "PNG", compress_level=9 if level else 4, transparency=alpha), "palette")


def _packed(
    pixels: bytes, size: tuple[int, int], colours: object, level: int, *, depth: int = 8
) -> bytes | None:
    oxipng = _oxipng()
    assert oxipng is not None
    try:
        raw = oxipng.RawImage(bytearray(pixels), *size, color_type=colours, bit_depth=depth)
        return bytes(raw.create_optimized_png(level=level))
    except oxipng.PngError:
        return None


@functools.cache
def _oxipng() -> ModuleType | None:
    try:
        import oxipng
    except ImportError:  # no wheel fits this machine
        return None
    module: ModuleType = oxipng
    return module


def _has_pixels_of(png: bytes, image: Image.Image) -> bool:
    shown = Image.open(io.BytesIO(png), formats=("PNG",))
    return shown.size == image.size and shown.convert(image.mode).tobytes() == image.tobytes()
