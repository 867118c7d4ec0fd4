import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.printable import LONGEST_MESSAGE, no_formula, printable, without_password


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Not Found", "Not Found"),
        ("  two\r\n lines\tand\u2028more\x1c ", "two lines and more"),
        ("a\x00\x00\x00b", "a?b"),
        ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
        ("gnp.\u202egpj", "gnp.?gpj"),
        ("half \ud800 pair", "half ? pair"),
        ("gr\xfc\xdfe \u65e5\u672c", "gr\xfc\xdfe \u65e5\u672c"),
        (ValueError("bad\x07"), "bad?"),
        ("what??? ", "what???"),
        ("", ""),
    ],
)
def test_what_cannot_be_shown_is_replaced_and_the_rest_stays(raw: object, shown: str) -> None:
    assert printable(raw) == shown


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert printable("x" * 60_000, 10) == "x" * 7 + "..."
    assert printable("x" * 10, 10) == "x" * 10


@given(st.text(st.characters(), max_size=300), st.integers(1, 100))
def test_whatever_comes_in_is_one_printable_line_within_the_limit(raw: str, limit: int) -> None:
    shown = printable(raw, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert all(unicodedata.category(character)[0] != "C" for character in shown)


@given(st.text(st.characters(), max_size=300))
def test_no_message_of_a_failure_is_raw(raw: str) -> None:
    error = FetchError(ErrorCode.SERVER_ERROR, raw * 50)
    assert error.message.isprintable()
    assert len(error.detail) <= LONGEST_MESSAGE


@pytest.mark.parametrize("cell", ["=1+1", "+49", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_a_cell_that_would_begin_a_formula_becomes_text(cell: str) -> None:
    assert no_formula(cell) == "'" + cell


@pytest.mark.parametrize(
    "cell", ["", "https://shop.example/a.jpg", ",https://shop.example/a.jpg", "image: a=b"]
)
def test_any_other_cell_stays_as_it_is(cell: str) -> None:
    assert no_formula(cell) == cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://imagi:se:cret@db:5432/x is down", "postgresql://***@db:5432/x is down"),
        ("http://gateway:a@b@127.0.0.1/graphql", "http://***@127.0.0.1/graphql"),
        ("http://shop.example/a@b.jpg?mail=a@b.c", "http://shop.example/a@b.jpg?mail=a@b.c"),
    ],
)
def test_a_login_in_a_url_is_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
