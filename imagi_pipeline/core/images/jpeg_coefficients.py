"""Make JPEGs smaller in their coefficients, by the native extension, where that is installed.

Entropy decoding, coarser quantization steps and entropy coding cost half of what decoding to pixels and
encoding them costs, and lose less. `rewritten` gives None wherever pixels have to decide: the caller then
continues as if there were no extension.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum

from imagi_pipeline.core.images.jpeg_quality import steps_of

try:
    from imagi_pipeline.core.images import _jpeg_coefficients as _installed
except ImportError:  # there was no compiler or no libjpeg-turbo when the package was installed
    _installed = None  # type: ignore[assignment]

_INTERFACE = 3
"""What this module expects the extension to understand; `INTERFACE` in its source is the same number."""
_native = _installed if getattr(_installed, "INTERFACE", None) == _INTERFACE else None

HOW_TO_GET_IT = (
    "Install a C compiler and libjpeg-turbo with its headers (Debian: apt-get install gcc libc6-dev "
    "libjpeg62-turbo-dev; macOS: brew install jpeg-turbo), then install imagi_pipeline again."
)
_STATE = "is not installed" if _installed is None else "was built for another version of imagi_pipeline"
WHAT_IS_LOST = (
    f"The extension for JPEG coefficients {_STATE}: "
    "every JPEG is decoded, which costs more time and more bytes."
)

DEAD_ZONE = 0.35
"""What is added before a level is cut off. Half a step would round to the nearest; less makes more zeros, and
saves more bytes than quality (measured in benchmarks/README.md)."""

LEAST_RATIO = 1.5
"""A step that would become less than so many times the source's step stays: to quantize twice with similar
steps loses quality and saves little."""

_BYTES_PER_PIXEL = 12
"""Bytes of memory: two for each coefficient of three components, and twice that for a turned picture."""
_SMALLEST_LIMIT = 1 << 20


class Huffman(IntEnum):
    """How codes are given to symbols.

    FITTED: to all symbols of an ordinary JPEG; of others, for which libjpeg-turbo does the work, to those of
    a sample of the blocks, which has 0.94 of the gain for a fifth of the time. EXACT: to all symbols by
    libjpeg-turbo, whatever the file, for comparison. PROGRESSIVE: several scans, each fitted.
    """

    FITTED = 0
    EXACT = 1
    PROGRESSIVE = 2


@dataclass(frozen=True)
class Rewritten:
    """A JPEG made of the coefficients of another; with `is_lossless`, they are the very same ones.

    `source_scan_bytes` is how much of the source is picture; 0 where it was not counted.
    """

    data: bytes
    is_lossless: bool
    source_scan_bytes: int


def is_available() -> bool:
    """Return whether the native extension is installed, in the version that fits."""
    return _native is not None


def rewritten(
    source: bytes,
    quality: int | None,
    huffman: Huffman,
    *,
    max_pixels: int,
    orientation: int = 1,
    keep_icc: bool = False,
) -> Rewritten | None:
    """Return the JPEG with the steps of a quality (1 to 100), or with its own if that is None; without
    metadata.

    `orientation` is the EXIF orientation to undo, which works where whole blocks change places. None: the
    extension is not there, or leaves this file to the decoder, because it is damaged, too large or of an
    unusual kind.
    """
    if _native is None:
        return None
    steps = None if quality is None else steps_of(quality)
    memory = max(_BYTES_PER_PIXEL * max_pixels, _SMALLEST_LIMIT)
    try:
        data, coarser_steps, scan_bytes = _native.rewrite(
            source, steps, DEAD_ZONE, LEAST_RATIO, huffman, orientation, keep_icc, max_pixels, memory
        )
    except _native.Refused:
        return None
    return Rewritten(data, coarser_steps == 0, scan_bytes)


if __name__ == "__main__" and not is_available():
    sys.stdout.write(f"{WHAT_IS_LOST} {HOW_TO_GET_IT}\n")
