from __future__ import annotations

import io

import pytest
from PIL import Image

from imagi_pipeline.core.images.signatures import FileKind, file_type


@pytest.mark.parametrize(
    ("image_format", "name", "media_type"),
    [
        ("JPEG", "JPEG image", "image/jpeg"),
        ("PNG", "PNG image", "image/png"),
        ("WEBP", "WebP image", "image/webp"),
        ("GIF", "GIF image", "image/gif"),
        ("AVIF", "AVIF image", "image/avif"),
        ("TIFF", "TIFF image", None),
        ("BMP", "BMP image", None),
        ("JPEG2000", "JPEG 2000 image", None),
    ],
)
def test_an_image_is_recognised_and_browsers_show_some(
    image_format: str, name: str, media_type: str | None
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, image_format)

    found = file_type(file.getvalue())

    assert found is not None
    assert (found.kind, found.name, found.media_type) == (FileKind.IMAGE, name, media_type)
    assert not found.is_text


@pytest.mark.parametrize(
    ("data", "description", "is_text"),
    [
        (b"PAR1....", "a Parquet file", False),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", False),
        (b"Rar!\x1a\x07\0", "an RAR archive", False),
        (b"\xef\xbb\xbf<svg/>", "an SVG drawing", True),
        (b"SKU;Bild\n1;https://shop.example/1.jpg", "text", True),
        (b'{"a": 1}', "JSON data", True),
    ],
)
def test_other_files_have_names_and_are_text_or_not(data: bytes, description: str, is_text: bool) -> None:
    found = file_type(data)

    assert found is not None
    assert (found.description, found.is_text) == (description, is_text)


def test_what_is_not_known_has_no_type() -> None:
    assert file_type(b"") is None
    assert file_type(b"\0\1\2\3") is None
