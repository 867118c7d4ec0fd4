"""Reading takes work in proportion to the size of a CSV, whatever is in it: counted, not timed."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagi_pipeline.core.csv import cell_urls, dialect, encoding, markup, records, urls
from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.errors import CsvError
from imagi_pipeline_tests.core.csv.counting import CountingPattern, Meter, counted_work

pytestmark = pytest.mark.slow  # it counts each line of Python

SIZE = 30
"""How often a file repeats its hostile piece, at first; then twice, four and perhaps eight times as often."""

MOST_GROWTH = 2.7
"""Of the work that each doubling adds: 2 is linear, 4 is quadratic; what begins late lies between."""


def in_cell(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    cell = (prefix + piece * count + suffix).replace('"', '""')
    return f'id,Image\n1,"{cell}"\n2,https://a.com/2.jpg\n'.encode()


def bare(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    return f"id,Image\n1,{prefix + piece * count + suffix}\n2,https://a.com/2.jpg\n".encode()


def in_header(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    return f"{prefix + piece * count + suffix}\n2,https://a.com/2.jpg\n".encode()


def in_rows(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    return ("id,Image\n1,https://a.com/2.jpg\n" + f"{prefix}{piece}{suffix}\n" * count).encode()


def as_a_square(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    """As many columns as rows: the output would be quadratic, reading is not."""
    return ("Image" + "," * count + f"\n{prefix}{piece}{suffix}" * count + "\n").encode()


def in_columns(prefix: str, piece: str, suffix: str, count: int) -> bytes:
    """As many columns as pieces, each with a name of its own."""
    names = ",".join(f"{prefix}{number}{suffix}" for number in range(count))
    return (names + "\n" + ",".join([piece] * count) + "\n").encode()


Place = Callable[[str, str, str, int], bytes]


def work(monkeypatch: pytest.MonkeyPatch, data: bytes) -> int:
    with counted_work(monkeypatch) as meter, suppress(CsvError):
        table = read_csv(data)
        if len(table.header) < 10:
            enrich(table, {}, {})
    return meter.work


def check_growth(monkeypatch: pytest.MonkeyPatch, place: Place, prefix: str, piece: str, suffix: str) -> None:
    one, two, four = (
        work(monkeypatch, place(prefix, piece, suffix, count)) for count in (SIZE, 2 * SIZE, 4 * SIZE)
    )
    if four - two > MOST_GROWTH * max(two - one, 40 * SIZE):  # or something begins at this size only
        eight = work(monkeypatch, place(prefix, piece, suffix, 8 * SIZE))
        assert eight - four <= MOST_GROWTH * (four - two), (one, two, four, eight)


PIECES = [
    ("A" * 64, " ", "!"),
    ("A" * 64, "A ", "!"),
    ("/9j/", "A ", "!"),
    ("x", ",;|", ""),
    ("http://a.com/b", ",;| ", "c"),
    ("x ", "(http://", ")"),
    ("x ", "(http://a.com/b) ", ")"),
    ('a","b\n', 'a","b\n', ""),
    ("", '" ,"', "x"),
    ("", '\\"', ""),
    ("", "\\,", ""),
    ("", "((", "))"),
    ("http://a.com/", "c ", ""),
    ("http://a.com/", ".jpg", "x"),
    ("http://a.com/", ".jpg,", "x"),
    ("http://", "a-", ""),
    ("http://", "a.", "/x"),
    ("http://a.com/", "&amp;", ""),
    ("http://a.com/", "&", "amp;"),
    ("http://a.com/", "%", "zz"),
    ("http://a.com/?", "a ", "b"),
    ("", "http://a.com/b n/a ", ""),
    ("", "a.jpg,", ""),
    ("", "a ", ": http://a.com/1"),
    ("", "a.b-", ":http://a.com/1"),
    ("", "[", "]"),
    ("[", "'a\\", ""),
    ("{", "'a':", "}"),
    ("", "<img ", ""),
    ("<img ", "src=", ""),
    ("<img ", "src='", ""),
    ("<img srcset='", "a 1w ", "'"),
    ("<img srcset='", ",", "'"),
    ("", "<br", ""),
    ("", "<br>", ""),
    ("=", "IMAGE(", ""),
    ("=", 'IMAGE("', ""),
    ("=", '"//', ""),
    ("", "![](", ""),
    ("", "[](a(", ""),
    ("data:", ";a", ""),
    ("data:", "a/", ",x"),
    ("", "a+", "://x"),
    ("", "1.", ""),
    ("", "-", "x"),
    ("#", "a!", ""),
    ("#", "=", ""),
    ("", "\u200b", "x"),
    ("", "\x00a", ""),
    ("", "column 1,", "x"),
    ("", "aB", ""),
    ("", "image ", ""),
    ("", "\r", ""),
    ("<!--", "<html", ""),
]


@pytest.mark.parametrize(("prefix", "piece", "suffix"), PIECES)
@pytest.mark.parametrize("place", [in_cell, bare])
def test_twice_as_much_in_a_cell_takes_twice_the_work(
    monkeypatch: pytest.MonkeyPatch, place: Place, prefix: str, piece: str, suffix: str
) -> None:
    check_growth(monkeypatch, place, prefix, piece, suffix)


@pytest.mark.parametrize(
    ("place", "prefix", "piece", "suffix"),
    [
        (in_header, "", "column 1,", "x"),
        (in_header, "", "column 1 (2),", "x"),
        (in_header, "", "aB", ""),
        (in_header, "", "image ", ""),
        (in_header, "", "number ", "of"),
        (in_header, "#", "1.", ""),
        (in_header, "", "1.", "x"),
        (in_header, "", "photo_url,", ""),
        (in_header, "", "#\n", ""),
        (in_header, "", "Title\n", ""),
        (in_header, "", "\r", ""),
        (in_rows, "", 'a","b\n', ""),
        (in_rows, "", '" ,"', "x"),
        (in_rows, '"', "x", ""),
        (in_rows, "1;", '\\"', ""),
        (in_rows, "", "\\", ""),
        (in_rows, "x", "\\,", ""),
        (in_rows, "", ' "a', '"'),
        (in_rows, "", "x", ""),
        (in_rows, "", ",", ""),
        (in_rows, "1,", "a.jpg", ""),
        (as_a_square, "", "https://a.com/1.jpg", ""),
        (as_a_square, "", "x", ""),
        (in_columns, "photo ", "https://cdn.example/7", " url"),
        (in_columns, "image ", "https://a.com/1.jpg", ""),
        (in_columns, "image ", "a.jpg", ""),
        (in_columns, "", "https://a.com/1.jpg", "_" * 50),
    ],
)
def test_twice_as_many_rows_and_columns_take_twice_the_work(
    monkeypatch: pytest.MonkeyPatch, place: Place, prefix: str, piece: str, suffix: str
) -> None:
    check_growth(monkeypatch, place, prefix, piece, suffix)


tokens = st.sampled_from(
    [
        *"aB1 ,;|\t\"'\\/:.&#%()[]{}<>=!-+_@?\u200b\u3001",
        "http://",
        ".jpg",
        "data:",
        "&&",
        "<br>",
        "<img src=",
    ]
)
texts = st.lists(tokens, max_size=4).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([in_cell, bare]), texts, st.lists(tokens, min_size=1, max_size=3).map("".join), texts)
@example(in_cell, "", "&", "http://")
@example(in_cell, "[", "'a\\", "")
def test_any_piece_that_is_repeated_takes_work_in_proportion(
    monkeypatch: pytest.MonkeyPatch, place: Place, prefix: str, piece: str, suffix: str
) -> None:
    check_growth(monkeypatch, place, prefix, piece, suffix)


# --- the counter itself

ALL_PATTERNS = [
    value
    for module in (cell_urls, dialect, encoding, markup, records, urls)
    for value in vars(module).values()
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ALL_PATTERNS),
    st.lists(tokens | st.sampled_from("\r\n\x00 9wxIMG"), max_size=12).map("".join),
)
def test_the_counting_pattern_matches_as_the_real_one(pattern: re.Pattern[str], text: str) -> None:
    counting = CountingPattern(pattern, Meter())
    for start in range(len(text) + 1):
        found = pattern.match(text, start)
        assert counting.end(text, start) == (found.end() if found else -1)


def test_a_quadratic_pattern_is_noticed() -> None:
    quadratic, linear = (
        [_characters(pattern, count) for count in (SIZE, 2 * SIZE, 4 * SIZE)]
        for pattern in (re.compile(r"&+/"), re.compile(r"(?<!&)&++/"))
    )
    assert quadratic[2] - quadratic[1] > MOST_GROWTH * (quadratic[1] - quadratic[0])
    assert linear[2] - linear[1] < MOST_GROWTH * (linear[1] - linear[0])


def _characters(pattern: re.Pattern[str], count: int) -> int:
    meter = Meter()
    CountingPattern(pattern, meter).split("&" * count)
    return meter.characters
