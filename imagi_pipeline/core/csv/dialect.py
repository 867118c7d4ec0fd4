"""Find the dialect of a text (delimiter, quoting and line end): the one with which it reads as a table.

Nothing here knows what a record is for: preamble, header and columns are in header.py and columns.py. But the
delimiter can only be found by a look at the cells: URLs hold delimiters too.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from imagi_pipeline.core.csv import cell_urls
from imagi_pipeline.core.csv.encoding import Encoding, decode
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.placeholders import is_placeholder
from imagi_pipeline.core.csv.records import CsvText, Quoting, without_line_end
from imagi_pipeline.core.csv.urls import has_image_extension
from imagi_pipeline.core.errors import CsvError, ErrorCode

_DELIMITERS = ",;\t|"
_DIALECT_SAMPLE = 64 * 1024  # characters from which the delimiter is found
_LARGEST_SAMPLE = 32 * _DIALECT_SAMPLE  # if that many are needed to end outside of quotes
_ROWS_IN_A_PIECE = 5000
_MOST_CELLS_KEPT = 1_000_000  # they take 100 MB at most beside the text, and mostly half as much

_NO_TABLE = (0.0, 0)

# How the first cell of a comment begins, and the line that tells Excel the delimiter.
COMMENT = re.compile(r"\s*+(?:#.|sep=)", re.IGNORECASE | re.DOTALL)
_ERROR_VALUE = re.compile(r"\s*+#(?:n/a|nv|ref|value|name|div/0|null|num|wert|bezug|zahl)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV is written, so that another one can be written in the same way."""

    encoding: Encoding
    delimiter: str
    newline: str
    quoting: Quoting = Quoting.STANDARD


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV with its dialect found. `widths` counts its records by their number of cells, blank ones as 0."""

    dialect: Dialect
    content: CsvText
    widths: Counter[int]

    @property
    def record_count(self) -> int:
        """Return how many records the file has, blank ones included."""
        return self.widths.total()


def open_csv(data: bytes, limits: CsvLimits | None = None) -> CsvFile:
    """Return the records of a CSV and how they are written.

    Raises CsvError (empty_csv, not_a_csv, unreadable_text, csv_too_large).
    """
    text, encoding = decode(data)
    content, widths = _best_reading(text, _delimiter(text), limits or CsvLimits())
    if not any(rows for width, rows in widths.items() if width):
        raise CsvError(ErrorCode.EMPTY_CSV, "The file is empty.")
    return CsvFile(Dialect(encoding, content.delimiter, _newline(content), content.quoting), content, widths)


def is_blank(row: list[str]) -> bool:
    """Return whether a record holds nothing but white space."""
    return not "".join(row).strip()


def is_comment(row: list[str]) -> bool:
    """Return whether a record begins as a comment, or tells the delimiter."""
    return COMMENT.match(row[0]) is not None and not _ERROR_VALUE.match(row[0])


# --- quoting


def _best_reading(text: str, delimiter: str, limits: CsvLimits) -> tuple[CsvText, Counter[int]]:
    """Return the reading with the fewest records of an odd width; the standard one if several have as few."""
    content = CsvText(text, delimiter)
    try:
        widths = _widths(content, limits)
        odd = _odd(widths)
    except csv.Error:
        content = CsvText(text, delimiter, Quoting.STRAY_QUOTES)
        widths = _widths(content, limits)
        odd = _odd(widths) + content.broken_lines()
    if odd:
        for quoting in _other_quotings(text, delimiter):
            other = CsvText(text, delimiter, quoting)
            other_widths = _widths(other, limits)
            other_odd = _odd(other_widths) + other.broken_lines()
            if other_odd < odd:
                content, widths, odd = other, other_widths, other_odd
    return content, widths


def _other_quotings(text: str, delimiter: str) -> Iterator[Quoting]:
    if '\\"' in text:
        yield Quoting.BACKSLASH
    if ' "' in text or '\t"' in text:
        yield Quoting.BLANKS
    if "\\" + delimiter in text or "\\\n" in text or "\\\r" in text:
        yield Quoting.ESCAPED


def _widths(content: CsvText, limits: CsvLimits) -> Counter[int]:
    widths: Counter[int] = Counter()
    records, count, cells = content.records(), 0, 0
    kept: list[list[str]] = []
    while piece := list(islice(records, _ROWS_IN_A_PIECE)):
        if len(widest := max(piece, key=len)) > limits.max_columns:
            limits.check_width(len(widest), count + piece.index(widest) + 1)
        count += len(piece)
        limits.check_rows(count)
        widths.update(map(len, piece))
        cells += len(piece) * (len(widest) + 1)
        if cells <= _MOST_CELLS_KEPT:
            kept += piece
        if blank := sum(1 for row in piece if len(row) == 1 and not row[0].strip()):
            widths[1] -= blank
            widths[0] += blank
    if cells <= _MOST_CELLS_KEPT:
        content.kept.extend(kept)
    return widths


def _odd(widths: Counter[int]) -> int:
    """Return how many records have another width than most."""
    counts = [count for width, count in widths.items() if width]
    return sum(counts) - max(counts, default=0)


def _newline(content: CsvText) -> str:
    """Return the line end after the first record; a newline when there is none."""
    source, _ = next(content.records_with_source())
    return without_line_end(source)[1] or "\n"


# --- the delimiter


def _delimiter(text: str) -> str:
    sample = _whole_records(text)
    scores = {delimiter: _score(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=scores.__getitem__)
    # A table of one column has no delimiter: take one that does not occur in its values.
    return best if scores[best] > _NO_TABLE else min(_DELIMITERS, key=text.count)


def _whole_records(text: str) -> str:
    """Return the beginning of the text, up to the end of a line and, if that is not too far, outside of
    quotes.
    """
    size = _DIALECT_SAMPLE
    while size < len(text) and size <= _LARGEST_SAMPLE:
        sample = text[: max(text.rfind("\n", 0, size), text.rfind("\r", 0, size)) + 1]
        if sample and sample.count('"') % 2 == 0:
            return sample
        size *= 2
    return text[:size]


def _score(sample: str, delimiter: str) -> tuple[float, int]:
    """Return the share of records that have the most common number of columns, and that number."""
    filled = [row for row in _sample_records(sample, delimiter) if not is_blank(row)]
    rows = [row for row in filled if not is_comment(row)] or filled
    if not rows:
        return _NO_TABLE
    first_is_header = not any(map(cell_urls.holds_url, rows[0]))
    widths = [len(row) for row in rows]
    if first_is_header and len(rows[0]) == 1 and all(map(_splits_only_urls, rows[1:])):
        return _NO_TABLE
    if not (first_is_header and len(rows[0]) == _most_common(widths)):
        widths = [0 if any(map(_mixes_columns, row)) else _width(row) for row in rows]
    # If the first row has several columns, short rows do not turn the table into one column.
    width = _most_common([width for width in widths if width > 1] if widths[0] > 1 else widths)
    return (widths.count(width) / len(rows), width) if width > 1 else _NO_TABLE


def _sample_records(sample: str, delimiter: str) -> list[list[str]]:
    try:
        records = list(CsvText(sample, delimiter).records())
    except csv.Error:
        return list(CsvText(sample, delimiter, Quoting.STRAY_QUOTES).records())
    # A blank before a quote, or a backslash, makes the widths of rows differ although the dialect is one.
    if _odd(Counter(map(len, records))):
        for quoting in _other_quotings(sample, delimiter):
            others = list(CsvText(sample, delimiter, quoting).records())
            if _odd(Counter(map(len, others))) < _odd(Counter(map(len, records))):
                records = others
    return records


def _most_common(numbers: Iterable[int]) -> int:
    """Return the most common number, the largest of several."""
    return max(Counter(numbers).items(), key=lambda item: (item[1], item[0]))[0]


def _splits_only_urls(row: list[str]) -> bool:
    return len(row) == 1 or all(is_placeholder(x) or cell_urls.holds_url(x) for x in row)


def _mixes_columns(cell: str) -> bool:
    """Return whether the cell lists other things besides URLs, as it does if cut at the wrong delimiter."""
    return cell_urls.holds_url(cell) and cell_urls.lists_other_things(cell)


def _width(row: list[str]) -> int:
    """Return the number of columns; a URL that holds the delimiter itself counts as one."""
    width = start = 0
    while start < len(row):
        start += _cells_of_url(row, start)
        width += 1
    return width


def _cells_of_url(row: list[str], start: int) -> int:
    """Return over how many cells, from `start` on, a URL extends that was cut at its delimiters."""
    if cell_urls.is_url_without_end(row[start]):
        for end in range(start + 1, len(row)):
            cell = row[end]
            if not cell or len(cell.split(None, 1)) > 1 or cell_urls.holds_url(cell):
                break
            if "/" in cell or has_image_extension(cell):
                return end + 1 - start
    return 1
