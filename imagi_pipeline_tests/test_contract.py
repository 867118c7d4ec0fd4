from __future__ import annotations

import pytest

from imagi_pipeline.contract import REQUEST_ID_TAG, Figures, handed_in, status_of_run


@pytest.mark.parametrize(
    ("run_status", "status"),
    [
        ("QUEUED", "In queue"),
        ("NOT_STARTED", "In queue"),
        ("STARTING", "processing"),
        ("STARTED", "processing"),
        ("CANCELING", "processing"),
        ("SUCCESS", "completed"),
        ("FAILURE", "failed"),
        ("CANCELED", "cancelled"),
    ],
)
def test_the_status_of_a_run_is_the_status_of_its_request(run_status: str, status: str) -> None:
    found = status_of_run("run", run_status, {REQUEST_ID_TAG: "id"}, 1.0, None)
    assert (found.status, found.request_id) == (status, "id")


def test_a_run_that_will_be_retried_has_not_failed_its_request() -> None:
    tags = {REQUEST_ID_TAG: "id", "dagster/will_retry": "true", "imagi/error": "of a run before"}
    found = status_of_run("run", "FAILURE", tags, 1.0, 2.0)
    assert (found.status, found.error, found.is_finished) == ("In queue", None, False)


def test_the_tags_tell_counts_and_reasons() -> None:
    tags = {
        REQUEST_ID_TAG: "id",
        "imagi/file": "a.csv",
        "imagi/progress": "4 of 10 images, 1 failed",
        "imagi/error_code": "empty_csv",
        "imagi/error": "The file is empty.",
    }
    found = status_of_run("run", "FAILURE", tags, 1.0, 2.0)
    assert (found.file, found.images_total, found.images_done, found.images_failed) == ("a.csv", 10, 4, 1)
    assert (found.error_code, found.error) == ("empty_csv", "The file is empty.")
    assert status_of_run("run", "STARTED", tags, 1.0, None).error is None


def test_a_run_that_was_lost_as_often_as_it_was_tried_says_so() -> None:
    tags = {REQUEST_ID_TAG: "id", "imagi/error": "", "dagster/retry_number": "3"}
    found = status_of_run("run", "FAILURE", tags, 1.0, 2.0)
    assert (found.error_code, found.error is not None) == ("process_lost", True)
    assert "4 times" in str(found.error)


def test_a_run_that_waits_shows_no_figures_of_the_run_before_it() -> None:
    tags = {
        REQUEST_ID_TAG: "id",
        "imagi/progress": "5 of 5 images, 0 failed; rows 3, problems 0; bytes 20 to 10",
        "imagi/owner": "shop",
        **handed_in(0.5),
    }
    waiting = status_of_run("run", "QUEUED", tags, 1.0, None)
    assert (waiting.images_total, waiting.images_done) == (None, 0)
    assert (waiting.created, waiting.owner) == (0.5, "shop")
    assert status_of_run("run", "STARTED", tags, 1.0, None).images_done == 5


@pytest.mark.parametrize("text", ["-1e308", "1e308", "nan", "inf", "yesterday", ""])
def test_a_time_that_is_none_gives_way_to_that_of_the_run(text: str) -> None:
    tags = {REQUEST_ID_TAG: "a", "imagi/created": text}
    assert status_of_run("run", "SUCCESS", tags, 5.0, 6.0).created == 5.0


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (Figures(12), "0 of 12 images, 0 failed"),
        (Figures(12, 7, 2, 10, 0), "7 of 12 images, 2 failed; rows 10, problems 0"),
        (Figures(1, 1, 0, 1, 3, 20, 10), "1 of 1 images, 0 failed; rows 1, problems 3; bytes 20 to 10"),
        (Figures(1, 1, 1, bytes_before=0, bytes_after=0), "1 of 1 images, 1 failed; bytes 0 to 0"),
    ],
)
def test_figures_are_one_tag_that_is_read_back(figures: Figures, text: str) -> None:
    assert str(figures) == text
    assert Figures.of({"imagi/progress": text}) == figures


@pytest.mark.parametrize("text", ["", "a few of many images", "1 of None images, 0 failed"])
def test_a_tag_that_tells_no_figures_is_none(text: str) -> None:
    assert Figures.of({"imagi/progress": text}) == Figures()


def test_a_run_of_a_version_with_a_tag_for_each_figure_keeps_them() -> None:
    tags = {
        REQUEST_ID_TAG: "id",
        "imagi/created": "1795443231.885275",
        "imagi/images_total": "5",
        "imagi/images_done": "5",
        "imagi/images_failed": "1",
        "imagi/rows": "4",
        "imagi/problems": "0",
        "imagi/bytes_before": "20",
        "imagi/bytes_after": "10",
    }
    found = status_of_run("run", "SUCCESS", tags, 1.0, 2.0)
    assert (found.images_total, found.images_done, found.images_failed) == (5, 5, 1)
    assert (found.rows, found.problems, found.bytes_before, found.bytes_after) == (4, 0, 20, 10)
    assert found.created == 1795443231.885275


@pytest.mark.parametrize("seconds", [5.0, 1795443231.885275])
def test_the_time_is_a_date_for_people(seconds: float) -> None:
    tag = handed_in(seconds)
    assert status_of_run("run", "SUCCESS", {REQUEST_ID_TAG: "a", **tag}, 1.0, 2.0).created == seconds
    assert handed_in(5.0) == {"imagi/created": "1970-01-01T00:00:05Z"}
