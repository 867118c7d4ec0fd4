"""Find the encoding of a CSV's bytes; the text written in it gives the same bytes again."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from imagi_pipeline.core.csv.header_words import SAYS_IMAGE
from imagi_pipeline.core.errors import CsvError, ErrorCode
from imagi_pipeline.core.images.signatures import file_type

_ENCODING_SAMPLE = 5000  # the code page is found from so many different words outside ASCII
_ENCODING_SAMPLE_BYTES = 100_000
_STRAY = re.compile("[\ud800-\udfff]")
_NOT_ASCII = re.compile("[^\x00-\x7f\ud800-\udfff]")

# The East Asian ones are what Windows calls its code pages there.
_CODE_PAGES = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp874", "cp932", "gb18030", "cp949", "cp950"),
]
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_WORD = re.compile(rb"[^\x00-\x22,;]+")
_HTML = re.compile(
    r"\s*+(?:<!doctype html|<html|<\?xml|<head\b|<!--.{0,500}?<html)", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How text became bytes: the codec's name, its byte order mark, and how it treats bytes that break it."""

    name: str
    byte_order_mark: bytes = b""
    errors: str = "strict"

    @property
    def has_stray_bytes(self) -> bool:
        """Return whether the bytes break the encoding in places, which the text holds as lone surrogates."""
        return self.errors != "strict"

    def encode(self, text: str) -> bytes:
        """Return the bytes of a part of the text, without byte order mark; UnicodeEncodeError for foreign
        text.
        """
        return text.encode(self.name, self.errors)


def decode(data: bytes) -> tuple[str, Encoding]:
    """Return the text of a CSV and its encoding.

    UTF-8 that is broken in single places stays UTF-8: each byte that breaks it is a lone surrogate in the
    text (PEP 383). Raises CsvError (not_a_csv, unreadable_text).
    """
    _refuse_other_formats(data)
    mark = next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    name = _BYTE_ORDER_MARKS[mark] if mark else _evident_utf16(data) or "utf-8"
    if name == "utf-8":
        _refuse_nul_ridden(data.count(0), len(data))
    body = data[len(mark) :]
    try:
        text, encoding = body.decode(name), Encoding(name, mark)
    except UnicodeDecodeError as error:
        if name == "utf-8":
            text, encoding = _broken_utf8(body, mark)
        else:
            raise CsvError(
                ErrorCode.UNREADABLE_TEXT,
                f"The file breaks its encoding, {name}, at byte {len(mark) + error.start:,}.",
                row=body[: error.start].decode(name, "replace").count("\n") + 1,
            ) from error
    _refuse_nul_ridden(text.count("\0"), len(text))
    if _HTML.match(text):
        raise CsvError(ErrorCode.NOT_A_CSV, "The file looks like an HTML or XML page.")
    return text, encoding


def holds_stray_bytes(text: str) -> bool:
    """Return whether the text holds bytes that break the encoding of its file."""
    return _STRAY.search(text) is not None


def without_stray_bytes(text: str) -> str:
    """Return the text with a replacement character for each byte that breaks the encoding."""
    return _STRAY.sub("\ufffd", text)


def _refuse_other_formats(data: bytes) -> None:
    found = file_type(data)
    if found is None or found.is_text:
        return
    kind = found.description
    if found.name == "ZIP archive" and (b"xl/" in data or b"[Content_Types].xml" in data):
        kind = "an Excel workbook (.xlsx)"
    raise CsvError(ErrorCode.NOT_A_CSV, f"The file looks like {kind}.")


def _refuse_nul_ridden(nul_count: int, length: int) -> None:
    # A few stray NULs are a fault of the export; more are a sign of binary data.
    if nul_count > 1 + length // 100:
        raise CsvError(ErrorCode.NOT_A_CSV, "The file looks like binary data.")


def _evident_utf16(data: bytes) -> str | None:
    """Return UTF-16 without a byte order mark; it shows by every other byte being zero in ASCII text."""
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    many, few = len(sample) // 5, len(sample) // 50
    if odd > many and even <= few:
        return "utf-16-le"
    return "utf-16-be" if even > many and odd <= few else None


def _broken_utf8(body: bytes, mark: bytes) -> tuple[str, Encoding]:
    """Return text that is UTF-8 but for single bytes; otherwise that of a code page.

    In the text of a code page, bytes that happen to form UTF-8 are a small part of those outside ASCII.
    """
    text = body.decode("utf-8", "surrogateescape")
    stray, whole = (sum(1 for _ in pattern.finditer(text)) for pattern in (_STRAY, _NOT_ASCII))
    if mark or whole > stray:
        return text, Encoding("utf-8", mark, "surrogateescape")
    page = _code_page(body)
    return body.decode(page), Encoding(page)


def _code_page(data: bytes) -> str:
    # It takes 30 ms to import and most files are UTF-8.
    import charset_normalizer

    guesses = charset_normalizer.from_bytes(_sample_outside_ascii(data), cp_isolation=_CODE_PAGES)
    # For short texts the guesses are hardly better than chance: the name of an image column decides, if any.
    likely = sorted(guesses, key=lambda guess: not SAYS_IMAGE.search(str(guess).casefold()))
    equal = likely[0].could_be_from_charset if likely else []
    candidates = [page for page in _CODE_PAGES if page in equal]
    for encoding in dict.fromkeys([*candidates, *_CODE_PAGES[:1]]):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    raise CsvError(ErrorCode.UNREADABLE_TEXT, "The file is in no encoding that could be recognised.")


def _sample_outside_ascii(data: bytes) -> bytes:
    """Return the words outside ASCII, each once: an enriched CSV repeats words, and must be read like its
    original.
    """
    words: dict[bytes, None] = {}
    size = 0
    for word in _words_outside_ascii(data):
        if word not in words:
            words[word] = None
            size += len(word)
        if len(words) >= _ENCODING_SAMPLE or size > _ENCODING_SAMPLE_BYTES:
            break
    return b" ".join(words)[:_ENCODING_SAMPLE_BYTES]


def _words_outside_ascii(data: bytes) -> Iterator[bytes]:
    for match in _WORD.finditer(data):
        if not match[0].isascii():
            yield match[0]
