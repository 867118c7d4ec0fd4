"""Ask a running Dagster web server over GraphQL, and have it do things, as any program outside may.

The queries are the files in `queries/`; docs/graphql.md shows them to other programs.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import requests

from imagi_pipeline.contract import (
    FILE_TAG,
    JOB_NAME,
    OWNER_TAG,
    REQUEST_ID_TAG,
    SECONDS_OF_SILENCE,
    handed_in,
    status_of_run,
    time_handed_in,
    upkeep_of_run,
    with_upkeep,
)
from imagi_pipeline.core.http.own_services import own_session
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable, without_password
from imagi_pipeline.core.request_status import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_QUEUE,
    PROCESSING,
    RequestStatus,
)

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

QUICK_TIMEOUT = 3.0
"""Seconds to wait for an answer when somebody asks whether Dagster is there at all."""

SECONDS_CONNECTED = 2.0
"""Dagster closes a connection that was idle for 5 s; a query sent at that moment would be lost."""

SENSOR = "landing_folder_sensor"
OWN_TAGS = "imagi/"
"""The names of this project's tags begin with this."""

ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
"""The statuses of a run that has ended."""

NO_CODE = frozenset(
    {
        "DagsterCodeLocationNotFoundError",
        "DagsterCodeLocationLoadError",
        "DagsterUserCodeUnreachableError",
        "KeyError",  # of the asset of a backfill
    }
)
"""The classes of errors by which Dagster says that the code it is to run is not there."""

_STATUS_OF_COUNT = {
    "queued": IN_QUEUE,
    "processing": PROCESSING,
    "completed": COMPLETED,
    "failed": FAILED,
    "cancelled": CANCELLED,
}


class DagsterUnreachableError(OSError):
    """Dagster did not answer, or not with what was asked for; it may answer later."""


class DagsterRefusedError(ValueError):
    """Dagster answered that it does not do what was asked for, and said why."""


@dataclass(frozen=True)
class RequestPage:
    """Some requests, newest first, and the cursor of the next page; None when there is none."""

    requests: list[RequestStatus]
    next: str | None


@dataclass(frozen=True)
class FailedImage:
    """An image of a request that could not be compressed."""

    url: str
    error_code: str
    error: str


@dataclass(frozen=True)
class MaterializedImage:
    """The newest materialization of an image, in seconds since 1970, and its metadata by name."""

    key: str
    run_id: str
    materialized: float
    metadata: dict[str, str | int]


