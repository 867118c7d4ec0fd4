"""Divide a text into records, by the rules of quoting that the file follows, and by line if it breaks them.

Every step takes time in proportion to the text. Well-formed files are read by the csv module; what it does
not know (blanks before quotes, backslashes as PHP and MySQL write them, quotes that nothing closes) is read
by the patterns here.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

_CHARACTERS_IN_A_BLOCK = 1 << 16
MAX_CELL = 2**31 - 1
"""Characters: the largest limit that the csv module takes everywhere."""

_ESCAPED_CHARACTER = re.compile(r"\\([^N])", re.DOTALL)


class Quoting(Enum):
    """How cells that hold delimiters, quotes and line ends are written."""

    STANDARD = auto()
    """As in RFC 4180: cells in quotes, and a quote inside is doubled."""
    STRAY_QUOTES = auto()
    """As STANDARD, but some lines break the rules."""
    BLANKS = auto()
    """As STANDARD, with blanks between delimiters and quotes."""
    BACKSLASH = auto()
    """Inside quotes a backslash keeps a quote from ending the cell, as in PHP's fputcsv, R's write.table."""
    ESCAPED = auto()
    r"""No quotes; a backslash before delimiters, line ends and itself, `\N` for NULL, as MySQL exports."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a record: its value, and where it stands in the record's source, quotes included."""

    value: str
    start: int
    end: int


@dataclass(frozen=True)
class CsvText:
    """The text of a CSV, which can be read record by record any number of times.

    With STANDARD quoting, csv.Error is raised at the first record that breaks the rules.
    """

    text: str
    delimiter: str
    quoting: Quoting = Quoting.STANDARD
    kept: list[list[str]] = field(default_factory=list, compare=False, repr=False)
    """All records, if there are so few that they need not be parsed for each look."""

    def records(self) -> Iterator[list[str]]:
        """Return the values of each record."""
        if self.kept:
            return iter(self.kept)
        if self.quoting is Quoting.STANDARD:
            csv.field_size_limit(MAX_CELL)
            return iter(csv.reader(split_lines(self.text), delimiter=self.delimiter, strict=True))
        return ([cell.value for cell in self.cells(source)] for source in self._sources())

    def records_with_source(self) -> Iterator[tuple[str, list[str]]]:
        """Yield for each record the text it is written as, line end included, and its values."""
        if self.quoting is not Quoting.STANDARD:
            for source in self._sources():
                yield source, [cell.value for cell in self.cells(source)]
            return
        csv.field_size_limit(MAX_CELL)
        taken: list[str] = []

        def lines() -> Iterator[str]:
            for line in split_lines(self.text):
                taken.append(line)
                yield line

        for record in csv.reader(lines(), delimiter=self.delimiter, strict=True):
            yield taken[0] if len(taken) == 1 else "".join(taken), record
            taken.clear()

    def cells(self, source: str) -> list[Cell]:
        """Return the cells of one record of this text."""
        patterns = _patterns(self.delimiter, self.quoting)
        content = source.rstrip("\r\n") if self.quoting is Quoting.ESCAPED else _without_line_end(source)
        if not content:
            return []
        cells: list[Cell] = []
        position = 0
        while match := patterns.cell.match(content, position):
            cells.append(_cell(match, self.quoting))
            if not match["delimiter"]:
                break
            position = match.end()
        return cells

    def is_well_formed(self, source: str) -> bool:
        """Return whether a record follows the rules of quoting."""
        if self.quoting is Quoting.STANDARD:
            return True
        return _patterns(self.delimiter, self.quoting).closed_closed.match(source) is not None

    def broken_lines(self) -> int:
        """Return how many lines break the rules of quoting, without those that lie inside of a record."""
        lines = self._lines()
        ends = _record_ends(lines, _patterns(self.delimiter, self.quoting))
        count = start = 0
        while start < len(lines):
            count += ends[start] == _BROKEN
            start = ends[start] or start + 1
        return count

    def _lines(self) -> list[str]:
        lines = split_lines(self.text)
        return list(_escaped_lines_joined(lines) if self.quoting is Quoting.ESCAPED else lines)

    def _sources(self) -> Iterator[str]:
        lines = self._lines()
        ends = _record_ends(lines, _patterns(self.delimiter, self.quoting))
        start = 0
        while start < len(lines):
            # Quotes of a broken line end in it or count as characters: else they would swallow other lines.
            end = start + 1 if ends[start] == _BROKEN else ends[start]
            yield lines[start] if end == start + 1 else "".join(lines[start:end])
            start = end


