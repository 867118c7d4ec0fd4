from __future__ import annotations

import csv
from dataclasses import replace

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.csv.table import CsvFindings, ImageReference
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline_tests.records import image_key, image_record

A, B, C = (f"https://shop.example/{name}.jpg" for name in "abc")


def ok(url: str, before: int = 1000, after: int = 400) -> ImageResult:
    return ImageResult(url, image_key(url), "ok", image_record(url, source_bytes=before, size=after))


def failed(url: str) -> ImageResult:
    error = FetchError(ErrorCode.HTTP_404, 'It is gone, said "the host", \nonce.')
    return ImageResult(url, image_key(url), "failed", error=error)


def test_references_and_problems_survive_as_text() -> None:
    table = read_csv(f'Images\n"{A},{B}"\nimg/x.jpg\n'.encode())
    references = reports.Table(reports.references_csv(table))
    assert [row["row"] for row in references] == ["2", "2", "3"]
    assert [row["code"] for row in references] == ["", "", "relative_url"]
    assert reports.distinct_urls(references) == [A, B]


def test_a_url_may_be_longer_than_the_csv_module_takes_by_itself() -> None:
    csv.field_size_limit(131_072)  # its own limit
    long = A + "?" + "x" * 200_000
    found = CsvFindings(
        encoding="utf-8",
        delimiter=",",
        has_header=True,
        header=["Images"],
        references=[ImageReference(2, "Images", 1, long)],
    )
    assert reports.distinct_urls(reports.Table(reports.references_csv(found))) == [long]


def test_distinct_urls_keep_the_order_of_their_first_appearance() -> None:
    table = read_csv(f"Images\n{B}\n{A}\n{B}\n".encode())
    assert reports.distinct_urls(reports.Table(reports.references_csv(table))) == [B, A]


def test_equal_failures_of_a_host_are_told_together_with_the_rows_that_name_them() -> None:
    table = read_csv(f"sku,Image\nS-1,{A}\nS-2,{B}\n=S-3,{C}\nS-4,{A}\n".encode())
    data = reports.report_csv(
        [reports.report_row(result) for result in (failed(A), ok(B), failed(C))], [A, B, C]
    )
    report = reports.Table(reports.with_places(data, table))
    assert [reports.places_of(row) for row in report] == [
        ([2, 5], ["S-1", "S-4"]),
        ([3], ["S-2"]),
        ([4], ["'=S-3"]),
    ]
    (group,) = reports.failure_groups(report, 1)
    assert (group.host, group.error_code, group.count) == ("shop.example", "http_404", 2)
    assert [row["url"] for row in group.first] == [A]


def test_a_report_has_whole_numbers_in_the_order_of_the_request() -> None:
    rows = [reports.report_row(result) for result in (failed(C), ok(B), ok(A))]
    text = reports.report_csv(rows, [A, B, C]).decode()
    lines = text.splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [A, B, C]
    assert ",1000,4,3,JPEG,400,4,3,False," in lines[1]
    assert lines[3].startswith(f"{C},{image_key(C)},failed,,,,,,,,,,,,,http_404,False,")


def test_parts_join_to_one_report_that_adds_up() -> None:
    parts = [
        reports.report_csv([reports.report_row(result)], [result.url]).decode()
        for result in (ok(A, 1000, 400), replace(ok(B, 500, 500), status="reused"), failed(C))
    ]
    report = reports.Table(reports.join_csv(parts))
    summary = reports.summarize(report)
    assert (summary.images, summary.compressed, summary.reused, summary.failed) == (3, 1, 1, 1)
    assert (summary.bytes_before, summary.bytes_after, summary.savings) == (1500, 900, 0.4)


def test_a_report_without_a_single_success_saves_nothing() -> None:
    report = reports.report_csv([reports.report_row(failed(A))], [A])
    assert reports.summarize(reports.Table(report)).savings == 0.0


def test_a_failed_image_with_an_earlier_copy_has_both_its_url_and_the_reason() -> None:
    result = replace(failed(A), record=image_record(A, source_bytes=1000, size=400))
    report = reports.Table(reports.report_csv([reports.report_row(result)], [A]))
    outputs, errors = reports.outcomes(report, "https://cdn.example/media")
    assert outputs[A].endswith(f"/{image_key(A)}.jpg")
    assert errors[A].endswith("Correct the URL: the image is not there. The copy of 1970-01-01 is kept.")
    summary = reports.summarize(report)
    assert (summary.failed, summary.bytes_before, summary.bytes_after) == (1, 1000, 400)


def test_outcomes_are_public_urls_and_one_line_reasons() -> None:
    rows = [reports.report_row(result) for result in (ok(A), failed(B))]
    report = reports.Table(reports.report_csv(rows, [A, B]))
    outputs, errors = reports.outcomes(report, "https://cdn.example/media")
    key = image_key(A)
    assert outputs == {A: f"https://cdn.example/media/{key[-16:-14]}/{key}.jpg"}
    assert errors == {B: 'It is gone, said "the host", once. Correct the URL: the image is not there.'}
