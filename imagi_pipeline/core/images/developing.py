"""Decode an image into the pixels to show: upright, in sRGB, no larger than asked for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import cast

from PIL import Image

from imagi_pipeline.core.images.colour import in_srgb
from imagi_pipeline.core.images.colour_tags import to_srgb, told_colour
from imagi_pipeline.core.images.opening import SourceImage

_ORIENTATION_TAG = 0x0112
# Pillow takes an orientation from there when EXIF has none; browsers do not.
_NO_ORIENTATION_FOR_BROWSERS = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1")
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """Pixels to show (mode L, LA, RGB, RGBA or I;16) and what had to be done to get them."""

    image: Image.Image
    reshaped: bool
    recoloured: bool


def develop(source: SourceImage, longest_side: int | None) -> Picture:
    """Decode, convert to sRGB, scale down and turn upright."""
    image: Image.Image = source.image
    size = fitted((source.width, source.height), longest_side)
    reshaped = size != (source.width, source.height)
    if reshaped:
        # Decode at a fraction of the size if the format can, with pixels to spare for a sharp result.
        source.image.draft(None, (2 * size[0], 2 * size[1]))
    image.load()
    transposition = _TRANSPOSITIONS.get(orientation_of(source.image))
    profile = image.info.get("icc_profile")

    _correct_transparent_grey(source)
    told = told_colour(source)
    plain = _in_plain_mode(image)
    recoloured = in_srgb(plain, profile)
    if told is not None:
        recoloured = to_srgb(in_8_bits(plain) if plain.mode == "I;16" else plain, told)
    image = _without_opaque_alpha(recoloured)
    if reshaped:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if transposition is not None:
        image = image.transpose(transposition)
    image.info = {}  # Pillow writes comments and profiles that it finds there
    return Picture(image, reshaped or transposition is not None, recoloured is not plain)


def _correct_transparent_grey(source: SourceImage) -> None:
    """Spread the transparent grey of a PNG of 2 or 4 bits to 8 bits: Pillow only spreads the other greys."""
    info = source.image.info
    if source.format == "PNG" and source.image.mode == "L" and isinstance(info.get("transparency"), int):
        bits = source.data[24]  # of IHDR, which is always first
        if bits in {2, 4}:
            info["transparency"] = info["transparency"] * 255 // (2**bits - 1) & 255


def fitted(size: tuple[int, int], longest_side: int | None) -> tuple[int, int]:
    """Return the size scaled down so that no side is longer than `longest_side`."""
    longest = max(size)
    if longest_side is None or longest <= longest_side:
        return size
    width, height = (max(1, round(side * longest_side / longest)) for side in size)
    return width, height


def orientation_of(image: Image.Image) -> int:
    """Return how the pixels lie, from EXIF: 1 (upright) to 8."""
    for name in _NO_ORIENTATION_FOR_BROWSERS:
        image.info.pop(name, None)
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1  # a picture with damaged EXIF can still be shown
    return orientation if orientation in _TRANSPOSITIONS else 1


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """Return the image in mode L, LA, RGB, RGBA or I;16; in CMYK or LAB if it needs colour management."""
    transparent = image.has_transparency_data
    if image.mode in {"CMYK", "LAB"}:
        return image
    if image.mode == "I;16" and "icc_profile" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return in_8_bits(image)
    if image.mode in {"1", "L", "LA", "La"}:
        mode = "LA" if transparent else "L"
    else:
        mode = "RGBA" if transparent else "RGB"
    return image if image.mode == mode else image.convert(mode)


def in_8_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of more than 8 bits in mode L; levels without a natural range fill all of it."""
    low, high = cast("tuple[float, float]", image.getextrema())
    if image.mode.startswith("I") and low >= 0 and high <= 0xFFFF:
        low, high = 0, 0xFFFF
    scale = 255 / (high - low) if high > low else 0.0
    wide = image.convert("I") if image.mode.startswith("I;") else image
    return wide.convert("F").point(lambda level: level * scale + (0.5 - low * scale)).convert("L")


def _without_opaque_alpha(image: Image.Image) -> Image.Image:
    if image.mode in {"LA", "RGBA"} and image.getextrema()[-1] == (255, 255):
        return image.convert(image.mode[:-1])
    return image
