from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.jpeg_coefficients import DEAD_ZONE, Huffman, is_available, rewritten
from imagi_pipeline_tests.core.images import jpeg_reference
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    SECRET,
    exif,
    mean_difference,
    noise,
    opened,
    photo,
    saved,
    srgb_profile,
)

MOST_PIXELS = 50_000_000

SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")

KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": "4:2:0"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:4:4": {"subsampling": "4:4:4"},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "RGB": {"keep_rgb": True},
    "optimized": {"optimize": True},
}

IS_BLOCKED = "imagi_pipeline_tests.without_extension" in sys.modules

needs_extension = pytest.mark.skipif(
    not is_available() and (IS_BLOCKED or "CI" not in os.environ),
    reason="the native extension is not installed: make install, with gcc and libjpeg62-turbo-dev",
)
pytestmark = needs_extension


STALE_BUILD = """
import sys, types
name = "imagi_pipeline.core.images._jpeg_coefficients"
sys.modules[name] = types.ModuleType(name)  # of a version that had no INTERFACE yet
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
made = compress(sys.stdin.buffer.read(), CompressionSettings())
print(made.encoder)
from imagi_pipeline.core.images import jpeg_coefficients
print(jpeg_coefficients.is_available(), jpeg_coefficients.WHAT_IS_LOST)
"""


def test_a_build_for_another_version_is_not_used_and_that_is_told() -> None:
    source = saved(photo(), "JPEG", quality=97)

    run = subprocess.run([sys.executable, "-c", STALE_BUILD], input=source, capture_output=True, check=True)

    encoder, told = run.stdout.decode().splitlines()
    assert encoder in {"jpegli", "pillow"}
    assert told.startswith(
        "False The extension for JPEG coefficients was built for another version of imagi_pipeline: "
    )


def lossless(source: bytes, huffman: Huffman = Huffman.FITTED, **options: Any) -> bytes:
    made = rewritten(source, None, huffman, max_pixels=MOST_PIXELS, **options)
    assert made is not None
    assert made.is_lossless
    return made.data


@pytest.mark.parametrize("huffman", Huffman)
@pytest.mark.parametrize("kind", KINDS)
def test_without_coarser_steps_no_pixel_changes(kind: str, huffman: Huffman) -> None:
    source = saved(photo(123, 77), "JPEG", quality=90, **KINDS[kind])

    assert opened(lossless(source, huffman)).tobytes() == opened(source).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 1), (1, 40), (640, 480)])
def test_pictures_of_any_size_keep_their_pixels(size: tuple[int, int], mode: str) -> None:
    source = saved(photo(640, 480).convert(mode).crop((0, 0, *size)), "JPEG", quality=85)

    assert opened(lossless(source)).tobytes() == opened(source).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_coarser_steps_make_it_smaller_and_it_looks_the_same(kind: str) -> None:
    source = saved(photo(), "JPEG", quality=95, **KINDS[kind])

    made = rewritten(source, 75, Huffman.FITTED, max_pixels=MOST_PIXELS)

    assert made is not None
    assert not made.is_lossless
    assert len(made.data) < 0.7 * len(source)
    assert mean_difference(opened(made.data), opened(source)) < 4


def test_levels_are_divided_as_told_and_decoders_show_what_they_mean() -> None:
    source = saved(photo(72, 40).convert("L"), "JPEG", quality=85)

    made = rewritten(source, 70, Huffman.FITTED, max_pixels=MOST_PIXELS)

    assert made is not None
    before, after = jpeg_reference.read(source), jpeg_reference.read(made.data)
    kept = [old == new for old, new in zip(before.steps, after.steps, strict=True)]
    assert 0 < sum(kept) < 64
    for block, result in zip(before.blocks, after.blocks, strict=True):
        for k in range(64):
            exact = abs(block[k]) * before.steps[k] / after.steps[k]
            rounded = exact if kept[k] else exact + (0.5 if k == 0 else DEAD_ZONE)
            # The extension divides in 16 bits: what is next to a whole number may fall on either side.
            assert {math.floor(rounded - 0.03), math.floor(rounded + 0.03)} >= {abs(result[k])}
            assert block[k] * result[k] >= 0
    shown = opened(made.data).tobytes()
    assert max(abs(one - other) for one, other in zip(shown, after.pixels(), strict=True)) <= 1


def test_the_table_fitted_to_a_sample_is_nearly_as_good_as_the_exact_one() -> None:
    progressive = saved(photo(1200, 900), "JPEG", quality=90, progressive=True)
    standard = saved(photo(1200, 900), "JPEG", quality=90)

    fitted, exact = (len(lossless(progressive, huffman)) for huffman in (Huffman.FITTED, Huffman.EXACT))

    assert len(standard) - fitted > 0.8 * (len(standard) - exact) > 0


def restart_markers(**options: Any) -> bytes:
    return saved(photo(), "JPEG", restart_marker_blocks=1, **options)


