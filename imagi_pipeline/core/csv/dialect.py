"""bytes -> records: the encoding and dialect of a CSV, and its values as they came.

Nothing here knows what a record is for: preamble, header and columns are csv_table.py. But to tell delimiter
and code page takes a look at the cells: URLs hold delimiters too, and the name of a column may say "image".
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from imagi_pipeline.core.csv import cell_urls
from imagi_pipeline.core.errors import CsvError, ErrorCode
from imagi_pipeline.core.images.signatures import file_type

_DELIMITERS = ",;\t|"
_DIALECT_SAMPLE = 64 * 1024  # characters from which the delimiter is found
_ROWS_IN_A_PIECE = 5000
_ENCODING_SAMPLE = 5000  # words outside ASCII from which the code page is found
_MAX_CELL = 2**31 - 1  # the largest limit that the csv module takes everywhere

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
    r"\s*(?:<!doctype html|<html|<\?xml|<head\b|<!--.{0,500}?<html)", re.IGNORECASE | re.DOTALL
)

_NO_TABLE = (0.0, 0)

# How the first cell of a comment begins, and the line that tells Excel the delimiter.
COMMENT = re.compile(r"\s*(?:#.|sep=)", re.IGNORECASE | re.DOTALL)

# Words for image, in lower case: they tell an image column from others and one code page from another.
SAYS_IMAGE = re.compile(
    r"image|imagin|photo|picture|thumb|galler|galeri|screenshot|foto|bild|billede|immagin|afbeelding"
    r"|zdj[eę]ci|obr[aá]z|snímek|\bkuva|kép|resim|görsel|nuotrauk|attēl|\bpilt|gambar|\bslik[ae]"
    r"|画像|写真|图片|圖片|图像|圖像|照片|изображени|картинк|фото|зображення|снимк|εικόν|φωτο"
    r"|صور|תמונ|이미지|사진|รูป|ảnh"
    r"|(?<![^\W_])(?:imgs?|pics?|cover|poster|avatar|logo|icon|banner)(?![^\W\d_])"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV is written, so that another can be written alike."""

    encoding: str
    byte_order_mark: bytes
    delimiter: str
    newline: str


def read_records(data: bytes) -> tuple[Dialect, list[list[str]]]:
    """The dialect of a CSV and all its records, blank ones included.

    Raises CsvError (empty_csv, not_a_csv, unreadable_text).
    """
    text, encoding, mark = _decode(data)
    csv.field_size_limit(_MAX_CELL)
    delimiter = _delimiter(text)
    rows = _records(text, delimiter)
    if all(map(is_blank, rows)):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file is empty.")
    return Dialect(encoding, mark, delimiter, _newline(text, delimiter)), rows


def is_blank(row: list[str]) -> bool:
    """Whether a record holds nothing but white space."""
    return not any(cell.strip() for cell in row)


# --- bytes to text


def _decode(data: bytes) -> tuple[str, str, bytes]:
    """Text, encoding and byte order mark."""
    _refuse_other_formats(data)
    mark = next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS[mark] if mark else _evident_utf16(data) or "utf-8"
    if encoding == "utf-8":
        _refuse_nul_ridden(data.count(0), len(data))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark or encoding != "utf-8":
            raise CsvError(
                ErrorCode.UNREADABLE_TEXT,
                f"The file breaks its encoding, {encoding}, at byte {error.start:,}.",
                row=data[: len(mark) + error.start].decode(encoding, "replace").count("\n") + 1,
            ) from error
        encoding = _code_page(data)
        text = data.decode(encoding)
    _refuse_nul_ridden(text.count("\0"), len(text))
    if _HTML.match(text):
        raise CsvError(ErrorCode.NOT_A_CSV, "The file looks like an HTML or XML page.")
    return text, encoding, mark


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
    """UTF-16 without byte order mark, told by ASCII characters having every other byte zero."""
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    many, few = len(sample) // 5, len(sample) // 50
    if odd > many and even <= few:
        return "utf-16-le"
    return "utf-16-be" if even > many and odd <= few else None


def _code_page(data: bytes) -> str:
    # It takes 30 ms to import and most files are UTF-8.
    import charset_normalizer

    # Each word once: an enriched CSV repeats words of its cells, and must be read like its original.
    words = (match[0] for match in _WORD.finditer(data) if not match[0].isascii())
    sample = b" ".join(dict.fromkeys(islice(words, _ENCODING_SAMPLE)))
    guesses = charset_normalizer.from_bytes(sample, cp_isolation=_CODE_PAGES)
    # Of short texts the guesses are hardly better than chance: an image column's name, if any, decides.
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


