from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms

from imagi_pipeline.core.images.stripping import png_chunks, strip_metadata, webp_chunks

SECRET = b"5 Secret Lane"
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF"]


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def picture(colour: str = "teal") -> Image.Image:
    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    image.paste(colour, (4, 4, 20, 20))
    return image


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010E] = SECRET.decode()
    tags[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 28: SECRET}
    return tags.tobytes()


def xmp() -> bytes:
    return b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"


def with_metadata(image_format: str, **options: Any) -> bytes:
    kinds: dict[str, Any] = {"exif": exif(), "xmp": xmp(), "comment": SECRET}
    if image_format == "GIF":
        return saved(picture(), "GIF", comment=SECRET, **options)
    return saved(picture(), image_format, **kinds, **options)


def frames(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        shown = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            shown.append(image.convert("RGBA").tobytes())
        return shown


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


@pytest.mark.parametrize("image_format", FORMATS)
def test_metadata_goes_and_the_pixels_stay(image_format: str) -> None:
    source = with_metadata(image_format)
    assert SECRET in source

    stripped = strip_metadata(source, image_format)

    assert SECRET not in stripped
    assert frames(stripped) == frames(source)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "AVIF"])
def test_an_animation_keeps_all_its_frames_and_its_timing(image_format: str) -> None:
    options: dict[str, Any] = {"comment": SECRET} if image_format == "GIF" else {"exif": exif()}
    source = saved(
        picture("teal"),
        image_format,
        save_all=True,
        append_images=[picture("red"), picture("gold")],
        duration=120,
        **options,
    )
    assert SECRET in source

    stripped = strip_metadata(source, image_format)

    assert SECRET not in stripped
    assert len(frames(stripped)) == 3
    assert frames(stripped) == frames(source)
    with Image.open(io.BytesIO(stripped)) as image:
        image.load()
        assert image.info["duration"] == 120


def test_an_endless_gif_stays_endless() -> None:
    source = saved(picture(), "GIF", save_all=True, append_images=[picture("red")], loop=0)

    with Image.open(io.BytesIO(strip_metadata(source, "GIF"))) as image:
        assert image.info["loop"] == 0


def test_a_gif_loses_its_xmp() -> None:
    source = saved(picture(), "GIF")
    extension = b"\x21\xff\x0bXMP DataXMP" + bytes((len(SECRET),)) + SECRET + b"\0"
    position = 13 + 3 * 2 ** ((source[10] & 7) + 1)

    stripped = strip_metadata(source[:position] + extension + source[position:], "GIF")

    assert stripped == source


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_what_follows_the_image_goes(image_format: str) -> None:
    source = saved(picture(), image_format)

    assert strip_metadata(source + SECRET, image_format) == strip_metadata(source, image_format)
    assert SECRET not in strip_metadata(source + SECRET, image_format)


@pytest.mark.parametrize("image_format", FORMATS)
def test_stripping_twice_changes_nothing_more(image_format: str) -> None:
    once = strip_metadata(with_metadata(image_format), image_format)

    assert strip_metadata(once, image_format) == once


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_the_colour_profile_stays_only_if_asked(image_format: str) -> None:
    source = with_metadata(image_format, icc_profile=srgb_profile())

    with Image.open(io.BytesIO(strip_metadata(source, image_format))) as image:
        assert "icc_profile" not in image.info
    with Image.open(io.BytesIO(strip_metadata(source, image_format, keep_icc=True))) as image:
        assert image.info["icc_profile"] == srgb_profile()
        assert not image.getexif()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_every_kind_of_jpeg_scan_is_followed(options: dict[str, Any]) -> None:
    source = with_metadata("JPEG", **options)

    stripped = strip_metadata(source, "JPEG")

    assert SECRET not in stripped
    assert frames(stripped) == frames(source)


