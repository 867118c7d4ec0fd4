from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from PIL import Image

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    PHONE_PHOTO,
    SECRET,
    corner_colours,
    corners,
    is_blue,
    is_green,
    is_red,
    noise,
    opened,
    photo,
    refusal,
    saved,
)


def test_decoding_loads_only_the_codecs_it_may_use() -> None:
    script = (
        "import sys; from imagi_pipeline.core.images.compress import *\n"
        "try: compress(b'no image', CompressionSettings())\n"
        "except Exception: pass\n"
        "print([m for m in sys.modules if 'EpsImagePlugin' in m or 'WmfImagePlugin' in m])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_pixels_are_claimed_once_before_they_are_decoded() -> None:
    claims: list[int] = []
    cut_off = saved(photo(), "JPEG")[:-200]

    compress(saved(photo(), "PNG"), DEFAULT, claims.append)
    with pytest.raises(CodecError):
        compress(cut_off, DEFAULT, claims.append)

    assert claims == [2 * 160 * 120, 160 * 120]


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
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ErrorCode.CORRUPT_IMAGE, "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", ErrorCode.CORRUPT_IMAGE, "HEIC"),
        (b"8BPS\0\1\0\0", ErrorCode.CORRUPT_IMAGE, "Photoshop"),
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


def test_a_drawing_is_refused_with_what_to_do_instead() -> None:
    assert "export it as PNG" in refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>").detail


def test_a_photo_of_a_phone_becomes_an_upright_jpeg_without_where_it_was_taken() -> None:
    assert SECRET in PHONE_PHOTO

    image = compress(PHONE_PHOTO, DEFAULT)

    assert (image.source_format, image.format, image.width, image.height) == ("HEIF", "JPEG", 64, 96)
    upper_left, upper_right, _, lower_right = corner_colours(opened(image.data))
    assert is_blue(upper_left)
    assert is_red(upper_right)
    assert is_green(lower_right)
    assert SECRET not in image.data


def test_without_its_decoder_such_a_photo_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagi_pipeline.core.images.opening.heif_is_available", lambda: False)

    error = refusal(PHONE_PHOTO)

    assert error.kind is ErrorCode.UNSUPPORTED_FORMAT
    assert "pi-heif" in error.detail


def test_a_cut_off_photo_of_a_phone_is_corrupt_and_a_large_one_is_not_decoded() -> None:
    assert refusal(PHONE_PHOTO[:-60]).kind is ErrorCode.CORRUPT_IMAGE
    assert refusal(PHONE_PHOTO, CompressionSettings(max_pixels=6000)).kind is ErrorCode.TOO_MANY_PIXELS


def test_of_a_photoshop_document_the_flattened_picture_is_taken() -> None:
    picture = corners()
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, picture.height, picture.width, 8, 3)
    planes = b"".join(band.tobytes() for band in picture.split())

    image = compress(header + bytes(12) + b"\0\0" + planes, DEFAULT)

    assert (image.source_format, image.format) == ("PSD", "PNG")
    assert opened(image.data).convert("RGB").tobytes() == picture.tobytes()
