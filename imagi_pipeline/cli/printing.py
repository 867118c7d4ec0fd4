"""Print requests and CSVs for the commands."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from upath import UPath

from imagi_pipeline.cli.terminal import (
    print_error,
    print_facts,
    print_json,
    print_lines,
    print_rows,
)
from imagi_pipeline.core.request_status import COMPLETED, INTERRUPTED, RequestStatus

if TYPE_CHECKING:
    from imagi_pipeline.core.csv.table import CsvTable
    from imagi_pipeline.core.reports import FailureGroup

EXIT_CODE_OF_INTERRUPT = 130
"""128 and the number of SIGINT, as shells have it."""

FAILURES_SHOWN = 3


def print_status(found: RequestStatus) -> None:
    """Print how far a request is."""
    facts = [("request", found.request_id), ("file", found.file or ""), ("status", found.status)]
    if found.settings:
        facts.append(("options", found.settings))
    times = (("handed in", found.created), ("ended", found.finished))
    facts += [(name, local_time(at)) for name, at in times if at]
    if found.rows is not None:
        facts.append(("rows", f"{found.rows:,}"))
    if found.problems:
        facts.append(("unusable entries", f"{found.problems:,}"))
    if found.images_total is not None:
        facts.append(("images", f"{found.images_done:,} of {found.images_total:,}"))
        facts.append(("failed", f"{found.images_failed:,}"))
    if found.bytes_before and found.bytes_after is not None:
        saved = 1 - found.bytes_after / found.bytes_before
        facts.append(("bytes", f"{found.bytes_before:,} -> {found.bytes_after:,} ({saved:.0%} saved)"))
    if found.error:
        facts.append(("error", found.error))
    if upkeep := found.upkeep:
        total = "" if upkeep.images_total is None else f", {upkeep.images_done:,} of {upkeep.images_total:,}"
        facts.append((upkeep.what, f"{upkeep.status}{total}"))
    if found.all_failed:
        facts.append(("warning", "EVERY IMAGE FAILED: the enriched CSV has no URL of a compressed image."))
    print_facts(facts)


def print_submitted(found: RequestStatus, copies: list[str], as_json: bool) -> None:
    """Print what became of a submitted CSV; exit with code 1 if it has no compressed image at its end."""
    if as_json:
        print_json(asdict(found) | {"copies": copies})
    else:
        print_status(found)
        print_lines([f"copied to      {copy}" for copy in copies])
    fail_unless_useful(found)


def local_time(seconds: float | None) -> str:
    """Return a moment as a clock on the wall shows it; nothing for None."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}" if seconds is not None else ""


def print_recent(found: list[RequestStatus], as_json: bool) -> None:
    """Print the newest requests, one per line."""
    if as_json:
        print_json([asdict(each) for each in found])
    elif not found:
        print_lines(["There is no request yet."])
    else:
        print_lines(
            [
                f"{each.request_id}  {local_time(each.created):16}  {each.status:10}  "
                f"{each.images_done:,} images, {each.images_failed:,} failed  {each.file or ''}"
                for each in found
            ]
        )


def inspection(table: CsvTable) -> dict[str, Any]:
    """Return what was found in a CSV, as one document."""
    return {
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "has_header": table.has_header,
        "url_columns": table.url_columns,
        "rows": table.data_row_count,
        "references": [asdict(reference) for reference in table.references],
        "warnings": [warning.message for warning in table.warnings],
        "problems": [
            {name: getattr(problem, name) for name in ("row", "column", "value", "code", "message")}
            for problem in table.problems
        ],
    }


def print_inspection(table: CsvTable) -> None:
    """Print as tables what was found in a CSV."""
    print_facts(
        [
            ("encoding", table.encoding),
            ("delimiter", repr(table.delimiter)),
            ("header", "yes" if table.has_header else "no"),
            ("columns with images", ", ".join(table.url_columns) or "none"),
            ("rows", f"{table.data_row_count:,}"),
            ("image references", f"{len(table.references):,}"),
            ("problems", f"{len(table.problems):,}"),
        ]
    )
    print_rows("Warnings", ("message",), table.warnings)
    print_rows("References", ("row", "column", "position", "url"), table.references)
    print_rows("Problems", ("row", "column", "value", "message"), table.problems)


def print_processed(document: dict[str, Any], as_json: bool) -> None:
    """Print what became of a CSV that was processed here; exit with code 1 if no image is compressed."""
    if as_json:
        print_json(document)
    if document["status"] != COMPLETED:
        print_error(document["error"] or f"The request was {document['status']}.")
        raise typer.Exit(EXIT_CODE_OF_INTERRUPT if document["error_code"] == INTERRUPTED else 1)
    found = RequestStatus(**{name: document[name] for name in RequestStatus.__dataclass_fields__})
    if as_json:
        fail_unless_useful(found)
        return
    print_status(found)
    command = sys.argv[0] if Path(sys.argv[0]).name == "imagi" else "imagi"
    print_lines(
        [
            *_first_failures(document["report"]),
            f"enriched CSV   {document['result']}",
            f"report         {document['report']}",
            *(f"copied to      {copy}" for copy in document["copies"]),
            "",
            f"Next: {command} serve    serves the images' URLs, shows this run in the Dagster UI,",
            "      and processes what is dropped into the landing folder",
        ]
    )
    fail_unless_useful(found)


def _first_failures(report: str) -> list[str]:
    from imagi_pipeline.core.reports import Table, failure_groups

    groups = failure_groups(Table(UPath(report).read_bytes()), 1)
    lines = [f"failed         {_told(group)}" for group in groups[:FAILURES_SHOWN]]
    more = sum(group.count for group in groups[FAILURES_SHOWN:])
    return [*lines, f"               ... and {more:,} more in the report"] if more else lines


def _told(group: FailureGroup) -> str:
    from imagi_pipeline.core.reports import places_of

    rows, items = places_of(group.first[0])
    place = f"row {rows[0]}" + (f" ({items[0]})" if items else "") if rows else ""
    others = f", and {group.count - 1:,} more of {group.host}" if group.count > 1 else ""
    return f"{place}{others}: {group.first[0]['url']}: {group.error}"


def shown(value: object) -> str:
    """Return a value for people; a list has a line for each of its items."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def fail_unless_useful(found: RequestStatus) -> None:
    """End with exit code 1 if a request has ended without one compressed image."""
    if found.is_finished and (found.status != COMPLETED or found.all_failed):
        raise typer.Exit(1)
