"""Tell the kind of a file by its first bytes: this is the one registry of file signatures.

The decoder asks what a file is that is no image, the CSV reader whether a file is binary, and the gateway
whether a browser shows an image.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from enum import Enum, auto

_SNIFFED_BYTES = 2048
_UNCOUNTABLE = {"text", "JSON data"}
_SPOKEN_WITH_A_VOWEL = ("SVG", "RAR", "XML", "HTML")


class FileKind(Enum):
    """What can be done with a file."""

    IMAGE = auto()  # a format that is decoded
    OTHER_PICTURE = auto()  # a picture in a format that is not decoded
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file: its name for people, such as `PNG image`, and how its bytes begin.

    `is_text` tells whether such a file is text, as a CSV is. `media_type` is set for the images that every
    browser shows.
    """

    kind: FileKind
    name: str
    pattern: re.Pattern[bytes]
    is_text: bool = False
    media_type: str | None = None

    @property
    def description(self) -> str:
        """Return the name with its article, such as `a PNG image`."""
        if self.name in _UNCOUNTABLE:
            return self.name
        article = "an" if self.name[0] in "aeioAEIO" or self.name.startswith(_SPOKEN_WITH_A_VOWEL) else "a"
        return f"{article} {self.name}"


def _binary(kind: FileKind, name: str, pattern: bytes, media_type: str | None = None) -> FileType:
    return FileType(kind, name, re.compile(pattern, re.DOTALL), media_type=media_type)


def _text(kind: FileKind, name: str, pattern: bytes) -> FileType:
    return FileType(kind, name, re.compile(pattern, re.DOTALL | re.IGNORECASE), is_text=True)


# The first that fits is taken.
_FILE_TYPES = (
    _binary(FileKind.IMAGE, "JPEG image", rb"\xff\xd8\xff", "image/jpeg"),
    _binary(FileKind.IMAGE, "PNG image", rb"\x89PNG\r\n\x1a\n", "image/png"),
    _binary(FileKind.IMAGE, "WebP image", rb"RIFF.{4}WEBP", "image/webp"),
    _binary(FileKind.IMAGE, "GIF image", rb"GIF8[79]a", "image/gif"),
    _binary(FileKind.IMAGE, "AVIF image", rb"\0\0.{2}ftypavi[fs]", "image/avif"),
    _binary(FileKind.IMAGE, "PNG image", rb"\x89PNG"),
    _binary(FileKind.IMAGE, "TIFF image", rb"II\*\0|MM\0\*"),
    _binary(FileKind.IMAGE, "BMP image", rb"BM.{4}\0{4}"),
    _binary(FileKind.IMAGE, "JPEG 2000 image", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    _binary(FileKind.OTHER_PICTURE, "HEIC photo", rb"\0\0.{2}ftyp(?:mif1|msf1|he[iv][cmxs])"),
    _binary(FileKind.OTHER_PICTURE, "JPEG XL image", rb"\0\0\0\x0cJXL |\xff\x0a"),
    _binary(FileKind.IMAGE, "Photoshop document", rb"8BPS\0"),
    _binary(FileKind.OTHER_PICTURE, "PDF document", rb"%PDF-"),
    _binary(FileKind.OTHER_PICTURE, "PostScript drawing", rb"%!PS|\xc5\xd0\xd3\xc6"),
    _binary(FileKind.OTHER, "video", rb"\0\0.{2}ftyp|\x1aE\xdf\xa3"),
    _binary(FileKind.OTHER, "old Excel workbook (.xls)", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    _binary(FileKind.OTHER, "ZIP archive", rb"PK\x03\x04"),
    _binary(FileKind.OTHER, "gzip archive", rb"\x1f\x8b"),
    _binary(FileKind.OTHER, "7z archive", rb"7z\xbc\xaf\x27\x1c"),
    _binary(FileKind.OTHER, "RAR archive", rb"Rar!\x1a\x07"),
    _binary(FileKind.OTHER, "Parquet file", rb"PAR1"),
    _text(FileKind.OTHER_PICTURE, "SVG drawing", rb"\s*(?=<)(?:(?!<html).){0,2000}<svg\b"),
    _text(FileKind.OTHER, "web page", rb"\s*<(?:!doctype html|html|head|body|script)"),
    _text(FileKind.OTHER, "XML or HTML document", rb"\s*<"),
    _text(FileKind.OTHER, "JSON data", rb'\s*(?:\{\s*["}]|\[)'),
    _text(FileKind.OTHER, "text", rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z"),
)


def file_type(data: bytes) -> FileType | None:
    """Return the type of a file by its first bytes; None for one that is not known."""
    start = data[:_SNIFFED_BYTES].removeprefix(codecs.BOM_UTF8)
    return next((known for known in _FILE_TYPES if known.pattern.match(start)), None)
