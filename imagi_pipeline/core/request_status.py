"""How far a request is: what its newest run and that run's tags say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

JOB_NAME = "process_csv"

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
"""Large runs get half of the places (`dagster.yaml`), so that small ones pass them."""

IMAGES_OF_A_LARGE_RUN = 5_000
"""Minutes of work."""

FIGURE_TAGS = frozenset(
    {IMAGES_TOTAL_TAG, IMAGES_DONE_TAG, IMAGES_FAILED_TAG, BYTES_BEFORE_TAG, BYTES_AFTER_TAG}
)

WILL_RETRY_TAG = "dagster/will_retry"
MAX_RETRIES_TAG = "dagster/max_retries"
RETRY_NUMBER_TAG = "dagster/retry_number"
PRIORITY_TAG = "dagster/priority"

INTERRUPTED = "interrupted"
"""The error code of a request that was stopped by a signal."""

PROCESS_LOST = "process_lost"
"""The error code of a request whose run ended without saying why, as often as it was tried."""

IN_QUEUE, PROCESSING, COMPLETED, FAILED, CANCELLED = (
    "In queue",
    "processing",
    "completed",
    "failed",
    "cancelled",
)

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
class RequestStatus:
    """The state of one request.

    `problems` are the entries of the CSV that are no usable URLs, `images_done` counts the failed images too,
    times are seconds since 1970. `owner` is the name of the token that it was handed in with.
    """

    request_id: str
    status: str
    file: str | None = None
    run_id: str | None = None
    rows: int | None = None
    problems: int | None = None
    images_total: int | None = None
    images_done: int = 0
    images_failed: int = 0
    bytes_before: int | None = None
    bytes_after: int | None = None
    error_code: str | None = None
    error: str | None = None
    created: float | None = None
    finished: float | None = None
    owner: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in (COMPLETED, FAILED, CANCELLED)


def status_of_run(
    run_id: str,
    run_status: str,
    tags: Mapping[str, str],
    created: float | None,
    finished: float | None,
) -> RequestStatus:
    """The status of the request whose newest run this is; `run_status` is Dagster's name of it."""
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
        created=float(tags[CREATED_TAG]) if CREATED_TAG in tags else created,
        finished=None if status == IN_QUEUE else finished,
        owner=tags.get(OWNER_TAG),
    )


def _lost(tags: Mapping[str, str]) -> str:
    tries = int(tags.get(RETRY_NUMBER_TAG, 0)) + 1
    times = "once" if tries == 1 else f"{tries} times"
    return (
        f"The process of its run was started {times} and ended before it was done: killed, out of memory, "
        "or never up. Its log in the Dagster UI says more. Try the request again."
    )


def _number(tags: Mapping[str, str], name: str) -> int | None:
    return int(tags[name]) if name in tags else None
