"""Find the columns that hold image URLs: by name or number, or by their headers and values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from imagi_pipeline.core.csv.cell_urls import CellKind, classify
from imagi_pipeline.core.csv.header import OUTPUT_COLUMN
from imagi_pipeline.core.csv.header_words import (
    SAYS_ABOUT_IMAGE,
    SAYS_IMAGE,
    SAYS_ONLY_URL,
    SAYS_PAGE,
    SAYS_URL,
    words,
)
from imagi_pipeline.core.csv.placeholders import is_placeholder
from imagi_pipeline.core.csv.table import CsvTable, CsvWarning
from imagi_pipeline.core.errors import CsvError, ErrorCode
from imagi_pipeline.core.printable import printable

_COLUMN_SAMPLE = 1000  # filled cells from which the meaning of a column is found
_MOST_COLUMNS_NAMED = 50  # in a message
_LONGEST_NAME = 100  # characters by which columns are compared
_LONGEST_NUMBER = 6  # digits of a column's number

_OWN_OUTPUT = re.compile(rf"{OUTPUT_COLUMN}( \d+)?")
_URLS = (CellKind.IMAGE_URL, CellKind.OTHER_URL, CellKind.PAGE_URL)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column and the kinds of values in it."""

    index: int
    name: str
    kinds: Counter[CellKind]

    def is_mostly(self, *kinds: CellKind) -> bool:
        """Return whether more than half of its filled cells are of these kinds."""
        return sum(self.kinds[kind] for kind in kinds) * 2 > self.kinds.total()


def named_columns(table: CsvTable, wanted: Sequence[str]) -> list[int]:
    """Return the indexes of the columns that a person named. Raises CsvError (unknown_column)."""
    raw_names = [name.strip() for name in table.raw_header()]
    columns: set[int] = set()
    for name in dict.fromkeys(text.strip() for text in wanted):
        found = _columns_with_name(name, raw_names) or _columns_with_name(name, table.header)
        found = found or _column_with_number(name, len(table.header))
        if not found:
            there = ", ".join(map(printable, table.header[:_MOST_COLUMNS_NAMED]))
            more = len(table.header) - _MOST_COLUMNS_NAMED
            detail = f"There is no column {name[:100]!r}. There are: {there}"
            detail += f", and {more:,} more." if more > 0 else "."
            raise CsvError(ErrorCode.UNKNOWN_COLUMN, detail, column=name[:100])
        columns.update(found)
    return sorted(columns)


def found_columns(table: CsvTable, folder: str | None) -> list[int]:
    """Return the indexes of the columns that hold image URLs, by their headers and values."""
    columns = _judged_columns(table)
    found = [column for column in columns if _holds_images(column, folder)]
    if found:
        return [column.index for column in _without_pages(table, found)]
    with_urls = [column for column in columns if column.is_mostly(*_URLS)]
    if with_urls:
        return [each.index for each in with_urls if len(with_urls) == 1 and not _holds_pages(each)]
    return [column.index for column in columns if column.is_mostly(CellKind.UNUSABLE)]


def _columns_with_name(name: str, header: list[str]) -> list[int]:
    exact = [index for index, other in enumerate(header) if other == name]
    folded = [index for index, other in enumerate(header) if other.casefold() == name.casefold()]
    return exact or folded


def _column_with_number(text: str, width: int) -> list[int]:
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER and 1 <= int(text) <= width:
        return [int(text) - 1]
    return []


def _judged_columns(table: CsvTable) -> list[_Column]:
    names = [name.strip() for name in table.raw_header()]
    while names and not names[-1]:
        names.pop()
    # Cells beyond the header are mostly the rest of a list in the last column that was not quoted.
    names += (names[-1:] or [""]) * (len(table.header) - len(names))
    wanted = [index for index, name in enumerate(names) if not _OWN_OUTPUT.fullmatch(name)]
    samples = _filled_samples(table, wanted)
    return [_Column(index, names[index], Counter(map(classify, samples[index]))) for index in wanted]


def _filled_samples(table: CsvTable, columns: list[int]) -> dict[int, list[str]]:
    """Return the first filled cells of each column; the rows are read once, no further than needed."""
    samples: dict[int, list[str]] = {index: [] for index in columns}
    unfinished = columns
    for _, row in table.data_rows():
        full = False
        length = len(row)
        for index in unfinished:
            if index >= length:
                break
            if (cell := row[index]) and not is_placeholder(cell):
                sample = samples[index]
                sample.append(cell)
                full = full or len(sample) == _COLUMN_SAMPLE
        if full:
            unfinished = [index for index in unfinished if len(samples[index]) < _COLUMN_SAMPLE]
            if not unfinished:
                break
    return samples


def _holds_images(column: _Column, folder: str | None) -> bool:
    name, kinds = words(column.name), column.kinds
    if SAYS_IMAGE.search(name) and not SAYS_ABOUT_IMAGE.search(name):
        return kinds.total() > 0 if SAYS_URL.search(name) else kinds.total() > kinds[CellKind.TEXT]
    if folder and column.is_mostly(CellKind.UNUSABLE):
        return True
    urls = sum(kinds[kind] for kind in _URLS)
    return column.is_mostly(*_URLS) and kinds[CellKind.IMAGE_URL] * 2 > urls


def _without_pages(table: CsvTable, found: list[_Column]) -> list[_Column]:
    """Leave out columns of pages that show an image, if the images themselves are in another column.

    `photo_url` is the page of a photo where there is a `photo_image_url`.
    """
    shown = _shown_things(found)
    pages = [column for column in found if _is_page_beside(column, shown)]
    if len(pages) == len(found):
        return found
    for column in pages[:_MOST_COLUMNS_NAMED]:
        message = (
            f"The column {printable(column.name)} was not searched: its URLs look like pages, and other "
            "columns hold the images. Name it as a URL column if it holds images."
        )
        table.warnings.append(CsvWarning(message, column=column.name))
    left_out = {column.index for column in pages}
    return [column for column in found if column.index not in left_out]


def _is_page_beside(column: _Column, shown: set[str]) -> bool:
    if column.kinds[CellKind.IMAGE_URL] or not SAYS_URL.search(words(column.name)):
        return False
    return column.is_mostly(CellKind.PAGE_URL) or _thing(column) in shown


def _shown_things(columns: list[_Column]) -> set[str]:
    """Return the things of which a column holds the image: `photo` where there is a `photo_image_url`."""
    shown: set[str] = set()
    for column in columns:
        parts = _thing(column).split(" ")
        for end in range(1, len(parts)):
            if SAYS_IMAGE.search(" ".join(parts[end:])):
                shown.add(" ".join(parts[:end]))
    return shown


def _thing(column: _Column) -> str:
    """Return what a column's URLs lead to: `photo_url` to a photo, `photo_image_url` to a photo image."""
    name = words(column.name[:_LONGEST_NAME])
    return " ".join(re.split(r"[\W_]+", SAYS_ONLY_URL.sub("", name)))


def _holds_pages(column: _Column) -> bool:
    return SAYS_PAGE.search(words(column.name)) is not None or column.is_mostly(CellKind.PAGE_URL)
