"""Name what the gateway and the orchestration have to agree on: the job, the tags and the statuses.

The core uses none of these words. `status_of_run` is the one place where a run of Dagster becomes the
status of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Self

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

REQUEST_ID_TAG = "dagster/partition"
"""Dagster's tag of the partition of a run. That of a run of `process_csv` is its request; other runs have it
too."""

FILE_TAG = "imagi/file"
"""A run of a request has this one from its start, whoever launched it."""

OWNER_TAG = "imagi/owner"
CREATED_TAG = "imagi/created"
ONLY_FAILED_TAG = "imagi/only_failed"
PROGRESS_TAG = "imagi/progress"
SETTINGS_TAG = "imagi/settings"
ERROR_CODE_TAG = "imagi/error_code"
ERROR_TAG = "imagi/error"

SIZE_TAG, LARGE = "imagi/size", "large"
"""Large runs get half of the places (`dagster.yaml`), so that small ones need not wait for them."""

CHUNK_QUEUE = "imagi-chunks"
"""The queue of Celery for chunks of large requests; it has workers of its own."""

IMAGES_OF_A_LARGE_RUN = 5_000
"""Minutes of work."""

WILL_RETRY_TAG = "dagster/will_retry"
MAX_RETRIES_TAG = "dagster/max_retries"
RETRY_NUMBER_TAG = "dagster/retry_number"
PRIORITY_TAG = "dagster/priority"
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


@dataclass(frozen=True)
class Figures:
    """What a run has counted so far, in one tag that people read in the list of runs; sizes are in bytes."""

    images_total: int | None = None
    images_done: int = 0
    images_failed: int = 0
    rows: int | None = None
    problems: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.images_done} of {self.images_total} images, {self.images_failed} failed"]
        if self.rows is not None:
            parts.append(f"rows {self.rows}, problems {self.problems}")
        if self.bytes_before is not None:
            parts.append(f"bytes {self.bytes_before} to {self.bytes_after}")
        return "; ".join(parts)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self:
        """Return what the tags of a run tell; nothing is counted if they tell nothing."""
        if PROGRESS_TAG in tags:
            match = _FIGURES.fullmatch(tags[PROGRESS_TAG])
            found = match.groupdict() if match else {}
        else:  # before there was one tag, there was one for each figure
            found = {field.name: tags.get(f"imagi/{field.name}") for field in fields(cls)}
        return cls(**{name: int(value) for name, value in found.items() if value})


_FIGURES = re.compile(
    r"(?P<images_done>\d+) of (?P<images_total>\d+) images, (?P<images_failed>\d+) failed"
    r"(; rows (?P<rows>\d+), problems (?P<problems>\d+))?"
    r"(; bytes (?P<bytes_before>\d+) to (?P<bytes_after>\d+))?"
)


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
    # A run that is tried again comes with the figures of the one before it.
    figures = Figures() if status == IN_QUEUE else Figures.of(tags)
    return RequestStatus(
        request_id=tags[REQUEST_ID_TAG],
        status=status,
        file=tags.get(FILE_TAG),
        run_id=run_id,
        **asdict(figures),
        error_code=(tags.get(ERROR_CODE_TAG) or PROCESS_LOST) if failed else None,
        error=(tags.get(ERROR_TAG) or _lost(tags)) if failed else None,
        created=time_handed_in(tags) or created,
        launched=created,
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


def handed_in(seconds: float) -> dict[str, str]:
    """Return the tag that says when a request came, by seconds since 1970."""
    return {CREATED_TAG: f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}Z"}


def time_handed_in(tags: Mapping[str, str]) -> float | None:
    """Return when the request of a run came, in seconds since 1970; None if no tag tells a time.

    Anybody may write tags.
    """
    text = tags.get(CREATED_TAG, "")
    try:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:  # the tag was a number once
            return datetime.fromtimestamp(float(text), UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
