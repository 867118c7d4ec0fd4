"""Counts the work of reading a CSV: lines of Python, and characters that regular expressions look at.

The engine of `re` counts nothing, so `CountingPattern` matches as it does, by backtracking over the same
parsed pattern, and counts each character that it tries. A test holds it against `re` itself. `re` may look at
fewer, since it skips places where no match can begin. A method of `str` counts as the line that calls it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

from imagi_pipeline.core import authority
from imagi_pipeline.core.csv import (
    cell_urls,
    columns,
    dialect,
    encoding,
    enriching,
    header,
    header_words,
    markup,
    placeholders,
    reading,
    records,
    urls,
)

_MODULES: list[ModuleType] = [
    *(authority, cell_urls, columns, dialect, encoding, enriching, header, header_words),
    *(markup, placeholders, reading, records, urls),
]
_FILES = {"<string>", *(module.__file__ for module in _MODULES)}  # the first: methods of dataclasses
_RECURSION = 50_000

Step = Callable[[str, int, int, "Meter"], int]
"""Matches from a position to the end that is given; where the match ends, or -1."""


class Meter:
    """What was counted so far."""

    def __init__(self) -> None:
        self.lines = 0
        self.characters = 0

    @property
    def work(self) -> int:
        """Return all of it."""
        return self.lines + self.characters


class CountingPattern:
    """A pattern with the methods of `re.Pattern` that the package uses; `re` makes the results."""

    def __init__(self, pattern: re.Pattern[Any], meter: Meter) -> None:
        self._real = pattern
        self._meter = meter
        self.pattern = pattern.pattern
        text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        tree = re._parser.parse(text, pattern.flags & ~re.UNICODE)  # type: ignore[attr-defined]
        self._step = _sequence(list(tree), tree.state.flags, _accept)
        self._whole = _sequence(list(tree), tree.state.flags, _at_the_end)

    def end(self, text: str, start: int = 0) -> int:
        """Return where a match that begins at `start` ends, or -1."""
        return self._step(text, start, len(text), self._meter)

    def match(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Any:
        self._step(_text(text), start, min(end, len(text)), self._meter)
        return self._real.match(text, start, end)

    def fullmatch(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Any:
        self._whole(_text(text), start, min(end, len(text)), self._meter)
        return self._real.fullmatch(text, start, end)

    def search(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Any:
        found = self._real.search(text, start, end)
        self._count_tries(text, start, min(end, len(text)), found.start() if found else None)
        return found

    def finditer(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Iterator[Any]:
        self._count_all(text, start, min(end, len(text)))
        return self._real.finditer(text, start, end)

    def findall(self, text: Any) -> list[Any]:
        self._count_all(text, 0, len(text))
        return self._real.findall(text)

    def split(self, text: Any) -> list[Any]:
        self._count_all(text, 0, len(text))
        return self._real.split(text)

    def sub(self, new: Any, text: Any) -> Any:
        self._count_all(text, 0, len(text))
        return self._real.sub(new, text)

    def _count_all(self, text: Any, start: int, end: int) -> None:
        for found in self._real.finditer(text, start, end):
            self._count_tries(text, start, end, found.start())
            start = max(found.end(), found.start() + 1)
        self._count_tries(text, start, end, None)

    def _count_tries(self, text: Any, start: int, end: int, last: int | None) -> None:
        text = _text(text)
        for position in range(start, end + 1 if last is None else last + 1):
            self._meter.characters += 1
            self._step(text, position, end, self._meter)


@contextmanager
def counted_work(monkeypatch: Any) -> Iterator[Meter]:
    """Count what the modules that read CSVs do meanwhile."""
    meter = Meter()
    counted = functools.cache(lambda pattern: CountingPattern(pattern, meter))

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in _FILES:
            return None
        if event == "line":
            meter.lines += 1
        return trace

    make_patterns = records._patterns

    @functools.cache
    def patterns(delimiter: str, quoting: records.Quoting) -> Any:
        made = make_patterns(delimiter, quoting)
        values: dict[str, Any] = {
            each.name: counted(getattr(made, each.name)) for each in dataclasses.fields(made)
        }
        return dataclasses.replace(made, **values)

    limit = sys.getrecursionlimit()
    with monkeypatch.context() as patch:
        for module in _MODULES:
            for name, value in list(vars(module).items()):
                if isinstance(value, re.Pattern):
                    patch.setattr(module, name, counted(value))
        patch.setattr(records, "_patterns", patterns)
        sys.setrecursionlimit(_RECURSION)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield meter
        finally:
            sys.settrace(before)
            sys.setrecursionlimit(limit)


def _text(text: Any) -> str:
    return text if isinstance(text, str) else bytes(text).decode("latin-1")


# --- the matcher: each function makes a step that goes on with `then`


def _accept(_text: str, position: int, _end: int, _meter: Meter) -> int:
    return position


def _at_the_end(_text: str, position: int, end: int, _meter: Meter) -> int:
    return position if position == end else -1


def _sequence(items: list[Any], flags: int, then: Step) -> Step:
    for kind, value in reversed(items):
        then = _item(str(kind), value, flags, then)
    return then


def _item(kind: str, value: Any, flags: int, then: Step) -> Step:  # noqa: PLR0911 - one for each kind
    if kind in {"LITERAL", "NOT_LITERAL", "ANY", "IN"}:
        return _one(_is_in([(kind, value)] if kind != "IN" else value, flags), then)
    if kind == "AT":
        return _place(str(value), then)
    if kind == "BRANCH":
        return _first_of([_sequence(list(branch), flags, then) for branch in value[1]])
    if kind == "SUBPATTERN":
        _, added, removed, inner = value
        return _sequence(list(inner), (flags | added) & ~removed, then)
    if kind == "ATOMIC_GROUP":
        return _atomic(_sequence(list(value), flags, _accept), then)
    if kind in {"ASSERT", "ASSERT_NOT"}:
        return _look(value, flags, then, is_wanted=kind == "ASSERT")
    if kind.endswith("_REPEAT"):
        return _repeat(kind, value, flags, then)
    if kind == "FAILURE":
        return lambda *_: -1
    raise NotImplementedError(kind)


def _one(is_in: Callable[[str], bool], then: Step) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        meter.characters += 1
        if position < end and is_in(text[position]):
            return then(text, position + 1, end, meter)
        return -1

    return step


def _first_of(steps: list[Step]) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        return next((found for each in steps if (found := each(text, position, end, meter)) >= 0), -1)

    return step


def _atomic(inner: Step, then: Step) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        found = inner(text, position, end, meter)
        return then(text, found, end, meter) if found >= 0 else -1

    return step


def _look(value: Any, flags: int, then: Step, *, is_wanted: bool) -> Step:
    direction, tree = value
    inner = _sequence(list(tree), flags, _accept)
    width = tree.getwidth()[0] if direction < 0 else 0

    def step(text: str, position: int, end: int, meter: Meter) -> int:
        is_there = position >= width and inner(text, position - width, end, meter) >= 0
        return then(text, position, end, meter) if is_there is is_wanted else -1

    return step


def _repeat(kind: str, value: Any, flags: int, then: Step) -> Step:
    least, most, tree = int(value[0]), int(value[1]), value[2]
    if kind == "POSSESSIVE_REPEAT":
        return _atomic(_greedy_without_return(_sequence(list(tree), flags, _accept), least, most), then)
    if kind == "MAX_REPEAT" and tree.getwidth() == (1, 1):
        return _greedy_characters(_sequence(list(tree), flags, _accept), least, most, then)

    def step(text: str, position: int, end: int, meter: Meter, count: int = 0, before: int = -1) -> int:
        def again(text: str, after: int, end: int, meter: Meter) -> int:
            return step(text, after, end, meter, count + 1, position)

        may_go_on = count < most and position != before
        if count < least:
            return inner(again)(text, position, end, meter)
        if kind == "MIN_REPEAT":
            found = then(text, position, end, meter)
            return found if found >= 0 or not may_go_on else inner(again)(text, position, end, meter)
        found = inner(again)(text, position, end, meter) if may_go_on else -1
        return found if found >= 0 else then(text, position, end, meter)

    def inner(again: Step) -> Step:
        return _sequence(list(tree), flags, again)

    return step


def _greedy_without_return(inner: Step, least: int, most: int) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        count = 0
        while count < most and (after := inner(text, position, end, meter)) >= 0:
            count += 1
            if after == position:
                break
            position = after
        return position if count >= least else -1

    return step


def _greedy_characters(inner: Step, least: int, most: int, then: Step) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        last = position
        while last - position < most and inner(text, last, end, meter) >= 0:
            last += 1
        for stop in range(last, position + least - 1, -1):
            if (found := then(text, stop, end, meter)) >= 0:
                return found
        return -1

    return step


def _place(kind: str, then: Step) -> Step:
    def step(text: str, position: int, end: int, meter: Meter) -> int:
        meter.characters += 1
        return then(text, position, end, meter) if _is_at(kind, text, position, end) else -1

    return step


def _is_at(kind: str, text: str, position: int, end: int) -> bool:
    if kind in {"AT_BEGINNING", "AT_BEGINNING_STRING"}:
        return position == 0
    if kind == "AT_END_STRING":
        return position == end
    if kind == "AT_END":
        return position == end or (position == end - 1 and text[position] == "\n")
    if kind == "AT_BOUNDARY":
        sides = [_is_word(text[each]) for each in (position - 1, position) if 0 <= each < end]
        return (len(sides) == 2 and sides[0] != sides[1]) or (len(sides) == 1 and sides[0])
    raise NotImplementedError(kind)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_WORD": _is_word,
}


def _is_in(items: list[Any], flags: int) -> Callable[[str], bool]:
    is_negated = str(items[0][0]) == "NEGATE"
    rest = [(str(kind), value) for kind, value in items[is_negated:]]
    known: dict[str, bool] = {}

    def is_in(character: str) -> bool:
        if character not in known:
            forms = {character}
            if flags & re.IGNORECASE:
                forms |= {character.lower(), character.upper()}
            known[character] = (
                any(_is_one(item, form, flags) for item in rest for form in forms) != is_negated
            )
        return known[character]

    return is_in


def _is_one(item: tuple[str, Any], character: str, flags: int) -> bool:
    kind, value = item
    if kind == "ANY":
        return bool(flags & re.DOTALL) or character != "\n"
    if kind == "RANGE":
        return len(character) == 1 and value[0] <= ord(character) <= value[1]
    if kind == "CATEGORY":
        name = str(value)
        test = _CATEGORIES[name.replace("_NOT_", "_")]
        return test(character) is not ("_NOT_" in name)
    return (character == chr(value)) is (kind == "LITERAL")