ORDINARY = {
    **{
        f"{subsampling}": saved(photo(123, 77), "JPEG", subsampling=subsampling)
        for subsampling in SUBSAMPLINGS
    },
    "grey": saved(photo(123, 77).convert("L"), "JPEG"),
    "optimized": saved(photo(), "JPEG", optimize=True, quality=97),
    "quality 1": saved(photo(), "JPEG", quality=1),
    "noise": saved(noise("RGB", 90), "JPEG", quality=100, subsampling="4:4:4"),
    "a pixel": saved(photo(1, 1), "JPEG"),
    "restart markers": restart_markers(),
    "restart markers, 4:4:4": restart_markers(subsampling="4:4:4", quality=98),
    "bytes behind its end": saved(photo(), "JPEG") + b"behind",
}
NOT_ORDINARY = {
    "progressive": saved(photo(), "JPEG", progressive=True),
    "RGB": saved(photo(), "JPEG", keep_rgb=True),
}


@pytest.mark.parametrize("quality", [None, 95, 75, 20])
@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_jpeg_gets_the_coefficients_that_libjpeg_turbo_makes(
    kind: str, quality: int | None
) -> None:
    made = rewritten(ORDINARY[kind], quality, Huffman.FITTED, max_pixels=MOST_PIXELS)
    expected = rewritten(ORDINARY[kind], quality, Huffman.EXACT, max_pixels=MOST_PIXELS)

    assert made is not None
    assert expected is not None
    assert made.source_scan_bytes > 0 == expected.source_scan_bytes
    assert made.is_lossless == expected.is_lossless
    assert lossless(made.data, Huffman.EXACT) == lossless(expected.data, Huffman.EXACT)
    assert len(made.data) <= 1.005 * len(expected.data)  # equally long codes give other bytes to stuff


@pytest.mark.parametrize("kind", NOT_ORDINARY)
def test_a_jpeg_that_is_not_ordinary_is_made_smaller_by_libjpeg_turbo(kind: str) -> None:
    made = rewritten(NOT_ORDINARY[kind], 50, Huffman.FITTED, max_pixels=MOST_PIXELS)

    assert made is not None
    assert made.source_scan_bytes == 0


def test_the_scan_is_counted_without_what_stands_before_and_behind_it() -> None:
    source = saved(photo(), "JPEG")
    begin = source.index(b"\xff\xda") + 2 + 12

    made = rewritten(
        source[:2] + b"\xff\xfe\x03\xe9" + b"x" * 999 + source[2:] + b"tail",
        75,
        Huffman.FITTED,
        max_pixels=10**6,
    )

    assert made is not None
    assert made.source_scan_bytes == len(source) - begin - len(b"\xff\xd9")


def test_symbols_that_no_counted_block_had_can_be_written_all_the_same() -> None:
    smooth = Image.new("RGB", (1600, 1200), "white")
    smooth.paste(noise("RGB", 90), (1000, 1105))
    source = saved(smooth, "JPEG", quality=100)

    assert opened(lossless(source)).tobytes() == opened(source).tobytes()


def test_metadata_goes_and_a_profile_stays_only_when_asked_for() -> None:
    source = saved(photo(), "JPEG", exif=exif(), comment=SECRET, icc_profile=srgb_profile())

    assert SECRET not in lossless(source)
    assert "icc_profile" not in opened(lossless(source)).info
    assert opened(lossless(source, keep_icc=True)).info["icc_profile"] == srgb_profile()


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "4:2:2"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turn_of_whole_blocks_loses_nothing(orientation: int, kind: str) -> None:
    picture = photo(64, 96).convert("L").convert("RGB")  # upsampling of chroma is not symmetric
    source = saved(picture, "JPEG", quality=90, **KINDS[kind])
    turned = Image.Exif()
    turned[0x0112] = orientation
    expected = compress(saved(picture, "PNG", exif=turned), DEFAULT)

    made = opened(lossless(source, orientation=orientation))

    assert made.size == opened(expected.data).size
    assert mean_difference(made, opened(expected.data)) < 3


def test_a_turn_of_blocks_that_are_not_whole_is_left_to_the_decoder() -> None:
    source = saved(photo(100, 75), "JPEG")

    assert rewritten(source, None, Huffman.FITTED, max_pixels=MOST_PIXELS, orientation=3) is None


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xe0", id="the start of one"),
        pytest.param(saved(photo(), "PNG"), id="a PNG"),
        pytest.param(saved(photo(), "JPEG")[:-700], id="cut off"),
        pytest.param(saved(photo().convert("CMYK"), "JPEG"), id="CMYK"),
    ],
)
def test_what_is_no_whole_jpeg_of_a_usual_kind_is_left_to_the_decoder(
    source: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert rewritten(source, 75, Huffman.FITTED, max_pixels=MOST_PIXELS) is None
    assert capfd.readouterr() == ("", "")


def test_more_pixels_than_allowed_are_not_read() -> None:
    source = saved(Image.new("L", (400, 300)), "JPEG")

    assert rewritten(source, 75, Huffman.FITTED, max_pixels=400 * 300 - 1) is None
    assert rewritten(source, 75, Huffman.FITTED, max_pixels=400 * 300) is not None


def test_the_record_tells_that_a_jpeg_took_this_way() -> None:
    assert compress(saved(photo(), "JPEG", quality=97), DEFAULT).encoder == "coefficients"
    assert compress(saved(photo(), "BMP"), DEFAULT).encoder != "coefficients"
