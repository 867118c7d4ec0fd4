"""Complete image files that every browser shows but that lack or hold something that no pixel needs.

It is asked only after decoding failed, so that a whole file costs nothing. A file that ends in the middle of
its pixels stays damaged.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFile

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.opening import failing_as
from imagi_pipeline.core.images.stripping import (
    PNG_CHUNKS_KEPT,
    PNG_SIGNATURE,
    end_of_gif_block,
    gif_blocks_start,
    jpeg_segments,
)

_JPEG_END = b"\xff\xd9"
_FRAMES_OF_ONE_SCAN = {0xC0, 0xC1, 0xC2}
_COEFFICIENTS = 64
# No encoder would write these bits there, so what they change was not in the file.
_NOISE = bytes(byte % 0xFF for byte in random.Random(1).randbytes(256))  # noqa: S311 - no secret
_PNG_CHUNKS_READ = PNG_CHUNKS_KEPT | {b"iCCP", b"eXIf"}
_PNG_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True)
class RepairedFile:
    """A file as a browser reads it, and what was the matter with it."""

    data: bytes
    note: str


def repaired(data: bytes) -> RepairedFile | None:
    """Return the JPEG, PNG or GIF without its fault; None if this module does not repair that fault."""
    try:
        with failing_as(ErrorCode.CORRUPT_IMAGE, "It cannot be repaired."):
            return _repaired(data)
    except CodecError:
        return None


def _repaired(data: bytes) -> RepairedFile | None:
    if data.startswith(b"\xff\xd8\xff"):
        return _ended_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return _png_without_ancillary_faults(data)
    return _ended_gif(data) if data.startswith(b"GIF8") else None


def _ended_jpeg(data: bytes) -> RepairedFile | None:
    body = data.rstrip(b"\0").removesuffix(b"\xff")
    if not _has_all_scans(body):
        return None
    shown = _decoded(body + _JPEG_END)
    # Where entropy-coded bits are missing, it matters which bits follow.
    if ImageChops.difference(shown, _decoded(body + _NOISE + _JPEG_END)).getbbox() is not None:
        return None
    return RepairedFile(body + _JPEG_END, "The JPEG file lacked its end marker; its pixels were complete.")


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image.convert("CMYK") if image.mode == "CMYK" else image.convert("RGB")


def _has_all_scans(data: bytes) -> bool:
    """Return whether the scans of a JPEG bring every coefficient of every component in full precision."""
    missing: dict[int, set[int]] = {}
    for marker, segment in jpeg_segments(data):
        if marker in _FRAMES_OF_ONE_SCAN:
            missing = {segment[8 + 3 * number]: set(range(_COEFFICIENTS)) for number in range(segment[7])}
        elif marker == 0xDA:
            count = segment[2]
            first, last, precision = segment[3 + 2 * count : 6 + 2 * count]
            if precision & 15:
                continue
            for number in range(count):
                missing[segment[3 + 2 * number]] -= set(range(first, last + 1))
    return bool(missing) and not any(missing.values())


def _png_without_ancillary_faults(data: bytes) -> RepairedFile | None:
    kept = [PNG_SIGNATURE]
    dropped: list[str] = []
    damaged: list[str] = []
    position, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND" and position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return None
        whole = zlib.crc32(data[position + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if not whole and (kind in _PNG_ANIMATION or not kind[0] & 0x20):
            return None
        if whole and (kind in _PNG_CHUNKS_READ or not kind[0] & 0x20):
            kept.append(data[position:end])
        else:
            (dropped if whole else damaged).append(kind.decode("latin-1"))
        position = end
    if kind != b"IEND":
        kept.append(_PNG_END)
    if not (dropped or damaged or kind != b"IEND"):
        return None
    left_out = ", ".join(sorted(set(damaged or dropped)))
    note = f"PNG chunks that no pixel needs were damaged or too large and were left out: {left_out}."
    return RepairedFile(b"".join(kept), note if left_out else "The PNG file lacked its end.")


def _ended_gif(data: bytes) -> RepairedFile | None:
    """Return the GIF up to the first byte that begins no block: there browsers take it to end."""
    start = position = gif_blocks_start(data)
    try:
        while data[position] != 0x3B:
            position = end_of_gif_block(data, position)
    except ValueError:
        pass  # no block: what follows is not looked at
    except IndexError:
        if position != len(data):
            raise
    if position == start:
        return None
    whole = data[:position] + b";"
    _load_all_frames(whole)
    return RepairedFile(whole, "The GIF file lacked its trailer, or had other bytes before it.")


def _load_all_frames(data: bytes) -> None:
    image: ImageFile.ImageFile = Image.open(io.BytesIO(data), formats=("GIF",))
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        image.load()
