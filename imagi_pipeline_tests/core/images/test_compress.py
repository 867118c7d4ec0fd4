from __future__ import annotations

import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.compress import compress, thumbnail
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings, OutputFormat
from imagi_pipeline.core.images.jpeg_coefficients import is_available
from imagi_pipeline_tests.core.images.pictures import (
    BLUE,
    DEFAULT,
    GREEN,
    PHONE_PHOTO,
    RED,
    SECRET,
    YELLOW,
    close,
    corner_colours,
    corners,
    deep_colour_png,
    drawing,
    exif,
    mean_difference,
    noise,
    opened,
    photo,
    pixel,
    profile_with_red_and_blue_swapped,
    saved,
)


def test_importing_it_loads_neither_codecs_nor_pydantic() -> None:
    script = (
        "import sys, imagi_pipeline.core.images.compress\n"
        "print([m for m in sys.modules if m == 'pydantic' or m.endswith('ImagePlugin')])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_a_jpeg_gets_smaller_and_looks_the_same() -> None:
    source = saved(photo(), "JPEG", quality=97)

    image = compress(source, DEFAULT)

    assert len(image.data) < 0.7 * len(source)
    assert (image.format, image.media_type, image.suffix) == ("JPEG", "image/jpeg", ".jpg")
    assert (image.width, image.height, image.source_width, image.source_height) == (160, 120, 160, 120)
    assert not image.kept_source
    assert mean_difference(opened(image.data), opened(source)) < 3


@pytest.mark.skipif(not is_available(), reason="jpegli alone gains nothing on a picture of noise")
def test_small_is_smaller_than_balanced_which_is_as_fast_as_fast_while_coefficients_stay() -> None:
    source = saved(photo(), "JPEG", quality=97)
    fast, balanced, small = (
        compress(source, CompressionSettings(preset)).data for preset in ("fast", "balanced", "small")
    )

    assert "progressive" not in opened(fast).info
    assert "progressive" in opened(small).info
    assert len(small) < len(balanced)
    assert balanced == fast


def test_a_given_quality_is_used() -> None:
    source = saved(photo(), "JPEG", quality=97)

    sizes = [len(compress(source, CompressionSettings(quality=quality)).data) for quality in (20, 50, 80)]

    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("source_format", "expected", "suffix"),
    [
        *[("JPEG", "JPEG", ".jpg"), ("PNG", "PNG", ".png"), ("WEBP", "WEBP", ".webp")],
        *[("AVIF", "AVIF", ".avif"), ("GIF", "PNG", ".png"), ("TIFF", "JPEG", ".jpg")],
        *[("BMP", "JPEG", ".jpg"), ("JPEG2000", "JPEG", ".jpg"), ("PCX", "JPEG", ".jpg")],
        *[("PPM", "JPEG", ".jpg"), ("TGA", "JPEG", ".jpg"), ("ICO", "JPEG", ".jpg")],
    ],
)
def test_formats_that_browsers_show_stay_and_others_become_jpeg(
    source_format: str, expected: str, suffix: str
) -> None:
    source = saved(photo(64, 64), source_format)

    image = compress(source, DEFAULT)

    assert (image.source_format, image.format, image.suffix) == (source_format, expected, suffix)
    assert opened(image.data).format == expected
    assert mean_difference(opened(image.data), opened(source)) < 4


@pytest.mark.parametrize("source_format", ["TIFF", "TGA", "ICO", "JPEG2000"])
def test_a_format_unknown_to_browsers_becomes_png_if_it_is_transparent(source_format: str) -> None:
    picture = corners(64, 64).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)))
    options = {"irreversible": False} if source_format == "JPEG2000" else {}

    image = compress(saved(picture, source_format, **options), DEFAULT)

    assert image.format == "PNG"
    assert opened(image.data).convert("RGBA").tobytes() == picture.tobytes()


@pytest.mark.parametrize("output_format", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_becomes_every_format(mode: str, output_format: Any) -> None:
    source = saved(
        photo(32, 32).convert("L").convert(mode) if mode == "I;16" else photo(32, 32).convert(mode), "PNG"
    )

    image = compress(source, CompressionSettings(output_format=output_format))

    assert image.format == output_format.upper()
    assert not image.kept_source
    assert opened(image.data).size == (32, 32)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]
)
def test_every_mode_of_tiff_can_be_shown(mode: str) -> None:
    picture = Image.linear_gradient("L").resize((32, 32))
    if mode == "LAB":
        picture = Image.merge("LAB", (picture, *[Image.new("L", (32, 32), 128)] * 2))
    elif mode in {"I", "F", "I;16"}:
        picture = picture.convert("I").point(lambda level: level * 257).convert(mode)
    else:
        picture = picture.convert("RGB").convert(mode)

    shown = opened(compress(saved(picture, "TIFF"), DEFAULT).data).convert("L")

    assert pixel(shown, (16, 1))[0] < 40
    assert pixel(shown, (16, 30))[0] > 215