class DagsterClient:
    """A Dagster webserver at a URL such as `http://127.0.0.1:3000`; for any number of threads.

    All methods raise DagsterUnreachableError.
    """

    def __init__(self, url: str) -> None:
        self._endpoint = url.rstrip("/") + "/graphql"
        self._name = re.sub("//[^/@]*@", "//", url)  # nobody may see a password
        self._of_thread = threading.local()

    # -- what is known

    def request_status(self, request_id: str) -> RequestStatus | None:
        """Return the status of a request by its newest run; None when it has no run."""
        run = self._newest_run(request_id)
        return self._status(run) if run else None

    def recent_requests(
        self, most: int, *, owner: str | None = None, cursor: str | None = None
    ) -> RequestPage:
        """Return the status of at most `most` requests, newest run first, each once, also over several pages.

        With `owner`, only those of this owner; `cursor` is the `next` of the page before. A request that is
        launched again in the meantime is on the first page from then on.
        """
        wanted = {} if owner is None else {OWNER_TAG: owner}
        found: dict[str, RequestStatus] = {}
        last = cursor
        for run in self._runs(most + 1, tags=wanted, cursor=cursor):
            if len(found) >= most:
                return RequestPage(list(found.values()), last)
            last = run["runId"]
            status = _status_of(run)
            if status.request_id not in found:
                status = self._status(run)
            if status.request_id not in found and not (cursor and self._is_superseded(run, status)):
                found[status.request_id] = status
        return RequestPage(list(found.values()), None)

    def changed_requests(self, since: float, most: int) -> list[RequestStatus]:
        """Return the status of all requests with a run that changed after a time (seconds since 1970), in any
        order.

        Of several runs of a request that changed, the newest counts; of upkeep it is the run's own status.
        `most` runs are asked for in one query: 12 ms of Dagster's time and 1.2 ms for each run. A run carries
        the time of its event, which may be written a moment later: ask from seconds before the last look.
        """
        found: dict[str, RequestStatus] = {}
        # SQLite has the time at which a run was created in whole seconds.
        for run in self._runs(most, updatedAfter=since - 1):
            status = _status_of(run)
            found.setdefault(status.request_id, status)
        return list(found.values())

    def count_runs(self) -> dict[str, int]:
        """Return how many runs of requests there are, by the status of the request."""
        answer = self._ask("count_runs", {}, QUICK_TIMEOUT)
        counts = {name: _wanted(part, "Runs")["count"] for name, part in answer.items()}
        return {_STATUS_OF_COUNT[name]: count for name, count in counts.items()}

    def failed_images(self, request_id: str) -> list[FailedImage]:
        """Return the failed images in the newest report of a request, at most 100; none without a report."""
        event = self._newest_materialization("failed_images", {"requestId": request_id})
        tables = {entry["label"]: entry.get("table") for entry in event["metadataEntries"]} if event else {}
        records = (tables.get("failures") or {"records": []})["records"]
        rows = (json.loads(record) for record in records)
        return [FailedImage(row["url"], row["error_code"], row["error"]) for row in rows]

    def image(self, key: str) -> MaterializedImage | None:
        """Return the newest materialization of an image; None when it was never compressed."""
        event = self._newest_materialization("image", {"key": key})
        if event is None:
            return None
        metadata = {entry["label"]: _value(entry) for entry in event["metadataEntries"]}
        return MaterializedImage(key, event["runId"], int(event["timestamp"]) / 1000, metadata)

    def health(self) -> list[str]:
        """Return what keeps Dagster from working on requests, each in a sentence that says what to do."""
        answer = self._ask("health", {}, QUICK_TIMEOUT)
        daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [*_daemon_problems(daemons), *_code_problems(_locations(answer))]

    # -- what is done; all of it raises DagsterRefusedError

    def cancel(self, run_id: str) -> None:
        """Cancel a run: at once if it waits, otherwise after the images that it is working on."""
        self._do("cancel_request", {"runId": run_id})

    def retry(self, run_id: str, tags: Mapping[str, str]) -> str:
        """Launch the request of a run again, with more `tags`; return the id of the new run."""
        run = next(self._runs(1, runIds=[run_id]), None)
        if run is None:
            raise DagsterRefusedError(f"There is no run {run_id} of a request.")
        known = _tags_of(run)
        # A new run of the request does not make it a new request.
        added = handed_in(time_handed_in(known) or run["creationTime"]) | dict(tags)
        if run["repositoryOrigin"]:
            done = self._do("retry_request", {"runId": run_id, "tags": _pairs(added)})
        else:
            own = {name: value for name, value in known.items() if name.startswith(OWN_TAGS)}
            partition = {REQUEST_ID_TAG: known[REQUEST_ID_TAG]}
            done = self._do("launch_request", self._job() | {"tags": _pairs(own | partition | added)})
        new_run_id: str = done["run"]["runId"]
        return new_run_id

    def backfill_images(self, keys: Sequence[str]) -> str:
        """Compress images again, whatever requests they belong to; return the id of Dagster's backfill.

        Each contiguous range of keys, in the order of their creation, is a run of its own.
        """
        if not keys:
            raise DagsterRefusedError("Name at least one image.")
        backfill_id: str = self._do("backfill_images", {"keys": list(keys)})["backfillId"]
        return backfill_id

    # -- how

    def _newest_run(self, request_id: str) -> dict[str, Any] | None:
        return next(self._runs(1, tags={REQUEST_ID_TAG: request_id}), None)

    def _status(self, newest: dict[str, Any]) -> RequestStatus:
        """Return the status of a request by its newest run; beside its result, if the run is upkeep."""
        status, what = _status_of(newest), upkeep_of_run(_tags_of(newest))
        if what is None:
            return status
        result = status if status.status == COMPLETED else self._result_of(status.request_id)
        return with_upkeep(status, what, newest["creationTime"], result) if result else status

    def _result_of(self, request_id: str) -> RequestStatus | None:
        run = next(self._runs(1, tags={REQUEST_ID_TAG: request_id}, statuses=["SUCCESS"]), None)
        return _status_of(run) if run else None

    def _is_superseded(self, run: dict[str, Any], status: RequestStatus) -> bool:
        if run["status"] not in ENDED:  # only then a request is launched again
            return False
        newest = self._newest_run(status.request_id)
        return newest is not None and newest["runId"] != run["runId"]

    def _runs(
        self,
        at_once: int,
        *,
        tags: Mapping[str, str] | None = None,
        cursor: str | None = None,
        **conditions: Any,
    ) -> Iterator[dict[str, Any]]:
        """Yield all runs of requests, newest first, `at_once` in a query."""
        conditions |= {"pipelineName": JOB_NAME, "tags": _pairs(tags or {})}
        while True:
            variables = {"filter": conditions, "limit": at_once, "cursor": cursor}
            runs = _wanted(self._ask("requests", variables)["runsOrError"], "Runs")["results"]
            # A run that the UI launched is tagged when it starts.
            yield from (run for run in runs if FILE_TAG in _tags_of(run))
            if len(runs) < at_once:
                return
            cursor = runs[-1]["runId"]

    def _newest_materialization(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        asset = self._ask(query, variables)["assetOrError"]
        if asset["__typename"] == "AssetNotFoundError":
            return None
        return next(iter(_wanted(asset, "Asset")["assetMaterializations"]), None)

    def _job(self) -> dict[str, str]:
        locations = _locations(self._ask("health", {}))
        for location in locations:
            for repository in _repositories(location):
                if any(sensor["name"] == SENSOR for sensor in repository["sensors"]):
                    return {"location": location["name"], "repository": repository["name"]}
        raise DagsterUnreachableError(" ".join(_code_problems(locations)))

    def _do(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any]
        (result,) = self._ask(name, variables).values()
        if result["__typename"].endswith("Success"):
            return result
        if result.get("className") in NO_CODE or result["__typename"] == "PipelineNotFoundError":
            raise DagsterUnreachableError(_no_code(_message_of(result)))
        raise DagsterRefusedError(_message_of(result))

    def _ask(self, name: str, variables: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        try:
            answer = self._session().post(
                self._endpoint,
                json={"query": _query(name), "variables": variables},
                timeout=timeout or TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            late = " in time" if isinstance(error, requests.Timeout) else ""
            raise DagsterUnreachableError(
                f"Dagster does not answer{late} at {self._name}: "
                "start `imagi serve`, or set IMAGI_DAGSTER_URL to where it is."
            ) from error
        return self._data_of(answer)

    def _data_of(self, answer: requests.Response) -> dict[str, Any]:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if error := _graphql_error(body):
            raise DagsterUnreachableError(f"Dagster at {self._name}: {_line(error)}")
        if answer.status_code == 401:
            raise DagsterUnreachableError(
                f"Dagster at {self._name} asks for a login: put that of an admin into IMAGI_DAGSTER_URL, "
                "as in http://name:token@127.0.0.1:3000."
            )
        if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
            raise DagsterUnreachableError(
                f"What answers at {self._name} is not Dagster (HTTP status {answer.status_code}): "
                "set IMAGI_DAGSTER_URL to the address of the Dagster UI."
            )
        data: dict[str, Any] = body["data"]
        return data

    def _session(self) -> requests.Session:
        """Return the session of this thread; its connection is kept only as long as Dagster keeps it."""
        kept, now = self._of_thread, time.monotonic()
        session: requests.Session | None = getattr(kept, "session", None)
        if session is None or now - kept.used_at > SECONDS_CONNECTED:
            if session:
                session.close()
            session = kept.session = own_session()
        kept.used_at = now
        return session


@cache
def _query(name: str) -> str:
    return (resources.files("imagi_pipeline.gateway") / "queries" / f"{name}.graphql").read_text("utf-8")


def _graphql_error(body: Any) -> str | None:
    match body:
        case {"errors": [{"message": str(message)}, *_]}:
            return message
    return None


def _wanted(result: dict[str, Any], type_name: str) -> dict[str, Any]:
    if result["__typename"] != type_name:
        raise DagsterUnreachableError(f"Dagster cannot answer: {_message_of(result)}")
    return result


def _message_of(result: dict[str, Any]) -> str:
    errors = "; ".join(error["message"] for error in result.get("errors", ()))
    return _line(result.get("message") or errors or result["__typename"])


def _line(text: str) -> str:
    """Return the first line of a message; Dagster's go on with a stack trace."""
    line = next((line for line in text.splitlines() if line.strip()), "no reason given")
    return printable(without_password(line), LONGEST_MESSAGE)


def _tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in tags.items()]


def _status_of(run: dict[str, Any]) -> RequestStatus:
    return status_of_run(run["runId"], run["status"], _tags_of(run), run["creationTime"], run["endTime"])


def _value(entry: dict[str, Any]) -> str | int:
    value: str | int = next(
        (entry[kind] for kind in ("url", "intValue", "text", "mdStr") if kind in entry), ""
    )
    return value


def _daemon_problems(daemons: list[dict[str, Any]]) -> list[str]:
    required = [daemon for daemon in daemons if daemon["required"]]
    silent = [daemon["daemonType"] for daemon in required if _is_silent(daemon)]
    problems = [
        f"The Dagster daemon {daemon['daemonType']} has a problem: {_line(errors[0]['message'])} "
        "Its log says more."
        for daemon in required
        if (errors := daemon["lastHeartbeatErrors"]) and not _is_silent(daemon)
    ]
    if silent:
        names = ", ".join(silent)
        problems.append(
            f"The Dagster daemon is not running ({names}): start `imagi serve` or `dagster-daemon run`."
        )
    return problems


def _is_silent(daemon: dict[str, Any]) -> bool:
    return time.time() - (daemon["lastHeartbeatTime"] or 0.0) > SECONDS_OF_SILENCE


def _locations(health: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = _wanted(health["workspaceOrError"], "Workspace")["locationEntries"]
    return entries


def _repositories(location: dict[str, Any]) -> list[dict[str, Any]]:
    repositories: list[dict[str, Any]] = (location["locationOrLoadError"] or {}).get("repositories", [])
    return repositories


def _code_problems(locations: list[dict[str, Any]]) -> list[str]:
    repositories = [repository for location in locations for repository in _repositories(location)]
    states = [
        sensor["sensorState"]["status"]
        for repository in repositories
        for sensor in repository["sensors"]
        if sensor["name"] == SENSOR
    ]
    if not states:  # code of other projects does not matter here
        return [*map(_load_problem, filter(_is_not_loaded, locations))] or [
            _no_code(f"none of its code locations has the sensor {SENSOR}")
        ]
    if "RUNNING" not in states:
        return [f"The sensor {SENSOR} is stopped: switch it on in the Dagster UI, under Automation."]
    return []


def _is_not_loaded(location: dict[str, Any]) -> bool:
    return (location["locationOrLoadError"] or {}).get("__typename") != "RepositoryLocation"


def _load_problem(location: dict[str, Any]) -> str:
    error = location["locationOrLoadError"]
    if error is None:
        return f"The code location {location['name']} is being loaded: wait a moment."
    reason = _line(error["message"])
    return f"The code location {location['name']} is not loaded: {reason} Repair it, and reload it in the UI."


def _no_code(reason: str) -> str:
    return (
        f"Dagster lacks the code of imagi_pipeline ({reason}): start `imagi serve`, or correct its workspace."
    )
