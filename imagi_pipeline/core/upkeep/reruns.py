"""Decide which requests are run again as time passes: to re-try, to refresh, to renew what is outdated.

Work is planned by request, not by image: a request is one run, and what a run cannot repair (an image
that is gone for good) is tried once and reported, and not again each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from typing import NamedTuple

from imagi_pipeline.core import reports
from imagi_pipeline.core.request_status import CANCELLED, FAILED
from imagi_pipeline.core.storage.store import Store

READERS = 8
"""Reports read at the same time: on a bucket each takes tens of milliseconds, nearly all of it waiting."""

_NO_RUN_HELPS = "with nothing to do"
_IN_FLIGHT = "with a run in flight"


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of a request that has ended, and with what status; times are in seconds since 1970.

    `only_failed` is a run that left alone what an earlier one had done; `settings` is the fingerprint of the
    settings that images were made with, empty if the run ended before that.
    """

    request_id: str
    status: str
    only_failed: bool
    images_failed: int
    created: float
    ended: float
    settings: str = ""


@dataclass(frozen=True)
class Plan:
    """The requests to run again, and how many others there are, by the reason why not."""

    request_ids: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def reason(self) -> str:
        """Return how many requests are not run, and why, for people."""
        counts = [f"{count:,} {why}" for why, count in self.others.most_common()]
        return "Requests not run: " + (", ".join(counts) or "none") + "."


def plan_retries(
    store: Store,
    runs: Iterable[PastRun],
    in_flight: Collection[str],
    now: float,
    *,
    first_delay: float,
    give_up_after: float,
) -> Plan:
    """Return the requests with transient failures whose next try is due.

    `runs` are those of the requests to look at, newest first. The first try comes `first_delay` seconds after
    the end of the run that failed, each further one after twice the time of the one before it, and none later
    than `give_up_after` seconds after the start of the last run that attempted all images.
    """
    plan = Plan()
    of_requests: dict[str, list[PastRun]] = {}
    for run in runs:
        of_requests.setdefault(run.request_id, []).append(run)
    for request_id, of_request in of_requests.items():
        newest, tries = of_request[0], _tries(of_request, now - give_up_after)
        if newest.status == CANCELLED:
            plan.others["cancelled"] += 1
        elif not (newest.images_failed or newest.status == FAILED):
            plan.others["without failures"] += 1
        elif request_id in in_flight:
            plan.others[_IN_FLIGHT] += 1
        elif tries is None:
            plan.others["given up"] += 1
        elif now < newest.ended + first_delay * 2**tries:
            plan.others["not due yet"] += 1
        elif not has_failures(store, request_id, transient=True):
            plan.others["without failures that may pass"] += 1
        else:
            plan.request_ids.append(request_id)
    return plan


def plan_refresh(
    store: Store, existing: Iterable[str], in_flight: Collection[str], lately: Collection[str], before: float
) -> Plan:
    """Return the existing requests that refer to an image last checked before a time, in seconds since 1970.

    `lately` are those of which all images were attempted since then: what is older is gone or out of reach.
    A record is written at each check, so one listing tells the times; reading 100,000 takes half a minute,
    on a bucket an hour.
    """

    @cache
    def checked() -> dict[str, float]:
        files = store.files(store.compressed)
        return {PurePath(file.name).stem: file.changed_at or 0.0 for file in files if file.is_record}

    def is_due(request_id: str) -> bool:
        return any(checked().get(key, before) < before for key in _keys_with_copy(store, request_id))

    return _plan(existing, {_IN_FLIGHT: in_flight, "refreshed lately": lately}, is_due)


def plan_recompression(
    store: Store,
    existing: Iterable[str],
    in_flight: Collection[str],
    attempted: Mapping[str, float],
    algorithm: str,
) -> Plan:
    """Return the existing requests that refer to an image that another version of the algorithm made.

    `algorithm` is the version that counts, such as `v5`. `attempted` are the times, in seconds since 1970, at
    which requests were last run with it: what is still of another since before then is gone or out of reach.
    """
    checks = _Checks(store)

    def is_due(request_id: str) -> bool:
        since = attempted.get(request_id, 0.0)
        return any(check.algorithm != algorithm and check.at > since for check in checks.of(request_id))

    return _plan(existing, {_IN_FLIGHT: in_flight}, is_due)


def failed_images(store: Store, request_ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the requests with failed images in their report, each with the keys of these."""
    with ThreadPoolExecutor(READERS) as readers:
        failed = readers.map(lambda request_id: _failed_keys(store, request_id), request_ids)
        for request_id, keys in zip(request_ids, failed, strict=True):
            if keys:
                yield request_id, keys


def has_failures(store: Store, request_id: str, *, transient: bool = False) -> bool:
    """Return whether images failed in a request's report; with `transient`, for reasons that may pass."""
    data = store.read(store.report(request_id))
    return data is not None and reports.has_failures(data, transient=transient)


def _tries(newest_first: list[PastRun], since: float) -> int | None:
    """Return how often the last whole run's failures were tried again; None if it began before a time."""
    for tries, run in enumerate(newest_first):
        if run.created < since:
            return None
        if not run.only_failed:
            return tries
    return None


def _plan(
    existing: Iterable[str], passed_over: dict[str, Collection[str]], is_due: Callable[[str], bool]
) -> Plan:
    plan = Plan()
    for request_id in existing:
        why = next((why for why, known in passed_over.items() if request_id in known), None)
        if why is None and is_due(request_id):
            plan.request_ids.append(request_id)
        else:
            plan.others[why or _NO_RUN_HELPS] += 1
    return plan


class _Check(NamedTuple):
    """When an image was last found to be as its host has it, and which algorithm made it."""

    at: float
    algorithm: str


class _Checks:
    """Reads image records, each of them once however many requests share the image."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Check | None] = {}

    def of(self, request_id: str) -> Iterator[_Check]:
        """Yield the checks of the images that a request has copies of."""
        for key in _keys_with_copy(self._store, request_id):
            if key not in self._known:
                record = self._store.read_record(key)
                self._known[key] = _Check(record.checked_at, record.algorithm) if record else None
            if check := self._known[key]:
                yield check


def _keys_with_copy(store: Store, request_id: str) -> list[str]:
    data = store.read(store.report(request_id))
    return [] if data is None else reports.keys_with_copy(data)


def _failed_keys(store: Store, request_id: str) -> list[str]:
    data = store.read(store.report(request_id))
    return [] if data is None else reports.failed_keys(data)