def test_a_jpeg_of_something_transparent_shows_it_on_white() -> None:
    source = saved(Image.new("RGBA", (32, 32), (200, 0, 0, 0)), "PNG")

    image = compress(source, CompressionSettings(output_format="jpeg"))

    assert close(pixel(opened(image.data), (16, 16)), (255, 255, 255), 2)


@pytest.mark.parametrize("output_format", ["webp", "avif"])
def test_transparency_survives_a_change_of_format(output_format: Any) -> None:
    picture = photo(64, 64).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)))

    shown = opened(compress(saved(picture, "PNG"), CompressionSettings(output_format=output_format)).data)

    assert shown.mode == "RGBA"
    assert mean_difference(shown.getchannel("A"), picture.getchannel("A")) < 2


def test_an_alpha_channel_that_hides_nothing_is_none() -> None:
    picture = photo().convert("RGBA")

    assert compress(saved(picture, "TIFF"), DEFAULT).format == "JPEG"


def test_greyscale_stays_greyscale() -> None:
    source = saved(photo().convert("L"), "JPEG", quality=97)

    assert opened(compress(source, DEFAULT).data).mode == "L"


def test_a_black_and_white_scan_becomes_png_rather_than_blurred() -> None:
    scan = corners().convert("1")

    image = compress(saved(scan, "TIFF"), DEFAULT)

    assert image.format == "PNG"
    assert opened(image.data).convert("1").tobytes() == scan.tobytes()


def test_of_a_tiff_with_several_pages_the_first_is_taken() -> None:
    pages = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE)]
    source = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])

    assert close(pixel(opened(compress(source, DEFAULT).data).convert("RGB"), (16, 16)), RED)


@pytest.mark.parametrize("output_format", ["same", "webp", "avif"])
def test_a_phone_jpeg_with_a_second_image_is_a_jpeg_of_the_first(output_format: Any) -> None:
    source = saved(corners(), "MPO", quality=97, save_all=True, append_images=[photo()], exif=exif(6))
    assert opened(source).format == "MPO"

    image = compress(source, CompressionSettings(output_format=output_format))

    assert image.source_format == "JPEG"
    assert all(map(close, corner_colours(opened(image.data)), [BLUE, RED, YELLOW, GREEN]))


def test_a_webp_is_lossless_if_its_source_is() -> None:
    picture = photo(64, 64)
    source = saved(picture, "WEBP", lossless=True, method=0, quality=0)

    image = compress(source, DEFAULT)

    assert opened(image.data).tobytes() == opened(source).tobytes() == picture.tobytes()


def test_a_side_too_long_for_a_format_gets_one_that_can_hold_it() -> None:
    wide = Image.new("RGB", (16_384, 4), RED)
    widest = Image.new("RGB", (65_501, 2), RED)
    see_through = Image.new("RGBA", (16_384, 4), (*RED, 90))
    webp = CompressionSettings(output_format="webp")

    assert compress(saved(wide, "PNG"), webp).format == "JPEG"
    assert compress(saved(widest, "TIFF"), DEFAULT).format == "PNG"
    assert compress(saved(see_through, "PNG"), webp).format == "PNG"


def test_noise_that_a_progressive_jpeg_cannot_hold_becomes_a_plain_one() -> None:
    source = saved(noise("RGB", 512).point(lambda level: 255 if level > 127 else 0), "BMP")

    image = compress(source, CompressionSettings(quality=94))

    assert "progressive" not in opened(image.data).info
    assert opened(image.data).size == (512, 512)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_compressing_again_changes_nothing(image_format: str) -> None:
    first = compress(saved(photo().quantize(64) if image_format == "GIF" else photo(), image_format), DEFAULT)

    second = compress(first.data, DEFAULT)

    assert second.kept_source
    assert second.data == first.data


def test_a_source_that_hardly_gets_smaller_is_kept_without_its_metadata() -> None:
    source = saved(photo(), "JPEG", quality=60, exif=exif(), comment=SECRET)

    image = compress(source, DEFAULT)

    assert image.kept_source
    assert SECRET not in image.data
    assert len(image.data) <= len(saved(photo(), "JPEG", quality=60))
    assert opened(image.data).tobytes() == opened(source).tobytes()


