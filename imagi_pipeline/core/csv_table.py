"""A CSV as people write it: bytes to a table and its image references, table and results to an enriched CSV.

Reading loses nothing: every record and every value stays as it came. What the text of a single cell means is
image_urls.py.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from imagi_pipeline.core import image_urls
from imagi_pipeline.core.errors import CsvError, ErrorCode, UrlError
from imagi_pipeline.core.image_urls import CellKind

OUTPUT_COLUMN = "Output Image Urls"
ERROR_COLUMN = "Image Errors"

_DELIMITERS = ",;\t|"
_DIALECT_SAMPLE = 64 * 1024  # characters from which the delimiter is found
_ENCODING_SAMPLE = 5000  # words outside ASCII from which the code page is found
_COLUMN_SAMPLE = 1000  # filled cells from which the meaning of a column is found
_MAX_CELL = 2**31 - 1  # the largest limit that the csv module takes everywhere
_SHORT = 100  # characters of a value that a problem quotes

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
_MAGIC = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel workbook (.xls)",
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PAR1": "a Parquet file",
}

_WORD = re.compile(rb"[^\x00-\x22,;]+")
_HTML = re.compile(
    r"\s*(?:<!doctype html|<html|<\?xml|<head\b|<!--.{0,500}?<html)", re.IGNORECASE | re.DOTALL
)
_OWN_OUTPUT = re.compile(rf"{OUTPUT_COLUMN}( \d+)?")
_NUMBER = re.compile(r"\s*[-+]?\d+(?:[.,]\d+)*\s*")
_CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COMMENT = re.compile(r"\s*(?:#.|sep=)", re.IGNORECASE | re.DOTALL)

_SAYS_IMAGE = re.compile(
    r"image|imagin|photo|picture|thumb|galler|galeri|screenshot|foto|bild|billede|immagin|afbeelding"
    r"|zdj[eę]ci|obr[aá]z|snímek|\bkuva|kép|resim|görsel|nuotrauk|attēl|\bpilt|gambar|\bslik[ae]"
    r"|画像|写真|图片|圖片|图像|圖像|照片|изображени|картинк|фото|зображення|снимк|εικόν|φωτο"
    r"|صور|תמונ|이미지|사진|รูป|ảnh"
    r"|(?<![^\W_])(?:imgs?|pics?|cover|poster|avatar|logo|icon|banner)(?![^\W\d_])"
)
_SAYS_ABOUT_IMAGE = re.compile(
    r"(?<![^\W\d_])(?:alt|text|description|caption|title|count|number of|position|width|height|size"
    r"|type|colou?r|id|name|filename|date|credits?|licen[cs]e|author|copyright|status|errors?)(?![^\W\d_])"
)
_SAYS_URL = re.compile(r"ur[il]|link|src|href|adres")
_SAYS_PAGE = re.compile(
    r"link|page|permalink|product[ _-]?url|website|site|href|handle|webseite|seite|página|pagina|ссылка"
)

_URLS = (CellKind.IMAGE_URL, CellKind.OTHER_URL, CellKind.PAGE_URL)
_NO_TABLE = (0.0, 0)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One image URL in one cell: row and position count from 1, and `url` is ready to be requested."""

    row: int
    column: str
    position: int
    url: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What stands at the place of an image URL and cannot be used; `code` is that of an ErrorCode."""

    row: int
    column: str
    position: int
    value: str
    code: str
    message: str


@dataclass
class CsvTable:
    """A CSV as it came, and the image references in it.

    `rows` are all records of the file with their values untouched: row number n, as a spreadsheet shows
    it, is `rows[n - 1]`. `header` has one unique name per column, without the two columns of an earlier
    run. `first_data_row` is the row number of the first record behind preamble and header.
    """

    encoding: str
    byte_order_mark: bytes
    delimiter: str
    newline: str
    has_header: bool
    first_data_row: int
    header: list[str]
    rows: list[list[str]]
    url_columns: list[str] = field(default_factory=list)
    references: list[ImageReference] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def data_rows(self) -> list[list[str]]:
        """The records behind preamble and header, blank ones included."""
        return self.rows[self.first_data_row - 1 :]

    @property
    def data_row_count(self) -> int:
        """How many records behind the header hold anything."""
        return sum(1 for row in self.data_rows if not _is_blank(row))


def read_csv(data: bytes, *, url_columns: Sequence[str] = (), base_url: str | None = None) -> CsvTable:
    """Parse a CSV and find the image references in it.

    `url_columns` names the columns that hold image URLs, by header or by number from 1; without it they
    are found by their values and headers. `base_url` is the URL of the folder that relative paths are
    joined to. A value that is no usable image URL is a Problem of the table, not an exception.

    Raises CsvError (empty_csv, not_a_csv, unreadable_text, unknown_column), and UrlError when `base_url`
    itself is no usable URL.
    """
    folder = image_urls.normalise(base_url) if base_url is not None else None
    table = _parse(data)
    columns = _named_columns(table, url_columns) if url_columns else _found_columns(table, folder)
    table.url_columns = [table.header[column] for column in columns]
    _find_references(table, columns, folder)
    return table


def enrich(table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]) -> bytes:
    """The CSV with the URLs of the compressed images, in the encoding and dialect it came in.

    By image URL, `outputs` has the URL of the compressed image and `errors` a one-line message. Two columns
    are added, or replaced when the CSV ends with them from an earlier run: the compressed images' URLs,
    joined by commas, with an empty place for each that is missing; and one line per missing image. A code
    page that cannot carry the result becomes UTF-8 with byte order mark, which Excel recognises.
    """
    lines: list[str] = []
    # With this line end the csv module quotes every cell with any kind of line end in it.
    writer = csv.writer(_LineSink(lines), delimiter=table.delimiter, lineterminator="\r\n")
    writer.writerows(_enriched_rows(table, outputs, errors))
    text = table.newline.join([*lines, ""])
    try:
        return table.byte_order_mark + text.encode(table.encoding)
    except UnicodeEncodeError:
        return codecs.BOM_UTF8 + text.encode("utf-8")


class _LineSink:
    """Collects what a csv.writer writes, one line a record, without its line end."""

    def __init__(self, lines: list[str]) -> None:
        self._append = lines.append

    def write(self, line: str) -> None:
        self._append(line[:-2])


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
            ) from error
        encoding = _code_page(data)
        text = data.decode(encoding)
    _refuse_nul_ridden(text.count("\0"), len(text))
    if _HTML.match(text):
        raise CsvError(ErrorCode.NOT_A_CSV, "The file looks like an HTML or XML page.")
    return text, encoding, mark


def _refuse_other_formats(data: bytes) -> None:
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if data.startswith(b"PK\x03\x04"):
        is_workbook = b"xl/" in data or b"[Content_Types].xml" in data
        kind = "an Excel workbook (.xlsx)" if is_workbook else "a ZIP archive"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        kind = "a WebP image"
    if kind:
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
    likely = sorted(guesses, key=lambda guess: not _SAYS_IMAGE.search(str(guess).casefold()))
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


def _parse(data: bytes) -> CsvTable:
    text, encoding, mark = _decode(data)
    csv.field_size_limit(_MAX_CELL)
    delimiter = _delimiter(text)
    rows = _records(text, delimiter)
    if all(map(_is_blank, rows)):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file is empty.")
    start = _table_start(rows)
    has_header = start < len(rows) and not _is_data(rows[start])
    first = start + has_header
    if all(map(_is_blank, rows[first:])):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file has no rows below its header.")
    width = max(map(len, rows[start:]))
    raw_header = rows[start] if has_header else []
    if _ends_with_own_columns(raw_header, width):
        width -= 2
    return CsvTable(
        encoding=encoding,
        byte_order_mark=mark,
        delimiter=delimiter,
        newline=_newline(text, delimiter),
        has_header=has_header,
        first_data_row=first + 1,
        header=_column_names(raw_header[:width], width),
        rows=rows,
    )


def _records(text: str, delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return list(_records_with_stray_quotes(text, delimiter))


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
    filled = [row for row in _records(sample, delimiter) if not _is_blank(row)]
    rows = [row for row in filled if not _COMMENT.match(row[0])] or filled
    if not rows:
        return _NO_TABLE
    first_is_header = not any(map(image_urls.holds_url, rows[0]))
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
    return len(row) == 1 or all(image_urls.is_placeholder(x) or image_urls.holds_url(x) for x in row)


def _mixes_columns(cell: str) -> bool:
    """Whether the cell lists other things beside URLs, as when cut at the wrong delimiter."""
    if not image_urls.holds_url(cell):
        return False
    return not all(map(image_urls.holds_url, image_urls.find_items(cell)))


def _width(row: list[str]) -> int:
    """The number of columns, a URL that itself holds the delimiter being one."""
    width = start = 0
    while start < len(row):
        start += _cells_of_url(row[start:])
        width += 1
    return width


def _cells_of_url(cells: list[str]) -> int:
    if image_urls.is_url_without_end(cells[0]):
        for count, cell in enumerate(cells[1:], start=2):
            if not cell or len(cell.split()) > 1 or image_urls.holds_url(cell):
                break
            if "/" in cell or image_urls.has_image_extension(cell):
                return count
    return 1


# --- preamble and header


def _table_start(rows: list[list[str]]) -> int:
    """The index of the first record behind blank lines, comments and a title or help row."""
    filled = (index for index, row in enumerate(rows) if not _is_blank(row))
    last = next(filled)
    for index in filled:
        if not _is_preamble(rows[last], rows[index]):
            return last
        last = index
    return len(rows) if _COMMENT.match(rows[last][0]) else last


def _is_preamble(row: list[str], following: list[str]) -> bool:
    if _is_data(row):
        return False
    if _COMMENT.match(row[0]):
        return _filled_cells(row) == 1 or not _is_data(following)
    return _filled_cells(row) * 2 <= _filled_cells(following) and not _is_data(following)


def _is_data(row: list[str]) -> bool:
    """Whether a record that may be a header is none."""
    if any(image_urls.holds_url(cell) or image_urls.has_image_extension(cell) for cell in row):
        return True
    if any(_SAYS_IMAGE.search(_words(cell)) for cell in row):
        return False
    return any(_NUMBER.fullmatch(cell) or (cell.strip() and image_urls.is_placeholder(cell)) for cell in row)


def _is_blank(row: list[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _filled_cells(row: list[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _words(name: str) -> str:
    return _CAMEL_HUMP.sub(" ", name).casefold()


def _column_names(raw_header: list[str], width: int) -> list[str]:
    names: dict[str, None] = {}
    for number in range(1, width + 1):
        name = raw_header[number - 1].strip() if number <= len(raw_header) else ""
        if not name or name in names:
            name = f"column {number}"
        while name in names:
            name += " (2)"
        names[name] = None
    return list(names)


def _own_columns(raw_header: list[str]) -> list[str]:
    """The names of the two columns to add, with a number if the header has one of them already."""
    for number in count(1):
        suffix = "" if number == 1 else f" {number}"
        names = [OUTPUT_COLUMN + suffix, ERROR_COLUMN + suffix]
        if not set(names) & set(raw_header):
            break
    return names


def _ends_with_own_columns(raw_header: list[str], width: int) -> bool:
    return 2 < width == len(raw_header) and raw_header[-2:] == _own_columns(raw_header[:-2])


# --- the columns that hold image URLs, as indexes


def _named_columns(table: CsvTable, wanted: Sequence[str]) -> list[int]:
    raw_names = _names_as_written(table)
    columns: set[int] = set()
    for name in wanted:
        found = _columns_with_name(name.strip(), raw_names) or _columns_with_name(name.strip(), table.header)
        if not found and name.strip().isdecimal() and 1 <= int(name) <= len(table.header):
            found = [int(name) - 1]
        if not found:
            there = ", ".join(map(_shown, table.header))
            raise CsvError(ErrorCode.UNKNOWN_COLUMN, f"There is no column {name!r}. There are: {there}.")
        columns.update(found)
    return sorted(columns)


def _names_as_written(table: CsvTable) -> list[str]:
    """The header's own names, be they empty or repeated."""
    if not table.has_header:
        return []
    return [name.strip() for name in table.rows[table.first_data_row - 2][: len(table.header)]]


