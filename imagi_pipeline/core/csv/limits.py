"""These limits bound the time and memory of reading a CSV, and the size of what is written."""

from __future__ import annotations

from dataclasses import dataclass

from imagi_pipeline.core.errors import CsvError, ErrorCode


@dataclass(frozen=True, slots=True)
class CsvLimits:
    """The largest CSV that is read. A CSV beyond a limit is refused as a whole, with `csv_too_large`.

    `max_cells` counts rows times columns, since an enriched CSV fills short rows up to the width of the
    table. `max_references` counts all image references, `max_problems` all entries that cannot be used.
    `timeout` in seconds and `memory_bytes` hold for a process that reads one CSV (reader.py).
    """

    max_rows: int = 5_000_000
    max_columns: int = 10_000
    max_cells: int = 100_000_000
    max_references: int = 5_000_000
    max_problems: int = 200_000
    timeout: float = 300
    memory_bytes: int = 2_000_000_000

    def check_rows(self, count: int) -> None:
        """Raise CsvError when there are too many rows."""
        if count > self.max_rows:
            raise CsvError(ErrorCode.CSV_TOO_LARGE, f"The file has more than {self.max_rows:,} rows.")

    def check_width(self, width: int, row: int) -> None:
        """Raise CsvError when row number `row` has too many columns."""
        if width > self.max_columns:
            detail = f"Row {row:,} has {width:,} columns; at most {self.max_columns:,} are read."
            raise CsvError(ErrorCode.CSV_TOO_LARGE, detail, row=row)

    def check_cells(self, rows: int, width: int) -> None:
        """Raise CsvError when rows times columns are too many."""
        if rows * width > self.max_cells:
            detail = f"{rows:,} rows of {width:,} columns are more than {self.max_cells:,} cells."
            raise CsvError(ErrorCode.CSV_TOO_LARGE, detail)

    def check_references(self, count: int) -> None:
        """Raise CsvError when there are too many image references."""
        if count > self.max_references:
            detail = f"The file has more than {self.max_references:,} image references."
            raise CsvError(ErrorCode.CSV_TOO_LARGE, detail)
