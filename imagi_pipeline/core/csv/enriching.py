"""Write the enriched CSV from table and results, as the CSV came: everything that was there stays."""

from __future__ import annotations

import codecs
import csv
import io
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import IO

from imagi_pipeline.core.csv import cell_urls
from imagi_pipeline.core.csv.dialect import is_blank
from imagi_pipeline.core.csv.encoding import Encoding
from imagi_pipeline.core.csv.header import own_columns
from imagi_pipeline.core.csv.records import MAX_CELL, CsvText, Quoting, without_line_end
from imagi_pipeline.core.csv.table import CsvProblem, CsvTable, ImageReference
from imagi_pipeline.core.csv.urls import MAX_URL_BYTES
from imagi_pipeline.core.printable import LONGEST_MESSAGE, no_formula, printable

Entry = ImageReference | CsvProblem
"""What a row has a place for in the column of output URLs."""

_LONGEST_CELL = 32_000  # characters; spreadsheets cut what is longer than 32,767
_CHARACTERS_IN_A_PIECE = 1 << 18
_QUOTE_OR_ESCAPED = re.compile(r'\\.|"', re.DOTALL)


def enrich(
    table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str], *, in_place: bool = False
) -> bytes:
    """Return the CSV with the URLs of the compressed images, in the encoding and dialect it came in.

    By image URL, `outputs` has the URL of the compressed image and `errors` a one-line message. Two columns
    are added, or replaced when the CSV ends with them from an earlier run: the compressed images' URLs,
    joined by commas, with an empty place for each that is missing; and one line per image that is missing
    or of which only an earlier copy is there. A code page that cannot carry the result becomes UTF-8 with
    byte order mark, which Excel recognises.

    With `in_place` no column is added: the URLs stand where those of the source images stood, and an image
    without a compressed copy keeps its URL.
    """
    return b"".join(enriched_pieces(table, outputs, errors, in_place=in_place))


def failed_rows(table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]) -> Iterator[bytes]:
    """Yield, in pieces, only the rows of the enriched CSV with something in the column of errors.

    People correct them and hand them in again: the two columns are replaced then.
    """
    encoding = _encoding(table, _added_texts(table, outputs, errors))
    yield encoding.byte_order_mark
    yield from map(encoding.encode, _FailedRows(table, outputs, errors).lines())


def enriched_pieces(
    table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str], *, in_place: bool = False
) -> Iterator[bytes]:
    """Yield the bytes of `enrich` in pieces, to be written one after the other."""
    added = outputs.values() if in_place else _added_texts(table, outputs, errors)
    encoding = _encoding(table, added)
    yield encoding.byte_order_mark
    lines = _Replaced(table, outputs).lines() if in_place else _Extended(table, outputs, errors).lines()
    piece: list[str] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size > _CHARACTERS_IN_A_PIECE:
            yield encoding.encode("".join(piece))
            piece.clear()
            size = 0
    yield encoding.encode("".join(piece))


def stored_records(table: CsvTable, file: IO[bytes]) -> Iterator[list[str]]:
    """Yield the records of an enriched CSV as they are read back; a well-formed one is never whole in memory.

    Raises UnicodeError and csv.Error when the file is not what was written.
    """
    dialect, encoding = table.dialect, table.dialect.encoding
    mark = file.read(len(codecs.BOM_UTF8))
    if mark == codecs.BOM_UTF8:
        encoding = Encoding("utf-8", mark, encoding.errors)
    file.seek(len(encoding.byte_order_mark))
    text = io.TextIOWrapper(file, encoding.name, encoding.errors, newline="")
    try:
        if dialect.quoting is Quoting.STANDARD:
            csv.field_size_limit(MAX_CELL)
            yield from csv.reader(text, delimiter=dialect.delimiter, strict=True)
        else:
            yield from CsvText(text.read(), dialect.delimiter, dialect.quoting).records()
    finally:
        text.detach()  # closing the file is up to its owner