def _columns_with_name(name: str, header: list[str]) -> list[int]:
    exact = [index for index, other in enumerate(header) if other == name]
    folded = [index for index, other in enumerate(header) if other.casefold() == name.casefold()]
    return exact or folded


def _found_columns(table: CsvTable, folder: str | None) -> list[int]:
    names = _names_as_written(table)
    while names and not names[-1]:
        names.pop()
    # Cells beyond the header are mostly the rest of a list in its last column that nobody quoted.
    names += (names[-1:] or [""]) * (len(table.header) - len(names))
    kinds = {
        index: Counter(map(image_urls.classify, _filled_sample(table, index)))
        for index, name in enumerate(names)
        if not _OWN_OUTPUT.fullmatch(name)
    }
    found = [index for index, seen in kinds.items() if _holds_images(names[index], seen, folder)]
    if found:
        return found
    with_urls = [index for index, seen in kinds.items() if _is_mostly(_URLS, seen)]
    if with_urls:
        return [i for i in with_urls if len(with_urls) == 1 and not _holds_pages(names[i], kinds[i])]
    return [index for index, seen in kinds.items() if _is_mostly({CellKind.UNUSABLE}, seen)]


def _filled_sample(table: CsvTable, column: int) -> Iterator[str]:
    cells = (row[column] for row in table.data_rows if len(row) > column and row[column])
    return islice((cell for cell in cells if not image_urls.is_placeholder(cell)), _COLUMN_SAMPLE)


