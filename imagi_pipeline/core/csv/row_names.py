"""Find the names by which people know the rows."""

from __future__ import annotations

from imagi_pipeline.core.csv.table import CsvTable


def row_names(table: CsvTable) -> dict[int, str]:
    """Return, by row number, the value in the first column whose values all differ: an id, a SKU, a name.

    A column of which more than half is blank, or that holds the images, names no row. Nothing when there is
    no such column.
    """
    column = _naming_column(table)
    if column is None:
        return {}
    rows = ((number, row[column].strip()) for number, row in table.data_rows() if column < len(row))
    return {number: name for number, name in rows if name}


def _naming_column(table: CsvTable) -> int | None:
    values: dict[int, set[str]] = {
        index: set() for index, name in enumerate(table.header) if name not in table.url_columns
    }
    for _, row in table.data_rows():
        for index in [index for index, seen in values.items() if index < len(row) and row[index] in seen]:
            del values[index]  # two rows have the same
        for index, seen in values.items():
            if index < len(row) and row[index].strip():
                seen.add(row[index])
    return next((index for index, seen in values.items() if len(seen) * 2 > table.data_row_count), None)
