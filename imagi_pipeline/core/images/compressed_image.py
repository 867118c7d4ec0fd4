"""A compressed image and its facts; no codec is loaded for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Encoded(NamedTuple):
    """The bytes of an image file and the encoder that wrote them, as in `CompressedImage`."""

    data: bytes
    encoder: str


@dataclass(frozen=True)
class CompressedImage:
    """A compressed image and its facts.

    `format` and `source_format` are Pillow's names; sides are in pixels, those of the source before its EXIF
    orientation was applied. `kept_source`: the pixels are the source's own, only metadata was removed.
    `encoder` tells which way made the bytes: coefficients (a JPEG that never became pixels), jpegli, oxipng
    (a PNG of the very same pixels), palette (a PNG whose colours were reduced to 256), pillow, or kept (the
    source's own bytes). `note` tells what was wrong with a source that could be compressed nevertheless; it
    is empty for most.
    """

    data: bytes
    format: str
    media_type: str
    suffix: str
    width: int
    height: int
    source_format: str
    source_width: int
    source_height: int
    kept_source: bool
    encoder: str
    note: str = ""
