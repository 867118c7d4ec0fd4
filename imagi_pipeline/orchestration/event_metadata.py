"""Make what people see in the Dagster UI: figures, tables and pictures of each materialization."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import dagster as dg

from imagi_pipeline.core.csv.table import CsvFindings, CsvTable
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.printable import printable
from imagi_pipeline.core.reports import ReportSummary, Table, failure_groups
from imagi_pipeline.core.storage.keys import image_url
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.records import ImageRecord
from imagi_pipeline.orchestration.internals.event_batches import CODE_VERSION_TAG, DATA_VERSION_TAG
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE

MOST_ROWS = 100
"""Rows of a table in metadata: more would only make the event log long, and the files have all of them."""

PREVIEW_ROWS = 10
PREVIEW_BYTES = 65_536
LONGEST_PREVIEW = 500  # characters of a line

Metadata = dict[str, Any]


def of_upload(manifest: RequestManifest, found: CsvFindings) -> Metadata:
    """Return the metadata of uploaded_csv: what was found in the file."""
    return {
        "file": manifest.name,
        "encoding": found.encoding,
        "delimiter": found.delimiter,
        "url_columns": dg.MetadataValue.json(found.url_columns),
        "dagster/row_count": found.data_row_count,
        "references": found.reference_count,
        "images": found.image_count,
        "problems": found.problem_count,
        "options": manifest.settings or "not told",
        **_warnings(found),
        **_table(
            "preview", ["row", "column", "position", "url"], map(asdict, found.references), PREVIEW_ROWS
        ),
        **_table(
            "problem_list", ["row", "column", "position", "code", "message"], map(asdict, found.problems)
        ),
    }


def _warnings(found: CsvFindings) -> Metadata:
    """Return what the sender should know of the CSV; nothing when there is nothing."""
    messages = [warning.message for warning in found.warnings[:MOST_ROWS]]
    return {"warnings": dg.MetadataValue.json(messages)} if messages else {}


def of_report(file: str, report: Table, summary: ReportSummary, pairs: list[dict[str, Any]]) -> Metadata:
    """Return the metadata of compression_report: savings, failures, some images before and after."""
    failures = ({**asdict(group), **group.first[0]} for group in failure_groups(report, 1))
    shown: Metadata = {
        "file": file,
        "images": summary.images,
        "compressed": summary.compressed,
        "reused": summary.reused,
        "failed": summary.failed,
        "bytes_before": summary.bytes_before,
        "bytes_after": summary.bytes_after,
        "savings_percent": round(100 * summary.savings, 2),
        **_table("preview", ["key", "status", "source_bytes", "bytes", "error_code"], report, PREVIEW_ROWS),
        **_table("failures", ["host", "count", "error", "error_code", "rows", "items", "url"], failures),
    }
    if pairs:
        shown["contact_sheet"] = dg.MetadataValue.md(_contact_sheet(pairs))
    return shown


def of_result(path: str, table: CsvTable, beginning: bytes, summary: ReportSummary) -> Metadata:
    """Return the metadata of enriched_csv: where it is and how it begins; `beginning` has its first bytes."""
    mark = beginning.startswith(codecs.BOM_UTF8)
    text = beginning.decode("utf-8-sig" if mark else table.dialect.encoding.name, "replace")
    lines = text.removeprefix("\ufeff").splitlines()[: PREVIEW_ROWS + 1]
    preview = "\n".join(printable(line, LONGEST_PREVIEW) for line in lines)
    return {
        "path": dg.MetadataValue.path(path),
        "dagster/row_count": table.data_row_count,
        "images": summary.images,
        "failed": summary.failed,
        "bytes_before": summary.bytes_before,
        "bytes_after": summary.bytes_after,
        "savings_percent": round(100 * summary.savings, 2),
        "preview": dg.MetadataValue.md(_verbatim(preview)),
    }


def of_savings(rows: Sequence[Mapping[Any, Any]]) -> Metadata:
    """Of savings: the sums, and a table of hosts and formats."""
    before, after = (sum(row[name] for row in rows) for name in ("bytes_before", "bytes_after"))
    return {
        "images": sum(row["images"] for row in rows),
        "bytes_before": before,
        "bytes_after": after,
        "savings_percent": round(100 * (before - after) / before, 1) if before else 0.0,
        **_table("by_host", list(rows[0]) if rows else [], rows),
    }


def materialization(key: str, record: ImageRecord, public_url: str) -> dg.AssetMaterialization:
    """Return the event of compressed_image with the facts of one image.

    The version tags are what Dagster itself would set; without them the UI never shows an image as stale.
    """
    url = image_url(public_url, key, record.file)
    encoder = record.encoder or ("kept" if record.kept_source else "encoder not told")
    return dg.AssetMaterialization(
        asset_key=COMPRESSED_IMAGE,
        partition=key,
        metadata={
            "source_url": dg.MetadataValue.url(record.url),
            "url": dg.MetadataValue.url(url),
            "bytes_before": record.source_bytes,
            "bytes_after": record.bytes,
            "dimensions": f"{record.source_width}x{record.source_height} -> {record.width}x{record.height}",
            "format": f"{record.source_format} -> {record.format} ({encoder})",
            "options": record.settings,
            "preview": dg.MetadataValue.md(f"![{key}]({url})"),
        },
        tags={CODE_VERSION_TAG: record.algorithm, DATA_VERSION_TAG: record.data_version},
    )


def failure_observation(result: ImageResult, requests: list[str]) -> dg.AssetObservation:
    """Return what a failed image leaves on its partition: why, and which `requests` name it."""
    assert result.error is not None
    return dg.AssetObservation(
        asset_key=COMPRESSED_IMAGE,
        partition=result.key,
        description=result.error.message,
        metadata={
            "source_url": dg.MetadataValue.url(result.url),
            "error_code": result.error.code,
            "error": result.error.message,
            "may_pass": result.error.transient,
            "attempts": result.attempts,
            "requests": "\n".join(requests),
        },
    )


def thumbnail_pair(result: ImageResult) -> dict[str, Any]:
    """Return an image before and after, as text that can be sent as JSON."""
    assert result.thumbnails is not None
    assert result.record is not None
    return {
        "key": result.key,
        "before": base64.b64encode(result.thumbnails.before).decode(),
        "after": base64.b64encode(result.thumbnails.after).decode(),
        "bytes_before": result.record.source_bytes,
        "bytes_after": result.record.bytes,
    }


def _contact_sheet(pairs: list[dict[str, Any]]) -> str:
    lines = ["| before | after | image | bytes |", "| --- | --- | --- | --- |"]
    for pair in pairs:
        before, after = (f"![](data:image/jpeg;base64,{pair[side]})" for side in ("before", "after"))
        sizes = f"{pair['bytes_before']:,} -> {pair['bytes_after']:,}"
        lines.append(f"| {before} | {after} | {pair['key']} | {sizes} |")
    return "\n".join(lines)


def _verbatim(text: str) -> str:
    """Return a text as a Markdown block that nothing in the text can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _table(
    name: str, columns: list[str], rows: Iterable[Mapping[str, object]], most: int = MOST_ROWS
) -> Metadata:
    """Return the first rows as a table of the UI; nothing when there are none."""
    records = [dg.TableRecord({column: str(row[column]) for column in columns}) for row in islice(rows, most)]
    return {name: dg.MetadataValue.table(records)} if records else {}
