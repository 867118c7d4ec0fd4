"""Answer when the API cannot do what was asked: every error has the same shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from imagi_pipeline.core.errors import CsvError, ImagiError, OptionError, StorageError
from imagi_pipeline.gateway.dagster_client import DagsterRefusedError, DagsterUnreachableError

SECONDS_TO_RETRY = 5


class ProblemDetail(BaseModel):
    """Why a call was refused."""

    code: str = Field(description="Stable name of the reason, for programs.", examples=["unknown_column"])
    message: str = Field(
        description="What is wrong and what to do, on one line, for people.",
        examples=["There is no column 'Bild'. There are: id, Image. Name a column that the header has."],
    )
    row: int | None = Field(None, description="Row of the CSV, as a spreadsheet counts.", examples=[3])
    column: str | None = Field(
        None, description="Column of the CSV, or name of the parameter.", examples=["Image"]
    )


class Problem(BaseModel):
    """The body of every answer that is an error."""

    error: ProblemDetail


class ApiError(Exception):
    """An answer that is an error; it is raised where the error is found."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        row: int | None = None,
        column: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ProblemDetail(code=code, message=message, row=row, column=column)
        self.headers = dict(headers or {})

    @property
    def code(self) -> str:
        """Return the stable name of the reason."""
        return self.detail.code


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of an endpoint, for its documentation."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


_MEANINGS = {
    400: "The request is malformed.",
    401: "No valid bearer token.",
    403: "Another web site calls, or this server is called by a name that is not its own.",
    404: "There is no such thing, or it belongs to somebody else.",
    409: "Not in this state of the request.",
    413: "The file is larger than IMAGI_MAX_UPLOAD_BYTES.",
    415: "A format that cannot be used here.",
    422: "What was sent cannot be used; `row` and `column` say where.",
    502: "The image host did not deliver.",
    503: "Dagster or the storage is out of reach; try again after `Retry-After` seconds.",
}


def add_handlers(app: FastAPI) -> None:
    """Give every error of `app` its answer."""
    for kind in (
        ApiError,
        RequestValidationError,
        HTTPException,
        ImagiError,
        DagsterUnreachableError,
        DagsterRefusedError,
        Exception,
    ):
        app.add_exception_handler(kind, lambda _, error: answer(as_api_error(error)))


def as_api_error(error: Exception) -> ApiError:
    """Return the answer to the caller that an exception stands for."""
    match error:
        case ApiError():
            found = error
        case RequestValidationError():
            first = error.errors()[0]
            name = str(first["loc"][-1])
            found = ApiError(422, "invalid_request", f"{name}: {first['msg']}.", column=name)
        case HTTPException():
            code = _CODES.get(error.status_code, "http_error")
            found = ApiError(error.status_code, code, str(error.detail), headers=error.headers)
        case CsvError():
            found = ApiError(422, error.code, error.message, row=error.row, column=error.column)
        case OptionError():
            found = ApiError(422, error.code, error.message, column=error.option)
        case StorageError():
            found = unavailable(error.code, error.message)
        case ImagiError():
            found = ApiError(422, error.code, error.message)
        case DagsterUnreachableError():
            found = unavailable("dagster_unreachable", str(error))
        case DagsterRefusedError():
            found = ApiError(409, "refused_by_dagster", str(error))
        case _:
            message = "This is a fault of the gateway: please report it with its log."
            found = ApiError(500, "internal_error", message)
    return found


_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


def unavailable(code: str, message: str, seconds: float = SECONDS_TO_RETRY) -> ApiError:
    """Return an error with status 503, which tells the caller to try again after some seconds."""
    return ApiError(503, code, message, headers={"Retry-After": str(math.ceil(seconds))})


def answer(error: ApiError) -> JSONResponse:
    """Return the answer that an error is."""
    body = Problem(error=error.detail).model_dump()
    return JSONResponse(body, status_code=error.status, headers=error.headers)