def test_a_cmyk_jpeg_keeps_the_adobe_marker_that_tells_its_colours() -> None:
    source = saved(Image.new("CMYK", (8, 8), (200, 30, 60, 10)), "JPEG")
    assert b"Adobe" in source

    assert frames(strip_metadata(source, "JPEG")) == frames(source)
    assert b"Adobe" in strip_metadata(source, "JPEG")


def test_the_second_image_of_a_phone_jpeg_goes() -> None:
    source = saved(picture(), "MPO", save_all=True, append_images=[picture("red")])

    stripped = strip_metadata(source, "JPEG")

    with Image.open(io.BytesIO(stripped)) as image:
        assert image.format == "JPEG"
    assert frames(stripped) == frames(source)[:1]
    assert stripped.count(b"\xff\xd9") == 1


def test_the_thumbnail_in_a_jfif_header_goes() -> None:
    plain = saved(picture(), "JPEG")
    assert plain[2:4] == b"\xff\xe0"
    pixels = SECRET.ljust(48, b"\0")
    header = b"\xff\xe0" + struct.pack(">H", 16 + len(pixels)) + plain[6:18] + b"\x04\x04" + pixels

    assert strip_metadata(plain[:2] + header + plain[20:], "JPEG") == plain


def test_a_jpeg_without_its_end_marker_gets_one() -> None:
    source = saved(picture(), "JPEG")

    assert strip_metadata(source[:-2], "JPEG") == strip_metadata(source, "JPEG")


def test_a_png_keeps_what_it_needs_to_be_shown_and_loses_the_rest() -> None:
    palette = picture().quantize(8)
    source = saved(palette, "PNG", transparency=1, dpi=(300, 300))
    header_end = 8 + 25
    needed = png_chunk(b"gAMA", struct.pack(">I", 100_000)) + png_chunk(b"sRGB", b"\0")
    private = b"".join(
        png_chunk(kind, SECRET) for kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"prVt")
    )

    stripped = strip_metadata(source[:header_end] + needed + private + source[header_end:], "PNG")

    assert stripped == source[:header_end] + needed + source[header_end:]
    assert {b"tRNS", b"PLTE", b"pHYs"} <= {kind for kind, _ in png_chunks(stripped)}


def test_a_webp_header_announces_no_more_than_the_file_has() -> None:
    source = with_metadata("WEBP", icc_profile=srgb_profile())
    assert dict(webp_chunks(source))[b"VP8X"][0] == 0x2C

    stripped = strip_metadata(source, "WEBP")

    assert dict(webp_chunks(stripped))[b"VP8X"][0] == 0
    assert struct.unpack_from("<I", stripped, 4) == (len(stripped) - 8,)
    assert [kind for kind, _ in webp_chunks(stripped)] == [b"VP8X", b"VP8 "]


def test_a_transparent_webp_stays_transparent() -> None:
    image = picture().convert("RGBA")
    image.putalpha(90)
    source = saved(image, "WEBP", exif=exif())

    assert frames(strip_metadata(source, "WEBP")) == frames(source)
    assert dict(webp_chunks(strip_metadata(source, "WEBP")))[b"VP8X"][0] == 0x10


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_of_another_format_is_refused(image_format: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strip_metadata(b"RIFF and more, but no image at all", image_format)


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "WEBP", "AVIF"])
def test_a_file_cut_off_within_its_structure_is_refused(image_format: str) -> None:
    source = with_metadata(image_format)

    with pytest.raises(ValueError, match=r"ends|larger|where"):
        strip_metadata(source[: len(source) * 2 // 3], image_format)


@pytest.mark.parametrize("image_format", FORMATS)
def test_no_damage_makes_it_raise_anything_but_value_errors(image_format: str) -> None:
    source = with_metadata(image_format)

    for length in range(0, len(source), 7):
        cut = source[:length]
        flipped = cut + bytes((source[length] ^ 0xFF,)) + source[length + 1 :]
        for damaged in (cut, flipped):
            with contextlib.suppress(ValueError):
                assert isinstance(strip_metadata(damaged, image_format), bytes)
