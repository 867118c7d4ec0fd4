"""A CSV as people write it: bytes to a table and its image references, table and results to an enriched CSV.

Here belongs what makes records a table: preamble and header, and which columns hold image URLs. Reading loses
nothing: every record and every value stays as it came. How bytes become records is csv_dialect.py, what the
text of a single cell means is cell_urls.py.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from imagi_pipeline.core.csv import cell_urls
from imagi_pipeline.core.csv.cell_urls import CellKind
from imagi_pipeline.core.csv.dialect import COMMENT, SAYS_IMAGE, is_blank, read_records
from imagi_pipeline.core.errors import CsvError, ErrorCode, UrlError
from imagi_pipeline.core.printable import LONGEST_MESSAGE, no_formula, printable

OUTPUT_COLUMN = "Output Image Urls"
ERROR_COLUMN = "Image Errors"

_COLUMN_SAMPLE = 1000  # filled cells from which the meaning of a column is found
_SHORT = 100  # characters of a value that a problem quotes

_OWN_OUTPUT = re.compile(rf"{OUTPUT_COLUMN}( \d+)?")
_NUMBER = re.compile(r"\s*[-+]?\d+(?:[.,]\d+)*\s*")
_CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")

_SAYS_ABOUT_IMAGE = re.compile(
    r"(?<![^\W\d_])(?:alt|text|description|caption|title|count|number of|position|width|height|size"
    r"|type|colou?r|id|name|filename|date|credits?|licen[cs]e|author|copyright|status|errors?)(?![^\W\d_])"
)
_SAYS_URL = re.compile(r"ur[il]|link|src|href|adres")
_SAYS_PAGE = re.compile(
    r"link|page|permalink|product[ _-]?url|website|site|href|handle|webseite|seite|página|pagina|ссылка"
)

_URLS = (CellKind.IMAGE_URL, CellKind.OTHER_URL, CellKind.PAGE_URL)


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
        return sum(1 for row in self.data_rows if not is_blank(row))


def read_csv(data: bytes, *, url_columns: Sequence[str] = (), base_url: str | None = None) -> CsvTable:
    """Parse a CSV and find the image references in it.

    `url_columns` names the columns that hold image URLs, by header or by number from 1; without it they
    are found by their values and headers. `base_url` is the URL of the folder that relative paths are
    joined to. A value that is no usable image URL is a Problem of the table, not an exception.

    Raises CsvError (empty_csv, not_a_csv, unreadable_text, unknown_column, invalid_url of `base_url`).
    """
    folder = _folder(base_url)
    table = _parse(data)
    columns = _named_columns(table, url_columns) if url_columns else _found_columns(table, folder)
    table.url_columns = [table.header[column] for column in columns]
    _find_references(table, columns, folder)
    return table


def read_request(data: bytes, *, url_columns: Sequence[str] = (), base_url: str | None = None) -> CsvTable:
    """As `read_csv`, for a CSV that is to be worked on: CsvError also when it names no usable image."""
    table = read_csv(data, url_columns=url_columns, base_url=base_url)
    if not table.references:
        detail = "The CSV names no image that can be downloaded."
        if not table.problems:
            raise CsvError(ErrorCode.NO_IMAGE_REFERENCES, detail)
        first = table.problems[0]
        count = f"{len(table.problems):,} entries cannot be used"
        detail += f" {count}, first in row {first.row}: {first.message}"
        raise CsvError(ErrorCode.NO_IMAGE_REFERENCES, detail, row=first.row, column=first.column)
    return table


def enrich(table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]) -> bytes:
    """The CSV with the URLs of the compressed images, in the encoding and dialect it came in.

    By image URL, `outputs` has the URL of the compressed image and `errors` a one-line message. Two columns
    are added, or replaced when the CSV ends with them from an earlier run: the compressed images' URLs,
    joined by commas, with an empty place for each that is missing; and one line per image that is missing
    or of which only an earlier copy is there. A code page that cannot carry the result becomes UTF-8 with
    byte order mark, which Excel recognises.
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


