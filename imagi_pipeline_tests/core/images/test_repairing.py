from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.compress import compress, thumbnail
from imagi_pipeline.core.images.repairing import repaired
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    corners,
    mean_difference,
    opened,
    photo,
    png_chunk,
    refusal,
    saved,
)


def animation() -> bytes:
    return saved(corners(), "GIF", save_all=True, append_images=[corners().rotate(180)], duration=80)


def broken(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


def with_chunk(chunk: bytes) -> bytes:
    source = saved(photo(), "PNG")
    return source[:33] + chunk + source[33:]


@pytest.mark.parametrize("tail", [b"", b"\xff"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_a_jpeg_without_its_end_marker_is_done_with_a_note(options: dict[str, Any], tail: bytes) -> None:
    whole = saved(photo(), "JPEG", quality=95, **options)

    image = compress(whole[:-2] + tail, DEFAULT)

    assert "end marker" in image.note
    assert mean_difference(opened(image.data), opened(whole)) < 3
    assert opened(thumbnail(whole[:-2], 20)).size == (20, 15)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("missing", [0.01, 0.1, 0.5, 0.9])
def test_a_jpeg_cut_within_its_pixels_is_still_refused(options: dict[str, Any], missing: float) -> None:
    whole = saved(photo(), "JPEG", quality=95, **options)

    assert refusal(whole[: round(len(whole) * (1 - missing))]).kind is ErrorCode.CORRUPT_IMAGE


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused() -> None:
    whole = saved(photo(), "JPEG", quality=95, progressive=True)
    last_scan = whole.rindex(b"\xff\xda")
    last_tables = whole.rindex(b"\xff\xc4", 0, last_scan)

    assert refusal(whole[: min(last_scan, last_tables)]).kind is ErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("end", [b"", b"\0\0;", b"any other bytes"])
def test_an_animated_gif_without_a_proper_end_is_done_with_a_note(end: bytes) -> None:
    image = compress(animation()[:-1] + end, DEFAULT)

    assert "trailer" in image.note
    assert image.data == compress(animation(), DEFAULT).data
    assert opened(image.data).n_frames == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", [2, 9, 40])
def test_an_animated_gif_cut_within_a_frame_is_refused(missing: int) -> None:
    assert refusal(animation()[:-missing]).kind is ErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("kind", [b"pHYs", b"tEXt", b"tIME", b"gAMA", b"prVt"])
def test_a_png_with_a_damaged_chunk_that_no_pixel_needs_is_done_with_a_note(kind: bytes) -> None:
    image = compress(with_chunk(broken(png_chunk(kind, b"Comment\0x"))), DEFAULT)

    assert kind.decode() in image.note
    assert opened(image.data).tobytes() == photo().tobytes()


def test_a_png_with_more_text_than_pillow_takes_is_done() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", " " * 5_000_000, zip=True)

    image = compress(saved(photo(), "PNG", pnginfo=text), DEFAULT)

    assert "iTXt" in image.note
    assert opened(image.data).tobytes() == photo().tobytes()


def test_a_png_whose_pixels_are_damaged_is_refused() -> None:
    source = saved(photo(), "PNG")
    place = source.index(b"IDAT") + 40

    damaged = source[:place] + bytes((source[place] ^ 255,)) + source[place + 1 :]

    assert refusal(damaged).kind is ErrorCode.CORRUPT_IMAGE


def test_a_png_animation_with_a_damaged_frame_is_refused() -> None:
    source = saved(corners(), "PNG", save_all=True, append_images=[photo(96, 64)])
    place = source.rindex(b"fdAT") + 20
    damaged = bytearray(source)
    damaged[place] ^= 255

    assert repaired(bytes(damaged)) is None


def test_a_whole_image_has_no_note_and_nothing_is_repaired() -> None:
    for image_format in ("JPEG", "PNG", "WEBP", "AVIF"):
        assert compress(saved(photo(), image_format), DEFAULT).note == ""
    assert repaired(saved(photo(), "PNG")) is None


def test_pixels_are_claimed_once_for_a_repaired_image() -> None:
    claims: list[int] = []

    compress(saved(photo(), "JPEG")[:-2], DEFAULT, claims.append)

    assert claims == [160 * 120]


def test_an_arithmetic_coded_jpeg_is_never_kept_as_it_is() -> None:
    # Its header alone is enough to tell: browsers do not show the coding.
    source = saved(Image.new("L", (8, 8)), "JPEG").replace(b"\xff\xc0", b"\xff\xc9")

    try:
        image = compress(source, DEFAULT)
    except CodecError:
        return
    assert b"\xff\xc9" not in image.data


def test_bytes_of_an_unfinished_chunk_are_no_chunk() -> None:
    cut = saved(photo(), "PNG")[:33] + struct.pack(">I4s", 1000, b"tEXt") + zlib.compress(b"x")

    assert repaired(cut) is None