def _added_texts(table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]) -> Iterator[str]:
    problems = (text for problem in table.problems for text in (problem.value, problem.message))
    return chain(outputs.values(), errors.values(), problems)


def _encoding(table: CsvTable, added: Iterable[str]) -> Encoding:
    """Return the encoding of the upload, if it can carry what is added."""
    encoding = table.dialect.encoding
    if encoding.name.startswith("utf"):
        return encoding
    try:
        for text in added:
            encoding.encode(text)
    except UnicodeEncodeError:
        return Encoding("utf-8", codecs.BOM_UTF8)
    return encoding


class _Lines(ABC):
    """The lines of an enriched CSV."""

    def __init__(self, table: CsvTable, outputs: Mapping[str, str]) -> None:
        self._table = table
        self._outputs = outputs
        self._delimiter = table.delimiter
        self._quoting = table.dialect.quoting
        self._special = re.compile(f'["\\r\\n{re.escape(table.delimiter)}]')
        self._escaped = re.compile(f"[\\\\\\r\\n{re.escape(table.delimiter)}]")

    def lines(self) -> Iterator[str]:
        """Yield each record with its line end."""
        entries = _EntriesByRow(self._table)
        header_row = self._table.first_data_row - 1 if self._table.has_header else 0
        for number, (source, row) in enumerate(self._table.content.records_with_source(), start=1):
            content, end = without_line_end(source)
            if number == header_row:
                content = self.header(content, row)
            elif number >= self._table.first_data_row:
                found = entries.of(number)
                if not self.keeps(found):
                    continue
                if len(row) > 1 or not is_blank(row):
                    content = self.record(content, row, found)
            yield content + (end or self._table.dialect.newline)

    def keeps(self, entries: list[Entry]) -> bool:  # noqa: ARG002 - of what a row has
        """Return whether a record behind the header is written."""
        return True

    @abstractmethod
    def header(self, content: str, row: list[str]) -> str:
        """Return the header of the table."""

    @abstractmethod
    def record(self, content: str, row: list[str], entries: list[Entry]) -> str:
        """Return one record behind the header, without its line end."""

    def _written(self, value: str, *, in_quotes: bool = False) -> str:
        """Return a value as a cell of the dialect, in quotes where they are needed or wanted."""
        if self._quoting is Quoting.ESCAPED:
            return self._escaped.sub(lambda match: "\\" + match[0], value)
        if not in_quotes and not self._special.search(value):
            return value
        if self._quoting is Quoting.BACKSLASH:
            if value.endswith("\\"):
                value += " "
            value = _QUOTE_OR_ESCAPED.sub(lambda m: '""' if m[0] == '"' else m[0], value)
        else:
            value = value.replace('"', '""')
        return f'"{value}"'

    def _joined(self, values: Iterable[str]) -> str:
        return self._delimiter.join(map(self._written, values))


class _Extended(_Lines):
    """Lines that have two more columns after the others."""

    def __init__(self, table: CsvTable, outputs: Mapping[str, str], errors: Mapping[str, str]) -> None:
        super().__init__(table, outputs)
        self._errors = errors
        self._width = len(table.header)

    def header(self, content: str, row: list[str]) -> str:
        names = own_columns(row[: self._width])
        return self._padded(content, row) + self._delimiter + self._joined(names)

    def record(self, content: str, row: list[str], entries: list[Entry]) -> str:
        results = self._results(entries)
        return self._padded(content, row) + self._delimiter + self._joined(results)

    def _padded(self, content: str, row: list[str]) -> str:
        """Return the record as it came, filled up to the width of the table."""
        width = self._width
        if not self._table.content.is_well_formed(content):
            content = self._joined(row[:width])  # otherwise its quotes would swallow what is added
        elif len(row) > width:
            content = content[: self._table.content.cells(content)[width - 1].end]
        return content + self._delimiter * (width - len(row))

    def _results(self, entries: list[Entry]) -> tuple[str, str]:
        """Return the values of the two columns for one row."""
        urls: list[str] = []
        lines: list[str] = []
        in_column = Counter(entry.column for entry in entries)
        for entry in entries:
            urls.append("" if isinstance(entry, CsvProblem) else self._outputs.get(entry.url, ""))
            if self._is_wrong(entry):
                lines.append(_error_line(entry, self._errors, several=in_column[entry.column] > 1))
        return no_formula(",".join(urls)), no_formula("\n".join(_as_many_as_fit(lines)))

    def _is_wrong(self, entry: Entry) -> bool:
        """Return whether an entry has no compressed image, or only an earlier copy."""
        return isinstance(entry, CsvProblem) or entry.url not in self._outputs or entry.url in self._errors


