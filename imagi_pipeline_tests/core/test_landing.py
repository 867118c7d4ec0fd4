from __future__ import annotations

import pytest

from imagi_pipeline.core.landing import Look, complete_names, is_ignored

NOW = 1000.0


def test_only_files_that_both_looks_agree_on_are_complete() -> None:
    first = {"same": Look(5, 10.0), "grew": Look(5, 10.0), "touched": Look(5, 10.0), "gone": Look(5, 10.0)}
    second = {"same": Look(5, 10.0), "grew": Look(6, 10.0), "touched": Look(5, 11.0), "new": Look(5, 10.0)}
    assert complete_names(first, second, NOW, 1.0) == ["same"]


@pytest.mark.parametrize(
    ("changed_at", "is_complete"),
    [(NOW - 1.5, True), (NOW - 1.0, True), (NOW - 0.5, False), (NOW, False), (NOW + 3600, True)],
)
def test_a_file_must_have_been_quiet_unless_its_clock_is_ahead(changed_at: float, is_complete: bool) -> None:
    looks = {"a.csv": Look(5, changed_at)}
    assert bool(complete_names(looks, looks, NOW, 1.0)) == is_complete


def test_the_oldest_file_comes_first() -> None:
    looks = {"b": Look(1, 30.0), "a": Look(1, 20.0), "c": Look(1, 20.0)}
    assert complete_names(looks, looks, NOW, 1.0) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("name", "ignored"),
    [("a.csv", False), (".a.csv", True), ("~a.csv", True), ("a.csv~", True), ("a.csv.PART", True)],
)
def test_names_tell_what_is_not_finished(name: str, ignored: bool) -> None:
    assert is_ignored(name) == ignored
