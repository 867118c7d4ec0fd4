"""Read a CSV and find its image references.

Reading loses nothing: every record and every value stays as it came, and nothing that looks like a URL in a
column of URLs goes without a reference or a problem.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagi_pipeline.core.csv import cell_urls, urls
from imagi_pipeline.core.csv.columns import found_columns, named_columns
from imagi_pipeline.core.csv.dialect import is_blank, open_csv
from imagi_pipeline.core.csv.encoding import holds_stray_bytes, without_stray_bytes
from imagi_pipeline.core.csv.header import find_table
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.table import CsvProblem, CsvTable, CsvWarning, ImageReference
from imagi_pipeline.core.errors import CsvError, ErrorCode, UrlError
from imagi_pipeline.core.printable import printable

_SHORT = 100  # characters of a value that a problem quotes
_MOST_WARNINGS = 100  # of one kind


def read_csv(
    data: bytes,
    *,
    url_columns: Sequence[str] = (),
    base_url: str | None = None,
    limits: CsvLimits | None = None,
) -> CsvTable:
    """Parse a CSV and find the image references in it.

    `url_columns` names the columns that hold image URLs, by header or by number from 1; without it they
    are found by their values and headers. `base_url` is the URL of the folder that relative paths are
    joined to (see `urls.normalise`). A value that is no usable image URL is a CsvProblem of the table, not an
    exception.

    Raises CsvError (empty_csv, not_a_csv, unreadable_text, unknown_column, csv_too_large, invalid_url of
    `base_url`).
    """
    limits = limits or CsvLimits()
    folder = _folder(base_url)
    table = find_table(open_csv(data, limits))
    limits.check_cells(table.file.record_count, len(table.header))
    columns = named_columns(table, url_columns) if url_columns else found_columns(table, folder)
    table.url_columns = [table.header[column] for column in columns]
    _find_references(table, columns, folder, limits)
    if table.dialect.encoding.has_stray_bytes:
        _warn_of_stray_bytes(table)
    return table


def read_request(
    data: bytes,
    *,
    url_columns: Sequence[str] = (),
    base_url: str | None = None,
    limits: CsvLimits | None = None,
) -> CsvTable:
    """Do the same as `read_csv`, but also raise CsvError when the CSV names no usable image."""
    table = read_csv(data, url_columns=url_columns, base_url=base_url, limits=limits)
    if not table.references:
        detail = "The CSV names no image that can be downloaded."
        if not table.problems:
            raise CsvError(ErrorCode.NO_IMAGE_REFERENCES, detail)
        first = table.problems[0]
        count = f"{len(table.problems):,} entries cannot be used"
        detail += f" {count}, first in row {first.row}: {first.message}"
        raise CsvError(ErrorCode.NO_IMAGE_REFERENCES, detail, row=first.row, column=first.column)
    return table


def _folder(base_url: str | None) -> str | None:
    if base_url is None:
        return None
    try:
        return urls.normalise(base_url)
    except UrlError as error:
        detail = f"The base URL {base_url[:_SHORT]!r} cannot be used: {error.detail}"
        raise CsvError(ErrorCode.INVALID_URL, detail) from error


def _find_references(table: CsvTable, columns: list[int], folder: str | None, limits: CsvLimits) -> None:
    references = table.references
    named = [(column, table.header[column]) for column in columns]
    filled = 0
    for number, row in table.data_rows():
        if not is_blank(row):
            filled += 1
        for column, name in named:
            if column >= len(row) or not (cell := row[column]):
                continue
            if urls.is_plain_url(cell):
                references.append(ImageReference(number, name, 1, cell))
            else:
                _find_in_cell(table, cell, number, name, folder)
        if number % 1024 == 0 or len(table.problems) > limits.max_problems:
            _check_findings(table, limits)
    _check_findings(table, limits)
    table.data_row_count = filled
    table.reference_count, table.problem_count = len(references), len(table.problems)
    table.image_count = len({reference.url for reference in references})


def _find_in_cell(table: CsvTable, cell: str, row: int, column: str, folder: str | None) -> None:
    for position, item in enumerate(cell_urls.find_items(cell), start=1):
        try:
            url = urls.normalise(item, folder)
        except UrlError as error:
            value = _shortened(item)
            table.problems.append(CsvProblem(row, column, position, value, error.code, error.message))
        else:
            table.references.append(ImageReference(row, column, position, url))


def _check_findings(table: CsvTable, limits: CsvLimits) -> None:
    limits.check_references(len(table.references))
    if len(table.problems) > limits.max_problems:
        first = table.problems[0]
        raise CsvError(
            ErrorCode.TOO_MANY_PROBLEMS,
            f"More than {limits.max_problems:,} entries cannot be used, first in row {first.row}: "
            f"{first.value}: {first.message}",
            row=first.row,
            column=first.column,
        )


def _warn_of_stray_bytes(table: CsvTable) -> None:
    rows = [
        (number, row)
        for number, row in enumerate(table.content.records(), start=1)
        if any(map(holds_stray_bytes, row))
    ]
    for number, row in rows[:_MOST_WARNINGS]:
        cell = next(cell for cell in row if holds_stray_bytes(cell))
        message = f"Row {number:,} holds bytes that are no UTF-8; they stay as they are: {_shortened(cell)}"
        table.warnings.append(CsvWarning(message, row=number))
    if (more := len(rows) - _MOST_WARNINGS) > 0:
        table.warnings.append(CsvWarning(f"{more:,} more rows hold bytes that are no UTF-8."))


def _shortened(value: str) -> str:
    return printable(without_stray_bytes(value[: _SHORT + 1]), _SHORT)