@pytest.mark.parametrize(
    "compression",
    [CompressionSettings(output_format="webp", quality=99), CompressionSettings(longest_side=159)],
)
def test_a_source_that_had_to_change_is_not_kept_however_small(compression: CompressionSettings) -> None:
    source = saved(photo(), "JPEG", quality=10)

    image = compress(source, compression)

    assert not image.kept_source
    assert len(image.data) > len(source)


def test_a_still_gif_becomes_a_png_of_the_same_pixels() -> None:
    picture = corners().quantize(4)
    source = saved(picture, "GIF", transparency=picture.getpixel((1, 1)), comment=SECRET * 60)

    image = compress(source, DEFAULT)

    assert (image.format, image.media_type) == ("PNG", "image/png")
    assert SECRET not in image.data
    assert opened(image.data).convert("RGBA").tobytes() == opened(source).convert("RGBA").tobytes()


def test_a_gif_whose_only_frame_leaves_a_part_empty_stays_what_it_is() -> None:
    whole = saved(corners(64, 64).quantize(4), "GIF")
    wider = whole[:6] + struct.pack("<H", 100) + whole[8:]

    image = compress(wider, DEFAULT)

    assert (image.format, image.encoder, image.width) == ("GIF", "kept", 100)
    assert compress(whole, DEFAULT).format == "PNG"


@pytest.mark.parametrize("source_format", ["BMP", "TIFF"])
def test_a_drawing_in_a_format_unknown_to_browsers_becomes_a_png(source_format: str) -> None:
    assert compress(saved(drawing(), source_format), DEFAULT).format == "PNG"


def test_by_content_a_photograph_becomes_a_jpeg_and_a_drawing_stays_what_it_is() -> None:
    by_content = CompressionSettings(output_format="auto")

    photograph = compress(saved(photo(), "PNG"), by_content)

    assert (photograph.format, photograph.suffix) == ("JPEG", ".jpg")
    assert compress(saved(photo(), "PNG"), DEFAULT).format == "PNG"
    assert compress(saved(drawing(), "PNG"), by_content).format == "PNG"
    assert compress(saved(drawing(), "JPEG", quality=95), by_content).format == "JPEG"
    for unchanged in (CompressionSettings("lossless"), CompressionSettings(png="lossless")):
        settings = replace(unchanged, output_format="auto-webp")
        assert compress(saved(photo(), "PNG"), settings).format == "PNG"


def test_where_webp_is_allowed_the_smaller_of_jpeg_and_webp_is_made_of_a_photograph() -> None:
    def made(output_format: OutputFormat, picture: Image.Image) -> CompressedImage:
        return compress(saved(picture, "BMP"), CompressionSettings(output_format=output_format))

    for picture in (photo(), photo().convert("L")):
        jpeg, webp, either = made("jpeg", picture), made("webp", picture), made("auto-webp", picture)
        assert either.data == min(jpeg.data, webp.data, key=len)
    by_content = CompressionSettings(output_format="auto-webp")
    assert compress(saved(photo(), "PNG"), by_content).suffix == ".webp"
    assert compress(saved(drawing(), "PNG"), by_content).format == "PNG"
    stays = compress(saved(photo(), "JPEG", quality=95), by_content)
    assert stays.format == "JPEG"
    assert (stays.encoder == "coefficients") is is_available()


def test_a_png_that_is_smaller_than_what_we_make_of_it_is_compared_by_its_own_bytes() -> None:
    picture = drawing()
    picture.paste(photo(64, 120), (0, 0))
    source = compress(saved(picture, "PNG"), CompressionSettings("small", png="lossless")).data

    image = compress(source, CompressionSettings("fast", quality=95, output_format="auto"))

    assert (image.format, image.kept_source) == ("PNG", True)


def test_a_large_photograph_that_is_a_png_becomes_a_jpeg_as_a_small_one_does() -> None:
    large = saved(photo(1800, 1200), "PNG", compress_level=1)
    assert compress(large, CompressionSettings("fast", output_format="auto")).format == "JPEG"


def test_a_gif_that_is_scaled_becomes_a_png_with_all_the_colours_that_takes() -> None:
    source = saved(photo().quantize(256), "GIF")

    image = compress(source, CompressionSettings(longest_side=80))

    assert (image.format, image.width, image.height) == ("PNG", 80, 60)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize(
    "compression", [DEFAULT, CompressionSettings(longest_side=20), CompressionSettings(output_format="jpeg")]
)
def test_an_animation_is_never_flattened(image_format: str, compression: CompressionSettings) -> None:
    metadata: dict[str, Any] = {"comment": SECRET} if image_format == "GIF" else {"exif": exif()}
    source = saved(
        corners(), image_format, save_all=True, append_images=[corners().rotate(180)], duration=80, **metadata
    )

    image = compress(source, compression)

    assert image.kept_source
    assert image.format == image_format
    assert SECRET not in image.data
    assert getattr(opened(image.data), "n_frames", 1) == 2


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_a_thumbnail_is_a_small_upright_jpeg(image_format: str) -> None:
    options = {} if image_format == "GIF" else {"exif": exif(6)}

    shown = opened(thumbnail(saved(corners(), image_format, **options), 32))

    assert shown.format == "JPEG"
    assert shown.size == ((32, 21) if image_format == "GIF" else (21, 32))
    assert not shown.getexif()


