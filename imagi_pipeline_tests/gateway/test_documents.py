from __future__ import annotations

from dataclasses import replace

from imagi_pipeline.core import reports
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.gateway.documents import image_document
from imagi_pipeline_tests.records import image_key, image_record

URL = "https://shop.example/a.jpg"


def test_the_document_of_an_image_tells_all_that_the_report_tells_of_it() -> None:
    record = replace(image_record(URL), encoder="coefficients")
    result = ImageResult(URL, image_key(URL), "ok", record)
    (row,) = reports.Table(reports.report_csv([reports.report_row(result)], [URL]))

    document = image_document(row, "https://cdn.example").model_dump()

    told = {name: document.get(name, "missing") for name in reports.RECORD_COLUMNS if name != "file"}
    assert told == {name: getattr(record, name) for name in told}
