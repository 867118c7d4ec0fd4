"""Say how far a request is, in the words that its sender reads."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Upkeep:
    """The newest work on a request that has its result already: trying failed images again, or renewing them.

    `what` is one of retry, refresh and recompress; `status` is as that of a request. Until this work is
    completed, and however else it ends, the result stays as it is.
    """

    what: str
    status: str
    since: float | None = None
    finished: float | None = None
    images_total: int | None = None
    images_done: int = 0
    images_failed: int = 0
    error_code: str | None = None
    error: str | None = None

    @property
    def is_under_way(self) -> bool:
        """Return whether this work waits or is being done."""
        return self.status in (IN_QUEUE, PROCESSING)


@dataclass(frozen=True)
class RequestStatus:
    """The state of one request.

    `problems` are the entries of the CSV that are no usable URLs, `images_done` counts the failed images too,
    times are seconds since 1970: it came at `created`, and its newest run at `launched`. `owner` is the name
    of the token that it was handed in with, `settings` what its images are made with, None while it is open.
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
    launched: float | None = None
    finished: float | None = None
    owner: str | None = None
    settings: str | None = None
    upkeep: Upkeep | None = None

    @property
    def is_finished(self) -> bool:
        """Return whether nothing more will happen by itself."""
        is_under_way = self.upkeep is not None and self.upkeep.is_under_way
        return self.status in (COMPLETED, FAILED, CANCELLED) and not is_under_way

    @property
    def all_failed(self) -> bool:
        """Return whether the request has ended and every one of its images failed."""
        return (
            self.is_finished and self.images_total is not None and 0 < self.images_total <= self.images_failed
        )
