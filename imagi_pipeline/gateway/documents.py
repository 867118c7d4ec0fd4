"""Define the JSON documents of the API, and make them from what the core knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from imagi_pipeline.core.csv.table import CsvFindings
from imagi_pipeline.core.images.compression_settings import CompressionSettings, OutputFormat, Png, Preset
from imagi_pipeline.core.reports import failure_groups, places_of
from imagi_pipeline.core.request_status import COMPLETED, IN_QUEUE, RequestStatus, Upkeep
from imagi_pipeline.core.storage.keys import image_url
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.settings import Settings

MOST_SHOWN = 20
SECONDS_TO_A_FIRST_RUN = 10
API = "/imagi-process"

StatusName = Literal["In queue", "processing", "completed", "failed", "cancelled"]
REQUEST_ID_EXAMPLE = "bd158f56-81ca-4591-9e7a-925fe9314af4"
RUN_ID_EXAMPLE = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
REQUEST_URL_EXAMPLE = f"http://127.0.0.1:8000{API}/requests/{REQUEST_ID_EXAMPLE}"


class Accepted(BaseModel):
    """A request was accepted; this is its status."""

    request_id: str = Field(examples=[REQUEST_ID_EXAMPLE])
    status: StatusName = Field(examples=[IN_QUEUE])


class Progress(BaseModel):
    """Images of a request. `total` is null until the CSV has been read; `done` counts the failed ones too."""

    total: int | None = Field(examples=[120])
    done: int = Field(examples=[37])
    failed: int = Field(examples=[2])
    percent: float = Field(description="Share of the images that are done, 0 to 100.", examples=[30.8])


class RequestError(BaseModel):
    """Why a request, or an image, failed."""

    code: str = Field(examples=["empty_csv"])
    message: str = Field(examples=["The file is empty. Export the file again and check that it has rows."])


class UpkeepStatus(BaseModel):
    """Work on a request that has its result: failed images are tried again, or images are renewed."""

    what: Literal["retry", "refresh", "recompress"] = Field(examples=["retry"])
    status: StatusName = Field(description="How far it is, or how it ended.", examples=["processing"])
    progress: Progress
    since: datetime | None = Field(examples=["2026-11-23T18:00:00Z"])
    finished: datetime | None = Field(examples=[None])
    error: RequestError | None = Field(description="Only if it failed.")


class ImageOptions(BaseModel):
    """What images are made with."""

    preset: Preset = Field(examples=["balanced"])
    quality: int = Field(examples=[80])
    format: OutputFormat = Field(examples=["same"])
    longest_side: int | None = Field(
        description="Pixels that larger images are scaled down to; null: none.", examples=[None]
    )
    png: Png = Field(examples=["auto"])


class Status(BaseModel):
    """How far a request is. Sizes are in bytes, times in UTC."""

    request_id: str = Field(examples=[REQUEST_ID_EXAMPLE])
    status: StatusName = Field(examples=["processing"])
    file: str | None = Field(description="Name of the CSV.", examples=["products.csv"])
    progress: Progress
    rows: int | None = Field(description="Rows of the CSV below its header.", examples=[100])
    bytes_before: int | None = Field(
        description="Source images that have a compressed copy.", examples=[4_510_221]
    )
    bytes_after: int | None = Field(description="The compressed copies.", examples=[1_287_940])
    error: RequestError | None = Field(description="Only for a failed request.")
    warnings: list[str] = Field(examples=[["2 of 120 images failed: the report says why."]])
    result: str | None = Field(
        description="Path of the enriched CSV, once there is one.",
        examples=[f"/home/shop/imagi/results/{REQUEST_ID_EXAMPLE}/products.csv"],
    )
    result_url: str | None = Field(
        description="Download of the enriched CSV, once there is one.",
        examples=[f"{REQUEST_URL_EXAMPLE}/result/"],
    )
    report_url: str | None = Field(
        description="Download of the compression report, once there is one.",
        examples=[f"{REQUEST_URL_EXAMPLE}/report/"],
    )
    failures_url: str | None = Field(
        description="Download of the CSV's rows that failed, once there is a result that has any.",
        examples=[f"{REQUEST_URL_EXAMPLE}/failures.csv"],
    )
    archive_url: str | None = Field(
        description="Download of images, enriched CSV and report as ZIP, once there is a result.",
        examples=[f"{REQUEST_URL_EXAMPLE}/archive/"],
    )
    run_url: str | None = Field(
        description="The run in the Dagster UI.",
        examples=[f"http://127.0.0.1:3000/runs/{RUN_ID_EXAMPLE}"],
    )
    upkeep: UpkeepStatus | None = Field(
        description="The newest work beside a result, which stays meanwhile; null if there was none."
    )
    options: ImageOptions | None = Field(
        description="What its images are made with; null for a few seconds of a dropped file."
    )
    settings: str | None = Field(
        description="The same as one text, as run tags and the report have it.",
        examples=["balanced-q80-same"],
    )
    created: datetime | None = Field(examples=["2026-11-23T17:12:06Z"])
    finished: datetime | None = Field(examples=["2026-11-23T17:12:31Z"])


class StatusPage(BaseModel):
    """Requests, newest first."""

    requests: list[Status]
    next: str | None = Field(
        description="`cursor` of the next page; null on the last.", examples=[RUN_ID_EXAMPLE]
    )


class Reference(BaseModel):
    """One image URL in one cell; row and position count from 1."""

    row: int = Field(examples=[2])
    column: str = Field(examples=["Image"])
    position: int = Field(examples=[1])
    url: str = Field(examples=["https://shop.example/shoe-red.jpg"])


class UnusableEntry(BaseModel):
    """An entry that stands at the place of an image URL and cannot be used."""

    row: int = Field(examples=[4])
    column: str = Field(examples=["Image"])
    position: int = Field(examples=[1])
    value: str = Field(examples=["b.jpg"])
    code: str = Field(examples=["relative_url"])
    message: str = Field(
        examples=["The URL does not begin with https://. Write the whole URL, or give a base URL."]
    )


class References(BaseModel):
    """The image references of a CSV."""

    total: int = Field(examples=[121])
    distinct: int = Field(description="Images: a URL that is named twice is one.", examples=[120])
    first: list[Reference] = Field(description=f"The first {MOST_SHOWN}.")


class UnusableEntries(BaseModel):
    """The entries of a CSV that are no usable URLs."""

    total: int = Field(examples=[1])
    first: list[UnusableEntry] = Field(description=f"The first {MOST_SHOWN}.")


class Inspection(BaseModel):
    """What would be done with a CSV."""

    file: str = Field(examples=["products.csv"])
    encoding: str = Field(examples=["utf-8"])
    delimiter: str = Field(examples=[","])
    has_header: bool = Field(examples=[True])
    columns: list[str] = Field(examples=[["id", "Image"]])
    options: ImageOptions = Field(description="What its images would be made with.")
    url_columns: list[str] = Field(description="The columns that hold image URLs.", examples=[["Image"]])
    rows: int = Field(examples=[100])
    warnings: list[str] = Field(
        description="What its sender should know, such as rows with bytes that are no UTF-8.", examples=[[]]
    )
    references: References
    problems: UnusableEntries


class Image(BaseModel):
    """One image of a request; a failed one may have an earlier copy. Sizes are in bytes, sides in pixels."""

    url: str = Field(examples=["https://shop.example/shoe-red.jpg"])
    key: str = Field(examples=["shoe-red-3f2a9c1b7d2e4f60"])
    status: Literal["ok", "reused", "failed"] = Field(examples=["ok"])
    output_url: str | None = Field(examples=["http://127.0.0.1:8000/media/3f/shoe-red-3f2a9c1b7d2e4f60.jpg"])
    source_format: str | None = Field(examples=["JPEG"])
    source_bytes: int | None = Field(examples=[482_113])
    source_width: int | None = Field(examples=[1600])
    source_height: int | None = Field(examples=[1200])
    format: str | None = Field(examples=["JPEG"])
    bytes: int | None = Field(examples=[120_884])
    width: int | None = Field(examples=[1600])
    height: int | None = Field(examples=[1200])
    kept_source: bool | None = Field(
        description="Whether the source was small enough as it was.", examples=[False]
    )
    settings: str | None = Field(
        description="Version of the compression, preset, quality, format and longest side it was made with.",
        examples=["v5-balanced-q80-same"],
    )
    encoder: str | None = Field(
        description="What made the bytes: coefficients (a JPEG that never became pixels), jpegli, oxipng, "
        "palette (a PNG of at most 256 colours), pillow, or kept (the bytes of the source). Null for images "
        "made before this was told.",
        examples=["coefficients"],
    )
    error: RequestError | None
    transient: bool | None = Field(
        description="Whether a later try may succeed by itself; null unless it failed.", examples=[None]
    )
    rows: list[int] = Field(description="The first rows that name it.", examples=[[2, 7]])
    items: list[str] = Field(
        description="What these rows are called: their value in the first column that is unique.",
        examples=[["SKU-4711", "SKU-4712"]],
    )


class FailureGroup(BaseModel):
    """Images of one host that failed for the same reason."""

    host: str = Field(examples=["shop.example"])
    error: RequestError
    transient: bool = Field(description="Whether a later try may succeed by itself.", examples=[False])
    count: int = Field(examples=[34])
    first: list[Image] = Field(description=f"The first {MOST_SHOWN} of them.")


class Failures(BaseModel):
    """What failed in a request, the most frequent reason first."""

    total: int = Field(examples=[34])
    groups: list[FailureGroup]


class ImagePage(BaseModel):
    """Images of a request, in the order of its CSV."""

    total: int = Field(examples=[120])
    images: list[Image]


class Health(BaseModel):
    """Whether the service can do its work, and what keeps it from it."""

    status: Literal["ok", "not ready"] = Field(examples=["not ready"])
    problems: list[str] = Field(
        examples=[
            ["The Dagster daemon is not running (SENSOR): start `imagi serve` or `dagster-daemon run`."]
        ]
    )


def status_document(found: RequestStatus, store: Store, settings: Settings) -> Status:
    """Return the status as the API answers it."""
    result = store.result(found.request_id, found.file or "")
    has_result = found.status == COMPLETED or (_may_have_result(found, store) and result.exists())
    links = f"{settings.gateway_url}{API}/requests/{found.request_id}"
    return Status(
        request_id=found.request_id,
        status=found.status,
        file=found.file,
        progress=_progress(found),
        rows=found.rows,
        bytes_before=found.bytes_before,
        bytes_after=found.bytes_after,
        error=_error(found),
        warnings=_warnings(found),
        result=str(result) if has_result else None,
        result_url=f"{links}/result/" if has_result else None,
        report_url=f"{links}/report/" if has_result else None,
        failures_url=f"{links}/failures.csv"
        if has_result and (found.images_failed or found.problems)
        else None,
        archive_url=f"{links}/archive/" if has_result else None,
        upkeep=_upkeep(found.upkeep) if found.upkeep else None,
        run_url=f"{settings.ui_url}/runs/{found.run_id}" if found.run_id else None,
        options=image_options(CompressionSettings.of(found.settings)) if found.settings else None,
        settings=found.settings,
        created=_time(found.created),
        finished=_time(found.finished),
    )


def _may_have_result(found: RequestStatus, store: Store) -> bool:
    """Return whether a request that is not completed may have the result of an earlier run.

    While a whole run is under way, and if it fails, that is still there. In a bucket each look takes time, so
    only requests are looked at that were launched later than a first run is.
    """
    if found.run_id is None or found.created is None or found.launched is None:
        return False
    return store.is_local or found.launched - found.created > SECONDS_TO_A_FIRST_RUN


def inspection_document(file: str, found: CsvFindings, settings: CompressionSettings) -> Inspection:
    """Return what was found in a CSV."""
    return Inspection(
        file=file,
        encoding=found.encoding,
        delimiter=found.delimiter,
        has_header=found.has_header,
        columns=found.header,
        options=image_options(settings),
        url_columns=found.url_columns,
        rows=found.data_row_count,
        warnings=[warning.message for warning in found.warnings],
        references=References(
            total=found.reference_count,
            distinct=found.image_count,
            first=[
                Reference(row=each.row, column=each.column, position=each.position, url=each.url)
                for each in found.references[:MOST_SHOWN]
            ],
        ),
        problems=UnusableEntries(
            total=found.problem_count,
            first=[
                UnusableEntry(**{name: getattr(each, name) for name in UnusableEntry.model_fields})
                for each in found.problems[:MOST_SHOWN]
            ],
        ),
    )


def image_options(settings: CompressionSettings) -> ImageOptions:
    """Return what images are made with, in the words of the options of a request."""
    return ImageOptions(
        preset=settings.preset,
        quality=settings.effective_quality,
        format=settings.output_format,
        longest_side=settings.longest_side,
        png=settings.png,
    )


def image_document(row: Mapping[str, str], public_url: str) -> Image:
    """Return a row of the report."""
    failed = row["status"] == "failed"
    rows, items = places_of(row)
    known = {name: row[name] or None for name in row if name in Image.model_fields and name != "error"}
    return Image.model_validate(
        known
        | {
            "output_url": image_url(public_url, row["key"], row["file"]) if row["file"] else None,
            "error": {"code": row["error_code"], "message": row["error"]} if failed else None,
            "rows": rows,
            "items": items,
        }
    )


def failures_document(report: Iterable[dict[str, str]], public_url: str) -> Failures:
    """Tell what failed, from a report."""
    groups = [
        FailureGroup(
            host=group.host,
            error=RequestError(code=group.error_code, message=group.error),
            transient=group.transient,
            count=group.count,
            first=[image_document(row, public_url) for row in group.first],
        )
        for group in failure_groups(report, MOST_SHOWN)
    ]
    return Failures(total=sum(group.count for group in groups), groups=groups)


def _upkeep(found: Upkeep) -> UpkeepStatus:
    return UpkeepStatus.model_validate(
        {
            "what": found.what,
            "status": found.status,
            "progress": _progress(found),
            "since": _time(found.since),
            "finished": _time(found.finished),
            "error": _error(found),
        }
    )


def _error(found: RequestStatus | Upkeep) -> RequestError | None:
    return RequestError(code=found.error_code or "run_failed", message=found.error) if found.error else None


def _progress(found: RequestStatus | Upkeep) -> Progress:
    total, done = found.images_total, found.images_done
    percent = round(100 * done / total, 1) if total else 0.0
    return Progress(total=total, done=done, failed=found.images_failed, percent=percent)


def _warnings(found: RequestStatus) -> list[str]:
    warnings = []
    if found.problems:
        entries = "1 entry" if found.problems == 1 else f"{found.problems:,} entries"
        reasons = "the column Image Errors of the enriched CSV says why"
        warnings.append(f"{entries} of the CSV cannot be used: {reasons}.")
    if found.all_failed:
        warnings.append("Every image failed: the report says why.")
    elif found.images_failed:
        total = found.images_total or 0
        warnings.append(f"{found.images_failed:,} of {total:,} images failed: the report says why.")
    return warnings


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
