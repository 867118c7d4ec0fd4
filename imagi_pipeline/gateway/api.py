"""Serve the HTTP API: the two endpoints of the original service, and what people expect around them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from upath import UPath

from imagi_pipeline.core.archive import archive_members, enriched_name, zipped
from imagi_pipeline.core.csv.enriching import failed_rows
from imagi_pipeline.core.csv.table import CsvFindings
from imagi_pipeline.core.errors import FetchError, ImagiError
from imagi_pipeline.core.http.fetching import Fetcher
from imagi_pipeline.core.images.options import MOST, WORDS
from imagi_pipeline.core.reports import outcomes
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.uploads import uploaded_table
from imagi_pipeline.gateway import health, metrics
from imagi_pipeline.gateway.access import Caller, authenticate
from imagi_pipeline.gateway.callbacks import Callbacks
from imagi_pipeline.gateway.csv_reading_turns import UploadReader
from imagi_pipeline.gateway.dagster_client import DagsterClient
from imagi_pipeline.gateway.documents import (
    API,
    MOST_SHOWN,
    Accepted,
    Failures,
    Health,
    ImagePage,
    Inspection,
    Status,
    StatusName,
    StatusPage,
    failures_document,
    image_document,
    inspection_document,
    status_document,
)
from imagi_pipeline.gateway.image_query import ImageQuery, Order
from imagi_pipeline.gateway.media import browser_type
from imagi_pipeline.gateway.problems import ApiError, responses
from imagi_pipeline.gateway.request_service import RequestService, nothing_there
from imagi_pipeline.gateway.uploads import Intake, Upload, received
from imagi_pipeline.settings import Settings

TAKEN_AT_ONCE = 4
"""CSVs that are put into the landing folder at the same time."""

ASKING_AT_ONCE = 32

PREVIEWS_AT_ONCE = 8
BYTES_IN_A_PIECE = 1 << 18

T = TypeVar("T")


@dataclass
class Gateway:
    """Everything that the endpoints work with."""

    settings: Settings
    store: Store
    client: DagsterClient
    requests: RequestService
    intake: Intake
    callbacks: Callbacks
    fetcher: Fetcher
    metrics: metrics.Metrics
    upload_reader: UploadReader
    # These are separate threads: a Dagster or an image host that hangs must not hold up an upload.
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(TAKEN_AT_ONCE))
    asking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(ASKING_AT_ONCE))
    previews: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PREVIEWS_AT_ONCE))

    async def read(
        self, request: Request, upload: Upload, caller: Caller, *, most: int
    ) -> tuple[bytes, CsvFindings]:
        """Return a CSV's bytes and what is found in it; raises CsvError when it cannot be processed."""
        data = await to_thread.run_sync(upload.read, limiter=self.uploads)
        found = await self.upload_reader.read(
            data,
            url_columns=upload.options.url_columns,
            base_url=upload.options.base_url,
            most=most,
            caller=caller.name or "",
            is_gone=request.is_disconnected,
        )
        return data, found

    async def ask(self, work: Callable[..., T], *arguments: object) -> T:
        """Return what `work` returns, which waits for Dagster."""
        return await to_thread.run_sync(work, *arguments, limiter=self.asking)

    def status(self, request_id: UUID, caller: Caller) -> Status:
        """Return the status of a request that the caller may see."""
        return status_document(self.requests.status(str(request_id), caller), self.store, self.settings)

    def recent(
        self, caller: Caller, limit: int, cursor: str | None, file: str, status: str | None
    ) -> StatusPage:
        """Return a page of the requests that the caller may see."""
        page = self.requests.recent(caller, limit, cursor, file, status)
        documents = [status_document(found, self.store, self.settings) for found in page.requests]
        return StatusPage(requests=documents, next=page.next)

    def expect_callback(self, found: RequestStatus) -> None:
        """Register a callback for a request's next run, if its sender asked for one with the upload."""
        manifest = self.store.read_manifest(found.request_id)
        if manifest and manifest.callback_url and self.settings.webhook_secret:
            self.callbacks.register(found.request_id, manifest.callback_url, after=found.run_id)


async def _gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


TheGateway = Annotated[Gateway, Depends(_gateway_of)]

_bearer = HTTPBearer(auto_error=False, description="Only where the service has tokens (IMAGI_API_TOKENS).")


