"""A CSV as a table, and the image references found in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

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


@dataclass
class CsvTable:
    """A CSV as it came, and the image references in it.

    Row number n, as a spreadsheet shows it, is the nth record of the file, blank ones included. `header` has
    one unique name per column, without the two columns of an earlier run. `first_data_row` is the row number
    of the first record behind preamble and header.
    """

    file: CsvFile
    has_header: bool
    first_data_row: int
    header: list[str]
    has_own_columns: bool = False
    url_columns: list[str] = field(default_factory=list)
    references: list[ImageReference] = field(default_factory=list)
    problems: list[CsvProblem] = field(default_factory=list)
    warnings: list[CsvWarning] = field(default_factory=list)
    data_row_count: int = 0
    """How many records behind the header hold anything."""

    @property
    def dialect(self) -> Dialect:
        """How the file is written."""
        return self.file.dialect

    @property
    def encoding(self) -> str:
        """The name of the file's encoding, as Python knows it."""
        return self.dialect.encoding.name

    @property
    def delimiter(self) -> str:
        """What stands between two cells of a row."""
        return self.dialect.delimiter

    @property
    def content(self) -> CsvText:
        """The file's text, record by record."""
        return self.file.content

    @property
    def rows(self) -> list[list[str]]:
        """All records with their values untouched, in memory; `content` goes through a large file."""
        return list(self.content.records())

    def data_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Row number and values of each record behind preamble and header, blank ones included."""
        records = islice(self.content.records(), self.first_data_row - 1, None)
        return enumerate(records, start=self.first_data_row)

    def raw_header(self) -> list[str]:
        """The cells of the header as they are written, without the columns of an earlier run."""
        if not self.has_header:
            return []
        row = next(islice(self.content.records(), self.first_data_row - 2, None))
        return row[: len(self.header)]
