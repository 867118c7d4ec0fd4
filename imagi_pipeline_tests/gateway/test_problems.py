from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from imagi_pipeline.core.errors import CsvError, ErrorCode, ImagiError, StorageError
from imagi_pipeline.gateway.dagster_client import DagsterRefusedError, DagsterUnreachableError
from imagi_pipeline.gateway.problems import ApiError, answer, as_api_error, responses, unavailable


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (CsvError(ErrorCode.EMPTY_CSV, "The file is empty."), 422, "empty_csv"),
        (StorageError(ErrorCode.STORAGE_FAILURE, "It is read-only."), 503, "storage_failure"),
        (ImagiError(ErrorCode.INVALID_URL, "It has no host."), 422, "invalid_url"),
        (DagsterUnreachableError("Dagster does not answer."), 503, "dagster_unreachable"),
        (DagsterRefusedError("The run has ended."), 409, "refused_by_dagster"),
        (HTTPException(405, "Method Not Allowed"), 405, "method_not_allowed"),
        (HTTPException(418, "I am a teapot"), 418, "http_error"),
        (RuntimeError("secret=7"), 500, "internal_error"),
    ],
)
def test_every_error_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    found = as_api_error(error)
    assert (found.status, found.code) == (status, code)
    assert ("Retry-After" in found.headers) is (status == 503)


def test_a_fault_of_ours_tells_nothing_of_its_inside() -> None:
    assert "secret" not in as_api_error(RuntimeError("secret=7")).detail.message


def test_the_answer_says_where_the_error_is() -> None:
    error = as_api_error(CsvError(ErrorCode.UNKNOWN_COLUMN, "There is no column 'x'.", row=3, column="x"))
    body = json.loads(bytes(answer(error).body))["error"]
    assert (body["code"], body["row"], body["column"]) == ("unknown_column", 3, "x")


def test_the_time_to_wait_is_in_whole_seconds() -> None:
    assert unavailable("busy", "Wait.", 1.2).headers == {"Retry-After": "2"}


def test_an_endpoint_documents_its_errors() -> None:
    assert all(documented["description"] for documented in responses(401, 404, 503).values())
    assert answer(ApiError(404, "x", "y", headers={"A": "b"})).headers["A"] == "b"