async def _caller(
    gateway: TheGateway, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    header = f"{given.scheme} {given.credentials}" if given else None
    return authenticate(header, gateway.settings.api_tokens)


TheCaller = Annotated[Caller, Depends(_caller)]

OF_IMAGES = "What images are made with; not given: as the service has it."

_FIELDS: dict[str, dict[str, Any]] = {
    "url_column": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Search only these columns (names or numbers from 1).",
    },
    "base_url": {"type": "string", "description": "What relative URLs are relative to."},
    "callback_url": {"type": "string", "description": "Where to POST the status when the request ends."},
    "in_place": {
        "type": "boolean",
        "default": False,
        "description": "Write the new URLs in the place of the old ones, into no new columns. A failed image "
        "keeps its URL there.",
    },
    **{
        name: {"type": "string", "enum": list(words), "description": OF_IMAGES}
        for name, words in WORDS.items()
    },
    **{
        name: {"type": "integer", "minimum": 1, "maximum": most, "description": OF_IMAGES}
        for name, most in MOST.items()
    },
}
"""What may come with a CSV; `uploads.received` reads it."""

_FILE_NAME = {
    "type": "string",
    "description": "Name of the file; else that in the form or the header.",
}

_CSV_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The CSV."},
                        **_FIELDS,
                    },
                }
            },
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": "The CSV itself, its options as query parameters.",
                },
                "example": "id,Image\n1,https://shop.example/red.jpg\n",
            },
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in {"filename": _FILE_NAME, **_FIELDS}.items()
    ],
}

router = APIRouter(prefix=API, responses=responses(401, 403, 422))


@router.post(
    "/upload_csv/",
    status_code=202,
    response_model=Accepted,
    responses=responses(413, 415, 503),
    openapi_extra=_CSV_BODY,
)
async def upload_csv(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    idempotency_key: Annotated[
        str | None, Header(description="The same key within a day gives the same request.")
    ] = None,
) -> JSONResponse:
    """Hand in a CSV. It is on the disk, and will be processed, when this answers 202."""
    try:
        async with received(request, gateway.settings) as upload:
            data, _ = await gateway.read(request, upload, caller, most=0)
            accept = functools.partial(gateway.intake.accept, upload, data, caller.name, idempotency_key)
            request_id, is_new = await to_thread.run_sync(accept, limiter=gateway.uploads)
            size = upload.size
    except (ApiError, ImagiError) as error:
        gateway.metrics.uploads.labels(error.code).inc()
        raise
    gateway.metrics.uploads.labels("accepted" if is_new else "repeated").inc()
    gateway.metrics.upload_bytes.inc(size if is_new else 0)
    body = Accepted(request_id=request_id, status="In queue")
    links = {"Location": f"{API}/check_request_status/{request_id}/"}
    return JSONResponse(body.model_dump(), status_code=202, headers=links)


@router.post(
    "/inspect_csv/",
    response_model=Inspection,
    responses=responses(413, 415),
    openapi_extra=_CSV_BODY,
)
async def inspect_csv(request: Request, gateway: TheGateway, caller: TheCaller) -> Inspection:
    """Tell what would be done with a CSV, without any network. Nothing is kept."""
    async with received(request, gateway.settings) as upload:
        _, found = await gateway.read(request, upload, caller, most=MOST_SHOWN)
        options = upload.options.compression.over(gateway.settings.compression)
        return inspection_document(upload.options.name, found, options)


