from __future__ import annotations

import pytest

from imagi_pipeline.contract import REQUEST_ID_TAG, status_of_run


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
        "imagi/images_total": "10",
        "imagi/images_done": "4",
        "imagi/images_failed": "1",
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
        "imagi/images_total": "5",
        "imagi/images_done": "5",
        "imagi/created": "0.5",
        "imagi/owner": "shop",
    }
    waiting = status_of_run("run", "QUEUED", tags, 1.0, None)
    assert (waiting.images_total, waiting.images_done) == (None, 0)
    assert (waiting.created, waiting.owner) == (0.5, "shop")
    assert status_of_run("run", "STARTED", tags, 1.0, None).images_done == 5


@pytest.mark.parametrize("text", ["-1e308", "1e308", "nan", "inf", "yesterday", ""])
def test_a_time_that_is_none_gives_way_to_that_of_the_run(text: str) -> None:
    tags = {"imagi/request_id": "a", "imagi/created": text}
    assert status_of_run("run", "SUCCESS", tags, 5.0, 6.0).created == 5.0