# --- text to records


def _records(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        # In pieces: the other threads of the gateway stand still while one piece is read.
        while piece := list(islice(reader, _ROWS_IN_A_PIECE)):
            rows += piece
    except csv.Error:
        return list(_records_with_stray_quotes(text, delimiter))
    return rows


def _records_with_stray_quotes(text: str, delimiter: str) -> Iterator[list[str]]:
    """The records of a text that breaks the rules of quoting.

    A broken line is read leniently if its quotes are closed within it. Otherwise its quotes are taken as
    characters, lest they swallow the lines that follow.
    """
    lines = list(io.StringIO(text, newline=""))
    start = 0
    while start < len(lines):
        rest = (lines[index] for index in range(start, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        lines_done = 0
        try:
            for record in reader:
                yield record
                lines_done = reader.line_num
        except csv.Error:
            yield _broken_line(lines[start + lines_done], delimiter)
            lines_done += 1
        start += lines_done


def _broken_line(line: str, delimiter: str) -> list[str]:
    lenient = list(csv.reader([line, "next line"], delimiter=delimiter))
    if len(lenient) == 2:
        return lenient[0]
    return next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE))


def _newline(text: str, delimiter: str) -> str:
    """The line end behind the first record; a newline when there is none."""
    lines = io.StringIO(text, newline="")
    next(csv.reader(lines, delimiter=delimiter))
    first = text[: lines.tell()]
    return next((end for end in ("\r\n", "\n", "\r") if first.endswith(end)), "\n")


# --- the delimiter


def _delimiter(text: str) -> str:
    sample = _whole_records(text)
    scores = {delimiter: _score(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=scores.__getitem__)
    # A table of one column has no delimiter: take one that its values do without.
    return best if scores[best] > _NO_TABLE else min(_DELIMITERS, key=text.count)


def _whole_records(text: str) -> str:
    """The beginning of the text, up to the end of a line and outside of quotes."""
    size = _DIALECT_SAMPLE
    while size < len(text):
        sample = "".join(text[:size].splitlines(keepends=True)[:-1])
        if sample and sample.count('"') % 2 == 0:
            return sample
        size *= 2
    return text


def _score(sample: str, delimiter: str) -> tuple[float, int]:
    """The share of records that have the most common number of columns, and that number."""
    filled = [row for row in _records(sample, delimiter) if not is_blank(row)]
    rows = [row for row in filled if not COMMENT.match(row[0])] or filled
    if not rows:
        return _NO_TABLE
    first_is_header = not any(map(cell_urls.holds_url, rows[0]))
    widths = [len(row) for row in rows]
    if first_is_header and len(rows[0]) == 1 and all(map(_splits_only_urls, rows[1:])):
        return _NO_TABLE
    if not (first_is_header and len(rows[0]) == _most_common(widths)):
        widths = [0 if any(map(_mixes_columns, row)) else _width(row) for row in rows]
    # Where the first row has several columns, short rows do not make it one.
    width = _most_common([width for width in widths if width > 1] if widths[0] > 1 else widths)
    return (widths.count(width) / len(rows), width) if width > 1 else _NO_TABLE


def _most_common(numbers: Iterable[int]) -> int:
    """The most common number, the largest of several."""
    return max(Counter(numbers).items(), key=lambda item: (item[1], item[0]))[0]


def _splits_only_urls(row: list[str]) -> bool:
    return len(row) == 1 or all(cell_urls.is_placeholder(x) or cell_urls.holds_url(x) for x in row)


def _mixes_columns(cell: str) -> bool:
    """Whether the cell lists other things beside URLs, as when cut at the wrong delimiter."""
    if not cell_urls.holds_url(cell):
        return False
    return not all(map(cell_urls.holds_url, cell_urls.find_items(cell)))


def _width(row: list[str]) -> int:
    """The number of columns, a URL that itself holds the delimiter being one."""
    width = start = 0
    while start < len(row):
        start += _cells_of_url(row[start:])
        width += 1
    return width


def _cells_of_url(cells: list[str]) -> int:
    if cell_urls.is_url_without_end(cells[0]):
        for count, cell in enumerate(cells[1:], start=2):
            if not cell or len(cell.split()) > 1 or cell_urls.holds_url(cell):
                break
            if "/" in cell or cell_urls.has_image_extension(cell):
                return count
    return 1