def _folder(base_url: str | None) -> str | None:
    if base_url is None:
        return None
    try:
        return cell_urls.normalise(base_url)
    except UrlError as error:
        detail = f"The base URL {base_url!r} cannot be used: {error.detail}"
        raise CsvError(ErrorCode.INVALID_URL, detail) from error


# --- preamble and header


def _parse(data: bytes) -> CsvTable:
    dialect, rows = read_records(data)
    start = _table_start(rows)
    has_header = start < len(rows) and not _is_data(rows[start])
    first = start + has_header
    if all(map(is_blank, rows[first:])):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file has no rows below its header.")
    width = max(map(len, rows[start:]))
    raw_header = rows[start] if has_header else []
    if _ends_with_own_columns(raw_header, width):
        width -= 2
    return CsvTable(
        encoding=dialect.encoding,
        byte_order_mark=dialect.byte_order_mark,
        delimiter=dialect.delimiter,
        newline=dialect.newline,
        has_header=has_header,
        first_data_row=first + 1,
        header=_column_names(raw_header[:width], width),
        rows=rows,
    )


def _table_start(rows: list[list[str]]) -> int:
    """The index of the first record behind blank lines, comments and a title or help row."""
    filled = (index for index, row in enumerate(rows) if not is_blank(row))
    last = next(filled)
    for index in filled:
        if not _is_preamble(rows[last], rows[index]):
            return last
        last = index
    return len(rows) if COMMENT.match(rows[last][0]) else last


def _is_preamble(row: list[str], following: list[str]) -> bool:
    if _is_data(row):
        return False
    if COMMENT.match(row[0]):
        return _filled_cells(row) == 1 or not _is_data(following)
    return _filled_cells(row) * 2 <= _filled_cells(following) and not _is_data(following)


def _is_data(row: list[str]) -> bool:
    """Whether a record that may be a header is none."""
    if any(cell_urls.holds_url(cell) or cell_urls.has_image_extension(cell) for cell in row):
        return True
    if any(SAYS_IMAGE.search(_words(cell)) for cell in row):
        return False
    return any(_NUMBER.fullmatch(cell) or (cell.strip() and cell_urls.is_placeholder(cell)) for cell in row)


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
            detail = f"There is no column {name!r}. There are: {there}."
            raise CsvError(ErrorCode.UNKNOWN_COLUMN, detail, column=name.strip())
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
        index: Counter(map(cell_urls.classify, _filled_sample(table, index)))
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
    return islice((cell for cell in cells if not cell_urls.is_placeholder(cell)), _COLUMN_SAMPLE)


def _holds_images(name: str, seen: Counter[CellKind], folder: str | None) -> bool:
    words = _words(name)
    if SAYS_IMAGE.search(words) and not _SAYS_ABOUT_IMAGE.search(words):
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
            if cell_urls.is_plain_url(cell):
                references.append(ImageReference(number, name, 1, cell))
            else:
                _find_in_cell(table, cell, number, name, folder)


def _find_in_cell(table: CsvTable, cell: str, row: int, column: str, folder: str | None) -> None:
    for position, item in enumerate(cell_urls.find_items(cell), start=1):
        try:
            url = cell_urls.normalise(item, folder)
        except UrlError as error:
            value = _shortened(item)
            table.problems.append(Problem(row, column, position, value, error.code, error.message))
        else:
            table.references.append(ImageReference(row, column, position, url))


def _shortened(value: str) -> str:
    return printable(value, _SHORT)


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
        if len(row) <= 1 and is_blank(row):
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
        if not output or (isinstance(entry, ImageReference) and entry.url in errors):
            lines.append(_error_line(entry, errors, several=in_column[entry.column] > 1))
    return no_formula(",".join(urls)), no_formula("\n".join(lines))


def _error_line(entry: ImageReference | Problem, errors: Mapping[str, str], several: bool) -> str:
    if isinstance(entry, Problem):
        value, message = entry.value, entry.message
    else:
        value, message = entry.url, errors.get(entry.url, "The image was not processed.")
    column = printable(entry.column)
    place = f"{column}, position {entry.position}" if several else column
    return f"{place}: {printable(value, cell_urls.MAX_URL_BYTES)}: {printable(message, LONGEST_MESSAGE)}"


def _shown(text: str) -> str:
    """The text on one line."""
    return printable(text)
