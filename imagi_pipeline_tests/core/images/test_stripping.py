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


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(body)) + body


@pytest.mark.parametrize("marker", [0xE4, 0xEF, 0xFE, 0xDC, 0xDE])
def test_only_known_segments_of_a_jpeg_stay(marker: int) -> None:
    plain = saved(picture(), "JPEG")

    assert strip_metadata(plain[:2] + jpeg_segment(marker, SECRET) + plain[2:], "JPEG") == plain


def test_an_adobe_marker_keeps_its_own_length() -> None:
    plain = saved(Image.new("CMYK", (8, 8), (200, 30, 60, 10)), "JPEG")
    place = plain.index(b"\xff\xee")
    body = plain[place + 4 : place + 16]
    longer = plain[:place] + jpeg_segment(0xEE, body + SECRET) + plain[place + 16 :]

    assert strip_metadata(longer, "JPEG") == plain


@pytest.mark.parametrize(
    "segment",
    [
        jpeg_segment(0xDB, b"\x03" + SECRET.ljust(64, b"x")),
        jpeg_segment(0xC4, b"\x03" + bytes([0] * 7 + [20] + [0] * 8) + SECRET.ljust(20, b"x")),
        jpeg_segment(0xDD, b"\0\0" + SECRET),
    ],
)
def test_tables_that_no_pixel_needs_are_not_kept(segment: bytes) -> None:
    plain = saved(picture(), "JPEG")

    with pytest.raises(ValueError, match=r"no pixel needs|longer"):
        strip_metadata(plain[:2] + segment + plain[2:], "JPEG")


@pytest.mark.parametrize("kind", [b"pHYs", b"bKGD", b"sBIT", b"cLLI", b"mDCV", b"sRGB", b"gAMA"])
def test_a_png_chunk_of_another_length_than_it_must_have_goes(kind: bytes) -> None:
    plain = saved(picture(), "PNG")

    assert strip_metadata(plain[:33] + png_chunk(kind, SECRET * 3) + plain[33:], "PNG") == plain


def test_what_follows_the_pixels_of_a_png_goes() -> None:
    plain = saved(picture(), "PNG")
    start = plain.index(b"IDAT")
    (length,) = struct.unpack_from(">I", plain, start - 4)
    pixels = plain[start + 4 : start + 4 + length]
    end = plain[start + 8 + length :]
    tail = png_chunk(b"IDAT", pixels + SECRET) + png_chunk(b"IDAT", SECRET) + png_chunk(b"pHYs", b"SECRET123")

    assert strip_metadata(plain[: start - 4] + tail + end, "PNG") == plain


def test_a_png_that_inflates_to_more_than_its_pixels_is_not_kept() -> None:
    plain = saved(Image.new("L", (8, 8)), "PNG")
    bomb = png_chunk(b"IDAT", zlib.compress(bytes(10_000_000)))

    with pytest.raises(ValueError, match="more pixels"):
        strip_metadata(plain[:33] + bomb + png_chunk(b"IEND", b""), "PNG")


@pytest.mark.parametrize(
    "extension",
    [
        b"\x21\x99\x0d" + SECRET + b"\0",
        b"\x21\x01\x0c" + bytes(12) + b"\x0d" + SECRET + b"\0",
        b"\x21\xfe\x0d" + SECRET + b"\0",
    ],
)
def test_only_known_extensions_of_a_gif_stay(extension: bytes) -> None:
    source = saved(picture(), "GIF")
    position = 13 + 3 * 2 ** ((source[10] & 7) + 1)

    assert strip_metadata(source[:position] + extension + source[position:], "GIF") == source


def test_the_loops_of_a_gif_stay_without_what_follows_them() -> None:
    source = saved(picture(), "GIF", save_all=True, append_images=[picture("red")], loop=3)
    loops = b"NETSCAPE2.0\x03\x01\x03\0"
    assert loops in source

    assert strip_metadata(source.replace(loops, loops + b"\x0d" + SECRET), "GIF") == source


def test_the_frames_of_a_webp_keep_their_pixels_alone() -> None:
    source = saved(picture(), "WEBP", save_all=True, append_images=[picture("red")])
    start = source.index(b"ANMF")
    (length,) = struct.unpack_from("<I", source, start + 4)
    frame = source[start + 8 : start + 8 + length] + b"SECR" + struct.pack("<I", 14) + SECRET + b"\0"
    body = source[8:start] + b"ANMF" + struct.pack("<I", len(frame)) + frame + source[start + 8 + length :]

    stripped = strip_metadata(b"RIFF" + struct.pack("<I", len(body)) + body, "WEBP")

    assert stripped == strip_metadata(source, "WEBP")


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def test_what_belongs_to_no_item_of_an_avif_and_the_names_of_items_are_blanked() -> None:
    source = saved(picture(), "AVIF")
    media = source.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", source, media)
    assert media + length == len(source)
    longer = source[:media] + struct.pack(">I", length + len(SECRET)) + source[media + 4 :] + SECRET
    name = longer.index(b"Color\0")
    named = longer[:name] + b"Maria" + longer[name + 5 :]

    stripped = strip_metadata(named, "AVIF")

    assert SECRET not in stripped
    assert b"Maria" not in stripped
    assert frames(stripped) == frames(source)


def test_what_follows_the_pixels_of_each_frame_of_a_png_goes() -> None:
    source = saved(picture(), "PNG", save_all=True, append_images=[picture("red"), picture("blue")])
    chunks = [
        (kind, chunk[8:-4] + SECRET if kind == b"fdAT" else chunk[8:-4]) for kind, chunk in png_chunks(source)
    ]
    hiding = source[:8] + b"".join(png_chunk(kind, body) for kind, body in chunks)

    stripped = strip_metadata(hiding, "PNG")

    assert hiding.count(SECRET) == 2
    assert stripped == strip_metadata(source, "PNG") == source


@pytest.mark.parametrize("kind", [b"uuid", b"udta", b"free", b"skip", b"abcd"])
@pytest.mark.parametrize("animated", [False, True])
def test_boxes_of_an_avif_that_are_not_known_are_blanked(kind: bytes, animated: bool) -> None:
    options: dict[str, Any] = {"save_all": True, "append_images": [picture("red")]} if animated else {}
    source = saved(picture(), "AVIF", **options) + box(kind, bytes(16) + SECRET)

    stripped = strip_metadata(source, "AVIF")

    assert SECRET not in stripped
    assert len(stripped) == len(source)
    assert frames(stripped) == frames(source)


def test_a_box_within_the_movie_of_an_avif_is_blanked() -> None:
    source = saved(picture(), "AVIF", save_all=True, append_images=[picture("red")])
    start = source.index(b"moov") - 4
    (length,) = struct.unpack_from(">I", source, start)
    secret = box(b"udta", SECRET)
    movie = struct.pack(">I", length + len(secret)) + source[start + 4 : start + length] + secret

    stripped = strip_metadata(source[:start] + movie + source[start + length :], "AVIF")

    assert SECRET not in stripped
    assert b"free" in stripped
