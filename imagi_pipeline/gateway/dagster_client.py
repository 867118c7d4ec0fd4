"""GraphQL to a running Dagster webserver: what a program outside Dagster needs to know of a request."""

from __future__ import annotations

from importlib import resources
from typing import Any

import requests

from imagi_pipeline.core.request_status import JOB_NAME, REQUEST_ID_TAG, RequestStatus, status_of_run

TIMEOUT = 10.0


class DagsterUnreachableError(OSError):
    """Dagster did not answer, or not with what was asked for."""


class DagsterClient:
    """A Dagster webserver at a URL such as `http://127.0.0.1:3000`."""

    def __init__(self, url: str) -> None:
        self._endpoint = url.rstrip("/") + "/graphql"

    def request_status(self, request_id: str) -> RequestStatus | None:
        """The status of a request by its newest run; None when it has no run.

        Raises DagsterUnreachableError.
        """
        tag = {"key": REQUEST_ID_TAG, "value": request_id}
        runs = self._runs({"pipelineName": JOB_NAME, "tags": [tag]}, limit=1)
        return _status_of(runs[0]) if runs else None

    def recent_requests(self, most: int) -> list[RequestStatus]:
        """The status of the requests of the newest runs, newest first. Raises DagsterUnreachableError."""
        newest: dict[str, RequestStatus] = {}
        for run in self._runs({"pipelineName": JOB_NAME}, limit=most):
            if any(tag["key"] == REQUEST_ID_TAG for tag in run["tags"]):
                found = _status_of(run)
                newest.setdefault(found.request_id, found)
        return list(newest.values())

    def _runs(self, runs_filter: dict[str, Any], limit: int) -> list[dict[str, Any]]:
        data = self._query("runs", {"filter": runs_filter, "limit": limit})
        runs: list[dict[str, Any]] | None = data["runsOrError"].get("results")
        if runs is None:
            raise DagsterUnreachableError(f"{self._endpoint}: {data['runsOrError'].get('message')}")
        return runs

    def _query(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        query = (resources.files("imagi_pipeline.gateway") / "queries" / f"{name}.graphql").read_text()
        try:
            answer = requests.post(
                self._endpoint, json={"query": query, "variables": variables}, timeout=TIMEOUT
            )
            answer.raise_for_status()
            body = answer.json()
        except requests.RequestException as error:
            raise DagsterUnreachableError(f"Dagster does not answer at {self._endpoint}.") from error
        if body.get("errors"):
            raise DagsterUnreachableError(f"{self._endpoint}: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data


def _status_of(run: dict[str, Any]) -> RequestStatus:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return status_of_run(run["runId"], run["status"], tags, run["creationTime"], run["endTime"])
