"""Nothing is lost, whatever program wrote a CSV: URLs are counted, and records compared, over dialects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.csv.records import CsvText, without_line_end
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.errors import CsvError
from imagi_pipeline_tests.core.csv.counting import counted_work

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
"""Small files as programs write them, and as attackers do: each is read, and is a seed of what is fuzzed."""

MOST_WORK_A_BYTE = 3_000
"""Lines of Python and characters looked at by patterns; well-formed files take about 100."""


def quoted(delimiter: str, value: str) -> str:
    if any(mark in value for mark in (delimiter, '"', "\n", "\r")):
        return '"' + value.replace('"', '""') + '"'
    return value


def always_quoted(_: str, value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def behind_a_blank(delimiter: str, value: str) -> str:
    return " " + always_quoted(delimiter, value)


def by_backslash(_: str, value: str) -> str:
    """As PHP's fputcsv and R's write.table(qmethod="escape") write what they read as escaped."""
    return '"' + value.replace('"', '\\"') + '"'


def escaped(delimiter: str, value: str) -> str:
    """As MySQL's SELECT INTO OUTFILE."""
    for mark in ("\\", delimiter, "\n"):
        value = value.replace(mark, "\\" + mark)
    return value


Writer = Callable[[str, str], str]
WRITERS: list[Writer] = [quoted, always_quoted, behind_a_blank, by_backslash, escaped]


class Export(NamedTuple):
    """A CSV, its values, and the URLs in its column of images, row by row."""

    data: bytes
    rows: list[list[str]]
    urls: list[list[str]]


names = st.text(alphabet="abAB09_-", min_size=1, max_size=8)
usable = st.builds("https://shop.example/{}/{}.jpg".format, names, names)
bare = st.builds("http://cdn.example/id/{}".format, names)
unusable = st.builds("{}/{}.jpg".format, st.sampled_from(["ftp://shop.example", "https://u:p@a.com"]), names)
notes = st.text(alphabet="abc ,;|\t\"\n.'-é", max_size=15).filter(
    lambda text: text.strip(" \t\n-.'\",;|") != ""
)
separators = st.sampled_from([", ", "; ", " | ", "\n", "<br>", " && ", "，", "、"])


@st.composite
def exports(draw: st.DrawFn) -> Export:
    write = draw(st.sampled_from(WRITERS))
    delimiter = draw(st.sampled_from("\t" if write is escaped else ",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n"])) if write is not escaped else "\n"
    rows, found = [["id", "note", "image"]], []
    for number in range(draw(st.integers(2, 6))):
        urls = draw(st.lists(usable | bare | unusable, max_size=3))
        rows.append([str(number), draw(notes), draw(separators).join(urls)])
        found.append(urls)
    # What two readings understand as two whole tables, nobody can tell apart.
    known: dict[Writer, str] = {escaped: '\t"', behind_a_blank: "\n"}
    misleading = known.get(write, "")
    for row in rows[1:]:
        row[1] = row[1].translate({ord(mark): " " for mark in misleading})
    # Rows that every reading agrees on: of two odd rows nobody can tell what wrote them.
    rows += [[str(number), "plain", "https://shop.example/plain.jpg"] for number in range(10, 16)]
    found += [["https://shop.example/plain.jpg"]] * 6
    lines = [delimiter.join(rows[0])]
    for key, note, cell in rows[1:]:
        lines.append(delimiter.join([key, write(delimiter, note), write(delimiter, cell)]))
    return Export(newline.join([*lines, ""]).encode(), rows, found)


def told(table: CsvTable, row: int) -> int:
    """How many places of a row have a reference or a problem."""
    return sum(each.row == row for found in (table.references, table.problems) for each in found)


def letters(rows: list[list[str]]) -> list[list[str]]:
    """The values without marks of quoting: where each row has the same, they may be a part of the values."""
    return [[re.sub(r'[\s"\\]', "", value) for value in row] for row in rows]


@settings(max_examples=300, deadline=None)
@given(exports())
def test_every_url_of_any_dialect_is_a_reference_or_a_problem(export: Export) -> None:
    try:
        table = read_csv(export.data)
    except CsvError:  # no URL in any row: nothing tells which column it would be
        assert not any(export.urls)
        return
    if "image" not in table.url_columns:
        assert not any(export.urls)
        return
    for number, urls in enumerate(export.urls, start=2):
        assert told(table, number) >= len(urls), (number, urls)
    wanted = Counter(url for urls in export.urls for url in urls if "@" not in url and url.startswith("http"))
    assert Counter(each.url for each in table.references if each.column == "image") == wanted


@settings(max_examples=300, deadline=None)
@given(exports())
def test_the_enriched_csv_keeps_the_dialect_and_every_value(export: Export) -> None:
    try:
        table = read_csv(export.data, url_columns=["image"])
    except CsvError:
        return
    assert letters(table.rows) == letters(export.rows)
    result = enrich(table, {each.url: "http://out/1,2.jpg" for each in table.references}, {})
    again = CsvText(result.decode(), table.delimiter, table.dialect.quoting)
    written = list(again.records())
    assert [row[:3] for row in written] == table.rows
    assert all(len(row) == 5 for row in written)
    sources = zip(table.content.records_with_source(), again.records_with_source(), strict=True)
    for (before, _), (after, _) in sources:
        if table.content.is_well_formed(before):  # others are written anew, lest they swallow what is added
            assert after.startswith(without_line_end(before)[0])


# --- a bound on work, from a corpus


def check_work(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    with counted_work(monkeypatch) as meter, suppress(CsvError):
        enrich(read_csv(data), {}, {})
    assert meter.work <= MOST_WORK_A_BYTE * (len(data) + 500), meter.work


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_every_file_of_the_corpus_is_read_within_a_bound_of_work(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    check_work(monkeypatch, file.read_bytes())


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A file of the corpus with pieces cut out, repeated, or put in from another."""
    data = draw(st.sampled_from(CORPUS)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        other = draw(
            st.sampled_from([b"", data[start:end] * 3, b'"', b"\\", b",", b"\x00", b"\xff", b"\r", b"&&"])
        )
        data = data[:start] + other + data[end:]
    return data


@pytest.mark.slow
@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations() | st.binary(max_size=200))
@example(b"")
def test_any_bytes_are_read_or_refused_within_a_bound_of_work(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    check_work(monkeypatch, data)
