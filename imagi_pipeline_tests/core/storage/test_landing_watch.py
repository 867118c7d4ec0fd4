from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from imagi_pipeline.core.storage.landing_watch import MARGIN, LandingWatch

QUIET = 1.0


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time

    def pass_quiet_period(self) -> None:
        self.time += QUIET + MARGIN


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock) -> LandingWatch:
    return LandingWatch(tmp_path, QUIET, clock)


def test_an_empty_folder_and_one_that_is_not_there_are_never_due(
    watch: LandingWatch, tmp_path: Path, clock: Clock
) -> None:
    missing = LandingWatch(tmp_path / "missing", QUIET, clock)
    for _ in range(3):
        clock.pass_quiet_period()
        assert not watch.is_due()
        assert not missing.is_due()


def test_a_request_that_the_gateway_published_is_due_at_once_and_once(
    watch: LandingWatch, tmp_path: Path
) -> None:
    (tmp_path / str(uuid.uuid4())).mkdir()
    assert watch.is_due()
    assert not watch.is_due()
    (tmp_path / str(uuid.uuid4())).mkdir()
    assert watch.is_due()


def test_what_is_left_after_some_requests_were_taken_is_due_again(
    watch: LandingWatch, tmp_path: Path
) -> None:
    folders = [tmp_path / str(uuid.uuid4()) for _ in range(2)]
    for folder in folders:
        folder.mkdir()
    assert watch.is_due()
    folders[0].rmdir()
    assert watch.is_due()
    folders[1].rmdir()
    assert not watch.is_due()


def test_a_dropped_file_is_due_when_it_has_been_quiet(
    watch: LandingWatch, tmp_path: Path, clock: Clock
) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("Images\n")
    assert not watch.is_due()
    clock.time += QUIET / 2
    with file.open("a") as writer:
        writer.write("http://a/b.jpg\n")
    assert not watch.is_due()
    clock.time += QUIET / 2 + MARGIN
    assert not watch.is_due()
    clock.pass_quiet_period()
    assert watch.is_due()
    clock.pass_quiet_period()
    assert not watch.is_due()  # it could not be taken: the sensor's own turn comes all the same


def test_a_file_that_is_not_finished_is_no_reason_to_look(
    watch: LandingWatch, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "shop.csv.part").touch()
    (tmp_path / ".hidden").mkdir()
    assert not watch.is_due()
    clock.pass_quiet_period()
    assert not watch.is_due()
