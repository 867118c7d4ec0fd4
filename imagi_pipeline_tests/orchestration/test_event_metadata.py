from __future__ import annotations

import re
from typing import Any

import dagster as dg

from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.reports import ReportSummary
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.records import ImageRecord
from imagi_pipeline.orchestration.event_metadata import (
    MOST_ROWS,
    PREVIEW_ROWS,
    materialization,
    of_report,
    of_result,
    of_upload,
)

RECORD = ImageRecord(
    url="https://a.com/shoe.jpg",
    file="shoe-3f2a9c1b7d2e4f60.jpg",
    source_format="PNG",
    source_bytes=2000,
    source_width=40,
    source_height=30,
    source_digest="d" * 64,
    format="JPEG",
    bytes=1000,
    width=20,
    height=15,
    kept_source=False,
    settings="v5-balanced-q80-same",
    etag=None,
    last_modified=None,
    checked_at=0.0,
)


def test_an_image_tells_its_facts_and_the_versions_that_dagster_compares() -> None:
    event = materialization("shoe-3f2a9c1b7d2e4f60", RECORD, "http://cdn/media")
    assert event.metadata["url"].value == "http://cdn/media/3f/shoe-3f2a9c1b7d2e4f60.jpg"
    assert event.metadata["dimensions"].value == "40x30 -> 20x15"
    assert event.metadata["format"].value == "PNG -> JPEG (encoder not told)"
    assert event.tags
    assert event.tags["dagster/code_version"] == "v5"
    assert event.tags["dagster/data_version"] == RECORD.data_version


def test_lists_of_an_upload_are_cut_and_empty_ones_left_out() -> None:
    lines = "".join(f"https://a.com/{number}.jpg,broken/{number}.jpg\n" for number in range(200))
    found = read_csv(f"image,photo\n{lines}".encode())
    told = of_upload(RequestManifest("shop.csv"), found)
    assert (told["file"], told["dagster/row_count"], told["images"]) == ("shop.csv", 200, 200)
    assert len(told["preview"].records) == PREVIEW_ROWS
    assert len(told["problem_list"].records) == MOST_ROWS
    assert "problem_list" not in of_upload(
        RequestManifest("a.csv"), read_csv(b"image\nhttps://a.com/1.jpg\n")
    )


def test_nothing_in_a_csv_ends_the_block_that_shows_it() -> None:
    table = read_csv(b"image,note\nhttps://a.com/1.jpg,```` <b>\n")
    told = of_result("/results/a.csv", table, b"image,note\n````\x1b[2J <b>\n", summary())
    shown = told["preview"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert shown.md_str
    fence = shown.md_str.splitlines()[0]
    assert re.fullmatch("`{5,}", fence)
    assert "\x1b" not in shown.md_str


def summary() -> Any:
    return ReportSummary(images=2, compressed=1, reused=0, failed=1, bytes_before=2000, bytes_after=1000)


def test_a_report_tells_what_was_saved_and_shows_images_before_and_after() -> None:
    pair = {"key": "shoe", "before": "QQ==", "after": "Qg==", "bytes_before": 2000, "bytes_after": 1000}
    told = of_report("a.csv", [], summary(), [pair])  # type: ignore[arg-type]  # any rows will do
    assert told["savings_percent"] == 50
    assert "| shoe | 2,000 -> 1,000 |" in told["contact_sheet"].md_str
    assert "failures" not in told
