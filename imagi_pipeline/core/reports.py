"""The two tables between the assets, as data frames of text and numbers.

references   one row per image reference or problem: row, column, position, url, code, message
report       one row per distinct image: url, key, status, what it was and became, and why it failed;
             a failed one that has a file keeps its last good copy
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from imagi_pipeline.core.csv.table import CsvFindings
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.storage.keys import image_url
from imagi_pipeline.core.storage.records import ImageRecord

REFERENCE_COLUMNS = ["row", "column", "position", "url", "code", "message"]
RECORD_COLUMNS = [
    "file",
    "source_format",
    "source_bytes",
    "source_width",
    "source_height",
    "format",
    "bytes",
    "width",
    "height",
    "kept_source",
    "encoder",
]
"""What the report takes over from the record of an image; the names are those of its fields."""

REPORT_COLUMNS = ["url", "key", "status", *RECORD_COLUMNS, "error_code", "transient", "error"]

INTEGER_COLUMNS = ["source_bytes", "source_width", "source_height", "bytes", "width", "height"]

ReportRow = dict[str, Any]
"""One row of the report: text, numbers and booleans only, so that it can be sent as JSON."""


def references_frame(found_in_csv: CsvFindings) -> pd.DataFrame:
    """What was found in a CSV: its references, then its problems, which have no URL."""
    found: list[Sequence[object]] = [
        (reference.row, reference.column, reference.position, reference.url, "", "")
        for reference in found_in_csv.references
    ]
    found += [
        (problem.row, problem.column, problem.position, "", problem.code, problem.message)
        for problem in found_in_csv.problems
    ]
    return pd.DataFrame(found, columns=REFERENCE_COLUMNS)


def distinct_urls(references: pd.DataFrame) -> list[str]:
    """The URLs of a reference table, each once, in the order of their first appearance."""
    return [url for url in references["url"].unique() if url]


def report_row(result: ImageResult) -> ReportRow:
    """One image's row of the report."""
    row: ReportRow = {"url": result.url, "key": result.key, "status": result.status}
    if result.record:
        row |= {name: getattr(result.record, name) for name in RECORD_COLUMNS}
    if result.error:
        row |= {
            "error_code": result.error.code,
            "transient": result.error.transient,
            "error": result.error.message + (_copy_kept(result.record) if result.record else ""),
        }
    return row


def _copy_kept(record: ImageRecord) -> str:
    checked = datetime.fromtimestamp(record.checked_at, UTC)
    return f" The copy of {checked:%Y-%m-%d} is kept."


def report_frame(rows: Iterable[ReportRow], order: Sequence[str]) -> pd.DataFrame:
    """A report, or a part of one; `order` are the distinct URLs of its rows."""
    frame = pd.DataFrame(rows, columns=REPORT_COLUMNS).astype(dict.fromkeys(INTEGER_COLUMNS, "Int64"))
    return frame.set_index("url").loc[list(order)].reset_index()


def outcomes(report: pd.DataFrame, public_url: str) -> tuple[dict[str, str], dict[str, str]]:
    """By source URL: the public URLs of the compressed images, and why images failed."""
    failed = report["status"] == "failed"
    good = report[report["file"] != ""]
    urls = [image_url(public_url, key, file) for key, file in zip(good["key"], good["file"], strict=True)]
    return dict(zip(good["url"], urls, strict=True)), dict(
        zip(report[failed]["url"], report[failed]["error"], strict=True)
    )


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table as UTF-8 CSV."""
    return frame.to_csv(index=False).encode()


def join_csv(parts: Sequence[str]) -> bytes:
    """The rows of tables with equal columns as one table, as CSV."""
    header = parts[0].partition("\n")[0] + "\n"
    return "".join([header, *(part.removeprefix(header) for part in parts)]).encode()


def from_csv(data: bytes, columns: list[str] | None = None) -> pd.DataFrame:
    """The inverse of `to_csv`, every value as text; only some columns take a fraction of the time."""
    return pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, usecols=columns)


def failed_keys(data: bytes) -> list[str]:
    """The keys of the images that failed, from a report as CSV."""
    if not _may_have_failures(data):
        return []
    report = from_csv(data, ["key", "status"])
    return list(report[report["status"] == "failed"]["key"])


def has_failures(data: bytes, *, transient: bool = False) -> bool:
    """Whether images failed in a report as CSV; with `transient`, for a reason that may pass."""
    if not _may_have_failures(data):
        return False
    report = from_csv(data, ["status", "transient"])
    failed = report["status"] == "failed"
    return bool((failed & (report["transient"] == "True") if transient else failed).any())


def keys_with_copy(data: bytes) -> list[str]:
    """The keys of the images that have a compressed copy, from a report as CSV."""
    report = from_csv(data, ["key", "file"])
    return list(report[report["file"] != ""]["key"])


def _may_have_failures(data: bytes) -> bool:
    return b",failed," in data  # most reports have none, and need not be parsed


@dataclass(frozen=True)
class ReportSummary:
    """The figures of a report. Bytes count the images that have a compressed copy."""

    images: int
    compressed: int
    reused: int
    failed: int
    bytes_before: int
    bytes_after: int

    @property
    def savings(self) -> float:
        """The share of bytes saved, 0 to 1."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0


def summarize(report: pd.DataFrame) -> ReportSummary:
    """Count a report, whether just made or read back."""
    status = report["status"].value_counts()
    sizes = report[["source_bytes", "bytes"]].apply(pd.to_numeric).sum()
    return ReportSummary(
        images=len(report),
        compressed=int(status.get("ok", 0)),
        reused=int(status.get("reused", 0)),
        failed=int(status.get("failed", 0)),
        bytes_before=int(sizes["source_bytes"]),
        bytes_after=int(sizes["bytes"]),
    )
