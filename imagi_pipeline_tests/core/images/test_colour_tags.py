from __future__ import annotations

import struct

import pytest
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.core.images.pictures import DEFAULT, close, opened, pixel, png_chunk, saved

COLOURS = [(0, 0, 0), (96, 96, 96), (192, 192, 192), (255, 255, 255), (200, 100, 50), (50, 100, 200)]
TO_WEBP = CompressionSettings(preset="lossless", output_format="webp")
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def swatches(*chunks: bytes, mode: str = "RGB") -> bytes:
    image = Image.new("RGB", (16 * len(COLOURS), 16))
    for number, colour in enumerate(COLOURS):
        image.paste(colour, (16 * number, 0, 16 * number + 16, 16))
    plain = saved(image.convert(mode), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def cicp(primaries: int, transfer: int) -> bytes:
    return png_chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


def gamma(value: float) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chromaticities(*values: float) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    place = data.index(b"colrnclx") + 8
    return data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]


def shown(source: bytes, settings: CompressionSettings = TO_WEBP) -> list[tuple[int, ...]]:
    image = opened(compress(source, settings).data).convert("RGB")
    return [pixel(image, (16 * number + 8, 8)) for number in range(len(COLOURS))]


# What Chromium 150 shows of the same file.
GREYS_AS_THEY_ARE = COLOURS[:4]
SHOWN_BY_CHROMIUM = [
    ((cicp(12, 13),), [*GREYS_AS_THEY_ARE, (215, 93, 31), (26, 101, 207)]),
    ((cicp(1, 1),), [(0,) * 3, (87,) * 3, (189,) * 3, (255,) * 3, (197, 91, 39), (39, 91, 197)]),
    ((cicp(9, 14),), [(0,) * 3, (87,) * 3, (189,) * 3, (255,) * 3, (239, 63, 5), (0, 94, 205)]),
    ((cicp(9, 16),), [(0,) * 3, (70,) * 3, (255,) * 3, (255,) * 3, (255, 0, 0), (0, 34, 255)]),
    ((cicp(9, 18),), [(0,) * 3, (71,) * 3, (189,) * 3, (255,) * 3, (230, 48, 17), (0, 77, 185)]),
    ((gamma(1.0),), [(0,) * 3, (165,) * 3, (225,) * 3, (255,) * 3, (229, 168, 122), (122, 168, 229)]),
    (
        (gamma(1.0), chromaticities(*P3)),
        [(0,) * 3, (165,) * 3, (225,) * 3, (255,) * 3, (240, 165, 114), (109, 170, 235)],
    ),
    ((chromaticities(*P3),), COLOURS),
    ((cicp(1, 13), gamma(1.0)), COLOURS),
    ((gamma(1.0), png_chunk(b"sRGB", b"\0")), COLOURS),
]


@pytest.mark.parametrize(("chunks", "expected"), SHOWN_BY_CHROMIUM)
def test_colours_told_by_a_png_are_converted_as_chromium_shows_them(
    chunks: tuple[bytes, ...], expected: list[tuple[int, ...]]
) -> None:
    found = shown(swatches(*chunks))

    # The curve above white is fitted, so that HDR differs a little more.
    tolerance = 14 if chunks in {(cicp(9, 16),), (cicp(9, 18),)} else 3
    for one, other in zip(found, expected, strict=True):
        assert close(one, other, tolerance), (found, expected)


@pytest.mark.parametrize("chunks", [(cicp(12, 13),), (cicp(9, 16),), (gamma(1.0),)])
def test_a_png_with_colours_of_its_own_keeps_them(chunks: tuple[bytes, ...]) -> None:
    source = swatches(*chunks)

    assert compress(source, DEFAULT).data == source


@pytest.mark.parametrize("tag", [(12, 13), (9, 16), (9, 18)])
def test_an_avif_with_colours_of_its_own_keeps_them(tag: tuple[int, int]) -> None:
    source = nclx(saved(opened(swatches()), "AVIF", quality=95), *tag)

    image = compress(source, DEFAULT)

    assert image.kept_source
    assert nclx(image.data, *tag) == image.data


def test_an_avif_in_display_p3_is_converted_when_its_format_changes() -> None:
    source = nclx(saved(opened(swatches()), "AVIF", quality=100, subsampling="4:4:4"), 12, 13)

    for one, other in zip(shown(source), SHOWN_BY_CHROMIUM[0][1], strict=True):
        assert close(one, other, 6)


def test_grey_stays_grey_and_transparent() -> None:
    image = opened(compress(swatches(gamma(1.0), mode="LA"), TO_WEBP).data)

    red, green, blue = pixel(image.convert("RGB"), (24, 8))
    assert close((red, green, blue), (165, 165, 165), 3)


@pytest.mark.parametrize("chunk", [chromaticities(*[0.3] * 8), chromaticities(*[0.0] * 8)])
def test_primaries_that_span_nothing_are_ignored(chunk: bytes) -> None:
    assert shown(swatches(gamma(1.0), chunk))[0] == (0, 0, 0)
