from __future__ import annotations

import struct
from typing import Any

import pytest
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.core.images.pictures import (
    BLUE,
    DEFAULT,
    GREEN,
    RED,
    SECRET,
    YELLOW,
    close,
    corner_colours,
    corners,
    exif,
    is_red,
    opened,
    photo,
    pixel,
    png_chunk,
    saved,
    srgb_profile,
)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, YELLOW]),
        (2, [GREEN, RED, YELLOW, BLUE]),
        (3, [YELLOW, BLUE, GREEN, RED]),
        (4, [BLUE, YELLOW, RED, GREEN]),
        (5, [RED, BLUE, GREEN, YELLOW]),
        (6, [BLUE, RED, YELLOW, GREEN]),
        (7, [YELLOW, GREEN, BLUE, RED]),
        (8, [GREEN, YELLOW, RED, BLUE]),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(
    image_format: str, orientation: int, expected: list[tuple[int, int, int]]
) -> None:
    image = compress(saved(corners(), image_format, exif=exif(orientation)), DEFAULT)

    shown = opened(image.data)
    assert (image.width, image.height) == shown.size == ((64, 96) if orientation >= 5 else (96, 64))
    assert all(map(close, corner_colours(shown), expected))
    assert shown.getexif().get(0x0112, 1) == 1


def test_an_image_is_scaled_to_the_longest_side_after_it_was_turned() -> None:
    source = saved(photo(160, 120), "JPEG", exif=exif(6))

    image = compress(source, CompressionSettings(longest_side=40))

    assert (image.width, image.height) == opened(image.data).size == (30, 40)
    assert (image.source_width, image.source_height) == (160, 120)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_scaling_keeps_the_picture(image_format: str) -> None:
    source = saved(corners(800, 600), image_format)

    shown = opened(compress(source, CompressionSettings(longest_side=100)).data)

    assert shown.size == (100, 75)
    assert all(map(close, corner_colours(shown), [RED, GREEN, BLUE, YELLOW]))


def test_a_small_image_is_not_scaled_up() -> None:
    assert compress(saved(photo(), "PNG"), CompressionSettings(longest_side=5000)).width == 160


def test_a_very_narrow_image_keeps_a_pixel_of_width() -> None:
    image = compress(saved(Image.new("RGB", (2, 900)), "PNG"), CompressionSettings(longest_side=10))

    assert (image.width, image.height) == (1, 10)


def test_scaling_lets_no_colour_of_hidden_pixels_through() -> None:
    picture = Image.new("RGBA", (64, 64), (*RED, 255))
    picture.paste((0, 255, 0, 0), (0, 0, 33, 64))

    shown = opened(compress(saved(picture, "PNG"), CompressionSettings(longest_side=32)).data)

    colours = [pixel(shown.convert("RGBA"), (x, 16)) for x in range(32)]
    visible = [colour for colour in colours if colour[3] > 20]
    assert visible
    assert all(is_red(colour[:3]) for colour in visible)


@pytest.mark.parametrize("source_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("output_format", ["same", "jpeg", "webp", "avif"])
@pytest.mark.parametrize("quality", [5, 100])
def test_positions_never_leave_the_image(source_format: str, output_format: Any, quality: int) -> None:
    source = saved(photo(), source_format, exif=exif(), quality=60)
    assert SECRET in source

    image = compress(source, CompressionSettings(output_format=output_format, quality=quality))

    assert SECRET not in image.data
    assert not opened(image.data).getexif()


def test_comments_and_profiles_are_not_carried_into_new_files() -> None:
    source = saved(photo(), "JPEG", quality=97, comment=SECRET, icc_profile=srgb_profile())

    again = compress(source, DEFAULT)
    again = compress(source, CompressionSettings(output_format="avif"))

    assert not again.kept_source
    assert SECRET not in again.data
    assert "icc_profile" not in opened(again.data).info


def test_damaged_exif_does_not_cost_the_picture() -> None:
    broken = b"Exif\0\0II*\0" + b"\xff" * 40
    source = saved(photo(), "JPEG", exif=broken)

    assert opened(compress(source, DEFAULT).data).size == (160, 120)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("output_format", ["same", "webp"])
def test_the_transparent_grey_of_a_png_of_few_bits_is_transparent(bits: int, output_format: Any) -> None:
    step = 255 // (2**bits - 1)
    picture = Image.linear_gradient("L").point(lambda level: level // step * step)
    source = saved(picture, "PNG", bits=bits)
    keyed = source[:33] + png_chunk(b"tRNS", struct.pack(">H", 1)) + source[33:]

    image = compress(keyed, CompressionSettings("lossless", output_format=output_format)).data
    # Pillow alone would read the grey of a small PNG wrongly.
    shown = opened(compress(image, CompressionSettings("lossless", output_format="webp")).data)

    transparent = picture.point(lambda level: 0 if level == step else 255)
    assert shown.convert("RGBA").getchannel("A").tobytes() == transparent.tobytes()
