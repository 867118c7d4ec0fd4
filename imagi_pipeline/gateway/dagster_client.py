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
        data = self._query(
            "request_status", {"job": JOB_NAME, "tag": REQUEST_ID_TAG, "requestId": request_id}
        )
        runs = data["runsOrError"].get("results")
        if runs is None:
            raise DagsterUnreachableError(f"{self._endpoint}: {data['runsOrError'].get('message')}")
        if not runs:
            return None
        run = runs[0]
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        return status_of_run(run["runId"], run["status"], tags, run["creationTime"], run["endTime"])

    def _query(self, name: str, variables: dict[str, str]) -> dict[str, Any]:
        query = (resources.files("imagi_pipeline.gateway") / "queries" / f"{name}.graphql").read_text()
        try:
            answer = requests.post(
                self._endpoint, json={"query": query, "variables": variables}, timeout=TIMEOUT
            )
            answer.raise_for_status()
            body = answer.json()
        except requests.RequestException as error:
            raise DagsterUnreachableError(f"Dagster does not answer at {self._endpoint}: {error}") from error
        if body.get("errors"):
            raise DagsterUnreachableError(f"{self._endpoint}: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data
