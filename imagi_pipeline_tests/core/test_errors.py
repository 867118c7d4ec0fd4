from __future__ import annotations

import re

import pytest

from imagi_pipeline.core import errors
from imagi_pipeline.core.errors import ErrorCode, ImagiError

_LINE = re.compile(r"^    (?P<branches>[│├└─ ]*)(?P<text>\S.*)$", re.MULTILINE)


def drawn() -> tuple[dict[str, str | None], list[str]]:
    """Return the classes of the drawing with the class above each, and the codes below them."""
    assert errors.__doc__
    parents: dict[str, str | None] = {}
    codes: list[str] = []
    path: list[tuple[int, str]] = []
    for line in _LINE.finditer(errors.__doc__.split("\n\n")[1]):
        depth, words = len(line["branches"]), line["text"].split()
        if not words[0][0].isupper():
            codes += words
            continue
        path = [(level, name) for level, name in path if level < depth]
        parents[words[0]] = path[-1][1] if path else None
        path.append((depth, words[0]))
    return parents, codes


def test_the_drawing_has_every_class_below_its_base() -> None:
    classes = {
        name: kind.__base__.__name__ if kind is not ImagiError and kind.__base__ else None
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, ImagiError)
    }
    assert drawn()[0] == classes


def test_the_drawing_has_every_code_once() -> None:
    assert sorted(drawn()[1]) == sorted(member.code for member in ErrorCode)


@pytest.mark.parametrize("member", list(ErrorCode))
def test_a_code_is_found_by_its_name_and_says_what_to_do(member: ErrorCode) -> None:
    assert ErrorCode.of(member.code) is member
    assert member.advice.endswith(".")


def test_a_message_is_one_line_with_the_advice() -> None:
    error = ImagiError(ErrorCode.HTTP_404, "a.example answered\n404.")
    assert error.message == f"a.example answered 404. {ErrorCode.HTTP_404.advice}"
