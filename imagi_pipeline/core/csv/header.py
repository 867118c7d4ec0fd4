"""Find where the table of a CSV begins: what stands before it, and the names of its columns."""

from __future__ import annotations

import re
from itertools import count, islice, pairwise

from imagi_pipeline.core.csv import cell_urls
from imagi_pipeline.core.csv.dialect import CsvFile, is_blank, is_comment
from imagi_pipeline.core.csv.encoding import without_stray_bytes
from imagi_pipeline.core.csv.header_words import SAYS_IMAGE, words
from imagi_pipeline.core.csv.placeholders import is_placeholder
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.csv.urls import has_image_extension
from imagi_pipeline.core.errors import CsvError, ErrorCode

OUTPUT_COLUMN = "Output Image Urls"
ERROR_COLUMN = "Image Errors"

_LONGEST_PREAMBLE = 1000  # records
_NUMBER = re.compile(r"\s*+[-+]?\d+(?:[.,]\d+)*+\s*+")


def find_table(file: CsvFile) -> CsvTable:
    """Return the table of a CSV, its references not yet found. Raises CsvError (empty_csv)."""
    first_rows = list(islice(file.content.records(), _LONGEST_PREAMBLE))
    start = _table_start(first_rows)
    has_header = start < len(first_rows) and not _is_data(first_rows[start])
    first_data = start + has_header
    raw_header = first_rows[start] if has_header else []
    width = _width(file, first_rows[:start])
    has_own_columns = _ends_with_own_columns(raw_header, width)
    if has_own_columns:
        width -= 2
    table = CsvTable(
        file=file,
        encoding=file.dialect.encoding.name,
        delimiter=file.dialect.delimiter,
        has_header=has_header,
        first_data_row=first_data + 1,
        header=_column_names(raw_header[:width], width),
        has_own_columns=has_own_columns,
    )
    if all(is_blank(row) for _, row in table.data_rows()):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file has no rows below its header.")
    return table


def own_columns(raw_header: list[str]) -> list[str]:
    """Return the names of the two columns to add, with a number if the header has one of them already."""
    taken = set(raw_header)
    for number in count(1):
        suffix = "" if number == 1 else f" {number}"
        names = [OUTPUT_COLUMN + suffix, ERROR_COLUMN + suffix]
        if taken.isdisjoint(names):
            break
    return names


def _width(file: CsvFile, before: list[list[str]]) -> int:
    widths = file.widths.copy()
    widths.subtract(0 if len(row) < 2 and is_blank(row) else len(row) for row in before)
    return max((width for width, rows in widths.items() if rows > 0), default=0)


def _table_start(rows: list[list[str]]) -> int:
    """Return the index of the header, or of the first record below blank lines, comments, titles and help."""
    head: list[int] = []  # the filled records, up to the first one of data
    for index, row in enumerate(rows):
        if not is_blank(row):
            head.append(index)
            if _is_data(row):
                break
    if not head:
        return len(rows)
    if len(head) > 1 and _names_images(rows[head[-2]], rows[head[-1]]):
        return head[-2]
    widest = max(_filled_cells(rows[index]) for index in head)
    for index, following in pairwise(head):
        is_title = _filled_cells(rows[index]) == 1 < widest and not _is_data(rows[following])
        if not (is_title or _stands_before(rows[index], rows[following])):
            return index
    return len(rows) if is_comment(rows[head[-1]]) else head[-1]


def _names_images(row: list[str], data: list[str]) -> bool:
    """Return whether a record is the header of the data below it: it says "image" above a URL."""
    if is_comment(row) or _is_data(row):
        return False
    return any(_says_image(name) and cell_urls.holds_url(cell) for name, cell in zip(row, data, strict=False))


def _stands_before(row: list[str], following: list[str]) -> bool:
    """Return whether a record belongs to the preamble, or is one of several header rows but not the last."""
    if _is_data(row):
        return False
    if is_comment(row):
        return _filled_cells(row) == 1 or not _is_data(following)
    if _is_data(following):
        return False
    return _filled_cells(row) * 2 <= _filled_cells(following) or _name_the_same(row, following)


def _name_the_same(row: list[str], following: list[str]) -> bool:
    """Return whether both records are headers, as in Amazon's flat files: both say "image" in the same
    column.
    """
    return any(_says_image(name) and _says_image(other) for name, other in zip(row, following, strict=False))


def _is_data(row: list[str]) -> bool:
    """Return whether a record that may be a header is data."""
    if any(cell_urls.holds_url(cell) or has_image_extension(cell) for cell in row):
        return True
    if any(map(_says_image, row)):
        return False
    return any(_NUMBER.fullmatch(cell) or (cell.strip() and is_placeholder(cell)) for cell in row)


def _says_image(cell: str) -> bool:
    return not is_placeholder(cell) and SAYS_IMAGE.search(words(cell)) is not None


def _filled_cells(row: list[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _column_names(raw_header: list[str], width: int) -> list[str]:
    names: dict[str, None] = {}
    for number in range(1, width + 1):
        name = without_stray_bytes(raw_header[number - 1].strip()) if number <= len(raw_header) else ""
        if not name or name in names:
            name = f"column {number}"
        while name in names:
            name += " (2)"
        names[name] = None
    return list(names)


def _ends_with_own_columns(raw_header: list[str], width: int) -> bool:
    return 2 < width == len(raw_header) and raw_header[-2:] == own_columns(raw_header[:-2])