def _holds_images(name: str, seen: Counter[CellKind], folder: str | None) -> bool:
    words = _words(name)
    if _SAYS_IMAGE.search(words) and not _SAYS_ABOUT_IMAGE.search(words):
        return seen.total() > 0 if _SAYS_URL.search(words) else seen.total() > seen[CellKind.TEXT]
    if folder and _is_mostly({CellKind.UNUSABLE}, seen):
        return True
    urls = sum(seen[kind] for kind in _URLS)
    return _is_mostly(_URLS, seen) and seen[CellKind.IMAGE_URL] * 2 > urls


def _holds_pages(name: str, seen: Counter[CellKind]) -> bool:
    return _SAYS_PAGE.search(_words(name)) is not None or _is_mostly({CellKind.PAGE_URL}, seen)


def _is_mostly(kinds: Iterable[CellKind], seen: Counter[CellKind]) -> bool:
    return sum(seen[kind] for kind in kinds) * 2 > seen.total()


# --- references and problems


def _find_references(table: CsvTable, columns: list[int], folder: str | None) -> None:
    references = table.references
    named = [(column, table.header[column]) for column in columns]
    for number, row in enumerate(table.data_rows, start=table.first_data_row):
        for column, name in named:
            if column >= len(row) or not (cell := row[column]):
                continue
            if image_urls.is_plain_url(cell):
                references.append(ImageReference(number, name, 1, cell))
            else:
                _find_in_cell(table, cell, number, name, folder)


