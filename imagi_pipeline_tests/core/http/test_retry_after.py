from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.http.retry_after import retry_delay, seconds_to_wait


def test_time_to_wait_is_seconds_or_a_date_and_never_negative() -> None:
    now = datetime.now(UTC)
    assert seconds_to_wait("120") == 120
    later = seconds_to_wait(format_datetime(now + timedelta(hours=1), usegmt=True))
    assert later
    assert 3500 < later <= 3600
    assert seconds_to_wait(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0
    assert seconds_to_wait("soon") is None
    assert seconds_to_wait("-5") is None
    assert seconds_to_wait(None) is None


def error_of(kind: ErrorCode, retry_after: float | None = None) -> FetchError:
    return FetchError(kind, "It failed.", retry_after)


def test_the_wait_grows_with_each_attempt_up_to_a_limit() -> None:
    patient = FetchLimits(attempts=100)
    error = error_of(ErrorCode.TIMEOUT)
    longest = [
        max(retry_delay(error, attempt, patient) or 0 for _ in range(300)) for attempt in (1, 2, 3, 20)
    ]
    assert longest == sorted(longest)
    assert longest[0] <= 0.5 < longest[1] <= 1 < longest[2] <= 2 < longest[3] <= 30


def test_waits_are_spread_so_that_downloads_do_not_come_back_together() -> None:
    waits = {retry_delay(error_of(ErrorCode.TIMEOUT), 3, FetchLimits()) for _ in range(20)}
    assert len(waits) == 20


def test_a_host_is_given_at_least_the_time_it_asked_for() -> None:
    for _ in range(50):
        delay = retry_delay(error_of(ErrorCode.RATE_LIMITED, retry_after=10), 1, FetchLimits())
        assert delay is not None
        assert 10 <= delay <= 11


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (error_of(ErrorCode.HTTP_404), 1),
        (error_of(ErrorCode.BLOCKED_ADDRESS, retry_after=1), 1),
        (error_of(ErrorCode.TIMEOUT), 4),
        (error_of(ErrorCode.RATE_LIMITED, retry_after=61), 1),
    ],
    ids=["permanent", "permanent with a wait", "attempts used up", "wait too long"],
)
def test_some_failures_are_final(error: FetchError, attempt: int) -> None:
    assert retry_delay(error, attempt, FetchLimits(attempts=4, max_retry_after=60)) is None
