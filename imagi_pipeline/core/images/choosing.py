"""Choose the format of a compressed image, and whether the bytes of its source will do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from PIL import Image

from imagi_pipeline.core.images.colour_tags import told_colour
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import Picture
from imagi_pipeline.core.images.opening import SourceImage
from imagi_pipeline.core.images.stripping import png_chunks, strip_metadata

WEB_FORMATS = {
    "JPEG": ("image/jpeg", ".jpg"),
    "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "AVIF": ("image/avif", ".avif"),
}
"""Media type and file suffix of what browsers show, by Pillow's name of the format."""

_HOLDING_DRAWINGS = {"PNG", "TIFF", "BMP", "PPM", "PCX", "ICO", "TGA", "PSD"}
"""Formats without loss: a picture in one may be a photograph or a drawing."""
_LARGE_IMAGE = 2_000_000
"""Pixels above which no PNG is tried beside a JPEG: it takes seconds."""
_LOSSY_COUNTS = 2
"""A byte of a JPEG or WebP counts as so many of a PNG. Of 54 pictures (benchmarks/README.md) photographs and
products took 0.07 to 0.40 of the bytes of their PNG as JPEG, graphics and text 1.6 and more."""

_LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}


def output_formats_of(
    source: SourceImage, image: Image.Image, settings: CompressionSettings
) -> tuple[str, ...]:
    """Return the format asked for, or the next best one that browsers show and that holds the picture.

    Return several if the picture itself has to decide; then `best_format` chooses.
    """
    transparent = image.mode in {"LA", "RGBA"}
    # Lossy compression blurs the scans and line drawings that come in black and white.
    lossless = transparent or source.image.mode == "1" or settings.is_lossless
    lossless = lossless or (settings.png == "lossless" and source.format == "PNG")
    lossy = ("JPEG", "WEBP") if settings.output_format == "auto-webp" else ("JPEG",)
    large = image.width * image.height > _LARGE_IMAGE
    by_content = source.format in _HOLDING_DRAWINGS and not lossless and image.mode != "I;16"
    wanted: tuple[str, ...] = (source.format,)
    if not settings.chooses_format:
        wanted = (settings.output_format.upper(),)
    elif source.format not in WEB_FORMATS:
        wanted = ("PNG",) if lossless else (*lossy, "PNG") if by_content and not large else lossy
    elif source.format == "GIF":
        wanted = ("PNG",)  # of the same pixels, and smaller
    elif by_content and settings.output_format != "same":
        wanted = (*lossy, "PNG")
    return tuple(dict.fromkeys(_holding(each, image, transparent) for each in wanted))


def _holding(wanted: str, image: Image.Image, transparent: bool) -> str:
    """Return the wanted format, or one for browsers that can hold an image with sides as long as these."""
    longest = max(image.size)
    for image_format in (wanted, "PNG" if transparent else "JPEG"):
        if longest <= _LONGEST_SIDES.get(image_format, longest):
            return image_format
    return "PNG"


def best_format(sizes: Mapping[str, int]) -> str:
    """Return, of files of the same quality, the one with the fewest bytes; a lossy one only if it saves much.

    What lies in between stays PNG: JPEG and WebP cannot keep what a quality promises for text and edges.
    """
    return min(sizes, key=lambda name: sizes[name] * (1 if name == "PNG" else _LOSSY_COUNTS))


def loses_by_reencoding(source: SourceImage) -> bool:
    """Return whether a file holds what new 8-bit sRGB pixels lose: 16 bits a channel, colours, or holes.

    It is lost nevertheless when the pixels must change for another reason.
    """
    if told_colour(source) is not None:
        return True
    if source.format == "GIF":
        # Browsers show nothing where a first frame does not reach; Pillow shows a colour there.
        return getattr(source.image, "dispose_extent", None) != (0, 0, source.width, source.height)
    if source.format != "PNG":
        return False
    chunks = dict(_png_header(source.data))
    is_deep = chunks[b"IHDR"][16] == 16
    info = source.image.info
    return is_deep and (source.image.mode != "I;16" or bool({"icc_profile", "transparency"} & info.keys()))


def _png_header(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    return itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", png_chunks(data))


def showable_source(
    source: SourceImage, picture: Picture, settings: CompressionSettings, *, keep_recoloured: bool
) -> bytes | None:
    """Return the source without metadata; None if that is not the picture that was asked for."""
    wanted = settings.chooses_format or settings.output_format.upper() == source.format
    if source.format not in WEB_FORMATS or not wanted or picture.reshaped:
        return None
    if picture.recoloured and not keep_recoloured:
        return None
    try:
        return strip_metadata(source.data, source.format, keep_icc=picture.recoloured)
    except ValueError:
        return None  # bytes that cannot be followed may hide metadata
