from __future__ import annotations

import os
import sys

import pytest
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.jpeg_coefficients import is_available
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    SECRET,
    exif,
    opened,
    photo,
    profile_with_red_and_blue_swapped,
    saved,
)

LOSSLESS = CompressionSettings("lossless")

needs_extension = pytest.mark.skipif(
    not is_available()
    and ("imagi_pipeline_tests.without_extension" in sys.modules or "CI" not in os.environ),
    reason="the native extension is not installed: make install, with gcc and libjpeg62-turbo-dev",
)


def orientation(number: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = number
    return made


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
def test_lossless_changes_no_pixel(image_format: str) -> None:
    picture = photo().quantize(64) if image_format == "GIF" else photo()
    source = saved(picture, image_format)

    image = compress(source, LOSSLESS)

    assert image.format == ("PNG" if image_format == "GIF" else image_format)
    assert opened(image.data).convert("RGB").tobytes() == opened(source).convert("RGB").tobytes()
    assert len(image.data) <= len(source)


@pytest.mark.parametrize("image_format", ["BMP", "TIFF", "PPM"])
def test_lossless_makes_a_png_of_what_browsers_do_not_show(image_format: str) -> None:
    image = compress(saved(photo(), image_format), LOSSLESS)

    assert image.format == "PNG"
    assert opened(image.data).convert("RGB").tobytes() == photo().tobytes()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_lossless_keeps_colours_and_the_profile_that_they_are_in(image_format: str) -> None:
    profile = profile_with_red_and_blue_swapped()
    source = saved(photo(), image_format, icc_profile=profile, exif=exif())

    image = compress(source, LOSSLESS)

    assert opened(image.data).info["icc_profile"] == profile
    assert opened(image.data).tobytes() == opened(source).tobytes()
    assert SECRET not in image.data


def test_colours_that_are_not_srgb_are_converted_otherwise() -> None:
    source = saved(photo(), "JPEG", quality=95, icc_profile=profile_with_red_and_blue_swapped())

    image = compress(source, DEFAULT)

    assert image.encoder not in {"coefficients", "kept"}
    assert "icc_profile" not in opened(image.data).info


@needs_extension
def test_lossless_makes_a_jpeg_smaller() -> None:
    source = saved(photo(640, 480), "JPEG", quality=90)

    image = compress(source, LOSSLESS)

    assert image.encoder == "coefficients"
    assert image.kept_source
    assert len(image.data) < 0.98 * len(source)


@needs_extension
@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 8])
def test_a_turn_of_whole_blocks_needs_no_pixels(number: int) -> None:
    source = saved(photo(160, 128), "JPEG", quality=97, exif=orientation(number))

    image = compress(source, DEFAULT)

    assert image.encoder == "coefficients"
    assert not image.kept_source
    assert opened(image.data).size == (image.width, image.height)
    assert (image.width, image.height) == ((160, 128) if number < 5 else (128, 160))
    assert (image.source_width, image.source_height) == (160, 128)


@needs_extension
def test_a_turn_of_blocks_that_are_not_whole_is_drawn_again() -> None:
    source = saved(photo(150, 100), "JPEG", quality=97, exif=orientation(3))

    assert compress(source, DEFAULT).encoder == "jpegli"


@needs_extension
@pytest.mark.parametrize(
    "settings",
    [CompressionSettings(longest_side=100), CompressionSettings(output_format="webp")],
    ids=["another size", "another format"],
)
def test_another_size_or_format_is_drawn_again(settings: CompressionSettings) -> None:
    assert compress(saved(photo(), "JPEG", quality=97), settings).encoder != "coefficients"


@needs_extension
def test_a_source_coarser_than_asked_for_keeps_its_coefficients() -> None:
    source = saved(photo(), "JPEG", quality=50)

    image = compress(source, CompressionSettings(quality=85))

    assert image.kept_source
    assert opened(image.data).tobytes() == opened(source).tobytes()
