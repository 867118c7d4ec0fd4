"""The rows that failed, to be corrected and handed in again."""

from __future__ import annotations

import csv
import io

from imagi_pipeline.core.csv.enriching import failed_rows
from imagi_pipeline.core.csv.reading import read_csv

GOOD, BAD, OLD = "https://a.com/1.jpg", "https://a.com/gone.jpg", "https://a.com/old.jpg"
OUTPUTS = {GOOD: "http://cdn/1.jpg", OLD: "http://cdn/old.jpg"}
ERRORS = {BAD: "404", OLD: "503. The copy of 2026-01-01 is kept."}


def test_only_the_rows_with_something_to_correct_are_there_as_they_came_and_can_be_handed_in_again() -> None:
    before = (
        "Export of today;;\r\nid;Image;name\r\n"
        f"1;{GOOD};x\r\n\r\n2;{BAD}, {GOOD};'y'\r\n3;;z\r\n4;rel.jpg;\"a;b\"\r\n5;{OLD};o\r\n"
    ).encode("utf-16")
    failed = b"".join(failed_rows(read_csv(before), OUTPUTS, ERRORS))
    rows = list(csv.reader(io.StringIO(failed.decode("utf-16"), newline=""), delimiter=";"))
    assert [row[:3] for row in rows] == [
        ["Export of today", "", ""],
        ["id", "Image", "name"],
        ["2", f"{BAD}, {GOOD}", "'y'"],
        ["4", "rel.jpg", "a;b"],
        ["5", OLD, "o"],
    ]
    assert rows[2][3:] == [",http://cdn/1.jpg", f"Image, position 1: {BAD}: 404"]
    assert "does not begin with https" in rows[3][4]

    again = read_csv(failed)
    assert (again.dialect.encoding.name, again.header) == ("utf-16-le", ["id", "Image", "name"])
    assert [found.url for found in again.references] == [BAD, GOOD, OLD]
    corrected = dict.fromkeys([BAD, GOOD, OLD], "http://cdn/x.jpg")
    left = b"".join(failed_rows(again, corrected, {})).decode("utf-16")
    assert [line.partition(";")[0] for line in left.splitlines()] == ["Export of today", "id", "4"]
