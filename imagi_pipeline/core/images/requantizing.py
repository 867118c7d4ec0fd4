"""Compress a JPEG without decoding its pixels: its size and colours stay, and it turns by whole blocks."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from imagi_pipeline.core.images.colour import is_srgb
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import fitted, orientation_of
from imagi_pipeline.core.images.jpeg_coefficients import Huffman, is_available, rewritten
from imagi_pipeline.core.images.opening import SourceImage
from imagi_pipeline.core.images.stripping import strip_metadata

_WORTHWHILE_SIZE = 0.9
_MODES = {"L", "RGB"}
_FIRST_TRANSPOSED_ORIENTATION = 5
# This is the same for a source and for its compressed image, so compressing that again changes no byte.
_HUFFMAN_OF_SAME = {
    "fast": Huffman.COUNTED,
    "balanced": Huffman.COUNTED,
    "small": Huffman.PROGRESSIVE,
    "lossless": Huffman.COUNTED,
}
_HUFFMAN = {"fast": Huffman.STANDARD, "balanced": Huffman.COUNTED, "small": Huffman.PROGRESSIVE}


@dataclass(frozen=True)
class Requantized:
    """A JPEG upright and without metadata; `is_source`: with the pixels of its source, as they were.

    `is_rewritten` is false for the source's own bytes without its metadata.
    """

    data: bytes
    width: int
    height: int
    is_source: bool
    is_rewritten: bool


def requantized(source: SourceImage, settings: CompressionSettings) -> Requantized | None:
    """Return the JPEG made smaller in its coefficients; None when its pixels must be decoded for what is
    asked.

    What would not get smaller by a tenth keeps its coefficients and loses only metadata and spare bits, as
    everything does with preset lossless.
    """
    if not _needs_no_pixels(source, settings):
        return None
    orientation = orientation_of(source.image)
    # Colours that are not sRGB come here only with a lossless preset; they need their profile.
    keep_icc = not _is_srgb(source)
    rewrite = functools.partial(
        rewritten, source.data, max_pixels=settings.max_pixels, orientation=orientation, keep_icc=keep_icc
    )
    stripped = _stripped(source, keep_icc=keep_icc) if orientation == 1 else None
    if not settings.is_lossless:
        coarser = rewrite(settings.effective_quality, _HUFFMAN[settings.preset])
        if coarser is None:
            return None
        limit = _WORTHWHILE_SIZE * len(source.data if stripped is None else stripped)
        if not coarser.is_lossless and len(coarser.data) <= limit:
            return _result(source, coarser.data, orientation, is_source=False, is_rewritten=True)
    same = rewrite(None, _HUFFMAN_OF_SAME[settings.preset])
    if same is None:
        return None
    if stripped is not None and len(stripped) <= len(same.data):
        return _result(source, stripped, orientation, is_source=True, is_rewritten=False)
    return _result(source, same.data, orientation, is_source=orientation == 1, is_rewritten=True)


def refused_as_damaged(source: SourceImage) -> bool:
    """Return whether the extension, being there, finds faults in a JPEG of a kind that it takes."""
    if source.format != "JPEG" or source.image.mode not in _MODES or not is_available():
        return False
    return rewritten(source.data, None, Huffman.STANDARD, max_pixels=source.width * source.height) is None


def _result(
    source: SourceImage, data: bytes, orientation: int, *, is_source: bool, is_rewritten: bool
) -> Requantized:
    width, height = source.width, source.height
    if orientation >= _FIRST_TRANSPOSED_ORIENTATION:
        width, height = height, width
    return Requantized(data, width, height, is_source, is_rewritten)


def _needs_no_pixels(source: SourceImage, settings: CompressionSettings) -> bool:
    size = (source.width, source.height)
    return (
        source.format == "JPEG"
        and settings.output_format in {"same", "auto", "jpeg"}
        and fitted(size, settings.longest_side) == size
        and source.image.mode in _MODES
        and (settings.is_lossless or _is_srgb(source))
    )


def _is_srgb(source: SourceImage) -> bool:
    return is_srgb(source.image.mode, source.image.info.get("icc_profile"))


def _stripped(source: SourceImage, *, keep_icc: bool) -> bytes | None:
    try:
        return strip_metadata(source.data, source.format, keep_icc=keep_icc)
    except ValueError:
        return None  # bytes that cannot be followed may hide metadata
