"""Encode pixels without loss in the fewest bits: PNG by oxipng, and GIF."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import cast

from PIL import Image

from imagi_pipeline.core.images.compressed_image import Encoded
from imagi_pipeline.core.images.saving import saved

# oxipng starts as many threads as there are cores; here each core has a codec process already.
os.environ.setdefault("RAYON_NUM_THREADS", "1")

_LEVELS = {"fast": 0, "balanced": 1, "small": 2, "lossless": 2}
_MORE_FOR_SMALL_IMAGES = 1
_SMALL_IMAGE = 64 * 64
"""Pixels up to which one level more costs next to nothing."""
_LARGE_IMAGE = 8_000_000
"""Pixels above which only the lowest level fits into the time that an image may take."""


def encode_png(image: Image.Image, preset: str) -> Encoded:
    """Return PNG of exactly these pixels (mode L, LA, RGB, RGBA or I;16).

    oxipng sees pixels only, never a file of someone else.
    """
    packed = _packed(image, _level(image, preset))
    if packed is not None and _has_pixels_of(packed, image):
        return Encoded(packed, "oxipng")
    return Encoded(saved(image, "PNG", compress_level=4 if preset == "fast" else 9), "pillow")


def _level(image: Image.Image, preset: str) -> int:
    pixels = image.width * image.height
    if pixels > _LARGE_IMAGE:
        return 0
    return _LEVELS[preset] + (_MORE_FOR_SMALL_IMAGES if pixels <= _SMALL_IMAGE else 0)


def _packed(image: Image.Image, level: int) -> bytes | None:
    try:
        import oxipng
    except ImportError:  # no wheel fits this machine
        return None

    kinds = {
        "L": oxipng.ColorType.grayscale,
        "LA": oxipng.ColorType.grayscale_alpha,
        "RGB": oxipng.ColorType.rgb,
        "RGBA": oxipng.ColorType.rgba,
        "I;16": oxipng.ColorType.grayscale,
    }
    deep = image.mode == "I;16"
    pixels = image.tobytes("raw", "I;16B") if deep else image.tobytes()
    try:
        raw = oxipng.RawImage(
            bytearray(pixels),
            image.width,
            image.height,
            color_type=kinds[image.mode](),
            bit_depth=16 if deep else 8,
        )
        return bytes(raw.create_optimized_png(level=level))
    except oxipng.PngError:
        return None


def _has_pixels_of(png: bytes, image: Image.Image) -> bool:
    shown = Image.open(io.BytesIO(png), formats=("PNG",))
    return shown.size == image.size and shown.convert(image.mode).tobytes() == image.tobytes()


def encode_gif(image: Image.Image) -> bytes:
    """Return a GIF of an image that has at most 256 colours."""
    packed = cast("Indexed", indexed(image))
    if packed.alpha:
        return saved(packed.image, "GIF", transparency=0)
    return saved(packed.image, "GIF")


@dataclass(frozen=True)
class Indexed:
    """An image with a palette whose first colours have these alpha values; the others are opaque."""

    image: Image.Image
    alpha: bytes


def indexed(image: Image.Image) -> Indexed | None:
    """Return the same pixels with a palette of at most 256 colours, if they have no more."""
    if image.mode == "I;16" or image.getcolors(256) is None:
        return None
    image = image.convert("RGBA")
    counted = cast("list[tuple[int, tuple[int, int, int, int]]]", image.getcolors(256))
    colours = sorted((colour for _, colour in counted), key=lambda colour: (colour[3], colour))
    index_of = {int.from_bytes(colour, sys.byteorder): index for index, colour in enumerate(colours)}
    # Image.quantize guesses; one look-up for each pixel does not.
    pixels = memoryview(image.tobytes()).cast("I")
    indexed = Image.frombytes("P", image.size, bytes(map(index_of.__getitem__, pixels)))
    indexed.putpalette(bytes(level for colour in colours for level in colour[:3]))
    return Indexed(indexed, bytes(colour[3] for colour in colours).rstrip(b"\xff"))
