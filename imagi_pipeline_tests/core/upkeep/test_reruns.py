from __future__ import annotations

import os
from dataclasses import replace

import pytest

from imagi_pipeline.core import reports
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.request_status import CANCELLED, COMPLETED, FAILED
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.reruns import (
    PastRun,
    failed_images,
    has_failures,
    plan_recompression,
    plan_refresh,
    plan_retries,
)
from imagi_pipeline_tests.records import image_key, image_record

HOUR, DAY = 3600.0, 24 * 3600.0
START = 1_000_000.0
A, B, C = (f"https://shop.example/{name}.jpg" for name in "abc")


def report(store: Store, request_id: str, **outcomes: ErrorCode | None) -> None:
    """Write the report of a request on the images a, b, c, by what failed."""
    results = [_result(f"https://shop.example/{name}.jpg", kind) for name, kind in outcomes.items()]
    rows = [reports.report_row(result) for result in results]
    data = reports.report_csv(rows, [result.url for result in results])
    store.write(store.report(request_id), data)


def _result(url: str, kind: ErrorCode | None) -> ImageResult:
    if kind is None:
        return ImageResult(url, image_key(url), "ok", image_record(url))
    return ImageResult(url, image_key(url), "failed", error=FetchError(kind, "Not there."))


def keep_image(store: Store, url: str, *, checked_at: float = START, settings: str = "v1") -> None:
    record = replace(image_record(url), checked_at=checked_at, settings=settings)
    store.write_image(image_key(url), record, b"jpg")


def run(request_id: str = "r", *, at: float = 0.0, status: str = COMPLETED, retry: bool = False) -> PastRun:
    """Return a run with a failed image that began and ended a time after the start."""
    return PastRun(request_id, status, retry, images_failed=1, created=START + at, ended=START + at)


def retries(
    store: Store, runs: list[PastRun], at: float, in_flight: frozenset[str] = frozenset()
) -> list[str]:
    plan = plan_retries(store, runs, in_flight, START + at, first_delay=HOUR, give_up_after=7 * DAY)
    return plan.request_ids


@pytest.fixture
def failing(store: Store) -> Store:
    """A store with the report of the request r, which has an image whose host is down."""
    report(store, "r", a=None, b=ErrorCode.HOST_DOWN)
    return store


def test_transient_failures_are_tried_again_after_the_first_delay(failing: Store) -> None:
    assert retries(failing, [run()], at=0.9 * HOUR) == []
    assert retries(failing, [run()], at=1.1 * HOUR) == ["r"]


def test_the_distance_doubles_with_each_try_and_there_is_an_end(failing: Store) -> None:
    runs, tries, now = [run()], [], 0.0
    while now < 30 * DAY:
        if retries(failing, runs, at=now):
            tries.append(now / HOUR)
            runs.insert(0, run(at=now, retry=True))
        now += HOUR / 2
    assert tries == [1, 3, 7, 15, 31, 63, 127]


def test_a_new_whole_run_begins_the_distances_anew(failing: Store) -> None:
    runs = [run(at=40 * HOUR), run(at=3 * HOUR, retry=True), run(at=1 * HOUR, retry=True), run()]
    assert retries(failing, runs, at=41 * HOUR) == ["r"]


def test_a_request_without_a_whole_run_in_that_time_is_given_up(failing: Store) -> None:
    assert retries(failing, [run(at=DAY, retry=True)], at=3 * DAY) == []
    assert retries(failing, [run(at=DAY, retry=True), run(at=-7 * DAY)], at=3 * DAY) == []


def test_permanent_failures_are_not_tried_again(store: Store) -> None:
    report(store, "r", a=None, b=ErrorCode.HTTP_404)
    assert retries(store, [run()], at=DAY) == []


def test_a_request_with_a_run_in_flight_is_left_alone(failing: Store) -> None:
    assert retries(failing, [run()], at=DAY, in_flight=frozenset({"r"})) == []


def test_a_cancelled_request_is_left_alone_and_a_failed_one_is_not(failing: Store) -> None:
    assert retries(failing, [run(status=CANCELLED)], at=DAY) == []
    failed = replace(run(status=FAILED, retry=True, at=1), images_failed=0)
    assert retries(failing, [failed, run()], at=DAY) == ["r"]


def test_a_failed_request_without_a_report_is_left_alone(store: Store) -> None:
    assert retries(store, [replace(run(status=FAILED), images_failed=0)], at=DAY) == []


def test_a_plan_says_why_there_is_nothing_to_do(failing: Store) -> None:
    runs = [run("other"), run("r"), replace(run("good"), images_failed=0)]
    plan = plan_retries(failing, runs, {"other"}, START, first_delay=HOUR, give_up_after=DAY)
    assert plan.reason == "Requests not run: 1 with a run in flight, 1 not due yet, 1 without failures."
    nothing = plan_retries(failing, [], (), 0, first_delay=1, give_up_after=1)
    assert nothing.reason == "Requests not run: none."


def test_requests_with_an_old_image_are_refreshed_unless_they_were_lately(store: Store) -> None:
    for request_id in ("old", "lately", "busy"):
        report(store, request_id, a=None, b=None)
    report(store, "new", b=None, c=ErrorCode.HTTP_404)
    for url, checked_at in ((A, START - 1), (B, START + 1)):
        keep_image(store, url)
        os.utime(str(store.record(image_key(url))), (checked_at, checked_at))
    existing = ["old", "lately", "busy", "new", "without report"]
    assert plan_refresh(store, existing, {"busy"}, {"lately"}, START).request_ids == ["old"]


def test_requests_with_an_image_of_other_settings_are_compressed_anew(store: Store) -> None:
    report(store, "other", a=None, b=None)
    report(store, "busy", a=None)
    report(store, "todays", b=None)
    keep_image(store, A, settings="v0")
    keep_image(store, B, settings="v1")
    plan = plan_recompression(store, ["other", "busy", "todays"], {"busy"}, {}, "v1")
    assert plan.request_ids == ["other"]


def test_an_image_that_could_not_be_made_anew_is_not_tried_each_day(store: Store) -> None:
    report(store, "r", a=None)
    keep_image(store, A, settings="v0", checked_at=START)
    assert plan_recompression(store, ["r"], (), {"r": START + 1}, "v1").request_ids == []
    # Afterwards somebody went back to the older settings, and forth again.
    keep_image(store, A, settings="v0", checked_at=START + 2)
    assert plan_recompression(store, ["r"], (), {"r": START + 1}, "v1").request_ids == ["r"]


def test_failed_images_are_told_of_the_requests_that_have_some(store: Store) -> None:
    report(store, "failed", a=None, b=ErrorCode.HTTP_404)
    report(store, "good", a=None, b=None)
    report(store, "another", b=ErrorCode.HTTP_404, c=ErrorCode.HTTP_404)
    found = failed_images(store, ["failed", "good", "another", "without report"])
    assert list(found) == [("failed", [image_key(B)]), ("another", [image_key(B), image_key(C)])]


def test_failures_are_told_with_and_without_those_that_may_pass(store: Store) -> None:
    report(store, "r", a=None, b=ErrorCode.HTTP_404)
    assert has_failures(store, "r")
    assert not has_failures(store, "r", transient=True)
    assert not has_failures(store, "without report")
