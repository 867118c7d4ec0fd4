from __future__ import annotations

import struct
import subprocess
import sys
from typing import Literal

import pytest
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.png_encoding import encode_png
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    corners,
    deep_colour_png,
    noise,
    opened,
    photo,
    png_chunk,
    saved,
)

Preset = Literal["fast", "balanced", "small", "lossless"]
PRESETS: tuple[Preset, ...] = ("fast", "balanced", "small")
LOSSLESS_PNG = CompressionSettings(png="lossless")


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


def test_a_png_of_256_colours_with_transparency_stays_exact() -> None:
    colours = [(level, 255 - level, level // 2, level) for level in range(256)]
    picture = Image.new("RGBA", (64, 64))
    picture.putdata([colours[(4 * y + x // 8 * 5) % 256] for y in range(64) for x in range(64)])

    shown = opened(compress(saved(picture, "PNG", compress_level=0), DEFAULT).data)

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


@pytest.mark.parametrize("preset", ["fast", "balanced", "small", "lossless"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_preset_keeps_every_pixel_also_hidden_ones(mode: str, preset: Preset) -> None:
    picture = noise(mode, 40)

    shown = opened(encode_png(picture, CompressionSettings(preset, png="lossless")).data)

    assert shown.convert(mode).tobytes() == picture.tobytes()


def test_every_byte_that_costs_no_pixel_is_saved() -> None:
    picture = photo(400, 300)
    source = saved(picture, "PNG", optimize=True)

    image = compress(source, LOSSLESS_PNG)

    assert 0.9 * len(source) < len(image.data) < len(source)
    assert image.encoder == "oxipng"
    assert compress(image.data, LOSSLESS_PNG).data == image.data


def test_more_effort_makes_fewer_bytes() -> None:
    picture = photo(400, 300)

    efforts = [CompressionSettings(preset, png="lossless") for preset in PRESETS]
    sizes = [len(encode_png(picture, effort).data) for effort in efforts]

    assert sizes == sorted(sizes, reverse=True)
    assert encode_png(picture, LOSSLESS_PNG).encoder == "oxipng"
    assert sizes[1] < len(saved(picture, "PNG", optimize=True))


def test_packing_a_png_starts_no_threads_beside_the_codec_processes() -> None:
    script = (
        "from pathlib import Path; from PIL import Image\n"
        "from imagi_pipeline.core.images.compression_settings import CompressionSettings\n"
        "from imagi_pipeline.core.images.png_encoding import encode_png\n"
        "picture = Image.linear_gradient('L').resize((900, 900)).convert('RGB')\n"
        "encode_png(picture, CompressionSettings('small'))\n"
        "print(len(list(Path('/proc/self/task').iterdir())))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert int(run.stdout) <= 2  # with the one worker of its own


def test_a_png_that_does_not_show_its_pixels_is_written_by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    other = saved(Image.new("RGB", (40, 40)), "PNG")
    monkeypatch.setattr("imagi_pipeline.core.images.png_encoding._packed", lambda *_, **__: other)

    picture = noise("RGB", 40)

    assert opened(encode_png(picture, LOSSLESS_PNG).data).tobytes() == picture.tobytes()