def _find_in_cell(table: CsvTable, cell: str, row: int, column: str, folder: str | None) -> None:
    for position, item in enumerate(image_urls.find_items(cell), start=1):
        try:
            url = image_urls.normalise(item, folder)
        except UrlError as error:
            value = _shortened(item)
            table.problems.append(Problem(row, column, position, value, error.code, error.message))
        else:
            table.references.append(ImageReference(row, column, position, url))


def _shortened(value: str) -> str:
    return value if len(value) <= _SHORT else value[: _SHORT - 3] + "..."


# --- the enriched CSV


def _enriched_rows(
    table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]
) -> Iterator[list[str]]:
    width = len(table.header)
    before = table.rows[: table.first_data_row - 1]
    yield from before[:-1] if table.has_header else before
    if table.has_header:
        names = before[-1][:width]
        yield [*names, *[""] * (width - len(names)), *_own_columns(names)]
    entries = _entries_by_row(table)
    for number, row in enumerate(table.data_rows, start=table.first_data_row):
        if len(row) <= 1 and _is_blank(row):
            yield row
        else:
            padding = [""] * (width - len(row))
            yield [*row[:width], *padding, *_results(entries.get(number, []), outputs, errors)]


def _entries_by_row(table: CsvTable) -> dict[int, list[ImageReference | Problem]]:
    """References and problems of each row, in the order of column and position."""
    entries: dict[int, list[ImageReference | Problem]] = {}
    for reference in table.references:
        entries.setdefault(reference.row, []).append(reference)
    for problem in table.problems:
        entries.setdefault(problem.row, []).append(problem)
    order = {name: index for index, name in enumerate(table.header)}
    for row in {problem.row for problem in table.problems}:
        entries[row].sort(key=lambda entry: (order[entry.column], entry.position))
    return entries


def _results(
    entries: list[ImageReference | Problem], outputs: Mapping[str, str], errors: Mapping[str, str]
) -> tuple[str, str]:
    """The cells of the two columns for one row."""
    urls: list[str] = []
    lines: list[str] = []
    in_column = Counter(entry.column for entry in entries)
    for entry in entries:
        output = "" if isinstance(entry, Problem) else outputs.get(entry.url, "")
        urls.append(output)
        if not output:
            lines.append(_error_line(entry, errors, several=in_column[entry.column] > 1))
    return ",".join(urls), "\n".join(lines)


def _error_line(entry: ImageReference | Problem, errors: Mapping[str, str], several: bool) -> str:
    if isinstance(entry, Problem):
        value, message = entry.value, entry.message
    else:
        value, message = entry.url, errors.get(entry.url, "The image was not processed.")
    place = f"{entry.column}, position {entry.position}" if several else entry.column
    return _shown(f"{place}: {value}: {message}")


def _shown(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
