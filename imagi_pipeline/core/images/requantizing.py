"""Compress a JPEG that needs no pixels: its size, its colours and, but for whole blocks, its sides stay."""

from __future__ import annotations

from dataclasses import dataclass

from imagi_pipeline.core.images.colour import is_srgb
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import fitted, orientation_of
from imagi_pipeline.core.images.jpeg_coefficients import Huffman, rewritten
from imagi_pipeline.core.images.opening import SourceImage
from imagi_pipeline.core.images.stripping import strip_metadata

_WORTHWHILE_SIZE = 0.9
_MODES = {"L", "RGB"}
_FIRST_TRANSPOSED_ORIENTATION = 5
# The same for a source and for its compressed image: then compressing that again changes no byte.
_HUFFMAN_OF_SAME = {"fast": Huffman.COUNTED, "balanced": Huffman.COUNTED, "small": Huffman.PROGRESSIVE}
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
    """The JPEG made smaller in its coefficients; None when its pixels must be decoded for what is asked.

    What would not get smaller by a tenth keeps its coefficients and loses only metadata and spare bits.
    """
    if not _needs_no_pixels(source, settings):
        return None
    orientation = orientation_of(source.image)
    coarser = rewritten(
        source.data,
        settings.effective_quality,
        _HUFFMAN[settings.preset],
        max_pixels=settings.max_pixels,
        orientation=orientation,
    )
    if coarser is None:
        return None
    width, height = source.width, source.height
    if orientation >= _FIRST_TRANSPOSED_ORIENTATION:
        width, height = height, width
    stripped = _stripped(source) if orientation == 1 else None
    limit = len(source.data) if stripped is None else len(stripped)
    if not coarser.is_lossless and len(coarser.data) <= _WORTHWHILE_SIZE * limit:
        return Requantized(coarser.data, width, height, is_source=False, is_rewritten=True)
    same = rewritten(
        source.data,
        None,
        _HUFFMAN_OF_SAME[settings.preset],
        max_pixels=settings.max_pixels,
        orientation=orientation,
    )
    if same is None:
        return None
    if stripped is not None and len(stripped) <= len(same.data):
        return Requantized(stripped, width, height, is_source=True, is_rewritten=False)
    return Requantized(same.data, width, height, is_source=orientation == 1, is_rewritten=True)


def _needs_no_pixels(source: SourceImage, settings: CompressionSettings) -> bool:
    size = (source.width, source.height)
    return (
        source.format == "JPEG"
        and settings.output_format in {"same", "jpeg"}
        and fitted(size, settings.longest_side) == size
        and source.image.mode in _MODES
        and is_srgb(source.image.mode, source.image.info.get("icc_profile"))
    )


def _stripped(source: SourceImage) -> bytes | None:
    try:
        return strip_metadata(source.data, source.format)
    except ValueError:
        return None  # bytes that cannot be followed may hide metadata
