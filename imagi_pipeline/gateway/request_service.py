"""Answer what callers may ask of their requests, and do what they may do to them."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from itertools import islice

from imagi_pipeline.contract import (
    ERROR_CODE_TAG,
    ERROR_TAG,
    IMAGES_OF_A_LARGE_RUN,
    LARGE,
    MAX_RETRIES_TAG,
    ONLY_FAILED_TAG,
    PRIORITY_TAG,
    PROGRESS_TAG,
    SIZE_TAG,
)
from imagi_pipeline.core.request_status import COMPLETED, RequestStatus
from imagi_pipeline.core.storage.landing import status_without_run, waiting_requests
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.access import Caller
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterRefusedError, RequestPage
from imagi_pipeline.gateway.problems import ApiError
from imagi_pipeline.gateway.status_board import StatusBoard

RETRY_TAGS = {
    ONLY_FAILED_TAG: "true",
    MAX_RETRIES_TAG: "3",
    PROGRESS_TAG: "",
    ERROR_CODE_TAG: "",
    ERROR_TAG: "",
    PRIORITY_TAG: "0",
}
"""A new run of a request must not take these over from the run before it, perhaps a schedule's."""

MOST_WAITING = 100
MOST_PAGES_SEARCHED = 20
"""For one page of what is searched for."""

SECONDS_TO_A_RUN = 5
"""The sensor looks at the landing folder about this often."""


class RequestService:
    """The requests of an installation, as the storage and Dagster know them.

    All methods raise DagsterUnreachableError, and ApiError 404 for what `caller` may not see.
    """

    def __init__(self, store: Store, client: DagsterClient) -> None:
        self._store = store
        self._client = client
        self._board = StatusBoard(client, store.end_told)
        self._one_retry_at_a_time = threading.Lock()

    def find(self, request_id: str) -> RequestStatus | None:
        """Return the status of a request, whoever it belongs to; None when there is no such request."""
        found = self._board.status(request_id)
        if found is None:
            found = status_without_run(self._store, request_id)
            if found and found.is_finished:  # its run may have come, and its file gone, in between
                self._board.forget(request_id)
                found = self._board.status(request_id) or found
        return found

    def status(self, request_id: str, caller: Caller) -> RequestStatus:
        """Return the status of a request."""
        found = self.find(request_id)
        if found is None or not caller.may_see(found.owner):
            raise ApiError(404, "unknown_request", f"There is no request {request_id}.")
        return found

    def recent(
        self, caller: Caller, most: int, cursor: str | None, file: str = "", status: str | None = None
    ) -> RequestPage:
        """Return the newest requests; before the first `most`, at most 100 that have no run yet.

        Only those with `file` in their name, and of this `status`. Of very many that are others the page ends
        before it is full; its `next` goes on.
        """

        def is_wanted(found: RequestStatus) -> bool:
            return file.casefold() in (found.file or "").casefold() and status in (None, found.status)

        page = self._with_runs(caller, most, cursor, is_wanted)
        if cursor:
            return page
        known = {found.request_id for found in page.requests}
        waiting = (
            found
            for found in waiting_requests(self._store)
            if caller.may_see(found.owner)
            and found.request_id not in known
            and is_wanted(found)
            and not self._board.status(found.request_id)
        )
        return RequestPage([*islice(waiting, MOST_WAITING), *page.requests], page.next)

    def _with_runs(
        self, caller: Caller, most: int, cursor: str | None, is_wanted: Callable[[RequestStatus], bool]
    ) -> RequestPage:
        owner = None if caller.sees_all else caller.name
        found: list[RequestStatus] = []
        for _ in range(MOST_PAGES_SEARCHED):
            page = self._client.recent_requests(most - len(found), owner=owner, cursor=cursor)
            found += filter(is_wanted, page.requests)
            cursor = page.next
            if cursor is None or len(found) >= most:
                break
        return RequestPage(found, cursor)

    def cancel(self, request_id: str, caller: Caller) -> RequestStatus:
        """Stop a request; raises ApiError 409 when there is nothing to stop, or not yet."""
        self._board.forget(request_id)
        found = self.status(request_id, caller)
        if found.is_finished:
            raise ApiError(409, "already_finished", f"The request is {found.status} already.")
        is_told = found.run_id is not None and self._tell_to_stop(found.run_id)
        self._board.forget(request_id)
        now = self.status(request_id, caller)
        if not is_told and not now.is_finished:
            raise ApiError(
                409,
                "not_started",
                "The request is just being started. Try again in a few seconds.",
                headers={"Retry-After": str(SECONDS_TO_A_RUN)},
            )
        return now

    def _tell_to_stop(self, run_id: str) -> bool:
        """Return whether Dagster stops a run; it stops none that is just starting."""
        try:
            self._client.cancel(run_id)
        except DagsterRefusedError:
            return False
        return True

    def retry(
        self, request_id: str, caller: Caller, before_launch: Callable[[RequestStatus], None]
    ) -> RequestStatus:
        """Launch a new run that attempts what failed; raises ApiError 409 when there is nothing to do."""
        with self._one_retry_at_a_time:
            self._board.forget(request_id)
            found = self.status(request_id, caller)
            if not found.is_finished:
                state = found.upkeep.status if found.upkeep else found.status
                raise ApiError(409, "not_finished", f"The request is {state}: wait for its end.")
            if found.status == COMPLETED and not found.images_failed:
                raise ApiError(409, "nothing_to_retry", "No image of this request failed.")
            if found.run_id is None:
                raise ApiError(409, "nothing_to_retry", found.error or "The request never had a run.")
            before_launch(found)
            self._client.retry(found.run_id, {**RETRY_TAGS, SIZE_TAG: _size_of_retry(found)})
            self._board.forget(request_id)
            return self.status(request_id, caller)

    def report_rows(self, found: RequestStatus) -> Iterator[dict[str, str]]:
        """Yield the rows of the report of a request, one per image; raises ApiError when there is none."""
        path = self._store.report(found.request_id)
        try:
            with path.open(newline="", encoding="utf-8") as text:
                yield from csv.DictReader(text)
        except FileNotFoundError as error:
            raise nothing_there(found) from error


def _size_of_retry(found: RequestStatus) -> str:
    if found.images_total is None:  # the run ended before it knew how many there are
        return LARGE
    to_do = found.images_total - found.images_done + found.images_failed
    return LARGE if to_do > IMAGES_OF_A_LARGE_RUN else ""


def nothing_there(found: RequestStatus) -> ApiError:
    """Return why a request has no result."""
    if found.is_finished:
        return ApiError(404, "no_result", f"The request is {found.status}. {found.error or ''}".strip())
    return ApiError(409, "not_ready", f"The request is {found.status}: ask for its status until it is done.")
