from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.compress import CompressedImage, CompressionSettings, compress, thumbnail

SECRET = b"5 Secret Lane"
DEFAULT = CompressionSettings()
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 160, 40), (30, 40, 210), (230, 220, 40)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def photo(width: int = 160, height: int = 120) -> Image.Image:
    """Soft shapes and some noise, as a camera gives."""
    generator = random.Random(7)
    bands = [
        Image.frombytes("L", (width // 4, height // 4), generator.randbytes((width // 4) * (height // 4)))
        .resize((width, height), Image.Resampling.BICUBIC)
        .point(lambda level: level // 2 + 60)
        for _ in range(3)
    ]
    return Image.merge("RGB", bands)


def noise(mode: str, side: int) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (side, side), random.Random(3).randbytes(side * side * channels))


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """Red and green above, blue and yellow below."""
    image = Image.new("RGB", (width, height))
    across, down = width // 2, height // 2
    image.paste(RED, (0, 0, across, down))
    image.paste(GREEN, (across, 0, width, down))
    image.paste(BLUE, (0, down, across, height))
    image.paste(YELLOW, (across, down, width, height))
    return image


def corner_colours(image: Image.Image) -> list[tuple[int, ...]]:
    right, below = image.width - 9, image.height - 9
    places = [(8, 8), (right, 8), (8, below), (right, below)]
    rgb = image.convert("RGB")
    return [pixel(rgb, place) for place in places]


def pixel(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    value = image.getpixel(place)
    return value if isinstance(value, tuple) else (int(value or 0),)


def close(found: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(one - other) <= tolerance for one, other in zip(found, expected, strict=True))


def is_red(colour: tuple[int, ...]) -> bool:
    return colour[0] > 100 + max(colour[1], colour[2])


def is_green(colour: tuple[int, ...]) -> bool:
    return colour[1] > 100 + max(colour[0], colour[2])


def is_blue(colour: tuple[int, ...]) -> bool:
    return colour[2] > 100 + max(colour[0], colour[1])


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one.convert("L"), other.convert("L")).histogram()
    return sum(level * count for level, count in enumerate(histogram)) / sum(histogram)


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 28: SECRET}
    return tags.tobytes()


def s15_fixed16(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def icc_profile(colour_space: bytes, connection_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2."""
    header = struct.pack(">8xI4s4s4s12x4s", 0x02100000, b"mntr", colour_space, connection_space, b"acsp")
    header = header.ljust(68, b"\0") + s15_fixed16(0.9642, 1.0, 0.8249)
    table, content = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(body))
        content += body + bytes(-len(body) % 4)
    profile = header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content
    return struct.pack(">I", len(profile)) + profile[4:]


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def profile_with_red_and_blue_swapped() -> bytes:
    red, green, blue = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + s15_fixed16(0.9642, 1.0, 0.8249)}
    for name, primary in ((b"rXYZ", blue), (b"gXYZ", green), (b"bXYZ", red)):
        tags[name] = b"XYZ \0\0\0\0" + s15_fixed16(*primary)
    tags |= {name: gamma_curve(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc_profile(b"RGB ", b"XYZ ", tags)


def profile_of_linear_grey() -> bytes:
    white = b"XYZ \0\0\0\0" + s15_fixed16(0.9642, 1.0, 0.8249)
    return icc_profile(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": gamma_curve(1.0)})


def profile_in_which_cyan_ink_is_green() -> bytes:
    identity = bytes(range(256))
    green, paper = bytes((224, 49, 209)), bytes((255, 128, 128))
    nodes = b"".join(green if node & 8 else paper for node in range(16))
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + s15_fixed16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += identity * 4 + nodes + identity * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": table})


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def refusal(data: bytes, compression: CompressionSettings = DEFAULT) -> CodecError:
    with pytest.raises(CodecError) as caught:
        compress(data, compression)
    assert "\n" not in caught.value.message
    return caught.value


# --- settings


def test_the_fingerprint_is_readable_and_names_all_that_changes_the_bytes() -> None:
    assert CompressionSettings().fingerprint == "v1-balanced-q80-same"
    assert CompressionSettings("small").fingerprint == "v1-small-q70-same"
    every = CompressionSettings("fast", 55, "webp", 1200).fingerprint
    assert every == "v1-fast-q55-webp-1200px"


def test_the_fingerprint_is_the_same_for_a_quality_given_and_meant() -> None:
    assert CompressionSettings(quality=80).fingerprint == CompressionSettings().fingerprint


def test_importing_it_loads_neither_codecs_nor_pydantic() -> None:
    script = (
        "import sys, imagi_pipeline.core.images.compress\n"
        "print([m for m in sys.modules if m == 'pydantic' or m.endswith('ImagePlugin')])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_decoding_loads_only_the_codecs_it_may_use() -> None:
    script = (
        "import sys; from imagi_pipeline.core.images.compress import *\n"
        "try: compress(b'no image', CompressionSettings())\n"
        "except Exception: pass\n"
        "print([m for m in sys.modules if 'EpsImagePlugin' in m or 'WmfImagePlugin' in m])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


# --- formats and presets


def test_a_jpeg_gets_smaller_and_looks_the_same() -> None:
    source = saved(photo(), "JPEG", quality=97)

    image = compress(source, DEFAULT)

    assert len(image.data) < 0.7 * len(source)
    assert (image.format, image.media_type, image.suffix) == ("JPEG", "image/jpeg", ".jpg")
    assert (image.width, image.height, image.source_width, image.source_height) == (160, 120, 160, 120)
    assert not image.kept_source
    assert mean_difference(opened(image.data), opened(source)) < 3


def test_fast_writes_baseline_balanced_progressive_and_small_the_smallest() -> None:
    source = saved(photo(), "JPEG", quality=97)
    fast, balanced, small = (
        compress(source, CompressionSettings(preset)).data for preset in ("fast", "balanced", "small")
    )

    assert "progressive" not in opened(fast).info
    assert "progressive" in opened(balanced).info
    assert "progressive" in opened(small).info
    assert len(small) < len(balanced) < len(fast)


def test_a_given_quality_is_used() -> None:
    source = saved(photo(), "JPEG", quality=97)

    sizes = [len(compress(source, CompressionSettings(quality=quality)).data) for quality in (20, 50, 80)]

    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("source_format", "expected", "suffix"),
    [
        *[("JPEG", "JPEG", ".jpg"), ("PNG", "PNG", ".png"), ("WEBP", "WEBP", ".webp")],
        *[("AVIF", "AVIF", ".avif"), ("GIF", "GIF", ".gif"), ("TIFF", "JPEG", ".jpg")],
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

    assert close(pixel(opened(compress(source, DEFAULT).data), (16, 16)), RED)


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


# --- lossless PNG


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_keeps_every_pixel(mode: str) -> None:
    picture = (
        corners().convert("L").convert(mode)
        if mode == "I;16"
        else corners().convert(mode, dither=Image.Dither.NONE)
    )
    source = saved(picture, "PNG", compress_level=0)

    image = compress(source, DEFAULT)

    assert len(image.data) < len(source) / 2
    shown = opened(image.data)
    if mode == "I;16":
        assert shown.mode == "I;16"
        assert shown.tobytes() == picture.tobytes()
    else:
        assert shown.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


def test_a_png_of_256_colours_with_transparency_gets_an_exact_palette() -> None:
    colours = [(level, 255 - level, level // 2, level) for level in range(256)]
    picture = Image.new("RGBA", (64, 64))
    picture.putdata([colours[(4 * y + x // 8 * 5) % 256] for y in range(64) for x in range(64)])

    shown = opened(compress(saved(picture, "PNG", compress_level=0), DEFAULT).data)

    assert shown.mode == "P"
    assert shown.convert("RGBA").tobytes() == picture.tobytes()


def test_a_png_of_more_than_256_colours_gets_no_palette() -> None:
    picture = photo()

    shown = opened(compress(saved(picture, "PNG", compress_level=0), DEFAULT).data)

    assert shown.mode == "RGB"
    assert shown.tobytes() == picture.tobytes()


@pytest.mark.parametrize(("step", "mode"), [(255, "1"), (85, "L"), (17, "L"), (5, "L")])
def test_grey_levels_are_packed_without_loss(step: int, mode: str) -> None:
    picture = Image.linear_gradient("L").point(lambda level: level // step * step)

    shown = opened(compress(saved(picture, "PNG", compress_level=0), DEFAULT).data)

    assert shown.mode == mode
    assert shown.convert("L").tobytes() == picture.tobytes()


def test_a_png_of_16_bits_a_channel_is_not_reduced_to_8() -> None:
    source = deep_colour_png()

    image = compress(source, DEFAULT)

    assert image.data == source
    assert image.kept_source


def test_a_png_with_a_gamma_of_its_own_keeps_it() -> None:
    plain = saved(photo(), "PNG", compress_level=0)
    source = plain[:33] + png_chunk(b"gAMA", struct.pack(">I", 100_000)) + plain[33:]

    assert compress(source, DEFAULT).data == source


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def deep_colour_png() -> bytes:
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + random.Random(row).randbytes(16 * 6) for row in range(16))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


# --- keeping the source


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
    assert image.data == saved(photo(), "JPEG", quality=60)


@pytest.mark.parametrize(
    "compression",
    [CompressionSettings(output_format="webp", quality=99), CompressionSettings(longest_side=159)],
)
def test_a_source_that_had_to_change_is_not_kept_however_small(compression: CompressionSettings) -> None:
    source = saved(photo(), "JPEG", quality=10)

    image = compress(source, compression)

    assert not image.kept_source
    assert len(image.data) > len(source)


def test_a_still_gif_stays_a_gif_and_transparent() -> None:
    picture = corners().quantize(4)
    source = saved(picture, "GIF", transparency=picture.getpixel((1, 1)), comment=SECRET * 60)

    image = compress(source, DEFAULT)

    assert (image.format, image.media_type) == ("GIF", "image/gif")
    assert SECRET not in image.data
    assert opened(image.data).convert("RGBA").tobytes() == opened(source).convert("RGBA").tobytes()


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


# --- orientation, size and metadata


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
    anew = compress(source, CompressionSettings(output_format="avif"))

    assert not again.kept_source
    assert SECRET not in again.data
    assert "icc_profile" not in opened(anew.data).info


def test_damaged_exif_does_not_cost_the_picture() -> None:
    broken = b"Exif\0\0II*\0" + b"\xff" * 40
    source = saved(photo(), "JPEG", exif=broken)

    assert opened(compress(source, DEFAULT).data).size == (160, 120)


# --- colour


def test_a_colour_profile_is_applied_and_removed() -> None:
    source = saved(corners(), "JPEG", quality=50, icc_profile=profile_with_red_and_blue_swapped())

    image = compress(source, DEFAULT)

    assert not image.kept_source
    shown = opened(image.data)
    assert "icc_profile" not in shown.info
    assert is_blue(corner_colours(shown)[0])
    assert is_red(corner_colours(shown)[2])


def test_a_colour_profile_leaves_transparency_alone() -> None:
    picture = Image.new("RGBA", (32, 32), (*RED, 90))

    shown = opened(
        compress(saved(picture, "PNG", icc_profile=profile_with_red_and_blue_swapped()), DEFAULT).data
    )

    *colour, alpha = pixel(shown.convert("RGBA"), (16, 16))
    assert is_blue(tuple(colour))
    assert alpha == 90


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_of_greys_is_applied_and_grey_stays_grey(mode: str) -> None:
    picture = Image.new("L", (32, 32), 55)
    if mode == "LA":
        picture = Image.merge("LA", (picture, Image.linear_gradient("L").resize((32, 32))))

    shown = opened(compress(saved(picture, "PNG", icc_profile=profile_of_linear_grey()), DEFAULT).data)

    red, green, blue, _ = pixel(shown.convert("RGBA"), (16, 16))
    assert red == green == blue
    assert close((red,), (128,), 3)


@pytest.mark.parametrize("profile", [srgb_profile(), b"no profile at all", profile_of_linear_grey()])
def test_a_profile_that_is_srgb_or_unusable_is_only_removed(profile: bytes) -> None:
    source = saved(photo(), "JPEG", quality=60, icc_profile=profile)

    image = compress(source, DEFAULT)

    assert image.kept_source
    assert image.data == saved(photo(), "JPEG", quality=60)


def test_a_deep_png_and_an_animation_keep_the_profile_that_they_are_in() -> None:
    animation = saved(
        corners(), "PNG", save_all=True, append_images=[photo(96, 64)], icc_profile=profile_of_linear_grey()
    )
    deep = saved(Image.linear_gradient("L").convert("I;16"), "PNG", icc_profile=profile_of_linear_grey())

    for source in (animation, deep):
        image = compress(source, DEFAULT)
        assert image.kept_source
        assert opened(image.data).info["icc_profile"] == profile_of_linear_grey()


def test_cmyk_is_converted_by_its_profile() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    source = saved(inks, "JPEG", quality=95, icc_profile=profile_in_which_cyan_ink_is_green())

    image = compress(source, DEFAULT)

    assert is_green(pixel(opened(image.data), (16, 16)))


@pytest.mark.parametrize("profile", [b"", b"no profile at all"])
def test_cmyk_without_a_usable_profile_looks_as_browsers_show_it(profile: bytes) -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 51, 51))
    source = saved(inks, "JPEG", quality=95, icc_profile=profile)

    shown = opened(compress(source, DEFAULT).data)

    assert shown.mode == "RGB"
    assert close(pixel(shown, (16, 16)), (0, 204, 163))


def test_lab_is_converted() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")),
        "RGB",
        "LAB",
    )
    source = saved(to_lab.apply(corners()), "TIFF")

    shown = opened(compress(source, DEFAULT).data)

    assert all(map(close, corner_colours(shown), [RED, GREEN, BLUE, YELLOW]))


# --- limits and refusals


def test_pixels_are_claimed_once_before_they_are_decoded() -> None:
    claims: list[int] = []
    cut_off = saved(photo(), "JPEG")[:-200]

    compress(saved(photo(), "PNG"), DEFAULT, claims.append)
    with pytest.raises(CodecError):
        compress(cut_off, DEFAULT, claims.append)

    assert claims == [160 * 120, 160 * 120]


def test_what_the_claim_raises_passes_through() -> None:
    def gone(_pixels: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        compress(saved(photo(), "PNG"), DEFAULT, gone)


@pytest.mark.parametrize("limit", [160 * 120 - 1, 160 * 120 // 2 - 1, 10])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(limit: int) -> None:
    claims: list[int] = []

    with pytest.raises(CodecError) as caught:
        compress(saved(photo(), "PNG"), CompressionSettings(max_pixels=limit), claims.append)

    assert caught.value.kind is ErrorCode.TOO_MANY_PIXELS
    assert "19,200" in caught.value.detail
    assert f"{limit:,}" in caught.value.detail
    assert claims == []


def test_the_limit_is_also_that_of_animations() -> None:
    source = saved(photo(), "GIF", save_all=True, append_images=[corners()])

    assert refusal(source, CompressionSettings(max_pixels=1000)).kind is ErrorCode.TOO_MANY_PIXELS


def test_an_image_of_just_the_limit_is_compressed() -> None:
    assert compress(saved(photo(), "PNG"), CompressionSettings(max_pixels=160 * 120)).width == 160


def test_the_limit_of_pillow_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS

    compress(saved(photo(), "PNG"), CompressionSettings(max_pixels=30_000))
    refusal(b"", CompressionSettings(max_pixels=30_000))

    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", ErrorCode.NOT_AN_IMAGE, "web page"),
        (b"\xef\xbb\xbf\r\n <html><svg/></html>", ErrorCode.NOT_AN_IMAGE, "web page"),
        (b'{"error": "not found"}', ErrorCode.NOT_AN_IMAGE, "JSON"),
        (b"<?xml version='1.0'?><Error/>", ErrorCode.NOT_AN_IMAGE, "XML"),
        ("Zugriff verweigert für Gäste".encode(), ErrorCode.NOT_AN_IMAGE, "text"),
        (b"P1 is the best product", ErrorCode.NOT_AN_IMAGE, "text"),
        (b"PK\x03\x04\0\0", ErrorCode.NOT_AN_IMAGE, "archive"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", ErrorCode.NOT_AN_IMAGE, "video"),
        (b"", ErrorCode.NOT_AN_IMAGE, "no image"),
        (b"\0\1\2\3" * 50, ErrorCode.NOT_AN_IMAGE, "no image"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg width='1'/>", ErrorCode.UNSUPPORTED_FORMAT, "SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ErrorCode.UNSUPPORTED_FORMAT, "SVG"),
        (b"%PDF-1.7\n", ErrorCode.UNSUPPORTED_FORMAT, "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ErrorCode.UNSUPPORTED_FORMAT, "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", ErrorCode.UNSUPPORTED_FORMAT, "HEIC"),
        (b"8BPS\0\1\0\0", ErrorCode.UNSUPPORTED_FORMAT, "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", ErrorCode.UNSUPPORTED_FORMAT, "PostScript"),
        (b"\xff\x0a\xfa\x7f", ErrorCode.UNSUPPORTED_FORMAT, "JPEG XL"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(data: bytes, kind: ErrorCode, words: str) -> None:
    error = refusal(data)

    assert error.kind is kind
    assert words in error.detail


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_a_file_cut_off_is_corrupt(image_format: str, share: float) -> None:
    source = saved(noise("RGB", 64).quantize(64) if image_format == "GIF" else noise("RGB", 64), image_format)

    error = refusal(source[: max(16, int(len(source) * share))])

    assert error.kind is ErrorCode.CORRUPT_IMAGE
    assert "damaged" in error.detail


def test_a_corrupt_image_is_told_by_format_and_size() -> None:
    assert "JPEG image of 160 x 120 pixels" in refusal(saved(photo(), "JPEG")[:-300]).detail


def test_memory_that_there_is_not_is_a_matter_of_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)

    assert refusal(saved(photo(), "PNG")).kind is ErrorCode.TOO_MANY_PIXELS


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
        saved(small, "TIFF", compression="tiff_lzw"),
        *(saved(small, image_format) for image_format in ("BMP", "JPEG2000", "PCX", "TGA", "ICO", "PPM")),
    )


@settings(max_examples=250, deadline=None, database=None)
@given(
    victim=st.integers(min_value=0, max_value=19),
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


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, database=None)
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        compress(data, DEFAULT)


# --- thumbnails


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
