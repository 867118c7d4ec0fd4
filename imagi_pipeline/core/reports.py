"""Write and read the two tables between the assets, as CSV.

references   one row per image reference or problem: row, column, position, url, code, message
report       one row per distinct image: url, key, status, what it was and became, why it failed, and which
             rows name it; a failed one that has a file keeps its last good copy
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from imagi_pipeline.core.csv.row_names import row_names
from imagi_pipeline.core.csv.table import CsvFindings, CsvTable
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.printable import no_formula, printable
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
    "settings",
]
"""The report takes these over from the record of an image, under the names of its fields."""

REPORT_COLUMNS = [
    *("url", "key", "status", *RECORD_COLUMNS, "error_code", "transient", "error"),
    "rows",
    "items",
]
MOST_PLACES = 20
"""If more rows than this name an image, the report lists only the first of them."""

_LONGEST_NAME = 100  # characters of what a row is called
_LONGEST_CELL = 2**31 - 1  # the largest limit that the csv module takes everywhere

ReportRow = dict[str, Any]
"""One row of the report: text, numbers and booleans only, so that it can be sent as JSON."""


class Table:
    """The rows of a table by name of column, every value as text.

    Each loop over them reads them again: a table may have a million of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[dict[str, str]]:
        csv.field_size_limit(_LONGEST_CELL)
        with io.TextIOWrapper(io.BytesIO(self._data), encoding="utf-8", newline="") as text:
            rows = csv.reader(text)
            header = next(rows, [])
            for row in rows:
                yield dict(zip(header, row, strict=True))


def references_csv(found: CsvFindings) -> bytes:
    """Return what was found in a CSV: its references, then its problems, which have no URL."""
    rows: list[Sequence[object]] = [
        (each.row, each.column, each.position, each.url, "", "") for each in found.references
    ]
    rows += [(each.row, each.column, each.position, "", each.code, each.message) for each in found.problems]
    return _to_csv(REFERENCE_COLUMNS, rows)


def distinct_urls(references: Table) -> list[str]:
    """Return the URLs of a reference table, each once, in the order of their first appearance."""
    return list(dict.fromkeys(url for row in references if (url := row["url"])))


def report_row(result: ImageResult) -> ReportRow:
    """Return one image's row of the report."""
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


def with_places(report: bytes, table: CsvTable) -> bytes:
    """Add to a report in which rows of the CSV each image is named, and what these are called."""
    names = row_names(table)
    rows: dict[str, list[int]] = {}
    for reference in table.references:
        places = rows.setdefault(reference.url, [])
        if len(places) < MOST_PLACES and reference.row not in places[-1:]:
            places.append(reference.row)
    told = []
    for row in Table(report):
        places = rows.get(row["url"], [])
        items = [no_formula(printable(names[place], _LONGEST_NAME)) for place in places if place in names]
        known = [row[name] for name in REPORT_COLUMNS[:-2]]
        told.append([*known, ", ".join(map(str, places)), "\n".join(items)])
    return _to_csv(REPORT_COLUMNS, told)


def places_of(row: Mapping[str, str]) -> tuple[list[int], list[str]]:
    """Return the rows that name an image, and what these are called; blank in reports of earlier versions."""
    rows, items = row.get("rows"), row.get("items")
    return [int(number) for number in rows.split(", ")] if rows else [], items.split("\n") if items else []


@dataclass(frozen=True)
class FailureGroup:
    """Images of one host that failed for the same reason: how many, and the first as in the report."""

    host: str
    error_code: str
    error: str
    transient: bool
    count: int
    first: list[dict[str, str]]


def failure_groups(report: Iterable[dict[str, str]], most: int) -> list[FailureGroup]:
    """Return what failed, the most frequent reason first, with `most` images of each group."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for row in report:
        if row["status"] == "failed":
            host = urlsplit(row["url"]).hostname or ""
            reason = (host, row["error_code"], row["error"], row["transient"])
            counts[reason] += 1
            first = groups.setdefault(reason, [])
            if len(first) < most:
                first.append(row)
    return [
        FailureGroup(host, code, error, transient == "True", count, groups[host, code, error, transient])
        for (host, code, error, transient), count in counts.most_common()
    ]


def report_csv(rows: Iterable[ReportRow], order: Sequence[str]) -> bytes:
    """Return a report, or a part of one; `order` are the distinct URLs of its rows."""
    by_url = {row["url"]: row for row in rows}
    ordered = (by_url[url] for url in order)
    return _to_csv(REPORT_COLUMNS, ([row.get(name) for name in REPORT_COLUMNS] for row in ordered))


def outcomes(report: Iterable[dict[str, str]], public_url: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return, by source URL, the public URLs of the compressed images, and why images failed."""
    urls, errors = {}, {}
    for row in report:
        if row["file"]:
            urls[row["url"]] = image_url(public_url, row["key"], row["file"])
        if row["status"] == "failed":
            errors[row["url"]] = row["error"]
    return urls, errors


def _to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def join_csv(parts: Sequence[str]) -> bytes:
    """Return the rows of tables with equal columns as one table, as CSV."""
    header = parts[0].partition("\n")[0] + "\n"
    return "".join([header, *(part.removeprefix(header) for part in parts)]).encode()


def failed_keys(data: bytes) -> list[str]:
    """Return the keys of the images that failed, from a report as CSV."""
    if not _may_have_failures(data):
        return []
    return [row["key"] for row in Table(data) if row["status"] == "failed"]


def has_failures(data: bytes, *, transient: bool = False) -> bool:
    """Return whether images failed in a report as CSV; with `transient`, for a reason that may pass."""
    if not _may_have_failures(data):
        return False
    return any(
        row["status"] == "failed" and (not transient or row["transient"] == "True") for row in Table(data)
    )


def keys(data: bytes) -> list[str]:
    """Return the keys of all images, from a report as CSV."""
    return [row["key"] for row in Table(data)]


def keys_with_copy(data: bytes) -> list[str]:
    """Return the keys of the images that have a compressed copy, from a report as CSV."""
    return [row["key"] for row in Table(data) if row["file"]]


def _may_have_failures(data: bytes) -> bool:
    return b",failed," in data  # most reports have no failures, and need not be parsed


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
        """Return the share of bytes saved, 0 to 1."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0


def summarize(report: Table) -> ReportSummary:
    """Count a report."""
    status: Counter[str] = Counter()
    before = after = 0
    for row in report:
        status[row["status"]] += 1
        before += int(row["source_bytes"] or 0)
        after += int(row["bytes"] or 0)
    return ReportSummary(
        status.total(),
        status["ok"],
        status["reused"],
        status["failed"],
        bytes_before=before,
        bytes_after=after,
    )