def test_what_is_transparent_is_white_in_a_thumbnail() -> None:
    source = saved(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG")

    assert close(pixel(opened(thumbnail(source, 16)), (8, 8)), (255, 255, 255), 2)


def test_a_thumbnail_of_a_damaged_image_is_refused() -> None:
    with pytest.raises(CodecError) as caught:
        thumbnail(saved(photo(), "JPEG")[:-300], 16)

    assert caught.value.kind is ErrorCode.CORRUPT_IMAGE


def test_a_thumbnail_is_made_before_and_after_compression() -> None:
    source = saved(photo(), "TIFF")
    compressed: CompressedImage = compress(source, DEFAULT)

    before, after = opened(thumbnail(source, 40)), opened(thumbnail(compressed.data, 40))

    assert before.size == after.size == (40, 30)
    assert mean_difference(before, after) < 4


@cache
def victims() -> tuple[bytes, ...]:
    small = photo(24, 24)
    frames: dict[str, Any] = {"save_all": True, "append_images": [corners(24, 24)]}
    swapped = profile_with_red_and_blue_swapped()
    return (
        saved(small, "JPEG", exif=exif(6), icc_profile=swapped),
        saved(small, "JPEG", progressive=True),
        saved(small.convert("CMYK"), "JPEG"),
        saved(small, "MPO", **frames),
        saved(small, "PNG", exif=exif(6), icc_profile=swapped),
        saved(small.quantize(16), "PNG"),
        saved(small, "PNG", **frames),
        deep_colour_png(),
        saved(small.convert("RGBA"), "WEBP", exif=exif(6)),
        saved(small, "WEBP", **frames),
        saved(small.quantize(64), "GIF"),
        saved(small, "GIF", **frames),
        saved(small, "AVIF", exif=exif(6)),
        PHONE_PHOTO,
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 24, 24, 8, 3) + bytes(14) + small.tobytes(),
        saved(small, "TIFF", compression="tiff_lzw"),
        *(saved(small, image_format) for image_format in ("BMP", "JPEG2000", "PCX", "TGA", "ICO", "PPM")),
    )


@settings(max_examples=250, deadline=None, database=None)
@given(
    victim=st.integers(min_value=0, max_value=21),
    cut=st.floats(min_value=0, max_value=1) | st.just(1.0),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6),
)
def test_damage_ends_in_an_image_or_in_a_codec_error(
    victim: int, cut: float, flips: list[tuple[float, int]]
) -> None:
    source = bytearray(victims()[victim])
    for place, bits in flips:
        source[int(place * len(source))] ^= bits
    data = bytes(source[: round(cut * len(source))])

    with suppress(CodecError):
        image = compress(data, CompressionSettings(max_pixels=100_000, longest_side=20))
        assert opened(image.data).size == (image.width, image.height)


@pytest.mark.skipif(not is_available(), reason="only the extension sees bytes that a decoder skips")
@settings(max_examples=150, deadline=None, database=None)
@given(victim=st.sampled_from(["JPEG", "progressive", "PNG", "animated PNG"]), place=st.floats(0, 1))
def test_nothing_that_is_put_between_the_parts_of_a_file_is_in_what_becomes_of_it(
    victim: str, place: float
) -> None:
    source = {
        "JPEG": lambda: saved(photo(40, 30), "JPEG", quality=60),
        "progressive": lambda: saved(photo(40, 30), "JPEG", quality=60, progressive=True),
        "PNG": lambda: saved(photo(40, 30), "PNG"),
        "animated PNG": lambda: saved(photo(40, 30), "PNG", save_all=True, append_images=[corners(40, 30)]),
    }[victim]()
    at = round(place * len(source))

    with suppress(CodecError):
        assert SECRET not in compress(source[:at] + SECRET + source[at:], DEFAULT).data


def test_what_is_hidden_behind_the_last_block_of_a_jpeg_goes() -> None:
    source = saved(photo(), "JPEG", quality=40)

    image = compress(source[:-2] + SECRET + source[-2:], DEFAULT)

    assert (SECRET in image.data) is not is_available()


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, database=None)
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        compress(data, DEFAULT)