class _FailedRows(_Extended):
    """Lines of only the rows that have something in the column of errors."""

    def keeps(self, entries: list[Entry]) -> bool:
        return any(self._is_wrong(entry) for entry in entries)


class _Replaced(_Lines):
    """Lines that have the URLs of the compressed images in the place of those of the source images."""

    def __init__(self, table: CsvTable, outputs: Mapping[str, str]) -> None:
        super().__init__(table, outputs)
        self._index = {name: index for index, name in enumerate(table.header)}

    def header(self, content: str, row: list[str]) -> str:  # noqa: ARG002 - no column is added
        return content

    def record(self, content: str, row: list[str], entries: list[Entry]) -> str:
        changed = self._changed(row, entries)
        if not changed:
            return content
        if not self._table.content.is_well_formed(content):
            return self._joined(changed.get(index, value) for index, value in enumerate(row))
        parts: list[str] = []
        position = 0
        for index, cell in enumerate(self._table.content.cells(content)):
            if index in changed:
                in_quotes = content.startswith('"', cell.start)
                parts += [content[position : cell.start], self._written(changed[index], in_quotes=in_quotes)]
                position = cell.end
        return "".join([*parts, content[position:]])

    def _changed(self, row: list[str], entries: list[Entry]) -> dict[int, str]:
        """Return the new values of the cells that change, by the index of their column."""
        new_urls: dict[int, dict[int, str]] = {}
        for entry in entries:
            if isinstance(entry, ImageReference) and (output := self._outputs.get(entry.url)):
                new_urls.setdefault(self._index[entry.column], {})[entry.position] = output
        return {index: cell_urls.replaced(row[index], found) for index, found in new_urls.items()}


class _EntriesByRow:
    """Gives the references and problems of each row; the rows must be asked for in their order."""

    def __init__(self, table: CsvTable) -> None:
        self._references = table.references
        self._problems = table.problems
        self._order = {name: index for index, name in enumerate(table.header)}
        self._next_reference = 0
        self._next_problem = 0

    def of(self, row: int) -> list[Entry]:
        """Return those of one row, in the order of column and position."""
        references, self._next_reference = _of_row(self._references, self._next_reference, row)
        problems, self._next_problem = _of_row(self._problems, self._next_problem, row)
        if not problems:
            return references
        return sorted(references + problems, key=lambda entry: (self._order[entry.column], entry.position))


def _of_row(
    entries: list[Entry] | list[ImageReference] | list[CsvProblem], start: int, row: int
) -> tuple[list[Entry], int]:
    end = start
    while end < len(entries) and entries[end].row == row:
        end += 1
    return list(entries[start:end]), end


def _as_many_as_fit(lines: list[str]) -> list[str]:
    """Return the first lines, and how many more there are, within what a cell of a spreadsheet can hold."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line) + 1
        if size > _LONGEST_CELL and count:
            return [*lines[:count], f"{len(lines) - count:,} more images failed, see the report."]
    return lines


def _error_line(entry: Entry, errors: Mapping[str, str], several: bool) -> str:
    if isinstance(entry, CsvProblem):
        value, message = entry.value, entry.message
    else:
        value, message = entry.url, errors.get(entry.url, "The image was not processed.")
    column = printable(entry.column)
    place = f"{column}, position {entry.position}" if several else column
    return f"{place}: {printable(value, MAX_URL_BYTES)}: {printable(message, LONGEST_MESSAGE)}"
