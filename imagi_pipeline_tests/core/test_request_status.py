from __future__ import annotations

import pytest

from imagi_pipeline.core.request_status import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_QUEUE,
    PROCESSING,
    RequestStatus,
    Upkeep,
)


@pytest.mark.parametrize(
    ("status", "is_finished"),
    [(IN_QUEUE, False), (PROCESSING, False), (COMPLETED, True), (FAILED, True), (CANCELLED, True)],
)
def test_a_request_is_finished_when_nothing_more_happens_by_itself(status: str, is_finished: bool) -> None:
    assert RequestStatus("id", status).is_finished is is_finished


@pytest.mark.parametrize(
    ("status", "is_finished"), [(IN_QUEUE, False), (PROCESSING, False), (COMPLETED, True), (FAILED, True)]
)
def test_work_beside_a_result_is_waited_for(status: str, is_finished: bool) -> None:
    assert RequestStatus("id", COMPLETED, upkeep=Upkeep("retry", status)).is_finished is is_finished


def test_all_failed_is_told_at_the_end_and_of_images_only() -> None:
    assert RequestStatus("id", COMPLETED, images_total=3, images_failed=3).all_failed
    assert not RequestStatus("id", PROCESSING, images_total=3, images_failed=3).all_failed
    assert not RequestStatus("id", COMPLETED, images_total=3, images_failed=2).all_failed
    assert not RequestStatus("id", COMPLETED, images_total=0).all_failed
    assert not RequestStatus("id", COMPLETED).all_failed
