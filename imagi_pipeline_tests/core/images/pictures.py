"""Pictures, profiles and files that the tests of the codec share."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageFilter

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings

SECRET = b"5 Secret Lane"
PHONE_PHOTO = Path(__file__).with_name("phone.heic").read_bytes()
"""The four corners of `corners`, turned by a box of its own, with EXIF; written by libheif."""
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


def drawing() -> Image.Image:
    """Flat areas with soft edges between them: some 1,200 colours."""
    turned = corners(320, 240).rotate(20, Image.Resampling.BICUBIC, fillcolor="white")
    return turned.filter(ImageFilter.GaussianBlur(1))


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
    """Return an ICC profile of version 2."""
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


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def deep_colour_png() -> bytes:
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + random.Random(row).randbytes(16 * 6) for row in range(16))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)