@router.get("/check_request_status/{request_id}/", responses=responses(404, 503))
async def check_request_status(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Status:
    """Tell how far a request is."""
    return await gateway.ask(gateway.status, request_id, caller)


@router.get("/requests/", responses=responses(503))
async def list_requests(
    gateway: TheGateway,
    caller: TheCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    file: Annotated[str, Query(max_length=200, description="A part of the file's name.")] = "",
    status: Annotated[StatusName | None, Query()] = None,
) -> StatusPage:
    """List the newest requests. The first page begins with those that have no run yet, beyond `limit`."""
    return await gateway.ask(gateway.recent, caller, limit, cursor, file, status)


@router.post("/requests/{request_id}/cancel/", status_code=202, responses=responses(404, 409, 503))
async def cancel_request(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Accepted:
    """Stop a request. What is compressed already stays, so a re-try goes on from there."""
    return _accepted(await gateway.ask(gateway.requests.cancel, str(request_id), caller))


@router.post("/requests/{request_id}/retry/", status_code=202, responses=responses(404, 409, 503))
async def retry_request(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Accepted:
    """Try the failed images of a request again; also goes on with one that was cancelled or failed."""
    return _accepted(
        await gateway.ask(gateway.requests.retry, str(request_id), caller, gateway.expect_callback)
    )


def _accepted(found: RequestStatus) -> Accepted:
    """Return where the run stands that was asked for, or stopped."""
    return Accepted(request_id=found.request_id, status=found.upkeep.status if found.upkeep else found.status)


_CSV_ANSWER = {"description": "The CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}}


@router.get(
    "/requests/{request_id}/result/",
    response_class=Response,
    responses={200: _CSV_ANSWER, **responses(404, 409, 503)},
)
async def download_result(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Response:
    """Download the enriched CSV, in the encoding that the CSV came in."""
    found = await gateway.ask(gateway.requests.status, str(request_id), caller)
    name = found.file or "upload.csv"
    path = gateway.store.result(found.request_id, name)
    return await gateway.ask(_download, gateway, path, enriched_name(name), found)


@router.get(
    "/requests/{request_id}/report/",
    response_class=Response,
    responses={200: _CSV_ANSWER, **responses(404, 409, 503)},
)
async def download_report(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Response:
    """Download the compression report, which has one row per image."""
    found = await gateway.ask(gateway.requests.status, str(request_id), caller)
    stem = UPath(found.file or "upload.csv").stem
    return await gateway.ask(
        _download, gateway, gateway.store.report(found.request_id), f"{stem}_report.csv", found
    )


@router.get("/requests/{request_id}/failures/", responses=responses(404, 409, 503))
async def list_failures(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Failures:
    """Tell what failed and why: equal failures of a host together, with the rows that name the images."""
    return await gateway.ask(_failures, gateway, str(request_id), caller)


def _failures(gateway: Gateway, request_id: str, caller: Caller) -> Failures:
    found = gateway.requests.status(request_id, caller)
    return failures_document(gateway.requests.report_rows(found), gateway.settings.public_url)


@router.get(
    "/requests/{request_id}/failures.csv/",
    response_class=Response,
    responses={200: _CSV_ANSWER, **responses(404, 409, 503)},
)
async def download_failures(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Response:
    """Download the rows that failed, with the reasons, to be corrected and handed in again."""
    found = await gateway.ask(gateway.requests.status, str(request_id), caller)
    return await gateway.ask(_failed_rows, gateway, found)


def _failed_rows(gateway: Gateway, found: RequestStatus) -> Response:
    manifest = gateway.store.read_manifest(found.request_id)
    if manifest is None:
        raise nothing_there(found)
    urls, errors = outcomes(gateway.requests.report_rows(found), gateway.settings.public_url)
    table = uploaded_table(gateway.store, found.request_id, manifest, gateway.settings.csv_limits)
    if not errors and not table.problems:
        raise ApiError(404, "nothing_failed", "Nothing of this request failed.")
    headers = {"Content-Type": "text/csv", **_attachment(f"{UPath(manifest.name).stem}_failures.csv")}
    return StreamingResponse(failed_rows(table, urls, errors), headers=headers)


@router.get(
    "/requests/{request_id}/archive/",
    response_class=Response,
    responses={
        200: {"description": "A ZIP.", "content": {"application/zip": {}}},
        **responses(404, 409, 503),
    },
)
async def download_archive(request_id: UUID, gateway: TheGateway, caller: TheCaller) -> Response:
    """Download the images, the enriched CSV with their paths in it and the report, as one ZIP."""
    found = await gateway.ask(gateway.requests.status, str(request_id), caller)
    return await gateway.ask(_archive, gateway, found)


def _archive(gateway: Gateway, found: RequestStatus) -> Response:
    manifest = gateway.store.read_manifest(found.request_id)
    if manifest is None or not gateway.store.result(found.request_id, manifest.name).exists():
        raise nothing_there(found)
    members = archive_members(gateway.store, found.request_id, manifest, gateway.settings.csv_limits)
    headers = _attachment(f"{UPath(manifest.name).stem}.zip")
    return StreamingResponse(zipped(members), media_type="application/zip", headers=headers)


def _attachment(name: str) -> dict[str, str]:
    quoted = quote(name, safe="")
    shown = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    return {"Content-Disposition": f"attachment; {shown}", "Cache-Control": "private, no-cache"}


def _download(gateway: Gateway, path: UPath, name: str, found: RequestStatus) -> Response:
    if not path.exists():
        raise nothing_there(found)
    # Starlette would add a charset, and the enriched CSV is in that of its upload.
    headers = {"Content-Type": "text/csv", **_attachment(name)}
    if gateway.store.is_local:
        return FileResponse(path.path, headers=headers)
    return StreamingResponse(_pieces(path), headers=headers)


def _pieces(path: UPath) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(BYTES_IN_A_PIECE):
            yield piece


async def _image_query(
    status: Annotated[Literal["ok", "reused", "failed"] | None, Query()] = None,
    kept: Annotated[bool | None, Query(description="Whether the source was small enough as it was.")] = None,
    text: Annotated[
        str, Query(max_length=200, description="A part of a URL, of what a row is called, or a row's number.")
    ] = "",
    order: Annotated[Order, Query(description="`largest` file or `least_saved` first.")] = "csv",
) -> ImageQuery:
    return ImageQuery(status, kept, text.strip(), order)


@router.get("/requests/{request_id}/images/", responses=responses(404, 409, 503))
async def list_images(
    request_id: UUID,
    gateway: TheGateway,
    caller: TheCaller,
    query: Annotated[ImageQuery, Depends(_image_query)],
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> ImagePage:
    """List the images of a request: what they were and what they became, or why they failed."""
    return await gateway.ask(_images, gateway, str(request_id), caller, query, offset, limit)


def _images(
    gateway: Gateway, request_id: str, caller: Caller, query: ImageQuery, offset: int, limit: int
) -> ImagePage:
    found = gateway.requests.status(request_id, caller)
    total, rows = query.page(gateway.requests.report_rows(found), offset, limit)
    return ImagePage(total=total, images=[image_document(row, gateway.settings.public_url) for row in rows])


@router.get(
    "/requests/{request_id}/images/{key}/source/",
    response_class=Response,
    responses={
        200: {"description": "The image, as its host sends it now.", "content": {"image/*": {}}},
        **responses(404, 409, 415, 502, 503),
    },
)
async def preview_source(request_id: UUID, key: str, gateway: TheGateway, caller: TheCaller) -> Response:
    """Fetch the source image, so that it can be compared with the compressed one."""
    look = functools.partial(_source_image, gateway, str(request_id), key, caller)
    return await to_thread.run_sync(look, limiter=gateway.previews)


def _source_image(gateway: Gateway, request_id: str, key: str, caller: Caller) -> Response:
    found = gateway.requests.status(request_id, caller)
    url = next((row["url"] for row in gateway.requests.report_rows(found) if row["key"] == key), None)
    if url is None:
        raise ApiError(404, "unknown_image", f"The request has no image {key!r}.")
    try:
        source = gateway.fetcher.fetch(url)
    except FetchError as error:
        raise ApiError(502, error.code, error.message) from error
    assert source is not None  # the request was not conditional
    media_type = browser_type(source.data)
    if media_type is None:
        raise ApiError(415, "unsupported_format", "Browsers cannot show the format of this image.")
    # Bytes of a foreign host on our own origin: nothing in them may run.
    headers = {
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=300",
    }
    return Response(source.data, media_type=media_type, headers=headers)


service = APIRouter()


@service.get("/healthz", responses=responses(403))
async def healthz() -> Health:
    """Say that this process answers."""
    return Health(status="ok", problems=[])


@service.get(
    "/readyz",
    responses={503: {"model": Health, "description": "Something is missing: `problems`."}, **responses(403)},
)
async def readyz(gateway: TheGateway, response: Response) -> Health:
    """Say whether requests can be processed: it looks at Dagster, its daemon and sensor, and the storage."""
    found = await gateway.ask(health.problems, gateway.store, gateway.client)
    response.status_code = 503 if found else 200
    return Health(status="not ready" if found else "ok", problems=found)


@service.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Figures for Prometheus.", "content": {"text/plain": {}}},
        **responses(401, 403),
    },
    dependencies=[Depends(_caller)],
)
async def prometheus_metrics(gateway: TheGateway) -> Response:
    """Give the figures of this gateway to Prometheus."""
    figures = await gateway.ask(gateway.metrics.exposition)
    return Response(figures, headers={"Content-Type": metrics.CONTENT_TYPE})
