"""Name what the gateway and the orchestration have to agree on: the job, the tags and the statuses.

The core uses none of these words. `status_of_run` is the one place where a run of Dagster becomes the
status of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from imagi_pipeline.core.request_status import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_QUEUE,
    PROCESS_LOST,
    PROCESSING,
    RequestStatus,
    Upkeep,
)

JOB_NAME = "process_csv"
PURGE_JOB = "purge"
LANDING_SENSOR = "landing_folder_sensor"

REQUEST_ID_TAG = "imagi/request_id"
FILE_TAG = "imagi/file"
OWNER_TAG = "imagi/owner"
CREATED_TAG = "imagi/created"
ONLY_FAILED_TAG = "imagi/only_failed"
ROWS_TAG = "imagi/rows"
PROBLEMS_TAG = "imagi/problems"
IMAGES_TOTAL_TAG = "imagi/images_total"
IMAGES_DONE_TAG = "imagi/images_done"
IMAGES_FAILED_TAG = "imagi/images_failed"
BYTES_BEFORE_TAG = "imagi/bytes_before"
BYTES_AFTER_TAG = "imagi/bytes_after"
SETTINGS_TAG = "imagi/settings"
ERROR_CODE_TAG = "imagi/error_code"
ERROR_TAG = "imagi/error"

SIZE_TAG, LARGE = "imagi/size", "large"
"""Large runs get half of the places (`dagster.yaml`), so that small ones need not wait for them."""

IMAGES_OF_A_LARGE_RUN = 5_000
"""Minutes of work."""

FIGURE_TAGS = frozenset(
    {IMAGES_TOTAL_TAG, IMAGES_DONE_TAG, IMAGES_FAILED_TAG, BYTES_BEFORE_TAG, BYTES_AFTER_TAG}
)

WILL_RETRY_TAG = "dagster/will_retry"
MAX_RETRIES_TAG = "dagster/max_retries"
RETRY_NUMBER_TAG = "dagster/retry_number"
PRIORITY_TAG = "dagster/priority"
PARTITION_TAG = "dagster/partition"
SCHEDULE_NAME_TAG = "dagster/schedule_name"

_UPKEEP_OF_SCHEDULE = {
    "retry_failed_images_schedule": "retry",
    "refresh_images_schedule": "refresh",
    "recompress_images_schedule": "recompress",
}

SECONDS_OF_SILENCE = 120.0
"""A daemon that has shown no sign of life for so long does not run; it shows one every 30 seconds."""

_STATUS_OF_RUN = {
    "NOT_STARTED": IN_QUEUE,
    "QUEUED": IN_QUEUE,
    "MANAGED": IN_QUEUE,
    "STARTING": PROCESSING,
    "STARTED": PROCESSING,
    "SUSPENDED": PROCESSING,
    "CANCELING": PROCESSING,
    "SUCCESS": COMPLETED,
    "FAILURE": FAILED,
    "CANCELED": CANCELLED,
}


def status_of_run(
    run_id: str,
    run_status: str,
    tags: Mapping[str, str],
    created: float | None,
    finished: float | None,
) -> RequestStatus:
    """Return the status of the request whose newest run this is; `run_status` is Dagster's name of it."""
    status = _STATUS_OF_RUN[run_status]
    if status == FAILED and tags.get(WILL_RETRY_TAG) == "true":  # its process died, and the next is to come
        status = IN_QUEUE
    failed = status == FAILED
    if status == IN_QUEUE:  # a run that is tried again comes with the figures of the one before it
        tags = {name: value for name, value in tags.items() if name not in FIGURE_TAGS}
    return RequestStatus(
        request_id=tags[REQUEST_ID_TAG],
        status=status,
        file=tags.get(FILE_TAG),
        run_id=run_id,
        rows=_number(tags, ROWS_TAG),
        problems=_number(tags, PROBLEMS_TAG),
        images_total=_number(tags, IMAGES_TOTAL_TAG),
        images_done=_number(tags, IMAGES_DONE_TAG) or 0,
        images_failed=_number(tags, IMAGES_FAILED_TAG) or 0,
        bytes_before=_number(tags, BYTES_BEFORE_TAG),
        bytes_after=_number(tags, BYTES_AFTER_TAG),
        error_code=(tags.get(ERROR_CODE_TAG) or PROCESS_LOST) if failed else None,
        error=(tags.get(ERROR_TAG) or _lost(tags)) if failed else None,
        created=_time(tags.get(CREATED_TAG, "")) or created,
        finished=None if status == IN_QUEUE else finished,
        owner=tags.get(OWNER_TAG),
        settings=tags.get(SETTINGS_TAG, "").partition("-")[2] or None,
    )


def upkeep_of_run(tags: Mapping[str, str]) -> str | None:
    """Return which upkeep a run is: retry, refresh or recompress; None if the whole request was asked for."""
    if tags.get(ONLY_FAILED_TAG) == "true":
        return "retry"
    return _UPKEEP_OF_SCHEDULE.get(tags.get(SCHEDULE_NAME_TAG, ""))


def is_asked_for(tags: Mapping[str, str]) -> bool:
    """Tell whether somebody asked for a run of the whole request: no upkeep, no try after a loss."""
    return upkeep_of_run(tags) is None and RETRY_NUMBER_TAG not in tags


def with_upkeep(newest: RequestStatus, what: str, since: float, result: RequestStatus) -> RequestStatus:
    """Return the status of a request whose `newest` run is upkeep, begun at `since`, beside its last
    `result`.

    The request stays completed. Its run is the newest one, because that can be cancelled.
    """
    upkeep = Upkeep(
        what,
        newest.status,
        since,
        newest.finished,
        newest.images_total,
        newest.images_done,
        newest.images_failed,
        newest.error_code,
        newest.error,
    )
    return replace(result, run_id=newest.run_id, upkeep=upkeep)


def _lost(tags: Mapping[str, str]) -> str:
    tries = int(tags.get(RETRY_NUMBER_TAG, 0)) + 1
    times = "once" if tries == 1 else f"{tries} times"
    return (
        f"The process of its run was started {times} and ended before it was done: killed, out of memory, "
        "or never up. Its log in the Dagster UI says more. Try the request again."
    )


def _time(text: str) -> float | None:
    """Return a tag as seconds since 1970; None for other text, since anybody may write tags."""
    try:
        seconds = float(text)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return seconds


def _number(tags: Mapping[str, str], name: str) -> int | None:
    return int(tags[name]) if name in tags else None