def split_lines(text: str) -> Iterator[str]:
    r"""Yield the lines of a text, with their ends: `\n`, `\r\n` or `\r`, and no others as `str.splitlines`
    has.
    """
    start, end_of_line = 0, "\n"
    while start < len(text):
        end = text.find(end_of_line, start + _CHARACTERS_IN_A_BLOCK) + 1
        if not end and end_of_line == "\n":
            end_of_line = "\r"
            end = text.find(end_of_line, max(start + _CHARACTERS_IN_A_BLOCK, text.rfind("\n") + 1)) + 1
        end = end or len(text)
        yield from io.StringIO(text[start:end], newline="")
        start = end


def without_line_end(source: str) -> tuple[str, str]:
    """Return a record's source, divided into its cells and its line end."""
    content = _without_line_end(source)
    return content, source[len(content) :]


def _without_line_end(source: str) -> str:
    if source.endswith("\r\n"):
        return source[:-2]
    return source[:-1] if source.endswith(("\n", "\r")) else source


def _cell(match: re.Match[str], quoting: Quoting) -> Cell:
    if (quoted := match["quoted"]) is not None:
        value = quoted.replace('""', '"') if '""' in quoted else quoted
        return Cell(value + match["rest"], match.start(), match.end("rest"))
    value = match["plain"]
    if quoting is Quoting.ESCAPED and "\\" in value:
        value = _ESCAPED_CHARACTER.sub(r"\1", value)
    return Cell(value, match.start(), match.end("plain"))


def _escaped_lines_joined(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines; a line that ends in a backslash comes together with the next."""
    parts: list[str] = []
    for line in lines:
        parts.append(line)
        content = _without_line_end(line)
        if (len(content) - len(content.rstrip("\\"))) % 2 == 0:
            yield "".join(parts)
            parts.clear()
    if parts:
        yield "".join(parts)


# --- where records end

_BROKEN = 0


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Patterns of one cell, and of a line by whether a quote is open at its beginning and at its end."""

    closed_closed: re.Pattern[str]
    closed_open: re.Pattern[str]
    open_closed: re.Pattern[str]
    open_open: re.Pattern[str]
    cell: re.Pattern[str]


@lru_cache(maxsize=32)
def _patterns(delimiter: str, quoting: Quoting) -> _Patterns:
    d = re.escape(delimiter)
    allows_blanks = quoting in (Quoting.BLANKS, Quoting.BACKSLASH)
    blanks = ("[ ]*+" if delimiter == "\t" else "[ \\t]*+") if allows_blanks else ""
    body = r'(?:[^"\\]++|""|\\.|\\\Z)*+' if quoting is Quoting.BACKSLASH else r'(?:[^"]++|"")*+'
    any_plain = rf"[^{d}\r\n]*+"
    if quoting is Quoting.ESCAPED:
        body, any_plain = r"(?!)", rf"(?:[^{d}\\]++|\\.|\\\Z)*+"
    quoted = rf'{blanks}"{body}"{blanks}(?=[{d}\r\n]|\Z)'
    plain = any_plain if quoting is Quoting.ESCAPED else rf'(?!{blanks}"){any_plain}'
    cell, end = rf"(?:{quoted}|{plain})", r"(?:\r\n?|\n)?+\Z"
    opened = rf'(?:{cell}{d})*+{blanks}"{body}\Z'
    closed = rf'{body}"{blanks}'
    if quoting is Quoting.ESCAPED:
        closed = r"(?!)"
    return _Patterns(
        *(
            re.compile(pattern, re.DOTALL)
            for pattern in (
                rf"{cell}(?:{d}{cell})*+{end}",
                opened,
                rf"{closed}(?:{d}{cell})*+{end}",
                rf"{body}\Z|{closed}{d}{opened}",
                rf'(?:{blanks}"(?P<quoted>{body})"(?P<rest>[^{d}"\r\n]*+)(?=[{d}\r\n]|\Z)|(?P<plain>{any_plain}))'
                rf"(?P<delimiter>{d})?",
            )
        )
    )


def _record_ends(lines: list[str], patterns: _Patterns) -> list[int]:
    """Return for each line where a record that begins there ends, as the index after its last line.

    It is _BROKEN (0) where the record breaks the rules. The loop goes backwards, so that what follows a line
    is known already, and each line is read once, however far its quotes reach.
    """
    ends = [_BROKEN] * len(lines)
    end_if_open = _BROKEN  # where a record ends whose quote is open at the begin of the line below
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        if patterns.closed_closed.match(line):
            ends[index] = index + 1
        elif patterns.closed_open.match(line):
            ends[index] = end_if_open
        if patterns.open_closed.match(line):
            end_if_open = index + 1
        elif not patterns.open_open.match(line):
            end_if_open = _BROKEN
    return ends
