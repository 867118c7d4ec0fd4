"""A CSV as a table, and the image references found in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from itertools import islice
from typing import Any

from imagi_pipeline.core.csv.dialect import CsvFile, Dialect
from imagi_pipeline.core.csv.records import CsvText


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One image URL in one cell: row and position count from 1, and `url` is ready to be requested."""

    row: int
    column: str
    position: int
    url: str


@dataclass(frozen=True, slots=True)
class CsvProblem:
    """What stands at the place of an image URL and cannot be used; `code` is that of an ErrorCode."""

    row: int
    column: str
    position: int
    value: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CsvWarning:
    """What its sender should know of a CSV that is processed all the same; `row` if it is one place."""

    message: str
    row: int | None = None
    column: str | None = None


@dataclass(kw_only=True)
class CsvFindings:
    """What was found in a CSV. `header` has one unique name per column, without those of an earlier run.

    The counts are those of the whole file; `references` and `problems` may be the first of them only.
    """

    encoding: str
    delimiter: str
    has_header: bool
    header: list[str]
    url_columns: list[str] = field(default_factory=list)
    data_row_count: int = 0
    """How many records below the header hold anything."""
    reference_count: int = 0
    image_count: int = 0
    """How many different URLs the references have."""
    problem_count: int = 0
    references: list[ImageReference] = field(default_factory=list)
    problems: list[CsvProblem] = field(default_factory=list)
    warnings: list[CsvWarning] = field(default_factory=list)


@dataclass(kw_only=True)
class CsvTable(CsvFindings):
    """A CSV as it came, and all that was found in it.

    Row number n, as a spreadsheet shows it, is the nth record of the file, blank ones included.
    `first_data_row` is the row number of the first record behind preamble and header.
    """

    file: CsvFile
    first_data_row: int
    has_own_columns: bool = False

    @property
    def dialect(self) -> Dialect:
        """Return how the file is written."""
        return self.file.dialect

    @property
    def content(self) -> CsvText:
        """Return the file's text, record by record."""
        return self.file.content

    @property
    def rows(self) -> list[list[str]]:
        """Return all records with their values untouched, in memory; `content` goes through a large file."""
        return list(self.content.records())

    def data_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Return row number and values of each record behind preamble and header, blank ones included."""
        records = islice(self.content.records(), self.first_data_row - 1, None)
        return enumerate(records, start=self.first_data_row)

    def raw_header(self) -> list[str]:
        """Return the cells of the header as they are written, without the columns of an earlier run."""
        if not self.has_header:
            return []
        row = next(islice(self.content.records(), self.first_data_row - 2, None))
        return row[: len(self.header)]


def findings_to_json(found: CsvFindings, most: int | None = None) -> dict[str, Any]:
    """Return what was found, with at most `most` references and problems, as values that JSON has."""
    columns = {name: index for index, name in enumerate(found.header)}
    references = found.references[:most]
    problems = found.problems[:most]
    plain = {name: getattr(found, name) for name in _PLAIN_FIELDS}
    return plain | {
        "references": [
            [each.row for each in references],
            [columns[each.column] for each in references],
            [each.position for each in references],
            [each.url for each in references],
        ],
        "problems": [list(astuple(each)) for each in problems],
        "warnings": [list(astuple(each)) for each in found.warnings],
    }


def findings_from_json(found: dict[str, Any]) -> CsvFindings:
    """Return the inverse of `findings_to_json`."""
    names = found["header"]
    rows, columns, positions, urls = found["references"]
    references = [
        ImageReference(row, names[column], position, url)
        for row, column, position, url in zip(rows, columns, positions, urls, strict=True)
    ]
    return CsvFindings(
        **{name: found[name] for name in _PLAIN_FIELDS},
        references=references,
        problems=[CsvProblem(*each) for each in found["problems"]],
        warnings=[CsvWarning(*each) for each in found["warnings"]],
    )


_LISTS = {"references", "problems", "warnings"}
_PLAIN_FIELDS = [each.name for each in fields(CsvFindings) if each.name not in _LISTS]
